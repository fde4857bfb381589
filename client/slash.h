/* slash.h - the /commands: one function each, as struct slash_command says, and
 * the completion of their words.
 */
#pragma once

#include "client/shell.h"

void slash_join(struct shell *shell, char *arguments);
void slash_part(struct shell *shell, char *arguments);
void slash_switch(struct shell *shell, char *arguments);
void slash_msg(struct shell *shell, char *arguments);
void slash_who(struct shell *shell, char *arguments);
void slash_rooms(struct shell *shell, char *arguments);
void slash_history(struct shell *shell, char *arguments);
void slash_find(struct shell *shell, char *arguments);
void slash_help(struct shell *shell, char *arguments);
void slash_quit(struct shell *shell, char *arguments);

/* Carry out LINE, which begins with one slash. */
void slash_run(struct shell *shell, char *line);
