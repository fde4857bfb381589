/* throttle_test.c - token buckets, and the lines of those who wait for one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "broker/rate.h"
#include "broker/throttle.h"
#include "protocol/base.h"

#define MS UINT64_C(1000000)
#define S  (1000 * MS)

/* How many may come at NOW. */
static uint64_t take_all(struct rate *rate, uint64_t now)
{
	uint64_t n = 0;

	while (n < 1000000 && rate_has(rate, now)) {
		rate_take(rate);
		n++;
	}
	return n;
}

static void test_rate(void **state)
{
	static const struct {
		uint64_t max, after_ns, n;
	} table[] = {
		/* a full second at first, however long ago that was */
		{ 10, 0, 10 },
		{ 10, 0, 0 },
		{ 10, 100 * MS - 1, 0 },
		{ 10, 1, 1 },
		{ 10, 250 * MS, 2 },
		{ 10, 50 * MS, 1 }, /* the rest was kept */
		{ 10, 1 * S, 10 },
		{ 10, 3600 * S, 10 }, /* and never more than a second */
		/* another rate */
		{ 3, 0, 3 },
		{ 3, S / 3, 0 },
		{ 3, 1, 1 },
		{ 1, 0, 1 },
		{ 1, S - 1, 0 },
		{ 1, 1, 1 },
		{ RATE_MAX, 0, 1000000 },
		{ RATE_MAX, UINT64_C(1) << 62, 1000000 },
	};
	struct rate rate = { 0 };
	uint64_t now = 77 * S;

	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		now += table[i].after_ns;
		rate_set(&rate, table[i].max, now);
		assert_int_equal(take_all(&rate, now), table[i].n);
	}
	rate_set(&rate, RATE_MAX, now);
	rate_fill(&rate, now + S);
	assert_int_equal(rate.tokens, RATE_MAX * RATE_ONE);
}

/* The wait that it tells is enough, and 1 ns less is not. */
static void test_wait(void **state)
{
	static const uint64_t maxima[] = { 1, 3, 7, 10, 999, 1000000, RATE_MAX };

	for (size_t i = 0; i < ARRAY_LEN(maxima); i++) {
		struct rate rate = { 0 };
		uint64_t now = 5 * S, wait;

		rate_set(&rate, maxima[i], now);
		assert_int_equal(rate_wait(&rate), 0);
		rate.tokens = 0;
		wait = rate_wait(&rate);
		assert_int_equal(wait, (S + maxima[i] - 1) / maxima[i]);
		assert_false(wait > 1 && rate_has(&rate, now + wait - 1));
		assert_true(rate_has(&rate, now + wait));
	}
}

/* ---- lines ---- */

static struct list waiter[6];
static char woken[16]; /* a letter for each, in order */

static void wake(struct list *link)
{
	size_t len = strlen(woken);

	assert_false(list_is_linked(link));
	woken[len] = (char)('a' + (link - waiter));
	woken[len + 1] = '\0';
}

static void expect_woken(struct list *queue, uint64_t now, const char *who, uint64_t next)
{
	woken[0] = '\0';
	assert_int_equal(throttles_expire(queue, now, wake), next);
	assert_string_equal(woken, who);
}

static void test_line(void **state)
{
	struct throttle throttle;
	struct list queue;
	uint64_t now = 9 * S;

	list_init(&queue);
	for (size_t i = 0; i < ARRAY_LEN(waiter); i++)
		list_init(&waiter[i]);
	throttle_init(&throttle);
	rate_set(&throttle.rate, 10, now);
	assert_true(throttle_is_open(&throttle, now));
	take_all(&throttle.rate, now);
	assert_false(throttle_is_open(&throttle, now));
	expect_woken(&queue, now, "", UINT64_MAX);

	/* first come, first served: one each 100 ms */
	for (int i = 0; i < 3; i++)
		throttle_wait(&throttle, &queue, now, &waiter[i]);
	expect_woken(&queue, now, "", 100 * MS);
	expect_woken(&queue, now + 99 * MS, "", 1 * MS);
	expect_woken(&queue, now + 100 * MS, "a", 100 * MS);
	/* nobody goes past those in line, though there were a token */
	assert_false(throttle_is_open(&throttle, now + 200 * MS));
	throttle_wait(&throttle, &queue, now + 200 * MS, &waiter[0]);
	expect_woken(&queue, now + 200 * MS, "b", 100 * MS);
	/* all that the time is enough for */
	expect_woken(&queue, now + 450 * MS, "ca", UINT64_MAX);
	assert_false(throttle_is_open(&throttle, now + 450 * MS));
	assert_true(throttle_is_open(&throttle, now + 500 * MS));
	assert_int_equal(throttle.n_waits, 4);

	/* who has left is not waited for */
	take_all(&throttle.rate, now + 500 * MS);
	throttle_wait(&throttle, &queue, now + 500 * MS, &waiter[4]);
	list_unlink(&waiter[4]);
	expect_woken(&queue, now + 600 * MS, "", UINT64_MAX);
	throttle_deinit(&throttle);
}

/* Several lines, each at its own time; and at a high rate not for each message. */
static void test_queue(void **state)
{
	static const uint64_t maxima[] = { 2, 1, 1000, 4 };
	struct throttle throttles[ARRAY_LEN(maxima)];
	struct list queue;
	uint64_t now = 9 * S;

	list_init(&queue);
	for (size_t i = 0; i < ARRAY_LEN(maxima); i++) {
		throttle_init(&throttles[i]);
		list_init(&waiter[i]);
		rate_set(&throttles[i].rate, maxima[i], now);
		take_all(&throttles[i].rate, now);
		throttle_wait(&throttles[i], &queue, now, &waiter[i]);
	}
	expect_woken(&queue, now + 1 * MS, "", THROTTLE_REST_NS - 1 * MS);
	expect_woken(&queue, now + THROTTLE_REST_NS, "c", 240 * MS);
	assert_int_equal(take_all(&throttles[2].rate, now + THROTTLE_REST_NS), 9);
	expect_woken(&queue, now + 500 * MS, "da", 500 * MS);
	expect_woken(&queue, now + 1000 * MS, "b", UINT64_MAX);
	/* one that waits when its owner goes */
	throttle_wait(&throttles[0], &queue, now, &waiter[0]);
	list_unlink(&waiter[0]);
	for (size_t i = 0; i < ARRAY_LEN(maxima); i++)
		throttle_deinit(&throttles[i]);
	assert_true(list_is_empty(&queue));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rate),
		cmocka_unit_test(test_wait),
		cmocka_unit_test(test_line),
		cmocka_unit_test(test_queue),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
