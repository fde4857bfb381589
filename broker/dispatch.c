/* dispatch.c - see dispatch.h. */
#include "broker/dispatch.h"

#include <string.h>

#include "broker/broker.h"

static const struct {
	unsigned states; /* bit per state in which the verb may be used */
	size_t n_words;  /* at least, without the verb */
	handler_fn *handler;
} requests[] = {
	[VERB_HELLO] = { 1 << SESSION_SHAKING, 1, handle_hello },
	[VERB_JOIN] = { 1 << SESSION_OPEN, 1, handle_join },
	[VERB_PART] = { 1 << SESSION_OPEN, 1, handle_part },
	[VERB_SAY] = { 1 << SESSION_OPEN, 1, handle_say },
	[VERB_PAST] = { 1 << SESSION_OPEN, 1, handle_past },
	[VERB_FIND] = { 1 << SESSION_OPEN, 1, handle_find },
	[VERB_SEEN] = { 1 << SESSION_OPEN, 1, handle_seen },
	[VERB_SET] = { 1 << SESSION_OPEN, 2, handle_set },
	[VERB_GET] = { 1 << SESSION_OPEN, 1, handle_get },
	[VERB_DELETE] = { 1 << SESSION_OPEN, 1, handle_delete },
	[VERB_WHO] = { 1 << SESSION_OPEN, 0, handle_who },
	[VERB_ROOMS] = { 1 << SESSION_OPEN, 0, handle_rooms },
	[VERB_TIME] = { 1 << SESSION_OPEN, 0, handle_time },
	[VERB_PING] = { 1 << SESSION_OPEN, 0, handle_ping },
	[VERB_STATS] = { 1 << SESSION_OPEN, 0, handle_stats },
	[VERB_CTL] = { 1 << SESSION_OPEN, 0, handle_ctl },
	[VERB_FAST] = { 1 << SESSION_OPEN, 0, handle_fast },
	[VERB_RING] = { 1 << SESSION_OPEN, 1, handle_ring },
	[VERB_BELL] = { 1 << SESSION_OPEN, 0, handle_bell },
	[VERB_RESYNC] = { 1 << SESSION_OPEN, 1, handle_resync },
	[VERB_WAKER] = { 1 << SESSION_OPEN, 0, handle_waker },
	[VERB_TOOK] = { 1 << SESSION_OPEN, 0, handle_took },
	[VERB_QUIT] = { 1 << SESSION_SHAKING | 1 << SESSION_OPEN, 0, handle_quit },
	[VERB_STOP] = { 1 << SESSION_SHAKING | 1 << SESSION_OPEN, 0, handle_stop },
};
_Static_assert(ARRAY_LEN(requests) == VERB_REQUEST_LAST + 1, "every request has a row");

static void refuse_parse(struct session *session, const struct frame *frame, int outcome)
{
	if (outcome == FRAME_E_LINE)
		answer_refuse(session, frame, CODE_TOOBIG, "the line is longer than %d bytes",
			LINE_LEN_MAX);
	else if (outcome == FRAME_E_BODY)
		answer_refuse(session, frame, CODE_TOOBIG, "the body is longer than %d bytes",
			BODY_LEN_MAX);
	else
		answer_refuse(session, frame, CODE_FRAME, "not a frame");
}

/* What it said before is answered first. What is answered at once waits among the answers; all
 * else waits before it is done. */
static int dispatch_settled(struct session *session, const struct frame *frame)
{
	if (session->hold && frame->verb != VERB_SAY && frame->verb != VERB_PING) {
		store_wait(&session->broker->store, session);
		return DISPATCH_E_WAIT;
	}
	return requests[frame->verb].handler(session, frame);
}

static int dispatch_request(struct session *session, const struct frame *frame)
{
	if (!verb_is_request(frame->verb)) {
		answer_refuse(session, frame, CODE_VERB, "unknown verb");
		return 0;
	}
	if (!(requests[frame->verb].states & 1u << session->state)) {
		answer_refuse(session, frame, CODE_STATE, "%s",
			session->state == SESSION_OPEN ? "HELLO was said already"
						       : "say HELLO first");
		return 0;
	}
	if (frame->n_words - 1 < requests[frame->verb].n_words) {
		answer_refuse(session, frame, CODE_ARGS, "a word is missing");
		return 0;
	}
	return dispatch_settled(session, frame);
}

int dispatch_frame(struct session *session, struct text packet)
{
	struct frame frame;
	int r;

	if (session->is_unmapped) {
		session_refuse_unmapped(session, packet);
		return 0;
	}
	if (session->state == SESSION_OPEN && handle_say_again(session, packet))
		return 0;
	r = frame_parse(&frame, packet);
	if (r) {
		refuse_parse(session, &frame, r);
		return 0;
	}
	return dispatch_request(session, &frame);
}

/* HELLO, or a request that came before it. */
static bool plain_is_frame(int parsed, const struct frame *frame)
{
	if (frame->verb == VERB_HELLO || frame->verb == VERB_BATCH)
		return frame->n_words > 1 || frame->tag.len > 0 || frame->has_body || parsed != 0;
	return verb_is_request(frame->verb) &&
	       (frame->n_words > 1 || frame->tag.len > 0 || frame->has_body);
}

int dispatch_plain(struct session *session, struct text packet)
{
	struct text line = text_chomp(packet);
	struct frame frame;
	int r;

	if (session->is_unmapped) {
		session_refuse_unmapped(session, packet);
		return 0;
	}
	r = frame_parse(&frame, line);
	if (frame.tag.len == 0 &&
		(text_equal(line, TEXT("QUIT")) || text_equal(line, TEXT("STOP"))))
		return dispatch_settled(session, &frame);
	if (frame.verb == VERB_HELLO && frame.n_words > 1) {
		session_set_state(session, SESSION_SHAKING);
		return dispatch_frame(session, packet);
	}
	if (plain_is_frame(r, &frame)) {
		answer_refuse(session, &frame, CODE_STATE, "say HELLO first");
		return 0;
	}
	if (line.len > BODY_LEN_MAX) {
		answer_refuse(session, &frame, CODE_TOOBIG, "the line is too long");
		return 0;
	}
	if (!session->person) {
		char name[NAME_LEN_MAX + 1];

		user_default_name(session->user, name);
		/* who took it before there was the account gives it back, as at HELLO;
		 * one's own name is never refused and never waited for */
		(void)users_claim(
			&session->broker->users, session->user, text_of(name), &session->wait_link);
		r = session_set_person(session, text_of(name));
		if (r < 0) {
			answer_error(session, &frame, r);
			return 0;
		}
	}
	return handle_say_in(session, &frame, TEXT("lobby"), (struct text){ "", 0 }, line);
}

void dispatch_truncated(struct session *session, struct text start)
{
	struct frame frame;

	(void)frame_parse(&frame, start); /* for its tag */
	answer_refuse(
		session, &frame, CODE_TOOBIG, "the packet is longer than %d bytes", PACKET_LEN_MAX);
}
