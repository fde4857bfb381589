/* position.h - where in a room a request means: by number or by time. */
#pragma once

#include "broker/dispatch.h"

struct room;

enum {
	POSITION_E_WORD = DISPATCH_E_WAIT + 1, /* it is malformed */
};

/* "SEQ" or "@NS"; the number of the record it means: the first at or after NS, or
 * with IS_END the last at or before. An absent word changes nothing. Returns 0, POSITION_E_WORD,
 * DISPATCH_E_WAIT or -errno. */
int position_parse(struct session *session, struct room *room, struct text word, bool is_end,
	uint64_t *ret_seq);

/* The request waits until record SEQ of ROOM, which is on the disk, is at hand. Returns
 * DISPATCH_E_WAIT or -errno. */
int position_await(struct session *session, struct room *room, uint64_t seq);

/* What is wrong with a position is answered, WHY for POSITION_E_WORD. Returns 0 or
 * DISPATCH_E_WAIT. */
int position_refuse(
	struct session *session, const struct frame *frame, int outcome, const char *why);
