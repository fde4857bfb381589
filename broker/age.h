/* age.h - the clock that ages are counted by: of messages, and of names that nobody uses.
 *
 * This clock counts ns since the epoch and starts from the wall clock. The clock then advances with
 * the kernel's clocks that nobody can set, and a restart continues from the stored value. So
 * setting the wall clock while the broker runs does not make anything older. chat-broker(8),
 * STORAGE.
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
		stored; /* the value that was stored before this start: no journal entry is older */
	uint64_t wall;  /* the wall clock, when NOW was set */
	uint64_t monotonic, boot; /* the kernel's, at the same time */
};

void age_init(struct age *age);

/* Go on from STORED, when the wall clock was WALL; with 0 nothing was stored. Returns by how many
 * ns that clock went on more than is counted, or back: 0 when it did not jump. */
int64_t age_resume(struct age *age, uint64_t stored, uint64_t wall);

/* Advance AGE to the present. Returns by how many ns the wall clock jumped since the last call: 0
 * when it did not. */
int64_t age_turn(struct age *age);
