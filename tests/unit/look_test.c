/* look_test.c - the look before sleeping, on a clock and an epoll of its own. */
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <time.h>

#include <cmocka.h>

#include "protocol/base.h"
#include "protocol/look.h"

#define US     UINT64_C(1000)
#define MS     (1000 * US)
#define LIMIT  (100 * US)
#define NOBODY 3 /* an epoll descriptor: never used */

/* The world: when the next event comes, and what look_wait() did about it. */
static struct {
	uint64_t now, event_at;
	unsigned n_yields, n_sleeps;
} world;

int __wrap_clock_gettime(clockid_t clock, struct timespec *ret_now);
int __wrap_sched_yield(void);
int __wrap_epoll_wait(int epoll, struct epoll_event *events, int n_max, int timeout_ms);

int __wrap_clock_gettime(clockid_t clock, struct timespec *ret_now)
{
	*ret_now = (struct timespec){ (time_t)(world.now / 1000000000),
		(long)(world.now % 1000000000) };
	return 0;
}

int __wrap_sched_yield(void)
{
	world.n_yields++;
	world.now += US;
	return 0;
}

int __wrap_epoll_wait(int epoll, struct epoll_event *events, int n_max, int timeout_ms)
{
	uint64_t until = world.now + (uint64_t)timeout_ms * MS;

	if (timeout_ms != 0) {
		world.n_sleeps++;
		world.now = timeout_ms > 0 ? MIN(until, world.event_at) : world.event_at;
	}
	return world.now >= world.event_at ? 1 : 0;
}

/* Wait for an event that comes in so many us; returns the yields it took. */
static unsigned wait_us(struct look *look, uint64_t us, int timeout_ms, int wanted)
{
	struct epoll_event event;

	world.event_at = world.now + us * US;
	world.n_yields = world.n_sleeps = 0;
	assert_int_equal(look_wait(look, NOBODY, &event, 1, timeout_ms), wanted);
	return world.n_yields;
}

static void test_looks_while_it_pays(void **state)
{
	struct look look = { .limit_ns = LIMIT };

	for (int i = 0; i < LOOK_WAITS; i++) {
		assert_int_equal(wait_us(&look, 30, -1, 1), 0);
		assert_int_equal(world.n_sleeps, 1);
	}
	for (int i = 0; i < 10; i++) {
		assert_int_equal(wait_us(&look, 30, -1, 1), 30);
		assert_int_equal(world.n_sleeps, 0);
	}
	/* while it helps, others come first; what is there is taken behind them */
	assert_int_equal(wait_us(&look, 0, -1, 1), 1);
	assert_int_equal(world.n_sleeps, 0);
	/* after one in vain it is taken at once */
	(void)wait_us(&look, 5000, -1, 1);
	for (int i = 0; i <= LOOK_WAITS; i++) {
		assert_int_equal(wait_us(&look, 0, -1, 1), 0);
		assert_int_equal(world.n_sleeps, 0);
	}
}

static void test_gives_up(void **state)
{
	struct look look = { .limit_ns = LIMIT };

	for (int i = 0; i < 100; i++)
		(void)wait_us(&look, 30, -1, 1);
	/* a busy past is worth one look in vain, as long as the limit */
	assert_int_equal(wait_us(&look, 5000, -1, 1), LIMIT / US);
	assert_int_equal(world.n_sleeps, 1);
	for (int i = 0; i < 100; i++) {
		assert_int_equal(wait_us(&look, 5000, -1, 1), 0);
		assert_int_equal(world.n_sleeps, 1);
		/* and now and then a short one does not make it busy again */
		for (int k = 1; k < LOOK_WAITS; k++)
			assert_int_equal(wait_us(&look, 30, -1, 1), 0);
	}
}

/* Who works long between its waits has better to do. */
static void test_busy(void **state)
{
	struct look look = { .limit_ns = LIMIT };

	for (int i = 0; i < 2 * LOOK_WAITS; i++)
		(void)wait_us(&look, 30, -1, 1);
	world.now += LIMIT / 2;
	assert_int_equal(wait_us(&look, 30, -1, 1), 0);
	assert_int_equal(world.n_sleeps, 1);
	world.now += LIMIT / 2 - 1;
	assert_int_equal(wait_us(&look, 30, -1, 1), 30);
}

static void test_timeouts(void **state)
{
	struct look look = { .limit_ns = LIMIT };

	for (int i = 0; i < LOOK_WAITS; i++)
		(void)wait_us(&look, 30, -1, 1);
	assert_int_equal(wait_us(&look, 30, 0, 0), 0); /* who does not wait does not look */
	assert_int_equal(world.n_sleeps, 0);
	assert_int_equal(wait_us(&look, 9000, 5, 0), LIMIT / US);
	assert_int_equal(world.n_sleeps, 1);
	/* nor does who sleeps for less than the limit look for all of it */
	look = (struct look){ .limit_ns = 10 * MS, .n_short = LOOK_WAITS, .woken_at = world.now };
	assert_int_equal(wait_us(&look, 9000, 1, 0), MS / US);
	assert_int_equal(world.n_sleeps, 1);
	/* it was short, but found nothing */
	assert_int_equal(wait_us(&look, 9000, 1, 0), 0);
}

static void test_off(void **state)
{
	struct look look;
	cpu_set_t all, one;

	assert_int_equal(sched_getaffinity(0, sizeof all, &all), 0);
	look_init(&look, 0);
	for (int i = 0; i < 10; i++) {
		assert_int_equal(wait_us(&look, 30, -1, 1), 0);
		assert_int_equal(world.n_sleeps, 1);
	}
	CPU_ZERO(&one);
	for (int i = 0; CPU_COUNT(&one) == 0; i++)
		if (CPU_ISSET(i, &all))
			CPU_SET(i, &one);
	assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
	look_init(&look, 100);
	assert_int_equal(look.limit_ns, 0);
	assert_int_equal(sched_setaffinity(0, sizeof all, &all), 0);
	look_init(&look, 100);
	assert_int_equal(look.limit_ns, CPU_COUNT(&all) > 1 ? LIMIT : 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_looks_while_it_pays),
		cmocka_unit_test(test_gives_up),
		cmocka_unit_test(test_busy),
		cmocka_unit_test(test_timeouts),
		cmocka_unit_test(test_off),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
