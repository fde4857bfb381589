/* chat.c - the functions of chat.h; libchat(3). The work is in session.c. */
#include "client/chat.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "client/delivery.h"
#include "client/session.h"
#include "client/target.h"
#include "protocol/number.h"
#include "protocol/packet.h"
#include "protocol/record.h"

#define PUBLIC __attribute__((visibility("default")))

#define NS_PER_MS          1000000u
#define OPEN_TIMEOUT_NS    (5000 * (uint64_t)NS_PER_MS)
#define REQUEST_TIMEOUT_NS (5000 * (uint64_t)NS_PER_MS)
#define RETRY_NS           (2 * (uint64_t)NS_PER_MS) /* a full backlog cannot be polled */
#define BACKOFF_FIRST_NS   20000000u
#define RINGS_TURN_MAX     64 /* messages from rings before the socket is looked at, too */
#define RECEIVE_TURN_MAX   64 /* packets without an event before the clock is looked at */

static const char *const usual_places[] = { "/run/chat-broker/broker.sock", "/tmp/broker.sock" };

static uint64_t deadline_in(int timeout_ms)
{
	if (timeout_ms < 0)
		return UINT64_MAX;
	return link_now() + (uint64_t)timeout_ms * NS_PER_MS;
}

/* Why no call can be made: 0, -ECHILD or end_error. */
static int chat_check(struct chat *chat)
{
	if (!origin_is_here(&chat->origin))
		return session_is_foreign(chat);
	return chat->state == SESSION_ENDED ? session_ended(chat) : 0;
}

/* ---- opening ---- */

/* Sleep a little, at most until DEADLINE_NS. */
static void chat_pause(struct chat *chat, uint64_t deadline_ns)
{
	uint64_t until = MIN(link_now() + RETRY_NS, deadline_ns);

	while (link_now() < until)
		(void)link_wait(&chat->link, until);
}

static int chat_connect(struct chat *chat, const char *path, uint64_t deadline_ns)
{
	struct sockaddr_un address;
	socklen_t len;
	int r;

	if (packet_address(path, &address, &len))
		return session_fail(chat, -EINVAL, "%s: not a path for a socket", path);
	memcpy(chat->path, path, strlen(path) + 1);
	for (;;) {
		r = session_connect(chat, true);
		if (r != -EAGAIN)
			break;
		if (link_now() >= deadline_ns)
			return session_fail(chat, -ETIMEDOUT, "the broker at %s is too busy", path);
		chat_pause(chat, deadline_ns);
	}
	if (r == -ENOENT)
		r = -ECONNREFUSED;
	if (r == -ECONNREFUSED)
		return session_fail(chat, r, "no broker answers at %s", path);
	if (r && r != -EPERM)
		return session_fail(chat, r, "%s: %s", path, strerror(-r));
	return r;
}

/* The given path, or $CHAT_SOCKET, or the first of the usual places that answers. */
static int chat_find(struct chat *chat, const char *path, uint64_t deadline_ns)
{
	int r = -ECONNREFUSED;

	if (!path)
		path = secure_getenv("CHAT_SOCKET");
	if (path && path[0])
		return chat_connect(chat, path, deadline_ns);
	for (size_t i = 0; i < ARRAY_LEN(usual_places) && r == -ECONNREFUSED; i++)
		r = chat_connect(chat, usual_places[i], deadline_ns);
	if (r == -ECONNREFUSED)
		session_fail(
			chat, r, "no broker answers at %s or %s", usual_places[0], usual_places[1]);
	return r;
}

static bool chat_has_settled(struct chat *chat, void *argument)
{
	return chat->state == SESSION_UP;
}

/* What a session that ended before it began means to chat_open(). */
static int chat_refused(struct chat *chat)
{
	const struct farewell *farewell = &chat->farewell;

	if (!farewell->code[0])
		return session_fail(chat, -ECONNREFUSED, "%s", chat->end_text);
	if (strcmp(farewell->code, "TAKEN") == 0 && chat->name[0])
		session_fail(chat, 0, "%s: %s (TAKEN)", farewell->text, chat->name);
	else
		session_fail(chat, 0, "%s (%s)", farewell->text, farewell->code);
	if (strcmp(farewell->code, "AGAIN") == 0 || strcmp(farewell->code, "QUOTA") == 0 ||
		strcmp(farewell->code, "NOMEM") == 0)
		return -EAGAIN;
	return strcmp(farewell->code, "STOP") == 0 ? -ECONNREFUSED : -EACCES;
}

/* A number in the environment; *NUMBER stays as it is without it. */
static int chat_tune(
	struct chat *chat, const char *variable, uint64_t min, uint64_t max, uint64_t *number)
{
	const char *value = secure_getenv(variable);

	if (!value || !value[0] || number_parse_within(text_of(value), min, max, number))
		return 0;
	return session_fail(chat, -EINVAL, "%s is not a number from %llu to %llu", variable,
		(unsigned long long)min, (unsigned long long)max);
}

static int chat_configure(struct chat *chat, const struct chat_config *config)
{
	const char *name = config->name;
	uint64_t look_us = LOOK_US_DEFAULT, send_buffer = LINK_SEND_BUFFER_DEFAULT;
	int r;

	r = chat_tune(chat, "CHAT_LOOK", 0, LOOK_US_MAX, &look_us);
	if (!r)
		r = chat_tune(chat, "CHAT_SEND_BUFFER", PACKET_LEN_MAX, LINK_SEND_BUFFER_MAX,
			&send_buffer);
	if (r)
		return r;
	r = link_init(&chat->link, look_us, (int)send_buffer);
	if (r)
		return session_fail(chat, r, "%s", strerror(-r));
	r = inbox_init(&chat->inbox);
	if (r)
		return session_fail(chat, r, "%s", strerror(-r));
	if (!name)
		name = secure_getenv("CHAT_NAME");
	if (name && name[0]) {
		if (!text_is_name(text_of(name)))
			return session_fail(chat, -EINVAL, "%.40s: not a name", name);
		memcpy(chat->name, name, strlen(name) + 1);
	}
	chat->wants_direct = config->direct;
	chat->is_once = config->once;
	chat->trust = config->trust;
	chat->userdata = config->userdata;
	return 0;
}

PUBLIC int chat_open(struct chat **ret_chat, const struct chat_config *config)
{
	static const struct chat_config defaults;
	uint64_t deadline = link_now() + OPEN_TIMEOUT_NS;
	struct chat *chat = calloc(1, sizeof *chat);
	int r;

	*ret_chat = chat;
	if (!chat)
		return -ENOMEM;
	chat->link = (struct link){ .epoll = -1, .timer = -1, .wake = -1, .socket = -1 };
	origin_init(&chat->origin);
	fast_init(&chat->fast);
	chat->is_opening = true;
	chat->end_error = -ESHUTDOWN;
	chat->backoff_ns = BACKOFF_FIRST_NS;
	config = config ? config : &defaults;
	if (sodium_init() < 0)
		return session_fail(chat, -ENOSYS, "no source of randomness");
	randombytes_buf(&chat->publisher, sizeof chat->publisher);
	chat->opened_at = link_time();
	chat->opened_now = link_now();
	r = chat_configure(chat, config);
	if (!r)
		r = chat_find(chat, config->socket, deadline);
	if (!r)
		r = session_await(chat, chat_has_settled, NULL, deadline);
	if (r && r != -ETIMEDOUT && chat->state == SESSION_ENDED)
		r = chat_refused(chat);
	if (r) {
		link_close(&chat->link);
		chat->state = SESSION_ENDED;
		memcpy(chat->end_text, "the chat was never open", sizeof "the chat was never open");
	}
	chat->is_opening = false;
	return r;
}

PUBLIC struct chat *chat_close(struct chat *chat)
{
	if (!chat)
		return NULL;
	if (origin_is_here(&chat->origin)) {
		fast_ring(chat);
		fast_deinit(chat);
		link_close(&chat->link);
	} else {
		fast_abandon(chat);
	}
	link_deinit(&chat->link);
	outbox_deinit(&chat->outbox);
	cursors_deinit(&chat->cursors);
	inbox_deinit(&chat->inbox);
	origin_deinit(&chat->origin);
	free(chat->arrival);
	free(chat);
	return NULL;
}

PUBLIC const char *chat_error(const struct chat *chat)
{
	return chat ? chat->error : strerror(ENOMEM);
}

PUBLIC const char *chat_socket(const struct chat *chat)
{
	return chat->path;
}

PUBLIC const char *chat_name(const struct chat *chat)
{
	return chat->name;
}

PUBLIC bool chat_is_up(const struct chat *chat)
{
	return chat->state == SESSION_UP && origin_is_here(&chat->origin);
}

/* ---- targets ---- */

/* The target as in records. BUFFER holds TARGET_LEN_MAX + 1 bytes. */
static int chat_resolve(struct chat *chat, const char *target, char *buffer, struct text *ret_key)
{
	struct text text = text_of(target);

	if (!target_is_valid(text))
		return session_fail(chat, -EINVAL, "%.80s: not a room or @name", target);
	if (text_is_direct(text))
		text = target_put_conversation(
			text_of(chat->name), (struct text){ text.data + 1, text.len - 1 }, buffer);
	*ret_key = text;
	return 0;
}

/* ---- requests ---- */

struct request {
	struct waiter waiter;
	const struct iovec *parts;
	size_t n_parts;
	bool is_sent;
};

/* Behind everything said before, so that the broker sees it in this order. */
static bool request_try(struct chat *chat, void *argument)
{
	struct request *request = argument;
	int r;

	if (request->waiter.state == WAITER_LOST || !link_is_open(&chat->link))
		return true;
	if (chat->state != SESSION_UP || outbox_unsent(&chat->outbox) > 0 ||
		(chat->fast.is_wanted && !chat->fast.is_asked))
		return false;
	r = link_send(&chat->link, request->parts, request->n_parts);
	if (r && r != -EAGAIN)
		session_lose(chat, strerror(-r));
	request->is_sent = r == 0;
	return r != -EAGAIN;
}

static bool request_is_settled(struct chat *chat, void *argument)
{
	const struct request *request = argument;

	return request->waiter.state != WAITER_WAITS;
}

/* Send "#tag line [LF body]" and wait. Returns 0 for "*", 1 for "!", or an error. */
static int chat_ask(struct chat *chat, struct request *request, struct text line, const void *body,
	size_t body_len, uint64_t deadline_ns)
{
	struct waiter *waiter = &request->waiter;
	const struct iovec parts[] = {
		{ (char *)"#", 1 },
		{ waiter->tag, waiter->tag_len },
		{ (char *)" ", 1 },
		{ (char *)line.data, line.len },
		{ (char *)"\n", 1 },
		{ (void *)body, body_len },
	};
	int r;

	if (chat->state == SESSION_DOWN)
		return session_fail(chat, -ENOTCONN, "not connected to the broker now");
	request->parts = parts;
	request->n_parts = body ? 6 : 4;
	chat->waiter = waiter;
	r = session_await(chat, request_try, request, deadline_ns);
	if (!r && !request->is_sent)
		waiter->state = WAITER_LOST;
	if (!r)
		r = session_await(chat, request_is_settled, request, deadline_ns);
	chat->waiter = NULL;
	if (r)
		return r;
	if (waiter->state == WAITER_LOST) {
		if (chat->state == SESSION_ENDED)
			return session_ended(chat);
		return session_fail(chat, -ENOTCONN, "the connection was lost before the answer");
	}
	return waiter->state == WAITER_REFUSED ? session_refused(chat) : 0;
}

static void request_init(struct chat *chat, struct request *request)
{
	*request = (struct request){ 0 };
	request->waiter.tag[0] = 'r';
	/* 15 digits: three million years of a request each 100 ns */
	request->waiter.tag_len =
		1 + number_put(request->waiter.tag + 1, ++chat->request_serial % 1000000000000000);
}

/* Verbs whose state the library keeps itself. */
static bool request_is_free(enum verb verb)
{
	return verb != VERB_BATCH && verb != VERB_HELLO && verb != VERB_JOIN && verb != VERB_PART;
}

PUBLIC int chat_request(struct chat *chat, const char *request, const void *body, size_t body_len,
	int timeout_ms, chat_row_fn *row, void *userdata, const char **ret_answer)
{
	struct text line = text_of(request);
	struct request asked;
	struct frame frame;
	int r;

	r = chat_check(chat);
	if (r)
		return r;
	if (memchr(line.data, '\n', line.len) || frame_parse(&frame, line) || frame.tag.len > 0 ||
		line.len + TAG_LEN_MAX + 2 > LINE_LEN_MAX || body_len > BODY_LEN_MAX ||
		!request_is_free(frame.verb))
		return session_fail(chat, -EINVAL, "%.80s: not a request", request);
	request_init(chat, &asked);
	asked.waiter.row = row;
	asked.waiter.userdata = userdata;
	r = chat_ask(chat, &asked, line, body, body_len, deadline_in(timeout_ms));
	session_settle(chat);
	if (r >= 0 && ret_answer)
		*ret_answer = chat->answer;
	return r;
}

/* ---- cursors ---- */

/* The line of a JOIN. LINE holds LINE_LEN_MAX bytes. */
static int join_put_line(char *line, const struct cursor *cursor, enum chat_from from,
	uint64_t position, struct text *ret_line)
{
	static const char *const words[] = {
		[CHAT_NEW] = "new",
		[CHAT_LAST] = "last=",
		[CHAT_SINCE] = "since=",
		[CHAT_TIME] = "since=@",
	};
	char *p = line;

	if ((unsigned)from >= ARRAY_LEN(words))
		return -EINVAL;
	p = stpcpy(p, "JOIN ");
	p = stpcpy(p, cursor->target);
	*p++ = ' ';
	p = stpcpy(p, words[from]);
	if (from != CHAT_NEW)
		p += number_put(p, position);
	if (cursor->wants_presence)
		p = mempcpy(p, " presence", strlen(" presence"));
	if (cursor->is_fast)
		p = mempcpy(p, " ring", strlen(" ring"));
	if (cursor->wants_ephemeral)
		p = mempcpy(p, " mode=ephemeral", strlen(" mode=ephemeral"));
	*ret_line = (struct text){ line, (size_t)(p - line) };
	return 0;
}

/* Send the JOIN for a cursor that is in the table. */
static int chat_join_cursor(struct chat *chat, struct cursor *cursor, enum chat_from from,
	uint64_t position, uint64_t *ret_next)
{
	struct request request = { 0 };
	struct text line, next;
	char buffer[LINE_LEN_MAX];
	int r;

	if (from == CHAT_SINCE && position == 0)
		position = 1;
	if (join_put_line(buffer, cursor, from, position, &line))
		return session_fail(chat, -EINVAL, "%d: not a place to start from", (int)from);
	cursor->serial_last = ++chat->join_serial;
	if (cursor->serial_first == 0)
		cursor->serial_first = cursor->serial_last;
	cursor->asked = from == CHAT_SINCE ? position : 0;
	cursor_put_tag(cursor, cursor->serial_last, request.waiter.tag);
	request.waiter.tag_len = CURSOR_TAG_LEN;
	r = chat_ask(chat, &request, line, NULL, 0, link_now() + REQUEST_TIMEOUT_NS);
	if (r)
		return r > 0 ? -EACCES : r;
	next = text_of(chat->answer);
	next.len = strcspn(next.data, " ");
	if (ret_next && !number_parse(next, ret_next))
		*ret_next = 0;
	return 0;
}

PUBLIC int chat_join(struct chat *chat, const char *target, enum chat_from from, uint64_t position,
	unsigned flags, uint64_t *ret_next)
{
	char buffer[TARGET_LEN_MAX + 1], shown[TARGET_LEN_MAX + 1];
	struct cursor *cursor;
	struct text key;
	bool presence;
	int r;

	r = chat_check(chat);
	if (!r)
		r = chat_resolve(chat, target, buffer, &key);
	if (r)
		return r;
	cursor = cursors_find(&chat->cursors, key);
	if (!cursor) {
		target_show(text_of(chat->name), key, shown);
		r = cursors_add(&chat->cursors, key, text_of(shown), &cursor);
		if (r)
			return session_fail(chat, r, "%s", strerror(-r));
	}
	presence = cursor->wants_presence;
	cursor->wants_presence = flags & CHAT_PRESENCE;
	cursor->is_fast = (flags & CHAT_FAST) && key.data[0] != '@' && fast_want(chat);
	cursor->wants_ephemeral = flags & CHAT_EPHEMERAL;
	r = chat_join_cursor(chat, cursor, from, position, ret_next);
	if (r) {
		cursor->wants_presence = presence;
		if (cursor->state == CURSOR_ASKED)
			session_forget(chat, cursor);
	}
	session_settle(chat);
	return r;
}

/* The cursor on TARGET; what is wrong is an error of the call. */
static int chat_find_cursor(struct chat *chat, const char *target, struct cursor **ret_cursor)
{
	char buffer[TARGET_LEN_MAX + 1];
	struct text key;
	int r;

	r = chat_check(chat);
	if (!r)
		r = chat_resolve(chat, target, buffer, &key);
	if (r)
		return r;
	*ret_cursor = cursors_find(&chat->cursors, key);
	return *ret_cursor ? 0 : session_fail(chat, -ENOENT, "%s: not joined", target);
}

PUBLIC int chat_part(struct chat *chat, const char *target)
{
	struct request request;
	struct cursor *cursor;
	char line[LINE_LEN_MAX];
	size_t len;
	int r;

	r = chat_find_cursor(chat, target, &cursor);
	if (r)
		return r;
	len = (size_t)snprintf(line, sizeof line, "PART %s", cursor->target);
	session_forget(chat, cursor);
	if (chat->state == SESSION_DOWN)
		return 0; /* it is not joined again */
	request_init(chat, &request);
	r = chat_ask(chat, &request, (struct text){ line, len }, NULL, 0,
		link_now() + REQUEST_TIMEOUT_NS);
	session_settle(chat);
	/* NOTIN, and a connection that is gone, come to the same */
	return r > 0 || r == -ENOTCONN ? 0 : r;
}

PUBLIC int chat_seen(struct chat *chat, const char *target, uint64_t seq)
{
	struct cursor *cursor;
	int r = chat_find_cursor(chat, target, &cursor);

	if (r)
		return r;
	if (seq > cursor->read) {
		cursor->read = seq;
		chat->n_reads += !cursor->is_read_due;
		cursor->is_read_due = true;
		session_push(chat);
		session_settle(chat);
	}
	return 0;
}

/* ---- speaking ---- */

/* Is TARGET well-formed? The last one that was is remembered. */
static bool chat_check_target(struct chat *chat, struct text target)
{
	if (target.len <= TARGET_LEN_MAX && target.len > 0 &&
		memcmp(chat->checked, target.data, target.len + 1) == 0)
		return true;
	if (!target_is_valid(target))
		return false;
	memcpy(chat->checked, target.data, target.len + 1);
	return true;
}

struct say {
	struct text target;
	const void *body;
	size_t len;
	unsigned flags;
	int result; /* of outbox_say(), or SAY_E_RING */
};

/* While it waited for a place in the outbox, the broker was offered the ring that it is to
 * be said through now. */
#define SAY_E_RING (OUTBOX_E_MARKED + 1)

static bool say_try(struct chat *chat, void *argument)
{
	struct say *say = argument;

	if (publication_is_offered(chat, say->target)) {
		say->result = SAY_E_RING;
		return true;
	}
	say->result =
		outbox_say(&chat->outbox, say->target, chat->last_id + 1, say->body, say->len);
	if (say->result != OUTBOX_E_FULL)
		return true;
	(void)outbox_mark(&chat->outbox);
	return false;
}

/* Put it into the outbox, when there is room. Returns 0, also when it is to be said through
 * a ring instead, or an error. */
static int chat_say(struct chat *chat, struct say *say)
{
	if (say_try(chat, say))
		return 0;
	session_poll(chat);
	if (say_try(chat, say))
		return 0;
	if (say->flags & CHAT_NONBLOCK) {
		session_settle(chat);
		return session_fail(chat, -EAGAIN, "%d bytes are not acknowledged", OUTBOX_LEN_MAX);
	}
	return session_await(chat, say_try, say, UINT64_MAX);
}

PUBLIC int chat_send(
	struct chat *chat, const char *target, const void *body, size_t len, unsigned flags)
{
	struct say say = { text_of(target), body, len, flags, 0 };
	int r;

	r = chat_check(chat);
	if (r)
		return r;
	if (chat->state == SESSION_UP && publication_is_at_hand(chat->fast.last, say.target) &&
		len <= BODY_LEN_MAX) {
		r = publication_say(chat, say.target, body, len, flags);
		if (r <= 0)
			return r;
	}
	if (!chat_check_target(chat, say.target))
		return session_fail(chat, -EINVAL, "%.80s: not a room or @name", target);
	if (len > BODY_LEN_MAX)
		return session_fail(
			chat, -EMSGSIZE, "a message has at most %d bytes", BODY_LEN_MAX);
	if (chat->state != SESSION_UP || chat->link.is_deaf)
		session_poll(chat);
	do {
		if ((flags & CHAT_FAST) || chat->fast.n_publications > 0) {
			r = publication_say(chat, say.target, body, len, flags);
			if (r <= 0)
				return r;
		}
		r = chat_say(chat, &say);
		if (r)
			return r;
	} while (say.result == SAY_E_RING);
	if (say.result < 0)
		return session_fail(chat, say.result, "%s", strerror(-say.result));
	chat->last_id++;
	if (flags & CHAT_MORE) {
		session_push_full(chat);
	} else {
		session_mark(chat);
		session_push(chat);
	}
	if (say.result == OUTBOX_E_MARKED)
		session_listen(chat); /* acknowledgements are due */
	session_settle(chat);
	return 0;
}

static bool flush_is_done(struct chat *chat, void *argument)
{
	if (!publications_are_settled(chat)) {
		fast_drain(chat);
		return publications_error(chat) < 0;
	}
	if (chat->outbox.n_unmarked > 0) /* what was poured into it */
		(void)outbox_mark(&chat->outbox);
	return outbox_is_empty(&chat->outbox);
}

PUBLIC int chat_flush(struct chat *chat, int timeout_ms)
{
	unsigned n_refused;
	int r;

	r = chat_check(chat);
	if (r)
		return r;
	r = outbox_mark(&chat->outbox);
	if (r)
		return session_fail(chat, r, "%s", strerror(-r));
	r = session_await(chat, flush_is_done, NULL, deadline_in(timeout_ms));
	session_settle(chat);
	if (r)
		return r;
	r = publications_error(chat);
	if (r < 0)
		return session_fail(chat, r, "the broker can not keep it now: %s", strerror(-r));
	n_refused = MIN(chat->n_refused, (unsigned)INT_MAX);
	chat->n_refused = 0;
	return (int)n_refused;
}

/* ---- listening ---- */

PUBLIC int chat_fd(struct chat *chat)
{
	if (!origin_is_here(&chat->origin))
		return session_is_foreign(chat);
	chat->is_polled = true;
	fast_poll(chat);
	session_settle(chat);
	return chat->link.epoll;
}

/* Read until there is an event, or nothing more to read. */
static int chat_receive_ready(struct chat *chat, struct chat_event *ret_event)
{
	for (int n = 0; n < RECEIVE_TURN_MAX; n++) {
		/* what was put into a ring was there before what is taken from the socket now */
		if (chat->fast.n_subscriptions > 0 && chat->fast.n_turns < RINGS_TURN_MAX &&
			subscriptions_next(chat, ret_event)) {
			chat->fast.n_turns++;
			return 1;
		}
		chat->fast.n_turns = 0;
		if (delivery_next(chat, ret_event))
			return 1;
		if (chat->inbox.is_dropping)
			session_replace(chat);
		session_tick(chat);
		session_push(chat);
		if (inbox_is_empty(&chat->inbox) && session_read(chat) == 0)
			return 0;
	}
	return 0;
}

PUBLIC int chat_receive(struct chat *chat, struct chat_event *ret_event, int timeout_ms)
{
	uint64_t deadline = 0;

	if (!origin_is_here(&chat->origin))
		return session_is_foreign(chat);
	/* most that comes through rings is at hand already */
	if (chat->fast.n_subscriptions == 1 && chat->fast.n_turns < RINGS_TURN_MAX &&
		!chat->fast.is_unrung && outbox_unsent(&chat->outbox) == 0 &&
		subscription_next_at_hand(chat, ret_event)) {
		chat->fast.n_turns++;
		return 1;
	}
	if (outbox_unsent(&chat->outbox) > 0 && !chat->link.is_blocked)
		session_push(chat);
	if (chat->fast.is_unrung)
		fast_ring(chat);
	fast_rise(chat);
	if (chat->is_polled)
		chat->fast.has_seen = false; /* poll(2) said so, for whatever reason */
	for (;;) {
		if (chat_receive_ready(chat, ret_event)) {
			session_settle(chat);
			return 1;
		}
		if (!origin_is_here(&chat->origin))
			return session_is_foreign(chat);
		if (chat->state == SESSION_ENDED)
			return session_ended(chat);
		if (timeout_ms == 0) {
			fast_doubt(chat);
			link_set_awake(&chat->link, false);
			if (chat->is_polled)
				fast_sleep(chat);
			session_settle(chat);
			return 0;
		}
		if (deadline == 0)
			deadline = deadline_in(timeout_ms);
		else if (deadline != UINT64_MAX && link_now() >= deadline)
			return 0;
		if (!inbox_is_empty(&chat->inbox))
			continue;
		if (fast_wait(chat, deadline) == -EINTR)
			return 0;
	}
}
