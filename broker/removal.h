/* removal.h - a room is deleted with all that was kept of it. chat-protocol(7), DELETE.
 *
 * The disk is told first. Until the disk has it, the room is as it was, except that nothing is said
 * or set in it. Then the readers are told, the rings end, and a room of this name is another one.
 */
#pragma once

#include <stdint.h>

struct notes;
struct room;
struct rooms;
struct store;

/* Delete ROOM now: its readers get GAP, and have no cursor there any more. */
void room_delete(struct rooms *rooms, struct room *room);

/* Delete ROOM, which has a row or more on the disk, when the next batch is stored; the answer to
 * the request is held until then. Its mode is not changing. Returns 0, or -ENOMEM with nothing
 * done. */
int store_delete(struct store *store, struct room *room);

/* Up to batch DONE all is stored: the rooms that it deletes go. */
void store_settle_deleted(struct store *store, uint64_t done);

/* Nothing that waits is stored: the rooms stay. NOTES are those of the batch that was tried. */
void store_keep_deleted(struct store *store, struct notes *notes);
