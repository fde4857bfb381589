/* main.c - chat-client(1): argv in, exit status out. */
#include <fcntl.h>
#include <getopt.h>
#include <langinfo.h>
#include <locale.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/command.h"
#include "client/output.h"
#include "client/script.h"
#include "client/shell.h"
#include "protocol/base.h"

#define OPTIONS_MAX 16
#define OPTION_BASE 256 /* getopt values of the rows: no characters */

/* --help or --version did its work. */
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

/* The first subcommand that takes an option of this row. */
static const char *option_owner(const struct option_row *row)
{
	for (size_t i = 0; i < n_subcommands; i++)
		if (subcommands[i].options & row->where)
			return subcommands[i].name;
	return "the command";
}

/* getopt_long(3) returned C: WORD is not an option here. */
static int complain_option(int c, const char *word)
{
	const struct option_row *row =
		optopt >= OPTION_BASE ? &option_rows[optopt - OPTION_BASE] : NULL;
	size_t len = strcspn(word, "=");

	if (c == ':' && row)
		return complain_usage(
			"--%s needs %s; see chat-client --help", row->name, row->argument);
	if (row)
		return complain_usage("--%s takes no argument; see chat-client --help", row->name);
	if (optopt)
		return complain_usage("there is no option -%c; see chat-client --help", optopt);
	for (size_t i = 0; i < n_option_rows; i++)
		if (option_rows[i].where != OPTION_ALWAYS && len > 2 &&
			text_equal(
				(struct text){ word + 2, len - 2 }, text_of(option_rows[i].name)))
			return complain_usage("--%s goes after %s; see chat-client --help",
				option_rows[i].name, option_owner(&option_rows[i]));
	return complain_usage("there is no option %s; see chat-client --help", word);
}

/* Parse the options in ARGV[1...]; ORDER is the first character of a getopt(3)
 * string: "+:" ends at the first other word, ":" takes them from everywhere.
 * Returns a status; *ret_first is the first other word, or PARSE_DONE when there
 * is nothing more to do. */
static int parse(struct settings *settings, unsigned where, const char *order, int argc,
	char **argv, int *ret_first)
{
	struct option options[OPTIONS_MAX + 1] = { 0 };
	int c, r;

	make_options(where, options);
	optind = 0; /* glibc: begin anew */
	opterr = 0;
	while ((c = getopt_long(argc, argv, order, options, NULL)) != -1) {
		const struct option_row *row;

		if (c < OPTION_BASE)
			return complain_option(c, argv[optind - 1]);
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
		return complain_usage("%s is no command; to say standard input in one room give "
				      "one ROOM",
			argv[0]);
	return script_pipe(settings, argv[0]);
}

/* A socket must never become standard output: 0, 1 and 2 are open, or are made so. */
static void keep_descriptors(void)
{
	int fd;

	while ((fd = open("/dev/null", O_RDWR)) >= 0 && fd <= STDERR_FILENO)
		;
	if (fd >= 0)
		close(fd);
}

/* What is said is UTF-8, also where the locale is C. Readline sets the locale anew from
 * the environment. */
static void set_locale(void)
{
	setlocale(LC_CTYPE, "");
	if (strcmp(nl_langinfo(CODESET), "UTF-8") != 0 && setlocale(LC_CTYPE, "C.UTF-8"))
		setenv("LC_ALL", "C.UTF-8", 1);
}

/* On a terminal, a part of another user's text must not look like a line of its own. With --json
 * and --raw the output is for programs. */
static int wrap_output(const struct settings *settings, const struct subcommand *command)
{
	if (!command || command->draws || settings->json || settings->raw)
		return STATUS_OK;
	if (output_wrap(&stdout)) {
		complain("out of memory");
		return STATUS_SYSTEM;
	}
	return STATUS_OK;
}

int main(int argc, char **argv)
{
	static char me[] = "chat-client";
	const struct subcommand *command = NULL;
	struct settings settings = { 0 };
	int first = 0, r;

	keep_descriptors();
	output_init();
	if (output_wrap(&stderr))
		return STATUS_SYSTEM;
	set_locale();
	signal(SIGPIPE, SIG_IGN); /* a write says EPIPE */
	signal(SIGXFSZ, SIG_IGN); /* a write says EFBIG */
	if (argc < 1)
		return STATUS_USAGE;
	argv[0] = me;

	r = parse(&settings, OPTION_ALWAYS, "+:", argc, argv, &first);
	if (r || first == PARSE_DONE)
		return r;
	/* After "--" there are only rooms, also one that is called "say". */
	if (first < argc && strcmp(argv[first - 1], "--") != 0)
		command = subcommand_find(argv[first]);
	if (command) {
		argc -= first;
		argv += first;
		argv[0] = me;
		r = parse(&settings, command->options, command->text ? "+:" : ":", argc, argv,
			&first);
	} else if (first < argc && strcmp(argv[first - 1], "--") != 0) {
		argc -= first - 1;
		argv += first - 1;
		argv[0] = me;
		r = parse(&settings, OPTION_ALWAYS, ":", argc, argv, &first);
	}
	if (r || first == PARSE_DONE)
		return r;
	r = wrap_output(&settings, command);
	if (r)
		return r;
	return command ? command->run(&settings, argc - first, argv + first)
		       : talk(&settings, argc - first, argv + first);
}
