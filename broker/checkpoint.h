/* checkpoint.h - what the journal has is brought to where it belongs: the segments' files and
 * the catalog. Then the journal's older files can go.
 *
 * It is a list of what is to be written, made by the loop from what is stored, and worked off by
 * a thread. What fails is tried again as a part of the next one.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "broker/store.h"
#include "broker/worker.h"

struct checkpoint;

/* All that changed since the last one; the catalog will say JOURNAL of the journal. NULL without
 * memory. */
struct checkpoint *checkpoint_new(struct store *store, const struct catalog_journal *journal);

/* It came back: note what is in files now, or that it is to be done again. Frees it. Returns 0
 * or -errno. */
int checkpoint_finish(struct store *store, struct checkpoint *checkpoint);

/* The job of it, for the worker; and back. */
struct job *checkpoint_job(struct checkpoint *checkpoint);
struct checkpoint *checkpoint_of(struct job *job);
