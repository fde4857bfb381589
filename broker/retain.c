/* retain.c - see retain.h. */
#include "broker/retain.h"

#include <time.h>

#include "broker/room.h"
#include "broker/store.h"

/* Ages are asked for so often at the most, ns. */
#define AGE_EVERY_NS (UINT64_C(60) * 1000000000)

/* 0 is no wish. */
static uint64_t wish_or(uint64_t wish, uint64_t limit)
{
	return wish > 0 ? MIN(wish, limit) : limit;
}

uint64_t room_retain_bytes(const struct rooms *rooms, const struct room *room)
{
	const uint64_t *limit = rooms->settings->limit;

	return wish_or(room->retain_bytes, room_is_durable(rooms, room)
						   ? limit[LIMIT_ROOM_DISK_BYTES]
						   : limit[LIMIT_ROOM_BYTES]);
}

static uint64_t age_ns(uint64_t seconds)
{
	return seconds < AGE_FOREVER ? seconds * 1000000000 : UINT64_MAX;
}

uint64_t room_retain_age(const struct rooms *rooms, const struct room *room)
{
	uint64_t limit = room_is_durable(rooms, room) ? rooms->settings->limit[LIMIT_ROOM_DISK_AGE]
						      : UINT64_MAX;

	return age_ns(wish_or(room->retain_age, limit));
}

/* What was said before this is too old, in ns since the epoch. */
static uint64_t room_border(const struct rooms *rooms, const struct room *room)
{
	uint64_t age = room_retain_age(rooms, room), ns;
	struct timespec now;

	if (age == UINT64_MAX)
		return 0;
	clock_gettime(CLOCK_REALTIME, &now);
	ns = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
	return ns - MIN(ns, age);
}

/* A whole segment is as old as its last record. */
static bool cold_is_old(const struct stored *stored, uint64_t border)
{
	const struct cold *cold = &stored->cold;

	if (cold->segments[0].last > 0)
		return cold->segments[0].last < border;
	return (cold->n > 1 ? cold->segments[1].time : stored->room->log.last_time) < border;
}

bool room_retain(struct store *store, struct stored *stored)
{
	const struct room *room = stored->room;
	uint64_t max = room_retain_bytes(store->rooms, room);
	uint64_t border = room_border(store->rooms, room);
	size_t before = stored->cold.n;

	while (stored->cold.n > 0 &&
		(stored->cold.bytes + room->log.bytes > max || cold_is_old(stored, border)))
		stored_drop_cold(stored, 0);
	return stored->cold.n < before;
}

/* Is there a segment in memory that is not the last, or is old as a whole, and may go? */
static bool log_is_over(const struct log *log, uint64_t max, uint64_t border)
{
	bool is_last = list_first(&log->segments) == log->segments.prev;

	return log->bytes > 0 && !log_oldest_is_kept(log) &&
	       ((log->bytes > max && !is_last) || log_oldest_time(log) < border);
}

void room_keep(struct rooms *rooms, struct room *room)
{
	uint64_t max = room_retain_bytes(rooms, room), border = room_border(rooms, room);

	/* memory has a part of what is newest: all of that is in a file, so it may go */
	if (room_is_stored(room) && room->log.bytes > 0 && room->log.last_time < border)
		rooms_cool(rooms, room);
	while (log_is_over(&room->log, max, border))
		room_take_oldest(rooms, room);
	if (room_is_stored(room) && room_retain(rooms->store, room->stored))
		store_changed(rooms->store, room);
}

uint64_t rooms_age(struct rooms *rooms, uint64_t now)
{
	uint64_t age = age_ns(rooms->settings->limit[LIMIT_ROOM_DISK_AGE]);
	uint64_t every = MIN(AGE_EVERY_NS, age);

	if (rooms->n_aged == 0 && (!rooms->store || age == UINT64_MAX))
		return UINT64_MAX; /* all is kept for ever */
	if (now - rooms->aged_at < every)
		return every - (now - rooms->aged_at);
	rooms->aged_at = now;
	list_for_each (link, &rooms->all) {
		struct room *room = container_of(link, struct room, rooms_link);

		room_keep(rooms, room);
		rooms_release(rooms, room);
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

		if (room_is_stored(room) &&
			(!largest || room->stored->cold.bytes > largest->cold.bytes))
			largest = room->stored;
	}
	return largest;
}

void store_retain(struct store *store)
{
	uint64_t max = store->rooms->settings->limit[LIMIT_DISK_BYTES];

	list_for_each (link, &store->changed) {
		struct stored *stored = container_of(link, struct stored, changed_link);

		if (room_is_stored(stored->room))
			(void)room_retain(store, stored);
	}
	while (store->cold_bytes > 0 && store->cold_bytes + store->rooms->log_bytes > max) {
		struct stored *largest = store_largest(store);

		if (!largest)
			return;
		stored_drop_cold(largest, 0);
		store_changed(store, largest->room);
	}
}
