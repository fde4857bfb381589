/* inbox.h - packets between the socket and the program: the one being walked, and
 * those that came while a call waited for something else.
 *
 * Strictly a FIFO: what is stored is delivered before anything newer, and what
 * happened to the connection stands in it where it happened. Bounded: beyond
 * INBOX_LEN_MAX stored bytes the newest packets are dropped, and so is everything
 * after them, until the FIFO is empty and the cursors are placed again.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/packet.h"
#include "protocol/text.h"

#define INBOX_LEN_MAX (8 * 1024 * 1024)

/* Descriptors that stored packets hold. A broker waits until one is confirmed before it passes
 * the next. */
#define INBOX_FDS_MAX 64

enum item_kind {
	ITEM_PACKET,
	ITEM_DOWN,
	ITEM_UP,
};

struct item {
	enum item_kind kind;
	bool is_quiet; /* DOWN: no event, the program knows */
	bool is_ended; /* DOWN: for good */
	size_t code_len;
	size_t len;
	char *data;              /* owned: the packet, or code and text, each terminated */
	int fds[PACKET_FDS_MAX]; /* owned: that came with the packet */
	size_t n_fds;
};

struct inbox {
	char *buffer;         /* of PACKET_LEN_MAX + 1 bytes: packets delivered at once */
	const char *at, *end; /* what is left of the packet being walked */
	const char *before;   /* AT before the last frame */
	bool is_single;       /* a packet of one frame, not a batch */
	bool has_arrived;     /* its answers were looked at when it was stored */
	struct item held;     /* the stored packet or happening at hand */

	struct item *items; /* FIFO, in a ring of SIZE */
	size_t first, n_items, size;
	size_t stored_len;
	size_t n_fds;     /* of the items */
	unsigned n_downs; /* of these: a packet before one is of a connection that is gone */
	bool is_dropping;
};

enum {
	INBOX_E_END = 1, /* nothing more in this packet */
	INBOX_E_BROKEN,  /* not records, or an empty frame */
	INBOX_E_DROPPED, /* the store is full */
};

int inbox_init(struct inbox *inbox);
void inbox_deinit(struct inbox *inbox);

/* Walk any packet of LEN bytes, which stays where it is. */
void inbox_walk(struct inbox *inbox, const char *packet, size_t len);

/* A packet of LEN bytes lies in inbox->buffer: walk it. */
void inbox_start(struct inbox *inbox, size_t len);

/* The next frame of the packet being walked. Its bytes may be overwritten.
 * Returns 0, INBOX_E_END or INBOX_E_BROKEN. */
int inbox_next(struct inbox *inbox, struct text *ret_frame);

/* Give the last frame once more. */
void inbox_again(struct inbox *inbox);

/* Forget the rest of the packet being walked. */
void inbox_discard(struct inbox *inbox);

static inline bool inbox_is_walking(const struct inbox *inbox)
{
	return inbox->at < inbox->end;
}

static inline bool inbox_is_empty(const struct inbox *inbox)
{
	return inbox->at >= inbox->end && inbox->n_items == 0;
}

/* Keep a copy of a packet. Returns 0, INBOX_E_DROPPED or -ENOMEM; the latter two
 * set is_dropping. */
int inbox_store(struct inbox *inbox, const char *packet, size_t len);

/* Keep a packet that does not come again, beyond the limit, up to twice of it. */
int inbox_store_beyond(struct inbox *inbox, const char *packet, size_t len);

/* The packet being walked came with these, which are the inbox' until the next is taken. */
void inbox_hold_fds(struct inbox *inbox, const int *fds, size_t n_fds);

/* The newest item is a packet that came with these descriptors, which are its from now on;
 * beyond INBOX_FDS_MAX they are closed. */
void inbox_attach(struct inbox *inbox, const int *fds, size_t n_fds);

/* Keep what happened to the connection. 0 or -ENOMEM. */
int inbox_store_down(struct inbox *inbox, const char *code, const char *text, bool is_ended);
int inbox_store_up(struct inbox *inbox);

/* Take the oldest item to inbox->held; a packet is then walked. False when there
 * is none. The one held before is freed. */
bool inbox_take(struct inbox *inbox);
