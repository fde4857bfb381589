/* find.h - looking through what was said, newest first, away from the loop.
 *
 * A request looks through some MiB of a room: what is in memory stays where it is while that
 * lasts, and what is on the disk is read and checked. The answer says where to go on.
 * chat-protocol(7), FIND.
 */
#pragma once

#include "broker/errand.h"
#include "broker/search.h"
#include "broker/session.h"
#include "protocol/frame.h"

struct find;
struct room;

/* Look for SEARCH in ROOM, from number FROM back, for MAX messages at the most. SESSION waits, and
 * is woken when that was done. Returns 0 or -ENOMEM. */
int find_start(struct session *session, struct room *room, const struct search *search,
	uint64_t from, uint64_t max);

/* What was found for SESSION, or NULL: it is the caller's now. */
struct find *find_take_found(const struct session *session);

/* Answer FRAME with what was found. */
void find_answer(const struct find *find, struct session *session, const struct frame *frame);

struct find *find_free(struct find *find);
