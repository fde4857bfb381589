/* feed.h - the ring of one publisher in one room, as the broker reads it.
 *
 * The broker is one more reader. While somebody needs it, it archives the ring in the
 * room's log, from which everybody else is served, and the gate follows: the publisher
 * overwrites nothing that was not archived. Nobody needs it in an ephemeral room each of
 * whose cursors follows the ring itself. chat-ring(7), section ARCHIVE.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "broker/list.h"
#include "broker/room.h"
#include "protocol/ring.h"
#include "protocol/sealed.h"

struct fast;

/* The first record of a ring that is in one segment of the log. */
struct feed_mark {
	uint64_t seq;
	uint32_t segment;
};

/* A number in the log and the place in the ring that mean the same. */
struct feed_place {
	uint64_t log; /* 0: none */
	uint64_t pos, seq;
};

struct feed {
	struct list room_link;  /* in room.feeds */
	struct list feeds_link; /* in broker.feeds, in order of number */
	struct list end_link;   /* in broker.ended */
	uint64_t number;        /* counts up over all feeds */
	struct fast *fast;      /* of the publisher, in whose slot it is until it is finished */
	unsigned slot;
	struct room *room;
	struct sealed memory; /* unmapped when it is finished */
	struct ring_reader reader;
	uint64_t nonce;
	uint64_t end_seq; /* number in the log behind the last of it; UINT64_MAX before that */
	bool is_archived;
	bool is_revoked;
	bool is_paced;    /* its user has a rate: it is not passed to readers */
	bool is_again;    /* it was offered before: what comes first may have been said already */
	bool was_left;    /* a reader that had it mapped, and may have it still, is gone */
	bool is_ending;   /* what was in it then is still taken, then it is finished */
	uint64_t until;   /* while it is ending: the position that bounds that */
	bool is_finished; /* nothing more comes of it; followers are told where it ended */
	struct list followers;
	unsigned n_following;        /* of these, those that read it themselves */
	uint64_t n_archived, n_laps; /* records; readers that were overtaken */
	uint64_t n_wakes;            /* that the broker did */
	unsigned n_lapped;           /* times in a row that the broker itself was overtaken */
	struct feed_mark *marks;     /* owned; of the segments that are kept, and a few before */
	unsigned n_marks, marks_size;
	int error; /* errno of the last try to archive, or 0 */
	/* While it is archived: what is before SAFE will not be needed any more. Where the room is
	 * stored that is behind what was read: up to AWAITED it is when the log is. */
	struct feed_place safe, awaited;
};

enum {
	FEED_E_MORE = 1, /* the turn is over, and there is more */
	FEED_E_LATER,    /* what is next can not be archived now: a rate, memory, the disk */
};

/* Take MEMORY over, a ring whose header was not looked at yet, and read it from POS on,
 * where record SEQ is or will be; IS_AGAIN if it was offered to somebody before.
 * On success it stands in the slot, in the room, and is owned by FAST. Returns 0 with the
 * feed, RING_E_BAD, or -ENOMEM. */
int feed_new(struct fast *fast, unsigned slot, struct room *room, struct sealed *memory,
	uint64_t nonce, uint64_t pos, uint64_t seq, bool is_again, struct feed **ret_feed);

/* Who needs it may have changed. */
void feed_update(struct feed *feed);

void room_update_feeds(struct room *room);

/* More of ROOM is stored. */
void room_store_feeds(struct room *room);

/* Have the broker's place in it near the end of what was put. */
void feed_locate(struct feed *feed);

/* The number of its first record that the log still has, or of the next. */
uint64_t feed_first_kept(const struct feed *feed);

/* The gate: what is before it may be overwritten. */
static inline uint64_t feed_gate(const struct feed *feed)
{
	return feed->is_archived ? feed->safe.pos : feed->reader.pos;
}

/* Was some of it taken that is not stored yet? */
static inline bool feed_is_unsafe(const struct feed *feed)
{
	return feed->is_archived && feed->safe.pos != feed->reader.pos;
}

/* What of its room was not stored will not be, for this -errno: it is taken from the ring
 * again. */
void feed_take_back(struct feed *feed, int error);

/* Does the broker look at it at all? */
bool feed_is_read(const struct feed *feed);

/* Is all taken that was in it when it began to end? Its process may still write. */
static inline bool feed_is_done(const struct feed *feed)
{
	return feed->is_ending && feed->reader.pos >= feed->until;
}

/* Take what was put, until the turn is over. Returns 0 when that was all, or an outcome. */
int feed_drain(struct feed *feed);

/* A message of the packet in hand is about to be appended to ROOM: archive before it what rings
 * hold that was put before the packet was taken up. The rings' users pay for that: each
 * has BROKER_SWEEP_NS of a round, and the rest comes later. chat-ring(7), section
 * ARCHIVE. */
void rooms_sweep_feeds(struct rooms *rooms, struct room *room);

/* It is to end: when what it holds by now is taken, or at once with WHY, when the publisher broke
 * the rules. */
void feed_end(struct feed *feed);
void feed_break(struct feed *feed, const char *why);

/* The one of AUTHOR in ROOM, by whichever of its connections, or NULL. */
struct feed *room_find_feed(const struct room *room, const struct author *author);

/* How many rings ACCOUNT publishes in ROOM. */
uint64_t room_count_rings(const struct room *room, const struct quota_account *account);

/* Its publisher goes on without it: what was not archived by now is not taken. */
void feed_leave(struct feed *feed);

/* All was taken: let go of the memory and tell its followers. */
void feed_finish(struct feed *feed);

/* If it is finished, and no follower is left: free it when the round is over. */
void feed_release(struct feed *feed);
void feed_free(struct feed *feed);
