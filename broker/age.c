/* age.c - see age.h. */
#include "broker/age.h"

#include <stdlib.h>
#include <time.h>

#include "protocol/base.h"

static uint64_t clock_read(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static void age_read(struct age *age)
{
	age->wall = clock_read(CLOCK_REALTIME);
	age->monotonic = clock_read(CLOCK_MONOTONIC);
	age->boot = clock_read(CLOCK_BOOTTIME);
}

void age_init(struct age *age)
{
	*age = (struct age){ 0 };
	age_read(age);
	age->now = age->wall;
}

int64_t age_resume(struct age *age, uint64_t stored, uint64_t wall)
{
	int64_t away = (int64_t)(age->wall - wall);

	if (stored == 0)
		return 0;
	age->stored = stored;
	if (away >= 0 && away <= (int64_t)AGE_AWAY_MAX_NS) {
		age->now = stored + (uint64_t)away;
		return 0;
	}
	age->now = stored;
	return llabs(away) > (int64_t)AGE_JUMP_NS ? away : 0;
}

int64_t age_turn(struct age *age)
{
	struct age before = *age;
	int64_t by_monotonic, by_boot, jump;
	uint64_t passed;

	age_read(age);
	/* the one that counts while the host is suspended is ahead of the other, if there is one */
	passed = MAX(age->monotonic - before.monotonic, age->boot - before.boot);
	age->now += passed;
	by_monotonic = (int64_t)(age->wall - before.wall - (age->monotonic - before.monotonic));
	by_boot = (int64_t)(age->wall - before.wall - (age->boot - before.boot));
	jump = llabs(by_boot) < llabs(by_monotonic) ? by_boot : by_monotonic;
	return llabs(jump) > (int64_t)AGE_JUMP_NS ? jump : 0;
}
