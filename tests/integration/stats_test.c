/* stats_test.c - STATS names who floods, who is slow and who fills what: chat-protocol(7). */
#include "tests/integration/harness.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define NOBODY   65534
#define UNKNOWN  54321 /* without an account */
#define UNKNOWN2 54322

static void test_sessions(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *raw = raw_join(broker, "name=t3ster", "room"), *silent = raw_open(broker);
	unsigned uid = getuid();

	raw_send(raw, "SAY room\none");
	raw_expect(raw, "MSG room 1 ~\none");
	raw_send(raw, "SAY room\ntwo");
	raw_expect(raw, "MSG room 2 ~\ntwo");
	raw_send(raw, "#s STATS sessions");
	raw_expect(raw,
		"#s + t3ster %u ~number=1 since=~ pid=%d said=2 rate=~ delivered=2 behind=0 room=- "
		"held=0 blocked=0",
		uid, getpid());
	raw_expect(raw,
		"#s + - %u number=2 since=~ pid=%d said=0 rate=0 delivered=0 behind=0 room=- "
		"held=0 blocked=0",
		uid, getpid());
	raw_expect(raw, "#s * 2");
	raw_close(silent);
	raw_send(raw, "#w STATS words");
	raw_expect(raw, "#w ! ARGS ~");
	raw_send(raw, "#w STATS sessions after=x");
	raw_expect(raw, "#w ! ARGS ~");
	raw_send(raw, "#w STATS later=1"); /* a word of later versions */
	raw_await(raw, "#w * ~");
	broker_stop(broker);
}

/* It says what is in progress, so it is asked until it says so. */
static const char *stats_await(struct raw *raw, const char *what, const char *pattern)
{
	for (;;) {
		static char found[512];
		bool is_found = false;
		struct text frame;

		raw_send(raw, "#a STATS %s", what);
		while (!pattern_matches("#a * ~", frame = raw_next(raw))) {
			if (!pattern_matches(pattern, frame))
				continue;
			snprintf(found, sizeof found, "%.*s", (int)frame.len, frame.data);
			is_found = true;
		}
		if (is_found)
			return found;
	}
}

/* Who does not read is behind, where, and since when; who does not read answers is not
 * read, and holds memory. */
static void test_who_is_slow(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *slow = raw_join(broker, "name=sl0w batch", "busy");
	struct raw *greedy = raw_hello(broker, "name=gr33dy");
	struct raw *raw = raw_hello(broker, "name=t3ster");
	char text[1024];

	raw_send(slow, "#j JOIN quiet");
	raw_expect(slow, "#j * ~");
	raw_send(raw, "SAY quiet\nhush");
	memset(text, 'x', sizeof text);
	memcpy(text, "SAY busy\n", 9);
	for (int i = 0; i < 2000; i++)
		raw_send_bytes(raw, text, sizeof text);
	stats_await(raw, "sessions",
		"#a + sl0w ~ said=0 rate=0 delivered=~ behind=~ room=busy held=0 blocked=~");
	while (raw_try_send(greedy, "#p PAST busy", 12))
		;
	stats_await(
		raw, "sessions", "#a + gr33dy ~ behind=0 room=- held=~ blocked=~ waits=answers");
	broker_stop(broker);
}

/* A conversation is its two people's business, also its name; the process is its user's. */
static void test_what_others_see(void **state)
{
	struct broker *broker;
	struct raw *slow, *party, *raw;
	char text[1024];

	if (geteuid() != 0)
		SKIP("only root has two users");
	broker = broker_start(NULL);
	slow = raw_hello(broker, "name=sl0w batch");
	party = raw_hello_as(broker, UNKNOWN, "name=p4rty");
	raw = raw_hello_as(broker, NOBODY, "");
	raw_send(slow, "#j JOIN @p4rty");
	raw_expect(slow, "#j * ~");
	memset(text, 'x', sizeof text);
	memcpy(text, "SAY @sl0w\n", 10);
	for (int i = 0; i < 1000; i++)
		raw_send_bytes(party, text, sizeof text);
	raw_expect_quiet(party);
	stats_await(party, "sessions", "#a + sl0w 0 of=root ~ room=@p4rty+sl0w ~ blocked=~");
	assert_null(strstr(stats_await(party, "sessions", "#a + sl0w ~"), "pid="));
	assert_non_null(strstr(stats_await(party, "sessions", "#a + p4rty ~"), " pid="));
	stats_await(raw, "sessions", "#a + sl0w 0 of=root ~ room=- ~ blocked=~");
	assert_null(strstr(stats_await(raw, "sessions", "#a + p4rty ~"), "pid="));
	broker_stop(broker);
}

static void test_users(void **state)
{
	struct broker *broker;
	struct raw *raw, *stranger;

	if (geteuid() != 0)
		SKIP("only root has several users");
	broker = broker_start("--limit", "nobody:rate=77");
	raw = raw_join(broker, "name=t3ster", "room");
	raw_hello_as(broker, NOBODY, "");
	stranger = raw_hello_as(broker, UNKNOWN, "name=str4nge");
	raw_hello_as(broker, UNKNOWN2, "");
	raw_send(stranger, "#1 SAY room\nhello");
	raw_expect(stranger, "#1 * 1");
	raw_expect(raw, "MSG room 1 ~");
	stats_await(raw, "users",
		"#a + strangers - connections=2/128 cursors=0/4096 rooms=0/1024 names=1/8 "
		"bytes=~/33554432 ring-bytes=0/16842752 value-bytes=0/1048576 log_bytes=0 said=1 "
		"said_bytes=5 "
		"rate=1/1000000000 slowed=0");
	raw_send(raw, "#s STATS users");
	raw_expect(raw, "#s + strangers - ~");
	raw_expect(raw, "#s + root 0 connections=1/128 cursors=1/4096 rooms=1/1024 names=1/8 "
			"bytes=~/33554432 ring-bytes=0/16842752 value-bytes=0/1048576 log_bytes=4~ "
			"said=0 said_bytes=0 "
			"rate=0/1000000000 slowed=0");
	raw_expect(raw, "#s + nobody 65534 connections=1/128 ~ rate=0/77 slowed=0");
	raw_expect(raw, "#s * 3");
	/* of the room, too */
	raw_send(stranger, "#2 SAY room\nhello");
	do
		raw_send(raw, "#r ROOMS");
	while (!pattern_matches("#r + room ~ rate=1 ~", raw_next(raw)) && raw_await(raw, "#r * 1"));
	broker_stop(broker);
}

/* Page by page, each once. */
static void test_pages(void **state)
{
	struct broker *broker = broker_start("--limit", "connections=400");
	struct raw *raw = raw_hello(broker, "name=t3ster");
	unsigned n = 0, after = 0, last;
	struct text frame;

	for (int i = 0; i < 300; i++)
		raw_hello(broker, "name=f1ller");
	for (;;) {
		raw_send(raw, "#s STATS sessions after=%u", after);
		while (!pattern_matches("#s * ~", frame = raw_next(raw))) {
			n++;
			assert_true(pattern_matches("#s + ~ number=~ since=~", frame));
			assert_int_equal(sscanf(memmem(frame.data, frame.len, "number=", 7),
						 "number=%u", &last),
				1);
			assert_int_equal(last, n);
		}
		if (!pattern_matches("#s * ~ next=~", frame))
			break;
		after = last;
	}
	assert_true(pattern_matches("#s * 45", frame));
	assert_int_equal(n, 301);
	broker_stop(broker);
}

/* In more rooms than are looked at, one request does not walk them all. */
static void test_behind_in_many_rooms(void **state)
{
	struct broker *broker = broker_start("--limit", "rooms=2000");
	struct raw *slow = raw_hello(broker, "name=sl0w"), *raw = raw_hello(broker, "name=t3ster");

	for (int i = 0; i < 1500; i++) {
		raw_send(slow, "#j JOIN room%d", i);
		raw_expect(slow, "#j * ~");
	}
	for (int i = 0; i < 1500; i++)
		raw_send(raw, "SAY room%d\nx", i);
	for (int i = 0; i < 1500; i++)
		raw_send(raw, "SAY room%d\ny", i);
	stats_await(raw, "sessions", "#a + sl0w ~ behind=~ more room=room~ blocked=~");
	for (int i = 0; i < 3000; i++)
		raw_expect(slow, "MSG room~");
	stats_await(raw, "sessions", "#a + sl0w ~ delivered=3000 behind=0 room=- held=0 blocked=0");
	broker_stop(broker);
}

/* Nor do many sessions make it so, together: the page ends before. */
static void test_behind_together(void **state)
{
	struct broker *broker = broker_start("--limit", "cursors=10000");
	struct raw *slow[8], *raw = raw_hello(broker, "name=t3ster");
	unsigned n = 0;

	for (size_t i = 0; i < ARRAY_LEN(slow); i++)
		slow[i] = raw_hello(broker, "name=sl0w");
	for (int k = 0; k < 1000; k++)
		for (size_t i = 0; i < ARRAY_LEN(slow); i++) {
			raw_send(slow[i], "#j JOIN room%d", k);
			raw_expect(slow[i], "#j * ~");
		}
	for (int k = 0; k < 1000; k++)
		raw_send(raw, "SAY room%d\nx", k);
	raw_expect_quiet(raw);
	raw_send(raw, "#s STATS sessions");
	while (pattern_matches("#s + ~", raw_next(raw)))
		n++;
	assert_in_range(n, 5, 8);
	raw_send(raw, "#t STATS sessions after=%u", n);
	for (; n < 1 + ARRAY_LEN(slow); n++)
		raw_expect(raw, "#t + sl0w ~ number=%u ~", n + 1);
	raw_expect(raw, "#t * ~");
	broker_stop(broker);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_sessions),
		TEST(test_who_is_slow),
		TEST(test_what_others_see),
		TEST(test_users),
		TEST(test_pages),
		TEST(test_behind_in_many_rooms),
		TEST(test_behind_together),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
