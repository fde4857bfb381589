/* session.h - one connection: its states, its input, what it is owed.
 *
 * chat-protocol(7). Input is read a packet at a time and never past a request that
 * waits; output is answers, kept here, and slices of logs, kept nowhere.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "broker/loop.h"
#include "broker/cursor.h"
#include "broker/hold.h"
#include "broker/users.h"

struct broker;

enum session_state {
	SESSION_NEW,     /* its user is being looked up; nothing was read */
	SESSION_PLAIN,   /* no HELLO yet */
	SESSION_SHAKING, /* a HELLO was refused */
	SESSION_OPEN,    /* full */
	SESSION_CLOSING, /* what it is owed is sent, then it goes */
	SESSION_GONE,    /* closed; freed at the end of the round */
	SESSION_STATES,
};

/* Answers as records: those before AT were sent. SIZE is charged to QUOTA_BYTES. */
struct output {
	uint32_t at, len, size;
	char data[];
};

/* What is left of a packet. LEN is charged to QUOTA_BYTES. */
struct held {
	size_t len;
	char data[];
};

/* Ten thousand of them that do nothing should cost little: what only some need is
 * allocated when they need it. */
struct session {
	struct watch watch;
	struct broker *broker;
	struct user *user; /* a reference */
	struct person *person;
	uint64_t number; /* counts up over all sessions */
	uint64_t opened_at;
	pid_t pid; /* for the diagnostics only */
	enum session_state state : 8;

	/* ten thousand of them: bits */
	bool is_readable : 1, is_writable : 1; /* as epoll last said */
	bool is_deaf : 1;    /* it can not be sent anything any more; its input is still read */
	bool is_waiting : 1; /* for a look-up, its account's throttle, its rings, or the disk */
	bool is_slowed : 1;  /* the second of these */
	bool is_storing : 1; /* it waits for the disk; see store.h */
	bool has_token : 1;  /* it was let go on by the throttle, and has not said anything since */
	bool is_charged : 1; /* QUOTA_CONNECTIONS */
	bool is_owed : 1;    /* while closing: what its cursors have not sent, too */
	bool was_plain : 1;  /* while closing: so no BYE */
	bool owns_bye : 1;   /* BYE was allocated; else there was no memory, and the code must do */
	bool has_batch : 1, has_direct : 1;
	bool is_unmapped : 1;    /* its uid may be anybody's: see session_refuse_unmapped() */
	unsigned n_unmapped : 3; /* requests that were refused for it */
	bool may_pass : 1;       /* packets of its client can carry descriptors */
	bool is_short : 1;       /* an answer could not be kept: none comes behind it, only BYE */

	struct list sessions_link; /* in broker.sessions, in order of number */
	struct list ready_link;    /* in account.reading while there is input to take */
	struct list flush_link;    /* in account.sending while there is output to send */
	struct list person_link;
	struct list wait_link; /* of a look-up or the throttle; while closing: broker.closing */

	struct list cursors, pending;
	struct author author;

	struct fast *fast; /* owned; NULL: it was not asked for. See fastpath.h */

	struct output *output; /* answers that were not sent; owned, NULL when there are none */
	struct held *held;     /* the packet that could not be finished; owned */
	struct hold *hold;     /* answers that wait for the disk; owned. See hold.h */

	struct meter said;
	uint64_t n_delivered; /* messages */
	uint64_t blocked_at;  /* when its socket became full; while it is not writable */

	uint64_t deadline; /* while closing; broker.closing is in its order */
	const char *bye;   /* NULL: no BYE */
};

/* The packets a session is read in one turn, unless its time is over before
 * (BROKER_READ_NS), and the messages of a batch after which the clock is looked at; after
 * any other request it is looked at, too. */
#define SESSION_TURN_PACKETS   4
#define SESSION_CLOCK_MESSAGES 16

/* Requests of a user without an id that are refused with the reason; then its session closes. */
#define SESSION_UNMAPPED_MAX 4

/* What a session that closes is given to take its last packets, ns. */
#define SESSION_CLOSE_NS (UINT64_C(1000000000))

/* May UID have another connection? What is known is asked only, so that one that may not costs
 * little; else WHY is what BYE QUOTA says. */
#define SESSION_WHY_MAX 80
bool session_may_come(struct broker *broker, uid_t uid, char why[static SESSION_WHY_MAX]);

/* Take over FD (consumed on success), a connection of UID. Returns 0 or -errno. */
int session_new(struct broker *broker, int fd, uid_t uid, pid_t pid);

/* Free a session that is gone, unless there was no memory to hand its socket over: then it stays
 * in broker.gone, and it is tried again. */
void session_free(struct session *session);

static inline bool session_is_plain(const struct session *session)
{
	return session->state == SESSION_PLAIN ||
	       (session->state == SESSION_CLOSING && session->was_plain);
}

/* Bytes of answers that were not sent. */
static inline size_t session_output_len(const struct session *session)
{
	return session->output ? session->output->len - session->output->at : 0;
}

/* Bytes that are kept for it: what it is charged for. */
static inline size_t session_held_len(const struct session *session)
{
	return (session->output ? session->output->size : 0) +
	       (session->held ? session->held->len : 0) +
	       (session->hold ? session->hold->size * sizeof *session->hold->answers : 0);
}

/* May it administer: root, or the broker's own user. */
bool session_is_admin(const struct session *session);

/* May it know of ROOM? Conversations are their two people's business. */
bool session_may_see(const struct session *session, const struct room *room);

/* For how long its socket has been full, ns; 0 when it is not. */
uint64_t session_blocked_ns(const struct session *session);

/* Its name for the diagnostics. */
const char *session_name(const struct session *session);

/* Read and handle what one turn allows. */
void session_turn(struct session *session);

/* Send what can be sent now. */
void session_flush(struct session *session);

/* Go on after a wait: for users.wake and the throttle. */
void session_wake(struct list *wait_link);

/* Has its user the right to one more message now? If not the session waits: the request
 * is to be given again when it is woken. */
bool session_may_say(struct session *session);

/* Has its client gone, so that nobody takes an answer? What it said before counts. */
bool session_is_left(const struct session *session);

/* What session_may_say() allowed was done. */
void session_take_token(struct session *session);

/* It said a message of LEN bytes in ROOM, after session_may_say(). */
void session_count_said(struct session *session, struct room *room, size_t len);

/* Put it in, or take it out of, the line for input, as its state now asks. */
void session_line_up(struct session *session);

/* Say BYE CODE TEXT after the answers, and if IS_OWED what its cursors have, until
 * DEADLINE at the latest; then close. CODE is a literal. */
_printf_(5, 6) void session_close(struct session *session, bool is_owed, uint64_t deadline,
	const char *code, const char *format, ...);

/* Close at once. */
void session_end(struct session *session);

/* Refuse PACKET, and after some close with BYE UNMAPPED: nobody knows which user sent it.
 * chat-broker(8), USER NAMESPACES. */
void session_refuse_unmapped(struct session *session, struct text packet);

/* Become a person: HELLO was granted, or the first line of a plain session came.
 * Returns 0 or -ENOMEM. */
int session_set_person(struct session *session, struct text name);

/* Only here does a state change; the edge is asserted. */
void session_set_state(struct session *session, enum session_state state);
