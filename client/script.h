/* script.h - the subcommands: one function each, as struct subcommand says.
 *
 * No prompts, no escape sequences, nothing but the asked-for on standard output;
 * the exit status tells what happened. chat-client(1).
 */
#pragma once

#include "client/connect.h"

int script_say(const struct settings *settings, int argc, char **argv);
int script_listen(const struct settings *settings, int argc, char **argv);
int script_history(const struct settings *settings, int argc, char **argv);
int script_find(const struct settings *settings, int argc, char **argv);
int script_who(const struct settings *settings, int argc, char **argv);
int script_room(const struct settings *settings, int argc, char **argv);
int script_rooms(const struct settings *settings, int argc, char **argv);
int script_unread(const struct settings *settings, int argc, char **argv);
int script_rings(const struct settings *settings, int argc, char **argv);
int script_time(const struct settings *settings, int argc, char **argv);
int script_ping(const struct settings *settings, int argc, char **argv);
int script_stats(const struct settings *settings, int argc, char **argv);
int script_ctl(const struct settings *settings, int argc, char **argv);

/* No subcommand, and standard input is no terminal: say its lines in ROOM. */
int script_pipe(const struct settings *settings, const char *room);

/* ARGV with a space between; complains and returns NULL without memory. Free it. */
char *script_join_words(int argc, char **argv);

/* Is TARGET a room name or "@name"? Complains and returns STATUS_USAGE if not. */
int script_check_target(const char *target);
