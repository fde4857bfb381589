/* json_test.c - listen --json prints JSON, RFC 8259, one object a line, whatever others
 * say: OUTPUT of chat-client(1). */
#include "tests/integration/program.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- a checker: each function goes behind what it has read, or returns NULL ---- */

#define HEX "0123456789abcdefABCDEF"

static const char *json_escape(const char *at)
{
	if (*at == 'u')
		return strspn(at + 1, HEX) >= 4 ? at + 5 : NULL;
	return *at && strchr("\"\\/bfnrt", *at) ? at + 1 : NULL;
}

static const char *json_string(const char *at)
{
	if (*at++ != '"')
		return NULL;
	while (at && *at != '"') {
		if ((unsigned char)*at < 0x20)
			return NULL;
		at = *at == '\\' ? json_escape(at + 1) : at + 1;
	}
	return at ? at + 1 : NULL;
}

static const char *json_number(const char *at)
{
	size_t n = strspn(at, "0123456789");

	return n == 0 || (n > 1 && *at == '0') ? NULL : at + n;
}

static const char *json_value(const char *at)
{
	if (*at == '"')
		return json_string(at);
	if (strncmp(at, "true", 4) == 0)
		return at + 4;
	if (strncmp(at, "false", 5) == 0)
		return at + 5;
	return json_number(at);
}

static const char *json_object(const char *at)
{
	if (*at++ != '{')
		return NULL;
	for (;;) {
		at = json_string(at);
		if (!at || *at++ != ':')
			return NULL;
		at = json_value(at);
		if (!at)
			return NULL;
		if (*at == '}')
			return at + 1;
		if (*at++ != ',')
			return NULL;
	}
}

static void check_lines(const char *text, unsigned n)
{
	const char *end;

	if (!text_is_utf8(text_of(text)))
		fail_msg("not UTF-8: %s", text);
	for (; n > 0; n--, text = end + 1) {
		end = json_object(text);
		if (!end || *end != '\n')
			fail_msg("not a JSON object: %s", text);
	}
	if (*text)
		fail_msg("behind the last object: %s", text);
}

static unsigned count_lines(const char *text)
{
	unsigned n = 0;

	for (; (text = strchr(text, '\n')); text++)
		n++;
	return n;
}

/* The n-th line, from 0; good until the next call. */
static const char *line_of(const struct program *program, unsigned n)
{
	static char line[400000];
	const char *at = program->out.text;

	while (n-- > 0)
		at = strchr(at, '\n') + 1;
	snprintf(line, sizeof line, "%.*s", (int)(strchr(at, '\n') - at), at);
	return line;
}

static const struct {
	const char *body;
	size_t len;
	const char *member; /* as it is printed */
} rows[] = {
#define ROW(body, member)                                                                          \
	{                                                                                          \
		body, sizeof(body) - 1, member                                                     \
	}
	ROW("hello", "\"body\":\"hello\""),
	ROW("", "\"body\":\"\""),
	ROW("quote \" backslash \\ slash /", "\"body\":\"quote \\\" backslash \\\\ slash /\""),
	ROW("tab\tlf\ncr\rnul\0esc\033del\177",
		"\"body\":\"tab\\u0009lf\\u000acr\\u000dnul\\u0000esc\\u001bdel\\u007f\""),
	ROW("gr\303\274n \344\270\226 \360\237\230\200",
		"\"body\":\"gr\303\274n \344\270\226 \360\237\230\200\""),
	ROW("\302\233c1", "\"body\":\"\\u009bc1\""),
	ROW("\342\200\256bidi\342\200\250", "\"body\":\"\\u202ebidi\\u2028\""),
	ROW("\363\240\200\201tag", "\"body\":\"\\udb40\\udc01tag\""),
	ROW("\377", "\"body_base64\":\"/w==\""),
	ROW("\377\376", "\"body_base64\":\"//4=\""),
	ROW("\377\376\375", "\"body_base64\":\"//79\""),
	ROW("a\300\200z", "\"body_base64\":\"YcCAeg==\""),
	ROW("\355\240\200", "\"body_base64\":\"7aCA\""),
	ROW("half \303", "\"body_base64\":\"aGFsZiDD\""),
#undef ROW
};

static void test_bodies(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *bob = raw_hello(broker, "name=b0b");
	struct program *listener;
	char frame[256];

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		memcpy(frame, "SAY lobby\n", 10);
		memcpy(frame + 10, rows[i].body, rows[i].len);
		raw_send_bytes(bob, frame, 10 + rows[i].len);
	}
	raw_expect_quiet(bob);
	listener = program_check(broker, 0, "", "~", "listening lobby from 1\n", "listen", "--json",
		"--last", "100", "--timeout", "0.5", "lobby");
	check_lines(listener->out.text, ARRAY_LEN(rows));
	for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
		char wanted[512];

		snprintf(wanted, sizeof wanted,
			"{\"type\":\"message\",\"target\":\"lobby\",\"seq\":%u,\"time\":\"20~Z\","
			"\"name\":\"b0b\",\"uid\":~,\"of\":\"~\",%s}",
			i + 1, rows[i].member);
		if (!pattern_matches(wanted, text_of(line_of(listener, i))))
			fail_msg("expected %s, got %s", wanted, line_of(listener, i));
	}
	broker_stop(broker);
}

/* Every byte there is, alone and after each lead byte of UTF-8. */
static void test_all_bytes(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *bob = raw_hello(broker, "name=b0b");
	struct program *listener;
	char frame[300] = "SAY lobby\n";
	unsigned n = 0;

	for (int lead = 0; lead < 256; lead++) {
		frame[10] = (char)lead;
		raw_send_bytes(bob, frame, 11);
		n++;
		for (int i = 0; i < 256 && lead >= 0xc0; i += 3, n++) {
			frame[11] = (char)i;
			frame[12] = (char)(255 - i);
			raw_send_bytes(bob, frame, 13);
		}
	}
	raw_expect_quiet(bob);
	listener = program_check(broker, 0, "", "~", "~", "listen", "--json", "--last", "100000",
		"--timeout", "2", "lobby");
	check_lines(listener->out.text, n);
	broker_stop(broker);
}

static void test_long_bodies(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *bob = raw_hello(broker, "name=b0b");
	struct program *listener;
	static char frame[64010] = "SAY lobby\n";
	static const char fills[] = { 'x', '\001', '"', '\377' };

	for (size_t i = 0; i < sizeof fills; i++) {
		memset(frame + 10, fills[i], 64000);
		raw_send_bytes(bob, frame, sizeof frame);
	}
	raw_expect_quiet(bob);
	listener = program_check(broker, 0, "", "~", "~", "listen", "--json", "--last", "4",
		"--count", "4", "lobby");
	check_lines(listener->out.text, 4);
	broker_stop(broker);
}

static void test_other_events(void **state)
{
	struct broker *broker = broker_start("--limit", "room-bytes=1M");
	struct raw *bob = raw_hello(broker, "name=b0b");
	struct program *listener =
		program_start(broker, "listen", "--json", "--name", "car0l", "lobby", "@b0b");

	program_wait_err(listener, "listening @b0b from 1\n");
	raw_send(bob, "SAY @car0l\nalone");
	program_wait_out(listener, "{\"type\":\"message\",\"target\":\"@b0b\",\"seq\":1,");

	/* more than is kept, while it does not read */
	kill(listener->pid, SIGSTOP);
	child_expect_stopped(listener->pid);
	for (int i = 0; i < 20000; i++)
		raw_send(bob, "SAY lobby\n%0200d", i);
	raw_expect_quiet(bob);
	kill(listener->pid, SIGCONT);
	program_wait_out(listener, "{\"type\":\"gap\",\"target\":\"lobby\",\"from\":");
	program_wait_out(listener, "\"reason\":\"retention\"}\n");
	program_wait_out(listener, "\"seq\":20000,");

	broker_ctl(broker, "STOP \"quoted\" \\ gr\303\274n");
	program_wait_out(listener, "{\"type\":\"down\",\"code\":\"STOP\",\"text\":\"");
	program_wait_out(listener, "\"ended\":false}\n");
	broker_expect_exit(broker, 0);
	broker_spawn_here(broker, NULL);
	broker_wait_ready(broker);
	program_wait_out(listener, "{\"type\":\"gap\",\"target\":\"lobby\",\"from\":20001,\"to\":0,"
				   "\"reason\":\"reset\"}\n");
	/* this broker has not heard of bob yet */
	program_wait_out(listener, "{\"type\":\"refused\",\"target\":\"@b0b\",\"id\":0,"
				   "\"code\":\"NONAME\",\"text\":\"");
	program_expect_exit(listener, 77);
	check_lines(listener->out.text, count_lines(listener->out.text));

	listener = program_start(broker, "listen", "--json", "--name", "car0l", "lobby");
	program_wait_err(listener, "listening lobby from 1\n");
	broker_kill9(broker);
	program_wait_out(listener, "{\"type\":\"down\",\"code\":\"\",\"text\":\"");
	broker_spawn_here(broker, NULL);
	broker_wait_ready(broker);
	program_wait_out(listener, "{\"type\":\"up\"}\n");
	broker_ctl(broker, "KICK car0l");
	program_wait_out(listener, "\"code\":\"KICKED\"");
	program_wait_out(listener, "\"ended\":true}\n");
	program_expect_exit(listener, 69);
	check_lines(listener->out.text, count_lines(listener->out.text));
	broker_stop(broker);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		PROGRAM_TEST(test_bodies),
		PROGRAM_TEST(test_all_bytes),
		PROGRAM_TEST(test_long_bodies),
		PROGRAM_TEST(test_other_events),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
