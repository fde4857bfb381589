/* store.h - rooms that survive: what is said in them is on the disk before anybody hears of
 * it. chat-broker(8), section STORAGE.
 *
 * The disk is one more cursor on each log. What the rooms have got since the last batch goes
 * as the next one to the journal (journal.h), which a thread of its own writes and syncs; then
 * it is released to the readers, and who said it is answered (hold.h). Behind that, a checkpoint
 * brings it to the segments' files and to the catalog (checkpoint.h), and the journal begins
 * anew. What can not be stored is taken back and refused: nobody saw it.
 *
 * The loop touches no file: all of that is the business of the two workers.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "broker/cache.h"
#include "broker/catalog.h"
#include "broker/journal.h"
#include "broker/list.h"
#include "broker/notes.h"
#include "broker/state_lock.h"
#include "broker/stored.h"
#include "broker/worker.h"

struct batch;
struct checkpoint;
struct errands;
struct session;

/* Records of one room, and of all rooms of one account, that may wait for the disk, in bytes.
 * Who wants to say more waits: so much goes to a disk in some milliseconds. */
#define STORE_ROOM_HELD_MAX    (4u << 20)
#define STORE_ACCOUNT_HELD_MAX (16u << 20)

/* A checkpoint is due so long after what is not in one. */
#define STORE_CHECKPOINT_NS (UINT64_C(30) * 1000000000)
/* And so long after the last one, for the clock of ages: see AGE_AWAY_MAX_NS. */
#define STORE_CLOCK_NS (UINT64_C(3600) * 1000000000)
/* And so long after the last one, when only another one brings memory or the disk below a limit. */
#define STORE_URGENT_NS (UINT64_C(1) * 1000000000)
/* And after one that failed. */
#define STORE_RETRY_NS (UINT64_C(1) * 1000000000)

/* Memory may have so many journals' worth beyond log-bytes, while checkpoints fail. */
#define STORE_CHOKE_FACTOR 4

/* A stop waits so long for the disk, ns; and for what the next start would do as well. */
#define STORE_STOP_NS (UINT64_C(5) * 1000000000)
#define STORE_LAST_NS (UINT64_C(500) * 1000 * 1000)

struct store {
	const char *path; /* the directory; borrowed. NULL: nothing is stored */
	bool is_inspected, is_recovering;
	struct state_lock lock;         /* of it */
	struct catalog_journal tried;   /* what the last checkpoint wrote: SQLite may have
					 * committed it and still reported an error */
	struct catalog_journal catalog; /* the state of the journal, as in the catalog */
	uint64_t incarnation; /* for the next catalog: the wire's identity of a log is that of the
			       * disk, exclusive or this */
	bool has_dropped;     /* the catalog names rooms whose files are gone now */
	struct rooms *rooms;
	struct worker writer, keeper; /* of the journal; of checkpoints */
	struct journal journal;       /* the writer's */
	int dir;                      /* the writer's */
	struct job closing;           /* its last */
	struct list unknown;          /* rooms that the disk does not know */
	struct list dirty;            /* rooms with what is in no batch */
	struct list changed;          /* rooms with what is in no checkpoint */
	struct list gone;             /* rooms that were in one, or may be, and are not any more */
	struct list deleted;          /* rooms whose end is on its way to the disk; see removal.h */
	struct list holds;            /* answers that wait; see hold.h */
	struct list waiters;          /* sessions, by wait_link */
	struct list coming;           /* values, by store_link */
	struct notes notes;           /* what else goes into the next batch */
	struct batch *flying;         /* the one that is being written */
	uint64_t building, done; /* batches, counted: the next one, and the last that is stored */
	uint64_t generation;     /* of the journal's file that the last batch went to */
	uint64_t journal_len;    /* and what is in it */
	bool wants_new;          /* the next batch begins a new file, for a checkpoint */
	bool wants_probe;        /* somebody wants to know whether a batch can be stored */
	struct cache cache;
	uint64_t cold_bytes;           /* of all rooms */
	uint64_t disk_bytes;           /* stored.bytes of all rooms */
	struct checkpoint *checkpoint; /* the one in hand */
	int checkpoint_error;          /* of the last one: 0 or -errno */
	bool names_changed;            /* since the last one */
	uint64_t changed_at;           /* since when there is something for one; 0: there is not */
	uint64_t clock_at;             /* when the clock of ages was in the last one */
	bool is_urgent;                /* the next one makes room, above a limit: at URGENT_AT */
	uint64_t urgent_at;
	uint64_t retry_at;  /* the last one failed */
	int error;          /* the last batch could not be stored: 0 or -errno */
	uint64_t failed_at; /* since when batches or checkpoints fail; of CLOCK_REALTIME */
	uint64_t n_lost;    /* records that were found to be damaged at the start */
	uint64_t n_batches, n_bytes, n_failed, n_checkpoints; /* since the start */
};

enum {
	STORE_E_HELD = 1, /* another broker has the directory */
	STORE_E_FOREIGN,  /* it is somebody else's, or others may write to it */
	STORE_E_STATE,    /* what is in it can not be used: it is said in the diagnostics */
	STORE_E_DAMAGED,  /* some of it can not be read; of store_inspect() only */
};

/* Take the directory PATH, which is made, and bring ROOMS to what it has. PATH and ERRANDS, which
 * read what is not in memory, are borrowed.
 * With NULL nothing is stored. Returns 0, an outcome, or -errno; the reason is in the
 * diagnostics. store_deinit() is due in any case. */
int store_init(struct store *store, struct rooms *rooms, struct errands *errands, const char *path,
	uint64_t journal_bytes, uint64_t look_ns);

/* The same, only to look: nothing is changed, and nothing will be stored. */
int store_inspect(struct store *store, struct rooms *rooms, const char *path);

/* Let what is not stored be stored, for STORE_STOP_NS at the most; then rooms are not stored
 * any more, and can be freed. */
void store_deinit(struct store *store);

static inline bool store_is_open(const struct store *store)
{
	return store->path != NULL;
}

/* Why batches or checkpoints fail now, as -errno; or 0. */
static inline int store_error(const struct store *store)
{
	return store->error ? store->error : store->checkpoint_error;
}

/* May no more be said in ROOM now? SESSION is woken when it may. */
bool store_must_wait(struct store *store, const struct room *room);
void store_wait(struct store *store, struct session *session);

/* It failed a moment ago: what waits anyway waits a little longer. */
bool store_rests(const struct store *store);

/* Files can not be written, and memory has so much that is not in them that no more may come: why,
 * as -errno; or 0. */
int store_is_choked(const struct store *store);

/* Store something, if only a mark: its answer waits for the batch that is being built. */
void store_probe(struct store *store);

/* At the end of a round: write what there is, unless that goes on already. */
void store_flush(struct store *store);

/* A worker's descriptor is readable. */
void store_dispatch(struct store *store);

/* Start a checkpoint if one is due. Returns the ns until the next is, UINT64_MAX when none. */
uint64_t store_patience(struct store *store, uint64_t now);
