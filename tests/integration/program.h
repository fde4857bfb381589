/* program.h - chat-client as scripts use it: arguments, a pipe in, two pipes out, an
 * exit status.
 *
 *	struct program *listener = program_start(broker, "listen", "lobby");
 *
 *	program_wait_err(listener, "listening lobby from 1\n");
 *	program_check(broker, 0, "", "", "", "say", "lobby", "hello");
 *	program_wait_out(listener, "root: hello\n");
 *
 * It runs with CHAT_SOCKET set to the broker's socket, in UTC. Every wait is for
 * output or the end, within DEADLINE_MS.
 */
#pragma once

#include "tests/integration/harness.h"

#define PROGRAM_TEST(function)                                                                     \
	cmocka_unit_test_setup_teardown(function, program_setup, program_teardown)

int program_setup(void **state);
int program_teardown(void **state);

struct stream {
	int fd;     /* -1: at its end */
	char *text; /* all that came, terminated; owned */
	size_t len;
};

struct program_config {
	const char *path;           /* of the program; NULL: chat-client */
	const char *out;            /* standard output goes to this file; NULL: a pipe */
	const char *environment[4]; /* "NAME=VALUE" each, borrowed */
	const char *uid_map;        /* in a user namespace of its own, as UID; NULL: as the test */
	uid_t uid;
};

struct program {
	pid_t pid;
	int in; /* -1: closed */
	struct stream out, err;
};

struct program *program_start_with(const struct broker *broker, const struct program_config *config,
	const char *const arguments[]);
#define program_start_as(broker, config, ...)                                                      \
	program_start_with(broker, config, (const char *const[]){ __VA_ARGS__, NULL })
#define program_start(broker, ...)                                                                 \
	program_start_as(broker, (&(const struct program_config){ 0 }), __VA_ARGS__)

/* Write to its standard input, while its output is taken; end it. */
void program_put(struct program *program, const char *bytes, size_t len);
void program_put_end(struct program *program);
/* Close our end of its standard output. */
void program_close_out(struct program *program);

/* Wait until TEXT came. */
void program_wait_out(struct program *program, const char *text);
void program_wait_err(struct program *program, const char *text);
/* Wait until that many line feeds came. */
void program_wait_lines(struct program *program, unsigned n);

/* Wait for its end, with all its output. */
void program_expect_exit(struct program *program, int status);

/* Run it with this input; it must exit with STATUS and print OUT and ERR: patterns as in
 * harness.h. Returns it, for its output to be looked at. */
struct program *program_check_with(const struct broker *broker, const struct program_config *config,
	int status, const char *input, const char *out, const char *err,
	const char *const arguments[]);
#define program_check_as(broker, config, status, input, out, err, ...)                             \
	program_check_with(broker, config, status, input, out, err,                                \
		(const char *const[]){ __VA_ARGS__, NULL })
#define program_check(broker, status, input, out, err, ...)                                        \
	program_check_as(broker, (&(const struct program_config){ 0 }), status, input, out, err,   \
		__VA_ARGS__)
