/* stored.h - what is stored of one room: its log, and what is known of it beside that.
 *
 * A room in which something is said is stored, unless it is ephemeral; one that has values
 * (value.h) is stored as a row of a table, with none of its messages if it is ephemeral.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "broker/cold.h"
#include "broker/list.h"
#include "broker/log.h"

struct cache;
struct mark;
struct nick;
struct room;
struct rooms;
struct store;
struct value;

/* Bytes of notes, of marks and names, that may wait for a disk that does not answer: the next
 * checkpoint has them anyway. */
#define NOTES_MAX (4u << 20)

/* It stays while a batch, a checkpoint or an answer that is held refers to it. */
struct stored {
	struct room *room;        /* NULL: it is gone */
	unsigned n_refs;          /* the room's own, too */
	uint64_t id;              /* the identity of its log */
	struct list unknown_link; /* until the disk knows of it */
	uint64_t batch;           /* which tells it; 0: not yet */
	struct list dirty_link;
	struct list changed_link;
	struct log_cursor at;  /* what is before it is in a batch or stored */
	uint64_t held;         /* bytes of records that are not stored */
	uint64_t bytes;        /* of all records: in files, in the journal only, and held */
	uint32_t file_number;  /* segments before this one are in their files */
	uint32_t file_used;    /* and so much of this one */
	uint32_t oldest_file;  /* there is none before this one */
	uint64_t next_in_file; /* number behind the last record that is */
	struct cold cold;      /* those that are in files only */
	struct cache *cache;   /* where they are read back to */
	bool is_changing;      /* its mode, or it is deleted: nothing is said until that is done */
	uint64_t since;        /* number of the first record that could be stored of it */
	/* While it is deleted, see removal.h. */
	struct list deleted_link;
	uint64_t deleted_with; /* it is stored with this batch */
	bool is_known_gone;    /* the journal has that */
};

/* Payload of JOURNAL_ROOM; the key follows. The entry's SEQ is the number of the first record
 * that is stored. */
struct store_room {
	uint32_t owner;
	uint32_t party[2];
	uint32_t target_len;
};

/* Payload of JOURNAL_VALUE; what the two measure, and the value, follow. The entry's SEQ is its
 * version, UID who set it. */
struct store_value {
	uint32_t key_len;
	uint32_t author_len;
};

/* ROOM is one that is stored from now on, with what comes. Returns 0 or -ENOMEM. */
int store_take_up(struct store *store, struct room *room);
/* What is stored of ROOM is removed, and what comes is stored as its mode now says. -ENOMEM, with
 * nothing done. */
int store_renew(struct store *store, struct room *room);
/* ROOM is stored, as STORED says, which it owns from now on. */
void store_adopt(struct store *store, struct room *room, struct stored *stored);
/* What its log has is stored; what comes is held, and what it takes from memory goes to STORED. */
void store_open_log(struct room *room);
/* The segment IMAGE, which is counted already, is on the disk only. Returns 0 or -ENOMEM. */
int stored_add_cold(struct stored *stored, const struct segment_image *image);
/* Segment I is no longer on the disk only, or is no longer anywhere. */
void stored_take_cold(struct stored *stored, size_t i);
void stored_drop_cold(struct stored *stored, size_t i);
/* A record was appended to it, which takes LEN bytes. */
void store_appended(struct store *store, struct room *room, size_t len);
/* STORED has CHANGE bytes of records more, or less: it wraps. */
void stored_charge(struct stored *stored, uint64_t change);
/* LEN bytes of what was held are not any more. */
void stored_settle(struct stored *stored, uint64_t len);

/* The entry that makes its room known. If there was one with this key it takes its place, and its
 * values: so that is as a whole, or not. -ENOMEM. */
struct notes;
int stored_note(const struct stored *stored, struct notes *notes);

/* A mark moved, segments were taken, or values changed. */
void store_marked(struct store *store, struct room *room, const struct mark *mark);
void store_changed(struct store *store, struct room *room);

/* VALUE is on its way to the disk. Returns 0 or -ENOMEM. */
int store_set(struct store *store, struct value *value);

/* See users.named. */
void store_named(struct store *store, const struct nick *nick, bool is_taken);

/* The room of STORED goes: nothing is charged for it any more. */
void stored_leave(struct stored *stored);

/* ROOM goes, or what is stored of it. */
void store_forget(struct store *store, struct room *room);

/* What is said in ROOM is in memory only from now on, or is stored. What was said before stays
 * as it was in memory; on the disk it is removed. */
void room_set_mode(struct rooms *rooms, struct room *room, bool is_ephemeral);

/* Is all of its room in files? */
bool stored_is_in_files(const struct stored *stored);

struct stored *stored_ref(struct stored *stored);
void stored_put(struct stored *stored);
