/* follower.h - a cursor that reads one ring itself.
 *
 * There is one way in. A place in the log and a place in the ring are taken that mean the
 * same; up to there the cursor is sent the ring's records from the log, as everybody is, and
 * from there on they are left out of what its socket is sent; in between it is told where in
 * the ring to go on. Whoever was overtaken asks for what it missed (RESYNC), is sent that
 * from the log, and comes in the same way. So nothing comes twice and nothing is left out:
 * chat-ring(7), section HAND-OVER.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "broker/cursor.h"
#include "broker/feed.h"

enum follower_state {
	FOLLOWER_FOLLOWING, /* from SINCE on it has the records from the ring */
	FOLLOWER_CATCHING,  /* it is sent what it missed, from the log */
	FOLLOWER_REFUSED,   /* it can not read the ring: the log serves it for good */
	FOLLOWER_WAITING,   /* the log serves it until what was said before is passed over */
};

struct follower {
	struct list feed_link; /* in feed.followers */
	struct list fast_link; /* in fast.followers, of the reader */
	struct feed *feed;
	struct fast *fast; /* of the reader */
	struct cursor *cursor;
	enum follower_state state;
	bool is_refused;      /* it can not read the ring */
	bool has_map;         /* the reader has mapped it */
	bool is_told;         /* where in the ring to go on */
	bool is_taken;        /* and it has said that it does */
	bool is_counted;      /* in feed.n_following: nothing need be archived for it */
	bool is_end_told;     /* that the ring is finished */
	bool is_direct;       /* the publisher wakes it; otherwise the broker does */
	bool is_due;          /* the publisher is to be told of it */
	unsigned n_resyncs;   /* so far */
	uint64_t since;       /* number in the log, and */
	uint64_t pos, seq;    /* place in the ring of the same record */
	uint64_t behind;      /* record of the ring that is the next behind the cursor */
	uint64_t after;       /* while it catches up: the last of the publisher's numbers it had */
	struct log_cursor at; /* the same: where it stands in the log */
};

/* CURSOR follows FEED from now on. A session has RINGS_MAX places for that, which come with its
 * connection and are shared among the users that publish. Without a place or memory, and where
 * the publisher's user has a rate, the log serves it, and nothing is done. */
void follower_new(struct cursor *cursor, struct feed *feed);
void follower_free(struct follower *follower);

/* CURSOR asks for rings, or does not: the room counts those that do. */
void cursor_set_fast(struct cursor *cursor, bool is_fast);

/* CURSOR, of a session with a fast path, is to follow every ring of its room. */
void followers_join(struct cursor *cursor);
void followers_part(struct cursor *cursor);

/* Those of FEED that wait need not any more. */
void followers_attach(struct feed *feed);

/* Record RING_SEQ of FEED was appended as SEQ: those that have it from the ring and stand
 * there in the log go on behind it, without a look at it. */
void followers_pass(struct feed *feed, uint64_t ring_seq, uint64_t seq);

/* The reader was overtaken; the last of the publisher's numbers that it has is AFTER, and of
 * the log it has what is before SINCE. */
void follower_resync(struct follower *follower, uint64_t after, uint64_t since);

/* Some of what CURSOR was still to be sent, or to pass over, is not in the log any more: tell
 * up to where in each ring, and go on where the log begins. What is behind the cursor is told
 * by the numbers of the log. Returns 0 or -EAGAIN. */
int followers_lose(struct cursor *cursor);

/* Pass over all that is there, if CURSOR has it all from rings. */
void followers_jump(struct cursor *cursor);

/* It has what it missed. */
void follower_catch_up(struct follower *follower);

/* The reader goes on in the ring: from here on it need not be archived for it. */
void follower_take(struct follower *follower);

/* The reader can not map the ring. */
void follower_refuse(struct follower *follower);

/* Is there something for the cursor that is not a record behind where it stands? */
bool followers_are_due(const struct cursor *cursor);

/* A cursor that has all from rings is sent nothing, and so does not know how far the log is,
 * from where it would join again: it is told before retention takes what it knows. Is that
 * due, and tell it: 0 or -EAGAIN. */
bool followers_place_is_due(const struct cursor *cursor);
int followers_tell_place(struct cursor *cursor);

/* Must CURSOR not go on before the reader took what was passed to it? What a publisher says
 * through the socket after its ring comes behind what is in that. */
bool followers_hold(const struct cursor *cursor);

/* What CURSOR is to be told where it stands: where to read a ring, or that it ended.
 * Returns 0; 1 when it must not go on before it took what was passed; or -EAGAIN when the
 * socket is full. */
int followers_flush(struct cursor *cursor);

/* Of records that lie together, LEN bytes whose first one is SEQ: how many at the start are
 * not for CURSOR's socket, and how many behind these are. With CATCHING only those that it
 * misses are, and only before where the cursor stands. */
struct follower_cut {
	size_t skip_len, len;
	uint64_t n_skipped, n;
};

struct follower_cut followers_cut(const struct cursor *cursor, const struct follower *catching,
	const char *records, size_t len, uint64_t seq);

/* The one of CURSOR that is catching up, or NULL. */
struct follower *followers_catching(const struct cursor *cursor);
