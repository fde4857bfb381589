/* answer.c - see answer.h. */
#include "broker/answer.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "broker/broker.h"
#include "broker/output.h"
#include "broker/session.h"

static const char *const code_names[] = {
	[CODE_AGAIN] = "AGAIN",
	[CODE_ARGS] = "ARGS",
	[CODE_CHANGED] = "CHANGED",
	[CODE_DENIED] = "DENIED",
	[CODE_FRAME] = "FRAME",
	[CODE_IO] = "IO",
	[CODE_NAME] = "NAME",
	[CODE_NOMEM] = "NOMEM",
	[CODE_NONAME] = "NONAME",
	[CODE_NOROOM] = "NOROOM",
	[CODE_NOSPACE] = "NOSPACE",
	[CODE_NOTIN] = "NOTIN",
	[CODE_OLD] = "OLD",
	[CODE_QUOTA] = "QUOTA",
	[CODE_RING] = "RING",
	[CODE_ROOM] = "ROOM",
	[CODE_STATE] = "STATE",
	[CODE_TAKEN] = "TAKEN",
	[CODE_TOOBIG] = "TOOBIG",
	[CODE_UNMAPPED] = "UNMAPPED",
	[CODE_VERB] = "VERB",
	[CODE_VERSION] = "VERSION",
};
_Static_assert(ARRAY_LEN(code_names) == CODE_COUNT, "every code has a name");

/* Words, the echo of a target and a text: all bounded by the line they come from. */
#define ANSWER_LINE_MAX (LINE_LEN_MAX + 512)

const char *code_name(enum code code)
{
	return code_names[code];
}

static void answer_put(struct session *session, const char *line, int len, size_t size)
{
	struct text text = { line, MIN((size_t)len, size - 1) };

	if (!hold_answer(session, text))
		output_put(session, text);
}

void answer_ok(struct session *session, const struct frame *frame)
{
	char line[TAG_LEN_MAX + 4];
	int n;

	if (session_is_plain(session)) {
		answer_put(session, "*", 1, 2);
		return;
	}
	if (frame->tag.len == 0)
		return;
	n = snprintf(line, sizeof line, "#%.*s *", (int)frame->tag.len, frame->tag.data);
	answer_put(session, line, n, sizeof line);
}

void answer_done(struct session *session, const struct frame *frame, const char *format, ...)
{
	char line[ANSWER_LINE_MAX];
	int n, k;
	va_list ap;

	if (frame->tag.len == 0 || session_is_plain(session)) {
		answer_ok(session, frame);
		return;
	}
	n = snprintf(line, sizeof line, "#%.*s * ", (int)frame->tag.len, frame->tag.data);
	va_start(ap, format);
	k = vsnprintf(line + n, sizeof line - (size_t)n, format, ap);
	va_end(ap);
	answer_put(session, line, n + k, sizeof line);
}

void answer_row(struct session *session, const struct frame *frame, struct text row)
{
	char start[TAG_LEN_MAX + 5];
	int n;

	if (frame->tag.len == 0)
		return;
	n = snprintf(start, sizeof start, "#%.*s + ", (int)frame->tag.len, frame->tag.data);
	output_put2(session, (struct text){ start, (size_t)n }, row);
}

void answer_refuse(
	struct session *session, const struct frame *frame, enum code code, const char *format, ...)
{
	char line[ANSWER_LINE_MAX];
	struct text id;
	int n, k;
	va_list ap;

	session->broker->n_refused++;
	if (session_is_plain(session)) {
		n = snprintf(line, sizeof line, "!%s", code_names[code]);
		answer_put(session, line, n, sizeof line);
		return;
	}
	if (frame->tag.len > 0) {
		n = snprintf(line, sizeof line, "#%.*s ! %s ", (int)frame->tag.len, frame->tag.data,
			code_names[code]);
	} else {
		/* a verb that is none of ours is not repeated: it may be anything */
		n = snprintf(line, sizeof line, "! %s %s ", code_names[code],
			frame->verb == VERB_UNKNOWN ? "?" : verb_name(frame->verb));
		if (verb_is_request(frame->verb) && frame->n_words > 1 &&
			frame->word[1].len <= TARGET_LEN_MAX && text_is_utf8(frame->word[1]))
			n += snprintf(line + n, sizeof line - (size_t)n, "%.*s ",
				(int)frame->word[1].len, frame->word[1].data);
		id = frame_get(frame, 1, "id");
		if (id.data && id.len <= NUMBER_DECIMAL_MAX && text_is_utf8(id))
			n += snprintf(line + n, sizeof line - (size_t)n, "id=%.*s ", (int)id.len,
				id.data);
	}
	va_start(ap, format);
	k = vsnprintf(line + n, sizeof line - (size_t)n, format, ap);
	va_end(ap);
	answer_put(session, line, n + k, sizeof line);
}

void answer_refuse_name(struct session *session, const struct frame *frame, int outcome)
{
	if (outcome == USERS_E_BUSY)
		answer_refuse(session, frame, CODE_AGAIN,
			"too many look-ups of names wait, %u of them yours; try again later",
			session->user->account->n_names_asked);
	else
		answer_refuse(session, frame, CODE_AGAIN, "the user database does not answer");
}

void answer_error(struct session *session, const struct frame *frame, int error)
{
	if (error == -ENOMEM)
		answer_refuse(session, frame, CODE_NOMEM, "the broker: %s", strerror(-error));
	else if (error == -ENOSPC || error == -EDQUOT || error == -EFBIG)
		answer_refuse(session, frame, CODE_NOSPACE, "not stored: %s", strerror(-error));
	else
		answer_refuse(session, frame, CODE_IO,
			"the disk failed, and it may come back when the broker does: %s",
			strerror(-error));
}
