/* store.c - see store.h.
 *
 * There is one batch in the air at a time: while the disk syncs it, the next one collects,
 * of all rooms and whoever spoke in them, so the more there is to do, the more one sync does.
 */
#include "broker/store.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "broker/batch.h"
#include "broker/broker.h"
#include "broker/checkpoint.h"
#include "broker/feed.h"
#include "broker/hold.h"
#include "broker/mark.h"
#include "broker/publisher.h"
#include "broker/recover.h"
#include "broker/removal.h"
#include "broker/retain.h"
#include "broker/room.h"
#include "broker/session.h"
#include "broker/trace.h"
#include "broker/value.h"
#include "protocol/record.h"

/* ---- who has to wait ---- */

/* Memory has more of what is in no file than it should. */
static bool store_is_over(const struct store *store)
{
	return store->rooms->log_bytes > store->rooms->settings->limit[LIMIT_LOG_BYTES] +
						 STORE_CHOKE_FACTOR * store->journal.max_bytes;
}

bool store_must_wait(struct store *store, const struct room *room)
{
	const struct stored *stored = room->stored;

	if (!stored || room->is_ephemeral)
		return stored && stored->is_changing;
	return stored->is_changing ||
	       stored->held >= MIN((uint64_t)STORE_ROOM_HELD_MAX,
				       store->rooms->settings->limit[LIMIT_ROOM_BYTES] / 8) ||
	       room->owner->account->held_bytes >= STORE_ACCOUNT_HELD_MAX ||
	       /* a checkpoint is slow, and makes room */
	       ((store->checkpoint || store->wants_new) && store_is_over(store));
}

int store_is_choked(const struct store *store)
{
	return store_is_over(store) ? store->checkpoint_error : 0;
}

void store_wait(struct store *store, struct session *session)
{
	session->is_waiting = session->is_storing = true;
	list_append(&store->waiters, &session->wait_link);
}

static void store_wake(struct store *store)
{
	struct list waiters, *link;

	list_init(&waiters);
	list_take(&waiters, &store->waiters);
	while ((link = list_first(&waiters))) {
		list_unlink(link);
		store->rooms->users->wake(link);
	}
}

/* ---- batches ---- */

/* What is not stored of ROOM is taken back. */
static void room_take_back(struct store *store, struct room *room, int error)
{
	struct stored *stored = room->stored;
	uint64_t end = log_end(&room->log);

	rooms_truncate(store->rooms, room);
	stored->at = room->log.end;
	stored_charge(stored, -stored->held);
	stored_settle(stored, stored->held);
	list_for_each (link, &room->publishers) {
		struct publisher *publisher = container_of(link, struct publisher, recent_link);

		if (publisher->seq < end)
			continue;
		publisher->id = publisher->kept_id;
		publisher->seq = publisher->kept_seq;
		if (publisher->id == 0)
			publisher_free(store->rooms, publisher);
	}
	list_for_each (link, &room->marks) {
		struct mark *mark = container_of(link, struct mark, room_link);

		mark->seq = MIN(mark->seq, end - 1);
	}
	list_unlink(&stored->dirty_link);
	list_for_each (link, &room->feeds)
		feed_take_back(container_of(link, struct feed, room_link), error);
}

/* Values that are on their way will not be. */
static void store_drop_coming(struct store *store)
{
	list_for_each (link, &store->coming)
		value_drop(store->rooms, container_of(link, struct value, store_link));
}

/* What was to be told of marks, names and rooms that went holds still, and is tried again; or it is
 * in the next checkpoint, if that is too much. What is new of rooms is told anew. */
static void store_return_notes(struct store *store, struct batch *batch)
{
	const unsigned kinds = 1u << JOURNAL_MARK | 1u << JOURNAL_NAME | 1u << JOURNAL_GONE;

	notes_keep(&store->notes, kinds);
	if (!batch)
		return;
	notes_keep(&batch->notes, kinds);
	if (batch->notes.len + store->notes.len > NOTES_MAX ||
		notes_join(&batch->notes, &store->notes) < 0)
		return;
	store->notes = batch->notes;
	batch->notes = (struct notes){ NULL, 0, 0 };
}

/* Batches or checkpoints begin to fail. */
static void store_note_failure(struct store *store)
{
	struct timespec now;

	if (store_error(store))
		return;
	clock_gettime(CLOCK_REALTIME, &now);
	store->failed_at = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* Nothing that waits can be stored; BATCH was tried, unless NULL. */
static void store_fail(struct store *store, struct batch *batch, int error)
{
	store_note_failure(store);
	if (store->error != error)
		trace(TRACE_ERROR, "storage failed reason=\"%s\"", strerror(-error));
	store->error = error;
	store->retry_at = store->rooms->users->now + STORE_RETRY_NS;
	store->n_failed++;
	list_for_each (link, &store->rooms->all) {
		struct room *room = container_of(link, struct room, rooms_link);

		if (room->stored && room->stored->held > 0)
			room_take_back(store, room, error);
	}
	store->done = store->building - 1;
	store_keep_deleted(store, batch ? &batch->notes : NULL);
	store_return_notes(store, batch);
	list_for_each (link, &store->unknown)
		container_of(link, struct stored, unknown_link)->batch = 0;
	store_drop_coming(store);
	holds_fail(store, error);
	/* some were made for what was not said */
	list_for_each (link, &store->rooms->all)
		rooms_release(store->rooms, container_of(link, struct room, rooms_link));
	store_wake(store);
}

/* What was told beside records is known. */
static void batch_settle_notes(struct store *store, const struct batch *batch)
{
	list_for_each (link, &store->unknown) {
		struct stored *stored = container_of(link, struct stored, unknown_link);

		if (stored->batch == 0 || stored->batch > batch->number)
			break;
		list_unlink(link);
	}
	list_for_each (link, &store->coming) {
		struct value *value = container_of(link, struct value, store_link);
		struct room *room = value->room;

		if (value->batch > batch->number)
			break;
		value_land(store->rooms, value);
		rooms_release(store->rooms, room);
	}
	store_settle_deleted(store, batch->number);
}

static void batch_land(struct store *store, struct batch *batch)
{
	for (size_t i = 0; i < batch->n_slices; i++) {
		struct slice *slice = &batch->slices[i];
		struct room *room = slice->stored->room;

		store->n_bytes += slice->len;
		if (!room)
			continue;
		log_release(&room->log, &slice->end);
		stored_settle(slice->stored, slice->len);
		store_changed(store, room);
		if (!list_is_linked(&room->dirty_link))
			list_append(&store->rooms->dirty, &room->dirty_link);
		room_store_feeds(room);
	}
	if (store->error)
		trace(TRACE_INFO, "storage works again");
	store->error = 0;
	store->n_batches++;
	store->done = batch->number;
	store->journal_len = batch->journal_len;
	store->generation = batch->generation;
	batch_settle_notes(store, batch);
	holds_settle(store);
}

/* Is there something to tell the disk beside records? */
static bool store_has_notes(const struct store *store)
{
	return store->notes.len > 0 ||
	       (!list_is_empty(&store->unknown) &&
		       container_of(store->unknown.prev, struct stored, unknown_link)->batch == 0);
}

void store_probe(struct store *store)
{
	store->wants_probe = true;
}

bool store_rests(const struct store *store)
{
	return store->error && store->rooms->users->now < store->retry_at;
}

void store_flush(struct store *store)
{
	struct batch *batch;

	if (!store_is_open(store) || store->flying ||
		(list_is_empty(&store->dirty) && !store->wants_new && !store->wants_probe &&
			(!store_has_notes(store) || store_rests(store))))
		return;
	batch = batch_new(store);
	store->wants_probe = false;
	store->building++;
	if (!batch) {
		store_fail(store, NULL, -ENOMEM);
		return;
	}
	store->flying = batch;
	worker_add(&store->writer, &batch->job, false);
}

/* ---- checkpoints ---- */

/* The file that the last batch went to has nothing of before it that is not in the others:
 * they can go when what is there now is where it belongs. */
static void store_checkpoint(
	struct store *store, uint64_t generation, enum catalog_journal_state state)
{
	struct checkpoint *checkpoint = checkpoint_new(
		store, &(struct catalog_journal){ generation, state, store->incarnation });

	if (!checkpoint) {
		store->retry_at = store->rooms->users->now + STORE_RETRY_NS;
		return;
	}
	store->changed_at = 0;
	store->clock_at = store->rooms->users->now;
	store->is_urgent = false;
	store->checkpoint = checkpoint;
	worker_add(&store->keeper, checkpoint_job(checkpoint), false);
}

uint64_t store_patience(struct store *store, uint64_t now)
{
	uint64_t due = store->changed_at + STORE_CHECKPOINT_NS, wait;

	if (!store_is_open(store))
		return UINT64_MAX;
	wait = cache_expire(&store->cache, now);
	if (store->error && store_has_notes(store) && !store->flying)
		return MIN(wait, store->retry_at - MIN(now, store->retry_at));
	if (store->checkpoint || store->wants_new)
		return wait;
	if (store->changed_at == 0)
		due = store->clock_at + STORE_CLOCK_NS;
	else if (store->journal_len >= store->journal.max_bytes || store->checkpoint_error)
		due = now;
	else if (store->is_urgent)
		due = MIN(due, store->urgent_at);
	due = MAX(due, store->retry_at);
	if (now < due)
		return MIN(wait, due - now);
	store->wants_new = true; /* it begins when that has landed */
	store_flush(store);
	return wait;
}

/* ---- what comes back ---- */

static void writer_dispatch(struct store *store)
{
	struct job *job;

	while ((job = worker_take(&store->writer))) {
		struct batch *batch = batch_of(job);
		bool is_new = batch->is_new;
		int r = batch->result;

		store->flying = NULL;
		if (r == 0)
			batch_land(store, batch);
		if (is_new) /* if it was not, the next one is */
			store->wants_new = false;
		if (r < 0)
			store_fail(store, batch, r);
		batch_free(batch);
		if (r == 0 && is_new && !store->checkpoint)
			store_checkpoint(store, store->generation, CATALOG_JOURNAL_OPEN);
		store_wake(store);
	}
}

static void keeper_dispatch(struct store *store)
{
	struct job *job;

	while ((job = worker_take(&store->keeper))) {
		int before = store->checkpoint_error, r;

		store->checkpoint = NULL;
		r = checkpoint_finish(store, checkpoint_of(job));
		if (r < 0)
			store_note_failure(store);
		store->checkpoint_error = r;
		if (before && !store->checkpoint_error)
			trace(TRACE_INFO, "checkpoints work again");
		if (store->checkpoint_error < 0) {
			store->retry_at = store->rooms->users->now + STORE_RETRY_NS;
			store->changed_at = store->rooms->users->now;
		} else {
			store->n_checkpoints++;
			store->urgent_at = store->rooms->users->now + STORE_URGENT_NS;
		}
		store_wake(store);
	}
}

void store_dispatch(struct store *store)
{
	writer_dispatch(store);
	keeper_dispatch(store);
}

/* ---- life ---- */

static void store_prepare(
	struct store *store, struct rooms *rooms, struct errands *errands, const char *path)
{
	*store = (struct store){ .rooms = rooms, .path = path, .lock = { -1, -1 }, .dir = -1 };
	store->building = 1;
	store->writer.fd = store->keeper.fd = -1;
	cache_init(&store->cache, store, errands);
	list_init(&store->unknown);
	list_init(&store->coming);
	list_init(&store->dirty);
	list_init(&store->changed);
	list_init(&store->gone);
	list_init(&store->deleted);
	list_init(&store->holds);
	list_init(&store->waiters);
	journal_init(&store->journal, -1, 0, 0);
	if (path)
		rooms->store = store;
}

int store_inspect(struct store *store, struct rooms *rooms, const char *path)
{
	store_prepare(store, rooms, NULL, path);
	store->is_inspected = true;
	return recover(store);
}

int store_init(struct store *store, struct rooms *rooms, struct errands *errands, const char *path,
	uint64_t journal_bytes, uint64_t look_ns)
{
	int r;

	store_prepare(store, rooms, errands, path);
	if (!path)
		return 0;
	r = recover(store);
	if (r)
		return r;
	store->journal.max_bytes = journal_bytes;
	store->clock_at = rooms->users->now;
	r = worker_init(&store->writer, "journal", look_ns);
	if (r == 0)
		r = worker_init(&store->keeper, "checkpoint", 0);
	if (r < 0)
		trace(TRACE_ERROR, "can not start a thread: %s", strerror(-r));
	return r;
}

/* Wait until the workers have nothing in hand, or until UNTIL ns: then false. */
static bool store_await(struct store *store, uint64_t until)
{
	uint64_t now;

	while (store->flying || store->checkpoint) {
		struct pollfd fds[] = { { store->writer.fd, POLLIN, 0 },
			{ store->keeper.fd, POLLIN, 0 } };

		now = broker_clock();
		if (now >= until)
			return false;
		(void)poll(fds, ARRAY_LEN(fds), (int)((until - now) / 1000000) + 1);
		store_dispatch(store);
		store_flush(store);
	}
	return true;
}

static void close_work(struct job *job)
{
	struct store *store = container_of(job, struct store, closing);

	journal_close(&store->journal);
}

/* What there is is stored; then, if that is quick, it is brought to where it belongs, so that
 * the next broker has no journal to read. */
static void store_finish(struct store *store)
{
	uint64_t now = broker_clock();

	store_flush(store);
	if (!store_await(store, now + STORE_STOP_NS)) {
		trace(TRACE_ERROR, "stopped before the disk was done: it did not answer in time");
		return;
	}
	if (store->changed_at > 0 && !store->error) {
		store_checkpoint(store, store->generation + 1, CATALOG_JOURNAL_CLOSED);
		(void)store_await(store, broker_clock() + STORE_LAST_NS);
	}
	store->closing.work = close_work;
	worker_add(&store->writer, &store->closing, false);
	(void)poll(&(struct pollfd){ store->writer.fd, POLLIN, 0 }, 1, STORE_LAST_NS / 1000000);
}

static void store_let_go(struct list *line)
{
	list_for_each (link, line) {
		struct stored *stored = container_of(link, struct stored, changed_link);

		list_unlink(link);
		stored_put(stored);
	}
}

void store_deinit(struct store *store)
{
	bool is_stuck;

	if (!store->path)
		return;
	if (store->keeper.is_running)
		store_finish(store);
	store_drop_coming(store);
	list_for_each (link, &store->rooms->all) {
		struct room *room = container_of(link, struct room, rooms_link);
		struct stored *stored = TAKE(room->stored);

		if (!stored)
			continue;
		stored_leave(stored);
		list_unlink(&stored->dirty_link);
		list_unlink(&stored->unknown_link);
		list_unlink(&stored->deleted_link);
		/* the room's own reference, unless the line has one, which is let go below */
		if (!list_is_linked(&stored->changed_link))
			list_append(&store->gone, &stored->changed_link);
		else
			stored->n_refs--;
	}
	cache_deinit(&store->cache);
	store_let_go(&store->changed);
	store_let_go(&store->gone);
	store->rooms->store = NULL;
	notes_clear(&store->notes);
	/* what is stuck in the disk stays until the exit, with what it has in hand */
	is_stuck = worker_deinit(&store->keeper, STORE_LAST_NS) < 0;
	is_stuck |= worker_deinit(&store->writer, STORE_LAST_NS) < 0;
	/* it may write still: nobody else may, before this process has ended */
	if (!is_stuck)
		state_lock_release(&store->lock);
	store->path = NULL;
}
