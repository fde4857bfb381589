/* recover.c - see recover.h. */
#include "broker/recover.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "broker/archive.h"
#include "broker/broker.h"
#include "broker/catalog.h"
#include "broker/cold.h"
#include "broker/mark.h"
#include "broker/publisher.h"
#include "broker/retain.h"
#include "broker/room.h"
#include "broker/store.h"
#include "broker/trace.h"
#include "broker/value.h"
#include "protocol/record.h"

/* The newest segment of a room is read at the start if it has no more than this: what was said
 * last is wanted first, and goes on there. */
#define RECENT_BYTES (64u << 10)

/* One room while it is being brought back. */
struct restored {
	struct table_link link; /* in recovery.by_id */
	uint64_t id;
	uint32_t number; /* of its newest segment, ever */
	uint64_t next;   /* as the catalog says */
	bool is_changed; /* it is not all in files, as it is now */
	struct room *room;
	struct stored *stored;
};

struct recovery {
	struct store *store;
	struct rooms *rooms;
	int dir;
	struct table by_id;
	uint64_t n_records, n_damaged; /* replayed; segments */
	bool has_forgotten;            /* rooms that the catalog has */
};

static struct restored *recovery_find(struct recovery *recovery, uint64_t id)
{
	struct table_link *link =
		table_find(&recovery->by_id, (struct text){ (char *)&id, sizeof id });

	return link ? container_of(link, struct restored, link) : NULL;
}

static int recovery_add(struct recovery *recovery, const struct catalog_room *row)
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
		if (r < 0)
			table_remove(&recovery->by_id, &restored->link);
	}
	if (r < 0) {
		free(restored);
		free(stored);
		return r;
	}
	store_adopt(recovery->store, restored->room, stored);
	return 0;
}

/* ---- the catalog ---- */

static int take_room(void *userdata, const struct catalog_room *row)
{
	return recovery_add(userdata, row);
}

static int take_segment(void *userdata, uint64_t room, const struct segment_image *image)
{
	struct recovery *recovery = userdata;
	struct restored *restored = recovery_find(recovery, room);
	struct stored *stored;

	if (!restored || image->used > image->size || image->size > LOG_SEGMENT_MAX)
		return STORE_E_STATE;
	stored = restored->stored;
	if (stored->file_used == 0) /* the first */
		stored->oldest_file = image->number;
	stored->file_number = image->number;
	stored->file_used = image->used;
	return stored_add_cold(stored, image);
}

/* One that is damaged is a hole. */
static void segment_damaged(
	struct recovery *recovery, struct restored *restored, const struct segment_image *image)
{
	struct text target = room_target(restored->room);

	trace(TRACE_ERROR, "damaged room=%.*s segment=%u first=%lu next=%lu: put aside",
		(int)target.len, target.data, image->number, (unsigned long)image->first,
		(unsigned long)image->next);
	if (!recovery->store->is_inspected)
		archive_put_aside(recovery->dir, restored->id, image->number);
	recovery->n_damaged++;
	restored->is_changed = true;
	log_lose(&restored->room->log, image->next);
}

/* Have the newest segment in memory. */
static int restored_read(struct recovery *recovery, struct restored *restored)
{
	struct cold *cold = &restored->stored->cold;
	struct segment_image image;
	char *data;
	int r;

	if (cold->n == 0 || cold->segments[cold->n - 1].used > RECENT_BYTES)
		return 0;
	image = cold->segments[cold->n - 1];
	stored_drop_cold(restored->stored, cold->n - 1);
	r = log_restore(&restored->room->log, &image, &data);
	if (r < 0)
		return r;
	r = archive_read(recovery->dir, restored->id, &image, data);
	if (r == ARCHIVE_E_FORMAT) {
		trace(TRACE_ERROR, "a segment is of another version of chat-broker");
		return STORE_E_STATE;
	}
	if (r < 0)
		return r;
	if (r == ARCHIVE_E_BROKEN || log_restored(&restored->room->log, &image))
		segment_damaged(recovery, restored, &image);
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

static int room_take_mark(struct recovery *recovery, struct room *room, uid_t uid, uint64_t seq)
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

	return restored ? room_take_mark(recovery, restored->room, uid, seq) : STORE_E_STATE;
}

/* It takes effect at once. */
static int room_take_value(
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

	return restored ? room_take_value(recovery, restored->room, row) : STORE_E_STATE;
}

static int take_name(void *userdata, struct text name, uid_t uid, uint64_t used_at)
{
	struct recovery *recovery = userdata;
	uint64_t now = (uint64_t)time(NULL);

	return users_restore_name(recovery->rooms->users, name, uid,
		(now - MIN(used_at, now)) * UINT64_C(1000000000));
}

static const struct catalog_reader reader = {
	.room = take_room,
	.segment = take_segment,
	.publisher = take_publisher,
	.mark = take_mark,
	.value = take_value,
	.name = take_name,
};

/* ---- the journal ---- */

static void recovery_forget(struct recovery *recovery, struct restored *restored)
{
	recovery->has_forgotten = true;
	table_remove(&recovery->by_id, &restored->link);
	rooms_forget(recovery->rooms, restored->room);
	free(restored);
}

/* ROOM takes the place of BEFORE, whose numbers it goes on with: what is known of it beside what
 * was said. Returns 0 or -ENOMEM. */
static int room_succeed(struct rooms *rooms, struct room *room, struct room *before)
{
	int r = 0;

	room_take_values(rooms, room, before);
	list_for_each (link, &before->marks) {
		struct mark *mark = container_of(link, struct mark, room_link);

		if (r == 0)
			r = MIN(room_move_mark(rooms, room, mark->user, mark->seq), 0);
	}
	list_for_each (link, &before->publishers) {
		struct publisher *publisher = container_of(link, struct publisher, recent_link);

		if (r == 0)
			r = room_restore_publisher(rooms, room, (uid_t)publisher->key.uid,
				publisher->key.label, publisher->id, publisher->seq);
	}
	return r;
}

/* If there is a room with this key it is not any more: ROW succeeds it. */
static int recovery_replace(struct recovery *recovery, const struct catalog_room *row)
{
	struct room *room = rooms_find(recovery->rooms, row->key);
	struct restored *before =
		room && room->stored ? recovery_find(recovery, room->stored->id) : NULL;
	int r;

	if (!before)
		return recovery_add(recovery, row);
	rooms_hide(recovery->rooms, room);
	r = recovery_add(recovery, row);
	if (r == 0)
		r = room_succeed(recovery->rooms, recovery_find(recovery, row->id)->room, room);
	recovery_forget(recovery, before);
	return r;
}

static int replay_value(struct recovery *recovery, struct restored *restored,
	const struct journal_entry *entry, const char *payload)
{
	struct catalog_value row = { .uid = entry->uid, .version = entry->seq };
	struct store_value sizes;
	const char *end = payload + entry->len;

	if (entry->len < sizeof sizes)
		return STORE_E_STATE;
	memcpy(&sizes, payload, sizeof sizes);
	payload += sizeof sizes;
	if (sizes.key_len > NAME_LEN_MAX || sizes.author_len > AUTHOR_LEN_MAX ||
		sizes.key_len + sizes.author_len > (size_t)(end - payload))
		return STORE_E_STATE;
	row.key = (struct text){ payload, sizes.key_len };
	row.author = (struct text){ payload + sizes.key_len, sizes.author_len };
	payload += sizes.key_len + sizes.author_len;
	row.text = (struct text){ payload, (size_t)(end - payload) };
	return room_take_value(recovery, restored->room, &row);
}

static int replay_room(
	struct recovery *recovery, const struct journal_entry *entry, const char *payload)
{
	struct store_room room;
	struct catalog_room row = { .id = entry->room, .next = MAX(entry->seq, (uint64_t)1) };
	int r;

	if (recovery_find(recovery, entry->room))
		return 0;
	if (entry->len <= sizeof room)
		return STORE_E_STATE;
	memcpy(&room, payload, sizeof room);
	row.key = (struct text){ payload + sizeof room, entry->len - sizeof room };
	row.target_len = room.target_len;
	row.owner = room.owner;
	row.party[0] = room.party[0];
	row.party[1] = room.party[1];
	if (row.target_len > row.key.len || row.target_len > TARGET_LEN_MAX)
		return STORE_E_STATE;
	r = recovery_replace(recovery, &row);
	if (r == 0) { /* nothing of it is in memory */
		struct log *log = &recovery_find(recovery, row.id)->room->log;

		log->first = log->next = row.next;
	}
	if (r == 0) /* only the journal knows of it, which goes with the next checkpoint */
		recovery_find(recovery, row.id)->is_changed = true;
	return r;
}

static int replay_records(struct recovery *recovery, struct restored *restored,
	const struct journal_entry *entry, const char *payload)
{
	const char *at = payload, *end = payload + entry->len;
	uint64_t seq = entry->seq;
	struct text frame;
	int r;

	while ((r = record_next(&at, end, &frame)) == 0) {
		uint64_t next = restored->room->log.next;

		if (seq > next)
			return STORE_E_STATE; /* something between is missing */
		if (seq++ < next)
			continue;
		r = room_put_back(recovery->rooms, restored->room, frame);
		if (r < 0)
			return r;
		recovery->n_records++;
	}
	return r == RECORD_E_END ? 0 : STORE_E_STATE;
}

/* That it was used is stored with the next checkpoint; and so is whose it is. */
static int replay_name(
	struct recovery *recovery, const struct journal_entry *entry, const char *payload)
{
	recovery->store->names_changed = true;
	if (recovery->store->changed_at == 0)
		recovery->store->changed_at = 1;
	return users_restore_name(
		recovery->rooms->users, (struct text){ payload, entry->len }, entry->uid, 0);
}

static int replay_entry(void *userdata, const struct journal_entry *entry, const char *payload)
{
	struct recovery *recovery = userdata;
	struct restored *restored;

	if (entry->kind == JOURNAL_ROOM)
		return replay_room(recovery, entry, payload);
	if (entry->kind == JOURNAL_NAME)
		return replay_name(recovery, entry, payload);
	restored = recovery_find(recovery, entry->room);
	if (!restored)
		return 0; /* it went later, and the catalog knows that */
	restored->is_changed = true;
	switch (entry->kind) {
	case JOURNAL_RECORDS:
		return replay_records(recovery, restored, entry, payload);
	case JOURNAL_VALUE:
		return replay_value(recovery, restored, entry, payload);
	case JOURNAL_MARK:
		return room_take_mark(recovery, restored->room, entry->uid, entry->seq);
	default: /* JOURNAL_GONE */
		recovery_forget(recovery, restored);
		return 0;
	}
}

/* ---- all of it ---- */

static bool segment_is_known(void *userdata, uint64_t room, uint32_t number)
{
	struct restored *restored = recovery_find(userdata, room);

	return restored && number >= restored->stored->oldest_file &&
	       number <= restored->stored->file_number;
}

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
	room->stored->next_in_file = restored->next;
	room->said_next = room->log.next;
	/* a limit may be lower than it was */
	if (room_retain(recovery->store, room->stored) || restored->is_changed)
		store_changed(recovery->store, room);
	return 0;
}

static void recovery_free(struct recovery *recovery)
{
	struct table_link *link;

	for (size_t i = 0; i < recovery->by_id.n_slots; i++)
		while ((link = table_at(&recovery->by_id, i))) {
			table_remove(&recovery->by_id, link);
			free(container_of(link, struct restored, link));
		}
	table_deinit(&recovery->by_id);
}

static int recovery_read_catalog(struct recovery *recovery, uint64_t *ret_generation)
{
	char why[CATALOG_WHY_MAX] = "its rows do not fit together";
	struct catalog catalog;
	int r;

	r = catalog_open(&catalog, recovery->store->path, recovery->store->is_inspected, why);
	if (r == 0) {
		r = catalog_read(&catalog, &reader, recovery, ret_generation, why);
		catalog_close(&catalog);
	}
	if (r > 0) {
		trace(TRACE_ERROR, "can not use the state in %s: %s", recovery->store->path, why);
		return STORE_E_STATE;
	}
	return r;
}

static int recovery_read_journal(struct recovery *recovery, uint64_t generation)
{
	char why[JOURNAL_WHY_MAX] = "the journal does not fit what it is about";
	struct store *store = recovery->store;
	struct journal_replayed replayed;
	int r;

	r = journal_replay(recovery->dir, generation, replay_entry, recovery, &replayed, why);
	if (r > 0) {
		trace(TRACE_ERROR, "can not use the state in %s: %s", store->path, why);
		return STORE_E_STATE;
	}
	if (r < 0)
		return r;
	if (replayed.n_files == 0)
		replayed.generation = generation - 1;
	journal_init(&store->journal, -1, replayed.generation, replayed.len);
	if (replayed.n_bytes > 0 && !store->is_inspected)
		trace(TRACE_INFO, "replayed entries=%lu bytes=%lu records=%lu",
			(unsigned long)replayed.n_entries, (unsigned long)replayed.n_bytes,
			(unsigned long)recovery->n_records);
	return 0;
}

static int recovery_read(struct recovery *recovery)
{
	uint64_t generation;
	int r;

	r = recovery_read_catalog(recovery, &generation);
	if (r)
		return r;
	r = recovery_each(recovery, each_settle);
	if (r)
		return r;
	r = recovery_read_journal(recovery, generation);
	if (r)
		return r;
	(void)recovery_each(recovery, each_open);
	if (recovery->store->changed_at > 0)
		recovery->store->changed_at = 1; /* it is due */
	if (recovery->store->is_inspected)
		return recovery->n_damaged > 0 ? STORE_E_DAMAGED : 0;
	if (recovery->has_forgotten)
		return 0; /* their files go with the next checkpoint, when the catalog knows */
	r = archive_clean(recovery->dir, segment_is_known, recovery);
	return r < 0 ? r : 0;
}

/* The directory is ours alone, and nobody else uses it. Returns 0, an outcome or -errno. */
static int directory_take(struct store *store)
{
	struct stat statbuf;
	int dir;

	if (!store->is_inspected && mkdir(store->path, 0700) < 0 && errno != EEXIST)
		return -errno;
	dir = open(store->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return -errno;
	store->lock = dir; /* it is locked itself */
	if (fstat(dir, &statbuf) < 0)
		return -errno;
	if (statbuf.st_uid != geteuid()) {
		trace(TRACE_ERROR, "can not use %s: it belongs to uid %u", store->path,
			statbuf.st_uid);
		return STORE_E_FOREIGN;
	}
	if (statbuf.st_mode & 022) {
		trace(TRACE_ERROR, "can not use %s: others may write to it, mode %04o; chmod 700",
			store->path, statbuf.st_mode & 07777);
		return STORE_E_FOREIGN;
	}
	if (flock(dir, LOCK_EX | LOCK_NB) < 0) {
		trace(TRACE_ERROR, "can not use %s: %s", store->path,
			store->is_inspected
				? "a broker does; stop it first"
				: "another broker does; say another --state, or --ephemeral");
		return STORE_E_HELD;
	}
	if (!store->is_inspected && mkdirat(dir, ARCHIVE_DIR, 0700) < 0 && errno != EEXIST)
		return -errno;
	return 0;
}

int recover(struct store *store)
{
	struct recovery recovery = { .store = store, .rooms = store->rooms };
	uint64_t start = broker_clock();
	int r;

	table_init(&recovery.by_id);
	store->is_recovering = true;
	r = directory_take(store);
	recovery.dir = store->lock;
	if (r == 0)
		r = recovery_read(&recovery);
	if (r == 0 && !store->is_inspected)
		trace(TRACE_INFO, "state directory=%s rooms=%lu bytes=%lu damaged=%lu ms=%lu",
			store->path, (unsigned long)recovery.by_id.n_links,
			(unsigned long)store->rooms->log_bytes, (unsigned long)recovery.n_damaged,
			(unsigned long)((broker_clock() - start) / 1000000));
	else if (r < 0)
		trace(TRACE_ERROR, "can not use the state in %s: %s", store->path, strerror(-r));
	store->is_recovering = false;
	recovery_free(&recovery);
	return r;
}
