/* follower.c - see follower.h. */
#include "broker/follower.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "broker/broker.h"
#include "broker/fastpath.h"
#include "broker/output.h"
#include "broker/reader.h"
#include "protocol/frame.h"
#include "protocol/number.h"
#include "protocol/record.h"

/* Records, while retention has taken nothing; then it is half of what is kept. */
#define TELL_PLACE_EVERY 1024

/* ---- life ---- */

/* Who wakes the reader is not the publisher any more. */
static void follower_forget_sleeper(struct follower *follower)
{
	struct fast *publisher = follower->feed->fast;
	bool is_known = follower->is_direct ||
			(publisher->passing == FAST_PASS_SLEEPER && publisher->passed == follower);
	char line[64];
	int n;

	/* with the ring it forgets all who read it */
	if (is_known && publisher->session && !follower->feed->is_finished) {
		n = snprintf(line, sizeof line, "SLEEPER slot=%u reader=%lu gone",
			follower->feed->slot, (unsigned long)follower->cursor->number);
		output_put(publisher->session, (struct text){ line, (size_t)n });
	}
	if (follower->is_direct)
		publisher->n_direct--;
	follower->is_direct = follower->is_due = false;
}

static void follower_count(struct follower *follower)
{
	bool is_counted = follower->state == FOLLOWER_FOLLOWING && follower->is_taken;

	follower->feed->n_following += is_counted - follower->is_counted;
	follower->is_counted = is_counted;
	feed_update(follower->feed);
}

static void follower_set_state(struct follower *follower, enum follower_state state)
{
	follower->state = state;
	follower_count(follower);
}

/* Take a place in the log and one in the ring that mean the same. */
static void follower_attach(struct follower *follower)
{
	struct feed *feed = follower->feed;

	if (feed->is_again) {
		follower_set_state(follower, FOLLOWER_WAITING);
		return;
	}
	feed_locate(feed);
	follower->since = feed->room->log.next;
	follower->pos = feed->reader.pos;
	follower->seq = follower->behind = feed->reader.seq;
	follower->is_told = follower->is_taken = false;
	follower_set_state(follower, FOLLOWER_FOLLOWING);
	reader_schedule(follower->cursor);
}

/* May READER follow one more ring of this publisher's user? Another user may have as many
 * places as are left: half of them alone, and a user without any gets the last. */
static bool fast_has_place(const struct fast *reader, const struct fast *publisher)
{
	unsigned n_left = RINGS_MAX - reader->n_followers, n_held = 0;

	if (publisher->user == reader->user)
		return n_left > 0;
	list_for_each (link, &reader->followers) {
		const struct feed *feed = container_of(link, struct follower, fast_link)->feed;

		n_held += feed->fast->user->account == publisher->user->account;
	}
	return n_held < n_left;
}

void follower_new(struct cursor *cursor, struct feed *feed)
{
	struct fast *fast = cursor->session->fast;
	struct follower *follower;

	if (feed->is_paced || !fast_has_place(fast, feed->fast))
		return;
	follower = calloc(1, sizeof *follower);
	if (!follower)
		return;
	follower->feed = feed;
	follower->fast = fast;
	follower->cursor = cursor;
	list_append(&feed->followers, &follower->feed_link);
	list_append(&fast->followers, &follower->fast_link);
	fast->n_followers++;
	follower->state = FOLLOWER_CATCHING;
	follower_attach(follower);
}

void follower_free(struct follower *follower)
{
	struct fast *fast = follower->fast, *publisher = follower->feed->fast;
	struct feed *feed = follower->feed;

	follower_forget_sleeper(follower);
	feed->was_left |= follower->has_map;
	feed->n_following -= follower->is_counted;
	if (fast->passed == follower)
		fast->passed = NULL;
	if (publisher->passed == follower)
		publisher->passed = NULL;
	list_unlink(&follower->feed_link);
	list_unlink(&follower->fast_link);
	fast->n_followers--;
	free(follower);
	feed_release(feed);
}

void cursor_set_fast(struct cursor *cursor, bool is_fast)
{
	cursor->room->n_fast += (unsigned)is_fast - cursor->is_fast;
	cursor->is_fast = is_fast;
}

void followers_join(struct cursor *cursor)
{
	list_for_each (link, &cursor->room->feeds) {
		struct feed *feed = container_of(link, struct feed, room_link);

		if (feed->is_finished)
			break;
		if (!feed->is_ending)
			follower_new(cursor, feed);
	}
}

void followers_part(struct cursor *cursor)
{
	if (!cursor->is_fast)
		return;
	list_for_each (link, &cursor->session->fast->followers) {
		struct follower *follower = container_of(link, struct follower, fast_link);

		if (follower->cursor == cursor)
			follower_free(follower);
	}
}

void followers_attach(struct feed *feed)
{
	list_for_each (link, &feed->followers) {
		struct follower *follower = container_of(link, struct follower, feed_link);

		if (follower->state == FOLLOWER_WAITING)
			follower_attach(follower);
	}
}

bool followers_place_is_due(const struct cursor *cursor)
{
	const struct log *log = &cursor->room->log;
	uint64_t every = log->first > 1 ? (log->next - log->first) / 2 : TELL_PLACE_EVERY;

	return cursor->is_fast && cursor->at.seq >= log->next &&
	       cursor->at.seq - cursor->told > every;
}

int followers_tell_place(struct cursor *cursor)
{
	struct text room = room_target(cursor->room);
	char line[TARGET_LEN_MAX + 32];
	int n, r;

	n = snprintf(line, sizeof line, "AT %.*s %lu", (int)room.len, room.data,
		(unsigned long)cursor->at.seq);
	r = output_send_text(cursor->session, (struct text){ line, (size_t)n });
	if (r == 0)
		cursor->told = cursor->at.seq;
	return r;
}

void followers_pass(struct feed *feed, uint64_t ring_seq, uint64_t seq)
{
	list_for_each (link, &feed->followers) {
		struct follower *follower = container_of(link, struct follower, feed_link);
		struct cursor *cursor = follower->cursor;

		if (follower->state == FOLLOWER_FOLLOWING && follower->is_told &&
			seq >= follower->since && cursor->at.seq == seq) {
			cursor->at = (struct log_cursor){ .seq = seq + 1 };
			follower->behind = ring_seq + 1;
			if (followers_place_is_due(cursor))
				reader_schedule(cursor);
		}
	}
}

/* ---- what it misses ---- */

void follower_resync(struct follower *follower, uint64_t after, uint64_t since)
{
	const struct log *log = &follower->cursor->room->log;
	uint64_t from = MIN(MAX(follower->since, since), log->next);

	if (follower->state != FOLLOWER_FOLLOWING)
		return;
	follower->feed->n_laps++;
	follower->after = after;
	follower->is_end_told = false;
	log_seek(log, MAX(from, log->first), &follower->at);
	follower->at.seq = from; /* what retention took is told */
	follower_set_state(follower, FOLLOWER_CATCHING);
	reader_schedule(follower->cursor);
}

void follower_take(struct follower *follower)
{
	follower->is_taken = true;
	follower_count(follower);
}

void follower_refuse(struct follower *follower)
{
	char line[TARGET_LEN_MAX + 64];
	struct text room = room_target(follower->cursor->room);
	int n;

	follower->is_refused = true;
	follower_forget_sleeper(follower);
	if (!follower->feed->is_archived && follower->state == FOLLOWER_FOLLOWING) {
		/* what was put since it was to follow is nowhere */
		n = snprintf(line, sizeof line, "GAP %.*s 0 0 lapped", (int)room.len, room.data);
		output_put(follower->cursor->session, (struct text){ line, (size_t)n });
	}
	follower_resync(follower, 0, 0);
}

void follower_catch_up(struct follower *follower)
{
	if (follower->is_refused || follower->feed->is_finished)
		follower_set_state(follower, FOLLOWER_REFUSED);
	else
		follower_attach(follower);
}

struct follower *followers_catching(const struct cursor *cursor)
{
	list_for_each (link, &cursor->session->fast->followers) {
		struct follower *follower = container_of(link, struct follower, fast_link);

		if (follower->cursor == cursor && follower->state == FOLLOWER_CATCHING)
			return follower;
	}
	return NULL;
}

/* Did the publisher of FEED say this? With its number. */
static bool feed_has_said(const struct feed *feed, const struct frame *frame, uint64_t *ret_number)
{
	const struct author *author = &feed->fast->author;
	struct text p = frame_get(frame, 6, "p"), label = p;
	uint64_t uid, value;
	const char *colon;

	colon = p.data ? memchr(p.data, ':', p.len) : NULL;
	if (!colon)
		return false;
	label.len = (size_t)(colon - p.data);
	return number_parse(frame->word[5], &uid) && uid == author->uid &&
	       number_parse_hex(label, &value) && value == author->label &&
	       number_parse((struct text){ colon + 1, p.len - label.len - 1 }, ret_number);
}

/* Is record SEQ for the socket of CURSOR? If it has it from a ring, *RET_FOLLOWER says from
 * which. */
static bool cursor_wants(const struct cursor *cursor, const struct follower *catching,
	struct text record, uint64_t seq, struct follower **ret_follower)
{
	struct frame frame;
	uint64_t number;

	if (frame_parse(&frame, record) || frame.n_words < 6)
		return !catching;
	if (catching)
		return feed_has_said(catching->feed, &frame, &number) && number > catching->after;
	list_for_each (link, &cursor->session->fast->followers) {
		struct follower *follower = container_of(link, struct follower, fast_link);

		if (follower->cursor == cursor && follower->state == FOLLOWER_FOLLOWING &&
			follower->is_told && seq >= follower->since &&
			feed_has_said(follower->feed, &frame, &number)) {
			*ret_follower = follower;
			return false;
		}
	}
	return true;
}

/* Where CURSOR must stop to be told that a ring ended. */
static uint64_t cursor_border(const struct cursor *cursor)
{
	uint64_t border = UINT64_MAX;

	list_for_each (link, &cursor->session->fast->followers) {
		const struct follower *follower = container_of(link, struct follower, fast_link);

		if (follower->cursor == cursor && !follower->is_end_told &&
			follower->feed->end_seq > cursor->at.seq)
			border = MIN(border, follower->feed->end_seq);
		/* where it is to be told where to go on */
		if (follower->cursor == cursor && follower->state == FOLLOWER_FOLLOWING &&
			!follower->is_told && follower->since > cursor->at.seq)
			border = MIN(border, follower->since);
	}
	return border;
}

struct follower_cut followers_cut(const struct cursor *cursor, const struct follower *catching,
	const char *records, size_t len, uint64_t seq)
{
	struct follower_cut cut = { 0 };

	uint64_t end = catching ? cursor->at.seq : cursor_border(cursor);

	for (size_t at = 0; at < len && seq < end; seq++) {
		struct text record = record_frame(records + at);
		size_t size = record_size(record.len);
		struct follower *follower = NULL;
		bool is_wanted = cursor_wants(cursor, catching, record, seq, &follower);

		if (is_wanted) {
			cut.len += size;
			cut.n++;
		} else if (cut.n > 0) {
			break;
		} else {
			cut.skip_len += size;
			cut.n_skipped++;
			if (follower)
				follower->behind++;
		}
		at += size;
	}
	return cut;
}

/* ---- telling ---- */

/* Is it to be told now, at number AT of the log, that the ring ended? */
static bool follower_is_end_due(const struct follower *follower, uint64_t at)
{
	return follower->feed->is_finished && !follower->is_end_told &&
	       follower->state != FOLLOWER_CATCHING && at >= follower->feed->end_seq;
}

static bool follower_is_ring_due(const struct follower *follower, uint64_t at)
{
	return !follower->feed->is_finished && !follower->is_told &&
	       follower->state == FOLLOWER_FOLLOWING && at >= follower->since &&
	       fast_can_read(follower->fast);
}

bool followers_are_due(const struct cursor *cursor)
{
	list_for_each (link, &cursor->session->fast->followers) {
		const struct follower *follower = container_of(link, struct follower, fast_link);

		if (follower->cursor != cursor)
			continue;
		if (follower->state == FOLLOWER_CATCHING ||
			(!follower->has_map && follower_is_end_due(follower, cursor->at.seq)))
			return true;
		if (follower->fast->passing == FAST_PASS_NONE &&
			(follower_is_end_due(follower, cursor->at.seq) ||
				follower_is_ring_due(follower, cursor->at.seq)))
			return true;
	}
	return false;
}

bool followers_hold(const struct cursor *cursor)
{
	if (cursor->session->fast->passing == FAST_PASS_NONE)
		return false;
	list_for_each (link, &cursor->session->fast->followers) {
		const struct follower *follower = container_of(link, struct follower, fast_link);

		if (follower->cursor == cursor &&
			(follower_is_ring_due(follower, cursor->at.seq) || follower->is_end_told ||
				(follower->has_map &&
					follower_is_end_due(follower, cursor->at.seq))))
			return true;
	}
	return false;
}

/* "VERB room NAME UID [of=USER] p=PUB", and more. */
static int follower_put_line(char *line, size_t size, const char *verb, const struct feed *feed)
{
	struct text room = room_target(feed->room);
	const struct author *author = &feed->fast->author;

	return snprintf(line, size, "%s %.*s %.*s p=%016lx", verb, (int)room.len, room.data,
		(int)author->name.len, author->name.data, (unsigned long)author->label);
}

#define FOLLOWER_LINE_MAX (TARGET_LEN_MAX + AUTHOR_LEN_MAX + 192)
#define RESYNCS_MAX       (sizeof " resync=" + NUMBER_DECIMAL_MAX)

/* Which of its RESYNC the broker knows of: what was told before the last is not for it. */
static const char *follower_resyncs(const struct follower *follower, char *buffer)
{
	buffer[0] = '\0';
	if (follower->n_resyncs > 0)
		snprintf(buffer, RESYNCS_MAX, " resync=%u", follower->n_resyncs);
	return buffer;
}

static int follower_tell_ring(struct follower *follower)
{
	struct feed *feed = follower->feed;
	char line[FOLLOWER_LINE_MAX], resyncs[RESYNCS_MAX];
	int n, r;

	n = follower_put_line(line, sizeof line, "RING", feed);
	n += snprintf(line + n, sizeof line - (size_t)n, " nonce=%016lx at=%lu seq=%lu%s",
		(unsigned long)feed->nonce, (unsigned long)follower->pos,
		(unsigned long)follower->seq, follower_resyncs(follower, resyncs));
	r = fast_pass(follower->fast, FAST_PASS_RING, follower, (struct text){ line, (size_t)n },
		&feed->memory.fd, follower->has_map ? 0 : 1);
	if (r == -ETOOMANYREFS) {
		follower_refuse(follower);
		return 0;
	}
	if (r)
		return r;
	follower->has_map = true;
	follower->is_told = true;
	follower->is_due = !follower->is_direct && follower->fast->user == feed->fast->user;
	return 0;
}

static int follower_tell_end(struct follower *follower)
{
	char line[FOLLOWER_LINE_MAX], resyncs[RESYNCS_MAX];
	int n, r;

	n = follower_put_line(line, sizeof line, "UNRING", follower->feed);
	n += snprintf(line + n, sizeof line - (size_t)n, " seq=%lu%s",
		(unsigned long)follower->feed->reader.seq, follower_resyncs(follower, resyncs));
	r = fast_pass(
		follower->fast, FAST_PASS_END, follower, (struct text){ line, (size_t)n }, NULL, 0);
	if (r == 0)
		follower->is_end_told = true;
	return r;
}

static int follower_tell_gap(const struct follower *follower, uint64_t seq)
{
	const struct cursor *cursor = follower->cursor;
	const struct author *author = &follower->feed->fast->author;
	struct text room = room_target(cursor->room);
	char line[FOLLOWER_LINE_MAX];
	int n;

	n = snprintf(line, sizeof line, "GAP %.*s 0 0 lapped %.*s p=%016lx seq=%lu", (int)room.len,
		room.data, (int)author->name.len, author->name.data, (unsigned long)author->label,
		(unsigned long)seq);
	return output_send_text(cursor->session, (struct text){ line, (size_t)n });
}

int followers_lose(struct cursor *cursor)
{
	const struct log *log = &cursor->room->log;
	bool is_lost = cursor->at.seq < log->first;
	int r;

	list_for_each (link, &cursor->session->fast->followers) {
		struct follower *follower = container_of(link, struct follower, fast_link);
		bool is_catching = follower->state == FOLLOWER_CATCHING;
		uint64_t kept = feed_first_kept(follower->feed);

		if (follower->cursor != cursor || !follower->is_told || follower->is_refused ||
			!(is_catching ? follower->at.seq < log->first
				      : is_lost && follower->state == FOLLOWER_FOLLOWING))
			continue;
		r = follower_tell_gap(follower, is_lost ? follower->behind : kept);
		if (r < 0)
			return r;
		if (is_catching)
			log_seek(log, log->first, &follower->at);
		if (is_lost)
			follower->behind = kept;
	}
	return 0;
}

static bool cursor_has_all(const struct cursor *cursor)
{
	const struct list *feeds = &cursor->room->feeds;
	unsigned n_followed = 0;

	if (cursor->at.seq < cursor->room->said_next)
		return false;
	if (!list_is_empty(feeds) && container_of(feeds->prev, struct feed, room_link)->is_finished)
		return false;
	list_for_each (link, &cursor->session->fast->followers) {
		const struct follower *follower = container_of(link, struct follower, fast_link);

		n_followed += follower->cursor == cursor && follower->state == FOLLOWER_FOLLOWING &&
			      follower->is_told && follower->since <= cursor->at.seq &&
			      !follower->feed->is_finished;
	}
	return n_followed == cursor->room->n_rings;
}

void followers_jump(struct cursor *cursor)
{
	if (cursor->at.seq >= cursor->room->log.next || !cursor_has_all(cursor))
		return;
	cursor->at = (struct log_cursor){ .seq = cursor->room->log.next };
	list_for_each (link, &cursor->session->fast->followers) {
		struct follower *follower = container_of(link, struct follower, fast_link);

		if (follower->cursor == cursor)
			follower->behind = follower->feed->reader.seq;
	}
}

int followers_flush(struct cursor *cursor)
{
	struct fast *fast = cursor->session->fast;
	int r = 0;

	list_for_each (link, &fast->followers) {
		struct follower *follower = container_of(link, struct follower, fast_link);
		bool is_end, is_ring;

		if (follower->cursor != cursor)
			continue;
		is_end = follower_is_end_due(follower, cursor->at.seq);
		is_ring = follower_is_ring_due(follower, cursor->at.seq);
		if (is_end && !follower->has_map) { /* it never heard of it */
			follower_free(follower);
			continue;
		}
		if (is_ring && cursor->at.seq > follower->since) {
			follower_attach(follower); /* the log served it, until it could read */
			is_ring = cursor->at.seq >= follower->since;
		}
		if ((!is_end && !is_ring) || fast->passing != FAST_PASS_NONE)
			continue;
		r = is_end ? follower_tell_end(follower) : follower_tell_ring(follower);
		if (r < 0)
			return r;
	}
	/* what another one misses, or one that could not be told, is before what is next */
	return followers_hold(cursor) || followers_catching(cursor);
}
