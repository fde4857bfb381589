/* command.h - what chat-client understands: options, subcommands, /commands.
 *
 * Three tables; --help, /help, completion and the tests are made from them, and
 * chat-client(1) describes each row.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "client/connect.h"

struct shell;

/* Where an option is good: a bit for each. */
#define OPTION_ALWAYS 0u
#define OPTION_LISTEN 1u
#define OPTION_TOP    2u
#define OPTION_SAY    4u
#define OPTION_PAST   8u /* history */
#define OPTION_FIND   16u
#define OPTION_UNREAD 32u
#define OPTION_ROOM   64u
#define OPTION_PING   128u

struct option_row {
	const char *name;     /* without the "--" */
	const char *argument; /* NULL: takes none */
	const char *help;
	unsigned where;
	/* NULL for --help and --version. Returns a status; ARGUMENT as above. */
	int (*set)(struct settings *settings, const char *argument);
};

struct subcommand {
	const char *name, *usage, *help;
	unsigned options; /* OPTION_ bits */
	bool text;        /* words after the first are text, also those that begin with '-' */
	bool draws;       /* it fits the terminal by itself: its lines are not wrapped */
	/* ARGV are the words after the options. Returns a status. */
	int (*run)(const struct settings *settings, int argc, char **argv);
};

enum completion {
	COMPLETE_NOTHING,
	COMPLETE_COMMAND, /* a row of the table below */
	COMPLETE_ROOM,
	COMPLETE_NAME,
	COMPLETE_TARGET, /* a room or "@name" */
	COMPLETE_JOINED, /* one that this shell is in */
};

struct slash_command {
	const char *name, *usage, *help;
	enum completion first_word;
	void (*run)(struct shell *shell, char *arguments); /* may be written to */
};

extern const struct option_row option_rows[];
extern const size_t n_option_rows;
extern const struct subcommand subcommands[];
extern const size_t n_subcommands;
extern const struct slash_command slash_commands[];
extern const size_t n_slash_commands;

/* The row with that name, or NULL. */
const struct subcommand *subcommand_find(const char *name);
const struct slash_command *slash_command_find(struct text name);

/* --help */
void command_help(FILE *out);
