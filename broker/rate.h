/* rate.h - so many a second and no more: a token bucket that holds one second.
 *
 * It is full at first, so after a quiet second a whole second's worth may come at once.
 * Times are CLOCK_MONOTONIC ns, as the loop keeps it, and never go back.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* The highest rate, which is the default: it slows nobody. */
#define RATE_MAX UINT64_C(1000000000)

struct rate {
	uint64_t max;    /* a second; 1 to RATE_MAX */
	uint64_t tokens; /* what may come now, in billionths of one */
	uint64_t at;     /* when that was counted */
};

/* One, in tokens; and a second, in ns. */
#define RATE_ONE (UINT64_C(1000000000))

/* Allow MAX a second from NOW on; another rate than before begins with a full second. */
void rate_set(struct rate *rate, uint64_t max, uint64_t now);

/* Count up what came in with the time. */
void rate_fill(struct rate *rate, uint64_t now);

/* May one come now? */
static inline bool rate_has(struct rate *rate, uint64_t now)
{
	if (rate->at != now)
		rate_fill(rate, now);
	return rate->tokens >= RATE_ONE;
}

/* One came, after rate_has(). */
static inline void rate_take(struct rate *rate)
{
	rate->tokens -= RATE_ONE;
}

/* How long until one may come, ns, after rate_has(). */
uint64_t rate_wait(const struct rate *rate);
