/* cache.c - see cache.h. */
#include "broker/cache.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "broker/archive.h"
#include "broker/cursor.h"
#include "broker/errand.h"
#include "broker/room.h"
#include "broker/session.h"
#include "broker/store.h"
#include "broker/trace.h"

enum entry_state {
	ENTRY_READING, /* the thread has it */
	ENTRY_THERE,
	ENTRY_FAILED,
};

struct entry {
	struct list link;       /* in cache.entries */
	struct list share_link; /* while THERE, in the account's, least recently used first */
	struct errand errand;
	struct cache *cache;
	struct stored *stored; /* a reference */
	struct user *user;     /* a reference: it is on the share of its account */
	struct segment_image image;
	char target[TARGET_LEN_MAX + 1]; /* of the room */
	enum entry_state state;
	struct log log;
	struct archive_damage damage;
	int result;          /* 0, ARCHIVE_E_BROKEN or -errno */
	uint64_t retry_at;   /* while FAILED */
	struct list waiters; /* sessions, by wait_link */
};

/* ---- on the thread ---- */

/* Without space for it the file stays as it is, and is salvaged each time it is read. */
static void segment_repair(
	int dir, uint64_t room, const struct segment_image *image, const struct log *log)
{
	struct segment_image repaired;

	if (log_image(log, image->number, &repaired))
		(void)archive_repair(dir, room, &repaired);
}

int segment_read_back(const char *path, uint64_t room, struct text target,
	const struct segment_image *image, struct log *log, struct archive_damage *ret_damage)
{
	int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), r;

	if (dir < 0)
		return -errno;
	r = archive_restore(dir, room, target, image, log, ret_damage);
	if (r == 0 && ret_damage->is_any)
		segment_repair(dir, room, image, log);
	if (r == ARCHIVE_E_BROKEN)
		archive_put_aside(dir, room, image->number);
	close(dir);
	return r == ARCHIVE_E_FORMAT ? -EIO : r;
}

static void entry_work(struct job *job)
{
	struct entry *entry = container_of(job, struct entry, errand.job);

	entry->result = segment_read_back(entry->cache->store->path, entry->stored->id,
		text_of(entry->target), &entry->image, &entry->log, &entry->damage);
}

/* ---- in the loop ---- */

/* That segment, if it is there still; NULL when retention was faster. */
static struct segment_image *stored_segment(
	const struct stored *stored, const struct segment_image *image)
{
	const struct cold *cold = &stored->cold;
	size_t i = cold_find(cold, image->first);

	return i < cold->n && cold->segments[i].number == image->number ? &cold->segments[i] : NULL;
}

/* Its segment has none. */
static void entry_forget(struct entry *entry)
{
	struct segment_image *segment = stored_segment(entry->stored, &entry->image);

	if (segment && segment->entry == entry)
		segment->entry = NULL;
}

static void entry_leave_share(struct entry *entry)
{
	struct turns *share = &entry->user->account->cached;

	list_unlink(&entry->share_link);
	if (list_is_empty(&share->sessions))
		list_unlink(&share->link);
}

/* Make ENTRY the most recently used one of its user. */
static void entry_touch(struct entry *entry)
{
	list_unlink(&entry->share_link);
	turns_add(&entry->cache->accounts, &entry->user->account->cached, &entry->share_link);
}

static void entry_free(struct entry *entry)
{
	struct cache *cache = entry->cache;

	if (entry->state == ENTRY_THERE) {
		cache->bytes -= entry->log.bytes;
		entry->user->account->cached_bytes -= entry->log.bytes;
		entry_leave_share(entry);
	}
	cache->n_failed -= entry->state == ENTRY_FAILED;
	list_unlink(&entry->link);
	log_deinit(&entry->log);
	if (entry->stored->room)
		entry_forget(entry);
	stored_put(entry->stored);
	users_put(cache->errands->users, entry->user);
	free(entry);
}

int room_log_at(struct room *room, uint64_t seq, struct log **ret_log, struct hole *ret_hole)
{
	const struct cold *cold = room->stored ? &room->stored->cold : NULL;
	struct entry *entry;
	size_t i;

	*ret_log = &room->log;
	if (!cold || seq >= room->log.first)
		return 0;
	i = cold_find(cold, seq);
	if (i == cold->n || cold->segments[i].first > seq) {
		ret_hole->first = i > 0 ? cold->segments[i - 1].next : 1;
		ret_hole->next = i < cold->n ? cold->segments[i].first : room->log.first;
		return CACHE_E_HOLE;
	}
	entry = cold->segments[i].entry;
	if (!entry || entry->state == ENTRY_READING)
		return CACHE_E_WAIT;
	if (entry->state == ENTRY_FAILED)
		return entry->result;
	entry_touch(entry);
	*ret_log = &entry->log;
	return 0;
}

static void entry_end(struct errand *errand);

int cache_fetch(struct room *room, uint64_t seq, struct user *user, struct session *session)
{
	struct cold *cold = &room->stored->cold;
	struct segment_image *image = &cold->segments[cold_find(cold, seq)];
	struct cache *cache = room->stored->cache;
	struct entry *entry = image->entry;

	if (!entry) {
		entry = calloc(1, sizeof *entry);
		if (!entry)
			return -ENOMEM;
		entry->errand.job.work = entry_work;
		entry->errand.end = entry_end;
		entry->cache = cache;
		entry->stored = stored_ref(room->stored);
		entry->user = user_ref(user);
		entry->image = *image;
		memcpy(entry->target, room->key, room->target_len);
		image->entry = entry;
		log_init(&entry->log);
		list_init(&entry->waiters);
		list_init(&entry->share_link);
		list_append(&cache->entries, &entry->link);
		errands_add(cache->errands, &entry->errand, user);
	}
	if (session) {
		session->is_waiting = session->is_storing = true;
		list_append(&entry->waiters, &session->wait_link);
	}
	return 0;
}

int room_find_time(struct room *room, uint64_t time, uint64_t *ret_seq)
{
	const struct cold *cold = room->stored ? &room->stored->cold : NULL;
	uint64_t seq = log_find_time(&room->log, time);
	struct hole hole;
	struct log *log;
	size_t i;
	int r;

	*ret_seq = seq;
	if (!cold || cold->n == 0 || seq > room->log.first)
		return 0;
	/* all that is in memory is behind it: it is in the last segment that began before it, or
	 * the first of the next one */
	i = cold_find_time(cold, time);
	*ret_seq = cold->segments[i == cold->n ? 0 : i].first;
	if (i == cold->n)
		return 0;
	r = room_log_at(room, *ret_seq, &log, &hole);
	if (r == 0)
		*ret_seq = log_find_time(log, time);
	return r;
}

uint64_t room_first(const struct room *room)
{
	return room->stored && room->stored->cold.n > 0 ? room->stored->cold.segments[0].first
							: room->log.first;
}

void room_seek(const struct room *room, uint64_t seq, struct log_cursor *ret_cursor)
{
	*ret_cursor = (struct log_cursor){ .seq = seq };
	if (seq >= room->log.first)
		log_seek(&room->log, seq, ret_cursor);
}

/* ---- what comes back ---- */

/* Those who wait look again. */
static void entry_wake(struct entry *entry)
{
	struct room *room = entry->stored->room;
	struct rooms *rooms = entry->cache->store->rooms;
	struct list *link;

	while ((link = list_first(&entry->waiters))) {
		list_unlink(link);
		rooms->users->wake(link);
	}
	if (!room)
		return;
	list_for_each (cursor_link, &room->cursors) {
		struct cursor *cursor = container_of(cursor_link, struct cursor, room_link);

		if (cursor->at.seq >= entry->image.first && cursor->at.seq < entry->image.next)
			cursor->awaits_disk = false;
	}
	if (!list_is_linked(&room->dirty_link))
		list_append(&rooms->dirty, &room->dirty_link);
}

void stored_note_damage(struct stored *stored, const struct segment_image *image, struct user *user,
	bool is_hole, uint64_t n_lost)
{
	struct room *room = stored->room;
	struct segment_image *segment = room ? stored_segment(stored, image) : NULL;

	if (!segment)
		return;
	/* where the disk has no space to mend it, it is found again with each look */
	trace_shared(&user->account->lines, TRACE_ERROR,
		"damaged room=%.*s segment=%u first=%lu next=%lu lost=%lu; the file is "
		"kept in " ARCHIVE_DAMAGED,
		(int)room->target_len, room->key, image->number, (unsigned long)image->first,
		(unsigned long)image->next,
		(unsigned long)(is_hole ? image->next - image->first : n_lost));
	if (is_hole)
		stored_drop_cold(stored, (size_t)(segment - stored->cold.segments));
}

static void entry_end(struct errand *errand)
{
	struct entry *entry = container_of(errand, struct entry, errand);
	struct cache *cache = entry->cache;

	if (!errand->is_done) {
		entry_free(entry);
		return;
	}
	if (entry->result > 0 || entry->damage.is_any)
		stored_note_damage(entry->stored, &entry->image, entry->user, entry->result > 0,
			entry->damage.n_lost);
	if (entry->result == 0) {
		entry->state = ENTRY_THERE;
		cache->bytes += entry->log.bytes;
		entry->user->account->cached_bytes += entry->log.bytes;
		entry_touch(entry);
	} else if (entry->result < 0) {
		trace_shared(&entry->user->account->lines, TRACE_ERROR,
			"cannot read what is stored reason=\"%s\"", strerror(-entry->result));
		entry->state = ENTRY_FAILED;
		entry->retry_at = cache->store->rooms->users->now + CACHE_RETRY_NS;
		cache->n_failed++;
	}
	entry_wake(entry);
	if (entry->result > 0 || !entry->stored->room)
		entry_free(entry);
}

/* The least recently used entry of the account that has most here. */
static struct entry *cache_victim(const struct cache *cache)
{
	const struct quota_account *most = NULL;

	list_for_each (link, &cache->accounts) {
		struct turns *share = container_of(link, struct turns, link);
		struct quota_account *account = container_of(share, struct quota_account, cached);

		if (!most || account->cached_bytes > most->cached_bytes)
			most = account;
	}
	return most ? container_of(list_first(&most->cached.sessions), struct entry, share_link)
		    : NULL;
}

void cache_trim(struct cache *cache)
{
	struct entry *victim;

	while (cache->bytes > CACHE_BYTES && (victim = cache_victim(cache)))
		entry_free(victim);
}

uint64_t cache_expire(struct cache *cache, uint64_t now)
{
	uint64_t wait = UINT64_MAX;

	if (cache->n_failed == 0)
		return UINT64_MAX;
	list_for_each (link, &cache->entries) {
		struct entry *entry = container_of(link, struct entry, link);

		if (entry->state != ENTRY_FAILED)
			continue;
		if (now < entry->retry_at) {
			wait = MIN(wait, entry->retry_at - now);
			continue;
		}
		entry_wake(entry);
		entry_free(entry);
	}
	return wait;
}

void cache_init(struct cache *cache, struct store *store, struct errands *errands)
{
	*cache = (struct cache){ .store = store, .errands = errands };
	list_init(&cache->entries);
	list_init(&cache->accounts);
}

void cache_deinit(struct cache *cache)
{
	/* what the thread has in hand stays until the exit */
	list_for_each (link, &cache->entries) {
		struct entry *entry = container_of(link, struct entry, link);

		if (entry->state != ENTRY_READING)
			entry_free(entry);
	}
}
