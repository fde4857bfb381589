/* mark.h - read marks: up to where a user has read a room.
 *
 * A mark belongs to the Unix user, whatever names it uses and however many terminals, and
 * goes forward only. It goes with its room. chat-protocol(7), SEEN.
 */
#pragma once

#include <stdint.h>

#include "broker/list.h"
#include "broker/room.h"
#include "broker/table.h"
#include "broker/users.h"

/* Of one account; the one that was not moved for longest is forgotten for another: 160
 * KiB. */
#define MARKS_OF_ACCOUNT 1024

struct mark {
	struct table_link link;   /* in rooms.marks */
	struct list room_link;    /* in room.marks */
	struct list account_link; /* in the account's marks, the one moved last at the end */
	struct room *room;
	struct user *user; /* a reference */
	uint64_t key[2];   /* uid, and the room's number */
	uint64_t seq;
	bool is_stored; /* so far, of a room that is stored */
};

/* The number up to which user UID has read ROOM; 0 when that is not known. */
uint64_t room_mark(struct rooms *rooms, const struct room *room, uid_t uid);

/* USER has read ROOM up to SEQ. Returns 1 when that is further than before, 0, or
 * -ENOMEM. */
int room_move_mark(struct rooms *rooms, struct room *room, struct user *user, uint64_t seq);

void mark_free(struct rooms *rooms, struct mark *mark);
