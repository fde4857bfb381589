/* look.c - see look.h. */
#include "protocol/look.h"

#include <sched.h>
#include <stdbool.h>
#include <time.h>

#include "protocol/base.h"

static uint64_t look_clock(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

void look_init(struct look *look, uint64_t limit_us)
{
	cpu_set_t set;

	*look = (struct look){ .limit_ns = limit_us * 1000 };
	/* more processors than the set holds are more than one */
	if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) < 2)
		look->limit_ns = 0;
}

/* Look until LIMIT_NS are over. Returns what epoll_wait() does. */
static int look_around(
	uint64_t start, uint64_t limit_ns, int epoll, struct epoll_event *events, int n_max)
{
	int n;

	do {
		sched_yield();
		n = epoll_wait(epoll, events, n_max, 0);
	} while (n == 0 && look_clock() - start < limit_ns);
	return n;
}

int look_wait(struct look *look, int epoll, struct epoll_event *events, int n_max, int timeout_ms)
{
	uint64_t start, limit_ns = look->limit_ns;
	bool is_worth_it;
	int n = 0;

	if (timeout_ms == 0 || limit_ns == 0)
		return epoll_wait(epoll, events, n_max, timeout_ms);
	if (timeout_ms > 0) /* who may sleep a millisecond does not look for ten */
		limit_ns = MIN(limit_ns, (uint64_t)timeout_ms * 1000000);
	start = look_clock();
	is_worth_it = look->n_short == LOOK_WAITS && start - look->woken_at < look->limit_ns / 2;
	if (!is_worth_it || !look->has_helped)
		n = epoll_wait(epoll, events, n_max, 0);
	look->has_helped = n == 0 && is_worth_it;
	if (look->has_helped)
		n = look_around(start, limit_ns, epoll, events, n_max);
	if (n == 0) /* what the look took of a timeout is not worth a clock */
		n = epoll_wait(epoll, events, n_max, timeout_ms);
	look->woken_at = look_clock();
	if (n == 0 || look->woken_at - start >= look->limit_ns)
		look->n_short = 0;
	else if (look->n_short < LOOK_WAITS)
		look->n_short++;
	return n;
}
