/* script.h - the ring that is modelled, what is put into it, and what must come out.
 *
 * Eight lines of data, two blocks. That is as small as a ring can be in which the largest
 * record, here two lines, fits behind a pad: what protocol/ring.c asserts for its own
 * numbers. Records are of one and of two lines; one needs a pad at the end of the data,
 * one ends just there. Payloads tell which message they belong to, and hold what would
 * pass for a record where later ones begin.
 */
#pragma once

#include "protocol/ring.h"
#include "tests/model/memory.h"

#define SCRIPT_BLOCK       (MODEL_DATA_LEN / 2)
#define SCRIPT_PAYLOAD_MAX 96
#define SCRIPT_MESSAGES    24
#define SCRIPT_LINES       (SCRIPT_MESSAGES * 3)

/* A program's part of the state; copied with that of memory.h to come back to it. */
struct script_state {
	struct ring_writer writer;
	struct ring_reader readers[MODEL_THREADS]; /* by thread; 0 is the writer */
	uint64_t n_put;
	uint64_t last[MODEL_THREADS]; /* seq of the last message that was read */
	uint64_t has_begun[MODEL_THREADS], is_lapped[MODEL_THREADS];
};

extern struct script_state script;

extern struct script_memory {
	struct ring_header header;
	char data[MODEL_DATA_LEN];
	uint64_t gate;
} script_memory;

/* Of N_MESSAGES the last closes the ring. */
void script_init(bool is_gated, uint64_t n_messages);

/* Thread 0 puts the next message. Returns 0 or RING_E_FULL. */
int script_put(void);

/* Will the next script_put() look at the gate? */
bool script_is_at_border(void);

/* THREAD reads up to N_MAX records, and everything about them is checked; or, if it was
 * overtaken the last time, it goes to the mark. Returns what ring_get() did, or then
 * RING_E_LAPPED. */
int script_get(unsigned thread, unsigned n_max);

/* THREAD, once it knows of all that was put, must get to its end. */
void script_finish(unsigned thread);

/* What the gated reader does behind script_get(): what it read may be overwritten. */
void script_set_gate(unsigned thread);

/* Thread 0 puts some records and tells THREAD, which is to read number SEQ, or any if that
 * is 0; then it stores what no honest writer would into the same words. */
void script_be_hostile(unsigned thread, uint64_t seq);

/* THREAD reads that: what it takes must be records. */
void script_get_hostile(unsigned thread, unsigned n_max);

/* Rings whose capacity is not one of those that are allowed, but agrees with all else. */
void script_check_headers(unsigned thread);
