/* look.h - the look before sleeping: epoll_wait(2) that polls a little first.
 *
 * Waking an idle processor costs more than all the work of a short message. Who found
 * something soon, some times in a row, looks before it sleeps the next time: it polls,
 * and yields the processor between. One wait that was long ends that, for a look in vain
 * costs a processor that others may need; so an idle process uses none at all. Nor does
 * who worked long since the last wait look: to be woken is little beside that, and the
 * one that it waits for may want the processor.
 * chat-tuning(7), section THE LOOK.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

/* How long a look may take, us: longer than two hops between processes that are awake,
 * and what one more message is worth waiting for. Measured: chat-tuning(7). */
#define LOOK_US_DEFAULT 100
#define LOOK_US_MAX     10000

/* Short waits in a row after which looking is worth it. */
#define LOOK_WAITS 3

struct look {
	uint64_t limit_ns; /* 0: never look */
	uint64_t woken_at; /* when the last wait ended */
	unsigned n_short;  /* waits that were shorter than the limit, in a row; to LOOK_WAITS */
	bool has_helped;   /* the last wait took a look, so the next look begins with a yield */
};

/* LIMIT_US at most LOOK_US_MAX. On one processor there is nobody to look for: off. */
void look_init(struct look *look, uint64_t limit_us);

/* epoll_wait(), after a look where one is worth it. */
int look_wait(struct look *look, int epoll, struct epoll_event *events, int n_max, int timeout_ms);
