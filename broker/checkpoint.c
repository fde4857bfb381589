/* checkpoint.c - see checkpoint.h.
 *
 * The order is all there is to it: segments, sync, catalog in one transaction; only then what
 * is not needed any more is removed. Whenever it is cut off, the old catalog and the old
 * journal are there, and what the files have beyond it is not looked at.
 */
#include "broker/checkpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "broker/archive.h"
#include "broker/array.h"
#include "broker/catalog.h"
#include "broker/mark.h"
#include "broker/publisher.h"
#include "broker/retain.h"
#include "broker/room.h"
#include "broker/trace.h"
#include "broker/value.h"

enum step_kind {
	STEP_ROOM,
	STEP_SEGMENT,
	STEP_DROP_SEGMENTS,
	STEP_PUBLISHER,
	STEP_DROP_PUBLISHERS,
	STEP_MARK,
	STEP_DROP_VALUES,
	STEP_VALUE,
	STEP_DROP_ROOM,
	STEP_DROP_NAMES,
	STEP_NAME,
};

struct step {
	enum step_kind kind;
	struct stored *stored; /* a reference; NULL: it is of no room */
	union {
		struct catalog_room room; /* its key is owned */
		struct {
			struct segment_image image; /* pinned */
			uint32_t from;
			struct archive_people people;
		} segment;
		struct {
			uint32_t from, before;
		} drop;
		struct catalog_publisher publisher;
		struct {
			uid_t uid;
			uint64_t seq;
		} mark;
		struct value *value; /* a reference */
		struct {
			char name[NAME_LEN_MAX + 1];
			uid_t uid;
			uint64_t used_at;
		} name;
	};
};

struct checkpoint {
	struct job job;
	const char *path;                                   /* of the directory */
	struct catalog_journal before, tried, found, after; /* as the catalog has it */
	bool clears_dropped;
	struct age age; /* when it was made */
	struct step *steps;
	size_t n, size;
	int result; /* 0 or -errno */
	char why[CATALOG_WHY_MAX];
};

struct job *checkpoint_job(struct checkpoint *checkpoint)
{
	return &checkpoint->job;
}

struct checkpoint *checkpoint_of(struct job *job)
{
	return container_of(job, struct checkpoint, job);
}

/* ---- on the thread ---- */

static int write_segments(const struct checkpoint *checkpoint, int dir)
{
	bool has_written = false;
	int r = 0;

	for (size_t i = 0; i < checkpoint->n && r == 0; i++) {
		const struct step *step = &checkpoint->steps[i];

		if (step->kind != STEP_SEGMENT)
			continue;
		r = archive_write(dir, step->stored->id, &step->segment.people,
			&step->segment.image, step->segment.from);
		has_written = true;
	}
	/* thousands of small files at once, and their directory */
	if (r == 0 && (has_written || checkpoint->clears_dropped) && syncfs(dir) < 0)
		r = -errno;
	return r;
}

static int write_value(struct catalog *catalog, uint64_t room, const struct value *value)
{
	return catalog_put_value(catalog, room,
		&(struct catalog_value){ .key = value_key(value),
			.author = value_author(value),
			.text = value_text(value),
			.uid = value->uid,
			.version = value->version });
}

static int write_step(struct catalog *catalog, const struct step *step)
{
	uint64_t id = step->stored ? step->stored->id : 0;

	switch (step->kind) {
	case STEP_DROP_NAMES:
		return catalog_drop_names(catalog);
	case STEP_NAME:
		return catalog_put_name(
			catalog, text_of(step->name.name), step->name.uid, step->name.used_at);
	case STEP_ROOM:
		return catalog_put_room(catalog, &step->room);
	case STEP_SEGMENT:
		return catalog_put_segment(catalog, id, &step->segment.image);
	case STEP_DROP_SEGMENTS:
		return catalog_drop_segments(catalog, id, step->drop.before);
	case STEP_PUBLISHER:
		return catalog_put_publisher(catalog, id, &step->publisher);
	case STEP_DROP_PUBLISHERS:
		return catalog_drop_publishers(catalog, id, step->publisher.seq);
	case STEP_MARK:
		return catalog_put_mark(catalog, id, step->mark.uid, step->mark.seq);
	case STEP_DROP_VALUES:
		return catalog_drop_values(catalog, id);
	case STEP_VALUE:
		return write_value(catalog, id, step->value);
	default: /* STEP_DROP_ROOM */
		return catalog_drop_room(catalog, id);
	}
}

/* Is the catalog the one that the broker read or wrote last? Somebody may have replaced the
 * catalog, and data that the other catalog lacks would be lost. Returns 0 or an outcome. */
static int check_catalog(struct checkpoint *checkpoint, struct catalog *catalog)
{
	struct catalog_journal journal;
	int r = catalog_read_journal(catalog, &journal, checkpoint->why);

	checkpoint->found = r == 0 ? journal : checkpoint->before;
	if (r == 0 && journal.generation != checkpoint->before.generation &&
		journal.generation != checkpoint->tried.generation) {
		snprintf(checkpoint->why, sizeof checkpoint->why,
			CATALOG_NAME " was replaced while the broker ran; put the right one back");
		r = CATALOG_E_DAMAGED;
	}
	return r;
}

static int write_catalog(struct checkpoint *checkpoint)
{
	struct catalog catalog;
	int r;

	r = catalog_open(&catalog, checkpoint->path, CATALOG_WRITE, checkpoint->why);
	if (r)
		return r == CATALOG_E_FULL ? -ENOSPC : -EIO;
	r = check_catalog(checkpoint, &catalog);
	if (r) {
		catalog_close(&catalog);
		return -EIO;
	}
	r = catalog_begin(&catalog);
	if (r == 0 && checkpoint->clears_dropped)
		r = catalog_clear_dropped(&catalog);
	for (size_t i = 0; i < checkpoint->n && r == 0; i++)
		r = write_step(&catalog, &checkpoint->steps[i]);
	if (r == 0)
		r = catalog_set_journal(&catalog, &checkpoint->after);
	if (r == 0)
		r = catalog_set_clock(&catalog, checkpoint->age.now, checkpoint->age.wall);
	if (r == 0)
		r = catalog_commit(&catalog);
	if (r)
		snprintf(checkpoint->why, sizeof checkpoint->why, CATALOG_NAME ": %s",
			catalog_error(&catalog));
	catalog_close(&catalog); /* which takes back what was not committed */
	return r == 0 ? 0 : r == CATALOG_E_FULL ? -ENOSPC : -EIO;
}

/* What the catalog does not name any more. */
static void remove_files(const struct checkpoint *checkpoint, int dir)
{
	for (size_t i = 0; i < checkpoint->n; i++) {
		const struct step *step = &checkpoint->steps[i];

		if (step->kind == STEP_DROP_SEGMENTS || step->kind == STEP_DROP_ROOM)
			archive_remove(
				dir, step->stored->id, step->drop.from, step->drop.before - 1);
	}
	journal_remove_before(dir, checkpoint->after.generation);
}

static void checkpoint_work(struct job *job)
{
	struct checkpoint *checkpoint = checkpoint_of(job);
	int dir = open(checkpoint->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), r;

	r = dir < 0 ? -errno : write_segments(checkpoint, dir);
	if (r < 0)
		snprintf(checkpoint->why, sizeof checkpoint->why, "%s", strerror(-r));
	if (r == 0)
		r = write_catalog(checkpoint);
	if (r == 0)
		remove_files(checkpoint, dir);
	if (dir >= 0)
		close(dir);
	checkpoint->result = r;
}

/* ---- in the loop ---- */

static struct step *step_add(
	struct checkpoint *checkpoint, enum step_kind kind, struct stored *stored)
{
	struct step *step, *steps = array_more(checkpoint->steps, checkpoint->n, &checkpoint->size,
				   sizeof *steps);

	if (!steps)
		return NULL;
	checkpoint->steps = steps;
	step = &steps[checkpoint->n++];
	*step = (struct step){ .kind = kind, .stored = stored ? stored_ref(stored) : NULL };
	return step;
}

static bool add_room(struct checkpoint *checkpoint, struct stored *stored)
{
	const struct room *room = stored->room;
	struct text key = table_key(&room->link);
	struct step *step = step_add(checkpoint, STEP_ROOM, stored);
	char *copy = step ? malloc(key.len) : NULL;
	bool is_stored = room_is_stored(room);

	if (!copy)
		return false;
	memcpy(copy, key.data, key.len);
	step->room = (struct catalog_room){
		.id = stored->id,
		.key = { copy, key.len },
		.target_len = room->target_len,
		.owner = room->owner->uid,
		.party = { room->party[0], room->party[1] },
		.next = is_stored ? log_end(&room->log) : 1,
		.last_time = is_stored ? room->log.last_time : 0,
		.number = is_stored ? room->log.segment_number : 0,
	};
	return true;
}

static bool add_segments(struct checkpoint *checkpoint, struct stored *stored)
{
	const struct room *room = stored->room;
	const struct log *log = &room->log;
	const struct cold *cold = &stored->cold;
	uint32_t oldest = cold->n > 0 ? cold->segments[0].number : log->oldest_number;
	struct segment_image image;
	struct step *step;

	if (stored->oldest_file < oldest) {
		step = step_add(checkpoint, STEP_DROP_SEGMENTS, stored);
		if (!step)
			return false;
		step->drop.from = stored->oldest_file;
		step->drop.before = oldest;
	}
	for (uint32_t number = stored->file_number; log_image(log, number, &image);
		number = image.number + 1) {
		uint32_t from = image.number == stored->file_number ? stored->file_used : 0;

		if (from == image.used)
			continue;
		step = step_add(checkpoint, STEP_SEGMENT, stored);
		if (!step)
			return false;
		step->segment.image = image;
		step->segment.from = from;
		step->segment.people = (struct archive_people){ room->owner->uid,
			{ room->party[0], room->party[1] } };
		segment_pin(image.segment);
	}
	return true;
}

static bool add_publishers(struct checkpoint *checkpoint, struct stored *stored)
{
	struct list *publishers = &stored->room->publishers;
	uint64_t end = log_end(&stored->room->log), oldest = end;
	struct step *step;

	/* the least recent is the first: those that are not remembered here any more are not there
	 */
	list_for_each (link, publishers) {
		struct publisher *publisher = container_of(link, struct publisher, recent_link);
		uint64_t id = publisher->id, seq = publisher->seq;

		if (seq >= end) { /* this one is not stored yet */
			id = publisher->kept_id;
			seq = publisher->kept_seq;
		}
		oldest = MIN(oldest, seq > 0 ? seq : end);
		if (id == 0 || seq < stored->next_in_file)
			continue;
		step = step_add(checkpoint, STEP_PUBLISHER, stored);
		if (!step)
			return false;
		step->publisher = (struct catalog_publisher){ publisher->key.label,
			(uid_t)publisher->key.uid, id, seq };
	}
	step = step_add(checkpoint, STEP_DROP_PUBLISHERS, stored);
	if (!step)
		return false;
	step->publisher.seq = oldest;
	return true;
}

static bool add_marks(struct checkpoint *checkpoint, struct stored *stored)
{
	list_for_each (link, &stored->room->marks) {
		struct mark *mark = container_of(link, struct mark, room_link);
		struct step *step;

		if (mark->is_stored)
			continue;
		step = step_add(checkpoint, STEP_MARK, stored);
		if (!step)
			return false;
		step->mark.uid = mark->user->uid;
		step->mark.seq = MIN(mark->seq, log_end(&stored->room->log) - 1);
		mark->is_stored = true;
	}
	return true;
}

static bool add_values(struct checkpoint *checkpoint, struct stored *stored)
{
	struct room *room = stored->room;

	if (!room->values_changed)
		return true;
	if (!step_add(checkpoint, STEP_DROP_VALUES, stored))
		return false;
	list_for_each (link, &room->values) {
		struct step *step = step_add(checkpoint, STEP_VALUE, stored);

		if (!step)
			return false;
		step->value = value_ref(container_of(link, struct value, link));
	}
	room->values_changed = false;
	return true;
}

/* All of a room that is not in files. */
static bool add_all(struct checkpoint *checkpoint, struct stored *stored)
{
	if (!add_room(checkpoint, stored) || !add_values(checkpoint, stored))
		return false;
	return !room_is_stored(stored->room) ||
	       (add_segments(checkpoint, stored) && add_publishers(checkpoint, stored) &&
		       add_marks(checkpoint, stored));
}

static bool add_gone(struct checkpoint *checkpoint, struct stored *stored)
{
	struct step *step = step_add(checkpoint, STEP_DROP_ROOM, stored);

	if (!step)
		return false;
	step->drop.from = stored->oldest_file;
	step->drop.before = stored->file_number + 1;
	return true;
}

static bool add_name(
	struct checkpoint *checkpoint, const struct users *users, const struct nick *nick)
{
	struct step *step = step_add(checkpoint, STEP_NAME, NULL);

	if (!step)
		return false;
	strcpy(step->name.name, nick->name);
	step->name.uid = nick->owner->uid;
	step->name.used_at = (users->age.now - (users->now - nick->used_at)) / 1000000000;
	return true;
}

/* All that are somebody's, if any is not what it was. */
static bool add_names(struct checkpoint *checkpoint, struct store *store)
{
	const struct users *users = store->rooms->users;
	const struct table *names = &users->by_name;

	if (!store->names_changed)
		return true;
	if (!step_add(checkpoint, STEP_DROP_NAMES, NULL))
		return false;
	for (size_t i = 0; i < names->n_slots; i++)
		for (struct table_link *link = table_at(names, i); link; link = link->next) {
			const struct nick *nick = container_of(link, struct nick, link);

			if (nick->owner && !add_name(checkpoint, users, nick))
				return false;
		}
	store->names_changed = false;
	return true;
}

/* Those that it does not bring to the disk are still to be done. */
static void checkpoint_return(struct store *store, struct checkpoint *checkpoint)
{
	for (size_t i = 0; i < checkpoint->n; i++) {
		struct stored *stored = checkpoint->steps[i].stored;

		store->names_changed |= checkpoint->steps[i].kind == STEP_DROP_NAMES;
		if (!stored)
			continue;
		if (!list_is_linked(&stored->changed_link)) {
			stored_ref(stored);
			list_append(stored->room ? &store->changed : &store->gone,
				&stored->changed_link);
		}
		if (!stored->room)
			continue;
		stored->room->values_changed |= checkpoint->steps[i].kind == STEP_DROP_VALUES;
		list_for_each (link, &stored->room->marks)
			container_of(link, struct mark, room_link)->is_stored = false;
	}
}

static void checkpoint_free(struct checkpoint *checkpoint)
{
	for (size_t i = 0; i < checkpoint->n; i++) {
		struct step *step = &checkpoint->steps[i];

		if (step->kind == STEP_SEGMENT)
			segment_unpin(step->segment.image.segment);
		if (step->kind == STEP_ROOM)
			free((char *)step->room.key.data);
		if (step->kind == STEP_VALUE && step->value)
			value_put(step->value);
		if (step->stored)
			stored_put(step->stored);
	}
	free(checkpoint->steps);
	free(checkpoint);
}

struct checkpoint *checkpoint_new(struct store *store, const struct catalog_journal *journal)
{
	struct checkpoint *checkpoint = calloc(1, sizeof *checkpoint);
	bool is_whole = true;

	if (!checkpoint)
		return NULL;
	checkpoint->job.work = checkpoint_work;
	checkpoint->path = store->path;
	checkpoint->before = store->catalog;
	checkpoint->found = store->catalog;
	checkpoint->tried = store->tried;
	store->tried = *journal;
	checkpoint->after = *journal;
	checkpoint->clears_dropped = store->has_dropped;
	checkpoint->age = store->rooms->users->age;
	list_for_each (link, &store->gone) {
		struct stored *stored = container_of(link, struct stored, changed_link);

		is_whole = is_whole && add_gone(checkpoint, stored);
		if (!is_whole)
			break;
		list_unlink(link);
		stored_put(stored);
	}
	list_for_each (link, &store->changed) {
		struct stored *stored = container_of(link, struct stored, changed_link);

		is_whole = is_whole && add_all(checkpoint, stored);
		if (!is_whole)
			break;
		list_unlink(link);
		stored_put(stored);
	}
	if (is_whole && add_names(checkpoint, store))
		return checkpoint;
	checkpoint_return(store, checkpoint);
	checkpoint_free(checkpoint);
	return NULL;
}

/* So much of this room is in files now, and may go from memory. */
static void step_note(struct rooms *rooms, const struct step *step)
{
	struct stored *stored = step->stored;

	switch (step->kind) {
	case STEP_ROOM:
		stored->next_in_file = step->room.next;
		if (stored->room)
			rooms_check(rooms, stored->room);
		break;
	case STEP_SEGMENT:
		stored->file_number = step->segment.image.number;
		stored->file_used = step->segment.image.used;
		if (stored->room && room_is_stored(stored->room))
			stored->room->log.keep_from = stored->file_number;
		break;
	case STEP_DROP_SEGMENTS:
		stored->oldest_file = step->drop.before;
		break;
	default:
		break;
	}
}

int checkpoint_finish(struct store *store, struct checkpoint *checkpoint)
{
	int r = checkpoint->result;

	for (size_t i = 0; r == 0 && i < checkpoint->n; i++)
		step_note(store->rooms, &checkpoint->steps[i]);
	/* one that failed may have been committed all the same */
	if (checkpoint->found.generation == checkpoint->tried.generation)
		store->catalog = checkpoint->found;
	if (r == 0) {
		store->catalog = checkpoint->after;
		store->has_dropped = store->has_dropped && !checkpoint->clears_dropped;
	}
	if (r < 0) {
		checkpoint_return(store, checkpoint);
		trace(TRACE_WARNING, "checkpoint failed reason=\"%s\"", checkpoint->why);
	}
	checkpoint_free(checkpoint);
	return r;
}
