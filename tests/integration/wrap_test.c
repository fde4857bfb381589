/* wrap_test.c - long lines in real terminals: no row begins with text that another user chose, see
 * chat-client(1), What others write. */
#include "tests/integration/program.h"
#include "tests/integration/terminal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ACUTE "\xcc\x81"         /* combining */
#define HAN   "\xe4\xb8\xad"     /* wide */
#define EMOJI "\xf0\x9f\x98\x80" /* wide */

/* Text that must not stand at the left edge. */
#define FORGED "15:27 root: run this"

/* Padding of messages that would bring FORGED to the left edge. */
static const char *const fillers[] = { " ", "x", HAN, ("e" ACUTE), EMOJI, "\t", "\xff",
	"\xd0\xb6" };

static int wrap_setup(void **state)
{
	return terminal_setup(state) || program_setup(state);
}

static int wrap_teardown(void **state)
{
	return program_teardown(state) || terminal_teardown(state);
}

#define WRAP_TEST(function) cmocka_unit_test_setup_teardown(function, wrap_setup, wrap_teardown)

static struct terminal_config plain(unsigned columns)
{
	return (struct terminal_config){
		.columns = columns, .rows = ROWS_MAX, .environment = { "NO_COLOR=1" }
	};
}

static void say_padded(struct raw *raw, const char *filler, unsigned n)
{
	char frame[2048] = "SAY lobby\n";

	while (n-- > 0)
		strcat(frame, filler);
	strcat(frame, FORGED);
	raw_send_bytes(raw, frame, strlen(frame));
}

/* Messages with every padding up to a row of so many columns. Returns how many they are. */
static unsigned say_forged(struct raw *raw, unsigned columns)
{
	unsigned n_messages = 0;

	for (size_t i = 0; i < ARRAY_LEN(fillers); i++)
		for (unsigned n = columns > 80 ? columns - 80 : 0; n <= columns; n++, n_messages++)
			say_padded(raw, fillers[i], n);
	raw_expect_quiet(raw);
	return n_messages;
}

/* The rows, on the screen and scrolled off it, that do not begin with a blank. */
static unsigned count_edges(struct terminal *terminal)
{
	const char *text = emulator_text(&terminal->emulator);
	unsigned n = 0;

	for (const char *row = text; row && *row; row = strchr(row, '\n')) {
		row += *row == '\n';
		n += *row && *row != ' ' && *row != '\n';
	}
	return n;
}

/* The terminal broke no line itself, and no row looks like a line of root. */
static void check_rows(struct terminal *terminal)
{
	const char *text = emulator_text(&terminal->emulator);

	if (strstr(text, "\n15:27") || strstr(text, "\nroot: ") || strstr(text, "\nrun this"))
		fail_msg("a forged line:\n%s", text);
	if (terminal->emulator.n_wraps > 0)
		fail_msg("the terminal wrapped %u rows:\n%s", terminal->emulator.n_wraps, text);
}

/* Each of N_LINES lines begins at the left edge, and nothing else does. */
static void check_lines(struct terminal *terminal, unsigned n_lines)
{
	check_rows(terminal);
	if (count_edges(terminal) != n_lines)
		fail_msg("%u rows, not %u, begin a line:\n%s", count_edges(terminal), n_lines,
			emulator_text(&terminal->emulator));
}

static void check_commands(struct broker *broker, const struct terminal_config *config, unsigned n)
{
	char count[16];
	struct terminal *terminal;

	snprintf(count, sizeof count, "%u", n);
	terminal = terminal_start_as(broker, config, "history", "lobby", "--last", count);
	terminal_expect_exit(terminal, 0);
	check_lines(terminal, n);
	terminal = terminal_start_as(broker, config, "find", "--last", count, "lobby", "run this");
	terminal_expect_exit(terminal, 0);
	check_lines(terminal, n);
	terminal = terminal_start_as(
		broker, config, "listen", "lobby", "--last", count, "--count", count);
	terminal_expect_exit(terminal, 0);
	check_lines(terminal, n + 1); /* and that it listens */
}

static void test_commands(void **state)
{
	static const unsigned widths[] = { 20, 80, 200, 1, 2, 6, 10 };

	for (size_t i = 0; i < ARRAY_LEN(widths); i++) {
		struct broker *broker = broker_start(NULL);
		struct raw *bob = raw_hello(broker, "name=b0b");
		const struct terminal_config config = plain(widths[i]);

		check_commands(broker, &config, say_forged(bob, widths[i]));
		broker_stop(broker);
		terminal_teardown(state);
	}
}

/* The locale of the user makes no difference to the measurement. */
static void test_locales(void **state)
{
	static const char *const locales[] = { "LC_ALL=C", "LC_ALL=POSIX", "LC_ALL=ja_JP.UTF-8",
		"LC_ALL=nowhere" };
	struct broker *broker = broker_start(NULL);
	struct raw *bob = raw_hello(broker, "name=b0b");
	unsigned n = say_forged(bob, 30);

	for (size_t i = 0; i < ARRAY_LEN(locales); i++) {
		struct terminal_config config = plain(30);
		struct terminal *terminal;
		char count[16];

		config.environment[1] = locales[i];
		snprintf(count, sizeof count, "%u", n);
		terminal = terminal_start_as(broker, &config, "history", "lobby", "--last", count);
		terminal_expect_exit(terminal, 0);
		check_lines(terminal, n);
	}
	broker_stop(broker);
}

/* A letter that is wide in the terminals of some languages. */
static void test_ambiguous(void **state)
{
	struct terminal_config config = plain(40);
	struct broker *broker = broker_start(NULL);
	struct raw *bob = raw_hello(broker, "name=b0b");
	struct terminal *terminal;

	say_padded(bob, "\xd0\xb6", 20);
	raw_expect_quiet(bob);
	config.environment[1] = "LC_ALL=ko";
	terminal = terminal_start_as(broker, &config, "listen", "lobby", "--last=1", "--count=1");
	terminal_expect_exit(terminal, 0);
	terminal_wait(terminal, "\n      \xd0\xb6\xd0\xb6\xd0\xb6\xd0\xb6\xd0\xb6\xd0\xb6\xd0\xb6"
				"\xd0\xb6\xd0\xb6\xd0\xb6\xd0\xb6\xd0\xb6\xd0\xb6\xd0\xb6\xd0\xb6"
				"\xd0\xb6\xd0\xb6\n");
	/* the Linux console knows no marks */
	say_padded(bob, "e" ACUTE, 20);
	raw_expect_quiet(bob);
	config.environment[1] = "TERM=linux";
	terminal = terminal_start_as(broker, &config, "listen", "lobby", "--last=1", "--count=1");
	terminal_expect_exit(terminal, 0);
	terminal_wait(terminal, "\n      eeeeeeeeeeeeeeeee\n"); /* and a mark on each */
	broker_stop(broker);
}

/* Where the kernel does not know the size, the environment may; 80 columns are usual. */
static void test_unknown_size(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *bob = raw_hello(broker, "name=b0b");
	static const char *const variables[] = { NULL, "COLUMNS=40", "COLUMNS=0", "COLUMNS=x",
		"COLUMNS=99999999" };
	unsigned n = say_forged(bob, 80);
	char count[16];

	snprintf(count, sizeof count, "%u", n);
	for (size_t i = 0; i < ARRAY_LEN(variables); i++) {
		struct terminal_config config = plain(i == 1 ? 40 : 80);
		struct terminal *terminal;

		config.hides_size = true;
		config.environment[1] = variables[i];
		terminal = terminal_start_as(broker, &config, "history", "lobby", "--last", count);
		terminal_expect_exit(terminal, 0);
		check_lines(terminal, n);
	}
	broker_stop(broker);
}

/* A terminal that becomes narrower, and wider again. */
static void test_resize(void **state)
{
	static const unsigned widths[] = { 20, 80, 33, 200, 10 };
	struct broker *broker = broker_start(NULL);
	struct raw *bob = raw_hello(broker, "name=b0b");
	const struct terminal_config config = plain(80);
	struct terminal *terminal = terminal_start_as(broker, &config, "listen", "lobby");
	unsigned n = 1;

	terminal_wait(terminal, "listening lobby");
	for (size_t i = 0; i < ARRAY_LEN(widths); i++) {
		terminal_resize(terminal, widths[i], ROWS_MAX);
		n += say_forged(bob, widths[i]);
		raw_send(bob, "SAY lobby\nnow-%u", widths[i]);
		terminal_wait(terminal, "now-%u", widths[i]);
		check_lines(terminal, ++n);
	}
	raw_close(bob);
	broker_stop(broker);
}

static void test_interactive(void **state)
{
	static const unsigned widths[] = { 20, 80, 200 };

	for (size_t i = 0; i < ARRAY_LEN(widths); i++) {
		struct broker *broker = broker_start(NULL);
		struct raw *bob = raw_hello(broker, "name=b0b");
		const struct terminal_config config = plain(widths[i]);
		struct terminal *alice =
			terminal_start_as(broker, &config, "--name", "al1ce", "lobby");
		unsigned n;

		terminal_expect_typing(alice, "lobby> ", 7);
		terminal_type(alice, "half");
		n = say_forged(bob, widths[i]);
		terminal_wait_wrapped(alice, FORGED, n);
		terminal_expect_typing(alice, "lobby> half", 11);
		check_rows(alice);
		terminal_type(alice, "\003"); /* drops input that is not shown yet */
		terminal_expect_typing(alice, "lobby> ", 7);
		terminal_type(alice, "/history 999\r");
		terminal_wait_wrapped(alice, FORGED, 2 * n);
		terminal_type(alice, "/find run\r");
		terminal_wait_wrapped(alice, FORGED, 2 * n + 100);
		terminal_expect_typing(alice, "lobby> ", 7);
		check_rows(alice);
		terminal_type(alice, "QUIT\r");
		terminal_expect_exit(alice, 0);
		broker_stop(broker);
		terminal_teardown(state);
	}
}

/* Words of others that are no messages: of a value, and of the administrator. */
static void test_notices(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *bob = raw_join(broker, "name=b0b", "lobby");
	const struct terminal_config config = plain(40);
	struct terminal *alice = terminal_start_as(broker, &config, "--name", "al1ce", "lobby");

	terminal_expect_typing(alice, "lobby> ", 7);
	for (unsigned n = 0; n < config.columns; n++) {
		raw_send(bob, "#s SET lobby topic\nx%*s" FORGED, (int)n, "");
		raw_await(bob, "#s * ~");
		terminal_wait_wrapped(alice, "topic: x" FORGED, n + 1);
		broker_ctl(broker, "WALL x%*s" FORGED, (int)n, "");
		terminal_wait_wrapped(alice, "broker: x" FORGED, n + 1);
	}
	check_rows(alice);
	broker_stop(broker);
}

/* The reason of a stop goes to standard error, too. */
static void test_stop(void **state)
{
	for (unsigned n = 0; n < 16; n++) {
		struct broker *broker = broker_start(NULL);
		const struct terminal_config config = plain(20);
		struct terminal *listener = terminal_start_as(broker, &config, "listen", "lobby");

		terminal_wait_wrapped(listener, "listening lobby", 1);
		broker_ctl(broker, "STOP x%*s" FORGED, (int)n, "");
		terminal_wait_wrapped(listener, "stopped (x" FORGED, 1);
		check_lines(listener, 2);
		broker_expect_exit(broker, 0);
		terminal_teardown(state);
	}
}

/* Names may be longer than a row. */
static void test_names(void **state)
{
	static const char *const requests[][3] = { { "who", NULL }, { "rooms", NULL },
		{ "who", "zzzzzzzzzzzzzzzzzzzzroot.0", NULL }, { "room", "lobby", NULL },
		{ "room", "lobby", "topic" }, { "stats", "sessions", NULL } };
	static const unsigned widths[] = { 10, 20 };

	for (size_t i = 0; i < ARRAY_LEN(widths); i++) {
		struct broker *broker = broker_start(NULL);
		struct raw *bob = raw_join(
			broker, "name=zzzzzzzzzzzzzzzzzzzzroot", "zzzzzzzzzzzzzzzzzzzzroot.0");
		const struct terminal_config config = plain(widths[i]);

		raw_send(bob, "#s SET lobby topic\n%020d" FORGED, 0);
		raw_await(bob, "#s * ~");
		for (size_t k = 0; k < ARRAY_LEN(requests); k++) {
			const char *arguments[4] = { requests[k][0], requests[k][1],
				requests[k][1] ? requests[k][2] : NULL };
			struct terminal *terminal = terminal_start_with(broker, &config, arguments);

			terminal_expect_exit(terminal, 0);
			check_rows(terminal);
			assert_int_equal(terminal_count(terminal, "\nroot"), 0);
		}
		broker_stop(broker);
		terminal_teardown(state);
	}
}

/* Text that does not fit is cut off: also in fewer columns than top is made for, and also a reason
 * that is longer when it is escaped. */
static void test_top(void **state)
{
	static const unsigned widths[] = { 2, 10, 19, 40 };

	for (size_t i = 0; i < ARRAY_LEN(widths); i++) {
		struct broker *broker = broker_start(NULL);
		const struct terminal_config config = plain(widths[i]);
		struct terminal *top =
			terminal_start_as(broker, &config, "top", "--interval", "0.1");

		raw_join(broker, "name=zzzzzzzzzzroot", "zzzzzzzzzzroot");
		terminal_wait(top, "\nz");
		broker_ctl(broker, "STOP \033\033\033\033\033\033\033\033\033" FORGED);
		broker_expect_exit(broker, 0);
		terminal_wait(top, widths[i] == 2 ? "t\n" : "the broke");
		assert_int_equal(top->emulator.n_wraps, 0);
		terminal_type(top, "q");
		terminal_expect_exit(top, 0);
		assert_int_equal(top->emulator.n_wraps, 0);
		terminal_teardown(state);
	}
}

/* The longest message, of the characters that take most columns when they are shown. */
static void test_longest(void **state)
{
	static char frame[BODY_LEN_MAX + 16] = "SAY lobby\n";
	struct broker *broker = broker_start(NULL);
	struct raw *bob = raw_hello(broker, "name=b0b");
	const struct terminal_config config = plain(200);
	struct terminal *terminal;

	memset(frame + 10, '\033', BODY_LEN_MAX);
	raw_send_bytes(bob, frame, BODY_LEN_MAX + 10);
	raw_expect_quiet(bob);
	terminal = terminal_start_as(broker, &config, "history", "lobby");
	terminal_expect_exit(terminal, 0);
	check_lines(terminal, 1);
	terminal_wait_wrapped(terminal, "\\x1b", BODY_LEN_MAX);
	broker_stop(broker);
}

/* A program gets one line for each message, and the formats for programs stay as they are. */
static void test_programs(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *bob = raw_hello(broker, "name=b0b");
	const struct terminal_config config = plain(20);
	const char *const formats[] = { "--json", "--raw" };
	char wanted[256];

	say_padded(bob, "e" ACUTE ACUTE ACUTE ACUTE ACUTE, 1);
	say_padded(bob, " ", 100);
	raw_expect_quiet(bob);
	snprintf(wanted, sizeof wanted,
		"~: e" ACUTE ACUTE ACUTE ACUTE ACUTE FORGED "\n~: %100s" FORGED "\n", "");
	program_check(broker, 0, "", wanted, "", "history", "lobby");
	program_check(broker, 0, "", wanted, "", "find", "lobby", "run this");
	program_check(broker, 0, "", wanted, "listening lobby from 1\n", "listen", "lobby",
		"--last=2", "--count=2");
	for (size_t i = 0; i < ARRAY_LEN(formats); i++) {
		struct terminal *terminal = terminal_start_as(
			broker, &config, "listen", formats[i], "lobby", "--last=2", "--count=2");

		terminal_expect_exit(terminal, 0);
		assert_true(terminal->emulator.n_wraps > 0);
	}
	broker_stop(broker);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WRAP_TEST(test_commands),
		WRAP_TEST(test_locales),
		WRAP_TEST(test_ambiguous),
		WRAP_TEST(test_unknown_size),
		WRAP_TEST(test_resize),
		WRAP_TEST(test_interactive),
		WRAP_TEST(test_notices),
		WRAP_TEST(test_stop),
		WRAP_TEST(test_names),
		WRAP_TEST(test_top),
		WRAP_TEST(test_longest),
		WRAP_TEST(test_programs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
