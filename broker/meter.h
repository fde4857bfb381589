/* meter.h - how many so far, and how many a second: cheap enough for every message.
 *
 * A second is that of the caller's clock, counted from wherever it likes; the broker
 * keeps one for all its meters (users.second), so that counting asks no clock.
 */
#pragma once

#include <stdint.h>

struct meter {
	uint64_t total;  /* since the start */
	uint64_t before; /* of these, before the second in hand */
	uint32_t second; /* in hand */
	uint32_t last;   /* in the second before it; UINT32_MAX: as many or more */
};

/* Another second is in hand. */
void meter_turn(struct meter *meter, uint32_t second);

/* N more happened in SECOND, which never goes back. */
static inline void meter_add(struct meter *meter, uint32_t second, uint64_t n)
{
	if (meter->second != second)
		meter_turn(meter, second);
	meter->total += n;
}

/* How many there were in the last full second, seen in SECOND. */
uint32_t meter_rate(const struct meter *meter, uint32_t second);
