/* retain.c - see retain.h. */
#include "broker/retain.h"

#include "broker/room.h"
#include "broker/store.h"

bool room_retain(struct store *store, struct stored *stored)
{
	uint64_t max = store->rooms->settings->limit[LIMIT_ROOM_DISK_BYTES];
	size_t before = stored->cold.n;

	while (stored->cold.n > 0 && stored->cold.bytes + stored->room->log.bytes > max)
		stored_drop_cold(stored, 0);
	return stored->cold.n < before;
}

/* The room with most on the disk of the user who has most there. */
static struct stored *store_largest(struct store *store)
{
	struct quota_account *most = NULL;
	struct stored *largest = NULL;

	list_for_each (link, &store->rooms->all) {
		struct room *room = container_of(link, struct room, rooms_link);

		if (!most || room->owner->account->cold_bytes > most->cold_bytes)
			most = room->owner->account;
	}
	list_for_each (link, &most->rooms) {
		struct room *room = container_of(link, struct room, owner_link);

		if (room->stored && (!largest || room->stored->cold.bytes > largest->cold.bytes))
			largest = room->stored;
	}
	return largest;
}

void store_retain(struct store *store)
{
	uint64_t max = store->rooms->settings->limit[LIMIT_DISK_BYTES];

	list_for_each (link, &store->changed)
		(void)room_retain(store, container_of(link, struct stored, changed_link));
	while (store->cold_bytes > 0 && store->cold_bytes + store->rooms->log_bytes > max) {
		struct stored *largest = store_largest(store);

		stored_drop_cold(largest, 0);
		store_changed(store, largest->room);
	}
}
