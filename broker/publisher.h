/* publisher.h - what a room remembers of those who speak with id=: once and only once.
 *
 * chat-protocol(7), section "Once and only once".
 */
#pragma once

#include <stdint.h>

#include "broker/list.h"
#include "broker/room.h"
#include "broker/table.h"
#include "broker/users.h"

/* The highest id= that one publisher said in one room. */
struct publisher {
	struct table_link link;   /* in room.publishers */
	struct list recent_link;  /* in room.publishers */
	struct list account_link; /* in the account's publishers */
	struct room *room;
	struct user *user; /* a reference */
	struct {
		uint64_t label; /* pub= */
		uint64_t uid;
		uint64_t room;
	} key;
	uint64_t id;      /* the highest appended */
	uint64_t seq;     /* its number */
	uint64_t kept_id; /* of a room that is stored: the highest that was, while SEQ is not */
	uint64_t kept_seq;
};

/* The row of AUTHOR in ROOM, made if need be: one that was not used for long goes for
 * it. NULL without memory. */
struct publisher *room_get_publisher(
	struct rooms *rooms, struct room *room, const struct author *author);

/* The highest id= that AUTHOR said in ROOM; 0 when none is remembered. */
uint64_t room_last_id(struct rooms *rooms, struct room *room, const struct author *author);

/* It said message ID, which is record SEQ, and is the one used last. */
void publisher_note(struct publisher *publisher, uint64_t id, uint64_t seq);

/* Where is message VALUE of this publisher, not above its last? Returns
 * ROOM_E_DUPLICATE with the number, ROOM_E_OLD, ROOM_E_WAIT with one that is to be fetched, or
 * -errno. */
int room_find_message(struct room *room, const struct publisher *publisher,
	const struct author *author, uint64_t value, uint64_t *ret_seq);

void publisher_free(struct rooms *rooms, struct publisher *publisher);
