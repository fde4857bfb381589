/* dispatch.h - from a frame to its handler: the only gate.
 *
 * Checked here, in this order: the frame parses, the verb is known, the state
 * allows it, it has its words. Handlers may assume all of that.
 */
#pragma once

#include "broker/answer.h"
#include "broker/session.h"

enum {
	DISPATCH_E_WAIT = 1, /* not done: give the same frame again when the session is woken */
};

typedef int handler_fn(struct session *session, const struct frame *frame);

/* Handle one frame of a session that is SHAKING or OPEN. Returns 0 or
 * DISPATCH_E_WAIT; every refusal is answered. */
int dispatch_frame(struct session *session, struct text packet);

/* Handle one packet of a PLAIN session. */
int dispatch_plain(struct session *session, struct text packet);

/* A packet that was too long: its start is there. */
void dispatch_truncated(struct session *session, struct text start);

/* handle_session.c */
handler_fn handle_hello, handle_ping, handle_time, handle_quit, handle_stop, handle_ctl;
/* handle_room.c */
handler_fn handle_join, handle_part, handle_say, handle_past, handle_find, handle_seen,
	handle_delete;
/* mode= of JOIN and RING: a room that was just made is of that mode. False when it is none. */
bool handle_room_mode(const struct frame *frame, struct room *room);

/* handle_value.c */
handler_fn handle_set, handle_get;
/* handle_list.c */
handler_fn handle_who, handle_rooms;
/* handle_ring.c */
handler_fn handle_fast, handle_ring, handle_bell, handle_resync, handle_waker, handle_took;
/* handle_stats.c */
handler_fn handle_stats;

/* Handle PACKET if it is a plain SAY, without a tag, to the room that was named last:
 * most of what comes is. SESSION is OPEN. False, with nothing done, when it is not or can not be
 * said. */
bool handle_say_again(struct session *session, struct text packet);

/* The room NAME, for a request that is about one; made if CREATE is set. Sets *ret_room to
 * NULL when the request was refused. Returns 0 or DISPATCH_E_WAIT. */
int handle_target_room(struct session *session, const struct frame *frame, struct text target,
	bool create, struct room **ret_room);

/* Say BODY in TARGET for the session, whose person is set. */
int handle_say_in(struct session *session, const struct frame *frame, struct text target,
	struct text id, struct text body);
