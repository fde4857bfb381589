/* retain.h - what the disk is to keep: chat-broker(8), LIMITS. Whole segments go, the oldest of a
 * room first, and only those that are on the disk only; a checkpoint then removes the files, and
 * readers are told of the gap.
 */
#pragma once

#include <stdbool.h>

struct store;
struct stored;

/* What one room has above its limit goes. Returns whether something did. */
bool room_retain(struct store *store, struct stored *stored);

/* The same for all that changed, and then for what all rooms have together. */
void store_retain(struct store *store);
