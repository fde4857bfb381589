/* handover_test.c - from the socket to a ring and back, where it is tight: much is on its
 * way, the way is told twice, or somebody is gone. chat-ring(7), section HAND-OVER. */
#include "tests/integration/fast.h"
#include "tests/integration/fast_talk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client/session.h"
#include "protocol/waker.h"

/* More than the sockets hold that nobody reads. */
#define MANY 1500

static char body[1000];

static void fill_body(void)
{
	memset(body, 'x', sizeof body - 1);
}

/* Many through a ring, and archived: as much at a time as it holds. */
static void publisher_put_many(struct publisher *publisher, unsigned first, unsigned last)
{
	for (unsigned i = first; i <= last; i++) {
		publisher_put(publisher, i, body);
		if (i % 50 && i < last)
			continue;
		raw_send(publisher->raw, "#b BELL");
		raw_await(publisher->raw, "#b *");
	}
}

/* Where to go on in a ring is told where that is in the log, however far the log is when the
 * reader comes there. */
static void test_told_at_its_place(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *teller = raw_hello(broker, "name=t3ster batch"), *raw;
	struct publisher publisher;

	fill_body();
	for (unsigned i = 1; i <= MANY; i++) {
		raw_send(teller, "#s SAY room\n%s", body);
		raw_expect(teller, "#s * %u", i);
	}
	publisher_open(&publisher, broker, "room");
	raw = raw_hello(broker, "name=r3ader batch pub=def");
	fast_open(raw);
	raw_expect(raw, "#t *");
	raw_send(raw, "#j JOIN room since=1 ring");
	raw_expect(raw, "#j * 1 ~");
	publisher_put_many(&publisher, 1, 50);
	for (unsigned i = 1; i <= MANY; i++)
		raw_expect(raw, "MSG room %u ~", i);
	raw_expect(raw, "RING room ~ at=0 seq=1");
	raw_send(raw, "TOOK");
	raw_expect(raw, "AT room %u", MANY + 51);
	raw_expect_quiet(raw);
	publisher_close(&publisher);
	broker_stop(broker);
}

/* And that it ended, with what its publisher says behind it. */
static void test_ended_at_its_place(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *teller = raw_hello(broker, "name=t3ster batch"), *raw;
	struct publisher publisher;

	fill_body();
	publisher_open(&publisher, broker, "room");
	raw = fast_join(broker, geteuid(), "room");
	raw_expect(raw, "RING room ~ at=0 seq=1");
	raw_send(raw, "#t TOOK");
	raw_expect(raw, "#t *");
	for (unsigned i = 1; i <= MANY; i++) {
		raw_send(teller, "#s SAY room\n%s", body);
		raw_expect(teller, "#s * %u", i);
	}
	publisher_put_many(&publisher, 1, 5);
	raw_send(publisher.raw, "SAY room id=6\nby the socket");
	raw_await(publisher.raw, "REVOKED room ~");
	for (unsigned i = 1; i <= MANY; i++)
		raw_expect(raw, "MSG room %u ~", i);
	raw_expect(raw, "UNRING room ~ seq=6");
	raw_expect_quiet(raw);
	raw_send(raw, "TOOK");
	raw_expect(raw, "MSG room %u ~:6\nby the socket", MANY + 6);
	publisher_close(&publisher);
	broker_stop(broker);
}

/* A ring that its reader has no place for is in the log, also when it is gone; that the reader
 * has all other rings does not make it pass over that. */
static void test_ended_and_not_followed(void **state)
{
	struct broker *broker = broker_start("--limit", "room-rings=17");
	struct raw *raw = fast_join(broker, geteuid(), "room"), *other;
	struct publisher followed[RINGS_MAX], publisher;
	char words[64];

	fill_body();
	other = raw_hello(broker, "name=t3ster");
	for (unsigned i = 0; i < RINGS_MAX; i++) {
		snprintf(words, sizeof words, "name=f0llowed batch pub=%u", i + 1);
		publisher_open_as(&followed[i], broker, "room", words);
		raw_expect(raw, "RING room f0llowed ~");
		raw_send(raw, "#t TOOK");
		raw_expect(raw, "#t *");
	}
	publisher_open(&publisher, broker, "room");
	publisher_put_many(&publisher, 1, MANY);
	publisher_close(&publisher);
	fast_await_row(other, "#r * 16");
	for (unsigned i = 1; i <= MANY; i++)
		raw_expect(raw, "MSG room %u ~", i);
	for (unsigned i = 0; i < RINGS_MAX; i++)
		publisher_close(&followed[i]);
	broker_stop(broker);
}

/* The reader's way to be woken is another one before the publisher took the old: it is told of
 * the new one, as often as that happens. */
static void test_woken_another_way(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct sleeper sleeper;
	struct publisher publisher;
	struct raw *raw;
	int fds[2];

	publisher_open(&publisher, broker, "room");
	raw = fast_join(broker, geteuid(), "room");
	raw_expect(raw, "RING room ~");
	raw_send(raw, "#t TOOK");
	raw_expect(raw, "#t *");
	raw_expect(publisher.raw, "SLEEPER slot=0 ~ wake=/~");
	assert_int_equal(sleeper_create(&sleeper), 0);
	fds[0] = sleeper.fd;
	fds[1] = sleeper.page.fd;
	for (unsigned i = 0; i < SLEEPERS_MAX + 2; i++) {
		raw_send_fds(raw, fds, 2, "#w WAKER");
		raw_expect(raw, "#w *");
		raw_send(publisher.raw, "TOOK");
		raw_expect(publisher.raw, "SLEEPER slot=0 ~");
		assert_int_equal(publisher.raw->n_fds, 2);
		raw_send(publisher.raw, "#t TOOK");
		raw_expect(publisher.raw, "#t *");
		raw_send_fds(raw, fds, 2, "#w WAKER");
		raw_expect(raw, "#w *");
		raw_expect(publisher.raw, "SLEEPER slot=0 ~");
	}
	sleeper_close(&sleeper);
	publisher_close(&publisher);
	broker_stop(broker);
}

/* A ring that comes back is one that somebody may have from before, who left the room. */
static void test_left_before_it_came_back(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *raw = fast_join(broker, geteuid(), "room");
	struct publisher publisher;

	publisher_open(&publisher, broker, "room");
	raw_expect(raw, "RING room ~");
	raw_send(raw, "#t TOOK");
	raw_expect(raw, "#t *");
	raw_send(raw, "#p PART room");
	raw_expect(raw, "#p *");
	raw_close(publisher.raw);
	fast_await_row(raw, "#r * 0");
	publisher_again(&publisher, broker);
	raw_send_fds(
		publisher.raw, &publisher.memory.fd, 1, "#g RING room nonce=7 at=0 seq=1 again");
	raw_expect(publisher.raw, "#g *~");
	broker_ctl(broker, "KICK r3ader");
	raw_await(publisher.raw, "REVOKED room ~");
	publisher_close(&publisher);
	broker_stop(broker);
}

/* ---- libchat ---- */

/* Its connection is lost, and it does not know. */
static void cut(struct chat *chat)
{
	assert_int_equal(shutdown(chat->link.socket, SHUT_RDWR), 0);
}

/* A request that is answered makes all arrive that was sent before, and deliver nothing. */
static int ping(struct chat *chat)
{
	return chat_request(chat, "PING", NULL, 0, DEADLINE_MS, NULL, NULL, NULL);
}

/* What a publisher says under a number by the socket ends its ring, for whoever follows that
 * looks for its numbers there; and comes behind all that it put, also when the reader looks at
 * the socket before it is through with the ring. */
static void test_socket_behind_a_full_ring(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct chat *reader = open_named(broker, "r3ader");
	struct raw *raw = raw_hello(broker, "name=t3ster");
	struct publisher publisher;
	struct chat_event event;
	char text[16];

	join_fast(reader, "room", CHAT_FAST);
	publisher_open(&publisher, broker, "room");
	do {
		assert_int_equal(chat_receive(reader, &event, 0), 0);
		raw_send(raw, "#r STATS rings");
	} while (!pattern_matches("#r + ~ readers=1 ~", raw_next(raw)) &&
		 (raw_expect(raw, "#r * 1"), true));
	raw_expect(raw, "#r * 1");
	for (unsigned i = 1; i <= 300; i++) {
		snprintf(text, sizeof text, "%u", i);
		publisher_put(&publisher, i, text);
	}
	raw_send(publisher.raw, "#s SAY room id=301\n301");
	raw_await(publisher.raw, "REVOKED room at=%lu", (unsigned long)publisher.writer.pos);
	raw_expect(publisher.raw, "#s * 301");
	assert_int_equal(ping(reader), 0);
	for (unsigned i = 1; i <= 301; i++) {
		snprintf(text, sizeof text, "%u", i);
		assert_true(expect_body(reader, text) == (i <= 300));
	}
	publisher_close(&publisher);
	chat_close(reader);
	broker_stop(broker);
}

/* Who was overtaken, and cut off before it had what it missed, asks for that when it is back,
 * though it has what others said by the socket behind it. */
static void test_overtaken_and_cut(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct chat *chat = open_named(broker, "sp3aker"), *reader = open_named(broker, "r3ader");
	struct raw *raw = raw_hello(broker, "name=t3ster");
	struct chat_event event;
	unsigned n = 0;

	join_fast(reader, "room", CHAT_FAST);
	warm_up(chat, reader, "room", CHAT_FAST);
	for (unsigned i = 1; i <= FLOOD; i++)
		put_large(chat, "room", CHAT_FAST, i);
	flush(chat);
	raw_send(raw, "#s SAY room\nby the socket");
	raw_expect(raw, "#s * ~");
	/* it finds out that it was overtaken, and has what was said by the socket */
	expect_body(reader, "by the socket");
	cut(reader);
	while (n < FLOOD) {
		event = next_event(reader);
		if (event.type == CHAT_DOWN || event.type == CHAT_UP)
			continue;
		assert_int_equal(event.type, CHAT_MESSAGE);
		assert_int_equal(strtoul(event.body, NULL, 10), ++n);
	}
	chat_close(chat);
	chat_close(reader);
	broker_stop(broker);
}

/* A ring that was passed by a connection which is gone is not taken on the next one. */
static void test_passed_and_cut(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct chat *reader = open_named(broker, "r3ader");
	struct raw *raw = raw_hello(broker, "name=t3ster");
	struct publisher publisher;
	struct chat_event event;

	join_fast(reader, "room", CHAT_FAST);
	publisher_open(&publisher, broker, "room");
	assert_int_equal(ping(reader), 0); /* RING arrives before its answer, and waits */
	cut(reader);
	say(reader, "other", "by the next connection");
	flush(reader);
	assert_int_equal(next_event(reader).type, CHAT_DOWN);
	assert_int_equal(next_event(reader).type, CHAT_UP);
	/* it is passed anew, and no word more is said than that it was taken */
	for (unsigned i = 1; i <= 100; i++) {
		publisher_put(&publisher, i, "x");
		raw_send(publisher.raw, "#b BELL");
		raw_await(publisher.raw, "#b *");
		event = next_event(reader);
		assert_int_equal(event.type, CHAT_MESSAGE);
		assert_int_equal(ping(reader), 0);
	}
	assert_int_equal(raw_counter(raw, "refused"), 0);
	publisher_close(&publisher);
	chat_close(reader);
	broker_stop(broker);
}

/* A reader has done with a ring in which a record is not as it should be, also where the broker
 * does not read it: then the broker does. */
static void test_not_to_be_trusted(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct chat *reader = open_named(broker, "r3ader");
	struct raw *raw = raw_hello(broker, "name=t3ster");
	uint64_t until = clock_ms() + DEADLINE_MS;
	struct publisher publisher;
	struct chat_event event;
	const char *row;

	join_fast(reader, "room", FREE);
	publisher_open(&publisher, broker, "room");
	do {
		assert_int_equal(chat_receive(reader, &event, 0), 0);
		raw_send(raw, "#r STATS rings");
		row = raw_expect(raw, "#r + room ~");
	} while (!strstr(row, " free ") && (raw_expect(raw, "#r * 1"), true));
	raw_expect(raw, "#r * 1");
	publisher_put(&publisher, 1, "good");
	expect_body(reader, "good");
	publisher_put(&publisher, 2, "bad");
	((struct ring_record *)(publisher.writer.data + RING_LINE))->seq = 77;
	do {
		(void)chat_receive(reader, &event, 1);
		raw_send(raw, "#r STATS rings");
		if (pattern_matches("#r * 0", raw_next(raw)))
			break;
		raw_expect(raw, "#r * 1");
		assert_true(clock_ms() < until);
	} while (true);
	broker_expect(broker, "ring uid=");
	raw_await(publisher.raw, "REVOKED room ~");
	publisher_close(&publisher);
	chat_close(reader);
	broker_stop(broker);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_told_at_its_place),
		TEST(test_ended_at_its_place),
		TEST(test_ended_and_not_followed),
		TEST(test_woken_another_way),
		TEST(test_left_before_it_came_back),
		TEST(test_socket_behind_a_full_ring),
		TEST(test_overtaken_and_cut),
		TEST(test_passed_and_cut),
		TEST(test_not_to_be_trusted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
