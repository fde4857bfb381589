/* replay.c - the journal is replayed over what the catalog says: recovery.h.
 *
 * Records that are missing between two others of a log become tombstones (salvage.h). Records may
 * also be missing after the last one, and nothing shows how many. Readers that come back with a
 * number must not take new messages for lost ones, so each log then gets another identity.
 */
#include "broker/recovery.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "broker/archive.h"
#include "broker/journal_reader.h"
#include "broker/mark.h"
#include "broker/publisher.h"
#include "broker/salvage.h"
#include "broker/trace.h"
#include "broker/value.h"
#include "protocol/frame.h"
#include "protocol/record.h"

/* Numbers that may be missing in one place: those of two journals full of short messages. */
#define LOST_MAX (UINT64_C(1) << 21)

/* ---- rooms ---- */

static int room_restore_publisher(
	struct rooms *rooms, struct room *room, const struct publisher *before)
{
	struct author author = {
		.uid = (uid_t)before->key.uid, .label = before->key.label, .has_publisher = true
	};
	uint64_t id = before->id, seq = before->seq;
	/* which may forget BEFORE, to have a place */
	struct publisher *publisher = room_get_publisher(rooms, room, &author);

	if (!publisher)
		return -ENOMEM;
	publisher_note(publisher, id, seq);
	return 0;
}

/* ROOM takes the place of BEFORE, and goes on with its numbers: take over what else is known of
 * that. Returns 0 or -ENOMEM. */
static int room_succeed(struct rooms *rooms, struct room *room, struct room *before)
{
	int r = 0;

	room_take_values(rooms, room, before);
	list_for_each (link, &before->marks) {
		struct mark *mark = container_of(link, struct mark, room_link);

		if (r == 0)
			r = MIN(room_move_mark(rooms, room, mark->user, mark->seq), 0);
	}
	list_for_each (link, &before->publishers)
		if (r == 0)
			r = room_restore_publisher(
				rooms, room, container_of(link, struct publisher, recent_link));
	return r;
}

/* A room with this key is not there any more: ROW succeeds it. */
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
	return r ? r : recovery_forget(recovery, before);
}

/* Make a room that the journal tells of, with no records so far. */
static int replay_new_room(struct recovery *recovery, const struct catalog_room *row)
{
	struct restored *restored;
	int r = recovery_replace(recovery, row);

	if (r)
		return r;
	restored = recovery_find(recovery, row->id);
	restored->room->log.first = restored->room->log.next = row->next;
	/* only the journal knows of it, which goes with the next checkpoint */
	restored->is_changed = true;
	return 0;
}

static int replay_room(
	struct recovery *recovery, const struct journal_entry *entry, const char *payload)
{
	struct store_room room;
	struct catalog_room row = { .id = entry->room, .next = MAX(entry->seq, (uint64_t)1) };

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
	return replay_new_room(recovery, &row);
}

/* The entry that made a room is lost, and its records are there: the first one says what room it
 * is. Nobody says whose it was, so it is the broker's user's; and nobody says who the two of a
 * conversation were. */
static int replay_unknown_room(
	struct recovery *recovery, const struct journal_entry *entry, const char *payload)
{
	struct catalog_room row = { .id = entry->room, .next = MAX(entry->seq, (uint64_t)1) };
	const char *at = payload;
	struct frame frame;
	struct text line;

	if (recovery->format < CATALOG_FORMAT_DROPPED ||
		recovery_find_dropped(recovery, entry->room))
		return 0;
	if (record_next(&at, payload + entry->len, &line) || frame_parse(&frame, line) ||
		frame.n_words < 6 || !text_is_room(frame.word[1]) ||
		rooms_find(recovery->rooms, frame.word[1])) {
		trace(TRACE_ERROR, "damaged journal: bytes=%lu of a room that is not known",
			(unsigned long)entry->len);
		recovery->n_damaged++;
		return 0;
	}
	row.key = frame.word[1];
	row.target_len = row.key.len;
	row.owner = recovery->rooms->users->self;
	return replay_new_room(recovery, &row);
}

/* ---- records ---- */

/* Numbers before SEQ are lost: readers are told of each. */
static int replay_lost(struct recovery *recovery, struct restored *restored, uint64_t seq)
{
	struct room *room = restored->room;
	char frame[TOMBSTONE_FRAME_MAX];
	uint64_t n = seq - room->log.next;
	int r = 0;

	if ((recovery->n_damaged == 0 &&
		    recovery->store->catalog.state != CATALOG_JOURNAL_REBUILT) ||
		n > LOST_MAX) {
		trace(TRACE_ERROR,
			"the journal goes on with number %lu of room %.*s, and %lu is due",
			(unsigned long)seq, (int)room->target_len, room->key,
			(unsigned long)room->log.next);
		return STORE_E_STATE;
	}
	trace(TRACE_ERROR, "lost room=%.*s first=%lu next=%lu records=%lu: readers are told",
		(int)room->target_len, room->key, (unsigned long)room->log.next, (unsigned long)seq,
		(unsigned long)n);
	while (room->log.next < seq && r == 0)
		r = room_put_back(recovery->rooms, room,
			(struct text){ frame,
				tombstone_compose(frame, room_target(room), room->log.next) });
	recovery->n_lost += n;
	return r;
}

/* LEN bytes of records from number SEQ on. */
static int replay_some(struct recovery *recovery, struct restored *restored, uint64_t seq,
	const char *payload, size_t len)
{
	const char *at = payload, *end = payload + len;
	struct text frame;
	int r = 0, step;

	if (len > 0 && seq > restored->room->log.next)
		r = replay_lost(recovery, restored, seq);
	while (r == 0 && (step = record_next(&at, end, &frame)) == 0) {
		if (seq++ < restored->room->log.next)
			continue;
		r = room_put_back(recovery->rooms, restored->room, frame);
		if (r == 0 && !frame_is_tombstone(frame))
			recovery->n_records++;
	}
	return r ? r : step == RECORD_E_END ? 0 : STORE_E_STATE;
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
	return recovery_take_value(recovery, restored->room, &row);
}

/* When it was used is stored with the next checkpoint; and so is whose it is. */
static int replay_name(
	struct recovery *recovery, const struct journal_entry *entry, const char *payload)
{
	recovery->store->names_changed = true;
	if (recovery->store->changed_at == 0)
		recovery->store->changed_at = 1;
	return users_restore_name(
		recovery->rooms->users, (struct text){ payload, entry->len }, entry->uid, 0);
}

/* ---- entries ---- */

static int replay_of_room(struct recovery *recovery, struct restored *restored,
	const struct journal_entry *entry, const char *payload)
{
	restored->is_changed = true;
	switch (entry->kind) {
	case JOURNAL_RECORDS:
		return replay_some(recovery, restored, entry->seq, payload, entry->len);
	case JOURNAL_VALUE:
		return replay_value(recovery, restored, entry, payload);
	case JOURNAL_MARK:
		return recovery_take_mark(recovery, restored->room, entry->uid, entry->seq);
	default: /* JOURNAL_GONE */
		return recovery_forget(recovery, restored);
	}
}

static int replay_entry(void *userdata, const struct journal_entry *entry, const char *payload)
{
	struct recovery *recovery = userdata;
	struct restored *restored;
	int r = 0;

	if (entry->kind == JOURNAL_ROOM)
		return replay_room(recovery, entry, payload);
	if (entry->kind == JOURNAL_NAME)
		return replay_name(recovery, entry, payload);
	restored = recovery_find(recovery, entry->room);
	if (!restored && entry->kind == JOURNAL_GONE)
		return recovery_note_dropped(recovery, entry->room, false);
	if (!restored && entry->kind == JOURNAL_RECORDS) {
		r = replay_unknown_room(recovery, entry, payload);
		restored = recovery_find(recovery, entry->room);
	}
	/* without a room it went later, and the catalog knows that */
	return r || !restored ? r : replay_of_room(recovery, restored, entry, payload);
}

/* The records of an entry that are good: its UID says how many it had. */
static int replay_damaged_records(struct recovery *recovery, struct restored *restored,
	const struct journal_entry *entry, char *payload)
{
	struct text target = room_target(restored->room);
	size_t len = entry->len;
	uint64_t next = entry->seq + entry->uid, n;

	n = records_salvage(payload, len, target, entry->seq, next);
	if (n == UINT64_MAX) { /* those before the bad place, which the next entry may tell of */
		len = records_good_len(payload, len, target, entry->seq, &next);
		n = 0;
	}
	if (len == 0 || n >= next - entry->seq || entry->seq > restored->room->log.next)
		return 0;
	restored->is_changed = true;
	recovery->n_lost += n;
	trace(TRACE_ERROR, "salvaged room=%.*s first=%lu next=%lu lost=%lu", (int)target.len,
		target.data, (unsigned long)entry->seq, (unsigned long)next, (unsigned long)n);
	return replay_some(recovery, restored, entry->seq, payload, len);
}

static int replay_damaged_entry(
	void *userdata, const struct journal_entry *entry, const char *payload)
{
	struct recovery *recovery = userdata;
	struct restored *restored = recovery_find(recovery, entry->room);
	char *copy;
	int r;

	if (!restored || entry->kind != JOURNAL_RECORDS)
		return 0;
	copy = malloc(entry->len + 1);
	if (!copy)
		return -ENOMEM;
	memcpy(copy, payload, entry->len);
	r = replay_damaged_records(recovery, restored, entry, copy);
	free(copy);
	return r;
}

static int replay_damage(void *userdata, const struct journal_damage *damage)
{
	struct recovery *recovery = userdata;
	char name[JOURNAL_NAME_MAX];

	journal_name(damage->generation, name);
	trace(TRACE_ERROR,
		"damaged %s: bytes=%lu at=%lu are damaged; the entries after them are kept", name,
		(unsigned long)damage->len, (unsigned long)damage->at);
	recovery->n_damaged++;
	recovery->is_log_lost = true;
	if (!recovery->store->is_inspected && recovery->damaged_generation != damage->generation &&
		archive_keep_damaged(recovery->dir, name, true) == 0)
		trace(TRACE_INFO, "kept %s in " ARCHIVE_DAMAGED, name);
	recovery->damaged_generation = damage->generation;
	return 0;
}

static const struct journal_reader journal_reader = {
	.entry = replay_entry,
	.damaged_entry = replay_damaged_entry,
	.damage = replay_damage,
};

static enum journal_expect journal_expected(const struct catalog_journal *journal)
{
	return journal->state == CATALOG_JOURNAL_OPEN      ? JOURNAL_SOME
	       : journal->state == CATALOG_JOURNAL_REBUILT ? JOURNAL_WHATEVER
							   : JOURNAL_ANY;
}

int recovery_replay(struct recovery *recovery)
{
	char why[JOURNAL_WHY_MAX] = "an entry of the journal does not fit what it is about";
	struct store *store = recovery->store;
	const struct catalog_journal *journal = &store->catalog;
	struct journal_replayed replayed;
	int r;

	r = journal_read(recovery->dir, journal->generation, journal_expected(journal),
		&journal_reader, recovery, &replayed, why);
	if (r > 0) {
		trace(TRACE_ERROR, "cannot use the state in %s: %s%s%s", store->path, why,
			r == JOURNAL_E_FORMAT ? "" : RECOVERY_REMEDY,
			r == JOURNAL_E_FORMAT ? "" : store->path);
		return STORE_E_STATE;
	}
	if (r < 0)
		return r;
	if (replayed.generation == 0)
		replayed.generation = journal->generation - 1;
	journal_init(&store->journal, -1, replayed.generation, replayed.len);
	if (replayed.torn_len > 0)
		trace(TRACE_INFO,
			"the last write was not finished bytes=%lu: nobody was told of it",
			(unsigned long)replayed.torn_len);
	if (replayed.n_entries > 0 && !store->is_inspected)
		trace(TRACE_INFO, "replayed entries=%lu bytes=%lu records=%lu",
			(unsigned long)replayed.n_entries, (unsigned long)replayed.n_bytes,
			(unsigned long)recovery->n_records);
	return 0;
}
