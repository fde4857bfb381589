/* subscription.h - a ring of somebody else that this chat reads.
 *
 * The broker says in the stream of a room when to begin, and where, and when it is over,
 * so what comes from the log and what comes from the ring are one sequence. Beside that
 * the publisher's numbers tell what was had already. chat-ring(7), section HAND-OVER.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "client/chat.h"
#include "protocol/limits.h"
#include "protocol/ring.h"
#include "protocol/sealed.h"

struct chat;
struct cursor;
struct frame;

enum subscription_state {
	SUBSCRIPTION_READING,
	SUBSCRIPTION_LOST,   /* it was overtaken, or packets were dropped: RING will tell */
	SUBSCRIPTION_ENDING, /* to be read up to record UNTIL */
};

struct subscription {
	struct sealed memory; /* owned; at is NULL: this one is not in use */
	struct ring_reader reader;
	enum subscription_state state;
	struct cursor *cursor; /* borrowed */
	uint64_t label, nonce;
	uid_t uid;
	char name[NAME_LEN_MAX + 1], of[NAME_LEN_MAX + 1]; /* of "" if there is none */
	char *buffer;                                      /* owned */
	struct ring_batch batch;                           /* of it, what was not delivered */
	struct ring_message head;                          /* the next to be delivered */
	bool has_head;
	bool is_resync_due;
	bool is_served;    /* by the log, since its cursor was joined again: RING did not come */
	unsigned n_lapped; /* times in a row, without a record between */
	bool is_distrusted;
	unsigned n_resyncs; /* that were sent: what was told before the last does not hold */
	bool owes_took;     /* its UNRING was not confirmed yet */
	uint64_t last;      /* highest of the publisher's numbers that were delivered */
	uint64_t next;      /* record behind it, by whichever way it came; 0: not known */
	/* Of the log of that number, what is before SINCE was delivered. */
	uint64_t since, since_log;
	uint64_t read; /* record behind the last that it had from the ring */
	bool is_loose; /* after it was lost: what begins now may be beyond that */
	/* What is read now was put after FLOOR, whatever time it says: for at MARK_TIME, when the
	 * reader stood at MARK_POS, there was no more than one ring ahead of it. */
	uint64_t floor, mark_pos, mark_time;
	uint64_t until; /* while ENDING; 0: to where it is empty */
};

/* The one of LABEL and UID in CURSOR's room, or NULL. */
struct subscription *subscription_find(
	struct chat *chat, const struct cursor *cursor, uid_t uid, uint64_t label);

/* RING or UNRING, in the stream of CURSOR. Returns 1 with an event, or 0. */
int subscription_deliver(struct chat *chat, const struct frame *frame, struct cursor *cursor,
	struct chat_event *ret_event);

/* GAP of a publisher, in the stream of CURSOR: 1 with an event, or 0 if it has all that. */
int subscription_gap(struct chat *chat, const struct frame *frame, struct cursor *cursor,
	struct chat_event *ret_event);

/* A message of its publisher, number N, came from the log: what the ring still has before
 * that. 1 with an event, or 0; the subscription may be closed then. */
int subscription_next_before(struct chat *chat, struct subscription *subscription, uint64_t n,
	struct chat_event *ret_event);

/* And then it. True when it is new. */
bool subscription_note(struct subscription *subscription, uint64_t n);

/* The log told of a gap: what those miss that were lost is told with it. */
void subscriptions_note_gap(struct chat *chat, const struct cursor *cursor);

/* The cursor starts anew where it was told: what a ring had before that is not missed. */
void subscriptions_restart(struct chat *chat, const struct cursor *cursor);

/* The cursor goes. */
void subscriptions_drop(struct chat *chat, const struct cursor *cursor);

/* The number of LOG before which it had everything; 0: that is not known. */
static inline uint64_t subscription_since(const struct subscription *subscription, uint64_t log)
{
	return subscription->since_log == log ? subscription->since : 0;
}

/* It was joined again: until RING comes, what its publishers say comes from the log. */
void subscriptions_serve(struct chat *chat, const struct cursor *cursor);

/* The cursor is joined again, at NEXT of LOG: rings of a room that is kept are not read
 * until they are told again, and what they still had comes from the log. Returns where it
 * must begin for that: NEXT, or before. */
uint64_t subscriptions_suspend(
	struct chat *chat, const struct cursor *cursor, uint64_t next, uint64_t log);

/* What RING and UNRING passed is taken, or not. */
void subscription_confirm(struct chat *chat, bool is_taken);
/* RESYNC was sent, or need not be; TOOK for an end that it did not get to can follow. */
void subscription_settle(struct chat *chat, struct subscription *subscription);

void subscription_close(struct chat *chat, struct subscription *subscription);

/* The next event of any ring: of several the one that was put first. 1 or 0. */
int subscriptions_next(struct chat *chat, struct chat_event *ret_event);

/* The same, of the only one there is, and only what was copied out of it already. */
bool subscription_next_at_hand(struct chat *chat, struct chat_event *ret_event);

/* Is there something in one of them? */
bool subscriptions_are_ready(const struct chat *chat);
