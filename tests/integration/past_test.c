/* past_test.c - reading without a cursor, and saying once: chat-protocol(7), PAST, Once
 * and only once. */
#include "tests/integration/harness.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MESSAGES 600

/* Ask, and read the answer: the rows must be the messages from FROM to TO. Returns
 * next=, 0 without. */
static uint64_t past(struct raw *raw, const char *words, uint64_t from, uint64_t to)
{
	uint64_t next = 0;
	const char *done;

	raw_send(raw, "#p PAST room%s%s", words[0] ? " " : "", words);
	for (uint64_t seq = from; seq <= to; seq++)
		raw_expect(raw, "#p + MSG room %" PRIu64 " ~", seq);
	done = raw_expect(raw, "#p * %" PRIu64 "~", to + 1 - from);
	sscanf(done, "#p * %*u next=%" SCNu64, &next);
	return next;
}

static void test_pages(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *raw = raw_hello(broker, "name=t3ster");
	static char frame[11000];
	int n;

	for (int i = 1; i <= MESSAGES; i++)
		raw_send(raw, "SAY room\n%d", i);
	raw_expect_quiet(raw);
	assert_int_equal(past(raw, "", 1, 256), 257);
	assert_int_equal(past(raw, "from=257", 257, 512), 513);
	assert_int_equal(past(raw, "from=513", 513, 600), 0);
	assert_int_equal(past(raw, "from=1 to=256", 1, 256), 0);
	assert_int_equal(past(raw, "to=300", 1, 256), 257);
	assert_int_equal(past(raw, "from=600", 600, 600), 0);
	assert_int_equal(past(raw, "from=601", 601, 600), 0);
	assert_int_equal(past(raw, "from=3 to=5 unknown=7", 3, 5), 0);
	assert_int_equal(past(raw, "from=5 to=3", 5, 4), 0);
	assert_int_equal(past(raw, "from=599 to=9999", 599, 600), 0);

	/* 64 KiB: six rows of 10000 bytes */
	n = snprintf(frame, sizeof frame, "SAY room\n");
	memset(frame + n, 'x', 10000);
	for (int i = 0; i < 20; i++)
		raw_send_bytes(raw, frame, (size_t)n + 10000);
	raw_expect_quiet(raw);
	assert_int_equal(past(raw, "from=601", 601, 606), 607);
	assert_int_equal(past(raw, "from=607", 607, 612), 613);
	broker_stop(broker);
}

static void test_times(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *raw = raw_hello(broker, "name=t3ster");
	uint64_t times[20];
	char words[128];

	for (int i = 0; i < 20; i++) {
		raw_send(raw, "#s SAY room\nx");
		raw_expect(raw, "#s * %d", i + 1);
	}
	raw_send(raw, "#t PAST room");
	for (int i = 0; i < 20; i++)
		assert_int_equal(
			sscanf(raw_expect(raw, "#t + ~"), "#t + MSG room %*s %" SCNu64, &times[i]),
			1);
	raw_expect(raw, "#t * 20");
	/* from each time and one before and after, to the end, and up to it: inclusive */
	for (int i = 0; i < 20; i++)
		for (int d = -1; d <= 1; d++) {
			uint64_t at = times[i] + (uint64_t)d, first = 1, last = 20;

			while (first <= 20 && times[first - 1] < at)
				first++;
			while (last > 0 && times[last - 1] > at)
				last--;
			snprintf(words, sizeof words, "from=@%" PRIu64, at);
			past(raw, words, first, 20);
			snprintf(words, sizeof words, "to=@%" PRIu64, at);
			past(raw, words, 1, last);
		}
	past(raw, "from=@0 to=@18446744073709551615", 1, 20);
	past(raw, "to=@0", 1, 0);
	past(raw, "from=@18446744073709551615", 21, 20);
	broker_stop(broker);
}

/* Rows are for those who tag. */
static void test_only_what_is_kept(void **state)
{
	struct broker *broker = broker_start("--limit", "room-bytes=256k");
	struct raw *raw = raw_hello(broker, "name=t3ster");
	unsigned long first;

	for (int i = 1; i <= 4000; i++)
		raw_send(raw, "SAY room\n%0100d", i);
	raw_expect_quiet(raw);
	raw_send(raw, "#r ROOMS");
	assert_int_equal(
		sscanf(raw_expect(raw, "#r + room ~"), "#r + room %*s first=%lu", &first), 1);
	raw_expect(raw, "#r * 1");
	assert_true(first > 1);
	past(raw, "from=1", first, first + 255);
	past(raw, "from=1 to=2", first, first - 1);
	past(raw, "from=@0 to=@1", first, first - 1);
	raw_send(raw, "PAST room");
	raw_expect_quiet(raw);
	broker_stop(broker);
}

/* ---- once and only once ---- */

static void say(struct raw *raw, const char *target, unsigned id, const char *answer)
{
	raw_send(raw, "#s SAY %s id=%u\nmessage %u", target, id, id);
	raw_expect(raw, "#s %s", answer);
}

static void test_said_once(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *reader = raw_join(broker, "name=reader", "room");
	struct raw *raw = raw_hello(broker, "name=t3ster pub=1F");

	say(raw, "room", 1, "* 1");
	say(raw, "room", 1, "* 1");
	say(raw, "room", 3, "* 2");
	say(raw, "other", 4, "* 1"); /* counting goes on across rooms */
	say(raw, "room", 5, "* 3");
	say(raw, "room", 3, "* 2");
	say(raw, "room", 2, "! OLD ~"); /* never came here */
	say(raw, "room", 4, "! OLD ~");
	say(raw, "room", 1, "* 1");
	raw_close(raw);

	/* across a reconnect, also with the label written otherwise */
	raw = raw_hello(broker, "name=t3ster pub=000000000000001f");
	say(raw, "room", 5, "* 3");
	say(raw, "room", 1, "* 1");
	say(raw, "room", 6, "* 4");
	/* another label is another publisher, a message without id= is none */
	raw_close(raw);
	raw = raw_hello(broker, "name=t3ster pub=2f");
	say(raw, "room", 1, "* 5");
	raw_send(raw, "#s SAY room\nplain");
	raw_expect(raw, "#s * 6");
	raw_send(raw, "#s SAY room\nplain");
	raw_expect(raw, "#s * 7");
	/* an id is a number, however it is written */
	raw_send(raw, "#s SAY room id=0002\nmessage 2");
	raw_expect(raw, "#s * 8");
	say(raw, "room", 2, "* 8");
	say(raw, "room", 9, "* 9");
	say(raw, "room", 2, "* 8");

	raw_expect(reader, "MSG room 1 ~ p=000000000000001f:1\nmessage 1");
	raw_expect(reader, "MSG room 2 ~ p=000000000000001f:3\nmessage 3");
	raw_expect(reader, "MSG room 3 ~ p=000000000000001f:5\nmessage 5");
	raw_expect(reader, "MSG room 4 ~ p=000000000000001f:6\nmessage 6");
	raw_expect(reader, "MSG room 5 ~ p=000000000000002f:1\nmessage 1");
	assert_null(strstr(raw_expect(reader, "MSG room 6 ~\nplain"), "p="));
	raw_expect(reader, "MSG room 7 ~\nplain");
	raw_expect(reader, "MSG room 8 ~ p=000000000000002f:2\nmessage 2");
	raw_expect(reader, "MSG room 9 ~ p=000000000000002f:9\nmessage 9");
	raw_expect_quiet(reader);
	broker_stop(broker);
}

/* A body that looks like the words of a line is not taken for them. */
static void test_old_is_told(void **state)
{
	struct broker *broker = broker_start("--limit", "room-bytes=256k");
	struct raw *raw = raw_hello(broker, "name=t3ster pub=a");
	struct raw *noise = raw_hello(broker, "name=noise");

	say(raw, "room", 10, "* 1");
	say(raw, "room", 20, "* 2");
	for (int i = 0; i < 3000; i++)
		raw_send(noise, "SAY room\np=000000000000000a:15 %0200d", i);
	raw_expect_quiet(noise);
	/* the highest one's number is remembered, though the record is gone */
	say(raw, "room", 20, "* 2");
	say(raw, "room", 10, "! OLD ~");
	say(raw, "room", 15, "! OLD ~");
	say(raw, "room", 21, "* 3003");
	broker_stop(broker);
}

static void test_in_a_batch(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *raw = raw_join(broker, "name=t3ster pub=b batch", "room");

	raw_send_batch(raw, "#1 SAY room id=1\none", "#2 SAY room id=1\none", "SAY room id=1\none",
		"#3 SAY room id=2\ntwo", "#4 SAY room id=1\none");
	raw_expect(raw, "#1 * 1");
	raw_expect(raw, "#2 * 1");
	raw_expect(raw, "#3 * 2");
	raw_expect(raw, "#4 * 1");
	raw_expect(raw, "MSG room 1 ~");
	raw_expect(raw, "MSG room 2 ~");
	raw_expect_quiet(raw);
	broker_stop(broker);
}

/* The last publishers of a room are remembered, whoever came between. */
static void test_many_publishers(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *raw;
	char words[64];

	for (int round = 0; round < 2; round++)
		for (unsigned i = 1; i <= 250; i++) {
			snprintf(words, sizeof words, "name=t3ster pub=%x", i);
			raw = raw_hello(broker, words);
			snprintf(words, sizeof words, "* %u", i);
			say(raw, "room", 7, words);
			raw_close(raw);
		}
	broker_stop(broker);
}

/* Ask, and read the answer: the rows must be the messages with these numbers, 0 at the
 * end. Returns next=, 0 without. */
static uint64_t find(struct raw *raw, const char *words, const uint64_t *seqs)
{
	unsigned n = 0;
	uint64_t next = 0;
	const char *done;

	raw_send(raw, "#f FIND room%s%s", words[0] == '\n' ? "" : " ", words);
	for (; seqs[n] > 0; n++)
		raw_expect(raw, "#f + MSG room %" PRIu64 " ~", seqs[n]);
	done = raw_expect(raw, "#f * %u~", n);
	sscanf(done, "#f * %*u next=%" SCNu64, &next);
	return next;
}
#define FIND(words, ...) find(raw, words, (const uint64_t[]){ __VA_ARGS__ })

/* Newest first, in the text and nowhere else, literally but for the case. */
static void test_find(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *raw = raw_hello(broker, "name=needle pub=1");

	raw_send(raw, "#f FIND room\nx");
	raw_expect(raw, "#f ! NOROOM ~");
	raw_send(raw, "SAY room\nthe disk is full");
	raw_send(raw, "SAY room\nfull of what?");
	raw_send(raw, "SAY room\n[f]ull\nDisk");
	raw_send(raw, "SAY room\nneedle FULL");
	raw_expect_quiet(raw);
	assert_int_equal(FIND("\nfull", 4, 2, 1, 0), 0);
	assert_int_equal(FIND("\nDISK", 3, 1, 0), 0);
	assert_int_equal(FIND("\nneedle", 4, 0), 0); /* who said it is not what was said */
	assert_int_equal(FIND("\nroom", 0), 0);
	assert_int_equal(FIND("\nl\nd", 3, 0), 0);
	assert_int_equal(FIND("\n*", 0), 0);
	assert_int_equal(FIND("max=2\nfull", 4, 2, 0), 1);
	assert_int_equal(FIND("from=1\nfull", 1, 0), 0);
	assert_int_equal(FIND("from=3 max=1\nfull", 2, 0), 1);
	assert_int_equal(FIND("from=99\nfull", 4, 2, 1, 0), 0);
	assert_int_equal(FIND("from=@1\nfull", 0), 0);
	raw_send(raw, "#f FIND room");
	raw_expect(raw, "#f ! ARGS the text ~");
	raw_send(raw, "#f FIND room max=0\nx");
	raw_expect(raw, "#f ! ARGS from= or max= ~");
	raw_send(raw, "#f FIND room from=x\nx");
	raw_expect(raw, "#f ! ARGS from= or max= ~");
	raw_send(raw, "#f FIND @other\nx");
	raw_expect(raw, "#f ! NO~ ~");
	broker_stop(broker);
}

/* Over many pieces of the log, of all sizes: all are found, each once, page by page. */
static void test_find_pages(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *raw = raw_hello(broker, "name=t3ster");
	static char frame[40000];
	uint64_t next = 0, before = 3001;
	unsigned n_found = 0, n_pages = 0;

	for (int i = 1; i <= 3000; i++) {
		int n = snprintf(
			frame, sizeof frame, "SAY room\n%s", i % 7 == 0 ? "here it is" : "nothing");
		size_t more = i % 50 == 0 ? 30000 : (size_t)(i * 37 % 400);

		memset(frame + n, '.', more);
		raw_send_bytes(raw, frame, (size_t)n + more);
	}
	raw_expect_quiet(raw);
	do {
		struct text row;

		raw_send(raw, next ? "#f FIND room from=%" PRIu64 "\nIT is" : "#f FIND room\nIT is",
			next);
		next = 0;
		while (pattern_matches("#f + ~", row = raw_next(raw))) {
			uint64_t seq = strtoull(row.data + strlen("#f + MSG room "), NULL, 10);

			if (seq >= before || seq % 7 != 0)
				fail_msg(
					"%lu after %lu", (unsigned long)seq, (unsigned long)before);
			before = seq;
			n_found++;
		}
		snprintf(frame, sizeof frame, "%.*s", (int)row.len, row.data);
		sscanf(frame, "#f * %*u next=%" SCNu64, &next);
		n_pages++;
	} while (next > 0);
	assert_int_equal(n_found, 3000 / 7);
	assert_true(n_pages > 2);
	broker_stop(broker);
}

/* The last so many, of all or of those up to a place. */
static void test_last(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *raw = raw_hello(broker, "name=t3ster");

	for (int i = 1; i <= 20; i++)
		raw_send(raw, "SAY room\n%d", i);
	raw_expect_quiet(raw);
	assert_int_equal(past(raw, "last=3", 18, 20), 0);
	assert_int_equal(past(raw, "last=99", 1, 20), 0);
	assert_int_equal(past(raw, "last=0", 21, 20), 0);
	assert_int_equal(past(raw, "last=3 to=10", 8, 10), 0);
	assert_int_equal(past(raw, "last=3 from=20", 20, 20), 0);
	raw_send(raw, "#p PAST room last=x");
	raw_expect(raw, "#p ! ARGS ~");
	broker_stop(broker);
}

/* A mark is its user's, goes forward, and stands at what there is. */
static void test_seen(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *raw = raw_hello(broker, "name=t3ster"),
		   *other = raw_hello(broker, "name=0ther");

	raw_send(raw, "#s SEEN room");
	raw_expect(raw, "#s ! NOROOM ~");
	for (int i = 1; i <= 5; i++)
		raw_send(raw, "SAY room\n%d", i);
	raw_expect_quiet(raw);
	raw_send(raw, "#s SEEN room");
	raw_expect(raw, "#s * 0");
	raw_send(raw, "#s SEEN room 3");
	raw_expect(raw, "#s * 3");
	raw_send(raw, "#s SEEN room 2");
	raw_expect(raw, "#s * 3");
	raw_send(raw, "#s SEEN room 6");
	raw_expect(raw, "#s ! ARGS ~");
	raw_send(raw, "#s SEEN room x");
	raw_expect(raw, "#s ! ARGS ~");
	raw_send(other, "#s SEEN room"); /* the same user under another name */
	raw_expect(other, "#s * 3");
	raw_send(other, "#r ROOMS");
	raw_expect(other, "#r + room readers=0 first=1 next=6 ~ seen=3");
	raw_expect(other, "#r *~");
	broker_stop(broker);
}

/* Of a conversation both sides know how far the other is; what one says oneself is read if
 * all before it was. */
static void test_seen_by_other(void **state)
{
	struct broker *broker;
	struct raw *raw, *other;

	if (geteuid() != 0)
		SKIP("only root has two users");
	broker = broker_start(NULL);
	raw = raw_hello(broker, "name=t3ster");
	other = raw_hello_as(broker, 65534, "name=0ther");
	raw_send(raw, "#j JOIN @0ther presence");
	raw_expect(raw, "#j * 1 ~");
	raw_send(raw, "SAY @0ther\none");
	raw_expect(raw, "MSG @0ther+t3ster 1 ~\none");
	raw_send(raw, "#s SEEN @0ther");
	raw_expect(raw, "#s * 1 other=0");
	raw_send(other, "#s SAY @t3ster\ntwo"); /* having read nothing */
	raw_expect(other, "#s * 2");
	raw_expect(raw, "MSG @0ther+t3ster 2 ~\ntwo");
	raw_send(other, "#s SEEN @t3ster");
	raw_expect(other, "#s * 0 other=1");
	raw_send(other, "#s SEEN @t3ster 2");
	raw_expect(other, "#s * 2 other=1");
	raw_expect(raw, "SEEN @0ther+t3ster 0ther 65534 ~ seq=2");
	raw_send(other, "#s SEEN @t3ster 2");
	raw_expect(other, "#s * 2 other=1");
	raw_expect_quiet(raw);
	raw_send(other, "#s SAY @t3ster\nthree");
	raw_expect(other, "#s * 3");
	raw_send(other, "#s SEEN @t3ster");
	raw_expect(other, "#s * 3 other=1");
	/* nobody else is told anything */
	other = raw_hello_as(broker, 1, "name=sp1");
	raw_send(other, "#s SEEN @0ther+t3ster");
	raw_expect(other, "#s ! ROOM ~");
	broker_stop(broker);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_pages),
		TEST(test_times),
		TEST(test_last),
		TEST(test_seen),
		TEST(test_seen_by_other),
		TEST(test_find),
		TEST(test_find_pages),
		TEST(test_only_what_is_kept),
		TEST(test_said_once),
		TEST(test_old_is_told),
		TEST(test_in_a_batch),
		TEST(test_many_publishers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
