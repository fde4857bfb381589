/* look.h - the look before sleeping: epoll_wait(2) that polls a little first.
 *
 * Waking an idle processor costs more than all the work of a short message. Who was
 * woken soon after it slept, or found something by looking, looks again before it
 * sleeps the next time: it polls, and yields the processor between. Who was not sleeps
 * at once, so an idle process uses no processor at all. chat-tuning(7), section THE LOOK.
 */
#pragma once

#include <stdint.h>
#include <sys/epoll.h>

/* How long a look may take, us: longer than two hops between processes that are awake,
 * and what one more message is worth waiting for. Measured: chat-tuning(7). */
#define LOOK_US_DEFAULT 100
#define LOOK_US_MAX     10000

struct look {
	uint64_t limit_ns; /* 0: never look */
	unsigned worth;    /* 0 to LOOK_WORTH_MAX: how often it paid of late */
};

/* LIMIT_US at most LOOK_US_MAX. On one processor there is nobody to look for: off. */
void look_init(struct look *look, uint64_t limit_us);

/* epoll_wait(), after a look where one is worth it. */
int look_wait(struct look *look, int epoll, struct epoll_event *events, int n_max, int timeout_ms);
