/* subscription.c - see subscription.h. */
#include "client/subscription.h"

#include <stdlib.h>
#include <string.h>

#include "client/passed.h"
#include "client/session.h"
#include "protocol/number.h"

/* Laps in a row without a record, after which the writer is not to be trusted. */
#define LAPS_MAX 64

/* In next: whatever is missing before what comes was told already. */
#define NEXT_IS_TOLD UINT64_MAX

/* Batches without anything new, after which the next ring is looked at. */
#define TURN_BATCHES 4

struct subscription *subscription_find(
	struct chat *chat, const struct cursor *cursor, uid_t uid, uint64_t label)
{
	for (unsigned i = 0; i < chat->fast.n_subscriptions; i++) {
		struct subscription *subscription = &chat->fast.subscriptions[i];

		if (subscription->memory.at && subscription->cursor == cursor &&
			subscription->label == label && subscription->uid == uid)
			return subscription;
	}
	return NULL;
}

void subscription_close(struct chat *chat, struct subscription *subscription)
{
	struct fast *fast = &chat->fast;

	if (!subscription->memory.at)
		return;
	if (subscription->last > 0)
		seen_add(&subscription->cursor->seen, subscription->uid, subscription->label,
			subscription->last);
	fast->n_tooks += subscription->owes_took;
	sealed_close(&subscription->memory);
	free(subscription->buffer);
	/* how far it got is known until the place is used: its publisher may come again */
	*subscription = (struct subscription){
		.memory = SEALED_NONE,
		.nonce = subscription->nonce,
		.read = subscription->read,
	};
	while (fast->n_subscriptions > 0 &&
		!fast->subscriptions[fast->n_subscriptions - 1].memory.at)
		fast->n_subscriptions--;
}

void subscriptions_drop(struct chat *chat, const struct cursor *cursor)
{
	for (unsigned i = chat->fast.n_subscriptions; i > 0; i--)
		if (chat->fast.subscriptions[i - 1].cursor == cursor)
			subscription_close(chat, &chat->fast.subscriptions[i - 1]);
}

static void subscription_lose(struct subscription *subscription)
{
	subscription->state = SUBSCRIPTION_LOST;
	subscription->has_head = false;
	subscription->batch.at = subscription->batch.end;
}

void subscription_confirm(struct chat *chat, bool is_taken)
{
	if (chat->inbox.n_downs > 0) /* the connection is gone, where that was waited for */
		return;
	chat->fast.n_tooks += is_taken;
	chat->fast.n_refusals += !is_taken;
}

void subscription_settle(struct chat *chat, struct subscription *subscription)
{
	subscription->is_resync_due = false;
	chat->fast.n_tooks += subscription->owes_took;
	subscription->owes_took = false;
}

/* What comes through the socket was delivered up to where the cursor stands; so was, then,
 * what was archived before that. */
static void subscription_has_all(struct subscription *subscription)
{
	subscription->since = subscription->cursor->next;
	subscription->since_log = subscription->cursor->log;
}

uint64_t subscriptions_suspend(
	struct chat *chat, const struct cursor *cursor, uint64_t next, uint64_t log)
{
	for (unsigned i = 0; i < chat->fast.n_subscriptions; i++) {
		struct subscription *subscription = &chat->fast.subscriptions[i];

		if (!subscription->memory.at || subscription->cursor != cursor)
			continue;
		subscription_settle(chat, subscription);
		subscription->n_resyncs = 0;
		/* what it has not read yet may be written over before a broker knows the ring */
		if (!cursor->is_ephemeral)
			subscription_lose(subscription);
		/* the broker did not know of the ring: so what there was came from the log, as
		 * far as that came */
		if (subscription->state == SUBSCRIPTION_LOST && subscription->is_served) {
			subscription->since = MIN(cursor->next, cursor->heard);
			subscription->since_log = cursor->log;
		}
		subscription->is_served = false;
		if (subscription->state == SUBSCRIPTION_LOST && subscription->since_log == log)
			next = MIN(next, subscription->since);
	}
	return next;
}

void subscriptions_serve(struct chat *chat, const struct cursor *cursor)
{
	for (unsigned i = 0; i < chat->fast.n_subscriptions; i++)
		if (chat->fast.subscriptions[i].memory.at &&
			chat->fast.subscriptions[i].cursor == cursor)
			chat->fast.subscriptions[i].is_served = true;
}

void subscriptions_note_gap(struct chat *chat, const struct cursor *cursor)
{
	for (unsigned i = 0; i < chat->fast.n_subscriptions; i++) {
		struct subscription *subscription = &chat->fast.subscriptions[i];

		if (subscription->memory.at && subscription->cursor == cursor &&
			subscription->state == SUBSCRIPTION_LOST)
			subscription->next = NEXT_IS_TOLD;
	}
}

void subscriptions_restart(struct chat *chat, const struct cursor *cursor)
{
	for (unsigned i = 0; i < chat->fast.n_subscriptions; i++) {
		struct subscription *subscription = &chat->fast.subscriptions[i];

		if (!subscription->memory.at || subscription->cursor != cursor)
			continue;
		subscription_settle(chat, subscription);
		subscription_lose(subscription);
		subscription->since_log = 0;
		subscription->n_resyncs = 0;
	}
	subscriptions_note_gap(chat, cursor);
}

bool subscription_note(struct subscription *subscription, uint64_t n)
{
	if (n <= subscription->last)
		return false;
	subscription->last = n;
	if (subscription->next > 0 && subscription->next < NEXT_IS_TOLD)
		subscription->next++;
	return true;
}

/* Do records before SEQ never come? What came from the log instead was counted. */
static bool subscription_misses(const struct subscription *subscription, uint64_t seq)
{
	return seq > subscription->next;
}

/* Records before SEQ that were to come, and will not. */
static int subscription_miss(
	struct subscription *subscription, uint64_t seq, struct chat_event *ret_event)
{
	*ret_event = (struct chat_event){
		.type = CHAT_GAP,
		.target = subscription->cursor->shown,
		.name = subscription->name,
		.uid = subscription->uid,
		.of = subscription->of[0] ? subscription->of : NULL,
		.from = subscription->next,
		.to = seq - 1,
		.text = "lapped",
	};
	subscription->next = seq;
	return 1;
}

static void subscription_look(struct chat *chat, struct subscription *subscription);

/* ---- what the stream says ---- */

/* "RING room NAME UID [of=USER] p=PUB nonce=HEX at=POS seq=SEQ [resync=N]" */
struct announcement {
	uint64_t uid, label, nonce, pos, seq, resync;
	struct text name, of;
};

static bool announcement_read(const struct frame *frame, struct announcement *ret_announcement)
{
	struct announcement a = { .of = frame_get(frame, 4, "of") };
	struct text p = frame_get(frame, 4, "p"), seq = frame_get(frame, 4, "seq");
	struct text nonce = frame_get(frame, 4, "nonce"), at = frame_get(frame, 4, "at");
	struct text resync = frame_get(frame, 4, "resync");

	if (frame->n_words < 6 || !number_parse(frame->word[3], &a.uid) || a.uid > UINT32_MAX ||
		!p.data || !number_parse_hex(p, &a.label) || !seq.data ||
		!number_parse(seq, &a.seq) || (nonce.data && !number_parse_hex(nonce, &a.nonce)) ||
		(at.data && !number_parse(at, &a.pos)) ||
		(resync.data && !number_parse(resync, &a.resync)))
		return false;
	a.name = frame->word[2];
	if (a.name.len > NAME_LEN_MAX || a.of.len > NAME_LEN_MAX)
		return false;
	*ret_announcement = a;
	return true;
}

/* Of the ring NONCE, the record behind the last that was read, if that is still known. */
static uint64_t subscriptions_read(const struct chat *chat, uint64_t nonce)
{
	for (unsigned i = 0; chat->fast.subscriptions && i < RINGS_MAX; i++)
		if (chat->fast.subscriptions[i].nonce == nonce)
			return chat->fast.subscriptions[i].read;
	return 0;
}

/* Make a place of one whose publisher did not come again since the cursor was joined again,
 * and in which there is nothing more. NULL when there is none. */
static struct subscription *subscription_evict(struct chat *chat)
{
	for (unsigned i = 0; i < chat->fast.n_subscriptions; i++) {
		struct subscription *subscription = &chat->fast.subscriptions[i];

		if (!subscription->memory.at || !subscription->is_served)
			continue;
		subscription_look(chat, subscription);
		if (subscription->memory.at &&
			(subscription->state != SUBSCRIPTION_LOST &&
				(subscription->has_head || ring_is_ready(&subscription->reader))))
			continue;
		subscription_close(chat, subscription);
		chat->fast.n_subscriptions = MAX(chat->fast.n_subscriptions, i + 1);
		return subscription;
	}
	return NULL;
}

static struct subscription *subscription_free_place(struct chat *chat)
{
	struct fast *fast = &chat->fast;

	for (unsigned i = 0; fast->subscriptions && i < RINGS_MAX; i++)
		if (!fast->subscriptions[i].memory.at) {
			fast->n_subscriptions = MAX(fast->n_subscriptions, i + 1);
			return &fast->subscriptions[i];
		}
	return subscription_evict(chat);
}

/* Map what came with the frame. NULL when that can not be. */
static struct subscription *subscription_open(
	struct chat *chat, struct cursor *cursor, const struct announcement *a)
{
	struct subscription *subscription = subscription_free_place(chat);
	struct subscription fresh = {
		.cursor = cursor,
		.uid = (uid_t)a->uid,
		.label = a->label,
		.nonce = a->nonce,
		.memory = SEALED_NONE,
	};
	int fd = session_take_fd(chat);

	if (!subscription || fd < 0 ||
		sealed_map(&fresh.memory, fd, (uid_t)a->uid, RING_HEADER_LEN + RING_CAPACITY_MIN,
			RING_HEADER_LEN + RING_CAPACITY_MAX) < 0) {
		passed_close(fd);
		return NULL;
	}
	sealed_close_fd(&fresh.memory);
	sealed_populate(&fresh.memory);
	fresh.buffer = aligned_alloc(64, RING_BUFFER_MIN);
	if (!fresh.buffer || ring_reader_init(&fresh.reader, fresh.memory.at, fresh.memory.len,
				     a->pos, a->seq)) {
		free(fresh.buffer);
		sealed_close(&fresh.memory);
		return NULL;
	}
	memcpy(fresh.name, a->name.data, a->name.len);
	memcpy(fresh.of, a->of.data ? a->of.data : "", a->of.data ? a->of.len : 0);
	fresh.read = subscriptions_read(chat, a->nonce);
	fresh.next = MAX(a->seq, fresh.read);
	fresh.mark_pos = a->pos;
	fresh.mark_time = link_time();
	subscription_has_all(&fresh);
	fresh.last = seen_highest(&cursor->seen, fresh.uid, fresh.label);
	*subscription = fresh;
	return subscription;
}

static int deliver_ring(struct chat *chat, const struct announcement *a, struct cursor *cursor,
	struct chat_event *ret_event)
{
	struct subscription *subscription =
		subscription_find(chat, cursor, (uid_t)a->uid, a->label);

	if (subscription && subscription->nonce != a->nonce) {
		subscription_close(chat, subscription);
		subscription = NULL;
	}
	if (!subscription) {
		subscription = subscription_open(chat, cursor, a);
		if (subscription)
			subscription_confirm(chat, true);
		else
			subscription_confirm(chat, false);
		return 0;
	}
	/* it has it already: from an earlier connection, or it was lost */
	subscription->is_served = false;
	passed_close(session_take_fd(chat));
	if (subscription->is_distrusted) { /* the log serves it from here on */
		subscription_close(chat, subscription);
		subscription_confirm(chat, false);
		return 0;
	}
	subscription_confirm(chat, true);
	if (subscription->state != SUBSCRIPTION_LOST || subscription->is_resync_due ||
		a->pos % RING_LINE != 0)
		return 0;
	subscription->state = SUBSCRIPTION_READING;
	subscription->reader.pos = a->pos;
	subscription->reader.seq = a->seq;
	subscription->is_loose = a->seq == 0;
	subscription_has_all(subscription);
	if (subscription_misses(subscription, a->seq))
		return subscription_miss(subscription, a->seq, ret_event);
	/* a broker that was started again may begin where the ring does */
	if (a->seq > 0)
		subscription->next = MAX(a->seq, subscription->read);
	return 0;
}

static int deliver_end(struct chat *chat, const struct announcement *a, struct cursor *cursor,
	struct chat_event *ret_event)
{
	struct subscription *subscription =
		subscription_find(chat, cursor, (uid_t)a->uid, a->label);
	bool is_gap;

	if (subscription)
		subscription->is_served = false;
	if (!subscription || subscription->is_resync_due || a->resync < subscription->n_resyncs) {
		subscription_confirm(chat, true);
		return 0;
	}
	if (subscription->state != SUBSCRIPTION_LOST) {
		subscription->state = SUBSCRIPTION_ENDING;
		subscription->owes_took = chat->inbox.n_downs == 0;
		subscription->until = a->seq;
		subscription_look(chat, subscription); /* or it is at the end already */
		return 0; /* TOOK follows when it was read to its end */
	}
	is_gap = subscription_misses(subscription, a->seq);
	if (is_gap) {
		subscription_miss(subscription, a->seq, ret_event);
		/* the subscription goes; the name in the frame stays */
		((char *)a->name.data)[a->name.len] = '\0';
		ret_event->name = a->name.data;
		ret_event->of = NULL;
	}
	subscription_close(chat, subscription);
	subscription_confirm(chat, true);
	return is_gap;
}

int subscription_deliver(struct chat *chat, const struct frame *frame, struct cursor *cursor,
	struct chat_event *ret_event)
{
	struct announcement a;

	if (!announcement_read(frame, &a)) {
		subscription_confirm(chat, false);
		return 0;
	}
	return frame->verb == VERB_RING ? deliver_ring(chat, &a, cursor, ret_event)
					: deliver_end(chat, &a, cursor, ret_event);
}

/* "GAP room 0 0 lapped NAME UID [of=USER] p=PUB seq=SEQ": what comes from the log now is
 * record SEQ of the ring, or behind it. */
int subscription_gap(struct chat *chat, const struct frame *frame, struct cursor *cursor,
	struct chat_event *ret_event)
{
	struct text p = frame_get(frame, 7, "p"), seq_word = frame_get(frame, 7, "seq");
	struct subscription *subscription;
	uint64_t uid, label, seq;

	if (!p.data || !seq_word.data || !number_parse(frame->word[6], &uid) ||
		!number_parse_hex(p, &label) || !number_parse(seq_word, &seq))
		return 0;
	subscription = subscription_find(chat, cursor, (uid_t)uid, label);
	/* one that is read has it, or finds out itself */
	return subscription && subscription->state == SUBSCRIPTION_LOST &&
	       subscription_misses(subscription, seq) &&
	       subscription_miss(subscription, seq, ret_event);
}

/* ---- reading ---- */

/* It was overtaken, or the writer is not to be trusted. The log has what was missed, but
 * in an ephemeral room: there it goes on where it can, and says so. */
static void subscription_repair(struct subscription *subscription, int outcome)
{
	struct ring_reader *reader = &subscription->reader;

	if (outcome == RING_E_BAD || ++subscription->n_lapped >= LAPS_MAX)
		subscription->is_distrusted = true;
	if (subscription->cursor->is_ephemeral && !subscription->is_distrusted &&
		ring_reader_seek(reader) == 0) {
		subscription->is_loose = true;
		return;
	}
	subscription_lose(subscription);
	subscription->is_resync_due = true; /* first, and then TOOK: it is to be told again */
}

/* Who says that it spoke before all others is not heard before them for ever. */
static void subscription_move_floor(struct subscription *subscription)
{
	const struct ring_reader *reader = &subscription->reader;

	if (reader->pos - subscription->mark_pos < reader->capacity)
		return;
	subscription->floor = subscription->mark_time;
	subscription->mark_pos = reader->pos;
	subscription->mark_time = link_time();
}

static uint64_t subscription_time(const struct subscription *subscription)
{
	return MAX(subscription->head.time, subscription->floor);
}

static bool subscription_has_ended(const struct subscription *subscription)
{
	return subscription->state == SUBSCRIPTION_ENDING && subscription->until > 0 &&
	       subscription->reader.seq >= subscription->until;
}

/* Have a head, if there is something. */
static void subscription_look(struct chat *chat, struct subscription *subscription)
{
	int n_batches = 0, r;

	/* it may have come from the log meanwhile */
	if (subscription->has_head && subscription->head.ref <= subscription->last)
		subscription->has_head = false;
	if (!subscription->memory.at || subscription->has_head ||
		subscription->state == SUBSCRIPTION_LOST)
		return;
	do {
		if (ring_batch_next(&subscription->batch, &subscription->head)) {
			subscription->has_head = subscription->head.ref > subscription->last;
			if (!subscription->has_head) {
				subscription->read =
					MAX(subscription->read, subscription->head.seq + 1);
				subscription->next =
					MAX(subscription->next, subscription->head.seq + 1);
				subscription->is_loose = false;
			}
			n_batches--; /* was counted when it was read */
			continue;
		}
		if (subscription_has_ended(subscription)) {
			subscription_close(chat, subscription);
			return;
		}
		r = ring_get(&subscription->reader, subscription->buffer, RING_BUFFER_MIN,
			UINT32_MAX, &subscription->batch);
		if (r == RING_E_EMPTY) {
			if (subscription->state == SUBSCRIPTION_ENDING && subscription->until == 0)
				subscription_close(chat, subscription);
			else
				subscription_has_all(subscription);
			return;
		}
		if (r) {
			subscription_repair(subscription, r);
			return;
		}
		subscription->n_lapped = 0;
		subscription_move_floor(subscription);
	} while (!subscription->has_head && ++n_batches < TURN_BATCHES);
}

static int subscription_take(
	struct chat *chat, struct subscription *subscription, struct chat_event *ret_event)
{
	const struct ring_message *head = &subscription->head;

	if (subscription->is_loose) { /* what was lost ends here */
		subscription->is_loose = false;
		if (subscription_misses(subscription, head->seq))
			return subscription_miss(subscription, head->seq, ret_event);
	}
	subscription->has_head = false;
	subscription->last = head->ref;
	subscription->next = subscription->read = head->seq + 1;
	*ret_event = (struct chat_event){
		.type = CHAT_MESSAGE,
		.target = subscription->cursor->shown,
		.seq = 0,
		.time = head->time,
		.name = subscription->name,
		.uid = subscription->uid,
		.of = subscription->of[0] ? subscription->of : NULL,
		.own = subscription->label == chat->publisher && subscription->uid == chat->uid,
		.body = head->payload,
		.len = head->len,
		.from = 0,
		.to = 0,
		.id = 0,
		.code = NULL,
		.text = NULL,
		.ended = false,
	};
	return 1;
}

static struct subscription *subscriptions_first(struct chat *chat)
{
	struct subscription *first = NULL;

	for (unsigned i = 0; i < chat->fast.n_subscriptions; i++) {
		struct subscription *subscription = &chat->fast.subscriptions[i];

		subscription_look(chat, subscription);
		if (subscription->has_head &&
			(!first || subscription_time(subscription) < subscription_time(first)))
			first = subscription;
	}
	return first;
}

int subscriptions_next(struct chat *chat, struct chat_event *ret_event)
{
	struct subscription *first = subscriptions_first(chat);

	if (!first)
		return 0;
	/* Whatever this one may answer was put before it, and so can be seen now: look again
	 * at those that were empty when they were passed. */
	if (chat->fast.n_subscriptions > 1)
		first = subscriptions_first(chat);
	return subscription_take(chat, first, ret_event);
}

int subscription_next_before(struct chat *chat, struct subscription *subscription, uint64_t n,
	struct chat_event *ret_event)
{
	subscription_look(chat, subscription);
	return subscription->has_head && subscription->head.ref < n &&
	       subscription_take(chat, subscription, ret_event);
}

bool subscription_next_at_hand(struct chat *chat, struct chat_event *ret_event)
{
	struct subscription *subscription = chat->fast.subscriptions;

	if (subscription->has_head || subscription->is_loose ||
		!ring_batch_next(&subscription->batch, &subscription->head))
		return false;
	subscription->has_head = subscription->head.ref > subscription->last;
	return subscription->has_head && subscription_take(chat, subscription, ret_event);
}

bool subscriptions_are_ready(const struct chat *chat)
{
	for (unsigned i = 0; i < chat->fast.n_subscriptions; i++) {
		const struct subscription *subscription = &chat->fast.subscriptions[i];

		if (subscription->memory.at && subscription->state != SUBSCRIPTION_LOST &&
			(subscription->has_head ||
				subscription->batch.at < subscription->batch.end ||
				ring_is_ready(&subscription->reader)))
			return true;
	}
	return false;
}
