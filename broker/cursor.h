/* cursor.h - a reader of a room: where a session stands in a log.
 *
 * Behind is not a state of the broker, only a number: the record that goes out next.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "broker/list.h"
#include "broker/log.h"
#include "broker/room.h"
#include "broker/table.h"

struct session;

/* Where a cursor that asked for presence stands in it. */
struct presence {
	struct log_cursor at;
	bool is_lost; /* some of it was not kept, and that is to be told */
};

/* A reader of a room. Owned by its session. */
struct cursor {
	struct table_link link;    /* in rooms.cursors, by session and room */
	uint64_t key[2];           /* numbers of session and room */
	uint64_t number : 61;      /* counts up over all cursors */
	uint64_t is_fast : 1;      /* it follows rings; see follower.h */
	uint64_t is_announced : 1; /* placed by direct: the room's owner is charged for it */
	uint64_t awaits_disk : 1;  /* what is next is read back; see cache.h */
	struct list room_link;     /* in room.cursors */
	struct list session_link;  /* in session.cursors */
	struct list pending_link;  /* in session.pending while there is something to send */
	struct room *room;
	struct session *session;
	struct log_cursor at;
	uint64_t told;             /* its place, as it knows; see followers_tell_place() */
	struct presence *presence; /* owned; NULL when it was not asked for */
	uint64_t reset_from;       /* the since= that a reset is to answer; 0: none is */
};

/* The cursor of SESSION_NUMBER in ROOM, or NULL. */
struct cursor *rooms_find_cursor(struct rooms *rooms, uint64_t session_number, struct room *room);

/* A cursor at the end of ROOM, charged to the session's user by the caller.
 * Returns it or NULL without memory. */
struct cursor *cursor_new(
	struct rooms *rooms, struct room *room, struct session *session, uint64_t session_number);

/* Remove it; the room goes too if nothing is left. Returns NULL. */
struct cursor *cursor_free(struct rooms *rooms, struct cursor *cursor);

/* Is there something to send for it? */
bool cursor_is_behind(const struct cursor *cursor);

/* Ask for presence from now on. -ENOMEM. */
int cursor_ask_presence(struct cursor *cursor);

/* Tell those who asked that a person came, went, has read on, or set a value: VERB is "JOINED",
 * "PARTED", "SEEN", with seq= behind the author, or "SET", with key= and version=. */
#define PRESENCE_WORDS_MAX                                                                         \
	(AUTHOR_LEN_MAX + sizeof " key= version=" + NAME_LEN_MAX + NUMBER_DECIMAL_MAX)
void room_tell_presence(
	struct rooms *rooms, struct room *room, const char *verb, struct text author);
