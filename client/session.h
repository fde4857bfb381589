/* session.h - the inside of struct chat: one session over many connections.
 *
 * A packet is looked at twice. When it arrives, session_arrive() takes what must
 * not wait: answers, acknowledgements, BYE. When it is delivered, in order,
 * delivery.h makes events of it and moves the cursors. chat_receive() does both at
 * once; every other call only lets packets arrive and stores the rest.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/un.h>

#include "client/chat.h"
#include "client/cursor.h"
#include "client/fast.h"
#include "client/inbox.h"
#include "client/link.h"
#include "client/message.h"
#include "client/origin.h"
#include "client/outbox.h"
#include "protocol/base.h"
#include "protocol/frame.h"

enum session_state {
	SESSION_OPENING,  /* before chat_open() is done */
	SESSION_DOWN,     /* no connection; the timer says when to try again */
	SESSION_HELLO,    /* connected, HELLO is sent */
	SESSION_RESUMING, /* greeted; the cursors are being placed */
	SESSION_UP,
	SESSION_ENDED, /* for good */
};

/* A call that waits for the answer to one tag. */
struct waiter {
	char tag[TAG_LEN_MAX];
	size_t tag_len;
	enum {
		WAITER_WAITS,
		WAITER_DONE,
		WAITER_REFUSED,
		WAITER_LOST,
	} state;
	chat_row_fn *row;
	void *userdata;
};

/* The last words of a connection. */
struct farewell {
	char code[32];
	char text[LINE_LEN_MAX + 1];
	bool is_final;
};

struct chat {
	struct origin origin;
	enum session_state state;
	bool is_opening; /* within chat_open(): no events */
	bool wants_direct;
	uint64_t opened_at;  /* ns since the epoch: conversations since then are news */
	uint64_t opened_now; /* the same by link_now() */
	bool is_once;
	chat_trust_fn *trust;
	void *userdata;

	char path[sizeof(((struct sockaddr_un *)0)->sun_path) + 1];
	uid_t broker_uid; /* which was trusted */
	char name[NAME_LEN_MAX + 1];
	uid_t uid;
	uint64_t publisher; /* pub= */
	uint64_t last_id;

	struct link link;
	struct outbox outbox;
	struct cursors cursors;
	struct inbox inbox;
	char *arrival; /* buffer of PACKET_LEN_MAX: packets that are only let arrive */

	struct message_memo memo;
	struct waiter *waiter; /* borrowed from the call that waits, or NULL */
	struct farewell farewell;
	int end_error; /* what every call returns in ENDED */
	char end_text[LINE_LEN_MAX + 1];

	uint64_t backoff_ns, retry_at, up_since;
	uint64_t marked_at; /* when the last barrier was put for its age */
	uint64_t mark_at;   /* when the next one is due; 0: none is */
	bool has_distrusted, has_told_trust;
	uid_t distrusted_uid; /* if so: whose broker was not trusted last */

	uint32_t n_told;  /* conversations that the broker told of */
	uint32_t n_reads; /* cursors that were read further than the broker was told */
	uint32_t n_joins; /* cursors that want or await a JOIN */
	uint32_t join_at; /* where to look for the next one that wants it */
	uint64_t join_serial;
	uint64_t request_serial;
	unsigned n_refused; /* since the last chat_flush() */

	struct fast fast;

	bool is_polled;   /* chat_fd() was asked for */
	size_t tried_len; /* unsent bytes at the last attempt that found the socket full */
	char checked[TARGET_LEN_MAX + 1]; /* the last target found valid */

	char line[LINE_LEN_MAX + 1]; /* strings of the event at hand */
	char shown[TARGET_LEN_MAX + 1];
	char answer[LINE_LEN_MAX + 1]; /* of the last request */
	char error[LINE_LEN_MAX + 256];
};

/* Remember what chat_error() says, and return R. */
_printf_(3, 4) int session_fail(struct chat *chat, int r, const char *format, ...);

/* Connect to chat->path and send HELLO. Returns 0, -EPERM (not trusted), -EAGAIN
 * (busy), or another error of link_connect(). Unless IS_FIRST, the user that was
 * trusted before still is. */
int session_connect(struct chat *chat, bool is_first);

/* The connection is of no use any more; TEXT says why, unless it said BYE. */
void session_lose(struct chat *chat, const char *text);

/* Take what must not wait from one frame. Returns 1 when it must be delivered, too,
 * 0 when not, -EPROTO when the connection was lost over it. */
int session_arrive(struct chat *chat, const struct frame *frame);

/* Place every cursor again: after HELLO. */
void session_resume(struct chat *chat);

/* The same in the middle of a connection, after packets were dropped. */
void session_replace(struct chat *chat);

/* Take a cursor out of the table. */
void session_forget(struct chat *chat, struct cursor *cursor);

/* After an arrival: when the last cursor was placed, it is UP. */
void session_check_joins(struct chat *chat);

/* Send what can be sent. */
void session_push(struct chat *chat);

/* Send the packets that are full: more is to come. */
void session_push_full(struct chat *chat);

/* A message was said that nothing else follows: see that it is acknowledged soon,
 * also for a program that says a line now and then and never flushes. */
void session_mark(struct chat *chat);

/* Do what is due: try to connect, or put a barrier behind the last message. */
void session_tick(struct chat *chat);

/* Read a packet to be delivered at once. Returns 1 when something happened. */
int session_read(struct chat *chat);

/* Let everything arrive that is there; never waits. */
void session_listen(struct chat *chat);

/* The same, and send what can be sent. */
void session_poll(struct chat *chat);

/* Send and receive until IS_DONE, or DEADLINE_NS. Returns 0, -ETIMEDOUT, end_error, or -ECHILD when
 * a function of the program that was called meanwhile forked. */
int session_await(struct chat *chat, bool (*is_done)(struct chat *chat, void *argument),
	void *argument, uint64_t deadline_ns);

/* At the end of each call: is the descriptor to be readable? */
void session_settle(struct chat *chat);

/* PACKET_LEN_MAX bytes for whatever is at hand; NULL without memory. */
char *session_buffer(struct chat *chat);

/* A descriptor of the packet that is being delivered, or that has just arrived; the last
 * one first, the caller's from now on; -1 when there is none. */
int session_take_fd(struct chat *chat);
int session_take_arrived_fd(struct chat *chat);

/* end_error, with its text. */
int session_ended(struct chat *chat);

/* -ECHILD, with its text. */
int session_is_foreign(struct chat *chat);

/* 1, with the text of the answer "CODE text". */
int session_refused(struct chat *chat);
