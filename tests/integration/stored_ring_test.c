/* stored_ring_test.c - rings of rooms that are stored: the gate is what the disk has, nobody
 * sees more, and what the disk does not take stays in the ring. chat-ring(7), ARCHIVE. */
#include "tests/integration/disk.h"
#include "tests/integration/fast.h"
#include "tests/integration/fast_talk.h"
#include "tests/integration/program.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "protocol/control.h"
#include "protocol/shared.h"

/* So many small messages fit the ring. */
#define MANY (RING_CAPACITY_MIN / RING_LINE - 64)

static const struct control_slot *slot_of(const struct publisher *publisher)
{
	return ((const struct control_page *)publisher->control.at)->slots;
}

/* All that was put is on the disk. */
static void await_gate(const struct publisher *publisher)
{
	uint64_t until = clock_ms() + DEADLINE_MS;

	while (shared_acquire64(&slot_of(publisher)->gate) < publisher->writer.pos)
		assert_true(clock_ms() < until);
	assert_int_equal(shared_acquire32(&slot_of(publisher)->error), 0);
}

static void disk_fill(const struct broker *broker)
{
	char error[16];

	snprintf(error, sizeof error, "%d", ENOSPC);
	file_write(broker_path(broker, "write"), error);
}

/* The ring is for the broker alone; its messages are where all others are. */
static void test_survives(void **state)
{
	struct broker *broker = stored_start();
	struct raw *raw = fast_join(broker, geteuid(), "room");
	struct publisher publisher;

	publisher_open(&publisher, broker, "room");
	publisher_put(&publisher, 1, "one");
	publisher_put(&publisher, 2, "two");
	raw_send(publisher.raw, "#b BELL");
	raw_expect(publisher.raw, "#b *");
	await_gate(&publisher);
	raw_expect(raw, "MSG room 1 ~:1\none");
	raw_expect(raw, "MSG room 2 ~:2\ntwo");
	publisher_close(&publisher);
	restart(broker);
	raw = raw_hello(broker, "name=t3ster");
	raw_send(raw, "#p PAST room");
	raw_expect(raw, "#p + MSG room 1 ~:1\none");
	raw_expect(raw, "#p + MSG room 2 ~:2\ntwo");
	raw_expect(raw, "#p * 2");
	broker_stop(broker);
}

/* While the disk is slow the gate stands, and nobody is shown what it does not have. */
static void test_gate(void **state)
{
	struct broker *broker = shimmed_start();
	struct raw *raw = raw_join(broker, "name=t3ster", "room");
	struct publisher publisher;

	publisher_open(&publisher, broker, "room");
	publisher_put(&publisher, 1, "one");
	raw_send(publisher.raw, "BELL");
	raw_expect(raw, "MSG room 1 ~");
	await_gate(&publisher);
	disk_hang(broker);
	for (unsigned i = 2; i <= 4; i++) {
		publisher_put(&publisher, i, "x");
		raw_send(publisher.raw, "BELL");
		raw_expect_quiet(raw);
		assert_int_equal(shared_acquire64(&slot_of(&publisher)->gate), RING_LINE);
	}
	disk_go_on(broker);
	for (unsigned i = 2; i <= 4; i++)
		raw_expect(raw, "MSG room %u ~", i);
	await_gate(&publisher);
	publisher_close(&publisher);
	broker_stop(broker);
}

/* What the disk does not take is in the ring still; its publisher is told why. */
static void test_full_disk(void **state)
{
	struct broker *broker = shimmed_start();
	struct raw *raw = raw_join(broker, "name=t3ster", "room");
	struct publisher publisher;

	publisher_open(&publisher, broker, "room");
	publisher_put(&publisher, 1, "one");
	raw_send(publisher.raw, "#b BELL");
	raw_expect(publisher.raw, "#b *");
	raw_expect(raw, "MSG room 1 ~");
	disk_fill(broker);
	publisher_put(&publisher, 2, "two");
	raw_send(publisher.raw, "#b BELL");
	raw_expect(publisher.raw, "#b ! NOSPACE ~");
	assert_int_equal(shared_acquire32(&slot_of(&publisher)->error), ENOSPC);
	assert_int_equal(shared_acquire64(&slot_of(&publisher)->gate), RING_LINE);
	/* nor can it say more by the socket, which would be before that */
	raw_send(publisher.raw, "#s SAY room id=3\nthree");
	raw_expect(publisher.raw, "#s ! NOSPACE ~");
	raw_expect_quiet(raw);
	disk_heal(broker, "write");
	raw_expect(raw, "MSG room 2 ~:2\ntwo");
	await_gate(&publisher);
	raw_send(publisher.raw, "#s SAY room id=3\nthree");
	raw_await(publisher.raw, "#s * 3");
	raw_expect(raw, "MSG room 3 ~:3\nthree");
	publisher_close(&publisher);
	broker_stop(broker);
}

/* Also when who put it is gone. */
static void test_full_disk_and_gone(void **state)
{
	struct broker *broker = shimmed_start();
	struct raw *raw = raw_join(broker, "name=t3ster", "room");
	struct publisher publisher;

	publisher_open(&publisher, broker, "room");
	disk_fill(broker);
	publisher_put(&publisher, 1, "one");
	publisher_put(&publisher, 2, "two");
	raw_send(publisher.raw, "#b BELL");
	raw_expect(publisher.raw, "#b ! NOSPACE ~");
	publisher_close(&publisher);
	fast_await_row(raw, "#r + room ~");
	disk_heal(broker, "write");
	raw_expect(raw, "MSG room 1 ~:1\none");
	raw_expect(raw, "MSG room 2 ~:2\ntwo");
	fast_await_row(raw, "#r * 0");
	broker_stop(broker);
}

/* And when it was on its way to the disk when that failed. */
static void test_fails_and_gone(void **state)
{
	struct broker *broker = shimmed_start();
	struct raw *raw = raw_join(broker, "name=t3ster", "room");
	struct publisher publisher;

	publisher_open(&publisher, broker, "room");
	disk_hang(broker);
	publisher_put(&publisher, 1, "one");
	raw_send(publisher.raw, "BELL");
	fast_await_row(raw, "#r + room ~ archived=1 ~");
	publisher_close(&publisher);
	raw_expect_quiet(raw);
	file_write(broker_path(broker, "sync"), "5");
	disk_go_on(broker);
	broker_expect(broker, "storage failed");
	raw_expect_quiet(raw);
	disk_heal(broker, "sync");
	raw_expect(raw, "MSG room 1 ~:1\none");
	fast_await_row(raw, "#r * 0");
	broker_stop(broker);
}

/* A publisher that leaves its ring is told what of it is stored: the rest it says again. */
static void test_left_on_the_way(void **state)
{
	struct broker *broker = shimmed_start();
	struct raw *raw = raw_join(broker, "name=t3ster", "room");
	struct publisher publisher;

	publisher_open(&publisher, broker, "room");
	publisher_put(&publisher, 1, "one");
	raw_send(publisher.raw, "#b BELL");
	raw_expect(publisher.raw, "#b *");
	raw_expect(raw, "MSG room 1 ~");
	disk_hang(broker);
	publisher_put(&publisher, 2, "two");
	raw_send(publisher.raw, "BELL");
	fast_await_row(raw, "#r + room ~ archived=2 ~");
	raw_send(publisher.raw, "#s SAY room id=3\nthree");
	raw_expect(publisher.raw, "REVOKED room at=%u", RING_LINE);
	raw_send(publisher.raw, "#t SAY room id=2\ntwo");
	disk_go_on(broker);
	raw_expect(publisher.raw, "#s * 3");
	raw_expect(publisher.raw, "#t * 2");
	raw_expect(raw, "MSG room 2 ~:2\ntwo");
	raw_expect(raw, "MSG room 3 ~:3\nthree");
	publisher_close(&publisher);
	broker_stop(broker);
}

/* A stop takes what is in rings along. */
static void test_stop(void **state)
{
	struct broker *broker = stored_start();
	struct publisher publisher;
	struct raw *raw;

	publisher_open(&publisher, broker, "room");
	broker_signal(broker, SIGSTOP);
	for (unsigned i = 1; i <= MANY; i++) /* more than are taken in one round */
		publisher_put(&publisher, i, "x");
	publisher_close(&publisher);
	broker_signal(broker, SIGTERM);
	broker_signal(broker, SIGCONT);
	broker_expect_exit(broker, 0);
	stored_spawn(broker, NULL, NULL);
	raw = raw_hello(broker, "name=t3ster");
	raw_send(raw, "#p PAST room last=1");
	raw_expect(raw, "#p + MSG room %u ~:%u\nx", MANY, MANY);
	raw_expect(raw, "#p * 1");
	broker_stop(broker);
}

/* ---- libchat ---- */

/* Until it succeeds, as a program would that is told to try again. */
static void flush_at_last(struct chat *chat)
{
	uint64_t until = clock_ms() + DEADLINE_MS;

	while (chat_flush(chat, DEADLINE_MS) != 0)
		assert_true(clock_ms() < until);
}

/* A program need not know that the room is stored; but what it flushed is on the disk. */
static void test_library(void **state)
{
	struct broker *broker = shimmed_start();
	struct chat *chat = open_named(broker, "sp3aker"), *reader = open_named(broker, "r3ader");

	join_fast(reader, "room", CHAT_FAST);
	put_numbers(chat, "room", CHAT_FAST, 1, 500);
	flush(chat);
	for (unsigned i = 1; i <= 500; i++)
		assert_int_equal(await_event(reader, CHAT_MESSAGE).seq, i);
	disk_fill(broker);
	put_numbers(chat, "room", CHAT_FAST, 501, 600);
	assert_int_equal(chat_flush(chat, DEADLINE_MS), -ENOSPC);
	assert_non_null(strstr(chat_error(chat), "can not keep it now"));
	expect_nothing(reader);
	program_check(broker, 75, "", "", "~No space left~", "say", "other", "x");
	program_check(broker, 75, "", "", "~No space left~", "say", "--fast", "other", "x");
	disk_heal(broker, "write");
	flush_at_last(chat);
	for (unsigned i = 501; i <= 600; i++)
		assert_int_equal(await_event(reader, CHAT_MESSAGE).seq, i);
	/* and through a kill */
	put_numbers(chat, "room", CHAT_FAST, 601, 700);
	broker_kill9(broker);
	put_numbers(chat, "room", CHAT_FAST, 701, 800);
	stored_spawn(broker, NULL, NULL);
	flush_at_last(chat);
	for (unsigned i = 601; i <= 800; i++)
		assert_int_equal(await_event(reader, CHAT_MESSAGE).seq, i);
	chat_close(chat);
	chat_close(reader);
	broker_stop(broker);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_survives),
		TEST(test_gate),
		TEST(test_full_disk),
		TEST(test_full_disk_and_gone),
		TEST(test_fails_and_gone),
		TEST(test_left_on_the_way),
		TEST(test_stop),
		TEST(test_library),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
