/* retain.h - what is kept: as much, and for as long, as the owner of a room wants and the limits
 * allow. chat-broker(8), LIMITS; chat-protocol(7), SET.
 *
 * Whole segments go, the oldest of a room first; on the disk those that are there only, and a
 * checkpoint then removes their files. Readers are told of the gap.
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

/* What one room has on the disk above its limits goes. Returns whether something did. */
bool room_retain(struct store *store, struct stored *stored);

/* What ROOM has above its limits goes, wherever it is. */
void room_keep(struct rooms *rooms, struct room *room);

/* What is too old by now goes, of all rooms. Returns the ns until that is to be asked again. */
uint64_t rooms_age(struct rooms *rooms, uint64_t now);

/* What all rooms that changed, and then all together, have on the disk above their limits goes. */
void store_retain(struct store *store);
