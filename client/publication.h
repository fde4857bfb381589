/* publication.h - a ring that this chat speaks through, in one room.
 *
 * It is used from when it is offered, behind all that was said through the socket before: so
 * there is one order of what was said. It outlives connections: each broker is offered the
 * same ring, from the oldest record on that is still in it. What a broker does not take of
 * it, because it refuses the ring or takes it back, is said through the socket after all, and
 * nothing of it is lost.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "protocol/control.h"
#include "protocol/limits.h"
#include "protocol/ring.h"
#include "protocol/sealed.h"
#include "protocol/text.h"
#include "protocol/waker.h"

struct chat;

enum publication_state {
	PUBLICATION_NEW,     /* to be offered to the broker that is there now */
	PUBLICATION_OFFERED, /* its answer is awaited */
	PUBLICATION_UP,
	PUBLICATION_REVOKED, /* nothing more is put; the broker says how far it got */
	PUBLICATION_SPILLED, /* what is left goes to the outbox */
};

struct publication {
	struct sealed memory; /* owned; at is NULL: this one is not in use */
	struct ring_writer writer;
	enum publication_state state;
	bool is_ephemeral;
	bool is_used;  /* it was offered: all goes through it */
	unsigned slot; /* of the control page, while UP */
	uint64_t gate; /* what holds while there is no page to tell it */
	uint64_t nonce;
	uint64_t time;    /* of the burst at hand */
	unsigned n_burst; /* records that share it */
	size_t target_len;
	char target[ROOM_LEN_MAX + 1];
	struct ring_reader rest; /* while SPILLED */
	unsigned n_wakers;
	struct {
		uint64_t reader; /* how the broker names it */
		struct waker waker;
	} wakers[SLEEPERS_MAX];
};

/* The one for TARGET, or NULL. */
struct publication *publication_find(struct chat *chat, struct text target);

/* Was a ring for TARGET offered? From then on nothing for it may be said through the
 * socket. */
bool publication_is_offered(struct chat *chat, struct text target);

/* Has the broker thrown its reader out? Then it is not written any more, and what is in it
 * that was not archived goes through the socket. */
bool publication_is_revoked(const struct chat *chat, struct publication *publication);

void publication_close(struct publication *publication);

/* Nobody is to be woken any more. */
void publication_drop_wakers(struct publication *publication);

/* Was the last message said through the ring of TARGET? */
static inline bool publication_is_at_hand(const struct publication *last, struct text target)
{
	return last && last->is_used && last->target_len == target.len &&
	       memcmp(last->target, target.data, target.len) == 0;
}

/* Say it in TARGET, through the ring that is there, or, with CHAT_FAST, through a new one;
 * FLAGS are those of chat_send(). Returns 0, 1 when it is to be said through the socket, or
 * an error of chat_send(). */
int publication_say(
	struct chat *chat, struct text target, const void *body, size_t len, unsigned flags);

/* Was everything that was put archived, or need not be? */
bool publications_are_settled(const struct chat *chat);

/* Why the broker can not take what was put: -errno, or 0. It goes on trying. */
int publications_error(const struct chat *chat);

/* The connection is gone. */
void publication_lose(const struct chat *chat, struct publication *publication);

/* Offer it. Returns 0 or -EAGAIN. */
int publication_offer(struct chat *chat, struct publication *publication);

/* The broker took it, in SLOT; or does not, or not any more: what it has not, from POS on,
 * is to be said through the socket. */
void publication_up(
	struct publication *publication, unsigned slot, const struct control_page *page);
void publication_spill(struct publication *publication, uint64_t pos);

/* Move on with that. True when it is done, and the publication closed. */
bool publication_pour(struct chat *chat, struct publication *publication);

/* Reader READER is to be woken like this from now on; without a waker: not any more. */
bool publication_add_waker(
	struct publication *publication, uint64_t reader, const struct waker *waker);
void publication_remove_waker(struct publication *publication, uint64_t reader);
