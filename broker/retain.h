/* retain.h - what is kept: as much, and for as long, as the owner of a room wants and the limits
 * allow. chat-broker(8), LIMITS; chat-protocol(7), SET.
 *
 * Whole segments go, the oldest of a room first; a checkpoint removes the files of those that
 * go from the disk. Readers are told of the gap.
 *
 * There is one measure for memory, the bytes that logs have allocated (log.bytes), and one for
 * the disk, the bytes of all records that are stored or are to be (stored.bytes). Rooms and users
 * are ranked by the measure that is summed.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct room;
struct rooms;
struct store;
struct stored;

/* What is kept of ROOM, in bytes, on the disk or, if it is not stored, in memory. */
uint64_t room_retain_bytes(const struct rooms *rooms, const struct room *room);

/* For how long, ns; UINT64_MAX: for ever. */
uint64_t room_retain_age(const struct rooms *rooms, const struct room *room);

/* A segment of a room whose messages have an age is closed after a part of that: so much longer
 * a message may be kept. */
#define RETAIN_AGE_PARTS 8

/* What ROOM may have in memory: one room may have all of log-bytes, but no more than it may have
 * in all. */
uint64_t room_memory_bytes(const struct rooms *rooms, const struct room *room);

/* One segment of what ROOM has above its limits goes, or nothing: then false. */
bool room_trim(struct rooms *rooms, struct room *room);

/* One segment goes from memory, of the room with most of the user who has most; but not the only
 * one of KEEP, unless NULL. False when that room has no segment that may go now. Segments that are
 * in no file yet count as well, and may go with the next checkpoint. */
bool rooms_give_memory(struct rooms *rooms, const struct room *keep);

/* ROOM, or any room, may be above its limits, or all of them together: rooms_retain() looks. */
void rooms_check(struct rooms *rooms, struct room *room);
void rooms_check_all(struct rooms *rooms);

/* Remove segments that are above the limits, or too old by now, as many as a round has time for.
 * Returns the ns until there is more to be done, or UINT64_MAX. */
uint64_t rooms_retain(struct rooms *rooms, uint64_t now);
