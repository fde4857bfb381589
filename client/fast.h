/* fast.h - what a chat has of the fast path: its control page, where it sleeps, the rings
 * it speaks through (publications) and those it reads (subscriptions). chat-ring(7).
 *
 * Everything is asked for in passing and comes when it comes: until then, and where it
 * never does, messages go through the socket. Frames that must be sent are marked as due
 * here and go with session_push().
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "client/publication.h"
#include "client/subscription.h"
#include "protocol/control.h"
#include "protocol/sealed.h"
#include "protocol/waker.h"

struct chat;
struct frame;

struct fast {
	bool is_off;       /* CHAT_NO_SHM, or there was no memory */
	bool is_barred;    /* no descriptors were left: it is not asked for on a new connection */
	bool is_wanted;    /* somebody asked for it */
	bool is_asked;     /* FAST was sent, on this connection */
	bool is_refused;   /* and refused */
	uint64_t offer_at; /* when a ring may be offered again, after one was refused */
	bool is_polled;    /* who sleeps waits for a descriptor */

	struct sealed control; /* of this connection; not mapped: it did not come yet */
	struct sleeper sleeper;
	bool is_sleeping;
	uint32_t packets_seen; /* the counter, when the socket was read until it was empty */
	bool has_seen;
	unsigned n_blind;     /* looks that believed the counter, and */
	uint64_t blind_since; /* when the socket was read all the same */
	uint32_t bell_seen;

	unsigned n_tooks;    /* TOOK is due so often, */
	unsigned n_refusals; /* and so often with a no */
	bool is_waker_due, is_bell_due, is_drain_due;
	uint64_t n_drains, n_drained; /* barriers that were asked for, that were answered */

	/* Both of RINGS_MAX, once it is wanted. */
	struct publication *publications; /* in use: memory.at is set */
	unsigned n_publications;          /* the highest in use and one */
	struct publication *last;         /* found last */
	bool is_unrung;                   /* something was put, and nobody woken yet */

	struct subscription *subscriptions; /* the same */
	unsigned n_subscriptions;
	unsigned n_turns; /* events from rings since one was taken from the socket */
};

void fast_init(struct fast *fast);
void fast_deinit(struct chat *chat);

/* Free the fast paths as fast_deinit() does, but in a child of fork(2). Memory that the parent goes
 * on using stays as it is. */
void fast_abandon(struct chat *chat);

/* The page of this connection, or NULL. */
static inline const struct control_page *fast_page(const struct fast *fast)
{
	return fast->control.at;
}

/* Ask for it, if it was not asked for yet. False: it is not to be had. */
bool fast_want(struct chat *chat);

/* The connection is gone: rings go on, as far as their gates allow. */
void fast_lose(struct chat *chat);

/* Send what is due. */
void fast_push(struct chat *chat);

/* Put into the outbox what the broker does not take from rings; then that is to be sent. */
void fast_pour(struct chat *chat);

/* Take what must not wait: answers to what is sent here, PAGE, SLEEPER, REVOKED. FRAME has
 * no tag, or one that begins with f, g, b or w. */
void fast_arrive(struct chat *chat, const struct frame *frame);

/* Have the broker take what is in the rings, and say so. */
void fast_drain(struct chat *chat);

/* Wake whoever sleeps, after something was put. */
void fast_ring(struct chat *chat);

/* Is there something in a ring, or in the socket? Cheap. */
bool fast_is_ready(struct chat *chat);

/* May the socket hold something? Without a page one must look. */
bool fast_has_packets(struct chat *chat);

/* The counter was believed once more: now and then the socket is read all the same. */
void fast_doubt(struct chat *chat);

/* The socket is about to be read; and was found empty. */
void fast_note_look(struct chat *chat);
void fast_note_empty(struct chat *chat);

/* Sleep until there may be something, or DEADLINE_NS. Returns 0 or -EINTR. */
int fast_wait(struct chat *chat, uint64_t deadline_ns);

/* For who polls the descriptor: be woken by it from now on, or not any more. */
void fast_sleep(struct chat *chat);
void fast_rise(struct chat *chat);

/* The descriptor was asked for: from now on all that wakes must go through it. */
void fast_poll(struct chat *chat);
