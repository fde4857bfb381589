/* chat.h - libchat: programs that talk through chat-broker link this.
 *
 * The manual is libchat(3); what goes over the socket is chat-protocol(7).
 *
 * A struct chat is one session that survives its broker: it connects, and after
 * a loss connects again with back-off, takes its cursors up where they stood and
 * sends again what was not acknowledged. Nothing is doubled, and nothing is
 * skipped without a CHAT_GAP.
 *
 * Every function returns 0 or more when it did what it says, and a negative
 * errno when it did not; chat_error() then says it in words. A struct chat is
 * used by one thread at a time. Nothing here prints, exits, or touches signals, or waits
 * for the close of a descriptor that the broker passed.
 *
 * After fork(2) a chat is the parent's: in the child every function returns -ECHILD,
 * except that chat_close() frees what the child has of it and the parent notices nothing.
 * The child may open a chat of its own.
 */
#ifndef CHAT_H
#define CHAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

struct chat;

/* Asked when the broker's user is not trusted: not this program's, not root, not
 * CHAT_BROKER_UID. Nothing has been sent. Return true to go on. After a loss any
 * call may ask, if the broker there now is one of another user than before, once
 * for that user: answer at once, without a question. Must not call with this chat. */
typedef bool chat_trust_fn(void *userdata, const char *path, uid_t uid);

struct chat_config {
	const char *socket;   /* path or "@name"; NULL: $CHAT_SOCKET, then the usual places */
	const char *name;     /* to speak as; NULL: $CHAT_NAME, then the Unix user's name */
	bool direct;          /* receive direct conversations of this name as they come */
	bool once;            /* do not reconnect: a loss is an error, not a CHAT_DOWN */
	chat_trust_fn *trust; /* NULL: trust nobody else */
	void *userdata;       /* handed to trust */
};

/* Connect and say hello, within 5 s. On success *ret_chat is owned by the caller.
 * On failure *ret_chat is set as well, so that chat_error() can be asked; give it
 * to chat_close(). CONFIG is copied.
 * Errors: -ECONNREFUSED no broker answers there; -EPERM the broker's user is not
 * trusted; -EACCES the broker refused (the name, the user); -EAGAIN the broker has
 * no room now; -ETIMEDOUT; -EINVAL a name or path outside the grammar; -ENOMEM. */
int chat_open(struct chat **ret_chat, const struct chat_config *config);

/* Close at once; what was not acknowledged may or may not have arrived. Takes
 * NULL. Returns NULL. In a child of fork(2) the parent's session goes on. */
struct chat *chat_close(struct chat *chat);

/* What the last call that failed has to say: one line, never NULL. */
const char *chat_error(const struct chat *chat);

/* The socket that was found, the name that the broker granted. */
const char *chat_socket(const struct chat *chat);
const char *chat_name(const struct chat *chat);

/* True when a session is established now; false in a child of fork(2). */
bool chat_is_up(const struct chat *chat);

/* Where to start reading. */
enum chat_from {
	CHAT_NEW,   /* from now on */
	CHAT_LAST,  /* POSITION records back */
	CHAT_SINCE, /* the record with number POSITION */
	CHAT_TIME,  /* the first record at or after POSITION ns since the epoch */
};

#define CHAT_PRESENCE 1u /* report CHAT_JOINED, CHAT_PARTED, CHAT_SET, CHAT_SEEN */

/* For chat_join() and chat_send(): go through shared memory, without the broker in between,
 * where publisher and reader both ask for it, and through the socket otherwise. See
 * libchat(3), section The fast path. */
#define CHAT_FAST 4u

/* The same: if this makes the room, what goes only through shared memory is not kept. */
#define CHAT_EPHEMERAL 8u

/* Place a cursor on a room or "@name" and wait until it stands (at most 5 s).
 * RET_NEXT, if not NULL, gets the number where the cursor stands.
 * Errors: -EACCES refused; -ENOTCONN not now (it will be joined when the broker
 * is back only if it was joined before); -ETIMEDOUT; -EINVAL; -ENOMEM; -ESHUTDOWN. */
int chat_join(struct chat *chat, const char *target, enum chat_from from, uint64_t position,
	unsigned flags, uint64_t *ret_next);

/* Take the cursor away; events of it that were not received yet are dropped.
 * Errors: -ENOENT there is none; -EINVAL; -ETIMEDOUT; -ESHUTDOWN. */
int chat_part(struct chat *chat, const char *target);

/* The user has read the message with number SEQ there, and those before it: for a program
 * that has shown them. Told to the broker now, or when it is back; only forward. Errors: -ENOENT
 * there is no cursor; -EINVAL; -ESHUTDOWN. */
int chat_seen(struct chat *chat, const char *target, uint64_t seq);

#define CHAT_MORE     1u /* more follows at once: it may wait to share a packet */
#define CHAT_NONBLOCK 2u /* -EAGAIN instead of waiting */

/* Say LEN bytes in a room or to "@name". Returns when the message is in the
 * library's keeping: it is sent now, or when the socket has room, or when the
 * broker is back. It waits while 1 MiB is unacknowledged. A refusal comes later,
 * as CHAT_REFUSED. chat_flush() makes sure.
 * Errors: -EINVAL the target is outside the grammar; -EMSGSIZE over 64000 bytes;
 * -EAGAIN; -ESHUTDOWN the broker ended this session for good. */
int chat_send(struct chat *chat, const char *target, const void *body, size_t len, unsigned flags);

/* Wait until everything sent so far is acknowledged or refused, at most
 * TIMEOUT_MS (negative: no limit). Returns how many were refused since the last
 * flush (each one was, or will be, a CHAT_REFUSED).
 * Errors: -ETIMEDOUT; -ESHUTDOWN; -ENOTCONN with config.once. */
int chat_flush(struct chat *chat, int timeout_ms);

enum chat_type {
	CHAT_MESSAGE, /* target seq time name uid of body */
	CHAT_GAP,     /* target from to text: those messages cannot be read any more; text
		       * "deleted": the room was deleted, and is not joined any more */
	CHAT_JOINED,  /* target name uid of: somebody came into a room */
	CHAT_PARTED,  /* target name uid of: somebody left it */
	CHAT_REFUSED, /* target id code text: a message was not taken; id 0: the target
		       * was not joined again after a loss, and is not read any more */
	CHAT_DOWN,    /* text: the connection is lost, or (ended) over for good */
	CHAT_UP,      /* the connection is back, the cursors stand where they stood */
	CHAT_SEEN,    /* target name uid of seq: one of a conversation has read so far */
	CHAT_SET,     /* target name uid of text: there is another value under that key */
};

/* Borrowed from the chat, valid until the next call with it. Strings are
 * terminated; body is not, and may hold any bytes. */
struct chat_event {
	enum chat_type type;
	const char *target; /* a room, or "@name" of the other side */
	uint64_t seq;       /* number in its log, from 1 */
	uint64_t time;      /* ns since the epoch */
	const char *name;   /* who, checked by the broker */
	uid_t uid;
	const char *of;   /* the Unix user, when name is not that; else NULL */
	bool own;         /* MESSAGE: sent by this very session */
	const char *body; /* MESSAGE: len bytes */
	size_t len;
	uint64_t from, to; /* GAP, inclusive; to is 0 after a reset or a deletion */
	uint64_t id;       /* REFUSED: which of this publisher's messages, from 1 */
	const char *code;  /* REFUSED: see chat-protocol(7); DOWN: of BYE, or "" */
	const char *text;  /* GAP: the reason; REFUSED, DOWN: in words; SET: the key */
	bool ended;        /* DOWN: for good, no reconnect follows */
};

/* Get the next event, waiting at most TIMEOUT_MS (negative: no limit, 0: not at
 * all). Returns 1 with an event, 0 without, also when a signal handler ran.
 * Errors: -ESHUTDOWN after the session has ended for good, -ENOTCONN with
 * config.once after the loss. */
int chat_receive(struct chat *chat, struct chat_event *ret_event, int timeout_ms);

/* A descriptor that polls readable when chat_receive(..., 0) has something to do.
 * It stays the same for the life of the chat. Receiving until 0 before polling
 * again is the cheap way, not a duty. Error: -ECHILD. */
int chat_fd(struct chat *chat);

/* One row of an answer: LEN bytes at ROW, borrowed. Must not call with this chat. */
typedef void chat_row_fn(void *userdata, const char *row, size_t len);

/* Send one request of chat-protocol(7), verb and words, with a body unless BODY is
 * NULL, and wait for its answer at most TIMEOUT_MS. ROW may be NULL. Rows of
 * paged requests come page by page: ask again with the next= of the answer.
 * RET_ANSWER, if not NULL, gets the words after "*" or "!", terminated, borrowed.
 * Returns 0 for "*", 1 for "!" (chat_error() has it).
 * Errors: -ENOTCONN not connected now; -ETIMEDOUT; -EINVAL; -ESHUTDOWN. */
int chat_request(struct chat *chat, const char *request, const void *body, size_t body_len,
	int timeout_ms, chat_row_fn *row, void *userdata, const char **ret_answer);

#ifdef __cplusplus
}
#endif

#endif
