/* meter.c - see meter.h. */
#include "broker/meter.h"

#include "protocol/base.h"

void meter_turn(struct meter *meter, uint32_t second)
{
	meter->last = meter_rate(meter, second);
	meter->before = meter->total;
	meter->second = second;
}

uint32_t meter_rate(const struct meter *meter, uint32_t second)
{
	if (second == meter->second)
		return meter->last;
	if (second - meter->second > 1) /* nothing happened in the one before it */
		return 0;
	return (uint32_t)MIN(meter->total - meter->before, (uint64_t)UINT32_MAX);
}
