/* arrival.c - what is taken from a frame as soon as it arrives; see session.h. */
#include "client/session.h"
#include "client/target.h"

#include <errno.h>
#include <string.h>

#include "protocol/number.h"

/* Conversations that the broker may tell of: each one costs memory here. */
#define CONVERSATIONS_MAX 65536

/* Copy TEXT, cut to SIZE, and terminate it. */
static void copy_text(char *dst, size_t size, struct text text)
{
	size_t len = MIN(text.len, size - 1);

	memcpy(dst, text.data, len);
	dst[len] = '\0';
}

static bool is_one_of(struct text code, const char *const *codes)
{
	for (; *codes; codes++)
		if (text_equal(code, text_of(*codes)))
			return true;
	return false;
}

/* The free text after the first N words behind the verb. */
static struct text frame_text_after(const struct frame *frame, size_t n)
{
	const char *end = frame->rest.data + frame->rest.len;
	struct text word;

	if (n == 0 || frame->n_words <= n)
		return n == 0 ? frame->rest : (struct text){ end, 0 };
	word = frame->word[n];
	if (word.data + word.len >= end)
		return (struct text){ end, 0 };
	return (struct text){ word.data + word.len + 1, (size_t)(end - word.data) - word.len - 1 };
}

static void farewell_set(struct farewell *farewell, const struct frame *frame, bool is_final)
{
	struct text code = frame->n_words > 1 ? frame->word[1] : TEXT("?");

	copy_text(farewell->code, sizeof farewell->code, code);
	copy_text(farewell->text, sizeof farewell->text, frame_text_after(frame, 1));
	farewell->is_final = is_final;
}

static void arrive_bye(struct chat *chat, const struct frame *frame)
{
	static const char *const final[] = { "QUIT", "KICKED", "FRAMING", "UNMAPPED", NULL };

	farewell_set(
		&chat->farewell, frame, frame->n_words > 1 && is_one_of(frame->word[1], final));
}

static int arrive_junk(struct chat *chat, const char *text)
{
	session_lose(chat, text);
	return -EPROTO;
}

/* "#h * 1 name=NAME uid=UID broker=VERSION max=BYTES batch ..." */
static int arrive_hello(struct chat *chat, const struct frame *frame)
{
	static const char *const transient[] = { "AGAIN", "QUOTA", "NOMEM", NULL };
	struct text name = frame_get(frame, 1, "name"), uid = frame_get(frame, 1, "uid");
	uint64_t number;

	if (chat->state != SESSION_HELLO)
		return 0;
	if (frame->verb == VERB_REFUSE) {
		farewell_set(&chat->farewell, frame,
			frame->n_words < 2 || !is_one_of(frame->word[1], transient));
		return arrive_junk(chat, "the broker refused HELLO");
	}
	if (frame->verb != VERB_DONE)
		return 0;
	if (!name.data || !text_is_name(name) || !uid.data || !number_parse(uid, &number) ||
		number > UINT32_MAX)
		return arrive_junk(chat, "the broker answered HELLO without name and uid");
	if (!frame_has(frame, 1, "batch"))
		return arrive_junk(chat, "the broker can not do batches");
	copy_text(chat->name, sizeof chat->name, name);
	chat->uid = (uid_t)number;
	session_resume(chat);
	return 0;
}

/* "#aN *". A refused PING acknowledges nothing: only a new connection can tell. */
static int arrive_barrier(struct chat *chat, const struct frame *frame)
{
	uint64_t number;

	if (!number_parse((struct text){ frame->tag.data + 1, frame->tag.len - 1 }, &number))
		return 0;
	if (frame->verb == VERB_REFUSE)
		return arrive_junk(chat, "the broker refused PING");
	if (frame->verb == VERB_DONE)
		outbox_acknowledge(&chat->outbox, number);
	return 0;
}

static int arrive_join(struct chat *chat, const struct frame *frame)
{
	struct text log_word = frame_get(frame, 1, "log");
	struct cursor *cursor;
	uint64_t serial, next, log;

	cursor = cursors_find_tag(&chat->cursors, frame->tag, &serial);
	if (!cursor || (frame->verb != VERB_DONE && frame->verb != VERB_REFUSE))
		return 0;
	if (frame->verb == VERB_DONE) {
		if (frame->n_words < 2 || !number_parse(frame->word[1], &next) || !log_word.data ||
			!number_parse_hex(log_word, &log))
			return arrive_junk(chat, "the broker answered JOIN without numbers");
		cursor_arrive(cursor, next, log);
	}
	if (cursor->awaits_join) {
		cursor->awaits_join = false;
		chat->n_joins--;
	}
	/* a nick that is gone may be back: what was seen of its talk is kept till then */
	if (frame->verb == VERB_REFUSE && chat->wants_direct && cursor->target[0] == '@' &&
		cursor->state != CURSOR_ASKED && frame->n_words > 1 &&
		text_equal(frame->word[1], TEXT("NONAME"))) {
		cursor->is_parked = true;
		return 0;
	}
	return 1;
}

/* "CURSOR target NEXT first=A log=ID": a conversation that was not known. */
static int arrive_cursor(struct chat *chat, const struct frame *frame)
{
	struct text log_word = frame_get(frame, 1, "log"), a, b;
	struct cursor *cursor;
	uint64_t next, log;

	if (frame->n_words < 3 || !text_is_conversation(frame->word[1], &a, &b) ||
		!number_parse(frame->word[2], &next) || !log_word.data ||
		!number_parse_hex(log_word, &log))
		return arrive_junk(chat, "the broker sent a CURSOR without numbers");
	cursor = cursors_find(&chat->cursors, frame->word[1]);
	if (cursor && cursor->is_parked) {
		cursor->is_parked = false;
		cursor->n_unparked++;
		cursor_arrive(cursor, next, log);
	} else if (cursor && cursor->is_deleted) {
		cursor_arrive(cursor, next, log);
	}
	if (cursor)
		return 1;
	if (!chat->wants_direct || chat->n_told == CONVERSATIONS_MAX)
		return arrive_junk(chat, "the broker sent a CURSOR that has no place");
	target_show(text_of(chat->name), frame->word[1], chat->shown);
	if (cursors_add(&chat->cursors, frame->word[1], text_of(chat->shown), &cursor))
		return arrive_junk(chat, "no memory for another conversation");
	cursor->was_told = true;
	chat->n_told++;
	cursor->serial_first = cursor->serial_last = ++chat->join_serial;
	cursor_arrive(cursor, next, log);
	return 1;
}

/* "GAP target NEXT 0 deleted": whatever becomes of the connection, the room is not joined again. */
static void arrive_gap(struct chat *chat, const struct frame *frame)
{
	struct cursor *cursor;

	if (frame->n_words < 5 || !text_equal(frame->word[4], TEXT("deleted")))
		return;
	cursor = cursors_find(&chat->cursors, frame->word[1]);
	if (!cursor)
		return;
	cursor->is_deleted = true;
	if (cursor->wants_join) {
		cursor->wants_join = false;
		chat->n_joins--;
	}
}

/* "! CODE SAY target id=N text". OLD only says that a message which was sent again
 * had been taken before. */
static int arrive_refusal(struct chat *chat, const struct frame *frame)
{
	struct text id_word = frame_get(frame, 3, "id");
	uint64_t id;

	if (frame->n_words < 3)
		return 0;
	if (text_equal(frame->word[2], TEXT("CURSOR"))) /* a conversation is not delivered */
		return 1;
	if (!text_equal(frame->word[2], TEXT("SAY")))
		return 0;
	if (text_equal(frame->word[1], TEXT("OLD")))
		return 0;
	if (id_word.data && number_parse(id_word, &id))
		outbox_refuse(&chat->outbox, id);
	chat->n_refused++;
	return 1;
}

static void arrive_answer(struct chat *chat, const struct frame *frame)
{
	struct waiter *waiter = chat->waiter;
	struct text tag = { waiter->tag, waiter->tag_len };

	if (waiter->state != WAITER_WAITS || !text_equal(tag, frame->tag))
		return;
	if (frame->verb == VERB_ROW) {
		struct text row = frame->rest;

		if (frame->has_body) /* a row of PAST is a frame of its own */
			row.len = (size_t)(frame->body.data + frame->body.len - row.data);
		if (waiter->row)
			waiter->row(waiter->userdata, row.data, row.len);
		return;
	}
	copy_text(chat->answer, sizeof chat->answer, frame->rest);
	waiter->state = frame->verb == VERB_DONE ? WAITER_DONE : WAITER_REFUSED;
}

static int arrive_tagged(struct chat *chat, const struct frame *frame)
{
	int r = 0;

	if (frame->verb != VERB_ROW && frame->verb != VERB_DONE && frame->verb != VERB_REFUSE)
		return 0;
	if (text_equal(frame->tag, TEXT("h")))
		return arrive_hello(chat, frame);
	if (frame->tag.data[0] == 'a')
		return arrive_barrier(chat, frame);
	if (frame->tag.data[0] == 'f' || frame->tag.data[0] == 'g' || frame->tag.data[0] == 'b' ||
		frame->tag.data[0] == 'w') {
		fast_arrive(chat, frame);
		return 0;
	}
	if (frame->tag.data[0] == 'j')
		r = arrive_join(chat, frame);
	if (r >= 0 && chat->waiter)
		arrive_answer(chat, frame);
	return r;
}

int session_arrive(struct chat *chat, const struct frame *frame)
{
	if (frame->tag.len > 0)
		return arrive_tagged(chat, frame);
	switch (frame->verb) {
	case VERB_BYE:
		arrive_bye(chat, frame);
		return 0;
	case VERB_CURSOR:
		return arrive_cursor(chat, frame);
	case VERB_REFUSE:
		return arrive_refusal(chat, frame);
	case VERB_GAP:
		arrive_gap(chat, frame);
		return 1;
	case VERB_AT:
	case VERB_JOINED:
	case VERB_PARTED:
	case VERB_SEEN:
	case VERB_SET:
	case VERB_RING:
	case VERB_UNRING:
		return 1;
	case VERB_PAGE:
	case VERB_SLEEPER:
	case VERB_REVOKED:
		fast_arrive(chat, frame);
		return 0;
	default: /* of a later version */
		return 0;
	}
}
