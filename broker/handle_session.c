/* handle_session.c - HELLO, PING, TIME, QUIT, STOP, CTL: what concerns the session
 * itself, or the broker. */
#include <stdio.h>
#include <string.h>

#include "broker/admin.h"
#include "broker/broker.h"
#include "broker/dispatch.h"
#include "broker/reader.h"
#include "broker/trace.h"
#include "protocol/number.h"
#include "protocol/packet.h"

static int refuse_name(struct session *session, const struct frame *frame, int outcome)
{
	switch (outcome) {
	case USERS_E_WAIT:
		session->is_waiting = true;
		return DISPATCH_E_WAIT;
	case USERS_E_NAME:
		answer_refuse(session, frame, CODE_NAME, "not a name");
		return 0;
	case USERS_E_TAKEN:
		answer_refuse(session, frame, CODE_TAKEN, "this name is somebody else's");
		return 0;
	case USERS_E_RESERVED:
		answer_refuse(session, frame, CODE_TAKEN, "this name is reserved");
		return 0;
	case USERS_E_QUOTA:
		answer_refuse(session, frame, CODE_QUOTA, "names: at the limit of %lu",
			(unsigned long)session->user->account->max[QUOTA_NAMES]);
		return 0;
	case USERS_E_AGAIN:
	case USERS_E_BUSY:
		answer_refuse_name(session, frame, outcome);
		return 0;
	default:
		answer_error(session, frame, outcome);
		return 0;
	}
}

int handle_hello(struct session *session, const struct frame *frame)
{
	char own[NAME_LEN_MAX + 1];
	struct text name = frame_get(frame, 2, "name"), pub = frame_get(frame, 2, "pub");
	struct users *users = &session->broker->users;
	struct text direct = frame_get(frame, 2, "direct");
	uint64_t label = 0, since = 0;
	int r;

	if (!text_equal(frame->word[1], TEXT("1"))) {
		answer_refuse(session, frame, CODE_VERSION, "this broker speaks version 1");
		return 0;
	}
	if (pub.data && !number_parse_hex(pub, &label)) {
		answer_refuse(session, frame, CODE_ARGS, "pub= is not 1 to 16 hexadecimal digits");
		return 0;
	}
	if (direct.data &&
		(direct.len < 2 || direct.data[0] != '@' ||
			!number_parse((struct text){ direct.data + 1, direct.len - 1 }, &since))) {
		answer_refuse(session, frame, CODE_ARGS, "direct= is not @ and a time in ns");
		return 0;
	}
	if (!name.data) {
		user_default_name(session->user, own);
		name = text_of(own);
	}
	r = users_claim(users, session->user, name, &session->wait_link);
	if (r)
		return refuse_name(session, frame, r);
	/* a plain session that spoke already has the person of its user */
	if (session->person) {
		list_unlink(&session->person_link);
		users_put_person(users, TAKE(session->person));
		session->author.name.len = 0; /* it lay there */
	}
	r = session_set_person(session, name);
	if (r < 0) {
		answer_error(session, frame, r);
		return 0;
	}
	if (pub.data) {
		session->author.has_publisher = true;
		session->author.label = label;
	}
	session->has_direct = direct.data || frame_has(frame, 2, "direct");
	session_set_state(session, SESSION_OPEN);
	answer_done(session, frame, "1 name=%s uid=%u broker=%s max=%d%s%s", session->person->name,
		session->user->uid, CHAT_VERSION, PACKET_LEN_MAX,
		frame_has(frame, 2, "batch") ? " batch" : "", session->has_direct ? " direct" : "");
	if (frame_has(frame, 2, "batch")) {
		session->has_batch = true;
		packet_set_buffer(
			session->watch.fd, (int)session->broker->settings.limit[LIMIT_SEND_BUFFER]);
	}
	if (direct.data)
		reader_join_direct_since(session, since);
	return 0;
}

/* "PING [deep]" */
int handle_ping(struct session *session, const struct frame *frame)
{
	if (!frame_has(frame, 1, "deep")) {
		answer_ok(session, frame);
		return 0;
	}
	if (!store_is_open(&session->broker->store)) {
		answer_refuse(session, frame, CODE_STATE, "this broker stores nothing");
		return 0;
	}
	/* the disk has as much to do with it as with a message */
	if (!session_may_say(session))
		return DISPATCH_E_WAIT;
	session_take_token(session);
	hold_probe(session, frame);
	return 0;
}

int handle_time(struct session *session, const struct frame *frame)
{
	answer_done(session, frame, "%lu", (unsigned long)broker_now(session->broker));
	return 0;
}

int handle_quit(struct session *session, const struct frame *frame)
{
	answer_ok(session, frame);
	session_close(session, false, 0, "QUIT", "%s", "");
	return 0;
}

int handle_stop(struct session *session, const struct frame *frame)
{
	struct text reason = frame->rest;

	if (!session_is_admin(session)) {
		trace_shared(&session->user->account->lines, TRACE_WARNING,
			"denied uid=%u pid=%d what=STOP", session->user->uid, session->pid);
		answer_refuse(
			session, frame, CODE_DENIED, "only the broker's user and root may stop it");
		return 0;
	}
	if (frame->n_words < 2)
		reason.len = 0;
	answer_ok(session, frame);
	broker_stop(session->broker, reason, session->user->uid);
	return 0;
}

struct ctl {
	struct session *session;
	const struct frame *frame;
};

static void ctl_line(void *userdata, struct text line)
{
	struct ctl *ctl = userdata;

	answer_row(ctl->session, ctl->frame, line);
}

int handle_ctl(struct session *session, const struct frame *frame)
{
	struct ctl ctl = { session, frame };
	struct text command = frame->has_body ? frame->body : frame->rest;
	const char *why;
	int r;

	if (!session_is_admin(session)) {
		trace_shared(&session->user->account->lines, TRACE_WARNING,
			"denied uid=%u pid=%d what=CTL", session->user->uid, session->pid);
		answer_refuse(session, frame, CODE_DENIED,
			"only the broker's user and root may administer it");
		return 0;
	}
	if (!frame->has_body && frame->n_words < 2) {
		answer_refuse(session, frame, CODE_ARGS, "a command is missing");
		return 0;
	}
	r = admin_command(
		session->broker, text_chomp(command), session->user->uid, ctl_line, &ctl, &why);
	if (r < 0)
		answer_error(session, frame, r);
	else if (r)
		answer_refuse(session, frame, CODE_ARGS, "%s", why);
	else
		answer_ok(session, frame);
	return 0;
}
