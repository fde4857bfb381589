/* terminal.h - chat-client in a real pseudo-terminal, and the screen that a person
 * would see:
 *
 *	struct terminal *alice = terminal_start(broker, 80, "--name", "alice");
 *
 *	terminal_type(alice, "hello\r");
 *	terminal_wait(alice, ": hello");
 *	terminal_expect_typing(alice, "lobby> ", 7);
 *
 * It runs with TERM=xterm, in UTC, in a locale of UTF-8, with the broker's directory
 * as home. Every wait is for the screen to become so, within DEADLINE_MS; a sequence
 * that the emulator does not know fails the test.
 */
#pragma once

#include "tests/integration/emulator.h"
#include "tests/integration/harness.h"

#include <termios.h>

#define TERMINAL_ROWS 24u

#define TERMINAL_TEST(function)                                                                    \
	cmocka_unit_test_setup_teardown(function, terminal_setup, terminal_teardown)

int terminal_setup(void **state);
int terminal_teardown(void **state);

struct terminal_config {
	unsigned columns, rows;     /* 0: 80, TERMINAL_ROWS */
	bool reflows;               /* see emulator.h */
	bool shell;                 /* run sh -i instead of chat-client */
	bool hides_size;            /* the kernel does not know the size */
	const char *environment[4]; /* "NAME=VALUE" each, borrowed */
};

struct terminal {
	pid_t pid;
	int master, slave; /* the slave stays open, so that it can be looked at */
	struct emulator emulator;
	char *bytes; /* all that it was sent; owned */
	size_t bytes_len, bytes_size;
	struct termios before; /* its settings when the program was started */
};

/* Run chat-client with these arguments, up to NULL, against BROKER. */
struct terminal *terminal_start_with(const struct broker *broker,
	const struct terminal_config *config, const char *const arguments[]);
#define terminal_start_as(broker, config, ...)                                                     \
	terminal_start_with(broker, config, (const char *const[]){ __VA_ARGS__, NULL })
#define terminal_start(broker, width, ...)                                                         \
	terminal_start_as(broker, (&(struct terminal_config){ .columns = (width) }), __VA_ARGS__)

/* The same as NAME, in 80 columns; it waits to be typed at. */
struct terminal *terminal_start_named(const struct broker *broker, const char *name);

/* Close the keyboard and the screen, as when a window is closed. */
void terminal_hang_up(struct terminal *terminal);

_printf_(2, 3) void terminal_type(struct terminal *terminal, const char *format, ...);
void terminal_type_bytes(struct terminal *terminal, const char *bytes, size_t len);
void terminal_resize(struct terminal *terminal, unsigned columns, unsigned rows);

/* Wait until the screen shows TEXT. */
_printf_(2, 3) void terminal_wait(struct terminal *terminal, const char *text, ...);

/* Wait until so many lines, on the screen and scrolled off it, contain TEXT. */
void terminal_wait_count(struct terminal *terminal, const char *text, unsigned n);
unsigned terminal_count(struct terminal *terminal, const char *text);

/* Wait until TEXT was shown so many times, in however many rows: blanks and ends of rows are not
 * compared. */
void terminal_wait_wrapped(struct terminal *terminal, const char *text, unsigned n);

/* Wait until the program has sent these bytes. */
void terminal_wait_bytes(struct terminal *terminal, const char *bytes);
bool terminal_was_sent(const struct terminal *terminal, const void *bytes, size_t len);

/* All lines that contain TEXT, from there to their ends, each with LF; to be freed. */
char *terminal_grep(struct terminal *terminal, const char *text);

/* Wait until LINE, prompt and all, stands at the bottom, in as many rows as it takes,
 * with the cursor at its character number AT. */
void terminal_expect_typing(struct terminal *terminal, const char *line, unsigned at);

/* Wait for the end; it must exit with STATUS and leave the terminal as it was. */
void terminal_expect_exit(struct terminal *terminal, int status);

/* The settings are those from before the program. */
bool terminal_is_restored(const struct terminal *terminal);
