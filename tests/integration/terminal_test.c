/* terminal_test.c - what people see while they type, in real terminals: chat-client(1). */
#include "tests/integration/terminal.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PASTE_START "\033[200~"
#define PASTE_END   "\033[201~"

#define LEFT "\033[D"

/* A terminal of alice in lobby, ready to type. */
static struct terminal *start_alice(struct broker *broker, const struct terminal_config *config)
{
	struct terminal *alice = terminal_start_as(broker, config, "--name", "al1ce");

	terminal_expect_typing(alice, "lobby> ", 7);
	return alice;
}

static const struct terminal_config wide = { .columns = 80 };

static void test_three_people(void **state)
{
	static const char *const names[] = { "al1ce", "b0b", "car0l" };
	struct broker *broker = broker_start(NULL);
	struct terminal *terminals[3];
	char *first, *other;

	for (unsigned i = 0; i < 3; i++)
		terminals[i] = terminal_start(broker, 80, "--name", names[i], "lobby");
	for (unsigned i = 0; i < 3; i++)
		terminal_wait(terminals[i], "lobby>");
	for (unsigned n = 0; n < 20; n++)
		for (unsigned i = 0; i < 3; i++)
			terminal_type(terminals[i], "line %u.\r", n);
	for (unsigned i = 0; i < 3; i++) {
		terminal_wait_count(terminals[i], ": line ", 60);
		terminal_expect_typing(terminals[i], "lobby> ", 7);
	}
	for (unsigned n = 0; n < 20; n++) {
		char line[32];

		snprintf(line, sizeof line, ": line %u.", n);
		for (unsigned k = 0; k < 3; k++)
			assert_int_equal(terminal_count(terminals[k], line), 3);
	}
	/* and each person's in the order in which they were typed */
	for (unsigned k = 1; k < 3; k++) {
		for (unsigned i = 0; i < 3; i++) {
			first = terminal_grep(terminals[0], names[i]);
			other = terminal_grep(terminals[k], names[i]);
			/* the later ones do not see the earlier ones come */
			assert_string_equal(strstr(first, ": line 0."), strstr(other, ": line 0."));
			free(first);
			free(other);
		}
	}
	broker_stop(broker);
}

/* The whole lines, not only each person's, are in one order. */
static void test_one_order(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *raw = raw_hello(broker, "name=raw");
	struct terminal *terminals[3];
	char *first = NULL;

	for (unsigned i = 0; i < 3; i++) {
		char name[8];

		snprintf(name, sizeof name, "t%u", i);
		terminals[i] = terminal_start(broker, 80, "--name", name);
		terminal_wait(terminals[i], "lobby>");
	}
	for (unsigned n = 0; n < 100; n++) {
		raw_send(raw, "SAY lobby\nsaid raw %u", n);
		terminal_type(terminals[n % 3], "said typed %u\r", n);
	}
	for (unsigned i = 0; i < 3; i++) {
		char *said;

		terminal_wait_count(terminals[i], ": said ", 200);
		said = terminal_grep(terminals[i], ": said ");
		if (first)
			assert_string_equal(said, first);
		else
			first = strdup(said);
		free(said);
	}
	free(first);
	broker_stop(broker);
}

/* Type LINE, go BACK characters to the left; then something comes. */
static void check_half_typed(
	const struct terminal_config *config, const char *line, unsigned back, const char *body)
{
	struct broker *broker = broker_start(NULL);
	struct terminal *alice = start_alice(broker, config);
	struct raw *bob = raw_hello(broker, "name=b0b");
	char typed[512], said[512];
	unsigned at;

	snprintf(typed, sizeof typed, "lobby> %s", line);
	at = (unsigned)strlen(typed) - back;
	terminal_type(alice, "%s", line);
	for (unsigned i = 0; i < back; i++)
		terminal_type(alice, LEFT);
	terminal_expect_typing(alice, typed, at);
	for (int i = 0; i < 3; i++) {
		raw_send(bob, "#s SAY lobby\n%s", body);
		raw_expect(bob, "#s * %d", i + 1);
		terminal_wait_wrapped(alice, body, (unsigned)i + 1);
		terminal_expect_typing(alice, typed, at);
	}
	terminal_wait_count(alice, "lobby>", 1);
	terminal_type(alice, "X\r");
	snprintf(said, sizeof said, ": %.*sX%s", (int)(strlen(line) - back), line,
		line + strlen(line) - back);
	terminal_wait_wrapped(alice, said, 1);
	terminal_expect_typing(alice, "lobby> ", 7);
	terminal_wait_count(alice, "lobby>", 1);
	terminal_type(alice, "QUIT\r");
	terminal_expect_exit(alice, 0);
	broker_stop(broker);
}

#define LONG_LINE                                                                                  \
	"the quick brown fox jumps over the lazy dog and then sits down to write a line that is "  \
	"longer than any terminal is wide, so that it takes three rows of eighty columns or so"

static void test_half_typed_line_stays(void **state)
{
	check_half_typed(&wide, "half a line", 0, "hello");
	check_half_typed(&wide, "half a line", 5, "hello");
	check_half_typed(&wide, "half a line", 11, "hello");
}

static void test_half_typed_long_line_stays(void **state)
{
	check_half_typed(&wide, LONG_LINE, 0, "hello");
	check_half_typed(&wide, LONG_LINE, 80, "hello");
	check_half_typed(&wide, LONG_LINE, 150, "and " LONG_LINE);
}

static void test_half_typed_to_the_margin(void **state)
{
	char line[200];

	for (unsigned len = 71; len <= 75; len++) {
		memset(line, 'x', len);
		line[len] = '\0';
		check_half_typed(&wide, line, 0, "hello");
	}
}

static void test_narrow_terminal(void **state)
{
	static const struct terminal_config narrow = { .columns = 20 };

	check_half_typed(&narrow, "half a line", 3, "hello");
	check_half_typed(&narrow, "a line that is longer than twenty columns", 0, LONG_LINE);
	check_half_typed(&narrow, "a line that is longer than twenty columns", 30, LONG_LINE);
}

/* Where a room has a long name, there is room for the line all the same. */
static void test_narrow_prompt(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct terminal *alice =
		terminal_start(broker, 20, "--name", "al1ce", "build.ci.nightly.of-a-long-name");

	terminal_wait(alice, "ong-name>");
	terminal_type(alice, "hello\r");
	terminal_wait_wrapped(alice, ": hello", 1);
	broker_stop(broker);
}

static void test_resize(void **state)
{
	for (unsigned reflows = 0; reflows < 2; reflows++) {
		const struct terminal_config config = { .columns = 80, .reflows = reflows };
		struct broker *broker = broker_start(NULL);
		struct terminal *alice = start_alice(broker, &config);
		struct raw *bob = raw_hello(broker, "name=b0b");
		static const char typed[] =
			"lobby> a line of some fifty columns, still being typed";
		const unsigned widths[] = { 80, 20, 80, 33, 61, 62, 20, 80 };

		terminal_type(alice, "%s", typed + 7);
		for (unsigned i = 0; i < ARRAY_LEN(widths); i++) {
			terminal_resize(alice, widths[i], TERMINAL_ROWS);
			terminal_expect_typing(alice, typed, sizeof typed - 1);
			char text[32];

			snprintf(text, sizeof text, ", change %u.", i);
			raw_send(bob, "SAY lobby\nwidth %u%s", widths[i], text);
			terminal_wait_wrapped(alice, text, 1);
			terminal_expect_typing(alice, typed, sizeof typed - 1);
		}
		terminal_type(alice, LEFT LEFT LEFT);
		terminal_expect_typing(alice, typed, sizeof typed - 4);
		terminal_resize(alice, 30, 10);
		terminal_expect_typing(alice, typed, sizeof typed - 4);
		terminal_resize(alice, 80, TERMINAL_ROWS);
		terminal_expect_typing(alice, typed, sizeof typed - 4);
		terminal_type(alice, "\r");
		terminal_wait_count(alice, ": a line of some fifty columns, still being typed", 1);
		/* xterm cuts off what does not fit */
		for (unsigned i = 0; reflows && i < ARRAY_LEN(widths); i++) {
			char text[32];

			snprintf(text, sizeof text, ", change %u.", i);
			terminal_wait_wrapped(alice, text, 1);
		}
		broker_stop(broker);
		terminal_teardown(state);
	}
}

static void test_paste(void **state)
{
	static const char *const lines[] = { "one", "two", "/quit", "QUIT", "five" };
	struct broker *broker = broker_start(NULL);
	struct terminal *alice = start_alice(broker, &wide);
	struct raw *bob = raw_join(broker, "name=b0b", "lobby");

	/* a terminal sends CR where the clipboard has LF */
	terminal_type(alice, PASTE_START "one\rtwo\r\r/quit\rQUIT\rfive\r" PASTE_END);
	terminal_wait(alice, "five");
	terminal_wait(alice, "lobby> one");
	raw_expect_quiet(bob); /* nothing is said before Enter */
	raw_send(bob, "SAY lobby\nmeanwhile");
	raw_expect(bob, "MSG lobby 1 ~\nmeanwhile");
	terminal_wait_count(alice, "meanwhile", 1);
	terminal_wait_count(alice, "lobby> one", 1);
	terminal_type(alice, "\r");
	for (unsigned i = 0; i < ARRAY_LEN(lines); i++) {
		char text[32];

		raw_expect(bob, "MSG lobby ~ al1ce ~\n%s", lines[i]);
		snprintf(text, sizeof text, ": %s", lines[i]);
		terminal_wait_count(alice, text, 1);
	}
	terminal_expect_typing(alice, "lobby> ", 7);

	/* a terminal without bracketed paste: as if it were typed */
	terminal_type(alice, "six\rseven\reight\rnine\rten\r");
	raw_expect(bob, "MSG lobby ~ al1ce ~\nsix");
	raw_expect(bob, "MSG lobby ~ al1ce ~\nseven");
	raw_expect(bob, "MSG lobby ~ al1ce ~\neight");
	raw_expect(bob, "MSG lobby ~ al1ce ~\nnine");
	raw_expect(bob, "MSG lobby ~ al1ce ~\nten");
	terminal_wait_count(alice, ": ten", 1);
	terminal_expect_typing(alice, "lobby> ", 7);
	terminal_wait_count(alice, "lobby>", 1);

	/* one pasted line is a line like any other, and may be changed first */
	terminal_type(alice, PASTE_START "eleven" PASTE_END "!\r");
	raw_expect(bob, "MSG lobby ~ al1ce ~\neleven!");
	raw_expect_quiet(bob);
	broker_stop(broker);
}

static void test_burst_while_typing(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct terminal *alice = start_alice(broker, &wide);
	struct raw *bob = raw_hello(broker, "name=b0b");
	char *lines, *at;

	terminal_type(alice, "half a line" LEFT LEFT);
	terminal_expect_typing(alice, "lobby> half a line", 16);
	for (unsigned i = 0; i < 1000; i++)
		raw_send(bob, "SAY lobby\nburst %u.", i);
	terminal_wait_count(alice, ": burst ", 1000);
	terminal_expect_typing(alice, "lobby> half a line", 16);
	terminal_wait_count(alice, "half a line", 1);
	at = lines = terminal_grep(alice, ": burst ");
	for (unsigned i = 0; i < 1000; i++) {
		char line[32];

		snprintf(line, sizeof line, ": burst %u.\n", i);
		if (strncmp(at, line, strlen(line)) != 0)
			fail_msg("not in order: %.30s, expected %s", at, line);
		at += strlen(line);
	}
	free(lines);
	terminal_type(alice, "\r");
	terminal_wait_count(alice, ": half a line", 1);
	broker_stop(broker);
}

/* What others write that a terminal would obey, and how it is shown. */
static const struct {
	const char *bytes;
	size_t len;
	const char *shown;
} evil[] = {
#define EVIL(bytes, shown)                                                                         \
	{                                                                                          \
		bytes, sizeof(bytes) - 1, shown                                                    \
	}
	EVIL("\033[2J\033[H", "\\x1b[2J\\x1b[H"),
	EVIL("\033]0;title\007", "\\x1b]0;title\\x07"),
	EVIL("\033]52;c;ZXZpbA==\033\\", "\\x1b]52;c;ZXZpbA==\\x1b\\\\"),
	EVIL("\033P$q\"p\033\\", "\\x1bP$q\"p\\x1b\\\\"),
	EVIL("\033[6n", "\\x1b[6n"),
	EVIL("\x9b"
	     "2J",
		"\\x9b2J"),
	EVIL("\xc2\x9b"
	     "2J",
		"\\xc2\\x9b2J"),
	EVIL("\xc2\x85next", "\\xc2\\x85next"),
	EVIL("\xe2\x80\xae"
	     "drawkcab",
		"\\xe2\\x80\\xaedrawkcab"),
	EVIL("\xe2\x81\xa6iso\xe2\x81\xa9", "\\xe2\\x81\\xa6iso\\xe2\\x81\\xa9"),
	EVIL("\xe2\x80\xa8line", "\\xe2\\x80\\xa8line"),
	EVIL("\xef\xbb\xbf", "\\xef\\xbb\\xbf"),
	EVIL("one\ntwo\rthree\tfour", "one\\ntwo\\x0dthree\\tfour"),
	EVIL("nul\0nul", "nul\\x00nul"),
	EVIL("del\x7f"
	     "bs\b\b\bso\016si\017",
		"del\\x7fbs\\x08\\x08\\x08so\\x0esi\\x0f"),
	EVIL("\xff\xfe\xc3", "\\xff\\xfe\\xc3"),
	EVIL("\xed\xa0\x80", "\\xed\\xa0\\x80"),
	EVIL("\001\002", "\\x01\\x02"),
	EVIL("back\\slash", "back\\\\slash"),
#undef EVIL
};

static void say_evil(struct raw *raw, const char *target)
{
	char frame[512];

	for (size_t i = 0; i < ARRAY_LEN(evil); i++) {
		int n = snprintf(frame, sizeof frame, "SAY %s\n%zu<", target, i);

		memcpy(frame + n, evil[i].bytes, evil[i].len);
		frame[n + (int)evil[i].len] = '>';
		raw_send_bytes(raw, frame, (size_t)n + evil[i].len + 1);
	}
}

static void check_evil(struct terminal *terminal, const char *before, unsigned n)
{
	for (size_t i = 0; i < ARRAY_LEN(evil); i++) {
		char text[256];

		snprintf(text, sizeof text, "%s%zu<%s>", before, i, evil[i].shown);
		terminal_wait_count(terminal, text, n);
		if (i < ARRAY_LEN(evil) - 1 &&
			terminal_was_sent(terminal, evil[i].bytes, evil[i].len))
			fail_msg("a terminal was sent what is shown as %s", evil[i].shown);
	}
}

static void test_others_control_nothing(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct terminal *alice = start_alice(broker, &wide), *later;
	struct raw *bob = raw_hello(broker, "name=b0b");

	terminal_type(alice, "half a line");
	say_evil(bob, "lobby");
	say_evil(bob, "@al1ce");
	raw_expect_quiet(bob);
	check_evil(alice, ": ", 2);
	terminal_wait_count(alice, "[@b0b] ", ARRAY_LEN(evil));
	terminal_expect_typing(alice, "lobby> half a line", 18);

	/* and as what was said before somebody came */
	later = terminal_start(broker, 80, "--name", "later");
	check_evil(later, ": ", 1);
	terminal_expect_typing(later, "lobby> ", 7);

	/* the words of a broker that stops, too */
	broker_ctl(broker, "WALL \033[31mred\033[m \xc2\x9b!");
	terminal_wait(alice, "[wall] broker: \\x1b[31mred\\x1b[m \\xc2\\x9b!");
	broker_ctl(broker, "STOP \033]0;stop\007 \xe2\x80\xae");
	terminal_wait(alice, "the broker was stopped");
	assert_false(terminal_was_sent(alice, "\033]0", 3));
	assert_false(terminal_was_sent(alice, "\033[31mred", 8));
	assert_false(terminal_was_sent(alice, "\xe2\x80\xae", 3));
	broker_expect_exit(broker, 0);
}

/* Letters and wide characters are not escaped, and the cursor stays where it belongs. */
static void test_other_scripts(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct terminal *alice = start_alice(broker, &wide);
	struct raw *bob = raw_hello(broker, "name=b0b");

	terminal_type(alice, "grüße 世界" LEFT);
	terminal_wait(alice, "lobby> grüße 世界");
	raw_send(bob, "SAY lobby\nпривет, 世界, שלום");
	terminal_wait(alice, ": привет, 世界, שלום");
	terminal_wait(alice, "lobby> grüße 世界");
	terminal_type(alice, "!\r");
	terminal_wait(alice, ": grüße 世!界");
	broker_stop(broker);
}

static void test_colours(void **state)
{
	struct broker *broker = broker_start(NULL);
	const struct terminal_config plain = { .environment = { "NO_COLOR=1" } };
	const struct terminal_config empty = { .environment = { "NO_COLOR=" } };
	const struct terminal_config dumb = { .environment = { "TERM=dumb" } };
	struct terminal *terminals[] = {
		terminal_start(broker, 80, "--name", "a"),
		terminal_start_as(broker, &empty, "--name", "b"),
		terminal_start_as(broker, &plain, "--name", "c"),
		terminal_start_as(broker, &dumb, "--name", "d"),
	};

	for (unsigned i = 0; i < 4; i++) {
		terminal_wait(terminals[i], "lobby>");
		terminal_type(terminals[i], "said by %u\r", i);
	}
	for (unsigned i = 0; i < 4; i++) {
		bool colour = i < 2;

		for (unsigned k = 0; k < 4; k++)
			terminal_wait(terminals[i], "said by %u", k);
		assert_int_equal(terminal_was_sent(terminals[i], "\033[1m", 4), colour);
		assert_int_equal(terminal_was_sent(terminals[i], "\033[0m", 4), colour);
		assert_int_equal(terminal_was_sent(terminals[i], "\033[2m", 4), colour);
		terminal_type(terminals[i], "QUIT\r");
		terminal_expect_exit(terminals[i], 0);
	}
	/* no sequence whatever for a terminal that knows none */
	assert_false(terminal_was_sent(terminals[3], "\033", 1));
	broker_stop(broker);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TERMINAL_TEST(test_three_people),
		TERMINAL_TEST(test_one_order),
		TERMINAL_TEST(test_half_typed_line_stays),
		TERMINAL_TEST(test_half_typed_long_line_stays),
		TERMINAL_TEST(test_half_typed_to_the_margin),
		TERMINAL_TEST(test_narrow_terminal),
		TERMINAL_TEST(test_narrow_prompt),
		TERMINAL_TEST(test_resize),
		TERMINAL_TEST(test_paste),
		TERMINAL_TEST(test_burst_while_typing),
		TERMINAL_TEST(test_others_control_nothing),
		TERMINAL_TEST(test_other_scripts),
		TERMINAL_TEST(test_colours),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
