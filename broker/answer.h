/* answer.h - answers to requests: the codes of chat-protocol(7), and how each kind
 * of session gets them. */
#pragma once

#include <stdbool.h>

#include "protocol/base.h"
#include "protocol/frame.h"

struct session;

enum code {
	CODE_AGAIN,
	CODE_ARGS,
	CODE_CHANGED,
	CODE_DENIED,
	CODE_FRAME,
	CODE_IO,
	CODE_NAME,
	CODE_NOMEM,
	CODE_NONAME,
	CODE_NOROOM,
	CODE_NOSPACE,
	CODE_NOTIN,
	CODE_OLD,
	CODE_QUOTA,
	CODE_RING,
	CODE_ROOM,
	CODE_STATE,
	CODE_TAKEN,
	CODE_TOOBIG,
	CODE_UNMAPPED,
	CODE_VERB,
	CODE_VERSION,
	CODE_COUNT,
};

const char *code_name(enum code code);

/* Answer "* WORDS" under the frame's tag; without a tag nothing is sent. A plain
 * session gets "*". answer_ok() has no words. */
void answer_ok(struct session *session, const struct frame *frame);
_printf_(3, 4) void answer_done(
	struct session *session, const struct frame *frame, const char *format, ...);

/* Rows go under the tag: without one they go nowhere, and are not even to be looked for. */
static inline bool answer_has_rows(const struct frame *frame)
{
	return frame->tag.len > 0;
}

/* One row under the tag; nothing without a tag. */
void answer_row(struct session *session, const struct frame *frame, struct text row);

/* Refuse the request. */
_printf_(4, 5) void answer_refuse(struct session *session, const struct frame *frame,
	enum code code, const char *format, ...);

/* Refuse because a name could not be looked up: USERS_E_AGAIN or USERS_E_BUSY of users.h. */
void answer_refuse_name(struct session *session, const struct frame *frame, int outcome);

/* Refuse for an error of our own: -ENOMEM, or what the disk said. */
void answer_error(struct session *session, const struct frame *frame, int error);
