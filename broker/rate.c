/* rate.c - see rate.h. No sum wraps: a bucket holds 10^18, and gets as much at once. */
#include "broker/rate.h"

#include "protocol/base.h"

void rate_set(struct rate *rate, uint64_t max, uint64_t now)
{
	if (rate->max == max)
		return;
	*rate = (struct rate){ .max = max, .tokens = max * RATE_ONE, .at = now };
}

void rate_fill(struct rate *rate, uint64_t now)
{
	uint64_t ns = MIN(now - rate->at, RATE_ONE);

	rate->tokens = MIN(rate->tokens + ns * rate->max, rate->max * RATE_ONE);
	rate->at = now;
}

uint64_t rate_wait(const struct rate *rate)
{
	if (rate->tokens >= RATE_ONE)
		return 0;
	return (RATE_ONE - rate->tokens + rate->max - 1) / rate->max;
}
