/* recover.c - see recover.h. */
#include "broker/recover.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "broker/archive.h"
#include "broker/broker.h"
#include "broker/catalog.h"
#include "broker/cold.h"
#include "broker/mark.h"
#include "broker/publisher.h"
#include "broker/recovery.h"
#include "broker/retain.h"
#include "broker/room.h"
#include "broker/store.h"
#include "broker/trace.h"
#include "broker/value.h"
#include "protocol/record.h"

/* The newest segment of a room is read at the start if it has no more than this: what was said
 * last is wanted first, and goes on there. */
#define RECENT_BYTES (64u << 10)

struct restored *recovery_find(struct recovery *recovery, uint64_t id)
{
	struct table_link *link =
		table_find(&recovery->by_id, (struct text){ (char *)&id, sizeof id });

	return link ? container_of(link, struct restored, link) : NULL;
}

int recovery_add(struct recovery *recovery, const struct catalog_room *row)
{
	struct restored *restored = calloc(1, sizeof *restored);
	struct stored *stored = calloc(1, sizeof *stored);
	int r = restored && stored ? 0 : -ENOMEM;

	if (r == 0) {
		restored->id = row->id;
		restored->number = row->number;
		restored->next = row->next;
		restored->stored = stored;
		r = table_add(&recovery->by_id, &restored->link,
			(struct text){ (char *)&restored->id, sizeof restored->id });
	}
	if (r == 0) {
		r = rooms_restore(recovery->rooms, row, &restored->room);
		if (r)
			table_remove(&recovery->by_id, &restored->link);
	}
	if (r) {
		free(restored);
		free(stored);
		return r;
	}
	restored->room->id ^= recovery->store->incarnation;
	store_adopt(recovery->store, restored->room, stored);
	return 0;
}

/* ---- the catalog ---- */

static int take_room(void *userdata, const struct catalog_room *row)
{
	/* a row of an earlier format has no CRC */
	if (row->key.len == 0 || row->key.len > ROOM_KEY_MAX || row->target_len == 0 ||
		row->target_len > MIN(row->key.len, (size_t)TARGET_LEN_MAX))
		return STORE_E_STATE;
	return recovery_add(userdata, row);
}

static int take_segment(void *userdata, uint64_t room, const struct segment_image *image)
{
	struct recovery *recovery = userdata;
	struct restored *restored = recovery_find(recovery, room);
	struct segment_image seen = *image;
	struct stored *stored;

	/* a format before had the time of the last message: that clock may have been ahead */
	seen.last = MIN(image->last, recovery->rooms->users->age.now);
	if (!restored || image->used == 0 || image->used > image->size ||
		image->size > LOG_SEGMENT_MAX || image->first == 0 || image->next <= image->first ||
		image->next - image->first > image->used / RECORD_HEADER_LEN)
		return STORE_E_STATE;
	stored = restored->stored;
	if (stored->file_used == 0) /* the first */
		stored->oldest_file = image->number;
	stored->file_number = image->number;
	stored->file_used = image->used;
	recovery->n_segments++;
	stored_charge(stored, image->used);
	return stored_add_cold(stored, &seen);
}

static void segment_tell_damage(struct recovery *recovery, struct restored *restored,
	const struct segment_image *image, uint64_t n_lost)
{
	struct text target = room_target(restored->room);

	trace(TRACE_ERROR, "damaged room=%.*s segment=%u first=%lu next=%lu lost=%lu%s",
		(int)target.len, target.data, image->number, (unsigned long)image->first,
		(unsigned long)image->next, (unsigned long)n_lost,
		archive_len(recovery->dir, restored->id, image->number) < 0
			? "; the file is missing"
		: recovery->store->is_inspected ? ""
						: "; the file is kept in " ARCHIVE_DAMAGED);
	recovery->n_damaged++;
	recovery->n_lost += n_lost;
}

/* No record of it is good: it is a hole. */
static void segment_lose(
	struct recovery *recovery, struct restored *restored, const struct segment_image *image)
{
	segment_tell_damage(recovery, restored, image, image->next - image->first);
	if (!recovery->store->is_inspected)
		archive_put_aside(recovery->dir, restored->id, image->number);
	restored->is_changed = true;
	log_lose(&restored->room->log, image->next);
}

/* Some are, and the others are tombstones now. */
static void segment_repair(struct recovery *recovery, struct restored *restored,
	const struct segment_image *image, uint64_t n_lost)
{
	struct segment_image repaired;

	segment_tell_damage(recovery, restored, image, n_lost);
	if (!recovery->store->is_inspected &&
		log_image(&restored->room->log, image->number, &repaired))
		(void)archive_repair(recovery->dir, restored->id, &repaired);
}

/* Have the newest segment in memory. */
static int restored_read(struct recovery *recovery, struct restored *restored)
{
	struct cold *cold = &restored->stored->cold;
	struct segment_image image;
	struct archive_damage damage;
	int r;

	if (cold->n == 0 || cold->segments[cold->n - 1].used > RECENT_BYTES)
		return 0;
	image = cold->segments[cold->n - 1];
	stored_drop_cold(restored->stored, cold->n - 1);
	r = archive_restore(recovery->dir, restored->id, room_target(restored->room), &image,
		&restored->room->log, &damage);
	if (r == ARCHIVE_E_FORMAT) {
		trace(TRACE_ERROR, "a segment is of another version of chat-broker");
		return STORE_E_STATE;
	}
	if (r < 0)
		return r;
	if (r == ARCHIVE_E_BROKEN)
		segment_lose(recovery, restored, &image);
	else if (damage.is_any)
		segment_repair(recovery, restored, &image, damage.n_lost);
	return 0;
}

static int room_restore_publisher(struct rooms *rooms, struct room *room, uid_t uid, uint64_t label,
	uint64_t id, uint64_t seq)
{
	struct author author = { .uid = uid, .label = label, .has_publisher = true };
	struct publisher *publisher = room_get_publisher(rooms, room, &author);

	if (!publisher)
		return -ENOMEM;
	publisher_note(publisher, id, seq);
	return 0;
}

static int take_publisher(void *userdata, uint64_t room, const struct catalog_publisher *row)
{
	struct recovery *recovery = userdata;
	struct restored *restored = recovery_find(recovery, room);

	return restored ? room_restore_publisher(recovery->rooms, restored->room, row->uid,
				  row->label, row->id, row->seq)
			: STORE_E_STATE;
}

int recovery_take_mark(struct recovery *recovery, struct room *room, uid_t uid, uint64_t seq)
{
	struct users *users = recovery->rooms->users;
	struct user *user;
	int r;

	r = users_get(users, uid, &user);
	if (r < 0)
		return r;
	r = room_move_mark(recovery->rooms, room, user, seq);
	users_put(users, user);
	return r < 0 ? r : 0;
}

static int take_mark(void *userdata, uint64_t room, uid_t uid, uint64_t seq)
{
	struct recovery *recovery = userdata;
	struct restored *restored = recovery_find(recovery, room);

	return restored ? recovery_take_mark(recovery, restored->room, uid, seq) : STORE_E_STATE;
}

/* It takes effect at once. */
int recovery_take_value(
	struct recovery *recovery, struct room *room, const struct catalog_value *row)
{
	struct rooms *rooms = recovery->rooms;
	struct value *value;
	struct user *user;
	int r;

	if (!text_is_name(row->key) || row->author.len > AUTHOR_LEN_MAX ||
		row->text.len > VALUE_LEN_MAX)
		return STORE_E_STATE;
	r = users_get(rooms->users, row->uid, &user);
	if (r < 0)
		return r;
	r = value_new(room, user, row->author, row->key, row->text, row->version, true, &value);
	users_put(rooms->users, user);
	if (r == 0)
		value_land(rooms, value);
	return r;
}

static int take_value(void *userdata, uint64_t room, const struct catalog_value *row)
{
	struct recovery *recovery = userdata;
	struct restored *restored = recovery_find(recovery, room);

	return restored ? recovery_take_value(recovery, restored->room, row) : STORE_E_STATE;
}

static int take_name(void *userdata, struct text name, uid_t uid, uint64_t used_at)
{
	struct recovery *recovery = userdata;
	uint64_t now = recovery->rooms->users->age.now / 1000000000;

	return users_restore_name(recovery->rooms->users, name, uid,
		(now - MIN(used_at, now)) * UINT64_C(1000000000));
}

static int take_clock(void *userdata, uint64_t age, uint64_t wall)
{
	struct recovery *recovery = userdata;
	int64_t jump = age_resume(&recovery->rooms->users->age, age, wall);

	if (jump == 0 || recovery->store->is_inspected)
		return 0;
	if (recovery->store->changed_at == 0)
		recovery->store->changed_at = 1; /* it is stored, and said once */
	trace(TRACE_WARNING, "clock jumped seconds=%ld since the last broker: no age counts it",
		(long)(jump / 1000000000));
	return 0;
}

static int take_dropped(void *userdata, uint64_t room)
{
	struct recovery *recovery = userdata;

	recovery->store->has_dropped = true;
	return recovery_note_dropped(recovery, room, true);
}

static const struct catalog_reader reader = {
	.clock = take_clock,
	.room = take_room,
	.segment = take_segment,
	.publisher = take_publisher,
	.mark = take_mark,
	.value = take_value,
	.name = take_name,
	.dropped = take_dropped,
};

/* ---- rooms that are not there any more ---- */

const struct dropped *recovery_find_dropped(struct recovery *recovery, uint64_t id)
{
	struct table_link *link =
		table_find(&recovery->dropped, (struct text){ (char *)&id, sizeof id });

	return link ? container_of(link, struct dropped, link) : NULL;
}

int recovery_note_dropped(struct recovery *recovery, uint64_t id, bool is_committed)
{
	struct dropped *dropped;
	int r;

	if (recovery_find_dropped(recovery, id))
		return 0;
	dropped = calloc(1, sizeof *dropped);
	if (!dropped)
		return -ENOMEM;
	dropped->id = id;
	dropped->is_committed = is_committed;
	r = table_add(&recovery->dropped, &dropped->link,
		(struct text){ (char *)&dropped->id, sizeof dropped->id });
	if (r < 0)
		free(dropped);
	return r;
}

int recovery_forget(struct recovery *recovery, struct restored *restored)
{
	int r = recovery_note_dropped(recovery, restored->id, false);

	table_remove(&recovery->by_id, &restored->link);
	rooms_forget(recovery->rooms, restored->room);
	free(restored);
	return r;
}

/* ---- all of it ---- */

typedef int restored_fn(struct recovery *recovery, struct restored *restored);

static int recovery_each(struct recovery *recovery, restored_fn *function)
{
	int r = 0;

	for (size_t i = 0; i < recovery->by_id.n_slots && r == 0; i++)
		for (struct table_link *link = table_at(&recovery->by_id, i); link && r == 0;
			link = link->next)
			r = function(recovery, container_of(link, struct restored, link));
	return r;
}

/* What is in memory, and what comes next, is what the catalog says. */
static int each_settle(struct recovery *recovery, struct restored *restored)
{
	struct log *log = &restored->room->log;
	int r = restored_read(recovery, restored);

	if (r)
		return r;

	log->segment_number = MAX(log->segment_number, restored->number);
	if (!log->newest) {
		log->oldest_number = log->segment_number + 1;
		log->first = log->next = MAX(log->next, restored->next);
	}
	room_charge_restored(recovery->rooms, restored->room);
	return 0;
}

/* Its row is all that is stored of it. What is there from before that was so is removed, if there
 * is memory for it; else the next start tries again. */
static int restored_forget_log(struct recovery *recovery, struct restored *restored)
{
	struct room *room = restored->room;

	if (restored->is_changed || restored->next > 1)
		(void)store_renew(recovery->store, room);
	room_begin_anew(recovery->rooms, room);
	return 0;
}

/* Readers may have all of it; and what the journal had is to go into files. */
static int each_open(struct recovery *recovery, struct restored *restored)
{
	struct room *room = restored->room;

	if (room->is_ephemeral)
		return restored_forget_log(recovery, restored);
	store_open_log(room);
	stored_charge(room->stored, log_used(&room->log));
	room->stored->next_in_file = restored->next;
	room->said_next = room->log.next;
	if (restored->is_changed)
		store_changed(recovery->store, room);
	return 0;
}

/* Records may be missing at the end of any log, and nothing shows how many. So each log gets
 * another identity. */
static int each_rename(struct recovery *recovery, struct restored *restored)
{
	restored->room->id = restored->stored->id ^ recovery->store->incarnation;
	return 0;
}

static void recovery_rename_logs(struct recovery *recovery)
{
	randombytes_buf(&recovery->store->incarnation, sizeof recovery->store->incarnation);
	(void)recovery_each(recovery, each_rename);
	recovery->store->changed_at = 1; /* a checkpoint is due */
	trace(TRACE_WARNING, "each log has another identity: readers that come back get it whole");
}

static void recovery_free(struct recovery *recovery)
{
	struct table_link *link;

	for (size_t i = 0; i < recovery->by_id.n_slots; i++)
		while ((link = table_at(&recovery->by_id, i))) {
			table_remove(&recovery->by_id, link);
			free(container_of(link, struct restored, link));
		}
	for (size_t i = 0; i < recovery->dropped.n_slots; i++)
		while ((link = table_at(&recovery->dropped, i))) {
			table_remove(&recovery->dropped, link);
			free(container_of(link, struct dropped, link));
		}
	table_deinit(&recovery->by_id);
	table_deinit(&recovery->dropped);
}

/* Open the catalog. One that is not there is made if nothing else is. *ret_is_new: there is none to
 * be read, and none is made for who only looks. */
static int recovery_open_catalog(struct recovery *recovery, struct catalog *catalog,
	bool *ret_is_new, char why[static CATALOG_WHY_MAX])
{
	const struct store *store = recovery->store;
	int r;

	*ret_is_new = false;
	/* a start that is refused changes nothing: an interrupted change is rolled back later */
	r = catalog_open(catalog, store->path, CATALOG_INSPECT, why);
	if (r == CATALOG_E_COPY && !store->is_inspected)
		r = catalog_open(catalog, store->path, CATALOG_WRITE, why);
	if (r != CATALOG_E_ABSENT)
		return r;
	r = recovery_has_files(recovery);
	if (r < 0)
		return r;
	if (r > 0)
		return CATALOG_E_ABSENT;
	*ret_is_new = store->is_inspected;
	return store->is_inspected ? 0 : catalog_open(catalog, store->path, CATALOG_CREATE, why);
}

static int recovery_read_catalog(struct recovery *recovery)
{
	char why[CATALOG_WHY_MAX] = CATALOG_NAME ": its rows do not fit together";
	struct store *store = recovery->store;
	struct catalog catalog;
	bool is_new;
	int r;

	r = recovery_open_catalog(recovery, &catalog, &is_new, why);
	store->catalog = (struct catalog_journal){ .generation = 1 };
	recovery->format = CATALOG_FORMAT_DROPPED;
	if (r == 0 && !is_new) {
		recovery->format = catalog.format;
		r = catalog_check(&catalog, why);
		if (r == 0)
			r = catalog_read_journal(&catalog, &store->catalog, why);
		store->incarnation = store->catalog.incarnation;
		if (r == 0)
			r = catalog_read(&catalog, &reader, recovery, why);
		catalog_close(&catalog);
	}
	if (r > 0) {
		trace(TRACE_ERROR, "cannot use the state in %s: %s%s%s", store->path, why,
			r == CATALOG_E_FORMAT || r == CATALOG_E_FULL ? "" : RECOVERY_REMEDY,
			r == CATALOG_E_FORMAT || r == CATALOG_E_FULL ? "" : store->path);
		return STORE_E_STATE;
	}
	return r;
}

/* From now on there is a journal, and the catalog says so: if it is gone at the next start, what
 * was in it is missed. Without space for that the broker starts, and says so when it is spoken in.
 */
static void recovery_open_journal(struct recovery *recovery)
{
	struct store *store = recovery->store;
	struct catalog_journal journal = store->catalog;
	char why[CATALOG_WHY_MAX];
	struct catalog catalog;

	if (journal.state != CATALOG_JOURNAL_CLOSED)
		return;
	if (store->journal.generation + 1 == journal.generation &&
		journal_create(&store->journal, recovery->dir) < 0)
		return;
	journal.state = CATALOG_JOURNAL_OPEN;
	if (catalog_open(&catalog, store->path, CATALOG_WRITE, why))
		return;
	if (catalog_begin(&catalog) == 0 && catalog_set_journal(&catalog, &journal) == 0 &&
		catalog_commit(&catalog) == 0)
		store->catalog = journal;
	catalog_close(&catalog);
}

static int recovery_read(struct recovery *recovery)
{
	struct store *store = recovery->store;
	int r;

	r = recovery_read_catalog(recovery);
	if (r == 0)
		r = recovery_check_mount(recovery);
	if (r == 0)
		r = recovery_each(recovery, each_settle);
	if (r == 0)
		r = recovery_replay(recovery);
	if (r == 0)
		r = recovery_check_files(recovery);
	if (r)
		return r;
	(void)recovery_each(recovery, each_open);
	rooms_check_all(recovery->rooms); /* a limit may be lower than it was */
	if (recovery->is_log_lost)
		recovery_rename_logs(recovery);
	if (store->changed_at > 0)
		store->changed_at = 1; /* it is due */
	store->n_lost = recovery->n_lost;
	if (store->is_inspected)
		return recovery->n_damaged > 0 ? STORE_E_DAMAGED : 0;
	recovery_open_journal(recovery);
	store->generation = store->journal.generation;
	return 0;
}

/* The directory is ours alone, and nobody else uses it. Returns 0, an outcome or -errno. */
static int recovery_take_directory(struct recovery *recovery)
{
	struct store *store = recovery->store;
	char why[STATE_LOCK_WHY_MAX];
	const char *network;
	int r;

	r = state_lock_take(&store->lock, store->path, store->is_inspected, why);
	if (r)
		trace(TRACE_ERROR, "cannot use the state in %s: %s", store->path, why);
	if (r > 0)
		return r == STATE_LOCK_E_HELD ? STORE_E_HELD : STORE_E_FOREIGN;
	recovery->dir = store->lock.dir;
	network = r == 0 && !store->is_inspected ? state_lock_network(&store->lock) : NULL;
	if (network)
		trace(TRACE_WARNING,
			"the state directory %s is on a network file system, %s: its server must "
			"keep fcntl locks and synced writes",
			store->path, network);
	return r;
}

int recover(struct store *store)
{
	struct recovery recovery = { .store = store, .rooms = store->rooms };
	uint64_t start = broker_clock();
	int r;

	table_init(&recovery.by_id);
	table_init(&recovery.dropped);
	store->is_recovering = true;
	r = recovery_take_directory(&recovery);
	if (r == 0) {
		r = recovery_read(&recovery);
		if (r < 0)
			trace(TRACE_ERROR, "cannot use the state in %s: %s", store->path,
				strerror(-r));
	}
	if (r == 0 && !store->is_inspected)
		trace(TRACE_INFO,
			"state directory=%s rooms=%lu bytes=%lu damaged=%lu lost=%lu ms=%lu",
			store->path, (unsigned long)recovery.by_id.n_links,
			(unsigned long)store->rooms->log_bytes, (unsigned long)recovery.n_damaged,
			(unsigned long)recovery.n_lost,
			(unsigned long)((broker_clock() - start) / 1000000));
	store->is_recovering = false;
	recovery_free(&recovery);
	return r;
}
