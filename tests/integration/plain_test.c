/* plain_test.c - plain sessions: chat-protocol(7), section Plain sessions. */
#include "tests/integration/harness.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Every answer fits the ten bytes of the smallest client. */
static void expect_plain(struct raw *raw, const char *answer)
{
	const char *got = raw_expect(raw, "%s", answer);

	assert_true(strlen(got) <= PLAIN_ANSWER_MAX);
}

static void test_lines_are_said_in_the_lobby(void **state)
{
	static const struct {
		const char *packet;
		size_t len;
		const char *said;
	} table[] = {
		{ "ten bytes!", 10, "ten bytes!" },
		{ "a line\n", 7, "a line" },
		{ "from DOS\r\n", 10, "from DOS" },
		{ "from C\0", 7, "from C" },
		{ "only one LF goes\n\n", 18, "only one LF goes\n" },
		{ "\n", 1, "" },
		{ "two\nlines", 9, "two\nlines" },
		{ "hello there", 11, "hello there" },
		{ "PING", 4, "PING" }, /* one word is a word */
		{ "QUITE", 5, "QUITE" },
		{ "QUIT!", 5, "QUIT!" },
		{ " QUIT", 5, " QUIT" },
		{ "stop", 4, "stop" },
		{ "MSG not ours to say", 19, "MSG not ours to say" },
		{ "\xff\xfe", 2, "\xff\xfe" },
	};
	struct broker *broker = broker_start(NULL);
	struct raw *reader = raw_join(broker, "name=reader", "lobby");
	struct raw *plain = raw_open(broker);

	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		raw_send_bytes(plain, table[i].packet, table[i].len);
		expect_plain(plain, "*");
		raw_expect(reader, "MSG lobby %zu ~\n%s", i + 1, table[i].said);
	}
	raw_expect_quiet(reader);
	broker_stop(broker);
}

/* The name is the Unix user's, and nothing but answers comes. */
static void test_name_and_silence(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *reader = raw_join(broker, "", "lobby");
	struct raw *plain = raw_open(broker);
	const char *hello;
	char name[64];

	raw_send(plain, "who am I");
	expect_plain(plain, "*");
	hello = raw_expect(reader, "MSG lobby 1 ~ ~ %u\nwho am I", getuid());
	assert_int_equal(sscanf(hello, "MSG lobby 1 %*s %63s", name), 1);
	if (getuid() == 0)
		assert_string_equal(name, "root");
	raw_send(reader, "SAY lobby\nthe plain one does not hear this");
	raw_expect(reader, "MSG lobby 2 ~");
	raw_send(plain, "again");
	expect_plain(plain, "*");
	broker_stop(broker);
}

static void test_early_requests_are_not_said(void **state)
{
	static const char *const packets[] = {
		"SAY lobby\nsecret",
		"JOIN lobby",
		"#1 PING",
		"#1 HELLO",
		"#1 QUIT",
		"#1 STOP",
		"STOP now",
		"QUIT now",
		"CTL STOP",
		"PART lobby",
		"PAST lobby",
		"WHO lobby",
		"ROOMS after=1",
		"TIME now",
		"STATS all",
		"SAY\nsecret",
		"PING\n\n",
	};
	struct broker *broker = broker_start(NULL);
	struct raw *reader = raw_join(broker, "name=reader", "lobby");
	struct raw *plain = raw_open(broker);

	for (size_t i = 0; i < ARRAY_LEN(packets); i++) {
		raw_send(plain, "%s", packets[i]);
		expect_plain(plain, "!STATE");
	}
	raw_expect_quiet(reader);
	raw_send(plain, "still here");
	expect_plain(plain, "*");
	broker_stop(broker);
}

static void test_after_a_refused_hello(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *reader = raw_join(broker, "name=reader", "lobby");
	struct raw *raw = raw_open(broker);

	raw_send(raw, "HELLO 2");
	raw_expect(raw, "! VERSION HELLO 2 ~");
	raw_send(raw, "my password");
	raw_expect(raw, "! VERB ~");
	raw_send(raw, "#1 SAY lobby\nmy password");
	raw_expect(raw, "#1 ! STATE ~");
	raw_send(raw, "#2 HELLO 1 name=late");
	raw_expect(raw, "#2 * 1 name=late ~");
	raw_expect_quiet(reader);
	broker_stop(broker);
}

static void test_too_long(void **state)
{
	static char line[PACKET_LEN_MAX + 100];
	struct broker *broker = broker_start(NULL);
	struct raw *plain = raw_open(broker);

	memset(line, 'x', sizeof line);
	raw_send_bytes(plain, line, BODY_LEN_MAX);
	expect_plain(plain, "*");
	raw_send_bytes(plain, line, BODY_LEN_MAX + 1);
	expect_plain(plain, "!TOOBIG");
	raw_send_bytes(plain, line, sizeof line);
	expect_plain(plain, "!TOOBIG");
	raw_send(plain, "short");
	expect_plain(plain, "*");
	broker_stop(broker);
}

static void test_quit(void **state)
{
	static const char *const words[] = { "QUIT", "QUIT\n", "QUIT\r\n" };
	struct broker *broker = broker_start(NULL);
	struct raw *plain;

	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		plain = raw_open(broker);
		raw_send(plain, "%s", words[i]);
		expect_plain(plain, "*");
		raw_expect_close(plain);
	}
	plain = raw_open(broker);
	raw_send_bytes(plain, "QUIT", 5); /* with its NUL */
	expect_plain(plain, "*");
	raw_expect_close(plain);
	broker_stop(broker);
}

static void test_stop(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *plain = raw_open(broker), *stranger;

	if (geteuid() == 0) {
		stranger = raw_open_as(broker, 65534);
		raw_send(stranger, "STOP");
		expect_plain(stranger, "!DENIED");
		broker_expect(broker, "denied uid=65534 ~what=STOP");
		raw_send(stranger, "STOP\n");
		expect_plain(stranger, "!DENIED");
		raw_send(stranger, "said by a stranger");
		expect_plain(stranger, "*");
	}
	raw_send(plain, "STOP\n");
	expect_plain(plain, "*");
	raw_expect_close(plain);
	broker_expect_exit(broker, 0);
	assert_int_equal(directory_count(broker->dir), 0);
}

static void test_many_one_after_another(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *reader = raw_join(broker, "", "lobby");

	for (int i = 1; i <= 500; i++) {
		struct raw *plain = raw_open(broker);

		raw_send(plain, "number %d", i);
		expect_plain(plain, "*");
		raw_close(plain);
		raw_expect(reader, "MSG lobby %d ~\nnumber %d", i, i);
	}
	broker_stop(broker);
}

static void test_hundred_at_once(void **state)
{
	struct raw *plain[100];
	struct broker *broker = broker_start(NULL);
	struct raw *reader = raw_join(broker, "", "lobby");
	bool seen[ARRAY_LEN(plain)] = { false };

	for (size_t i = 0; i < ARRAY_LEN(plain); i++)
		plain[i] = raw_open(broker);
	for (size_t i = 0; i < ARRAY_LEN(plain); i++)
		raw_send(plain[i], "%zu", i);
	for (size_t i = 0; i < ARRAY_LEN(plain); i++)
		expect_plain(plain[i], "*");
	for (size_t i = 0; i < ARRAY_LEN(plain); i++) {
		const char *said = strchr(raw_expect(reader, "MSG lobby %zu ~\n~", i + 1), '\n');
		int number = atoi(said + 1);

		assert_true(number >= 0 && number < 100 && !seen[number]);
		seen[number] = true;
	}
	broker_stop(broker);
}

/* What was sent before a client went is said, also when it went before it was let in. */
static void test_sent_and_gone(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *reader = raw_join(broker, "", "lobby");

	broker_signal(broker, SIGSTOP);
	for (int i = 0; i < 20; i++) {
		struct raw *plain = raw_open(broker);

		raw_send(plain, "first of %d", i);
		raw_send(plain, "second of %d", i);
		raw_close(plain);
	}
	broker_signal(broker, SIGCONT);
	for (int i = 1; i <= 40; i++)
		raw_expect(reader, "MSG lobby %d ~ of ~", i);
	raw_expect_quiet(reader);
	broker_stop(broker);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_lines_are_said_in_the_lobby),
		TEST(test_name_and_silence),
		TEST(test_early_requests_are_not_said),
		TEST(test_after_a_refused_hello),
		TEST(test_too_long),
		TEST(test_quit),
		TEST(test_stop),
		TEST(test_many_one_after_another),
		TEST(test_hundred_at_once),
		TEST(test_sent_and_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
