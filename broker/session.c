/* session.c - see session.h.
 *
 * A session is in the line of its account for reading while there is input that it may
 * take, and in that for sending while there is output that its socket may take. Both
 * are the loop's work; a session that waits for anything is in neither, so an idle or stuck
 * client costs nothing.
 */
#include "broker/session.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "broker/answer.h"
#include "broker/broker.h"
#include "broker/descriptors.h"
#include "broker/dispatch.h"
#include "broker/fastpath.h"
#include "broker/find.h"
#include "broker/output.h"
#include "broker/reader.h"
#include "broker/trace.h"
#include "protocol/packet.h"
#include "protocol/record.h"
#include "protocol/uid.h"

/* How often the diagnostics are told at most that a user is over a rate, ns. */
#define TELL_RATE_NS (UINT64_C(60) * 1000000000)

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
	trace_shared(&session->user->account->lines, TRACE_DEBUG,
		"session number=%lu uid=%u from=%s to=%s", (unsigned long)session->number,
		session->user->uid, state_names[session->state], state_names[state]);
	session->state = state;
}

bool session_is_admin(const struct session *session)
{
	return session->user->uid == 0 || session->user->uid == session->broker->users.self;
}

bool session_may_see(const struct session *session, const struct room *room)
{
	return !room_is_conversation(room) ||
	       (session->person &&
		       room_has_party(room, text_of(session->person->name), session->user->uid));
}

uint64_t session_blocked_ns(const struct session *session)
{
	return session->is_writable ? 0 : session->broker->users.now - session->blocked_at;
}

const char *session_name(const struct session *session)
{
	return session->person ? session->person->name : "-";
}

/* ---- input ---- */

static bool session_takes_input(const struct session *session)
{
	return session->state > SESSION_NEW && session->state < SESSION_CLOSING &&
	       !session->is_waiting && session_output_len(session) <= ANSWERS_HELD_MAX &&
	       !hold_is_full(session->hold);
}

void session_line_up(struct session *session)
{
	bool ready = session_takes_input(session) && (session->is_readable || session->held);

	if (ready && !list_is_linked(&session->ready_link))
		turns_add(&session->broker->reading, &session->user->account->reading,
			&session->ready_link);
	else if (!ready)
		list_unlink(&session->ready_link);
}

/* Returns 0, QUOTA_E_LIMIT or -ENOMEM. */
static int session_keep(struct session *session, const char *start, size_t start_len,
	const char *rest, size_t rest_len)
{
	size_t len = start_len + rest_len;

	if (quota_charge(session->user->account, QUOTA_BYTES, len))
		return QUOTA_E_LIMIT;
	session->held = malloc(sizeof *session->held + len);
	if (!session->held) {
		quota_discharge(session->user->account, QUOTA_BYTES, len);
		return -ENOMEM;
	}
	memcpy(session->held->data, start, start_len);
	memcpy(session->held->data + start_len, rest, rest_len);
	session->held->len = len;
	return 0;
}

/* Keep what is left of a packet until it can go on, or close the session: others are not to wait
 * because its user has no memory left. */
static void session_hold(struct session *session, const char *start, size_t start_len,
	const char *rest, size_t rest_len)
{
	int r = session_keep(session, start, start_len, rest, rest_len);

	if (r)
		session_close(session, false, 0, r < 0 ? "AGAIN" : "QUOTA",
			r < 0 ? "the broker is out of memory"
			      : "bytes: too many unfinished requests");
}

static void session_framing(struct session *session, const char *what)
{
	if (session->state >= SESSION_CLOSING)
		return;
	trace_shared(&session->user->account->lines, TRACE_WARNING,
		"framing uid=%u pid=%d name=%s reason=\"%s\"", session->user->uid, session->pid,
		session_name(session), what);
	session->broker->n_framing++;
	session_close(session, false, 0, "FRAMING", "%s", what);
}

/* Others wait for their turn: it is over, or it is so by more than a packet may take. */
static bool session_is_spent(const struct session *session, uint64_t over_ns)
{
	return broker_clock() >= session->broker->turn_end + over_ns;
}

static void session_batch(struct session *session, struct text packet)
{
	const char *at = packet.data + BATCH_START_LEN, *end = packet.data + packet.len;
	unsigned n_unclocked = 0;
	struct text frame;
	int r;

	for (;;) {
		const char *before = at;
		uint64_t n_said = session->said.total;

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
		if (at < end && !session_takes_input(session)) {
			session_hold(session, BATCH_START, BATCH_START_LEN, at, (size_t)(end - at));
			return;
		}
		/* a message costs little; what another request walks over is not known */
		if (session->said.total > n_said && ++n_unclocked < SESSION_CLOCK_MESSAGES)
			continue;
		n_unclocked = 0;
		if (at < end && session_is_spent(session, BROKER_PACKET_NS)) {
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

	rooms_take_up(&session->broker->rooms, broker_now(session->broker));
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
	struct held *held = TAKE(session->held);

	/* before, so that what has to be held again is not charged twice */
	quota_discharge(session->user->account, QUOTA_BYTES, held->len);
	session_packet(session, (struct text){ held->data, held->len });
	free(held);
}

/* With descriptors, where they can come. */
static int session_receive_packet(struct session *session, char *buffer, size_t *ret_len)
{
	struct broker *broker = session->broker;
	struct passed *passed = &broker->passed;

	passed->n = 0;
	passed->is_asked_for = false;
	if (!session->may_pass)
		return packet_receive(session->watch.fd, buffer, PACKET_LEN_MAX, ret_len);
	if (closers_reserve(&broker->closers) < 0)
		return -ENOMEM;
	return packet_receive_rights(session->watch.fd, buffer, PACKET_LEN_MAX,
		!descriptors_have_room(broker, session->user->account, PACKET_RIGHTS_MAX), ret_len,
		passed->fds, &passed->n);
}

/* Hand over the descriptors that were not taken. USER is whose they are: the session may be gone.
 */
static void session_drop_passed(struct session *session, struct user *user)
{
	struct broker *broker = session->broker;
	struct passed *passed = &broker->passed;

	if (passed->n == 0)
		return;
	if (!passed->is_asked_for)
		session_framing(session, "a file descriptor that nobody asked for");
	else if (closers_are_stuck(user->account, broker->users.now))
		session_close(session, false, 0, "QUOTA",
			"descriptors: some that were passed cannot be closed");
	/* its memory was reserved */
	(void)closers_add(&broker->closers, user, passed->fds, passed->n);
	passed->n = 0;
}

static void session_receive(struct session *session)
{
	char *buffer = session->broker->input;
	struct user *user = user_ref(session->user);
	size_t len = 0;
	int r;

	r = session_receive_packet(session, buffer, &len);
	switch (r) {
	case 0:
		session->broker->n_packets++;
		if (session->broker->passed.n > 0 && !session->fast)
			break; /* it has none that asks for some */
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
		/* it may have closed one direction only, and wait for its answers */
		if (!session->is_deaf)
			(void)output_flush_answers(session);
		session_end(session);
		break;
	}
	session_drop_passed(session, user);
	users_put(&session->broker->users, user);
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
		if (session->broker->is_calm || session_is_spent(session, 0))
			break;
	}
	list_unlink(&session->ready_link);
	session_line_up(session);
}

/* ---- the user ---- */

/* A user is over a rate: told once a minute, or its client would fill the diagnostics. */
static void user_tell_rate(
	const struct users *users, struct user *user, const char *what, const struct rate *rate)
{
	struct quota_account *account = user->account;

	if (account->told_at > 0 && users->now - account->told_at < TELL_RATE_NS)
		return;
	account->told_at = users->now;
	trace_shared(&account->lines, TRACE_WARNING, "quota uid=%u user=%s what=%s limit=%lu",
		user->uid, user->name[0] ? user->name : "-", what, (unsigned long)rate->max);
}

void session_refuse_unmapped(struct session *session, struct text packet)
{
	char why[UID_WHY_MAX];
	struct frame frame;

	uid_why(session->user->uid, why);
	(void)frame_parse(&frame, packet);
	if (session->state == SESSION_PLAIN && frame.verb == VERB_HELLO && frame.n_words > 1)
		session_set_state(session, SESSION_SHAKING);
	answer_refuse(session, &frame, CODE_UNMAPPED, "%s", why);
	if (++session->n_unmapped == SESSION_UNMAPPED_MAX)
		session_close(session, false, 0, "UNMAPPED", "%s", why);
}

/* Say BYE and close now: what is not let in holds no descriptor until the round ends. */
_printf_(3, 4) static void session_turn_away(
	struct session *session, const char *code, const char *format, ...)
{
	char text[LINE_LEN_MAX];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof text, format, ap);
	va_end(ap);
	session_close(session, false, 0, code, "%s", text);
	session_flush(session);
}

/* More than its user's share of the descriptors? */
static bool user_is_fair(struct broker *broker, const struct user *user, char *why)
{
	uint64_t n_held = descriptors_held(user->account);
	uint64_t n_left = descriptors_left(broker);

	if (descriptors_are_shared(n_held, n_left))
		return true;
	broker->n_turned_away++;
	trace_shared(&user->account->lines, TRACE_WARNING,
		"quota uid=%u user=%s what=descriptors used=%lu left=%lu", user->uid,
		user->name[0] ? user->name : "-", (unsigned long)n_held, (unsigned long)n_left);
	snprintf(why, SESSION_WHY_MAX, "connections: %lu descriptors are left",
		(unsigned long)n_left);
	return false;
}

/* May the user have another connection? If so, it is to be charged, and counted in its rate. */
static bool user_may_connect(
	struct broker *broker, struct user *user, char why[static SESSION_WHY_MAX])
{
	struct quota_account *account = user->account;
	uint64_t n_used = account->used[QUOTA_CONNECTIONS], n_max = account->max[QUOTA_CONNECTIONS];
	struct rate *connects = &account->connects;

	if (!rate_has(connects, broker->users.now)) {
		user_tell_rate(&broker->users, user, "connects", connects);
		snprintf(why, SESSION_WHY_MAX, "connects: at the limit of %lu a second",
			(unsigned long)connects->max);
		return false;
	}
	if (n_used < n_max && user_is_fair(broker, user, why))
		return true;
	rate_take(connects);
	if (n_used >= n_max) {
		trace_shared(&account->lines, TRACE_WARNING,
			"quota uid=%u user=%s what=connections used=%lu limit=%lu", user->uid,
			user->name[0] ? user->name : "-", (unsigned long)n_used,
			(unsigned long)n_max);
		snprintf(why, SESSION_WHY_MAX, "connections: at the limit of %lu",
			(unsigned long)n_max);
	}
	return false;
}

bool session_may_come(struct broker *broker, uid_t uid, char why[static SESSION_WHY_MAX])
{
	struct user *user = users_find(&broker->users, uid);

	return !user || !user->is_known || user_may_connect(broker, user, why);
}

/* The connection counts from the moment we know whose it is. */
static void session_admit(struct session *session)
{
	struct users *users = &session->broker->users;
	struct user *user = session->user;
	char why[SESSION_WHY_MAX];
	int r;

	r = users_await(users, user, &session->wait_link);
	if (r == USERS_E_WAIT) {
		session->is_waiting = true;
		return;
	}
	if (r) {
		session_turn_away(session, "AGAIN",
			r == USERS_E_BUSY
				? "too many connections wait for the user database; try again later"
				: "the user database does not answer");
		return;
	}
	if (!user_may_connect(session->broker, user, why)) {
		session_turn_away(session, "QUOTA", "%s", why);
		return;
	}
	rate_take(&user->account->connects);
	(void)quota_charge(user->account, QUOTA_CONNECTIONS, 1); /* that was looked at */
	session->is_charged = true;
	session_set_state(session, SESSION_PLAIN);
}

void session_wake(struct list *wait_link)
{
	struct session *session = container_of(wait_link, struct session, wait_link);

	session->is_waiting = session->is_storing = false;
	if (session->is_slowed) {
		session->is_slowed = false;
		session->has_token = true;
	}
	if (session->state == SESSION_NEW)
		session_admit(session);
	session_line_up(session);
}

bool session_may_say(struct session *session)
{
	struct users *users = &session->broker->users;
	struct throttle *throttle = &session->user->account->throttle;

	if (session->has_token || throttle_is_open(throttle, users->now))
		return true;
	if (!session->is_waiting) {
		user_tell_rate(users, session->user, "rate", &throttle->rate);
		throttle_wait(throttle, &users->throttled, users->now, &session->wait_link);
		session->is_waiting = session->is_slowed = true;
	}
	return false;
}

bool session_is_left(const struct session *session)
{
	struct pollfd poll_fd = { session->watch.fd, 0, 0 };

	return poll(&poll_fd, 1, 0) == 1 && poll_fd.revents & (POLLHUP | POLLERR);
}

void session_take_token(struct session *session)
{
	if (session->has_token)
		session->has_token = false;
	else
		rate_take(&session->user->account->throttle.rate);
}

void session_count_said(struct session *session, struct room *room, size_t len)
{
	struct quota_account *account = session->user->account;
	uint32_t second = session->broker->users.second;

	session_take_token(session);
	meter_add(&session->said, second, 1);
	meter_add(&account->said, second, 1);
	meter_add(&account->said_bytes, second, len);
	meter_add(&room->appended, second, 1);
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

static int session_say_bye(struct session *session)
{
	char line[32];

	if (!session->bye)
		return 0;
	if (session->owns_bye)
		return output_send_text(session, text_of(session->bye));
	snprintf(line, sizeof line, "BYE %s", session->bye);
	return output_send_text(session, text_of(line));
}

/* BYE and out. Whatever the client sent meanwhile is taken off the socket first, or
 * the kernel would tell it ECONNRESET instead of what we said last. */
static void session_finish(struct session *session)
{
	char *buffer = session->broker->input;
	size_t len;
	int r;

	if (session_say_bye(session) < 0 && !session->is_deaf)
		return;
	if (!session->may_pass) { /* else session_release_socket() does it */
		shutdown(session->watch.fd, SHUT_RD);
		do
			r = packet_receive(session->watch.fd, buffer, PACKET_LEN_MAX, &len);
		while (r == 0 || r == PACKET_E_TRUNCATED);
	}
	session_end(session);
}

/* Is there more for its cursors, here or on the disk? */
static bool session_has_more(const struct session *session)
{
	if (!list_is_empty(&session->pending))
		return true;
	list_for_each (link, &session->cursors)
		if (container_of(link, struct cursor, session_link)->awaits_disk)
			return true;
	return false;
}

void session_flush(struct session *session)
{
	list_unlink(&session->flush_link);
	if (session->state == SESSION_GONE || !session->is_writable)
		return;
	if (output_flush_answers(session) == 0 && fast_flush(session) == 0 &&
		(session->state != SESSION_CLOSING || session->is_owed))
		(void)output_flush_pending(session);
	if (session->state == SESSION_CLOSING &&
		(session->is_deaf || (session->is_writable && session_output_len(session) == 0 &&
					     !session->hold &&
					     (!session->is_owed || !session_has_more(session))))) {
		session_finish(session);
		return;
	}
	session_line_up(session);
	if (session_output_len(session) > 0 || !list_is_empty(&session->pending))
		output_schedule(session);
}

/* ---- life ---- */

static void session_ready(struct watch *watch, uint32_t events)
{
	struct session *session = container_of(watch, struct session, watch);

	if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
		session->is_readable = true;
		if (events & (EPOLLHUP | EPOLLERR) && !session->is_deaf)
			output_deafen(session);
		session_line_up(session);
	}
	if (!session->is_writable && (events & (EPOLLOUT | EPOLLHUP))) {
		session->is_writable = true;
		loop_change(&session->broker->loop, &session->watch, SESSION_EVENTS);
		output_schedule(session);
	}
	if (session->state == SESSION_CLOSING)
		output_schedule(session);
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
	session->may_pass = !broker->listener.refuses_rights;
	session->is_unmapped = uid_is_unmapped(uid);
	session->opened_at = broker->users.now;
	list_init(&session->sessions_link);
	list_init(&session->ready_link);
	list_init(&session->flush_link);
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

/* Close its socket, with what its client passed and nobody received: see closer.h. Returns 0 or
 * -ENOMEM. */
static int session_release_socket(struct session *session, struct user *user)
{
	int r = 0;

	if (session->may_pass)
		r = closers_add_socket(&session->broker->closers, user, session->watch.fd);
	else
		close(session->watch.fd);
	if (r == 0)
		session->watch.fd = -1;
	return r;
}

/* Let go of everything but the memory, which events of this round may still name. */
void session_end(struct session *session)
{
	struct broker *broker = session->broker;

	if (session->state == SESSION_GONE)
		return;
	reader_part_all(session);
	fast_end(session);
	list_unlink(&session->ready_link);
	list_unlink(&session->flush_link);
	list_unlink(&session->wait_link);
	list_unlink(&session->sessions_link);
	output_drop(session);
	hold_free(session);
	find_free(find_take_found(session));
	if (session->held) {
		quota_discharge(session->user->account, QUOTA_BYTES, session->held->len);
		free(TAKE(session->held));
	}
	list_unlink(&session->person_link);
	users_put_person(&broker->users, TAKE(session->person));
	if (session->is_charged)
		quota_discharge(session->user->account, QUOTA_CONNECTIONS, 1);
	session_set_state(session, SESSION_GONE);
	loop_remove(&broker->loop, &session->watch);
	(void)session_release_socket(session, session->user);
	users_put(&broker->users, TAKE(session->user));
	broker->n_sessions--;
	list_append(&broker->gone, &session->sessions_link);
}

void session_free(struct session *session)
{
	if (session->watch.fd >= 0 && session_release_socket(session, NULL) < 0)
		return;
	list_unlink(&session->sessions_link);
	if (session->owns_bye)
		free((char *)session->bye);
	free(session);
}

/* Make words of what somebody typed: single spaces, whole characters. */
static void text_make_words(char *text)
{
	char *out = text;
	size_t len;

	for (const char *p = text; *p; p++) {
		if ((unsigned char)*p > ' ' && *p != 0x7f)
			*out++ = *p;
		else if (out > text && out[-1] != ' ')
			*out++ = ' ';
	}
	len = (size_t)(out - text);
	while (len > 0 && (text[len - 1] == ' ' || !text_is_utf8((struct text){ text, len })))
		len--;
	text[len] = '\0';
}

void session_close(struct session *session, bool is_owed, uint64_t deadline, const char *code,
	const char *format, ...)
{
	struct broker *broker = session->broker;
	bool was_new = session->state == SESSION_NEW;
	char text[LINE_LEN_MAX - 16]; /* the line is "BYE CODE TEXT" */
	char *bye;
	va_list ap;

	if (session->state >= SESSION_CLOSING)
		return;
	va_start(ap, format);
	vsnprintf(text, sizeof text, format, ap);
	va_end(ap);
	text_make_words(text);
	session->was_plain = session->state == SESSION_PLAIN;
	/* a plain session gets answers and nothing else; one that is not let in is
	 * told why, though nothing is known of it yet */
	if (!session->was_plain && (!was_new || strcmp(code, "STOP") != 0)) {
		session->owns_bye =
			asprintf(&bye, "BYE %s%s%s", code, text[0] ? " " : "", text) >= 0;
		session->bye = session->owns_bye ? bye : code;
	}
	session_set_state(session, SESSION_CLOSING);
	session->is_owed = is_owed;
	session->is_waiting = session->is_slowed = session->is_storing = false;
	list_unlink(&session->wait_link);
	session->deadline = deadline ? deadline : broker->users.now + SESSION_CLOSE_NS;
	list_append(&broker->closing, &session->wait_link);
	session_line_up(session);
	output_schedule(session);
}
