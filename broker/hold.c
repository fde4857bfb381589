/* hold.c - see hold.h. */
#include "broker/hold.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/answer.h"
#include "broker/broker.h"
#include "broker/output.h"
#include "broker/room.h"
#include "broker/session.h"
#include "broker/store.h"

/* What one grows by. */
#define HOLD_MIN 16

static void held_answer_drop(struct held_answer *answer)
{
	if (answer->stored)
		stored_put(answer->stored);
	free(answer->text);
}

void hold_free(struct session *session)
{
	struct hold *hold = TAKE(session->hold);

	if (!hold)
		return;
	for (size_t i = hold->at; i < hold->n; i++)
		held_answer_drop(&hold->answers[i]);
	quota_discharge(session->user->account, QUOTA_BYTES, hold->size * sizeof *hold->answers);
	list_unlink(&hold->link);
	free(hold->answers);
	free(hold);
}

static struct hold *hold_get(struct session *session)
{
	struct hold *hold = session->hold;

	if (hold)
		return hold;
	hold = calloc(1, sizeof *hold);
	if (!hold)
		return NULL;
	hold->session = session;
	list_append(&session->broker->store.holds, &hold->link);
	session->hold = hold;
	return hold;
}

/* Room for one more. Returns 0, QUOTA_E_LIMIT or -ENOMEM. */
static int hold_grow(struct session *session, struct hold *hold)
{
	size_t size = MAX((size_t)HOLD_MIN, hold->size * 2);
	struct held_answer *answers;

	if (hold->at > 0) {
		memmove(hold->answers, hold->answers + hold->at,
			(hold->n - hold->at) * sizeof *answers);
		hold->n -= hold->at;
		hold->at = 0;
	}
	if (hold->n < hold->size)
		return 0;
	if (quota_charge(
		    session->user->account, QUOTA_BYTES, (size - hold->size) * sizeof *answers))
		return QUOTA_E_LIMIT;
	answers = realloc(hold->answers, size * sizeof *answers);
	if (!answers) {
		quota_discharge(
			session->user->account, QUOTA_BYTES, (size - hold->size) * sizeof *answers);
		return -ENOMEM;
	}
	hold->answers = answers;
	hold->size = size;
	return 0;
}

/* One more answer, or NULL: then the session is closed. */
static struct held_answer *hold_add(struct session *session)
{
	struct hold *hold = hold_get(session);
	int r = hold ? 0 : -ENOMEM;

	if (hold && hold->n == hold->size)
		r = hold_grow(session, hold);
	if (r) {
		session_close(session, false, 0, r < 0 ? "AGAIN" : "QUOTA",
			r < 0 ? "the broker is out of memory"
			      : "bytes: too many answers that wait for the disk");
		return NULL;
	}
	hold->answers[hold->n] = (struct held_answer){ 0 };
	return &hold->answers[hold->n++];
}

/* One that comes with the next batch. NULL: the session is closed. */
static struct held_answer *hold_add_request(struct session *session, const struct frame *frame)
{
	struct held_answer *answer = hold_add(session);

	if (!answer)
		return NULL;
	answer->batch = session->broker->store.building;
	answer->verb = frame->verb;
	answer->tag_len = (uint8_t)frame->tag.len;
	if (frame->tag.len > 0)
		memcpy(answer->tag, frame->tag.data, frame->tag.len);
	return answer;
}

void hold_done(struct session *session, const struct frame *frame, struct room *room, uint64_t id,
	uint64_t seq)
{
	struct held_answer *answer = hold_add_request(session, frame);

	if (!answer)
		return;
	answer->stored = stored_ref(room->stored);
	answer->seq = seq;
	answer->id = id;
}

void hold_probe(struct session *session, const struct frame *frame)
{
	if (hold_add_request(session, frame))
		store_probe(&session->broker->store);
}

bool hold_answer(struct session *session, struct text line)
{
	struct held_answer *answer;

	if (!session->hold || session->hold->is_settling)
		return false;
	answer = hold_add(session);
	if (!answer)
		return true;
	answer->text = malloc(line.len + 1);
	if (!answer->text) {
		session_close(session, false, 0, "AGAIN", "the broker is out of memory");
		return true;
	}
	memcpy(answer->text, line.data, line.len);
	answer->text[line.len] = '\0';
	return true;
}

/* The request as it was, as far as an answer repeats it. */
static struct frame request_of(
	const struct held_answer *answer, char id[static NUMBER_DECIMAL_MAX + 4])
{
	struct frame frame = {
		.tag = { answer->tag, answer->tag_len },
		.verb = answer->verb,
		.n_words = 1,
		.word = { text_of(verb_name(answer->verb)) },
	};

	if (answer->stored && answer->stored->room)
		frame.word[frame.n_words++] = room_target(answer->stored->room);
	if (answer->id > 0) {
		int n = snprintf(id, NUMBER_DECIMAL_MAX + 4, "id=%lu", (unsigned long)answer->id);

		frame.word[frame.n_words++] = (struct text){ id, (size_t)n };
	}
	return frame;
}

static void answer_settle(struct session *session, const struct held_answer *answer, int error)
{
	char id[NUMBER_DECIMAL_MAX + 4];
	struct frame frame;

	if (answer->text) {
		output_put(session, text_of(answer->text));
		return;
	}
	frame = request_of(answer, id);
	if (error)
		answer_error(session, &frame, error);
	else if (answer->verb == VERB_PING)
		answer_ok(session, &frame);
	else if (answer->tag_len > 0 || session_is_plain(session))
		answer_done(session, &frame, "%lu", (unsigned long)answer->seq);
}

/* Answer what is stored with batch DONE, or with an ERROR everything. */
static void hold_settle(struct hold *hold, uint64_t done, int error)
{
	struct session *session = hold->session;

	hold->is_settling = true;
	while (hold->at < hold->n && (error || hold->answers[hold->at].batch <= done)) {
		struct held_answer *answer = &hold->answers[hold->at];

		answer_settle(session, answer, error);
		held_answer_drop(answer);
		hold->at++;
	}
	hold->is_settling = false;
	if (hold->at == hold->n)
		hold_free(session);
	session_line_up(session);
	if (session->state == SESSION_CLOSING)
		output_schedule(session);
}

void holds_settle(struct store *store)
{
	list_for_each (link, &store->holds)
		hold_settle(container_of(link, struct hold, link), store->done, 0);
}

void holds_fail(struct store *store, int error)
{
	list_for_each (link, &store->holds)
		hold_settle(container_of(link, struct hold, link), 0, error);
}
