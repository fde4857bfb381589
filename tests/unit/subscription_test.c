/* subscription_test.c - a reader's side of the rings, without a broker: where a cursor is
 * joined again, and whose turn it is. chat-ring(7), section HAND-OVER. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "client/session.h"
#include "protocol/ring.h"
#include "protocol/sealed.h"

#define LOG    UINT64_C(0xaa)
#define UID    1000
#define MEMORY (RING_HEADER_LEN + RING_CAPACITY_MIN)

int __real_ring_get(struct ring_reader *reader, char *buffer, size_t size, unsigned n_max,
	struct ring_batch *ret_batch);
int __wrap_ring_get(struct ring_reader *reader, char *buffer, size_t size, unsigned n_max,
	struct ring_batch *ret_batch);

/* What becomes of the rings behind the first look. */
static void (*meanwhile)(void);

int __wrap_ring_get(struct ring_reader *reader, char *buffer, size_t size, unsigned n_max,
	struct ring_batch *ret_batch)
{
	int r = __real_ring_get(reader, buffer, size, n_max, ret_batch);

	if (meanwhile)
		TAKE(meanwhile)();
	return r;
}

/* A chat that reads two rings of one room. */
static struct {
	struct chat chat;
	struct cursor cursor;
	struct subscription *one, *other;
	struct sealed memory[2];
	struct ring_writer writer[2];
} world;

static void start(void)
{
	memset(&world, 0, sizeof world);
	world.cursor = (struct cursor){ .target = "room", .target_len = 4, .log = LOG };
	world.cursor.state = CURSOR_UP;
	world.chat.fast.subscriptions = calloc(RINGS_MAX, sizeof *world.one);
	world.chat.fast.n_subscriptions = 2;
	for (unsigned i = 0; i < RINGS_MAX; i++)
		world.chat.fast.subscriptions[i].memory = SEALED_NONE;
	for (unsigned i = 0; i < 2; i++) {
		struct subscription *subscription = &world.chat.fast.subscriptions[i];

		assert_int_equal(sealed_create(&world.memory[i], "test", MEMORY), 0);
		ring_writer_init(&world.writer[i], world.memory[i].at, RING_CAPACITY_MIN, 7 + i);
		subscription->memory = world.memory[i];
		subscription->cursor = &world.cursor;
		subscription->label = 1 + i;
		subscription->uid = UID;
		subscription->nonce = 7 + i;
		subscription->buffer = aligned_alloc(64, RING_BUFFER_MIN);
		assert_int_equal(
			ring_reader_init(&subscription->reader, world.memory[i].at, MEMORY, 0, 1),
			0);
	}
	world.one = &world.chat.fast.subscriptions[0];
	world.other = &world.chat.fast.subscriptions[1];
}

static void stop(void)
{
	subscriptions_drop(&world.chat, &world.cursor);
	free(world.chat.fast.subscriptions);
	seen_deinit(&world.cursor.seen);
}

static void put(unsigned ring, uint64_t number, const char *body)
{
	assert_int_equal(ring_put(&world.writer[ring], number, number, body, strlen(body)), 0);
}

static void expect_body(const char *body)
{
	struct chat_event event;

	assert_int_equal(subscriptions_next(&world.chat, &event), 1);
	assert_int_equal(event.len, strlen(body));
	assert_memory_equal(event.body, body, event.len);
}

static void ask_and_answer(void)
{
	put(0, 1, "question");
	put(1, 2, "answer");
}

/* The one ring was passed when it was empty; in the other there is an answer to what was put
 * there since. */
static void test_answer_is_behind(void **state)
{
	start();
	meanwhile = ask_and_answer;
	expect_body("question");
	expect_body("answer");
	stop();
}

/* Before a message of its publisher from elsewhere comes what the ring has of lower numbers. */
static void test_in_order(void **state)
{
	struct chat_event event;

	start();
	for (uint64_t n = 1; n <= 3; n++)
		put(0, n, n == 1 ? "one" : n == 2 ? "two" : "three");
	assert_int_equal(subscription_next_before(&world.chat, world.one, 3, &event), 1);
	assert_memory_equal(event.body, "one", 3);
	assert_int_equal(subscription_next_before(&world.chat, world.one, 3, &event), 1);
	assert_memory_equal(event.body, "two", 3);
	assert_int_equal(subscription_next_before(&world.chat, world.one, 3, &event), 0);
	/* and it is that one */
	assert_true(subscription_note(world.one, 3));
	assert_int_equal(subscriptions_next(&world.chat, &event), 0);
	stop();
}

/* Who goes on with a ring of which it had more than the broker tells of has that still. */
static void test_told_of_what_was_read(void **state)
{
	struct chat_event event;
	struct frame frame;

	start();
	world.one->state = SUBSCRIPTION_LOST;
	world.one->read = world.one->next = 151;
	assert_int_equal(frame_parse(&frame, TEXT("RING room sp3aker 1000 p=0000000000000001 "
						  "nonce=0000000000000007 at=0 seq=101")),
		0);
	assert_int_equal(subscription_deliver(&world.chat, &frame, &world.cursor, &event), 0);
	assert_int_equal(world.one->state, SUBSCRIPTION_READING);
	assert_int_equal(world.one->next, 151);
	assert_int_equal(world.chat.fast.n_tooks, 1);
	stop();
}

/* A cursor that is joined again is served by the log, from where its rings were read to. */
static void test_joined_again(void **state)
{
	start();
	world.cursor.next = world.cursor.heard = 100;
	world.one->since = 40;
	world.other->since = 70;
	world.one->since_log = world.other->since_log = LOG;
	assert_int_equal(subscriptions_suspend(&world.chat, &world.cursor, 100, LOG), 40);
	assert_int_equal(world.one->state, SUBSCRIPTION_LOST);
	assert_int_equal(world.other->state, SUBSCRIPTION_LOST);
	/* and once more: of another log that says nothing */
	assert_int_equal(subscriptions_suspend(&world.chat, &world.cursor, 100, LOG + 1), 100);
	stop();
}

/* What the log had to say meanwhile is not asked for again: retention may have taken it, and
 * a gap would be told that is none. */
static void test_joined_again_and_again(void **state)
{
	start();
	world.cursor.next = 100;
	world.cursor.heard = 80;
	world.one->since = world.other->since = 40;
	world.one->since_log = world.other->since_log = LOG;
	assert_int_equal(subscriptions_suspend(&world.chat, &world.cursor, 100, LOG), 40);
	subscriptions_serve(&world.chat, &world.cursor);
	assert_int_equal(subscriptions_suspend(&world.chat, &world.cursor, 100, LOG), 80);
	world.cursor.heard = 120;
	subscriptions_serve(&world.chat, &world.cursor);
	assert_int_equal(subscriptions_suspend(&world.chat, &world.cursor, 100, LOG), 100);
	stop();
}

/* An ephemeral room has no log: its rings are read on. */
static void test_joined_again_ephemeral(void **state)
{
	start();
	world.cursor.is_ephemeral = true;
	world.cursor.next = 100;
	world.one->since_log = world.other->since_log = LOG;
	put(0, 1, "here");
	assert_int_equal(subscriptions_suspend(&world.chat, &world.cursor, 100, LOG), 100);
	expect_body("here");
	stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_answer_is_behind),
		cmocka_unit_test(test_in_order),
		cmocka_unit_test(test_told_of_what_was_read),
		cmocka_unit_test(test_joined_again),
		cmocka_unit_test(test_joined_again_and_again),
		cmocka_unit_test(test_joined_again_ephemeral),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
