/* age.h - the clock that ages are counted by: of messages, and of names that nobody uses.
 *
 * It is in ns since the epoch, as the wall clock is, and begins as that. Then it goes on with the
 * clocks of the kernel that nobody sets, and with what was stored of it across a restart: so
 * whatever the wall clock says, nothing is older than it was seen to be. chat-broker(8), STORAGE.
 */
#pragma once

#include <stdint.h>

/* The wall clock is as good as the kernel's other clocks up to so many ns; more is a jump. */
#define AGE_JUMP_NS (UINT64_C(5) * 1000000000)

/* When no broker ran for up to so many ns, by the wall clock, that counts as time; more is taken
 * for a clock that was set. */
#define AGE_AWAY_MAX_NS (UINT64_C(24) * 3600 * 1000000000)

struct age {
	uint64_t now;
	uint64_t
		stored; /* what was stored of it before this start: journal entries are not older */
	uint64_t wall;  /* the wall clock, when NOW was set */
	uint64_t monotonic, boot; /* the kernel's, at the same time */
};

void age_init(struct age *age);

/* Go on from STORED, when the wall clock was WALL; with 0 nothing was stored. Returns by how many
 * ns that clock went on more than is counted, or back: 0 when it did not jump. */
int64_t age_resume(struct age *age, uint64_t stored, uint64_t wall);

/* It is later now. Returns by how many ns the wall clock jumped meanwhile: 0 when it did not. */
int64_t age_turn(struct age *age);
