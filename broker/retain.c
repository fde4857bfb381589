/* retain.c - see retain.h. */
#include "broker/retain.h"

#include "broker/broker.h"
#include "broker/room.h"
#include "broker/store.h"

/* Ages are asked for so often at the most, ns. */
#define AGE_EVERY_NS (UINT64_C(60) * 1000000000)

/* The longest time in one round for removing data above the limits, ns: other work waits
 * meanwhile. */
#define RETAIN_TURN_NS (UINT64_C(500) * 1000)

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

/* Messages of ROOM from before this time are too old, by the clock of ages. */
static uint64_t room_border(const struct rooms *rooms, const struct room *room)
{
	uint64_t now = rooms->users->age.now;

	return now - MIN(now, room_retain_age(rooms, room));
}

uint64_t room_memory_bytes(const struct rooms *rooms, const struct room *room)
{
	const uint64_t *limit = rooms->settings->limit;

	return MIN(MIN(limit[LIMIT_ROOM_BYTES], limit[LIMIT_LOG_BYTES]),
		room_retain_bytes(rooms, room));
}

/* ---- one room ---- */

/* A whole segment is as old as its last record. */
static bool cold_is_old(const struct stored *stored, uint64_t border)
{
	const struct cold *cold = &stored->cold;

	if (cold->n == 0)
		return false;
	if (cold->segments[0].last > 0)
		return cold->segments[0].last < border;
	return (cold->n > 1 ? cold->segments[1].time : stored->room->log.last_time) < border;
}

/* Is there a segment in memory that is not the last, or is old as a whole, and may go? */
static bool log_is_over(const struct log *log, uint64_t max, uint64_t border)
{
	return log->bytes > 0 && !log_oldest_is_kept(log) &&
	       ((log->bytes > max && !log_is_single(log)) || log_oldest_last(log) < border);
}

/* If all of ROOM is in files, all of it may go from memory. Returns whether that is so. */
static bool room_cool(struct room *room)
{
	if (!room_is_stored(room) || !stored_is_in_files(room->stored))
		return false;
	log_close(&room->log); /* the next records are in no file yet */
	room->log.keep_from = room->log.segment_number + 1;
	return true;
}

/* The oldest segment of STORED goes from the disk. False when it is in no file yet. */
static bool stored_give(struct store *store, struct stored *stored)
{
	struct room *room = stored->room;

	if (stored->cold.n == 0) {
		if (room->log.bytes == 0 || log_oldest_is_kept(&room->log))
			return false;
		room_take_oldest(store->rooms, room);
	}
	if (stored->cold.n > 0)
		stored_drop_cold(stored, 0);
	store_changed(store, room);
	return true;
}

/* The oldest segment of STORED goes from the disk if the room has more there than it may. */
static bool stored_trim(struct store *store, struct stored *stored)
{
	const struct room *room = stored->room;

	return (stored->bytes > room_retain_bytes(store->rooms, room) ||
		       cold_is_old(stored, room_border(store->rooms, room))) &&
	       stored_give(store, stored);
}

bool room_trim(struct rooms *rooms, struct room *room)
{
	uint64_t border = room_border(rooms, room);
	struct log *log = &room->log;

	/* the records in memory are some of the newest */
	if (log->bytes > 0 && log_newest_last(log) < border)
		(void)room_cool(room);
	if (log_is_over(log, room_memory_bytes(rooms, room), border)) {
		room_take_oldest(rooms, room);
		return true;
	}
	return room_is_stored(room) && stored_trim(rooms->store, room->stored);
}

/* ---- all rooms ---- */

enum place {
	PLACE_MEMORY,
	PLACE_DISK,
};

static uint64_t account_bytes(const struct quota_account *account, enum place place)
{
	return place == PLACE_MEMORY ? account->log_bytes : account->disk_bytes;
}

static uint64_t room_bytes(const struct room *room, enum place place)
{
	if (place == PLACE_MEMORY)
		return room->log.bytes;
	return room_is_stored(room) ? room->stored->bytes : 0;
}

/* The room with most there of the user who has most there; NULL when there is none. */
static struct room *rooms_largest(const struct rooms *rooms, enum place place)
{
	struct quota_account *most = NULL;
	struct room *largest = NULL;

	list_for_each (link, &rooms->all) {
		struct room *room = container_of(link, struct room, rooms_link);

		if (!most ||
			account_bytes(room->owner->account, place) > account_bytes(most, place))
			most = room->owner->account;
	}
	if (!most)
		return NULL;
	list_for_each (link, &most->rooms) {
		struct room *room = container_of(link, struct room, owner_link);

		if (!largest || room_bytes(room, place) > room_bytes(largest, place))
			largest = room;
	}
	return largest;
}

bool rooms_give_memory(struct rooms *rooms, const struct room *keep)
{
	struct room *largest = rooms_largest(rooms, PLACE_MEMORY);

	if (!largest || largest->log.bytes == 0 ||
		(largest == keep && log_is_single(&largest->log)) ||
		(log_oldest_is_kept(&largest->log) && !room_cool(largest)))
		return false;
	room_take_oldest(rooms, largest);
	if (largest != keep)
		rooms_release(rooms, largest);
	return true;
}

/* Remove one segment from the disk, of the room with most there of the user who has most. Returns
 * false when no segment may go now. */
static bool rooms_give_disk(struct rooms *rooms)
{
	struct room *largest = rooms_largest(rooms, PLACE_DISK);

	return largest && room_bytes(largest, PLACE_DISK) > 0 &&
	       (stored_give(rooms->store, largest->stored) ||
		       (room_cool(largest) && stored_give(rooms->store, largest->stored)));
}

static bool rooms_are_over(const struct rooms *rooms, enum place place)
{
	const uint64_t *limit = rooms->settings->limit;

	if (place == PLACE_MEMORY)
		return rooms->log_bytes > limit[LIMIT_LOG_BYTES];
	return rooms->store && rooms->store->disk_bytes > limit[LIMIT_DISK_BYTES];
}

/* Remove one segment if all rooms together are above the limits. Returns false when nothing was
 * removed. */
static bool rooms_trim(struct rooms *rooms)
{
	return (rooms_are_over(rooms, PLACE_MEMORY) && rooms_give_memory(rooms, NULL)) ||
	       (rooms_are_over(rooms, PLACE_DISK) && rooms_give_disk(rooms));
}

void rooms_check(struct rooms *rooms, struct room *room)
{
	if (!list_is_linked(&room->check_link))
		list_append(&rooms->unchecked, &room->check_link);
	rooms->is_unchecked = true;
}

void rooms_check_all(struct rooms *rooms)
{
	list_for_each (link, &rooms->all)
		rooms_check(rooms, container_of(link, struct room, rooms_link));
}

/* Look at the next room, or all rooms together, that may be above limits. Returns false when there
 * is nothing left. */
static bool rooms_check_next(struct rooms *rooms)
{
	struct list *link = list_first(&rooms->unchecked);
	struct room *room = link ? container_of(link, struct room, check_link) : NULL;

	if (room && !room_trim(rooms, room)) {
		list_unlink(link);
		rooms_release(rooms, room);
	} else if (!room && !rooms_trim(rooms)) {
		rooms->is_unchecked = false;
		if (rooms->store)
			rooms->store->is_urgent = rooms_are_over(rooms, PLACE_MEMORY) ||
						  rooms_are_over(rooms, PLACE_DISK);
	}
	return rooms->is_unchecked;
}

/* Returns the ns until ages are to be looked at again. */
static uint64_t rooms_age(struct rooms *rooms, uint64_t now)
{
	uint64_t age = age_ns(rooms->settings->limit[LIMIT_ROOM_DISK_AGE]);
	uint64_t every = MIN(AGE_EVERY_NS, age);

	if (rooms->n_aged == 0 && (!rooms->store || age == UINT64_MAX))
		return UINT64_MAX; /* all is kept for ever */
	if (now - rooms->aged_at < every)
		return every - (now - rooms->aged_at);
	rooms->aged_at = now;
	rooms_check_all(rooms);
	return every;
}

uint64_t rooms_retain(struct rooms *rooms, uint64_t now)
{
	uint64_t wait = rooms_age(rooms, now), until;

	if (!rooms->is_unchecked)
		return wait;
	until = broker_clock() + RETAIN_TURN_NS;
	while (rooms_check_next(rooms))
		if (broker_clock() >= until)
			return 0;
	return wait;
}
