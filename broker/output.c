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
#include "protocol/packet.h"
#include "protocol/record.h"

/* Records sent one by one in a turn, to a session that takes no batches. */
#define OUTPUT_TURN_RECORDS 64

/* Rooms of which one session is sent a slice in a turn: 1 MiB at the most. */
#define OUTPUT_TURN_CURSORS 16

void output_schedule(struct session *session)
{
	if (session->is_writable && session->state != SESSION_GONE &&
		!list_is_linked(&session->flush_link))
		list_append(&session->broker->flush, &session->flush_link);
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

	if (session->is_deaf || session->state == SESSION_GONE)
		return;
	if (!session->output || session->output->size - session->output->len < size) {
		r = output_grow(session, size);
		if (r) {
			session_close(session, false, 0, r < 0 ? "AGAIN" : "QUOTA",
				"no memory for more answers that nobody reads");
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

/* Send one packet. Returns 0 or -EAGAIN, having arranged to be told. */
static int output_send(struct session *session, const struct iovec *parts, size_t n_parts)
{
	int r;

	r = packet_send(session->watch.fd, parts, n_parts);
	if (r == 0)
		return 0;
	if (r == -EAGAIN) {
		session->is_writable = false;
		session->blocked_at = session->broker->users.now;
		loop_change(&session->broker->loop, &session->watch, SESSION_EVENTS | EPOLLOUT);
		return -EAGAIN;
	}
	output_deafen(session);
	return -EAGAIN;
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

/* Send what is at CURSOR of LOG, one slice. *CURSOR moves on. */
static int output_send_log(
	struct session *session, const struct log *log, struct log_cursor *cursor)
{
	struct broker *broker = session->broker;
	struct log_cursor next;
	const char *records;
	struct text frame;
	size_t len;
	int r;

	if (session->has_batch) {
		len = log_read(log, cursor, BATCH_LEN_MAX, &records, &next);
		if (len == 0)
			return 0;
		r = output_send_records(session, records, len);
		if (r < 0)
			return r;
		broker->n_delivered += next.seq - cursor->seq;
		session->n_delivered += next.seq - cursor->seq;
		broker->n_delivered_bytes += len;
		*cursor = next;
		return 0;
	}
	for (int i = 0; i < OUTPUT_TURN_RECORDS; i++) {
		len = log_read_one(log, cursor, &frame, &next);
		if (len == 0)
			return 0;
		r = output_send_text(session, frame);
		if (r < 0)
			return r;
		broker->n_delivered++;
		session->n_delivered++;
		broker->n_delivered_bytes += len;
		*cursor = next;
	}
	return 0;
}

static int output_send_gap(struct session *session, const struct room *room, uint64_t from,
	uint64_t to, const char *reason)
{
	char line[TARGET_LEN_MAX + 80];
	struct text target = room_target(room);
	int n;

	n = snprintf(line, sizeof line, "GAP %.*s %lu %lu %s", (int)target.len, target.data,
		(unsigned long)from, (unsigned long)to, reason);
	return output_send_text(session, (struct text){ line, (size_t)n });
}

static int output_flush_presence(struct session *session, struct cursor *cursor)
{
	struct log *log = cursor->room->presence;
	struct presence *presence = cursor->presence;
	int r;

	if (presence->at.seq < log->first) {
		presence->is_lost = true;
		log_seek(log, log->first, &presence->at);
	}
	if (presence->is_lost) {
		r = output_send_gap(session, cursor->room, 0, 0, "presence");
		if (r < 0)
			return r;
		presence->is_lost = false;
	}
	return output_send_log(session, log, &presence->at);
}

/* Send one slice for CURSOR, after what must be said before it. */
static int output_flush_cursor(struct session *session, struct cursor *cursor)
{
	struct log *log = &cursor->room->log;
	int r = 0;

	if (cursor->presence)
		r = output_flush_presence(session, cursor);
	if (r == 0 && cursor->is_reset) {
		r = output_send_gap(session, cursor->room, cursor->asked, 0, "reset");
		if (r == 0)
			cursor->is_reset = false;
	}
	if (r == 0 && cursor->at.seq < log->first) {
		r = output_send_gap(
			session, cursor->room, cursor->at.seq, log->first - 1, "retention");
		if (r == 0) {
			session->broker->n_gap_records += log->first - cursor->at.seq;
			log_seek(log, log->first, &cursor->at);
		}
	}
	return r < 0 ? r : output_send_log(session, log, &cursor->at);
}

/* One slice for each room that has something, so that a busy one does not hold up
 * the others; after so many it is another session's turn. */
int output_flush_pending(struct session *session)
{
	struct list *last = session->pending.prev, *link = list_first(&session->pending);
	int r;

	for (int i = 0; link && i < OUTPUT_TURN_CURSORS; i++) {
		struct cursor *cursor = container_of(link, struct cursor, pending_link);
		struct list *next = link == last ? NULL : link->next;

		r = output_flush_cursor(session, cursor);
		if (r < 0)
			return r;
		list_unlink(&cursor->pending_link);
		if (cursor_is_behind(cursor))
			list_append(&session->pending, &cursor->pending_link);
		link = next;
	}
	return 0;
}
