/* handle_ring.c - FAST, RING, BELL, RESYNC, WAKER, TOOK: the fast path. */
#include <errno.h>
#include <string.h>

#include "broker/broker.h"
#include "broker/dispatch.h"
#include "broker/fastpath.h"
#include "protocol/number.h"

int handle_fast(struct session *session, const struct frame *frame)
{
	return fast_open(session, frame);
}

int handle_bell(struct session *session, const struct frame *frame)
{
	return fast_bell(session, frame);
}

int handle_ring(struct session *session, const struct frame *frame)
{
	struct text nonce_word = frame_get(frame, 2, "nonce"), at = frame_get(frame, 2, "at");
	struct text seq_word = frame_get(frame, 2, "seq");
	struct rooms *rooms = &session->broker->rooms;
	uint64_t nonce, pos = 0, seq = 1;
	struct room *room;
	int r;

	session->broker->passed.is_asked_for = true;
	if (!text_is_room(frame->word[1])) {
		answer_refuse(session, frame, CODE_ROOM, "not a room name");
		return 0;
	}
	if (!nonce_word.data || !number_parse_hex(nonce_word, &nonce) ||
		(at.data && !number_parse(at, &pos)) ||
		(seq_word.data && (!number_parse(seq_word, &seq) || seq == 0))) {
		answer_refuse(
			session, frame, CODE_ARGS, "nonce=, at= or seq= is missing or malformed");
		return 0;
	}
	r = handle_target_room(session, frame, frame->word[1], true, &room);
	if (r || !room)
		return r;
	if (room->stored && room->stored->is_changing) {
		store_wait(&session->broker->store, session);
		return DISPATCH_E_WAIT;
	}
	if (!handle_room_mode(frame, room))
		answer_refuse(session, frame, CODE_ARGS, "mode= is malformed");
	else
		r = fast_offer(session, frame, room, nonce, pos, seq);
	rooms_release(rooms, room);
	return r;
}

/* The follower that this session has of the ring of NAME UID in a room. */
static struct follower *resync_find(
	struct session *session, struct text room, uint64_t uid, uint64_t label)
{
	list_for_each (link, &session->fast->followers) {
		struct follower *follower = container_of(link, struct follower, fast_link);
		const struct author *author = &follower->feed->fast->author;

		if (author->uid == uid && author->label == label &&
			text_equal(room_target(follower->feed->room), room))
			return follower;
	}
	return NULL;
}

/* "RESYNC room UID p=PUB after=N [since=SEQ]" */
int handle_resync(struct session *session, const struct frame *frame)
{
	struct text p = frame_get(frame, 2, "p"), after_word = frame_get(frame, 2, "after");
	struct text since_word = frame_get(frame, 2, "since");
	uint64_t uid, label, after, since = 0;
	struct follower *follower;

	if (frame->n_words < 5 || !number_parse(frame->word[2], &uid) || !p.data ||
		!number_parse_hex(p, &label) || !after_word.data ||
		!number_parse(after_word, &after) ||
		(since_word.data && !number_parse(since_word, &since))) {
		answer_refuse(
			session, frame, CODE_ARGS, "a user, p=, after= or since= is malformed");
		return 0;
	}
	follower = session->fast ? resync_find(session, frame->word[1], uid, label) : NULL;
	if (!follower) {
		answer_refuse(session, frame, CODE_NOTIN, "no ring that is followed");
		return 0;
	}
	if (session->fast->passed == follower) /* it is told again, when it took that */
		session->fast->passed = NULL;
	follower->n_resyncs++;
	follower_resync(follower, after, since);
	answer_ok(session, frame);
	return 0;
}

int handle_waker(struct session *session, const struct frame *frame)
{
	session->broker->passed.is_asked_for = true;
	fast_take_waker(session, frame);
	return 0;
}

int handle_took(struct session *session, const struct frame *frame)
{
	if (!session->fast || session->fast->passing == FAST_PASS_NONE) {
		answer_refuse(session, frame, CODE_STATE, "nothing was passed");
		return 0;
	}
	fast_took(session, frame_has(frame, 1, "no"));
	answer_ok(session, frame);
	return 0;
}
