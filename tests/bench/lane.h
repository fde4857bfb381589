/* lane.h - a way from one process to others through shared memory, as trip.c and rate.c
 * measure it.
 *
 * A program is lane_main.c with one lane_NAME.c, which implements all below; so every way
 * is measured by the same code. Lane 0 leads there, lane 1 back. Whoever receives has each
 * message in memory of its own, where nobody else can change it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum lane_wait {
	LANE_POLLS,  /* lane_get() looks and returns, nobody sleeps */
	LANE_SLEEPS, /* it sleeps at once until it is woken */
	LANE_LOOKS,  /* it does what it does by itself, which is to look before it sleeps */
};

struct lane_plan {
	size_t len; /* of every message */
	enum lane_wait wait;
	bool is_trip;       /* there and back, one message at a time */
	unsigned n_readers; /* of each lane */
	size_t capacity;    /* bytes of a ring, where that can be chosen */
	unsigned set; /* which one, of sets of lanes that have nothing to do with each other */
};

/* What was not received as it was meant to be. */
struct lane_losses {
	uint64_t n_lost;    /* the reader was told that so many messages are gone */
	uint64_t n_detours; /* came another way than through shared memory */
};

struct lane;

/* Nobody waits for a slow reader: messages may be lost, or it must be waited for outside. */
extern const bool lane_is_lossy;

/* Before the processes part. */
void lanes_plan(const struct lane_plan *plan);

/* In each process: it writes to lane WRITES and is reader NUMBER of lane READS; -1: none.
 * All processes of a work do it, and then lane_meet() when each of them has. */
struct lane *lane_open(int writes, int reads, unsigned number);
void lane_meet(struct lane *lane);

/* Send the message at BODY. MORE: others follow at once. */
void lane_put(struct lane *lane, const void *body, bool more);

/* The next message, valid until the next call; NULL when there is none, or it slept and
 * may have been woken for nothing. */
const void *lane_get(struct lane *lane, struct lane_losses *losses);

#ifdef __cplusplus
}
#endif
