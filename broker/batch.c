/* batch.c - see batch.h. */
#include "broker/batch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "broker/array.h"
#include "broker/room.h"
#include "broker/store.h"

void batch_free(struct batch *batch)
{
	for (size_t i = 0; i < batch->n_slices; i++) {
		segment_unpin(batch->slices[i].segment);
		stored_put(batch->slices[i].stored);
	}
	free(batch->slices);
	free(batch->parts);
	notes_clear(&batch->notes);
	free(batch);
}

/* On the writer's thread. */
static void batch_work(struct job *job)
{
	struct batch *batch = batch_of(job);
	struct store *store = batch->store;

	if (store->dir < 0)
		store->dir = open(store->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	store->journal.dir = store->dir;
	batch->result = store->dir < 0 ? -errno
				       : journal_write(&store->journal, batch->parts,
						 batch->n_parts, batch->is_new);
	batch->generation = store->journal.generation;
	batch->journal_len = store->journal.len;
}

static struct journal_part *batch_part(struct batch *batch)
{
	struct journal_part *parts =
		array_more(batch->parts, batch->n_parts, &batch->parts_size, sizeof *batch->parts);

	if (!parts)
		return NULL;
	batch->parts = parts;
	return &parts[batch->n_parts++];
}

/* Not counted yet. */
static struct slice *batch_slice(struct batch *batch)
{
	struct slice *slices = array_more(
		batch->slices, batch->n_slices, &batch->slices_size, sizeof *batch->slices);

	if (!slices)
		return NULL;
	batch->slices = slices;
	return &slices[batch->n_slices];
}

/* Rooms that the disk does not know come before what is to be known of them. */
static bool batch_take_notes(struct batch *batch, struct store *store)
{
	list_for_each (link, &store->unknown) {
		struct stored *stored = container_of(link, struct stored, unknown_link);

		if (stored->batch > 0)
			continue;
		if (stored_note(stored, &batch->notes) < 0)
			return false;
		stored->batch = batch->number;
	}
	return notes_join(&batch->notes, &store->notes) == 0;
}

static bool batch_add_notes(struct batch *batch, struct store *store)
{
	struct journal_entry entry;
	const char *payload;
	size_t at = 0;

	if (!batch_take_notes(batch, store))
		return false;
	while (notes_next(&batch->notes, &at, &entry, &payload)) {
		struct journal_part *part = batch_part(batch);

		if (!part)
			return false;
		*part = (struct journal_part){ .entry = entry, .payload = payload };
	}
	return true;
}

/* All that ROOM has got. */
static bool batch_add_room(struct batch *batch, struct stored *stored)
{
	const struct log *log = &stored->room->log;
	struct log_cursor next;
	const char *records;
	size_t len;

	while ((len = log_read_held(log, &stored->at, JOURNAL_ENTRY_MAX, &records, &next)) > 0) {
		struct slice *slice = batch_slice(batch);
		struct journal_part *part = slice ? batch_part(batch) : NULL;

		if (!part)
			return false;
		*part = (struct journal_part){ .payload = records };
		part->entry = (struct journal_entry){ .len = (uint32_t)len,
			.kind = JOURNAL_RECORDS,
			.room = stored->id,
			.uid = (uint32_t)(next.seq - stored->at.seq),
			.seq = stored->at.seq };
		*slice = (struct slice){ stored_ref(stored), segment_pin(stored->at.segment), next,
			len };
		batch->n_slices++;
		stored->at = next;
	}
	return true;
}

struct batch *batch_new(struct store *store)
{
	struct batch *batch = calloc(1, sizeof *batch);

	if (!batch)
		return NULL;
	batch->job.work = batch_work;
	batch->store = store;
	batch->number = store->building;
	batch->is_new = store->wants_new;
	if (!batch_add_notes(batch, store))
		goto fail;
	list_for_each (link, &store->dirty) {
		struct stored *stored = container_of(link, struct stored, dirty_link);

		if (!batch_add_room(batch, stored))
			goto fail;
		list_unlink(link);
	}
	return batch;
fail:
	if (store->notes.len == 0) { /* they were taken over */
		store->notes = batch->notes;
		batch->notes = (struct notes){ NULL, 0, 0 };
	}
	batch_free(batch);
	return NULL;
}
