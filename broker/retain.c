/* retain.c - see retain.h. */
#include "broker/retain.h"

#include <time.h>

#include "broker/room.h"
#include "broker/store.h"

/* Ages are asked for so often at the most, ns. */
#define AGE_EVERY_NS (UINT64_C(60) * 1000000000)

static uint64_t age_max_ns(const struct store *store)
{
	return store->rooms->settings->limit[LIMIT_ROOM_DISK_AGE] * UINT64_C(1000000000);
}

/* What was said before this is too old, in ns since the epoch. */
static uint64_t age_border(const struct store *store)
{
	struct timespec now;
	uint64_t ns;

	clock_gettime(CLOCK_REALTIME, &now);
	ns = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
	return ns - MIN(ns, age_max_ns(store));
}

/* A whole segment is as old as what follows it, or as the last that was said. */
static bool cold_is_old(const struct stored *stored, uint64_t border)
{
	const struct cold *cold = &stored->cold;

	return (cold->n > 1 ? cold->segments[1].time : stored->room->log.last_time) < border;
}

bool room_retain(struct store *store, struct stored *stored)
{
	uint64_t max = store->rooms->settings->limit[LIMIT_ROOM_DISK_BYTES];
	uint64_t border = age_border(store);
	size_t before = stored->cold.n;

	while (stored->cold.n > 0 &&
		(stored->cold.bytes + stored->room->log.bytes > max || cold_is_old(stored, border)))
		stored_drop_cold(stored, 0);
	return stored->cold.n < before;
}

uint64_t store_age(struct store *store, uint64_t now)
{
	uint64_t border, every = MIN(AGE_EVERY_NS, age_max_ns(store)), min, max;

	limit_bounds(LIMIT_ROOM_DISK_AGE, &min, &max);
	if (store->rooms->settings->limit[LIMIT_ROOM_DISK_AGE] == max)
		return UINT64_MAX; /* for ever */
	if (now - store->aged_at < every)
		return every - (now - store->aged_at);
	store->aged_at = now;
	border = age_border(store);
	list_for_each (link, &store->rooms->all) {
		struct room *room = container_of(link, struct room, rooms_link);

		if (!room->stored)
			continue;
		/* memory has a part of what is newest: all of that is in a file, so it may go */
		if (room->log.bytes > 0 && room->log.last_time < border)
			rooms_cool(store->rooms, room);
		if (room_retain(store, room->stored))
			store_changed(store, room);
	}
	return every;
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
