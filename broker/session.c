/* session.c - see session.h.
 *
 * A session is in broker.ready while there is input that it may take, and in
 * broker.flush while there is output that its socket may take. Both lists are the
 * loop's work; a session that waits for anything is in neither, so an idle or stuck
 * client costs nothing.
 */
#include "broker/session.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "broker/broker.h"
#include "broker/dispatch.h"
#include "broker/reader.h"
#include "broker/trace.h"
#include "protocol/packet.h"
#include "protocol/record.h"

#define SESSION_EVENTS (EPOLLIN | EPOLLRDHUP | EPOLLET)

/* Records sent one by one in a turn, to a session that takes no batches. */
#define SESSION_TURN_RECORDS 64

static const char *const state_names[] = {
	[SESSION_NEW] = "new",
	[SESSION_PLAIN] = "plain",
	[SESSION_SHAKING] = "shaking",
	[SESSION_OPEN] = "open",
	[SESSION_CLOSING] = "closing",
	[SESSION_GONE] = "gone",
};
_Static_assert(ARRAY_LEN(state_names) == SESSION_STATES, "every state has a name");

void session_set_state(struct session *session, enum session_state state)
{
	/* forward only */
	assert(state > session->state);
	trace(TRACE_DEBUG, "session number=%lu uid=%u from=%s to=%s", (unsigned long)session->number,
		session->user->uid, state_names[session->state], state_names[state]);
	session->state = state;
}

bool session_is_admin(const struct session *session)
{
	return session->user->uid == 0 || session->user->uid == session->broker->users.self;
}

const char *session_name(const struct session *session)
{
	return session->person ? session->person->name : "-";
}

/* ---- input ---- */

static bool session_takes_input(const struct session *session)
{
	return session->state > SESSION_NEW && session->state < SESSION_CLOSING &&
	       !session->is_waiting &&
	       session->output_len - session->output_at <= ANSWERS_HELD_MAX;
}

static void session_line_up(struct session *session)
{
	bool ready = session_takes_input(session) && (session->is_readable || session->held);

	if (ready && !list_is_linked(&session->ready_link))
		list_append(&session->broker->ready, &session->ready_link);
	else if (!ready)
		list_unlink(&session->ready_link);
}

/* Keep what is left of a packet until it can go on. */
static void session_hold(struct session *session, const char *start, size_t start_len,
	const char *rest, size_t rest_len)
{
	size_t len = start_len + rest_len;

	if (quota_charge(session->user->account, QUOTA_BYTES, len)) {
		session_close(session, false, 0, "QUOTA", "bytes: too many unfinished requests");
		return;
	}
	session->held = malloc(len);
	if (!session->held) {
		quota_discharge(session->user->account, QUOTA_BYTES, len);
		session_close(session, false, 0, "AGAIN", "the broker is out of memory");
		return;
	}
	memcpy(session->held, start, start_len);
	memcpy(session->held + start_len, rest, rest_len);
	session->held_len = len;
}

static void session_framing(struct session *session, const char *what)
{
	trace(TRACE_WARNING, "framing uid=%u pid=%d name=%s reason=\"%s\"", session->user->uid,
		session->pid, session_name(session), what);
	session->broker->n_framing++;
	session_close(session, false, 0, "FRAMING", "%s", what);
}

static void session_batch(struct session *session, struct text packet)
{
	const char *at = packet.data + BATCH_START_LEN, *end = packet.data + packet.len;
	struct text frame;
	int r;

	for (;;) {
		const char *before = at;

		r = record_next(&at, end, &frame);
		if (r == RECORD_E_END)
			return;
		if (r == RECORD_E_BROKEN) {
			session_framing(session, "the records of a batch do not add up");
			return;
		}
		r = dispatch_frame(session, frame);
		if (session->state >= SESSION_CLOSING)
			return;
		if (r == DISPATCH_E_WAIT)
			at = before;
		if (!session_takes_input(session) && at < end) {
			session_hold(session, BATCH_START, BATCH_START_LEN, at, (size_t)(end - at));
			return;
		}
	}
}

static bool packet_is_batch(struct text packet)
{
	return packet.len >= BATCH_START_LEN &&
	       memcmp(packet.data, BATCH_START, BATCH_START_LEN) == 0;
}

static void session_packet(struct session *session, struct text packet)
{
	int r;

	if (session->state == SESSION_PLAIN) {
		r = dispatch_plain(session, packet);
	} else if (session->state == SESSION_OPEN && packet_is_batch(packet)) {
		session_batch(session, packet);
		return;
	} else {
		r = dispatch_frame(session, packet);
	}
	if (r == DISPATCH_E_WAIT)
		session_hold(session, "", 0, packet.data, packet.len);
}

static void session_continue_held(struct session *session)
{
	char *held = TAKE(session->held);
	size_t len = session->held_len;

	session_packet(session, (struct text){ held, len });
	free(held);
	quota_discharge(session->user->account, QUOTA_BYTES, len);
}

static void session_receive(struct session *session)
{
	char *buffer = session->broker->input;
	size_t len = 0;
	int r;

	r = packet_receive(session->watch.fd, buffer, PACKET_LEN_MAX, &len);
	switch (r) {
	case 0:
		session->broker->n_packets++;
		session_packet(session, (struct text){ buffer, len });
		break;
	case -EAGAIN:
		session->is_readable = false;
		break;
	case PACKET_E_TRUNCATED:
		dispatch_truncated(session, (struct text){ buffer, len });
		break;
	case PACKET_E_DESCRIPTOR:
		session_framing(session, "a file descriptor that nobody asked for");
		break;
	default: /* closed, or an error that means the same */
		session_end(session);
		break;
	}
}

void session_turn(struct session *session)
{
	for (int i = 0; i < SESSION_TURN_PACKETS && session_takes_input(session); i++) {
		if (session->held)
			session_continue_held(session);
		else if (session->is_readable)
			session_receive(session);
		else
			break;
	}
	list_unlink(&session->ready_link);
	session_line_up(session);
}

/* ---- the user ---- */

/* The connection counts from the moment we know whose it is. */
static void session_admit(struct session *session)
{
	struct user *user = session->user;
	int r;

	r = users_await(&session->broker->users, user, &session->wait_link);
	if (r == USERS_E_WAIT) {
		session->is_waiting = true;
		return;
	}
	if (r) {
		session_close(session, false, 0, "AGAIN", "the user data base does not answer");
		return;
	}
	if (quota_charge(user->account, QUOTA_CONNECTIONS, 1)) {
		trace(TRACE_WARNING, "quota uid=%u user=%s what=connections used=%lu limit=%lu",
			user->uid, user->name[0] ? user->name : "-",
			(unsigned long)user->account->used[QUOTA_CONNECTIONS],
			(unsigned long)user->account->max[QUOTA_CONNECTIONS]);
		session_close(session, false, 0, "QUOTA", "connections: at the limit of %lu",
			(unsigned long)user->account->max[QUOTA_CONNECTIONS]);
		return;
	}
	session->is_charged = true;
	session_set_state(session, SESSION_PLAIN);
}

void session_wake(struct list *wait_link)
{
	struct session *session = container_of(wait_link, struct session, wait_link);

	session->is_waiting = false;
	if (session->state == SESSION_NEW)
		session_admit(session);
	session_line_up(session);
}

int session_set_person(struct session *session, struct text name)
{
	int r;

	r = users_get_person(&session->broker->users, session->user, name, &session->person);
	if (r < 0)
		return r;
	list_append(&session->person->sessions, &session->person_link);
	session->author.name =
		(struct text){ session->person->author, session->person->author_len };
	session->author.uid = session->user->uid;
	return 0;
}

/* ---- output ---- */

void session_schedule(struct session *session)
{
	if (session->is_writable && session->state != SESSION_GONE &&
		!list_is_linked(&session->flush_link))
		list_append(&session->broker->flush, &session->flush_link);
}

static int session_grow_output(struct session *session, size_t need)
{
	size_t size = MAX(session->output_size * 2, (size_t)256);
	char *grown;

	if (session->output_at > 0) {
		memmove(session->output, session->output + session->output_at,
			session->output_len - session->output_at);
		session->output_len -= session->output_at;
		session->output_at = 0;
	}
	if (session->output_size - session->output_len >= need)
		return 0;
	while (size < session->output_len + need)
		size *= 2;
	if (quota_charge(session->user->account, QUOTA_BYTES, size - session->output_size))
		return QUOTA_E_LIMIT;
	grown = realloc(session->output, size);
	if (!grown) {
		quota_discharge(session->user->account, QUOTA_BYTES, size - session->output_size);
		return -ENOMEM;
	}
	session->output = grown;
	session->output_size = size;
	return 0;
}

static void session_drop_output(struct session *session)
{
	free(session->output);
	quota_discharge(session->user->account, QUOTA_BYTES, session->output_size);
	session->output = NULL;
	session->output_at = session->output_len = session->output_size = 0;
}

void session_put2(struct session *session, struct text first, struct text second)
{
	size_t len = first.len + second.len, size = record_size(len);
	char *record;
	int r;

	if (session->is_deaf || session->state >= SESSION_CLOSING)
		return;
	if (session->output_size - session->output_len < size) {
		r = session_grow_output(session, size);
		if (r) {
			session_close(session, false, 0, r < 0 ? "AGAIN" : "QUOTA",
				"no memory for more answers that nobody reads");
			return;
		}
	}
	record = session->output + session->output_len;
	memcpy(record + RECORD_HEADER_LEN, first.data, first.len);
	memcpy(record + RECORD_HEADER_LEN + first.len, second.data, second.len);
	record_close(record, len);
	session->output_len += size;
	session_schedule(session);
}

void session_put(struct session *session, struct text frame)
{
	session_put2(session, frame, (struct text){ "", 0 });
}

/* The socket will not take anything any more. What it sent is still read: it may
 * have said something before it left. */
static void session_deafen(struct session *session)
{
	session->is_deaf = true;
	session_drop_output(session);
	list_for_each(link, &session->pending)
		list_unlink(link);
	session_line_up(session);
}

/* Send one packet. Returns 0 or -EAGAIN, having arranged to be told. */
static int session_send(struct session *session, const struct iovec *parts, size_t n_parts)
{
	int r;

	r = packet_send(session->watch.fd, parts, n_parts);
	if (r == 0)
		return 0;
	if (r == -EAGAIN) {
		session->is_writable = false;
		loop_change(&session->broker->loop, &session->watch, SESSION_EVENTS | EPOLLOUT);
		return -EAGAIN;
	}
	session_deafen(session);
	return -EAGAIN;
}

static int session_send_text(struct session *session, struct text frame)
{
	struct iovec part = { (char *)frame.data, frame.len };

	return session_send(session, &part, 1);
}

static int session_send_records(struct session *session, const char *records, size_t len)
{
	struct iovec parts[2] = {
		{ (char *)BATCH_START, BATCH_START_LEN },
		{ (char *)records, len },
	};

	return session_send(session, parts, 2);
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

static int session_flush_output(struct session *session)
{
	while (session->output_at < session->output_len) {
		const char *at = session->output + session->output_at;
		struct text frame = record_frame(at);
		size_t len = record_size(frame.len);
		int r;

		if (session->has_batch)
			len = output_slice(at, session->output + session->output_len);
		if (len == record_size(frame.len))
			r = session_send_text(session, frame);
		else
			r = session_send_records(session, at, len);
		if (r < 0)
			return r;
		session->output_at += len;
	}
	if (session->output)
		session_drop_output(session);
	return 0;
}

/* Send what is at CURSOR of LOG, one slice. *CURSOR moves on. */
static int session_send_log(struct session *session, const struct log *log,
	struct log_cursor *cursor)
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
		r = session_send_records(session, records, len);
		if (r < 0)
			return r;
		broker->n_delivered += next.seq - cursor->seq;
		broker->n_delivered_bytes += len;
		*cursor = next;
		return 0;
	}
	for (int i = 0; i < SESSION_TURN_RECORDS; i++) {
		len = log_read_one(log, cursor, &frame, &next);
		if (len == 0)
			return 0;
		r = session_send_text(session, frame);
		if (r < 0)
			return r;
		broker->n_delivered++;
		broker->n_delivered_bytes += len;
		*cursor = next;
	}
	return 0;
}

static int session_send_gap(struct session *session, const struct room *room, uint64_t from,
	uint64_t to, const char *reason)
{
	char line[TARGET_LEN_MAX + 80];
	struct text target = room_target(room);
	int n;

	n = snprintf(line, sizeof line, "GAP %.*s %lu %lu %s", (int)target.len, target.data,
		(unsigned long)from, (unsigned long)to, reason);
	return session_send_text(session, (struct text){ line, (size_t)n });
}

static int session_flush_presence(struct session *session, struct cursor *cursor)
{
	struct log *log = cursor->room->presence;
	int r;

	if (cursor->presence_at.seq < log->first) {
		cursor->has_lost_presence = true;
		log_seek(log, log->first, &cursor->presence_at);
	}
	if (cursor->has_lost_presence) {
		r = session_send_gap(session, cursor->room, 0, 0, "presence");
		if (r < 0)
			return r;
		cursor->has_lost_presence = false;
	}
	return session_send_log(session, log, &cursor->presence_at);
}

/* Send one slice for CURSOR, after what must be said before it. */
static int session_flush_cursor(struct session *session, struct cursor *cursor)
{
	struct log *log = &cursor->room->log;
	int r = 0;

	if (cursor->wants_presence)
		r = session_flush_presence(session, cursor);
	if (r == 0 && cursor->is_reset) {
		r = session_send_gap(session, cursor->room, cursor->asked, 0, "reset");
		if (r == 0)
			cursor->is_reset = false;
	}
	if (r == 0 && cursor->at.seq < log->first) {
		r = session_send_gap(session, cursor->room, cursor->at.seq, log->first - 1,
			"retention");
		if (r == 0) {
			session->broker->n_gap_records += log->first - cursor->at.seq;
			log_seek(log, log->first, &cursor->at);
		}
	}
	return r < 0 ? r : session_send_log(session, log, &cursor->at);
}

/* One slice for each room that has something, so that a busy one does not hold up
 * the others. */
static int session_flush_pending(struct session *session)
{
	struct list *last = session->pending.prev, *link = list_first(&session->pending);
	int r;

	while (link) {
		struct cursor *cursor = container_of(link, struct cursor, pending_link);
		struct list *next = link == last ? NULL : link->next;

		r = session_flush_cursor(session, cursor);
		if (r < 0)
			return r;
		list_unlink(&cursor->pending_link);
		if (cursor_is_behind(cursor))
			list_append(&session->pending, &cursor->pending_link);
		link = next;
	}
	return 0;
}

/* BYE and out. Whatever the client sent meanwhile is taken off the socket first, or
 * the kernel would tell it ECONNRESET instead of what we said last. */
static void session_finish(struct session *session)
{
	char *buffer = session->broker->input;
	size_t len;
	int r;

	if (session->bye && session_send_text(session, text_of(session->bye)) < 0 &&
		!session->is_deaf)
		return;
	shutdown(session->watch.fd, SHUT_RD);
	do
		r = packet_receive(session->watch.fd, buffer, PACKET_LEN_MAX, &len);
	while (r == 0 || r == PACKET_E_TRUNCATED || r == PACKET_E_DESCRIPTOR);
	session_end(session);
}

void session_flush(struct session *session)
{
	list_unlink(&session->flush_link);
	if (session->state == SESSION_GONE || !session->is_writable)
		return;
	if (session_flush_output(session) == 0 &&
		(session->state != SESSION_CLOSING || session->is_owed))
		(void)session_flush_pending(session);
	if (session->state == SESSION_CLOSING &&
		(session->is_deaf ||
			(session->is_writable && session->output_at == session->output_len &&
				(!session->is_owed || list_is_empty(&session->pending))))) {
		session_finish(session);
		return;
	}
	session_line_up(session);
	if (session->output_at < session->output_len || !list_is_empty(&session->pending))
		session_schedule(session);
}

/* ---- life ---- */

static void session_ready(struct watch *watch, uint32_t events)
{
	struct session *session = container_of(watch, struct session, watch);

	if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
		session->is_readable = true;
		if (events & (EPOLLHUP | EPOLLERR) && !session->is_deaf)
			session_deafen(session);
		session_line_up(session);
	}
	if (!session->is_writable && (events & (EPOLLOUT | EPOLLHUP))) {
		session->is_writable = true;
		loop_change(&session->broker->loop, &session->watch, SESSION_EVENTS);
		session_schedule(session);
	}
	if (session->state == SESSION_CLOSING)
		session_schedule(session);
}

int session_new(struct broker *broker, int fd, uid_t uid, pid_t pid)
{
	struct session *session = calloc(1, sizeof *session);
	int r;

	if (!session)
		return -ENOMEM;
	session->watch = (struct watch){ .fd = fd, .ready = session_ready };
	session->broker = broker;
	session->pid = pid;
	session->is_writable = true;
	session->opened_at = broker->users.now;
	list_init(&session->sessions_link);
	list_init(&session->ready_link);
	list_init(&session->flush_link);
	list_init(&session->closing_link);
	list_init(&session->person_link);
	list_init(&session->wait_link);
	list_init(&session->cursors);
	list_init(&session->pending);
	r = users_get(&broker->users, uid, &session->user);
	if (r == 0) {
		r = loop_add(&broker->loop, &session->watch, SESSION_EVENTS);
		if (r < 0)
			users_put(&broker->users, session->user);
	}
	if (r < 0) {
		free(session);
		return r;
	}
	session->number = broker->next_session++;
	list_append(&broker->sessions, &session->sessions_link);
	broker->n_sessions++;
	broker->n_accepted++;
	session_admit(session);
	return 0;
}

/* Let go of everything but the memory, which events of this round may still name. */
void session_end(struct session *session)
{
	struct broker *broker = session->broker;

	if (session->state == SESSION_GONE)
		return;
	reader_part_all(session);
	list_unlink(&session->ready_link);
	list_unlink(&session->flush_link);
	list_unlink(&session->closing_link);
	list_unlink(&session->wait_link);
	list_unlink(&session->sessions_link);
	if (session->output)
		session_drop_output(session);
	if (session->held) {
		free(TAKE(session->held));
		quota_discharge(session->user->account, QUOTA_BYTES, session->held_len);
	}
	list_unlink(&session->person_link);
	users_put_person(&broker->users, TAKE(session->person));
	if (session->is_charged)
		quota_discharge(session->user->account, QUOTA_CONNECTIONS, 1);
	session_set_state(session, SESSION_GONE);
	users_put(&broker->users, TAKE(session->user));
	loop_remove(&broker->loop, &session->watch);
	close(session->watch.fd);
	session->watch.fd = -1;
	broker->n_sessions--;
	list_append(&broker->gone, &session->sessions_link);
}

void session_free(struct session *session)
{
	list_unlink(&session->sessions_link);
	free(session->bye);
	free(session);
}

void session_close(struct session *session, bool is_owed, uint64_t deadline, const char *code,
	const char *format, ...)
{
	struct broker *broker = session->broker;
	bool was_new = session->state == SESSION_NEW;
	char text[LINE_LEN_MAX];
	va_list ap;

	if (session->state >= SESSION_CLOSING)
		return;
	va_start(ap, format);
	vsnprintf(text, sizeof text, format, ap);
	va_end(ap);
	session->was_plain = session->state == SESSION_PLAIN;
	/* a plain session gets answers and nothing else; one that is not let in is
	 * told why, though nothing is known of it yet */
	if (!session->was_plain && (!was_new || strcmp(code, "STOP") != 0) &&
		asprintf(&session->bye, "BYE %s%s%s", code, text[0] ? " " : "", text) < 0)
		session->bye = NULL;
	session_set_state(session, SESSION_CLOSING);
	session->is_owed = is_owed;
	session->is_waiting = false;
	list_unlink(&session->wait_link);
	session->deadline = deadline ? deadline : broker->users.now + SESSION_CLOSE_NS;
	list_append(&broker->closing, &session->closing_link);
	session_line_up(session);
	session_schedule(session);
}
