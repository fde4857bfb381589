/* protocol_test.c - every request, good and bad: chat-protocol(7), sections Frames,
 * Answers, REQUESTS, What a bad request gets, and ANSWER CODES.
 *
 * Two codes need a broker that is in trouble: AGAIN and NOMEM are in trouble_test.c.
 */
#include "tests/integration/harness.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "protocol/record.h"

#define X16 "xxxxxxxxxxxxxxxx"
#define X64 X16 X16 X16 X16

/* Of a session of name tester with pub=, that has joined joined; others is somebody
 * else's room. LF is LF. NULL: no answer at all. */
static const struct {
	const char *send;
	const char *expect;
} requests[] = {
	/* tags, and what has none */
	{ "PING", NULL },
	{ "#1 PING", "#1 *" },
	{ "#Az09Az09Az09Az09 PING", "#Az09Az09Az09Az09 *" },
	{ "#1 PING with words", "#1 *" },
	{ "#1 PING key=value", "#1 *" },
	{ "#1 PING\n", "#1 *" },
	{ "#1 PING\n\x01\xff", "#1 *" },
	{ "#1 PING gr\xc3\xbc\xc3\x9f", "#1 *" },
	{ "#1 TIME", "#1 * 1~" },
	{ "TIME", NULL },

	/* frames */
	{ "#12345678901234567 PING", "! FRAME ~" },
	{ "# PING", "! FRAME ~" },
	{ "#a-b PING", "! FRAME ~" },
	{ "#\xc3\xbc PING", "! FRAME ~" },
	{ "#1", "#1 ! FRAME ~" },
	{ "#1 ", "#1 ! FRAME ~" },
	{ "#1  PING", "#1 ! FRAME ~" },
	{ "#1 PING ", "#1 ! FRAME ~" },
	{ " PING", "! FRAME ~" },
	{ "PING  x", "! FRAME PING ~" },
	{ "#1 PING a\tb", "#1 ! FRAME ~" },
	{ "#1 PING a\x7f", "#1 ! FRAME ~" },
	{ "#1 PING \x1b[31m", "#1 ! FRAME ~" },
	{ "#1 PING \xc3(", "#1 ! FRAME ~" },
	{ "#1 PING \xc0\xaf", "#1 ! FRAME ~" },
	{ "#1 PING \xed\xa0\x80", "#1 ! FRAME ~" },
	{ "#1 SAY joined\r\nx", "#1 ! FRAME ~" },
	{ "\nbody", "! FRAME ~" },
	{ "#1 #2 PING", "#1 ! VERB ~" },

	/* verbs */
	{ "FOO", "! VERB ~" },
	{ "#1 FOO bar", "#1 ! VERB ~" },
	{ "#1 ping", "#1 ! VERB ~" },
	{ "#1 MSG joined 1 2 root 0\nforged", "#1 ! VERB ~" },
	{ "#1 GAP joined 1 2 retention", "#1 ! VERB ~" },
	{ "#1 BYE", "#1 ! VERB ~" },
	{ "#1 + row", "#1 ! VERB ~" },
	{ "#1 *", "#1 ! VERB ~" },
	{ "* 1", "! VERB ~" },
	{ "! NOMEM", "! VERB ~" },
	{ "#1 BATCH", "#1 ! VERB ~" },

	/* HELLO once */
	{ "#1 HELLO 1", "#1 ! STATE ~" },
	{ "HELLO 1 name=other", "! STATE HELLO 1 ~" },
	{ "#1 HELLO", "#1 ! STATE ~" },

	/* JOIN */
	{ "#1 JOIN", "#1 ! ARGS ~" },
	{ "#1 JOIN made", "#1 * 1 first=1 log=~" },
	{ "JOIN made last=5", NULL },
	{ "#1 JOIN made new unknown=key presence", "#1 * 1 first=1 log=~" },
	{ "#1 JOIN made since=1", "#1 * 1 first=1 log=~" },
	{ "#1 JOIN made last=0", "#1 * 1 first=1 log=~" },
	{ "#1 JOIN made last=18446744073709551615", "#1 * 1 first=1 log=~" },
	{ "#1 JOIN made since=@0", "#1 * 1 first=1 log=~" },
	{ "#1 JOIN made since=0", "#1 ! ARGS ~" },
	{ "#1 JOIN made since=", "#1 ! ARGS ~" },
	{ "#1 JOIN made since=-1", "#1 ! ARGS ~" },
	{ "#1 JOIN made since=1x", "#1 ! ARGS ~" },
	{ "#1 JOIN made since=18446744073709551616", "#1 ! ARGS ~" },
	{ "#1 JOIN made since=@", "#1 ! ARGS ~" },
	{ "#1 JOIN made since=@x", "#1 ! ARGS ~" },
	{ "#1 JOIN made last=", "#1 ! ARGS ~" },
	{ "#1 JOIN made last=many", "#1 ! ARGS ~" },
	{ "#1 JOIN made since=1 log=xyz", "#1 ! ARGS ~" },
	{ "#1 JOIN made since=1 log=", "#1 ! ARGS ~" },
	{ "#1 JOIN made since=1 last=1", "#1 ! ARGS ~" },
	{ "JOIN made last=x", "! ARGS JOIN made ~" },
	{ "#1 JOIN " X64, "#1 * 1 first=1 log=~" },
	{ "#1 JOIN " X64 "x", "#1 ! ROOM ~" },
	{ "#1 JOIN Made", "#1 ! ROOM ~" },
	{ "#1 JOIN made.", "#1 ! ROOM ~" },
	{ "#1 JOIN .made", "#1 ! ROOM ~" },
	{ "#1 JOIN ma..de", "#1 ! ROOM ~" },
	{ "JOIN ma..de", "! ROOM JOIN ma..de ~" },
	{ "#1 JOIN m\xc3\xb6r", "#1 ! ROOM ~" },
	{ "#1 JOIN @", "#1 ! ROOM ~" },
	{ "#1 JOIN @NotAName", "#1 ! ROOM ~" },
	{ "#1 JOIN @a+b", "#1 ! ROOM ~" },
	{ "#1 JOIN @t3ster+a", "#1 ! ROOM ~" }, /* not sorted */
	{ "#1 JOIN @nobody.has.this", "#1 ! NONAME ~" },
	{ "#1 JOIN @nobody.has.this+t3ster", "#1 ! NONAME ~" },
	{ "JOIN @nobody.has.this", "! NONAME JOIN @nobody.has.this ~" },
	{ "#1 JOIN @broker", "#1 ! NONAME ~" },
	{ "#1 JOIN @all", "#1 ! NONAME ~" },

	/* PART */
	{ "#1 PART", "#1 ! ARGS ~" },
	{ "#1 PART made", "#1 *" },
	{ "#1 PART made", "#1 ! NOROOM ~" }, /* nothing was left of it */
	{ "PART nowhere", "! NOROOM PART nowhere ~" },
	{ "#1 PART others", "#1 ! NOTIN ~" },
	{ "PART others", "! NOTIN PART others ~" },
	{ "#1 PART No", "#1 ! ROOM ~" },
	{ "#1 PART @nobody.has.this", "#1 ! NONAME ~" },
	{ "#1 PART @t3ster", "#1 ! NOROOM ~" },
	{ "PART " X64, NULL },

	/* SAY: into a room of which we are no reader */
	{ "#1 SAY", "#1 ! ARGS ~" },
	{ "#1 SAY said", "#1 ! ARGS ~" },
	{ "SAY said", "! ARGS SAY said ~" },
	{ "#1 SAY\nbody", "#1 ! ARGS ~" },
	{ "#1 SAY said\n", "#1 * 1" },
	{ "SAY said\nuntagged", NULL },
	{ "#1 SAY said unknown=key\nx", "#1 * 3" },
	{ "#1 SAY said id=5\nfive", "#1 * 4" },
	{ "#1 SAY said id=5\nfive", "#1 * 4" }, /* once */
	{ "SAY said id=5\nfive", NULL },
	{ "#1 SAY said id=4\nfour", "#1 ! OLD ~" },
	{ "SAY said id=4\nfour", "! OLD SAY said id=4 ~" },
	{ "#1 SAY said id=0\nx", "#1 ! ARGS ~" },
	{ "#1 SAY said id=\nx", "#1 ! ARGS ~" },
	{ "#1 SAY said id=x\nx", "#1 ! ARGS ~" },
	{ "SAY said id=x\nx", "! ARGS SAY said id=x ~" },
	{ "#1 SAY said id=18446744073709551616\nx", "#1 ! ARGS ~" },
	{ "#1 SAY Bad\nx", "#1 ! ROOM ~" },
	{ "SAY ba..d id=7\nx", "! ROOM SAY ba..d id=7 ~" },
	{ "#1 SAY @a+b\nx", "#1 ! ROOM ~" },
	{ "#1 SAY @nobody.has.this\nx", "#1 ! NONAME ~" },
	{ "SAY @nobody.has.this id=9\nx", "! NONAME SAY @nobody.has.this id=9 ~" },
	{ "#1 SAY @here\nx", "#1 ! NONAME ~" },

	/* PAST */
	{ "#1 PAST", "#1 ! ARGS ~" },
	{ "#1 PAST nowhere", "#1 ! NOROOM ~" },
	{ "PAST nowhere", "! NOROOM PAST nowhere ~" },
	{ "#1 PAST Bad", "#1 ! ROOM ~" },
	{ "#1 PAST @nobody.has.this", "#1 ! NONAME ~" },
	{ "#1 PAST said from=x", "#1 ! ARGS ~" },
	{ "#1 PAST said from=", "#1 ! ARGS ~" },
	{ "#1 PAST said to=-1", "#1 ! ARGS ~" },
	{ "#1 PAST said to=@x", "#1 ! ARGS ~" },
	{ "#1 PAST said from=100", "#1 * 0" },
	{ "#1 PAST said from=3 to=2", "#1 * 0" },
	{ "PAST said", NULL },

	/* WHO and ROOMS */
	{ "#1 WHO Bad", "#1 ! ROOM ~" },
	{ "#1 WHO @t3ster", "#1 ! ROOM ~" },
	{ "#1 WHO nowhere", "#1 ! NOROOM ~" },
	{ "WHO nowhere", "! NOROOM WHO nowhere ~" },
	{ "#1 WHO after=x", "#1 ! ARGS ~" },
	{ "#1 WHO joined after=", "#1 ! ARGS ~" },
	{ "#1 WHO after=999999", "#1 * 0" },
	{ "WHO", NULL },
	{ "#1 ROOMS after=x", "#1 ! ARGS ~" },
	{ "#1 ROOMS after=999999", "#1 * 0" },
	{ "ROOMS", NULL },
	{ "STATS", NULL },

	/* CTL, for whoever may */
	{ "#1 CTL", "#1 ! ARGS ~" },
	{ "#1 CTL FOO", "#1 ! ARGS ~" },
	{ "CTL FOO", "! ARGS CTL FOO ~" },
	{ "#1 CTL SAY", "#1 ! ARGS ~" },
};

static struct raw *tester_open(struct broker *broker)
{
	return raw_join(broker, "name=t3ster pub=abc", "joined");
}

static void test_requests(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *other = raw_join(broker, "name=other", "others");
	struct raw *raw = tester_open(broker);

	for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
		struct text answer;

		raw_send(raw, "%s", requests[i].send);
		if (requests[i].expect) {
			answer = raw_next(raw);
			if (!pattern_matches(requests[i].expect, answer))
				fail_msg("%s\nexpected: %s\n     got: %.*s", requests[i].send,
					requests[i].expect, (int)answer.len, answer.data);
		}
		/* it lives, and there was no second answer */
		raw_send(raw, "#after PING");
		answer = raw_next(raw);
		if (!pattern_matches("#after *", answer))
			fail_msg("after %s: %.*s", requests[i].send, (int)answer.len, answer.data);
	}
	raw_expect_quiet(other);
	assert_int_equal(broker_count(broker, "framing"), 0);
	broker_stop(broker);
}

/* The same requests, a few in each packet, mean the same: in order, each settled. */
static void test_requests_in_batches(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *other = raw_join(broker, "name=other", "others");
	struct raw *raw = tester_open(broker);

	for (size_t i = 0; i < ARRAY_LEN(requests); i += 7) {
		const char *frames[8] = { NULL };

		for (size_t k = 0; k < 7 && i + k < ARRAY_LEN(requests); k++)
			frames[k] = requests[i + k].send;
		raw_send_batch_of(raw, frames);
		for (size_t k = 0; frames[k]; k++)
			if (requests[i + k].expect)
				raw_expect(raw, "%s", requests[i + k].expect);
		raw_expect_quiet(raw);
	}
	raw_expect_quiet(other);
	broker_stop(broker);
}

static void test_rows(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *raw = raw_join(broker, "name=t3ster", "joined");
	struct raw *other = raw_hello(broker, "name=other");

	raw_send(other, "SAY joined\none");
	raw_expect(raw, "MSG joined 1 ~ other ~\none");
	raw_send(raw, "#p PAST joined");
	raw_expect(raw, "#p + MSG joined 1 ~ other ~\none");
	raw_expect(raw, "#p * 1");
	raw_send(raw, "#w WHO");
	raw_expect(raw, "#w + t3ster %u ~since=~", getuid());
	raw_expect(raw, "#w + other %u ~since=~", getuid());
	raw_expect(raw, "#w * 2");
	raw_send(raw, "#w WHO joined");
	raw_expect(raw, "#w + t3ster %u ~since=~", getuid());
	raw_expect(raw, "#w * 1");
	raw_send(raw, "#r ROOMS");
	raw_expect(raw, "#r + joined readers=1 first=1 next=2 bytes=~ owner=%u rate=~", getuid());
	raw_expect(raw, "#r * 1");
	raw_send(raw, "#s STATS");
	while (strncmp(raw_expect(raw, "#s ~"), "#s * ", 5) != 0)
		;
	raw_expect_quiet(raw);
	broker_stop(broker);
}

static void test_hello(void **state)
{
	static const struct {
		const char *send;
		const char *expect;
	} table[] = {
		{ "#1 HELLO 2", "#1 ! VERSION ~" },
		{ "#1 HELLO 0", "#1 ! VERSION ~" },
		{ "#1 HELLO one", "#1 ! VERSION ~" },
		{ "#1 HELLO", "#1 ! ARGS ~" },
		{ "#1 HELLO 1 name=", "#1 ! NAME ~" },
		{ "#1 HELLO 1 name=Big", "#1 ! NAME ~" },
		{ "#1 HELLO 1 name=.a", "#1 ! NAME ~" },
		{ "#1 HELLO 1 name=a+b", "#1 ! NAME ~" },
		{ "#1 HELLO 1 name=" X16 X16 "x", "#1 ! NAME ~" },
		{ "#1 HELLO 1 name=broker", "#1 ! TAKEN ~" },
		{ "#1 HELLO 1 name=all", "#1 ! TAKEN ~" },
		{ "#1 HELLO 1 name=here", "#1 ! TAKEN ~" },
		{ "#1 HELLO 1 name=u4000000000", "#1 ! TAKEN ~" },
		{ "#1 HELLO 1 pub=xyz", "#1 ! ARGS ~" },
		{ "#1 HELLO 1 pub=", "#1 ! ARGS ~" },
		{ "#1 HELLO 1 pub=12345678901234567", "#1 ! ARGS ~" },
		{ "#1 JOIN lobby", "#1 ! STATE ~" },
		{ "#1 PING", "#1 ! STATE ~" },
		{ "#1 FOO", "#1 ! VERB ~" },
		{ "HELLO 1 name=Big", "! NAME HELLO 1 ~" },
		{ "#1 HELLO 1 name=" X16 X16 " future=1 also", "#1 * 1 name=" X16 X16 " uid=~ "
							       "broker=~ max=65536" },
	};
	struct broker *broker = broker_start(NULL);
	struct raw *raw = raw_open(broker);

	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		raw_send(raw, "%s", table[i].send);
		raw_expect(raw, "%s", table[i].expect);
	}
	/* features, and a hundred more of it */
	raw = raw_open(broker);
	for (int i = 0; i < 100; i++) {
		raw_send(raw, "#%d HELLO %d", i, i + 2);
		raw_expect(raw, "#%d ! VERSION ~", i);
	}
	raw_send(raw, "#f HELLO 1 batch direct pub=1234567890abcdef");
	raw_expect(raw, "#f * 1 name=~ uid=%u broker=~ max=65536 batch direct", getuid());
	for (int i = 0; i < 100; i++) {
		raw_send(raw, "#%d HELLO 1 name=n%d", i, i);
		raw_expect(raw, "#%d ! STATE ~", i);
	}
	raw_send(raw, "#q QUIT");
	raw_expect(raw, "#q *");
	raw_expect(raw, "BYE QUIT");
	raw_expect_close(raw);
	raw = raw_open(broker);
	raw_send(raw, "HELLO 1");
	raw_send(raw, "QUIT");
	raw_expect(raw, "BYE QUIT");
	raw_expect_close(raw);
	broker_stop(broker);
}

static void test_too_big(void **state)
{
	static char packet[PACKET_LEN_MAX + 1000];
	struct broker *broker = broker_start(NULL);
	struct raw *raw = raw_join(broker, "name=t3ster", "joined");
	struct text got;
	int n;

	/* the line: 1024 bytes are one too few to complain of */
	n = snprintf(packet, sizeof packet, "#1 PING ");
	memset(packet + n, 'x', sizeof packet - (size_t)n);
	raw_send_bytes(raw, packet, LINE_LEN_MAX);
	raw_expect(raw, "#1 *");
	raw_send_bytes(raw, packet, LINE_LEN_MAX + 1);
	raw_expect(raw, "#1 ! TOOBIG ~");
	packet[LINE_LEN_MAX] = '\n';
	raw_send_bytes(raw, packet, LINE_LEN_MAX + 10);
	raw_expect(raw, "#1 *");

	/* the body */
	n = snprintf(packet, sizeof packet, "#2 SAY joined\n");
	raw_send_bytes(raw, packet, (size_t)n + BODY_LEN_MAX + 1);
	raw_expect(raw, "#2 ! TOOBIG ~");
	raw_send_bytes(raw, packet, (size_t)n + BODY_LEN_MAX);
	raw_expect(raw, "#2 * 1");
	got = raw_next(raw);
	assert_true(pattern_matches("MSG joined 1 ~", got));
	assert_memory_equal(got.data + got.len - BODY_LEN_MAX, packet + n, BODY_LEN_MAX);
	raw_send(raw, "#p PAST joined");
	got = raw_next(raw);
	assert_true(pattern_matches("#p + MSG joined 1 ~", got));
	assert_memory_equal(got.data + got.len - BODY_LEN_MAX, packet + n, BODY_LEN_MAX);
	raw_expect(raw, "#p * 1");

	/* the packet: its start is enough to answer under its tag */
	raw_send_bytes(raw, packet, PACKET_LEN_MAX);
	raw_expect(raw, "#2 ! TOOBIG ~");
	raw_send_bytes(raw, packet, PACKET_LEN_MAX + 1);
	raw_expect(raw, "#2 ! TOOBIG ~");
	raw_send_bytes(raw, packet, sizeof packet);
	raw_expect(raw, "#2 ! TOOBIG ~");
	raw_send_bytes(raw, packet + 3, sizeof packet - 3);
	raw_expect(raw, "! TOOBIG SAY joined ~");
	raw_expect_quiet(raw);
	broker_stop(broker);
}

/* Both directions: what a batch holds comes back as a batch, complete and in order. */
static void test_batches(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *raw = raw_join(broker, "name=t3ster batch", "joined");
	struct raw *single = raw_join(broker, "name=single", "joined");

	raw_send_bytes(raw, BATCH_START, BATCH_START_LEN); /* of nothing */
	raw_expect_quiet(raw);
	raw_send_batch(raw, "#a SAY joined\none", "SAY joined\ntwo", "#b PING", "#c FOO",
		"#d SAY joined\n", "BATCH\nnested", "#e SAY joined\nfour");
	raw_expect(raw, "#a * 1");
	raw_expect(raw, "#b *");
	raw_expect(raw, "#c ! VERB ~");
	raw_expect(raw, "#d * 3");
	raw_expect(raw, "! VERB BATCH ~");
	raw_expect(raw, "#e * 4");
	for (int i = 0; i < 2; i++) {
		struct raw *reader = i ? single : raw;

		raw_expect(reader, "MSG joined 1 ~ t3ster ~\none");
		raw_expect(reader, "MSG joined 2 ~ t3ster ~\ntwo");
		raw_expect(reader, "MSG joined 3 ~ t3ster ~\n");
		raw_expect(reader, "MSG joined 4 ~ t3ster ~\nfour");
		raw_expect_quiet(reader);
	}
	broker_stop(broker);
}

/* A batch whose requests have to wait, for a name that must be looked up, goes on where
 * it waited. */
static void test_batch_that_waits(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *raw = raw_hello(broker, "name=t3ster");

	raw_send_batch(raw, "#1 SAY @no.one.a\nx", "#2 PING", "#3 SAY @no.one.b\nx",
		"#4 SAY r\nlast", "#5 JOIN @no.one.c");
	raw_send(raw, "#6 PING");
	raw_expect(raw, "#1 ! NONAME ~");
	raw_expect(raw, "#2 *");
	raw_expect(raw, "#3 ! NONAME ~");
	raw_expect(raw, "#4 * 1");
	raw_expect(raw, "#5 ! NONAME ~");
	raw_expect(raw, "#6 *");
	broker_stop(broker);
}

static void test_zero_length_packet_closes(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *raw = raw_join(broker, "name=t3ster", "joined");

	raw_send(raw, "SAY joined\nbefore");
	raw_expect(raw, "MSG joined 1 ~\nbefore");
	raw_send_bytes(raw, "", 0);
	raw_expect_close(raw);
	broker_stop(broker);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_requests),
		TEST(test_requests_in_batches),
		TEST(test_rows),
		TEST(test_hello),
		TEST(test_too_big),
		TEST(test_batches),
		TEST(test_batch_that_waits),
		TEST(test_zero_length_packet_closes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
