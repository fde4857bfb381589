/* room.h - rooms and direct conversations: a log, the cursors on it, and who may.
 *
 * A room is freed when nothing is left of it: no cursor, ring or record. Retention
 * takes records; a cursor that it passes is told by GAP when it is read.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "broker/list.h"
#include "broker/log.h"
#include "broker/table.h"
#include "broker/users.h"
#include "protocol/number.h"

struct room {
	struct table_link link; /* in rooms.by_key */
	struct list rooms_link; /* in rooms.all, in order of number */
	struct list owner_link; /* in the owner's account.rooms */
	struct list idle_link;  /* in rooms.idle while nobody reads it */
	struct list dirty_link; /* in rooms.dirty while cursors must learn of new records */
	struct list check_link; /* in rooms.unchecked */
	struct user *owner;     /* a reference */
	uint64_t number;        /* counts up over all rooms */
	uint64_t id;            /* log identity */
	uint64_t idle_since;
	struct log log;
	struct meter appended;
	struct log *presence; /* JOINED and PARTED, while somebody asked */
	struct list cursors;
	struct list feeds; /* rings that are published here, finished ones last; see feed.h */
	unsigned n_rings;  /* of these, the ones that are not finished */
	uint64_t swept;    /* rooms.n_taken_up when they were last swept for a message */
	unsigned n_fast;   /* cursors that asked for rings */
	unsigned n_cursors, n_presence;
	uint64_t said_next;     /* number behind the last record that is not of a live ring */
	bool is_hidden;         /* see rooms_hide() */
	bool is_ephemeral;      /* in memory only; what goes only through rings is not archived */
	struct list publishers; /* least recent first */
	unsigned n_publishers;
	struct list marks;  /* how far users have read it; see mark.h */
	struct list values; /* in force; see value.h */
	struct list coming; /* values on their way to the disk */
	uint64_t values_version;
	bool values_changed;   /* since the last checkpoint */
	uint64_t retain_bytes; /* what its owner wants to be kept of it, at the most; 0: what may */
	uint64_t retain_age;   /* and for so many seconds */
	struct stored *stored; /* owned; NULL: the disk has nothing of it. See stored.h */
	uid_t party[2];        /* of a conversation, in the order of its target */
	size_t target_len;     /* the key starts with the target; the uids follow it */
	char key[];
};

static inline struct text room_target(const struct room *room)
{
	return (struct text){ room->key, room->target_len };
}

static inline bool room_is_conversation(const struct room *room)
{
	return room->key[0] == '@';
}

/* The room in which only the broker's user and root speak. */
static inline bool room_is_wall(const struct room *room)
{
	return text_equal(table_key(&room->link), TEXT("wall"));
}

/* Was nothing done in it yet? */
static inline bool room_is_fresh(const struct room *room)
{
	return room->n_cursors == 0 && room->log.next == 1 && list_is_empty(&room->feeds) &&
	       !room->stored && list_is_empty(&room->values);
}

/* Is what is said in it on the disk? */
static inline bool room_is_stored(const struct room *room)
{
	return room->stored && !room->is_ephemeral;
}

/* Is NAME of UID one of the two of a conversation? */
bool room_has_party(const struct room *room, struct text name, uid_t uid);

/* Bytes of a key: a target, and of a conversation the two uids. */
#define ROOM_KEY_MAX (TARGET_LEN_MAX + 24)

/* A MSG line without its body: verb, target, two numbers, author, p=. */
#define MSG_LINE_MAX                                                                               \
	(4 + TARGET_LEN_MAX + 2 * (NUMBER_DECIMAL_MAX + 1) + 2 + AUTHOR_LEN_MAX + 3 +              \
		NUMBER_HEX_LEN + 1 + NUMBER_DECIMAL_MAX + 1)

/* What the line of the next record has in common with the last one's, when it is of the
 * same packet, room and author: all but id= and one digit of its number. */
struct msg_line {
	const struct author *author; /* NULL: nothing in common */
	const struct room *room;
	struct publisher *publisher; /* NULL: no id= */
	uint64_t seq;
	size_t seq_at, seq_len, len;
	char text[MSG_LINE_MAX];
};

struct rooms {
	struct table by_key, cursors, publishers, marks;
	struct list all, idle, dirty;
	struct list unchecked; /* rooms that may be above their limits; see retain.h */
	bool is_unchecked;     /* the same of all of them together */
	uint64_t next_number, next_cursor;
	struct room *latest; /* of rooms_find(): most messages go where the last one went */
	uint64_t log_bytes;
	unsigned n_aged;                   /* rooms whose messages have an age */
	uint64_t aged_at;                  /* when it was last asked what is too old */
	uint64_t n_records, n_taken_bytes; /* since the start */
	uint64_t time;                     /* of the packet in hand */
	uint64_t n_taken_up;               /* packets, and looks at rings, since the start */
	struct msg_line line;
	struct users *users;             /* borrowed */
	const struct settings *settings; /* borrowed */
	struct store *store;             /* borrowed; NULL: nothing is stored */
};

/* " mode=durable retain-bytes=N retain-age=S" into WORDS, as far as it holds: whether it is stored,
 * and how much is kept for how long. Returns WORDS. */
#define ROOM_WORDS_MAX 96
const char *room_words(
	const struct rooms *rooms, const struct room *room, char words[static ROOM_WORDS_MAX]);

/* Is what is said in it to be stored? */
static inline bool room_is_durable(const struct rooms *rooms, const struct room *room)
{
	return rooms->store && !room->is_ephemeral;
}

void rooms_init(struct rooms *rooms, struct users *users, const struct settings *settings);
/* All sessions are gone. */
void rooms_deinit(struct rooms *rooms);

enum {
	ROOM_E_NONE = 1, /* there is no such room */
	ROOM_E_QUOTA,
	ROOM_E_OLD,       /* a stale id= */
	ROOM_E_DUPLICATE, /* appended before; *ret_seq is its number */
	ROOM_E_WAIT,      /* whether it was is to be looked up at *ret_seq, on the disk */
};

/* The room NAME (valid), or NULL. */
struct room *rooms_find(struct rooms *rooms, struct text name);

/* The oldest segment of it goes from memory. */
void room_take_oldest(struct rooms *rooms, struct room *room);

/* It has another identity, and nothing was said in it. */
void room_begin_anew(struct rooms *rooms, struct room *room);

/* The room NAME, made for USER if need be. Returns 0, ROOM_E_QUOTA or -ENOMEM. */
int rooms_get(struct rooms *rooms, struct text name, struct user *user, struct room **ret_room);

/* The conversation of A (of uid UID_A) and B, made for USER when CREATE is set.
 * Returns 0, ROOM_E_NONE, ROOM_E_QUOTA or -ENOMEM. */
int rooms_get_conversation(struct rooms *rooms, struct text a, uid_t uid_a, struct text b,
	uid_t uid_b, struct user *user, bool create, struct room **ret_room);

/* Free ROOM if nothing is left of it. */
void rooms_release(struct rooms *rooms, struct room *room);

/* Forget rooms that nobody has read or written for the limit's time. Returns the
 * ns until the next is due, UINT64_MAX when none is. */
uint64_t rooms_expire(struct rooms *rooms, uint64_t now);

/* Who says it. */
struct author {
	struct text name; /* "NAME UID[ of=USER]" */
	uid_t uid;
	bool has_publisher;
	uint64_t label; /* pub= */
};

/* A packet is taken up at TIME (CLOCK_REALTIME, ns): what it appends has this time. */
void rooms_take_up(struct rooms *rooms, uint64_t time);

/* Append one message. ID is the text of id=, len 0 when there is none, VALUE its
 * number. Returns 0 or ROOM_E_DUPLICATE with the number, ROOM_E_OLD, ROOM_E_WAIT or -errno.
 * RET_SEQ may be NULL: what was said before is then not looked for, and never ROOM_E_OLD. */
int room_append(struct rooms *rooms, struct room *room, const struct author *author, struct text id,
	uint64_t value, struct text body, uint64_t *ret_seq);

/* Nobody reads ROOM any more, or somebody speaks in it whom nobody reads: it is forgotten when
 * that lasts, unless a message of it is stored, or was. */
void room_set_idle(struct rooms *rooms, struct room *room);

/* ---- a room that was stored ---- */

struct catalog_room;

/* Make it as it was, without its records. Returns 0 or -ENOMEM. */
int rooms_restore(struct rooms *rooms, const struct catalog_room *row, struct room **ret_room);

/* Its log was filled: account for it. */
void room_charge_restored(struct rooms *rooms, struct room *room);

/* Append FRAME, a message as it was. Returns 0 or -ENOMEM. */
int room_put_back(struct rooms *rooms, struct room *room, struct text frame);

/* Take back what is behind log_end(). */
void rooms_truncate(struct rooms *rooms, struct room *room);

/* ROOM is not found by its key any more: another room may have that key. The caller frees ROOM
 * soon. */
void rooms_hide(struct rooms *rooms, struct room *room);

/* Free it, whatever is in it. Nobody reads it. */
void rooms_forget(struct rooms *rooms, struct room *room);
