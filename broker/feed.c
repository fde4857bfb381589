/* feed.c - see feed.h. */
#include "broker/feed.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/broker.h"
#include "broker/fastpath.h"
#include "broker/output.h"
#include "broker/publisher.h"
#include "broker/reader.h"
#include "broker/trace.h"
#include "protocol/number.h"
#include "protocol/shared.h"

/* Records that are copied out at once: what an interruption costs to copy again. */
#define FEED_BATCH 64

/* Laps in a row after which the mark is not believed any more: it is about a block old, so
 * the writer would have to put a whole ring between the two looks, each time. */
#define FEED_LAPS_MAX 64

/* One for all: what is in it is used up before anything else is read. */
static _Alignas(64) char feed_buffer[RING_BUFFER_MIN];

/* Finished rings stay last, for their followers: nobody else walks over them. */
static void room_add_feed(struct room *room, struct feed *feed)
{
	struct list *next = room->feeds.next;

	for (unsigned i = 0; i < room->n_rings; i++)
		next = next->next;
	list_append(next, &feed->room_link);
	room->n_rings++;
}

int feed_new(struct fast *fast, unsigned slot, struct room *room, struct sealed *memory,
	uint64_t nonce, uint64_t pos, uint64_t seq, bool is_again, struct feed **ret_feed)
{
	struct feed *feed = calloc(1, sizeof *feed);

	if (!feed)
		return -ENOMEM;
	if (ring_reader_init(&feed->reader, memory->at, memory->len, pos, seq)) {
		free(feed);
		return RING_E_BAD;
	}
	feed->fast = fast;
	feed->slot = slot;
	feed->room = room;
	feed->nonce = nonce;
	feed->memory = *memory;
	feed->is_archived = true;
	feed->is_paced = fast_is_paced(fast);
	feed->is_again = feed->was_left = is_again;
	feed->end_seq = UINT64_MAX;
	feed->safe = (struct feed_place){ 0, pos, seq };
	list_init(&feed->followers);
	list_init(&feed->end_link);
	fast->n_feeds++;
	feed->number = ++fast->broker->n_rings;
	room_add_feed(room, feed);
	list_append(&fast->broker->feeds, &feed->feeds_link);
	fast->feeds[slot] = feed;
	fast_set_gate(feed, pos, 0);
	*ret_feed = feed;
	return 0;
}

/* ---- the gate ---- */

/* The gate is where all is archived before, and stored, if it is to be. */
static void feed_store(struct feed *feed)
{
	const struct log *log = &feed->room->log;
	struct feed_place here = { log->next, feed->reader.pos, feed->reader.seq };

	if (log_end(log) == log->next) {
		feed->safe = here;
		feed->awaited.log = 0;
	} else if (feed->awaited.log > 0 && log_end(log) >= feed->awaited.log) {
		feed->safe = feed->awaited;
		feed->awaited = here;
	} else if (feed->awaited.log == 0) {
		feed->awaited = here;
	}
	fast_set_gate(feed, feed->safe.pos, feed->error);
}

/* ---- who needs it ---- */

static bool feed_is_needed(const struct feed *feed)
{
	return !feed->room->is_ephemeral || feed->room->n_cursors > feed->n_following;
}

static bool feed_has_relay(const struct feed *feed)
{
	list_for_each (link, &feed->followers) {
		const struct follower *follower = container_of(link, struct follower, feed_link);

		if (follower->state == FOLLOWER_FOLLOWING && !follower->is_direct)
			return true;
	}
	return false;
}

bool feed_is_read(const struct feed *feed)
{
	return !feed->is_finished && (feed->is_archived || feed->is_ending || feed_has_relay(feed));
}

/* Go to the end of what was put, from the mark on, which is about a block old: no further
 * than two, for it may be written as fast as it is read, and the mark may be a lie. */
static void feed_seek_end(struct feed *feed)
{
	struct ring_reader *reader = &feed->reader;
	struct ring_batch batch;
	uint64_t mark;
	int r = ring_reader_seek(reader);

	mark = reader->pos;
	while (r == 0 && reader->pos - mark < 2 * reader->capacity / RING_BLOCKS)
		r = ring_get(reader, feed_buffer, sizeof feed_buffer, UINT32_MAX, &batch);
	if (r == RING_E_LAPPED)
		r = ring_reader_seek(reader);
	if (r == RING_E_BAD)
		feed_break(feed, "its end can not be found");
}

void feed_locate(struct feed *feed)
{
	struct ring_reader peek;
	struct ring_message message;
	struct ring_batch batch;

	if (!feed->is_finished && !feed_is_read(feed))
		feed_seek_end(feed);
	peek = feed->reader;
	if (!feed->is_finished && peek.seq == 0 &&
		ring_get(&peek, feed_buffer, sizeof feed_buffer, 1, &batch) == 0 &&
		ring_batch_next(&batch, &message))
		feed->reader.seq = message.seq;
}

/* From here on it is new: whoever is to follow can. */
static void feed_settle(struct feed *feed)
{
	if (!feed->is_again)
		return;
	feed->is_again = false;
	followers_attach(feed);
}

void feed_update(struct feed *feed)
{
	bool is_needed = feed_is_needed(feed);

	if (feed->is_finished || feed->is_ending || feed->is_archived == is_needed)
		return;
	if (is_needed) {
		/* the gate first: from there on nothing is overwritten */
		if (ring_reader_seek(&feed->reader))
			feed_break(feed, "its mark is not as it should be");
		fast_set_gate(feed, feed->reader.pos, 0);
		shared_fence();
		feed_seek_end(feed);
	}
	feed->is_archived = is_needed;
	if (is_needed) {
		feed_store(feed);
	} else {
		feed_settle(feed);
		fast_set_gate(feed, RING_UNGATED, 0);
	}
	fast_line_up(feed->fast);
}

void room_update_feeds(struct room *room)
{
	list_for_each (link, &room->feeds) {
		struct feed *feed = container_of(link, struct feed, room_link);

		if (feed->is_finished)
			break;
		feed_update(feed);
	}
}

void room_store_feeds(struct room *room)
{
	list_for_each (link, &room->feeds) {
		struct feed *feed = container_of(link, struct feed, room_link);

		if (feed->is_finished)
			break;
		if (!feed_is_unsafe(feed))
			continue;
		feed_store(feed);
		fast_line_up(feed->fast);
	}
}

/* ---- archiving ---- */

/* Have a place for another mark: those of segments that are gone make room. */
static int feed_reserve_mark(struct feed *feed)
{
	uint32_t oldest = feed->room->log.oldest_number;
	struct feed_mark *marks;
	unsigned n_gone = 0;

	if (feed->n_marks < feed->marks_size)
		return 0;
	while (n_gone < feed->n_marks && feed->marks[n_gone].segment < oldest)
		n_gone++;
	if (n_gone > 0) {
		feed->n_marks -= n_gone;
		memmove(feed->marks, feed->marks + n_gone, feed->n_marks * sizeof *marks);
		return 0;
	}
	marks = realloc(feed->marks, (feed->marks_size * 2 + 8) * sizeof *marks);
	if (!marks)
		return -ENOMEM;
	feed->marks = marks;
	feed->marks_size = feed->marks_size * 2 + 8;
	return 0;
}

/* Record SEQ was appended. */
static void feed_mark(struct feed *feed, uint64_t seq)
{
	uint32_t segment = feed->room->log.segment_number;

	if (feed->n_marks == 0 || feed->marks[feed->n_marks - 1].segment != segment)
		feed->marks[feed->n_marks++] = (struct feed_mark){ .seq = seq, .segment = segment };
}

uint64_t feed_first_kept(const struct feed *feed)
{
	for (unsigned i = 0; i < feed->n_marks; i++)
		if (feed->marks[i].segment >= feed->room->log.oldest_number)
			return feed->marks[i].seq;
	return feed->reader.seq;
}

void feed_take_back(struct feed *feed, int error)
{
	if (!feed_is_unsafe(feed) || feed->is_finished)
		return;
	feed->reader.pos = feed->safe.pos;
	feed->reader.seq = feed->safe.seq;
	feed->awaited.log = 0;
	feed->error = -error;
	fast_set_gate(feed, feed->safe.pos, feed->error);
	fast_line_up(feed->fast);
}

/* Is there a reason not to say anything in its room now? */
static bool feed_must_wait(struct feed *feed)
{
	struct quota_account *account = feed->fast->user->account;
	struct store *store = &feed->fast->broker->store;

	if (!throttle_is_open(&account->throttle, feed->fast->broker->users.now)) {
		account->throttle.n_waits++;
		return true;
	}
	if (!room_is_stored(feed->room))
		return store_must_wait(store, feed->room);
	if (store_rests(store))
		feed->error = -store->error;
	return store_rests(store) || store_must_wait(store, feed->room);
}

/* Returns 0 or FEED_E_LATER. */
static int feed_append(struct feed *feed, const struct ring_message *message)
{
	struct fast *fast = feed->fast;
	struct users *users = &fast->broker->users;
	struct quota_account *account = fast->user->account;
	struct text body = { message->payload, message->len };
	uint64_t said_next = feed->room->said_next;
	char id[NUMBER_DECIMAL_MAX];
	int r;

	if (feed_must_wait(feed))
		return FEED_E_LATER;
	if (feed_reserve_mark(feed)) {
		feed->error = ENOMEM;
		return FEED_E_LATER;
	}
	r = room_append(&fast->broker->rooms, feed->room, &fast->author,
		(struct text){ id, number_put(id, message->ref) }, message->ref, body, NULL);
	feed->error = MAX(-r, 0);
	if (r < 0)
		return FEED_E_LATER;
	feed->n_archived++;
	feed->room->said_next = said_next;
	if (r == 0) {
		feed_mark(feed, message->seq);
		followers_pass(feed, message->seq, feed->room->log.next - 1);
	}
	if (r > 0) /* said before, by the socket or through an earlier broker */
		return 0;
	rate_take(&account->throttle.rate);
	meter_add(&account->said, users->second, 1);
	meter_add(&account->said_bytes, users->second, body.len);
	meter_add(&feed->room->appended, users->second, 1);
	if (fast->session)
		meter_add(&fast->session->said, users->second, 1);
	return 0;
}

/* MESSAGE and what is behind it in BATCH were not taken. */
static void feed_put_back(
	struct feed *feed, const struct ring_batch *batch, const struct ring_message *message)
{
	const char *record = message->payload - sizeof(struct ring_record);

	feed->reader.pos -= (uint64_t)(batch->end - record);
	feed->reader.seq = message->seq;
}

static bool feed_is_new(const struct feed *feed, const struct ring_message *message)
{
	return message->ref >
	       room_last_id(&feed->fast->broker->rooms, feed->room, &feed->fast->author);
}

enum {
	FEED_TAKE_EMPTY = FEED_E_LATER + 1,
	FEED_TAKE_BROKEN,
};

/* How many records are copied out at once: no more than its user may say now. */
static unsigned feed_batch_max(const struct feed *feed)
{
	struct throttle *throttle = &feed->fast->user->account->throttle;

	if (!feed->is_archived)
		return FEED_BATCH;
	if (!throttle_is_open(throttle, feed->fast->broker->users.now))
		return 1;
	return (unsigned)MIN(throttle->rate.tokens / RATE_ONE, FEED_BATCH);
}

/* Take one batch, of records put at UNTIL ns or before. Returns 0, FEED_E_LATER, or an
 * outcome above. */
static int feed_take(struct feed *feed, uint64_t until)
{
	struct ring_message message;
	struct ring_batch batch;
	int r;

	r = ring_get(&feed->reader, feed_buffer, sizeof feed_buffer, feed_batch_max(feed), &batch);
	if (r == RING_E_LAPPED && !feed->is_archived && ++feed->n_lapped < FEED_LAPS_MAX)
		r = ring_reader_seek(&feed->reader) ? RING_E_BAD : RING_E_EMPTY;
	if (r == RING_E_EMPTY) {
		feed_settle(feed);
		return FEED_TAKE_EMPTY;
	}
	if (r) {
		feed_break(feed, r == RING_E_BAD     ? "a record is not as it should be"
				 : feed->is_archived ? "it was written over beyond its gate"
						     : "its mark is not as it should be");
		return FEED_TAKE_BROKEN;
	}
	feed->n_lapped = 0;
	while (feed->is_archived && ring_batch_next(&batch, &message)) {
		if (feed->is_again && feed_is_new(feed, &message)) {
			feed_put_back(feed, &batch, &message);
			feed_settle(feed);
			break;
		}
		r = message.time > until ? FEED_TAKE_EMPTY
		    : message.ref == 0   ? 0 /* a publisher's number is above 0 */
					 : feed_append(feed, &message);
		if (r) {
			feed_put_back(feed, &batch, &message);
			break;
		}
	}
	if (feed->is_archived) /* not before what was not taken is put back */
		feed_store(feed);
	return r;
}

/* ---- sweeping: before something else is appended to its room ---- */

/* Is there time to sweep it? In a turn of its own account, while that lasts; in others' turns its
 * account has a share of each round. */
static bool feed_has_share(const struct feed *feed)
{
	struct broker *broker = feed->fast->broker;
	struct quota_account *account = feed->fast->user->account;

	if (account == broker->turn_account)
		return broker_clock() < broker->turn_end;
	if (account->swept_at != broker->users.now) {
		account->swept_at = broker->users.now;
		account->swept_ns = 0;
	}
	return account->swept_ns < BROKER_SWEEP_NS;
}

/* A user over its rate is not waited for: its messages are not said before the rate allows it. */
static bool feed_can_be_swept(const struct feed *feed)
{
	struct fast *fast = feed->fast;

	return feed->is_archived && ring_is_ready(&feed->reader) &&
	       throttle_is_open(&fast->user->account->throttle, fast->broker->users.now) &&
	       feed_has_share(feed);
}

/* Look at FEED once, at the cost of its own account. Returns whether there may be more that was
 * put at TIME or before. */
static bool feed_sweep(struct feed *feed, uint64_t time)
{
	struct broker *broker = feed->fast->broker;
	struct quota_account *account = feed->fast->user->account;
	uint64_t before = feed->reader.pos, start = broker_clock(), ns;
	int r;

	r = feed_take(feed, time);
	if (feed->reader.pos != before)
		fast_relay(feed);
	if (account != broker->turn_account) {
		ns = broker_clock() - start;
		account->swept_ns += ns;
		broker->turn_end += ns;
	}
	return r == 0 && feed->reader.pos != before;
}

/* In turns, so that none is left out for another of its user. */
static void feeds_sweep(struct room *room, const struct feed *except, uint64_t time)
{
	bool has_more;

	do {
		has_more = false;
		list_for_each (link, &room->feeds) {
			struct feed *feed = container_of(link, struct feed, room_link);

			if (feed->is_finished)
				break;
			if (feed != except && feed_can_be_swept(feed))
				has_more |= feed_sweep(feed, time);
		}
	} while (has_more);
}

void rooms_sweep_feeds(struct rooms *rooms, struct room *room)
{
	/* all messages of one packet were sent at one time */
	if (room->n_rings == 0 || room->swept == rooms->n_taken_up)
		return;
	room->swept = rooms->n_taken_up;
	feeds_sweep(room, NULL, rooms->time);
}

/* When the next record was put, if there is another ring to be asked whether one was
 * put there before. */
static void feed_sweep_others(struct feed *feed)
{
	struct ring_reader peek = feed->reader;
	struct ring_message message;
	struct ring_batch batch;

	if (feed->room->n_rings == 1)
		return;
	if (ring_get(&peek, feed_buffer, sizeof feed_buffer, 1, &batch) == 0 &&
		ring_batch_next(&batch, &message))
		feeds_sweep(feed->room, feed, message.time);
}

int feed_drain(struct feed *feed)
{
	struct broker *broker = feed->fast->broker;
	int r;

	while (!feed_is_done(feed)) {
		if (feed->is_archived)
			feed_sweep_others(feed);
		r = feed_take(feed, UINT64_MAX);
		if (r == FEED_TAKE_EMPTY || r == FEED_TAKE_BROKEN)
			return 0;
		if (r)
			return r;
		if (broker_clock() >= broker->turn_end)
			return FEED_E_MORE;
	}
	return 0;
}

/* ---- the end ---- */

void feed_end(struct feed *feed)
{
	if (feed->is_ending)
		return;
	feed->is_ending = true;
	if (!feed->is_archived) {
		feed_seek_end(feed); /* where it ends is to be told */
		feed_finish(feed);
		return;
	}
	feed->until =
		MIN(ring_reader_horizon(&feed->reader), feed->reader.pos + feed->reader.capacity);
	fast_line_up(feed->fast);
}

struct feed *room_find_feed(const struct room *room, const struct author *author)
{
	list_for_each (link, &room->feeds) {
		struct feed *feed = container_of(link, struct feed, room_link);

		if (feed->is_finished)
			break;
		if (feed->fast->author.uid == author->uid &&
			feed->fast->author.label == author->label)
			return feed;
	}
	return NULL;
}

uint64_t room_count_rings(const struct room *room, const struct quota_account *account)
{
	uint64_t n = 0;

	list_for_each (link, &room->feeds) {
		const struct feed *feed = container_of(link, struct feed, room_link);

		if (feed->is_finished)
			break;
		n += feed->fast->user->account == account;
	}
	return n;
}

void feed_leave(struct feed *feed)
{
	feed->is_revoked = true;
	if (feed->is_archived)
		feed->is_ending = true;
	else
		feed_end(feed);
	feed_finish(feed);
}

void feed_break(struct feed *feed, const char *why)
{
	const struct fast *fast = feed->fast;
	struct text room = room_target(feed->room);

	if (feed->is_finished)
		return;
	trace_shared(&fast->user->account->lines, TRACE_WARNING,
		"ring uid=%u name=%.*s room=%.*s reason=\"%s\"", fast->user->uid,
		(int)fast->author.name.len, fast->author.name.data, (int)room.len, room.data, why);
	feed->is_ending = feed->is_revoked = true;
	feed_finish(feed);
}

void feed_finish(struct feed *feed)
{
	struct fast *fast = feed->fast;
	char line[TARGET_LEN_MAX + 64];
	struct text room = room_target(feed->room);
	int n;

	if (feed->is_finished)
		return;
	feed->is_finished = true;
	feed->room->n_rings--;
	list_unlink(&feed->room_link);
	list_append(&feed->room->feeds, &feed->room_link);
	feed->end_seq = feed->room->said_next = feed->room->log.next;
	fast_set_gate(feed, feed_gate(feed), EPIPE);
	if (fast->session && feed->is_revoked) {
		n = snprintf(line, sizeof line, "REVOKED %.*s at=%lu", (int)room.len, room.data,
			(unsigned long)feed_gate(feed));
		output_put(fast->session, (struct text){ line, (size_t)n });
	}
	quota_discharge(fast->user->account, QUOTA_RINGS, feed->memory.len);
	fast_hold(fast, -1);
	sealed_close(&feed->memory);
	fast->feeds[feed->slot] = NULL;
	list_for_each (link, &feed->followers)
		reader_schedule(container_of(link, struct follower, feed_link)->cursor);
	feed_release(feed);
}

void feed_release(struct feed *feed)
{
	if (feed->is_finished && list_is_empty(&feed->followers))
		list_append(&feed->fast->broker->ended, &feed->end_link);
}

void feed_free(struct feed *feed)
{
	struct fast *fast = feed->fast;

	list_unlink(&feed->end_link);
	list_unlink(&feed->room_link);
	list_unlink(&feed->feeds_link);
	rooms_release(&fast->broker->rooms, feed->room);
	fast->n_feeds--;
	fast_release(fast);
	free(feed->marks);
	free(feed);
}
