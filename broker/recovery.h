/* recovery.h - what the parts of a recovery share: recover.c (the catalog, and all of it), replay.c
 * (the journal) and leftover.c (files that the catalog does not name).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "broker/catalog.h"
#include "broker/room.h"
#include "broker/store.h"
#include "broker/table.h"

/* One room while it is being brought back. */
struct restored {
	struct table_link link; /* in recovery.by_id */
	uint64_t id;
	uint32_t number; /* of its newest segment, ever */
	uint64_t next;   /* as the catalog says */
	bool is_changed; /* it is not all in files, as it is now */
	struct room *room;
	struct stored *stored;
};

/* A room that was dropped. */
struct dropped {
	struct table_link link; /* in recovery.dropped */
	uint64_t id;
	bool is_committed; /* the catalog says so: its files may go */
};

struct recovery {
	struct store *store;
	struct rooms *rooms;
	int dir;
	struct table by_id, dropped; /* rooms, by the identity that the disk has; both owned */
	int64_t format;              /* of the catalog */
	uint64_t n_segments;         /* that the catalog names */
	uint64_t n_records;          /* replayed */
	uint64_t n_damaged;          /* files, or parts of the journal */
	uint64_t n_lost;             /* records, as far as that is known */
	uint64_t damaged_generation; /* of the journal's file that was put aside last */
	bool is_log_lost; /* logs may have ended with records that are lost: they are others now */
};

/* The room that the disk knows as ID, or NULL. */
struct restored *recovery_find(struct recovery *recovery, uint64_t id);

/* Make the room of ROW. Returns 0 or -errno. */
int recovery_add(struct recovery *recovery, const struct catalog_room *row);

/* RESTORED is not there any more. Frees it. Returns 0 or -ENOMEM. */
int recovery_forget(struct recovery *recovery, struct restored *restored);

/* ID was dropped, as the catalog says with IS_COMMITTED, else the journal. Returns 0 or -ENOMEM. */
int recovery_note_dropped(struct recovery *recovery, uint64_t id, bool is_committed);
/* NULL: it was not. */
const struct dropped *recovery_find_dropped(struct recovery *recovery, uint64_t id);

/* A user has read ROOM up to SEQ; a room has a value. Return 0, STORE_E_STATE or -ENOMEM. */
int recovery_take_mark(struct recovery *recovery, struct room *room, uid_t uid, uint64_t seq);
int recovery_take_value(
	struct recovery *recovery, struct room *room, const struct catalog_value *row);

/* Apply the journal's entries to the state from the catalog. Returns 0, STORE_E_STATE or -errno;
 * the reason is in the diagnostics. */
int recovery_replay(struct recovery *recovery);

/* Remove the files that were dropped, or whose records are all in the journal. Refuse to start with
 * files that the catalog should know. Returns 0, STORE_E_STATE or -errno; the reason is in the
 * diagnostics. */
int recovery_check_files(struct recovery *recovery);

/* Refuse to start if the catalog names files of segments and there is none: a disk is not mounted,
 * or a backup was restored in part. Returns as recovery_check_files(). */
int recovery_check_mount(const struct recovery *recovery);

/* Is there a segment's or a journal's file? Returns 1, 0 or -errno. */
int recovery_has_files(const struct recovery *recovery);

/* The remedy, at the end of each refusal. */
#define RECOVERY_REMEDY                                                                            \
	"; restore it from a backup, or make a catalog from the files: chat-broker --rebuild "
