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

int look_wait(struct look *look, int epoll, struct epoll_event *events, int n_max, int timeout_ms)
{
	uint64_t start, now;
	int n;

	if (timeout_ms == 0 || look->limit_ns == 0)
		return epoll_wait(epoll, events, n_max, timeout_ms);
	n = epoll_wait(epoll, events, n_max, 0);
	if (n != 0)
		return n;
	start = now = look_clock();
	while (look->n_short >= LOOK_WAITS && now - start < look->limit_ns) {
		sched_yield();
		n = epoll_wait(epoll, events, n_max, 0);
		if (n != 0)
			return n;
		now = look_clock();
	}
	/* a timeout in ms is longer than what the look took of it */
	n = epoll_wait(epoll, events, n_max, timeout_ms);
	if (look_clock() - start >= look->limit_ns)
		look->n_short = 0;
	else if (look->n_short < LOOK_WAITS)
		look->n_short++;
	return n;
}
