/* fastpath.h - what a session has that speaks or listens through rings.
 *
 * The broker brings publishers and readers together and stays out of the way: it checks
 * every descriptor, passes rings on, tells who is to be woken how, archives what must be
 * kept (feed.h), and wakes those whom the publisher can not. chat-ring(7).
 *
 * It looks at a publisher's rings when that rings the bell, and again while there was
 * something; then it asks for the bell and sleeps.
 */
#pragma once

#include <semaphore.h>
#include <stdbool.h>
#include <stdint.h>

#include "broker/feed.h"
#include "broker/follower.h"
#include "broker/session.h"
#include "protocol/control.h"
#include "protocol/packet.h"
#include "protocol/waker.h"

struct frame;

/* How long what was put waits at most to be archived after a look that found something,
 * ns: what is lost when broker and publisher are killed together. */
#define FASTPATH_REST_NS (UINT64_C(5) * 1000000)

/* The same where the broker must wake a reader. */
#define FASTPATH_RELAY_NS (UINT64_C(1) * 1000000)

enum fast_pass {
	FAST_PASS_NONE,
	FAST_PASS_PAGE,
	FAST_PASS_SLEEPER,
	FAST_PASS_RING,
	FAST_PASS_END, /* of a ring: no descriptor, but the reader has its say as well */
};

/* Owned by its session, and after that by its feeds that are not finished. */
struct fast {
	struct broker *broker;
	struct session *session; /* NULL: it is gone */
	struct user *user;       /* a reference */
	struct author author;
	char author_name[AUTHOR_LEN_MAX];
	struct sealed control;          /* not mapped when the session is gone */
	struct waker waker;             /* of this session; WAKER_NONE: it does not sleep yet */
	char semaphore[WAKER_NAME_MAX]; /* its name; "" when it is an eventfd */
	int held;                       /* as of ipc_hold(), -1: it is an eventfd */
	bool is_page_due, is_open;

	/* One frame at a time waits for TOOK: descriptors on their way are few, and whoever
	 * does not read has one. */
	enum fast_pass passing;
	struct follower *passed; /* whom that was about, if it is still there */

	struct feed *feeds[RINGS_MAX]; /* that are not finished; owned, as are n_feeds in all */
	unsigned n_feeds;
	struct list followers; /* owned; rings that this session reads */
	unsigned n_followers;
	unsigned n_direct; /* readers that it wakes itself */

	struct list turn_link; /* in account.ringing while its rings are to be looked at */
	struct list rest_link; /* in broker.resting until then */
	uint64_t rest_until;
	unsigned n_idle; /* looks in a row that found nothing */
	unsigned slot;   /* whose ring is looked at first in the next turn */
	bool has_bell;   /* a BELL waits until all is archived, */
	bool is_drained; /* and now it is */
};

/* The requests; each answers. Returns 0 or DISPATCH_E_WAIT. */
int fast_open(struct session *session, const struct frame *frame);
int fast_offer(struct session *session, const struct frame *frame, struct room *room,
	uint64_t nonce, uint64_t pos, uint64_t seq);
int fast_bell(struct session *session, const struct frame *frame);
void fast_take_waker(struct session *session, const struct frame *frame);
void fast_took(struct session *session, bool is_refused);

/* Has it taken its page, and can it be woken? */
bool fast_can_read(const struct fast *fast);

/* Send what is to be told or passed, behind the answers. Returns 0 or -EAGAIN. */
int fast_flush(struct session *session);

/* Send one frame with descriptors, which is then PASSING. Returns 0, -EAGAIN when the
 * socket is full, or -ETOOMANYREFS: not now, too many are on their way. */
int fast_pass(struct fast *fast, enum fast_pass passing, struct follower *passed, struct text frame,
	const int *fds, size_t n_fds);

/* A packet went to the session's socket: wake it, if it sleeps on a semaphore. */
void fast_count_packet(struct fast *fast);

/* Has its user a rate below the highest? */
bool fast_is_paced(const struct fast *fast);

/* The limits of users may have changed: rings that are passed to readers, or not, as no longer
 * fits are revoked, and their publishers make new ones. */
void fastpath_apply_settings(struct broker *broker);

/* Its rings are to be looked at in this round. */
void fast_line_up(struct fast *fast);

/* Look at them. */
void fast_turn(struct fast *fast);

/* Something was put in FEED: wake the readers that only the broker can wake. */
void fast_relay(struct feed *feed);

/* Has SESSION put more into its ring of ROOM than was archived? What it says by the socket is
 * behind that. */
bool fast_is_ahead(const struct session *session, const struct room *room);

/* Then the request in hand waits until that is archived: DISPATCH_E_WAIT, and it is asked
 * again. */
bool fast_must_wait(struct session *session, const struct room *room);

/* Why something in its rings can not be archived now: -errno, or 0. */
int fast_error(const struct session *session);

/* N more descriptors, or fewer, are kept for it. */
void fast_hold(struct fast *fast, int n);

/* The gate of FEED is what the broker has read; ERROR why it does not move, or 0. */
void fast_set_gate(const struct feed *feed, uint64_t gate, int error);

/* Whoever read rings under this session is not to be trusted with them any more: those that
 * it follows, and those that anybody left, for that may have been the same. */
void fast_revoke(struct session *session);

/* The session ends: its cursors are gone already. */
void fast_end(struct session *session);

/* Bring in line whose rest is over. Returns the ns until the next one, UINT64_MAX when
 * there is none. */
uint64_t fastpath_patience(struct broker *broker);

/* Free FAST if nothing is left of it. */
void fast_release(struct fast *fast);
