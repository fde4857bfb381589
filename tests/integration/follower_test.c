/* follower_test.c - rings that end, break, or run ahead of who reads them: nobody loses, nor
 * has twice, what went through one. chat-protocol(7); chat-ring(7). */
#include "tests/integration/fast.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "protocol/waker.h"

#define NOBODY 65534

/* What was archived stays, what is broken does not come, and everybody else goes on. */
static void test_broken_ring(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *raw = raw_join(broker, "name=t3ster", "room");
	struct publisher publisher;

	publisher_open(&publisher, broker, "room");
	publisher_put(&publisher, 1, "good");
	raw_send(publisher.raw, "#b BELL");
	raw_expect(publisher.raw, "#b *");
	publisher_put(&publisher, 2, "bad");
	((struct ring_record *)(publisher.writer.data + RING_LINE))->seq = 77;
	raw_send(publisher.raw, "#b BELL");
	raw_expect(publisher.raw, "REVOKED room at=64");
	raw_expect(publisher.raw, "#b *");
	broker_expect(broker, "ring uid=");
	raw_expect(raw, "MSG room 1 ~\ngood");
	raw_expect_quiet(raw);
	/* it can say so itself, and offer another */
	raw_send(publisher.raw, "SAY room id=2\nby the socket");
	raw_expect(raw, "MSG room 2 ~\nby the socket");
	raw_send(raw, "#r STATS rings");
	raw_expect(raw, "#r * 0");
	publisher_close(&publisher);
	broker_stop(broker);
}

/* One that overwrites what was not archived loses it itself. */
static void test_ignored_gate(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *raw = raw_join(broker, "name=t3ster", "room");
	struct publisher publisher;

	publisher_open(&publisher, broker, "room");
	publisher.writer.gate = NULL;
	broker_signal(broker, SIGSTOP);
	for (unsigned i = 1; i <= 3 * RING_CAPACITY_MIN / RING_LINE; i++)
		publisher_put(&publisher, i, "x");
	broker_signal(broker, SIGCONT);
	raw_send(publisher.raw, "#b BELL");
	raw_await(publisher.raw, "REVOKED room at=0");
	raw_expect(publisher.raw, "#b *");
	broker_expect(broker, "it was written over beyond its gate");
	raw_send(raw, "#p PING");
	raw_await(raw, "#p *");
	publisher_close(&publisher);
	broker_stop(broker);
}

static void await_end_of_ring(struct raw *raw)
{
	uint64_t until = clock_ms() + DEADLINE_MS;
	const char *row;

	do {
		raw_send(raw, "#r STATS rings");
		row = raw_expect(raw, "#r + room ~");
		if (strstr(row, " ended ")) {
			raw_expect(raw, "#r * 1");
			return;
		}
		raw_expect(raw, "#r * 1");
	} while (clock_ms() < until);
	fail_msg("it never ended");
}

/* A reader that takes nothing costs nobody anything, and the broker no time. */
static void test_reader_takes_nothing(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *raw = raw_join(broker, "name=t3ster", "room"), *deaf;
	struct publisher publisher;
	uint64_t before;

	publisher_open(&publisher, broker, "room");
	deaf = fast_join(broker, geteuid(), "room");
	raw_expect(deaf, "RING room ~");
	for (unsigned i = 1; i <= 100; i++)
		publisher_put(&publisher, i, "x");
	raw_send(publisher.raw, "#b BELL");
	raw_await(publisher.raw, "#b *");
	for (unsigned i = 1; i <= 100; i++)
		raw_expect(raw, "MSG room %u ~", i);
	/* the ring ends, and is told when the reader took the first */
	publisher_close(&publisher);
	await_end_of_ring(raw);
	raw_send(raw, "SAY room\nafter the end");
	raw_expect(raw, "MSG room 101 ~\nafter the end");
	before = broker_switches(broker);
	raw_expect_silence(deaf, 300);
	assert_true(broker_switches(broker) - before < 30);
	raw_send(deaf, "TOOK");
	raw_expect(deaf, "UNRING room sp3aker ~ seq=101");
	raw_send(deaf, "TOOK");
	raw_expect(deaf, "MSG room 101 ~\nafter the end");
	broker_stop(broker);
}

/* A reader that can not map the ring, or was overtaken, is served from the log. */
static void test_resync(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct publisher publisher;
	struct raw *raw, *refuses;

	publisher_open(&publisher, broker, "room");
	raw = fast_join(broker, geteuid(), "room");
	refuses = fast_join(broker, geteuid(), "room");
	raw_expect(raw, "RING room ~ at=0 seq=~");
	raw_expect(refuses, "RING room ~ at=0 seq=~");
	raw_send(raw, "TOOK");
	for (unsigned i = 1; i <= 5; i++)
		publisher_put(&publisher, i, "x");
	raw_send(refuses, "TOOK no");
	raw_send(publisher.raw, "#b BELL");
	raw_await(publisher.raw, "#b *");
	for (unsigned i = 1; i <= 5; i++)
		raw_expect(refuses, "MSG room %u ~", i);
	raw_send(raw, "#r RESYNC room %u p=abc after=2", getuid());
	raw_expect(raw, "#r *");
	for (unsigned i = 3; i <= 5; i++)
		raw_expect(raw, "MSG room %u ~:%u\nx", i, i);
	raw_expect(raw, "RING room ~ at=%lu seq=6 resync=1", (unsigned long)publisher.writer.pos);
	assert_int_equal(raw->n_fds, 0); /* it has it */
	raw_send(raw, "TOOK");
	publisher_put(&publisher, 6, "x");
	raw_send(publisher.raw, "#b BELL");
	raw_await(publisher.raw, "#b *");
	raw_expect(refuses, "MSG room 6 ~");
	raw_expect_quiet(raw);
	/* to join again is to begin again */
	raw_send(raw, "#j JOIN room since=5 ring");
	raw_expect(raw, "#j * 5 ~");
	raw_expect(raw, "MSG room 5 ~");
	raw_expect(raw, "MSG room 6 ~");
	raw_expect(raw, "RING room ~ seq=7");
	assert_int_equal(raw->n_fds, 1);
	publisher_close(&publisher);
	broker_stop(broker);
}

/* What is behind a ring waits until that was read; who was overtaken in what is left of it
 * gets it from the log. */
static void test_after_the_end(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *other = raw_join(broker, "name=t3ster", "room"), *raw;
	struct publisher publisher;

	publisher_open(&publisher, broker, "room");
	raw = fast_join(broker, geteuid(), "room");
	raw_expect(raw, "RING room ~");
	raw_send(raw, "TOOK");
	publisher_put(&publisher, 1, "in the ring");
	publisher_close(&publisher);
	raw_expect(raw, "UNRING room ~ seq=2");
	raw_expect(other, "MSG room 1 ~\nin the ring");
	raw_send(other, "SAY room\nafter the end");
	raw_expect(other, "MSG room 2 ~");
	raw_expect_quiet(raw);
	raw_send(raw, "#r RESYNC room %u p=abc after=0", getuid());
	raw_expect(raw, "#r *");
	raw_send(raw, "#t TOOK");
	raw_expect(raw, "MSG room 1 ~\nin the ring");
	raw_expect(raw, "#t *");
	raw_expect(raw, "UNRING room ~ seq=2 resync=1");
	raw_expect_quiet(raw);
	raw_send(raw, "TOOK");
	raw_expect(raw, "MSG room 2 ~\nafter the end");
	broker_stop(broker);
}

/* Who misses of two rings has what it missed of both before what is behind that. */
static void test_two_are_missed(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct publisher a, b;
	char one[64], other[64];
	struct raw *raw;

	publisher_open_as(&a, broker, "room", "name=sp3aker batch pub=abc");
	publisher_open_as(&b, broker, "room", "name=sp4aker batch pub=abd");
	raw = fast_join(broker, geteuid(), "room");
	for (unsigned i = 0; i < 2; i++) {
		raw_expect(raw, "RING room ~");
		raw_send(raw, "TOOK");
	}
	publisher_put(&a, 1, "of one");
	raw_send(a.raw, "#b BELL");
	raw_await(a.raw, "#b *");
	publisher_put(&b, 1, "of the other");
	raw_send(b.raw, "#b BELL");
	raw_await(b.raw, "#b *");
	raw_expect_quiet(raw);
	snprintf(one, sizeof one, "RESYNC room %u p=abc after=0", getuid());
	snprintf(other, sizeof other, "RESYNC room %u p=abd after=0", getuid());
	raw_send_batch(raw, one, other, "#s SAY room\nbehind both");
	raw_expect(raw, "#s * 3");
	raw_expect(raw, "MSG room 1 ~\nof one");
	raw_expect(raw, "MSG room 2 ~\nof the other");
	raw_expect(raw, "MSG room 3 ~\nbehind both");
	publisher_close(&a);
	publisher_close(&b);
	broker_stop(broker);
}

/* What a publisher says by the socket is behind all that it has put, however much that is. */
static void test_ring_and_socket(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *raw = raw_join(broker, "name=t3ster", "room");
	struct publisher publisher;

	publisher_open(&publisher, broker, "room");
	for (unsigned last = 0; last < 2002; last += 1001) {
		broker_signal(broker, SIGSTOP);
		for (unsigned i = last + 1; i <= last + 1000; i++)
			publisher_put(&publisher, i, "x");
		raw_send(publisher.raw, "#s SAY room\nsocket");
		broker_signal(broker, SIGCONT);
		raw_expect(publisher.raw, "#s * %u", last + 1001);
		for (unsigned i = last + 1; i <= last + 1000; i++)
			raw_expect(raw, "MSG room %u ~:%u\nx", i, i);
		raw_expect(raw, "MSG room %u ~\nsocket", last + 1001);
	}
	publisher_close(&publisher);
	broker_stop(broker);
}

/* A publisher that comes again offers what it has: who came meanwhile does not get what was
 * said before. */
static void test_offered_again(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *raw = raw_join(broker, "name=t3ster", "room"), *reader;
	struct publisher publisher;

	publisher_open(&publisher, broker, "room");
	publisher_put(&publisher, 1, "one");
	publisher_put(&publisher, 2, "two");
	raw_send(publisher.raw, "#b BELL");
	raw_expect(publisher.raw, "#b *");
	raw_close(publisher.raw);
	raw_expect(raw, "MSG room 1 ~");
	raw_expect(raw, "MSG room 2 ~");
	fast_await_row(raw, "#r * 0");
	reader = fast_join(broker, geteuid(), "room");
	publisher_put(&publisher, 3, "three");
	publisher_again(&publisher, broker);
	raw_send_fds(
		publisher.raw, &publisher.memory.fd, 1, "#g RING room nonce=7 at=0 seq=1 again");
	raw_expect(publisher.raw, "#g *~");
	raw_expect(reader, "RING room ~ at=128 seq=3");
	raw_expect(raw, "MSG room 3 ~\nthree");
	publisher_close(&publisher);
	broker_stop(broker);
}

/* What the log has not any more, either, is told: to who was overtaken by the number of the
 * next record, and to who could not read the ring at all by those of the log. */
static void test_retention(void **state)
{
	struct broker *broker = broker_start("--limit", "room-bytes=256k");
	struct publisher publisher;
	struct raw *raw, *refuses;
	static char body[1000];

	memset(body, 'x', sizeof body - 1);
	publisher_open(&publisher, broker, "room");
	raw = fast_join(broker, geteuid(), "room");
	refuses = fast_join(broker, geteuid(), "room");
	raw_expect(raw, "RING room ~ at=0 seq=~");
	raw_expect(refuses, "RING room ~ at=0 seq=~");
	raw_send(raw, "TOOK");
	for (unsigned i = 1; i <= 500; i++) {
		publisher_put(&publisher, i, body);
		if (i % 50 == 0) {
			raw_send(publisher.raw, "#b BELL");
			raw_await(publisher.raw, "#b *");
		}
	}
	raw_send(raw, "#r RESYNC room %u p=abc after=90 since=80", getuid());
	raw_await(raw, "#r *"); /* it was told its place before */
	raw_expect(raw, "GAP room 0 0 lapped sp3aker ~ p=0000000000000abc seq=~");
	raw_await(raw, "MSG room 500 ~");
	raw_expect(raw, "RING room ~ seq=501 resync=1");
	raw_send(refuses, "TOOK no");
	raw_await(refuses, "GAP room 1 ~ retention");
	raw_await(refuses, "MSG room 500 ~");
	publisher_close(&publisher);
	broker_stop(broker);
}

/* Who was thrown out may have what it left: that is not used any more, either. */
static void test_left_and_thrown_out(void **state)
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
	broker_ctl(broker, "KICK r3ader");
	raw_expect(raw, "BYE KICKED~");
	raw_await(publisher.raw, "REVOKED room at=0");
	publisher_close(&publisher);
	broker_stop(broker);
}

/* Nor may a ring come back that somebody had who was thrown out while it was away. */
static void test_thrown_out_meanwhile(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *raw = fast_join(broker, geteuid(), "room");
	struct publisher publisher;

	publisher_open(&publisher, broker, "room");
	raw_expect(raw, "RING room ~");
	raw_send(raw, "TOOK");
	raw_close(publisher.raw);
	raw_expect(raw, "UNRING room ~");
	broker_ctl(broker, "KICK r3ader");
	raw_await(raw, "BYE KICKED~");
	publisher_again(&publisher, broker);
	raw_send_fds(
		publisher.raw, &publisher.memory.fd, 1, "#g RING room nonce=7 at=0 seq=1 again");
	raw_expect(publisher.raw, "#g ! RING somebody was thrown out ~");
	raw_send_fds(publisher.raw, &publisher.memory.fd, 1, "#g RING room nonce=8");
	raw_expect(publisher.raw, "#g * slot=0");
	publisher_close(&publisher);
	broker_stop(broker);
}

/* TOOK is for what was passed, even if a RESYNC overtook it. */
static void test_resync_crosses(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct publisher a, b;
	struct raw *raw;

	publisher_open_as(&a, broker, "a", "name=sp3aker batch pub=abc");
	publisher_open_as(&b, broker, "b", "name=sp4aker batch pub=abd");
	raw = fast_join(broker, geteuid(), "a");
	raw_expect(raw, "RING a ~");
	raw_send(raw, "#j JOIN b ring");
	raw_expect(raw, "#j * ~");
	raw_send(raw, "#r RESYNC a %u p=abc after=0", getuid());
	raw_expect(raw, "#r *");
	raw_expect_quiet(raw);
	raw_send(raw, "TOOK");
	for (unsigned i = 0; i < 2; i++)
		raw_send(raw, pattern_matches("RING b ~", raw_next(raw)) ? "TOOK no" : "TOOK");
	publisher_put(&b, 1, "to one who refused");
	raw_send(b.raw, "#b BELL");
	raw_await(b.raw, "#b *");
	raw_expect(raw, "MSG b 1 ~\nto one who refused");
	publisher_close(&a);
	publisher_close(&b);
	broker_stop(broker);
}

/* A ring that nobody archives, whose writer says that everything was overwritten. */
static void test_horizon_is_a_lie(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *raw = fast_join(broker, geteuid(), "room mode=ephemeral");
	struct publisher publisher;
	uint64_t before;

	publisher_open(&publisher, broker, "room");
	raw_expect(raw, "RING room ~");
	((struct ring_header *)publisher.memory.at)->horizon = UINT64_MAX / 2;
	raw_send(raw, "TOOK");
	raw_send(publisher.raw, "BELL");
	broker_expect(broker, "its mark is not as it should be");
	raw_await(publisher.raw, "REVOKED room ~");
	raw_expect(raw, "UNRING room ~");
	before = broker_switches(broker);
	raw_expect_silence(raw, 300);
	assert_true(broker_switches(broker) - before < 30);
	publisher_close(&publisher);
	broker_stop(broker);
}

/* Who was thrown out has said its last: what it goes on to write is nobody's. */
static void test_writes_on(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *raw = raw_hello(broker, "name=t3ster");
	struct publisher publisher;
	uint64_t until = clock_ms() + DEADLINE_MS, number = 2;
	struct text frame;

	publisher_open(&publisher, broker, "room");
	publisher_put(&publisher, 1, "in time");
	broker_ctl(broker, "KICK sp3aker");
	raw_await(publisher.raw, "BYE KICKED~");
	publisher.writer.gate = NULL;
	do {
		for (unsigned i = 0; i < 64; i++)
			publisher_put(&publisher, number++, "too late");
		raw_send(raw, "#r STATS rings");
		while (!pattern_matches("#r *~", frame = raw_next(raw)))
			;
		assert_true(clock_ms() < until);
	} while (!pattern_matches("#r * 0", frame));
	publisher_close(&publisher);
	broker_stop(broker);
}

/* Who joins again without rings has its messages from the log, as has who has no page. */
static void test_join_without_ring(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *raw = fast_join(broker, geteuid(), "room mode=ephemeral"), *blind;
	struct publisher publisher;

	publisher_open(&publisher, broker, "room");
	raw_expect(raw, "RING room ~");
	raw_send(raw, "TOOK");
	fast_await_row(raw, "#r + room ~ free ~");
	raw_send(raw, "#j JOIN room");
	raw_expect(raw, "#j * ~");
	publisher_put(&publisher, 1, "one");
	raw_send(publisher.raw, "BELL");
	raw_expect(raw, "MSG room 1 ~\none");
	blind = raw_hello(broker, "name=bl1nd batch pub=def");
	raw_send(blind, "FAST");
	raw_expect(blind, "PAGE ~");
	raw_send(blind, "TOOK no");
	raw_send(blind, "#j JOIN room ring");
	raw_expect(blind, "#j * ~");
	raw_send(raw, "PART room");
	publisher_put(&publisher, 2, "two");
	raw_send(publisher.raw, "BELL");
	raw_expect(blind, "MSG room 2 ~\ntwo");
	publisher_close(&publisher);
	broker_stop(broker);
}

/* One sleep, one BELL: who is stopped is not told until it is closed for that. */
static void test_one_bell(void **state)
{
	struct broker *broker;
	struct publisher publisher;
	struct sleeper sleeper;
	struct raw *raw;
	int fds[2];

	if (geteuid() != 0)
		SKIP("only root can be several users");
	broker = broker_start(NULL);
	publisher_open(&publisher, broker, "room");
	raw = raw_hello_as(broker, NOBODY, "name=r3ader batch pub=def");
	fast_open(raw);
	raw_expect(raw, "#t *");
	raw_send(raw, "#j JOIN room ring");
	raw_expect(raw, "#j * ~");
	assert_int_equal(seteuid(NOBODY), 0);
	assert_int_equal(sleeper_create(&sleeper), 0);
	assert_int_equal(seteuid(0), 0);
	fds[0] = sleeper.fd;
	fds[1] = sleeper.page.fd;
	raw_send_fds(raw, fds, 2, "#w WAKER");
	raw_expect(raw, "#w *");
	raw_expect(raw, "RING ~");
	raw_send(raw, "#t TOOK");
	raw_expect(raw, "#t *");
	for (unsigned i = 1; i <= 20; i++) {
		if (i % 10 == 1)
			sleeper_begin(&sleeper);
		publisher_put(&publisher, i, "x");
		raw_send(publisher.raw, "#b BELL");
		raw_expect(publisher.raw, "#b *");
		if (i % 10 == 1)
			raw_expect(raw, "BELL");
		if (i == 10)
			sleeper_end(&sleeper);
	}
	raw_expect_quiet(raw);
	sleeper_close(&sleeper);
	publisher_close(&publisher);
	broker_stop(broker);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_broken_ring),
		TEST(test_ignored_gate),
		TEST(test_reader_takes_nothing),
		TEST(test_resync),
		TEST(test_after_the_end),
		TEST(test_two_are_missed),
		TEST(test_ring_and_socket),
		TEST(test_offered_again),
		TEST(test_retention),
		TEST(test_left_and_thrown_out),
		TEST(test_thrown_out_meanwhile),
		TEST(test_resync_crosses),
		TEST(test_horizon_is_a_lie),
		TEST(test_writes_on),
		TEST(test_join_without_ring),
		TEST(test_one_bell),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
