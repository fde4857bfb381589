/* retain.h - what the disk is to keep: chat-broker(8), LIMITS. Whole segments go, the oldest of a
 * room first, and only those that are on the disk only; a checkpoint then removes the files, and
 * readers are told of the gap.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct store;
struct stored;

/* What one room has above its limits goes. Returns whether something did. */
bool room_retain(struct store *store, struct stored *stored);

/* What is too old by now goes, of all rooms. Returns the ns until that is to be asked again. */
uint64_t store_age(struct store *store, uint64_t now);

/* The same for all that changed, and then for what all rooms have together. */
void store_retain(struct store *store);
