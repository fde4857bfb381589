/* session.c - see session.h: connections come and go, the session stays. */
#include "client/session.h"

#include <errno.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/message.h"
#include "client/trust.h"
#include "protocol/number.h"
#include "protocol/record.h"
#include "protocol/uid.h"

#define NS_PER_US      1000u
#define BACKOFF_MIN_NS 20000000u
#define BACKOFF_MAX_NS 500000000u
#define MARK_NS        10000000u   /* what is not acknowledged yet is said again after a loss */
#define CALM_NS        1000000000u /* up for so long: the next loss starts over at 20 ms */

#define JOINS_LEN_MAX  8192
#define JOIN_LEN_MAX   256 /* a JOIN record: 16 tag, 66 target, 20 + 16 numbers, words */
#define JOINS_MAX      (JOINS_LEN_MAX / 64)
#define TURN_MAX       64           /* packets before the clock is looked at again */
#define STORE_LEN_EASY (256 * 1024) /* more than this is stored only for who waits */

int session_fail(struct chat *chat, int r, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(chat->error, sizeof chat->error, format, arguments);
	va_end(arguments);
	return r;
}

int session_ended(struct chat *chat)
{
	return session_fail(chat, chat->end_error, "%s", chat->end_text);
}

int session_is_foreign(struct chat *chat)
{
	return session_fail(chat, -ECHILD,
		"the chat belongs to the parent process; open another one in this process");
}

int session_refused(struct chat *chat)
{
	size_t len = strcspn(chat->answer, " ");

	if (!chat->answer[len])
		return session_fail(chat, 1, "refused (%s)", chat->answer);
	return session_fail(chat, 1, "%s (%.*s)", chat->answer + len + 1, (int)len, chat->answer);
}

/* Full jitter: many clients of a broker that went must not come back at once. */
static void session_schedule(struct chat *chat)
{
	uint32_t limit_us = (uint32_t)(chat->backoff_ns / NS_PER_US);

	chat->state = SESSION_DOWN;
	chat->retry_at = link_now() + (uint64_t)(randombytes_uniform(limit_us) + 1) * NS_PER_US;
	link_set_timer(&chat->link, chat->retry_at);
	chat->backoff_ns = MIN(chat->backoff_ns * 2, (uint64_t)BACKOFF_MAX_NS);
}

/* When it was opened, ns since the epoch. The clock may have been ahead then, so it is no later
 * than that clock says now. */
static uint64_t session_opened_at(const struct chat *chat)
{
	uint64_t ago = link_now() - chat->opened_now, now = link_time();

	return MIN(chat->opened_at, now - MIN(now, ago));
}

static int session_hello(struct chat *chat)
{
	char line[LINE_LEN_MAX];
	int len = snprintf(line, sizeof line, "#h HELLO 1 pub=%016llx batch%s%s",
		(unsigned long long)chat->publisher, chat->name[0] ? " name=" : "", chat->name);
	struct iovec part = { line, 0 };

	/* what began while we were away has no cursor yet: ask by time */
	if (chat->wants_direct && chat->is_opening)
		len += snprintf(line + len, sizeof line - (size_t)len, " direct");
	else if (chat->wants_direct)
		len += snprintf(line + len, sizeof line - (size_t)len, " direct=@%llu",
			(unsigned long long)session_opened_at(chat));
	part.iov_len = (size_t)len;
	return link_send(&chat->link, &part, 1);
}

/* A no holds until a session is up or the broker is one of yet another user: this is
 * tried again every second. */
static bool session_ask_trust(struct chat *chat, uid_t uid)
{
	if (!chat->is_opening && chat->has_distrusted && chat->distrusted_uid == uid)
		return false;
	chat->has_told_trust = false;
	chat->distrusted_uid = uid;
	chat->has_distrusted = !chat->trust || !chat->trust(chat->userdata, chat->path, uid);
	return !chat->has_distrusted;
}

int session_connect(struct chat *chat, bool is_first)
{
	uid_t uid;
	int r;

	r = link_connect(&chat->link, chat->path, &uid);
	if (r)
		return r;
	if (!trust_is_given(uid) &&
		(uid_is_unmapped(uid) ||
			((is_first || uid != chat->broker_uid) && !session_ask_trust(chat, uid)))) {
		link_close(&chat->link);
		trust_explain(chat->error, sizeof chat->error, chat->path, uid);
		return -EPERM;
	}
	chat->broker_uid = uid;
	chat->farewell = (struct farewell){ 0 };
	r = session_hello(chat);
	if (r && !chat->link.is_deaf) { /* one that is gone may have said BYE */
		link_close(&chat->link);
		return r;
	}
	link_set_timer(&chat->link, 0);
	chat->state = SESSION_HELLO;
	return 0;
}

static void session_put_mark(struct chat *chat, uint64_t now)
{
	if (outbox_mark(&chat->outbox) == 0) /* else it is tried again with the next message */
		chat->marked_at = now;
	chat->mark_at = 0;
}

void session_mark(struct chat *chat)
{
	uint64_t now;

	if (chat->mark_at || chat->outbox.n_unmarked == 0 || chat->state != SESSION_UP)
		return;
	now = link_now();
	if (now - chat->marked_at >= MARK_NS) {
		session_put_mark(chat, now);
	} else {
		chat->mark_at = chat->marked_at + MARK_NS;
		link_set_timer(&chat->link, chat->mark_at);
	}
}

void session_tick(struct chat *chat)
{
	uint64_t now;
	int r;

	if (chat->mark_at && chat->state == SESSION_UP && (now = link_now()) >= chat->mark_at) {
		session_put_mark(chat, now);
		link_set_timer(&chat->link, 0);
	}
	if (chat->state != SESSION_DOWN || link_now() < chat->retry_at)
		return;
	r = session_connect(chat, false);
	if (!r)
		return;
	if (r == -EPERM && !chat->has_told_trust)
		chat->has_told_trust = inbox_store_down(&chat->inbox, "", chat->error, false) == 0;
	session_schedule(chat);
}

static void session_end(struct chat *chat, int error, const char *text)
{
	chat->state = SESSION_ENDED;
	chat->end_error = error;
	snprintf(chat->end_text, sizeof chat->end_text, "%s", text);
	link_set_timer(&chat->link, 0);
}

void session_lose(struct chat *chat, const char *text)
{
	const struct farewell *farewell = &chat->farewell;
	bool was_up = chat->state == SESSION_RESUMING || chat->state == SESSION_UP;
	struct cursor *cursor;

	if (!link_is_open(&chat->link))
		return;
	link_close(&chat->link);
	fast_lose(chat);
	chat->mark_at = 0;
	if (farewell->code[0])
		text = farewell->text[0] ? farewell->text : farewell->code;
	for (uint32_t at = 0; (cursor = cursors_next(&chat->cursors, &at));)
		cursor->wants_join = cursor->awaits_join = cursor->is_parked = false;
	chat->n_joins = 0;
	if (chat->waiter && chat->waiter->state == WAITER_WAITS)
		chat->waiter->state = WAITER_LOST;
	if (chat->state == SESSION_UP && link_now() - chat->up_since >= CALM_NS)
		chat->backoff_ns = BACKOFF_MIN_NS;
	if (chat->is_opening || chat->is_once || farewell->is_final) {
		session_end(
			chat, farewell->is_final || !chat->is_once ? -ESHUTDOWN : -ENOTCONN, text);
		if (chat->is_opening || chat->is_once)
			return;
	} else {
		session_schedule(chat);
	}
	/* without memory for the news the session goes on; chat_is_up() still tells */
	if (was_up || farewell->is_final)
		(void)inbox_store_down(&chat->inbox, farewell->code, text, farewell->is_final);
}

/* ---- sending ---- */

/* Send one packet whose record slice is BYTES. True when it went. */
static bool session_send_batch(struct chat *chat, struct text bytes)
{
	struct iovec parts[] = {
		{ (char *)BATCH_START, BATCH_START_LEN },
		{ (char *)bytes.data, bytes.len },
	};
	int r = link_send(&chat->link, parts, ARRAY_LEN(parts));

	if (r && r != -EAGAIN)
		session_lose(chat, strerror(-r));
	return r == 0;
}

static size_t session_put_join(struct chat *chat, struct cursor *cursor, char *record)
{
	char *frame = record + RECORD_HEADER_LEN;
	uint64_t next, log;
	int len;

	cursor_resume_point(cursor, &next, &log);
	if (cursor->n_arrived == 0)
		next = subscriptions_suspend(chat, cursor, next, log);
	cursor->serial_last = ++chat->join_serial;
	frame[0] = '#';
	cursor_put_tag(cursor, cursor->serial_last, frame + 1);
	len = snprintf(frame + 1 + CURSOR_TAG_LEN,
		JOIN_LEN_MAX - RECORD_HEADER_LEN - 1 - CURSOR_TAG_LEN,
		" JOIN %s since=%llu log=%016llx%s%s%s", cursor->target, (unsigned long long)next,
		(unsigned long long)log, cursor->wants_presence ? " presence" : "",
		cursor->is_fast ? " ring" : "", cursor->wants_ephemeral ? " mode=ephemeral" : "");
	record_close(record, 1 + CURSOR_TAG_LEN + (size_t)len);
	return record_size(1 + CURSOR_TAG_LEN + (size_t)len);
}

/* Send one packet of JOINs. True when there may be more. */
static bool session_push_joins(struct chat *chat)
{
	char records[JOINS_LEN_MAX];
	struct cursor *cursor, *sent[JOINS_MAX];
	uint32_t at = chat->join_at, n_sent = 0;
	size_t len = 0;

	while (n_sent < JOINS_MAX && len + JOIN_LEN_MAX <= sizeof records &&
		(cursor = cursors_next(&chat->cursors, &at))) {
		if (!cursor->wants_join)
			continue;
		len += session_put_join(chat, cursor, records + len);
		sent[n_sent++] = cursor;
	}
	if (n_sent > 0 && !session_send_batch(chat, (struct text){ records, len }))
		return false;
	chat->join_at = at;
	for (uint32_t i = 0; i < n_sent; i++) {
		sent[i]->wants_join = false;
		sent[i]->awaits_join = true;
	}
	return n_sent > 0;
}

/* Send packets while more than KEEP bytes of the outbox are unsent. */
static void session_push_outbox(struct chat *chat, size_t keep)
{
	struct text slice;

	while (chat->state == SESSION_UP && outbox_unsent(&chat->outbox) > keep) {
		slice = outbox_slice(&chat->outbox);
		if (!session_send_batch(chat, slice))
			break;
		outbox_advance(&chat->outbox, slice.len);
	}
	chat->tried_len = outbox_unsent(&chat->outbox);
}

/* Tell how far the user has read. A log that was begun anew meanwhile has other numbers. */
static void session_push_reads(struct chat *chat)
{
	char line[LINE_LEN_MAX];
	struct iovec part = { line, 0 };
	struct cursor *cursor;

	for (uint32_t at = 0; chat->n_reads > 0 && (cursor = cursors_next(&chat->cursors, &at));) {
		if (!cursor->is_read_due)
			continue;
		part.iov_len = (size_t)snprintf(line, sizeof line, "SEEN %s %llu", cursor->target,
			(unsigned long long)cursor->read);
		if (cursor->read < cursor->next && link_send(&chat->link, &part, 1) == -EAGAIN)
			return;
		cursor->is_read_due = false;
		chat->n_reads--;
	}
}

void session_push(struct chat *chat)
{
	if (chat->state != SESSION_RESUMING && chat->state != SESSION_UP)
		return;
	if (chat->fast.is_wanted && !chat->fast.is_asked)
		fast_push(chat); /* a JOIN may want it */
	while (chat->join_at < chat->cursors.n_slots && chat->n_joins > 0)
		if (!session_push_joins(chat))
			break;
	if (chat->fast.n_publications > 0)
		fast_pour(chat);
	session_push_outbox(chat, 0);
	if (chat->n_reads > 0 && chat->state == SESSION_UP)
		session_push_reads(chat);
	if (chat->fast.is_wanted) {
		fast_ring(chat);
		fast_push(chat);
	}
}

void session_push_full(struct chat *chat)
{
	size_t unsent = outbox_unsent(&chat->outbox);

	/* a full socket is tried again when there is a packet more */
	if (unsent > BATCH_LEN_MAX &&
		(!chat->link.is_blocked || unsent >= chat->tried_len + BATCH_LEN_MAX))
		session_push_outbox(chat, BATCH_LEN_MAX);
}

/* ---- cursors of a new connection ---- */

void session_check_joins(struct chat *chat)
{
	if (chat->state != SESSION_RESUMING || chat->n_joins > 0)
		return;
	chat->state = SESSION_UP;
	chat->up_since = link_now();
	chat->has_told_trust = chat->has_distrusted = false;
	outbox_rewind(&chat->outbox);
	session_mark(chat);
	if (!chat->is_opening)
		(void)inbox_store_up(&chat->inbox);
}

void session_resume(struct chat *chat)
{
	struct cursor *cursor;

	chat->state = SESSION_RESUMING;
	chat->n_joins = 0;
	chat->join_at = 0;
	for (uint32_t at = 0; (cursor = cursors_next(&chat->cursors, &at));) {
		if (cursor->state == CURSOR_ASKED || cursor->is_deleted)
			continue;
		cursor->wants_join = true;
		chat->n_joins++;
	}
	session_check_joins(chat);
}

void session_replace(struct chat *chat)
{
	bool is_greeted = chat->state == SESSION_RESUMING || chat->state == SESSION_UP;
	struct cursor *cursor;

	chat->inbox.is_dropping = false;
	chat->join_at = 0;
	for (uint32_t at = 0; (cursor = cursors_next(&chat->cursors, &at));) {
		if (cursor->has_moved) { /* else it goes on behind what was delivered */
			cursor_resume_point(cursor, &cursor->next, &cursor->log);
			subscriptions_restart(chat, cursor);
		}
		cursor_settle(cursor, true);
		cursor->state = CURSOR_RESUMING;
		cursor->was_dropped = true;
		cursor->is_deleted = false; /* there was no memory to say so */
		/* an answer that is still to come will do as well */
		if (!is_greeted || cursor->wants_join || cursor->awaits_join)
			continue;
		cursor->wants_join = true;
		chat->n_joins++;
	}
}

void session_forget(struct chat *chat, struct cursor *cursor)
{
	if (cursor->wants_join || cursor->awaits_join)
		chat->n_joins--;
	chat->n_reads -= cursor->is_read_due;
	chat->n_told -= cursor->was_told;
	subscriptions_drop(chat, cursor);
	cursors_remove(&chat->cursors, cursor);
	session_check_joins(chat);
}

/* ---- receiving ---- */

/* The connection is lost, by the outcome R of link_receive(). */
static void session_lose_link(struct chat *chat, int r)
{
	switch (r) {
	case LINK_E_CLOSED:
		session_lose(chat, "the broker closed the connection");
		break;
	case LINK_E_JUNK:
		session_lose(chat, "the broker sent what is no packet of the protocol");
		break;
	case LINK_E_PASSED:
		/* it would do so again, and each time may cost a thread */
		chat->farewell = (struct farewell){ .is_final = true };
		session_lose(chat, "the broker passed descriptors that nobody asked for");
		break;
	case LINK_E_NO_FDS:
		chat->fast.is_barred = true;
		session_lose(chat, "no descriptor is left for the fast path");
		break;
	default:
		session_lose(chat, strerror(-r));
	}
}

int session_take_arrived_fd(struct chat *chat)
{
	return chat->link.n_fds > 0 ? chat->link.fds[--chat->link.n_fds] : -1;
}

int session_take_fd(struct chat *chat)
{
	struct item *held = &chat->inbox.held;

	if (!chat->inbox.has_arrived)
		return session_take_arrived_fd(chat);
	return held->n_fds > 0 ? held->fds[--held->n_fds] : -1;
}

int session_read(struct chat *chat)
{
	size_t len;
	int r;

	if (!link_is_open(&chat->link) || !fast_has_packets(chat))
		return 0;
	fast_note_look(chat);
	r = (chat->is_polled ? link_peek : link_receive)(
		&chat->link, chat->inbox.buffer, PACKET_LEN_MAX, &len);
	if (r == -EAGAIN) {
		fast_note_empty(chat);
		return 0;
	}
	if (r)
		session_lose_link(chat, r);
	else
		inbox_start(&chat->inbox, len);
	return 1;
}

/* Let one frame arrive. Returns like session_arrive(). */
static int session_scan_frame(struct chat *chat, struct text text)
{
	struct frame frame;

	if (message_is(text))
		return 1;
	if (frame_parse(&frame, text)) {
		session_lose(chat, "the broker sent a frame that is none");
		return -EPROTO;
	}
	return session_arrive(chat, &frame);
}

/* Let the frames of WALK arrive, whose position is not kept. Returns 1 when some of
 * it is to be delivered, 0 when nothing is, or -EPROTO. */
static int session_scan(struct chat *chat, struct inbox walk)
{
	struct text text;
	int r, keep = 0;

	for (;;) {
		r = inbox_next(&walk, &text);
		if (r == INBOX_E_END)
			return keep;
		if (r) {
			session_lose(chat, "the broker sent a batch that does not add up");
			return -EPROTO;
		}
		r = session_scan_frame(chat, text);
		if (r < 0)
			return r;
		keep |= r;
	}
}

/* A packet is half delivered: let the rest of it arrive before anything newer. */
static void session_scan_rest(struct chat *chat)
{
	struct inbox *inbox = &chat->inbox;

	if (!inbox_is_walking(inbox) || inbox->has_arrived)
		return;
	inbox->has_arrived = true;
	if (session_scan(chat, *inbox) < 0)
		inbox_discard(inbox);
	/* what is received next has its own */
	inbox_hold_fds(inbox, chat->link.fds, chat->link.n_fds);
	chat->link.n_fds = 0;
	session_check_joins(chat);
}

static bool text_starts(struct text text, const char *start)
{
	return text.len >= strlen(start) && memcmp(text.data, start, strlen(start)) == 0;
}

/* The packet that was stored last has what came with it. */
static void session_keep_fds(struct chat *chat)
{
	inbox_attach(&chat->inbox, chat->link.fds, chat->link.n_fds);
	chat->link.n_fds = 0;
}

static bool text_ends(struct text text, const char *end)
{
	size_t len = strlen(end);

	return text.len >= len && memcmp(text.data + text.len - len, end, len) == 0;
}

/* The inbox cannot store the packet. The broker sends messages again, so they are dropped. The
 * broker does not repeat refusals and deletions of rooms, and waits until its rings are taken: so
 * these are stored beyond the limit. If even that fails, the JOIN that is due now makes the broker
 * tell them again. */
static void session_drop(struct chat *chat, struct inbox walk)
{
	struct text text;

	while (!inbox_next(&walk, &text)) {
		bool is_ring = text_starts(text, "RING ") || text_starts(text, "UNRING ");

		if (!text_starts(text, "! ") && !is_ring &&
			!(text_starts(text, "GAP ") && text_ends(text, " deleted")))
			continue;
		if (inbox_store_beyond(&chat->inbox, text.data, text.len))
			chat->fast.n_tooks += is_ring;
		else if (is_ring)
			session_keep_fds(chat);
	}
}

char *session_buffer(struct chat *chat)
{
	if (!chat->arrival)
		chat->arrival = malloc(PACKET_LEN_MAX);
	return chat->arrival;
}

/* Let one packet arrive. Returns 1 when something happened. */
static int session_pump(struct chat *chat)
{
	struct inbox walk = { 0 };
	size_t len;
	int r;

	if (!link_is_open(&chat->link))
		return 0;
	if (!fast_has_packets(chat))
		return 0;
	fast_note_look(chat);
	if (!session_buffer(chat)) {
		session_lose(chat, strerror(ENOMEM));
		return 1;
	}
	r = link_receive(&chat->link, chat->arrival, PACKET_LEN_MAX, &len);
	if (r == -EAGAIN) {
		fast_note_empty(chat);
		return 0;
	}
	if (r) {
		session_lose_link(chat, r);
		return 1;
	}
	inbox_walk(&walk, chat->arrival, len);
	if (session_scan(chat, walk) > 0) {
		if (inbox_store(&chat->inbox, chat->arrival, len))
			session_drop(chat, walk);
		else
			session_keep_fds(chat);
	}
	session_check_joins(chat); /* behind the answers that it waited for */
	return 1;
}

void session_listen(struct chat *chat)
{
	session_scan_rest(chat);
	session_tick(chat);
	for (int n = 0; n < TURN_MAX && chat->inbox.stored_len < STORE_LEN_EASY; n++)
		if (session_pump(chat) == 0)
			break;
}

void session_poll(struct chat *chat)
{
	session_listen(chat);
	session_push(chat);
}

int session_await(struct chat *chat, bool (*is_done)(struct chat *chat, void *argument),
	void *argument, uint64_t deadline_ns)
{
	session_scan_rest(chat);
	for (unsigned n = 1;; n++) {
		if (!origin_is_here(&chat->origin))
			return session_is_foreign(chat);
		session_tick(chat);
		session_push(chat);
		if (is_done(chat, argument))
			return 0;
		if (chat->state == SESSION_ENDED)
			return session_ended(chat);
		if (session_pump(chat) > 0 && n % TURN_MAX != 0)
			continue;
		if (deadline_ns != UINT64_MAX && link_now() >= deadline_ns)
			return session_fail(chat, -ETIMEDOUT, "the broker did not answer in time");
		/* rings are not read here; what is waited for comes through the socket */
		(void)link_wait(&chat->link, deadline_ns);
		chat->fast.has_seen = false;
	}
}

void session_settle(struct chat *chat)
{
	bool corked = chat->state == SESSION_UP && outbox_unsent(&chat->outbox) > 0 &&
		      !chat->link.is_blocked && !chat->link.is_deaf;
	/* a packet that was peeked at keeps the descriptor readable by itself */
	bool kept = chat->link.has_peeked ? chat->inbox.n_items > 0 : !inbox_is_empty(&chat->inbox);

	if (chat->is_polled && (corked || kept || subscriptions_are_ready(chat)))
		link_set_awake(&chat->link, true);
}
