/* stored.c - see stored.h. */
#include "broker/stored.h"

#include <assert.h>
#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "broker/cursor.h"
#include "broker/feed.h"
#include "broker/follower.h"
#include "broker/mark.h"
#include "broker/notes.h"
#include "broker/room.h"
#include "broker/store.h"
#include "broker/value.h"

struct stored *stored_ref(struct stored *stored)
{
	stored->n_refs++;
	return stored;
}

void stored_put(struct stored *stored)
{
	if (--stored->n_refs > 0)
		return;
	assert(!stored->room && !list_is_linked(&stored->changed_link));
	cold_clear(&stored->cold);
	free(stored);
}

static void store_is_due(struct store *store)
{
	if (store->changed_at == 0)
		store->changed_at = store->rooms->users->now;
}

void store_changed(struct store *store, struct room *room)
{
	struct stored *stored = room->stored;

	if (!stored)
		return;
	store_is_due(store);
	if (list_is_linked(&stored->changed_link))
		return;
	list_append(&store->changed, &stored->changed_link);
	stored_ref(stored);
}

/* ---- notes ---- */

static int value_note(const struct value *value, uint64_t room, struct notes *notes)
{
	struct store_value payload = { (uint32_t)value->key_len, (uint32_t)value->author_len };

	return notes_add(notes,
		(struct journal_entry){ .kind = JOURNAL_VALUE,
			.room = room,
			.uid = value->uid,
			.seq = value->version },
		(struct text){ (char *)&payload, sizeof payload },
		(struct text){ value->data, value->key_len + value->author_len + value->len });
}

int stored_note(const struct stored *stored, struct notes *notes)
{
	const struct room *room = stored->room;
	struct store_room payload = { room->owner->uid, { room->party[0], room->party[1] },
		(uint32_t)room->target_len };

	return notes_add(notes,
		(struct journal_entry){
			.kind = JOURNAL_ROOM, .room = stored->id, .seq = stored->next_in_file },
		(struct text){ (char *)&payload, sizeof payload }, table_key(&room->link));
}

void store_marked(struct store *store, struct room *room, const struct mark *mark)
{
	if (store->is_recovering)
		return;
	store_changed(store, room);
	/* without memory, or with too many, it is stored with the next checkpoint */
	if (store->notes.len < NOTES_MAX)
		(void)notes_add(&store->notes,
			(struct journal_entry){ .kind = JOURNAL_MARK,
				.room = room->stored->id,
				.uid = mark->user->uid,
				.seq = mark->seq },
			TEXT(""), TEXT(""));
}

void store_named(struct store *store, const struct nick *nick, bool is_taken)
{
	if (!store_is_open(store) || store->is_recovering)
		return;
	store->names_changed = true;
	store_is_due(store);
	if (is_taken && store->notes.len < NOTES_MAX)
		(void)notes_add(&store->notes,
			(struct journal_entry){ .kind = JOURNAL_NAME,
				.uid = nick->owner ? nick->owner->uid : (uid_t)-1 },
			text_of(nick->name), TEXT(""));
}

int store_set(struct store *store, struct value *value)
{
	struct room *room = value->room;
	int r = room->stored ? 0 : store_take_up(store, room);

	if (r == 0)
		r = value_note(value, room->stored->id, &store->notes);
	if (r < 0)
		return r;
	value->batch = store->building;
	list_append(&store->coming, &value->store_link);
	if (text_equal(value_key(value), TEXT(KEY_MODE)))
		room->stored->is_changing = true;
	return 0;
}

/* ---- what is stored of a room ---- */

/* ROOM is stored, as STORED will say. What was stored of it before, under another identity, may be
 * on the disk still. */
static void store_begin(struct store *store, struct room *room, struct stored *stored)
{
	store_adopt(store, room, stored);
	if (room->is_ephemeral) { /* its log begins anew with the next broker */
		randombytes_buf(&stored->id, sizeof stored->id);
		stored->next_in_file = 1;
	} else { /* what was said before is not stored */
		log_close(&room->log);
		stored->oldest_file = stored->file_number = room->log.segment_number + 1;
		stored->next_in_file = stored->since = room->log.next;
		store_open_log(room);
	}
	room->values_changed = true;
	list_for_each (link, &room->marks)
		container_of(link, struct mark, room_link)->is_stored = false;
	list_append(&store->unknown, &stored->unknown_link);
	store_changed(store, room);
}

int store_take_up(struct store *store, struct room *room)
{
	struct stored *stored = calloc(1, sizeof *stored);

	if (!stored)
		return -ENOMEM;
	store_begin(store, room, stored);
	return 0;
}

int stored_add_cold(struct stored *stored, const struct segment_image *image)
{
	int r = cold_add(&stored->cold, image);

	if (r < 0)
		return r;
	stored->cache->store->cold_bytes += image->used;
	return 0;
}

void stored_charge(struct stored *stored, uint64_t change)
{
	stored->bytes += change;
	stored->cache->store->disk_bytes += change;
	stored->room->owner->account->disk_bytes += change;
}

void stored_take_cold(struct stored *stored, size_t i)
{
	stored->cache->store->cold_bytes -= stored->cold.segments[i].used;
	cold_remove(&stored->cold, i);
}

void stored_drop_cold(struct stored *stored, size_t i)
{
	stored_charge(stored, -(uint64_t)stored->cold.segments[i].used);
	stored_take_cold(stored, i);
}

/* Memory has no place for it any more. */
static void log_leaves(struct log *log, const struct segment_image *image)
{
	struct room *room = container_of(log, struct room, log);

	/* without memory it is a hole until the next start */
	if (room->stored && image->number >= room->stored->oldest_file &&
		stored_add_cold(room->stored, image) < 0)
		stored_charge(room->stored, -(uint64_t)image->used);
}

bool stored_is_in_files(const struct stored *stored)
{
	return stored->next_in_file == stored->room->log.next;
}

void store_open_log(struct room *room)
{
	log_hold(&room->log);
	room->log.leaves = log_leaves;
	room->log.keep_from = room->stored->file_number;
	room->stored->at = room->log.end;
}

void store_adopt(struct store *store, struct room *room, struct stored *stored)
{
	list_init(&stored->unknown_link);
	list_init(&stored->dirty_link);
	list_init(&stored->changed_link);
	list_init(&stored->deleted_link);
	stored->room = room;
	stored->n_refs = 1;
	stored->id = room->id ^ store->incarnation;
	stored->oldest_file = stored->file_number = room->log.oldest_number;
	stored->cache = &store->cache;
	stored->since = 1;
	/* nothing of it is taken from memory before it is known what is in files */
	if (!room->is_ephemeral)
		room->log.keep_from = stored->file_number;
	room->stored = stored;
	if (!room->is_ephemeral) /* it is not forgotten because nobody looks at it */
		list_unlink(&room->idle_link);
}

void store_appended(struct store *store, struct room *room, size_t len)
{
	struct stored *stored = room->stored;

	stored->held += len;
	stored_charge(stored, len);
	room->owner->account->held_bytes += len;
	if (!list_is_linked(&stored->dirty_link))
		list_append(&store->dirty, &stored->dirty_link);
}

void stored_settle(struct stored *stored, uint64_t len)
{
	stored->held -= len;
	stored->room->owner->account->held_bytes -= len;
}

void stored_leave(struct stored *stored)
{
	while (stored->cold.n > 0)
		stored_take_cold(stored, stored->cold.n - 1);
	stored_charge(stored, -stored->bytes);
	stored->room->owner->account->held_bytes -= stored->held;
	stored->room = NULL;
}

void store_forget(struct store *store, struct room *room)
{
	struct stored *stored = TAKE(room->stored);

	if (!stored)
		return;
	stored_leave(stored);
	list_unlink(&stored->unknown_link);
	list_unlink(&stored->dirty_link);
	list_unlink(&stored->deleted_link);
	/* a checkpoint that failed may have written any of its segments */
	stored->file_number = MAX(stored->file_number, room->log.segment_number);
	if (!list_is_linked(&stored->changed_link))
		stored_ref(stored);
	list_unlink(&stored->changed_link);
	list_append(&store->gone, &stored->changed_link);
	store_is_due(store);
	/* without memory the journal does not say so, but the next checkpoint */
	if (!store->is_recovering && !stored->is_known_gone && store->notes.len < NOTES_MAX)
		(void)notes_add(&store->notes,
			(struct journal_entry){ .kind = JOURNAL_GONE, .room = stored->id },
			TEXT(""), TEXT(""));
	stored_put(stored);
}

int store_renew(struct store *store, struct room *room)
{
	struct stored *stored = calloc(1, sizeof *stored);

	if (!stored)
		return -ENOMEM;
	store_forget(store, room);
	if (room->is_ephemeral)
		log_let_go(&room->log);
	else
		randombytes_buf(&room->id, sizeof room->id);
	store_begin(store, room, stored);
	return 0;
}

void room_set_mode(struct rooms *rooms, struct room *room, bool is_ephemeral)
{
	struct store *store = rooms->store;

	if (room->stored)
		room->stored->is_changing = false;
	if (room->is_ephemeral == is_ephemeral)
		return;
	room->is_ephemeral = is_ephemeral;
	if (store && !store->is_recovering && store_renew(store, room) < 0)
		room->is_ephemeral = !is_ephemeral; /* until the next broker starts */
	list_for_each (link, &room->cursors) {
		struct cursor *cursor = container_of(link, struct cursor, room_link);

		/* who waits for what is not there any more looks again */
		cursor->awaits_disk = false;
		/* and nobody reads from a ring what the disk has not */
		followers_part(cursor);
		cursor_set_fast(cursor, cursor->is_fast && room->is_ephemeral);
	}
	if (!list_is_linked(&room->dirty_link))
		list_append(&rooms->dirty, &room->dirty_link);
	if (room->n_cursors == 0)
		room_set_idle(rooms, room);
	room_update_feeds(room);
}
