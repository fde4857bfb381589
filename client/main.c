/* main.c - chat-client(1): argv in, exit status out. */
#include <getopt.h>
#include <locale.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/command.h"
#include "client/script.h"
#include "client/shell.h"
#include "protocol/base.h"

#define OPTIONS_MAX 16
#define OPTION_BASE 256 /* getopt values of the rows: no characters */

/* As the option was not known, or --help or --version did its work. */
#define PARSE_DONE -1

static void make_options(unsigned where, struct option *options)
{
	size_t n = 0;

	for (size_t i = 0; i < n_option_rows && n < OPTIONS_MAX; i++) {
		const struct option_row *row = &option_rows[i];

		if (row->where != OPTION_ALWAYS && !(row->where & where))
			continue;
		options[n++] = (struct option){
			.name = row->name,
			.has_arg = row->argument ? required_argument : no_argument,
			.val = OPTION_BASE + (int)i,
		};
	}
}

/* --help and --version have no effect but their text. */
static int show_and_end(const struct option_row *row)
{
	if (strcmp(row->name, "help") == 0)
		command_help(stdout);
	else
		puts("chat-client " CHAT_VERSION);
	return fflush(stdout) == 0 ? STATUS_OK : STATUS_OUTPUT;
}

/* Parse the options in ARGV[1...]; ORDER is the first character of a getopt(3)
 * string: "+" ends at the first other word, "" takes them from everywhere.
 * Returns a status; *ret_first is the first other word, or PARSE_DONE when there
 * is nothing more to do. */
static int parse(struct settings *settings, unsigned where, const char *order, int argc,
	char **argv, int *ret_first)
{
	struct option options[OPTIONS_MAX + 1] = { 0 };
	int c, r;

	make_options(where, options);
	optind = 0; /* glibc: begin anew */
	while ((c = getopt_long(argc, argv, order, options, NULL)) != -1) {
		const struct option_row *row;

		if (c < OPTION_BASE)
			return STATUS_USAGE; /* getopt has said it */
		row = &option_rows[c - OPTION_BASE];
		if (!row->set) {
			*ret_first = PARSE_DONE;
			return show_and_end(row);
		}
		r = row->set(settings, optarg);
		if (r)
			return r;
	}
	*ret_first = optind;
	return STATUS_OK;
}

/* People at a terminal get the shell; a pipe is only ever text. */
static int talk(const struct settings *settings, int argc, char **argv)
{
	static char lobby[] = "lobby";
	static char *rooms[] = { lobby };
	int r;

	if (argc == 0) {
		argc = 1;
		argv = rooms;
	}
	for (int i = 0; i < argc; i++) {
		r = script_check_target(argv[i]);
		if (r)
			return r;
	}
	if (isatty(STDIN_FILENO) && isatty(STDOUT_FILENO))
		return shell_run(settings, argc, argv);
	if (argc > 1)
		return complain_usage("what is read from a pipe can be said in one ROOM only");
	return script_pipe(settings, argv[0]);
}

int main(int argc, char **argv)
{
	static char me[] = "chat-client";
	const struct subcommand *command = NULL;
	struct settings settings = { 0 };
	int first = 0, r;

	setlocale(LC_CTYPE, "");
	signal(SIGPIPE, SIG_IGN); /* a write says EPIPE */
	if (argc < 1)
		return STATUS_USAGE;
	argv[0] = me; /* getopt's messages begin with it */

	r = parse(&settings, OPTION_ALWAYS, "+", argc, argv, &first);
	if (r || first == PARSE_DONE)
		return r;
	/* After "--" there are only rooms, also one that is called "say". */
	if (first < argc && strcmp(argv[first - 1], "--") != 0)
		command = subcommand_find(argv[first]);
	if (command) {
		argc -= first;
		argv += first;
		argv[0] = me;
		r = parse(
			&settings, command->options, command->text ? "+" : "", argc, argv, &first);
	} else if (first < argc && strcmp(argv[first - 1], "--") != 0) {
		argc -= first - 1;
		argv += first - 1;
		argv[0] = me;
		r = parse(&settings, OPTION_ALWAYS, "", argc, argv, &first);
	}
	if (r || first == PARSE_DONE)
		return r;
	return command ? command->run(&settings, argc - first, argv + first)
		       : talk(&settings, argc - first, argv + first);
}
