/* hold.h - answers to what is not stored yet, in their order.
 *
 * A SAY into a room that is stored is answered when it is on the disk. Until then everything
 * that the session is answered waits here behind it, and it may do nothing but say more, or PING:
 * so answers come in the order of the requests. Messages are not answers and go on.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker/list.h"
#include "protocol/frame.h"
#include "protocol/limits.h"

struct room;
struct session;
struct store;
struct stored;

/* Answers that one session may have waiting; then it is not read. */
#define HOLD_MAX 4096

struct held_answer {
	uint64_t batch;        /* it is stored with this one; 0: it only waits for its turn */
	enum verb verb;        /* SAY, SET or PING */
	struct stored *stored; /* a reference; NULL with TEXT, and for PING */
	uint64_t seq;
	uint64_t id;     /* 0: none was given */
	char *text;      /* owned: any other answer */
	uint8_t tag_len; /* 0: it is answered only if it fails */
	char tag[TAG_LEN_MAX];
};

struct hold {
	struct list link; /* in store.holds */
	struct session *session;
	bool is_settling;
	size_t at, n, size;
	struct held_answer *answers; /* owned; SIZE of them are charged to QUOTA_BYTES */
};

/* SESSION said message SEQ, with id= ID or 0, in ROOM, or set a value there, whose version is SEQ:
 * answer FRAME, SAY or SET, when it is stored. Without memory, or above its user's quota, the
 * session is closed. */
void hold_done(struct session *session, const struct frame *frame, struct room *room, uint64_t id,
	uint64_t seq);

/* Answer FRAME, a PING, when something was stored. As hold_done(). */
void hold_probe(struct session *session, const struct frame *frame);

/* Is an answer to wait? Then it is kept. */
bool hold_answer(struct session *session, struct text line);

static inline bool hold_is_full(const struct hold *hold)
{
	return hold && hold->n - hold->at >= HOLD_MAX;
}

/* Up to this batch all is stored: answer. */
void holds_settle(struct store *store);

/* Nothing of what waits is stored, for this -errno: refuse all of it. */
void holds_fail(struct store *store, int error);

void hold_free(struct session *session);
