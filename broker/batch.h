/* batch.h - what goes to the journal with one write and one sync: records of any rooms, and notes.
 *
 * It is made in the loop, written on the writer's thread, and looked at in the loop again.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker/journal.h"
#include "broker/log.h"
#include "broker/notes.h"
#include "broker/worker.h"

struct store;
struct stored;

/* Records of one room that lie together. */
struct slice {
	struct stored *stored;   /* a reference */
	struct segment *segment; /* pinned */
	struct log_cursor end;
	size_t len;
};

struct batch {
	struct job job;
	struct store *store;
	uint64_t number;
	bool is_new; /* it begins a new file */
	struct journal_part *parts;
	size_t n_parts, parts_size;
	struct slice *slices;
	size_t n_slices, slices_size;
	struct notes notes; /* what the first parts refer to */
	int result;
	uint64_t generation, journal_len; /* where it went, and what that has now */
};

/* All that STORE has to write, as one. NULL without memory: then some rooms' cursors may have
 * moved, and all that waits must be taken back. */
struct batch *batch_new(struct store *store);
void batch_free(struct batch *batch);

static inline struct batch *batch_of(struct job *job)
{
	return container_of(job, struct batch, job);
}
