/* outbox.h - what was said and is not acknowledged: a small log in memory.
 *
 * Records of requests lie in one buffer, ready to be sent as slices:
 *
 *	0 .. acked .. sent .. end	(offsets; the part before acked is dead)
 *
 * SAYs go untagged. Behind every OUTBOX_MARK_LEN bytes or OUTBOX_MARK_MESSAGES
 * of them, and where outbox_mark() asks, stands a barrier "#aN PING": its answer
 * acknowledges everything before it. chat-protocol(7), Once and only once.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/text.h"

#define OUTBOX_LEN_MAX       (1024 * 1024) /* unacknowledged bytes at which a sender waits */
#define OUTBOX_MARK_LEN      (128 * 1024)  /* of which it is told in eighths */
#define OUTBOX_MARK_MESSAGES 1024

struct outbox {
	char *data;
	size_t size;
	size_t acked, sent, end;
	size_t looked;       /* where the last refused message was found */
	size_t unmarked_len; /* since the last barrier */
	unsigned n_unmarked;
	uint64_t n_barriers; /* numbers given so far */
};

enum {
	OUTBOX_E_FULL = 1, /* OUTBOX_LEN_MAX bytes wait for their acknowledgement */
	OUTBOX_E_MARKED,   /* outbox_say: appended, with a barrier behind it */
};

void outbox_deinit(struct outbox *outbox);

/* Append SAY TARGET id=ID with a body of LEN <= BODY_LEN_MAX bytes.
 * Returns 0, OUTBOX_E_MARKED, OUTBOX_E_FULL or -ENOMEM. */
int outbox_say(
	struct outbox *outbox, struct text target, uint64_t id, const void *body, size_t len);

/* Put a barrier behind the last message, unless one is there. 0 or -ENOMEM. */
int outbox_mark(struct outbox *outbox);

/* The next bytes to send, whole records that fit one packet; empty when all is sent. */
struct text outbox_slice(const struct outbox *outbox);
void outbox_advance(struct outbox *outbox, size_t len);

/* The barrier with this number was answered. Numbers never given are ignored. */
void outbox_acknowledge(struct outbox *outbox, uint64_t barrier);

/* Message ID was refused: it is not to be sent again. */
void outbox_refuse(struct outbox *outbox, uint64_t id);

/* A new connection: everything that is not acknowledged is unsent. */
void outbox_rewind(struct outbox *outbox);

static inline size_t outbox_unsent(const struct outbox *outbox)
{
	return outbox->end - outbox->sent;
}

static inline bool outbox_is_empty(const struct outbox *outbox)
{
	return outbox->acked == outbox->end;
}
