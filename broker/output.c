/* output.c - see output.h.
 *
 * Answers are kept as records, so that a session that takes batches is sent many in
 * one packet. A log's records are never copied: they are sent from where they lie.
 */
#include "broker/output.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/broker.h"
#include "broker/cache.h"
#include "broker/fastpath.h"
#include "protocol/packet.h"
#include "protocol/record.h"

/* Rooms of which one session is sent a slice in a turn, and packets that these are. */
#define OUTPUT_TURN_CURSORS 256
#define OUTPUT_TURN_PACKETS 4

/* Frames that are packets of their own, after which a turn is over, too: a slice to a
 * session that takes no batches has so many at the most. */
#define OUTPUT_TURN_FRAMES 64

/* Slices of one packet: what is quiet in many rooms goes out as if it were one. */
#define BUNDLE_SLICES_MAX 64

void output_schedule(struct session *session)
{
	if (session->is_writable && session->state != SESSION_GONE &&
		!list_is_linked(&session->flush_link))
		turns_add(&session->broker->sending, &session->user->account->sending,
			&session->flush_link);
}

/* Make room for NEED more bytes behind what is there. */
static int output_grow(struct session *session, size_t need)
{
	struct output *output = session->output;
	size_t held = session_output_len(session), old = output ? output->size : 0;
	size_t size = MAX(old * 2, 256 - sizeof *output);

	if (output && output->at > 0) {
		memmove(output->data, output->data + output->at, held);
		output->at = 0;
		output->len = (uint32_t)held;
	}
	if (old - held >= need)
		return 0;
	while (size < held + need)
		size *= 2;
	if (quota_charge(session->user->account, QUOTA_BYTES, size - old))
		return QUOTA_E_LIMIT;
	output = realloc(session->output, sizeof *output + size);
	if (!output) {
		quota_discharge(session->user->account, QUOTA_BYTES, size - old);
		return -ENOMEM;
	}
	output->at = 0;
	output->len = (uint32_t)held;
	output->size = (uint32_t)size;
	session->output = output;
	return 0;
}

void output_drop(struct session *session)
{
	if (!session->output)
		return;
	quota_discharge(session->user->account, QUOTA_BYTES, session->output->size);
	free(TAKE(session->output));
}

void output_put2(struct session *session, struct text first, struct text second)
{
	size_t len = first.len + second.len, size = record_size(len);
	char *record;
	int r;

	if (session->is_deaf || session->is_short || session->state == SESSION_GONE)
		return;
	if (!session->output || session->output->size - session->output->len < size) {
		r = output_grow(session, size);
		if (r) {
			session->is_short = true;
			session_close(session, false, 0, r < 0 ? "AGAIN" : "QUOTA",
				r < 0 ? "the broker is out of memory"
				      : "bytes: too many answers that are not read");
			return;
		}
	}
	record = session->output->data + session->output->len;
	memcpy(record + RECORD_HEADER_LEN, first.data, first.len);
	memcpy(record + RECORD_HEADER_LEN + first.len, second.data, second.len);
	record_close(record, len);
	session->output->len += (uint32_t)size;
	output_schedule(session);
}

void output_put(struct session *session, struct text frame)
{
	output_put2(session, frame, (struct text){ "", 0 });
}

void output_deafen(struct session *session)
{
	session->is_deaf = true;
	output_drop(session);
	list_for_each (link, &session->pending)
		list_unlink(link);
	session_line_up(session);
}

/* A packet went, or not: 0 or -EAGAIN, having arranged to be told. */
static int output_sent(struct session *session, int r)
{
	if (r == 0) {
		if (session->fast)
			fast_count_packet(session->fast);
		return 0;
	}
	if (r == -EAGAIN) {
		session->is_writable = false;
		session->blocked_at = session->broker->users.now;
		loop_change(&session->broker->loop, &session->watch, SESSION_EVENTS | EPOLLOUT);
		return -EAGAIN;
	}
	output_deafen(session);
	return -EAGAIN;
}

static int output_send(struct session *session, const struct iovec *parts, size_t n_parts)
{
	return output_sent(session, packet_send(session->watch.fd, parts, n_parts));
}

int output_send_passing(struct session *session, struct text frame, const int *fds, size_t n_fds)
{
	struct iovec part = { (char *)frame.data, frame.len };
	int r;

	if (n_fds == 0)
		return output_send(session, &part, 1);
	r = packet_send_fds(session->watch.fd, &part, 1, fds, n_fds);
	return r == -ETOOMANYREFS ? r : output_sent(session, r);
}

int output_send_text(struct session *session, struct text frame)
{
	struct iovec part = { (char *)frame.data, frame.len };

	return output_send(session, &part, 1);
}

static int output_send_records(struct session *session, const char *records, size_t len)
{
	struct iovec parts[2] = {
		{ (char *)BATCH_START, BATCH_START_LEN },
		{ (char *)records, len },
	};

	return output_send(session, parts, 2);
}

/* How many bytes of records from AT are whole and fit one packet; at least one. */
static size_t output_slice(const char *at, const char *end)
{
	const char *p = at;

	while (p < end) {
		size_t size = record_size(record_frame(p).len);

		if (p > at && (size_t)(p - at) + size > BATCH_LEN_MAX)
			break;
		p += size;
	}
	return (size_t)(p - at);
}

int output_flush_answers(struct session *session)
{
	struct output *output = session->output;

	while (session_output_len(session) > 0) {
		const char *at = output->data + output->at;
		struct text frame = record_frame(at);
		size_t len = record_size(frame.len);
		int r;

		if (session->has_batch)
			len = output_slice(at, output->data + output->len);
		if (len == record_size(frame.len))
			r = output_send_text(session, frame);
		else
			r = output_send_records(session, at, len);
		if (r < 0)
			return r;
		output->at += (uint32_t)len;
	}
	output_drop(session);
	return 0;
}

/* ---- slices ---- */

/* A packet in the making: slices of logs, from where they lie. A cursor moves, and leaves
 * the line or stands at its end again, when the packet went. */
struct bundle {
	struct session *session;
	unsigned n_slices, n_packets;
	unsigned n_frames; /* sent as packets of their own */
	size_t len;
	struct iovec parts[1 + BUNDLE_SLICES_MAX];
	struct {
		struct cursor *cursor;
		struct log_cursor *at, next;
	} moves[BUNDLE_SLICES_MAX];
};

static void output_count(struct session *session, uint64_t n_records, size_t len)
{
	session->n_delivered += n_records;
	session->broker->n_delivered += n_records;
	session->broker->n_delivered_bytes += len;
}

static void cursor_line_up(struct cursor *cursor)
{
	list_unlink(&cursor->pending_link);
	if (cursor_is_behind(cursor))
		list_append(&cursor->session->pending, &cursor->pending_link);
}

static int bundle_send(struct bundle *bundle)
{
	unsigned n = bundle->n_slices;
	int r;

	if (n == 0)
		return 0;
	bundle->parts[0] = (struct iovec){ (char *)BATCH_START, BATCH_START_LEN };
	r = output_send(bundle->session, bundle->parts, n + 1);
	if (r < 0)
		return r;
	for (unsigned i = 0; i < n; i++) {
		struct log_cursor *at = bundle->moves[i].at, *next = &bundle->moves[i].next;

		output_count(bundle->session, next->seq - at->seq, bundle->parts[i + 1].iov_len);
		*at = *next;
		cursor_line_up(bundle->moves[i].cursor);
	}
	bundle->n_packets++;
	bundle->n_slices = 0;
	bundle->len = 0;
	return 0;
}

/* What was read back goes when others want to read: nobody keeps where in memory it was. */
static void forget_place(const struct cursor *cursor, const struct log *log, struct log_cursor *at)
{
	if (log != &cursor->room->log && log != cursor->room->presence)
		*at = (struct log_cursor){ .seq = at->seq };
}

/* Put a slice of LOG into the bundle, from AT on, which belongs to CURSOR. */
static int bundle_add(
	struct bundle *bundle, struct cursor *cursor, const struct log *log, struct log_cursor *at)
{
	struct log_cursor next;
	const char *records;
	size_t len;
	int r;

	len = log_read(log, at, BATCH_LEN_MAX, &records, &next);
	if (len == 0)
		return 0;
	/* it is not cut to what is left of the packet: behind a busy room that would be a
	 * record or two, each time */
	if (bundle->n_slices == BUNDLE_SLICES_MAX || len > BATCH_LEN_MAX - bundle->len) {
		r = bundle_send(bundle);
		if (r < 0)
			return r;
	}
	forget_place(cursor, log, at);
	forget_place(cursor, log, &next);
	bundle->moves[bundle->n_slices].cursor = cursor;
	bundle->moves[bundle->n_slices].at = at;
	bundle->moves[bundle->n_slices].next = next;
	bundle->parts[++bundle->n_slices] = (struct iovec){ (char *)records, len };
	bundle->len += len;
	return 0;
}

/* The same of a cursor that follows rings: without the records that it has from there;
 * with CATCHING, only those that it misses, up to where the cursor stands. */
static int bundle_add_wanted(struct bundle *bundle, struct cursor *cursor, const struct log *log,
	struct log_cursor *at, const struct follower *catching)
{
	struct log_cursor next;
	struct follower_cut cut;
	const char *records;
	size_t len;

	len = log_read(log, at, BATCH_LEN_MAX, &records, &next);
	if (len == 0)
		return 0;
	cut = followers_cut(cursor, catching, records, len, at->seq);
	at->offset += (uint32_t)cut.skip_len;
	at->seq += cut.n_skipped;
	if (cut.n == 0) {
		bundle->n_frames += OUTPUT_TURN_FRAMES / 4; /* it took as long as a packet */
		return 0;
	}
	next = *at;
	next.offset += (uint32_t)cut.len;
	next.seq += cut.n;
	bundle->moves[0].cursor = cursor;
	bundle->moves[0].at = at;
	bundle->moves[0].next = next;
	bundle->parts[1] = (struct iovec){ (char *)records + cut.skip_len, cut.len };
	bundle->n_slices = 1;
	bundle->len = cut.len;
	return bundle_send(bundle);
}

/* Send a cursor that follows rings what is next for it: what it missed, records, and when
 * it has all of these, where to read on. */
static int output_flush_fast(struct bundle *bundle, struct cursor *cursor)
{
	const struct log *log = &cursor->room->log;
	struct follower *catching = followers_catching(cursor);
	int r;

	r = bundle_send(bundle);
	if (r < 0)
		return r;
	if (!catching)
		followers_jump(cursor);
	if (catching) {
		if (catching->at.seq < cursor->at.seq)
			return bundle_add_wanted(bundle, cursor, log, &catching->at, catching);
		follower_catch_up(catching);
	}
	r = followers_flush(cursor);
	if (r == 0)
		r = bundle_add_wanted(bundle, cursor, log, &cursor->at, NULL);
	if (r == 0 && followers_place_is_due(cursor))
		r = followers_tell_place(cursor);
	return r < 0 ? r : 0;
}

static int bundle_send_frame(struct bundle *bundle, struct text frame)
{
	bundle->n_frames++;
	return output_send_text(bundle->session, frame);
}

/* To a session that takes no batches: record by record. */
static int bundle_send_each(struct bundle *bundle, const struct log *log, struct log_cursor *cursor)
{
	struct log_cursor next;
	struct text frame;
	int r;

	for (int i = 0; i < OUTPUT_TURN_FRAMES && cursor->seq < log_end(log); i++) {
		size_t len = log_read_one(log, cursor, &frame, &next);

		r = bundle_send_frame(bundle, frame);
		if (r < 0)
			return r;
		output_count(bundle->session, 1, len);
		*cursor = next;
	}
	return 0;
}

static int output_flush_log(
	struct bundle *bundle, struct cursor *cursor, const struct log *log, struct log_cursor *at)
{
	int r = 0;

	if (bundle->session->has_batch)
		return bundle_add(bundle, cursor, log, at);
	r = bundle_send_each(bundle, log, at);
	forget_place(cursor, log, at);
	return r;
}

/* It stands behind what the bundle has. */
static int output_send_gap(struct bundle *bundle, const struct room *room, uint64_t from,
	uint64_t to, const char *reason)
{
	char line[TARGET_LEN_MAX + 80];
	struct text target = room_target(room);
	int n, r;

	r = bundle_send(bundle);
	if (r < 0)
		return r;
	n = snprintf(line, sizeof line, "GAP %.*s %lu %lu %s", (int)target.len, target.data,
		(unsigned long)from, (unsigned long)to, reason);
	return bundle_send_frame(bundle, (struct text){ line, (size_t)n });
}

static int output_flush_presence(struct bundle *bundle, struct cursor *cursor)
{
	const struct log *log = cursor->room->presence;
	struct presence *presence = cursor->presence;
	int r;

	if (presence->at.seq < log->first) {
		presence->is_lost = true;
		log_seek(log, log->first, &presence->at);
	}
	if (presence->is_lost) {
		r = output_send_gap(bundle, cursor->room, 0, 0, "presence");
		if (r < 0)
			return r;
		presence->is_lost = false;
	}
	return output_flush_log(bundle, cursor, log, &presence->at);
}

/* What retention took from under the cursor, and of what one that can not read a ring was
 * still to be sent of that. Who was overtaken has had much of it from the ring, and is told
 * what comes next there. */
static int output_flush_retention(struct bundle *bundle, struct cursor *cursor)
{
	const struct log *log = &cursor->room->log;
	struct follower *catching = cursor->is_fast ? followers_catching(cursor) : NULL;
	uint64_t from = cursor->at.seq, first = room_first(cursor->room);
	int r;

	if (catching && catching->is_refused)
		from = MIN(from, catching->at.seq);
	if (cursor->is_fast && (from < log->first || (catching && catching->at.seq < log->first))) {
		r = bundle_send(bundle);
		if (r == 0)
			r = followers_lose(cursor);
		if (r < 0)
			return r;
	}
	if (from < first) {
		r = output_send_gap(bundle, cursor->room, from, first - 1, "retention");
		if (r < 0)
			return r;
		bundle->session->broker->n_gap_records += first - from;
	}
	if (catching && catching->at.seq < log->first)
		log_seek(log, log->first, &catching->at);
	if (cursor->at.seq < first)
		room_seek(cursor->room, first, &cursor->at);
	return 0;
}

/* Where the next slice is; NULL while it is read back. What is nowhere is told, and passed over.
 * Returns 0 or -errno. */
static int output_find_log(struct bundle *bundle, struct cursor *cursor, struct log **ret_log)
{
	struct room *room = cursor->room;
	struct hole hole;
	int r;

	r = room_log_at(room, cursor->at.seq, ret_log, &hole);
	if (r == 0) { /* it may have stood there while that was in memory */
		forget_place(cursor, *ret_log, &cursor->at);
		return 0;
	}
	*ret_log = NULL;
	if (r == CACHE_E_HOLE) {
		r = output_send_gap(bundle, room, cursor->at.seq, hole.next - 1, "damaged");
		if (r == 0)
			room_seek(room, hole.next, &cursor->at);
		return r;
	}
	/* who can not be served now is when it is tried again */
	cursor->awaits_disk = true;
	if (r == CACHE_E_WAIT &&
		cache_fetch(room, cursor->at.seq, cursor->session->user, NULL) < 0) {
		cursor->awaits_disk = false;
		bundle->n_frames += OUTPUT_TURN_FRAMES; /* in another turn, perhaps */
	}
	return 0;
}

/* Send one slice for CURSOR, after what must be said before it. */
static int output_flush_cursor(struct bundle *bundle, struct cursor *cursor)
{
	struct log *log;
	int r = 0;

	if (cursor->presence)
		r = output_flush_presence(bundle, cursor);
	if (r == 0 && cursor->reset_from > 0) {
		r = output_send_gap(bundle, cursor->room, cursor->reset_from, 0, "reset");
		if (r == 0)
			cursor->reset_from = 0;
	}
	if (r == 0)
		r = output_flush_retention(bundle, cursor);
	if (r < 0)
		return r;
	if (cursor->is_fast)
		return output_flush_fast(bundle, cursor);
	r = output_find_log(bundle, cursor, &log);
	return r == 0 && log ? output_flush_log(bundle, cursor, log, &cursor->at) : r;
}

static bool bundle_is_enough(const struct bundle *bundle)
{
	return bundle->n_packets >= OUTPUT_TURN_PACKETS || bundle->n_frames >= OUTPUT_TURN_FRAMES;
}

/* One slice for each cursor in line, so that a busy room does not hold up the others. */
static int output_flush_once(struct bundle *bundle)
{
	struct list *pending = &bundle->session->pending;
	struct list *last = pending->prev, *link = list_first(pending);
	int r;

	for (int i = 0; link && i < OUTPUT_TURN_CURSORS && !bundle_is_enough(bundle); i++) {
		struct cursor *cursor = container_of(link, struct cursor, pending_link);
		struct list *next = link == last ? NULL : link->next;

		r = output_flush_cursor(bundle, cursor);
		if (r < 0)
			return r;
		/* one that is in the bundle is seen to when that goes */
		if (bundle->n_slices == 0 || bundle->moves[bundle->n_slices - 1].cursor != cursor)
			cursor_line_up(cursor);
		link = next;
	}
	return bundle_send(bundle);
}

/* As often as a turn allows; then it is another session's. */
int output_flush_pending(struct session *session)
{
	struct bundle bundle;
	int r;

	bundle.session = session;
	bundle.n_slices = bundle.n_packets = bundle.n_frames = 0;
	bundle.len = 0;
	do
		r = output_flush_once(&bundle);
	while (r == 0 && !list_is_empty(&session->pending) && !bundle_is_enough(&bundle));
	return r;
}
