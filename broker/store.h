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
#include "broker/cold.h"
#include "broker/journal.h"
#include "broker/list.h"
#include "broker/log.h"
#include "broker/worker.h"

struct batch;
struct checkpoint;
struct mark;
struct nick;
struct room;
struct rooms;
struct session;

/* Records of one room, and of all rooms of one account, that may wait for the disk, in bytes.
 * Who wants to say more waits: so much goes to a disk in some milliseconds. */
#define STORE_ROOM_HELD_MAX    (4u << 20)
#define STORE_ACCOUNT_HELD_MAX (16u << 20)

/* A checkpoint is due so long after what is not in one. */
#define STORE_CHECKPOINT_NS (UINT64_C(30) * 1000000000)
/* And after one that failed. */
#define STORE_RETRY_NS (UINT64_C(1) * 1000000000)

/* Memory may have so many journals' worth beyond log-bytes, while checkpoints fail. */
#define STORE_CHOKE_FACTOR 4

/* A stop waits so long for the disk, ns; and for what the next start would do as well. */
#define STORE_STOP_NS (UINT64_C(5) * 1000000000)
#define STORE_LAST_NS (UINT64_C(500) * 1000 * 1000)

/* What a room that is stored has; it stays while a batch, a checkpoint or an answer that is held
 * refers to it. */
struct stored {
	struct room *room; /* NULL: it is gone */
	unsigned n_refs;   /* the room's own, too */
	uint64_t id;       /* the identity of its log */
	struct list dirty_link;
	struct list changed_link;
	struct log_cursor at;  /* what is before it is in a batch or stored */
	uint64_t held;         /* bytes of records that are not stored */
	uint32_t file_number;  /* segments before this one are in their files */
	uint32_t file_used;    /* and so much of this one */
	uint32_t oldest_file;  /* there is none before this one */
	uint64_t next_in_file; /* number behind the last record that is */
	struct cold cold;      /* those that are in files only */
	struct cache *cache;   /* where they are read back to */
};

/* Payload of JOURNAL_ROOM; the key follows. */
struct store_room {
	uint32_t owner;
	uint32_t party[2];
	uint32_t target_len;
};

struct store {
	const char *path; /* the directory; borrowed. NULL: nothing is stored */
	bool is_inspected, is_recovering;
	int lock; /* of it, held; -1 when not */
	struct rooms *rooms;
	struct worker writer, keeper; /* of the journal; of checkpoints */
	struct journal journal;       /* the writer's */
	int dir;                      /* the writer's */
	struct job closing;           /* its last */
	struct list dirty;            /* rooms with what is in no batch */
	struct list changed;          /* rooms with what is in no checkpoint */
	struct list gone;             /* rooms that were in one, or may be, and are not any more */
	struct list holds;            /* answers that wait; see hold.h */
	struct list waiters;          /* sessions, by wait_link */
	char *notes;                  /* what else goes into the next batch: entries */
	size_t notes_len, notes_size;
	struct batch *flying;    /* the one that is being written */
	uint64_t building, done; /* batches, counted: the next one, and the last that is stored */
	uint64_t generation;     /* of the journal's file that the last batch went to */
	uint64_t journal_len;    /* and what is in it */
	bool wants_new;          /* the next batch begins a new file, for a checkpoint */
	struct cache cache;
	uint64_t cold_bytes;           /* of all rooms */
	struct checkpoint *checkpoint; /* the one in hand */
	int checkpoint_error;          /* of the last one: 0 or -errno */
	bool names_changed;            /* since the last one */
	uint64_t aged_at;              /* when it was last asked what is too old */
	uint64_t changed_at;           /* since when there is something for one; 0: there is not */
	uint64_t retry_at;             /* the last one failed */
	int error;                     /* the last batch could not be stored: 0 or -errno */
	uint64_t n_batches, n_bytes, n_failed, n_checkpoints; /* since the start */
};

enum {
	STORE_E_HELD = 1, /* another broker has the directory */
	STORE_E_FOREIGN,  /* it is somebody else's, or others may write to it */
	STORE_E_STATE,    /* what is in it can not be used: it is said in the diagnostics */
	STORE_E_DAMAGED,  /* some of it can not be read; of store_inspect() only */
};

/* Take the directory PATH, which is made, and bring ROOMS to what it has. PATH is borrowed.
 * With NULL nothing is stored. Returns 0, an outcome, or -errno; the reason is in the
 * diagnostics. store_deinit() is due in any case. */
int store_init(struct store *store, struct rooms *rooms, const char *path, uint64_t journal_bytes,
	uint64_t look_ns);

/* The same, only to look: nothing is changed, and nothing will be stored. */
int store_inspect(struct store *store, struct rooms *rooms, const char *path);

/* Let what is not stored be stored, for STORE_STOP_NS at the most; then rooms are not stored
 * any more, and can be freed. */
void store_deinit(struct store *store);

static inline bool store_is_open(const struct store *store)
{
	return store->path != NULL;
}

/* ROOM is one that is stored from now on. Returns 0 or -ENOMEM. */
int store_take_up(struct store *store, struct room *room);
/* ROOM is stored, as STORED says, which it owns from now on. */
void store_adopt(struct store *store, struct room *room, struct stored *stored);
/* What its log has is stored; what comes is held, and what it takes from memory goes to STORED. */
void store_open_log(struct room *room);
/* That segment is on the disk only. -ENOMEM. And segment I is not there any more. */
int stored_add_cold(struct stored *stored, const struct segment_image *image);
void stored_drop_cold(struct stored *stored, size_t i);
/* A record was appended to it, which takes LEN bytes. */
void store_appended(struct store *store, struct room *room, size_t len);

/* A mark moved, or segments were taken. */
void store_marked(struct store *store, struct room *room, const struct mark *mark);
void store_changed(struct store *store, struct room *room);

/* See users.named. */
void store_named(struct store *store, const struct nick *nick, bool is_taken);

/* ROOM goes. */
void store_forget(struct store *store, struct room *room);

/* May no more be said in ROOM now? SESSION is woken when it may. */
bool store_must_wait(struct store *store, const struct room *room);
void store_wait(struct store *store, struct session *session);

/* It failed a moment ago: what waits anyway waits a little longer. */
bool store_rests(const struct store *store);

/* Files can not be written, and memory has so much that is not in them that no more may come: why,
 * as -errno; or 0. */
int store_is_choked(const struct store *store);

/* At the end of a round: write what there is, unless that goes on already. */
void store_flush(struct store *store);

/* A worker's descriptor is readable. */
void store_dispatch(struct store *store);

/* Start a checkpoint if one is due. Returns the ns until the next is, UINT64_MAX when none. */
uint64_t store_patience(struct store *store, uint64_t now);

/* Is all of its room in files? */
bool stored_is_in_files(const struct stored *stored);

struct stored *stored_ref(struct stored *stored);
void stored_put(struct stored *stored);
