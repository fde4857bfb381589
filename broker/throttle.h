/* throttle.h - a rate that is waited for: who is over it is slowed, not refused.
 *
 * Each account has one, for what its sessions say. Those that may not go on stand in
 * its line, first come, first served; the throttles with somebody in line stand in a
 * queue, in order of the time at which they open. So waiting costs the loop nothing: it
 * looks at the first of the queue. chat-broker(8), section LIMITS.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "broker/list.h"
#include "broker/rate.h"

struct throttle {
	struct rate rate;
	struct list waiters; /* links that the waiters own */
	struct list link;    /* in the queue */
	uint64_t due;        /* when to look at the waiters again */
	uint64_t n_waits;    /* since the start */
};

/* How long a line stands at least, ns: each time somebody goes on costs a turn of the
 * loop, which at a high rate shall be worth several messages. Nobody feels it. */
#define THROTTLE_REST_NS (UINT64_C(10) * 1000000)

void throttle_init(struct throttle *throttle);

/* Nobody is in line any more. */
void throttle_deinit(struct throttle *throttle);

/* May somebody who is not in line go on now? Not past those who are. */
static inline bool throttle_is_open(struct throttle *throttle, uint64_t now)
{
	return list_is_empty(&throttle->waiters) && rate_has(&throttle->rate, now);
}

/* Stand in line: WAITER is unlinked when it may go on, or by whoever owns it. */
void throttle_wait(
	struct throttle *throttle, struct list *queue, uint64_t now, struct list *waiter);

/* Let those go on whose time has come: each is unlinked and given to WAKE, and one of its
 * rate is taken. Returns the ns until the next is due, UINT64_MAX when nobody waits. */
uint64_t throttles_expire(struct list *queue, uint64_t now, void (*wake)(struct list *waiter));
