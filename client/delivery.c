/* delivery.c - see delivery.h. A message whose number is the expected one takes the
 * short way; everything that may have happened to a log is in delivery_jump(). */
#include "client/delivery.h"

#include <string.h>

#include "client/message.h"
#include "client/passed.h"
#include "client/target.h"
#include "protocol/number.h"

enum {
	DELIVERY_E_NONE = 0, /* nothing for the program */
	DELIVERY_E_EVENT = 1,
	DELIVERY_E_JUNK,
	DELIVERY_E_GO, /* the message is as good as expected */
};

/* The bytes behind a word are a space or LF of a packet that is ours. */
static const char *terminate(struct text word)
{
	((char *)word.data)[word.len] = '\0';
	return word.data;
}

static int delivery_gap(struct chat_event *ret_event, const struct cursor *cursor, uint64_t from,
	uint64_t to, const char *reason)
{
	*ret_event = (struct chat_event){
		.type = CHAT_GAP,
		.target = cursor->shown,
		.from = from,
		.to = to,
		.text = reason,
	};
	return DELIVERY_E_EVENT;
}

/* SEQ is not what the cursor expects, or it expects nothing certain. */
static int delivery_jump(
	struct chat *chat, struct chat_event *ret_event, struct cursor *cursor, uint64_t seq)
{
	uint64_t from = cursor->next;

	if (cursor->reset_due) { /* the broker should have said so before */
		cursor->reset_due = false;
		inbox_again(&chat->inbox);
		return delivery_gap(ret_event, cursor, cursor->reset_from, 0, "reset");
	}
	if (cursor->is_loose) {
		cursor->is_loose = false;
		return DELIVERY_E_GO;
	}
	if (seq < from)
		return DELIVERY_E_NONE;
	cursor->next = seq;
	inbox_again(&chat->inbox);
	return delivery_gap(ret_event, cursor, from, seq - 1, "skipped");
}

/* In a room whose rings are read, too, the numbers of the log have holes, which mean
 * nothing, and may come again after something was missed: what tells is the publisher's
 * own number. */
static int delivery_pass(struct chat *chat, struct cursor *cursor, const struct message *message,
	struct chat_event *ret_event)
{
	uint64_t next = cursor->next;
	struct subscription *subscription = NULL;
	bool is_new = message->seq >= next;

	if (message->has_publisher)
		subscription = subscription_find(chat, cursor, message->uid, message->label);
	if (subscription && subscription_next_before(chat, subscription, message->n, ret_event)) {
		inbox_again(&chat->inbox);
		return DELIVERY_E_EVENT;
	}
	if (subscription && subscription->memory.at) {
		is_new = subscription_note(subscription, message->n);
	} else if (message->has_publisher) {
		is_new = !seen_has(&cursor->seen, message->uid, message->label, message->n);
		if (is_new)
			seen_add(&cursor->seen, message->uid, message->label, message->n);
	}
	cursor->next = MAX(next, message->seq + 1);
	cursor->heard = MAX(cursor->heard, message->seq + 1);
	cursor->is_loose = false;
	return is_new ? DELIVERY_E_GO : DELIVERY_E_NONE;
}

static int deliver_message(struct chat *chat, struct text text, struct chat_event *ret_event)
{
	struct message message;
	struct cursor *cursor;
	int r;

	if (message_parse(&message, text, &chat->memo))
		return DELIVERY_E_JUNK;
	cursor = cursors_find(&chat->cursors, message.target);
	if (!cursor || cursor->state != CURSOR_UP)
		return DELIVERY_E_NONE;
	if (cursor->is_fast && !cursor->reset_due) {
		r = delivery_pass(chat, cursor, &message, ret_event);
		if (r != DELIVERY_E_GO)
			return r;
	} else if (message.seq != cursor->next || cursor->is_loose) {
		r = delivery_jump(chat, ret_event, cursor, message.seq);
		if (r != DELIVERY_E_GO)
			return r;
	}
	cursor->next = MAX(cursor->next, message.seq + 1);
	if (message.has_publisher && !cursor->is_fast) {
		if (cursor->after_reset &&
			seen_has(&cursor->seen, message.uid, message.label, message.n))
			return DELIVERY_E_NONE;
		seen_add(&cursor->seen, message.uid, message.label, message.n);
	}
	/* every member has its line: if not, all would be cleared before, which takes as
	 * long as the rest */
	*ret_event = (struct chat_event){
		.type = CHAT_MESSAGE,
		.target = cursor->shown,
		.seq = message.seq,
		.time = message.time,
		.name = terminate(message.name),
		.uid = message.uid,
		.of = message.of.data ? terminate(message.of) : NULL,
		.own = message.has_publisher && message.label == chat->publisher &&
		       message.uid == chat->uid,
		.body = message.body.data,
		.len = message.body.len,
		.from = 0,
		.to = 0,
		.id = 0,
		.code = NULL,
		.text = NULL,
		.ended = false,
	};
	return DELIVERY_E_EVENT;
}

/* The room is deleted, and the cursor with it, unless another placement has arrived, or is asked
 * for, since then. */
static int deliver_deletion(struct chat *chat, struct cursor *cursor, uint64_t next,
	const char *reason, struct chat_event *ret_event)
{
	memcpy(chat->shown, cursor->shown, sizeof chat->shown);
	if (cursor->n_arrived > 0 || cursor->awaits_join) {
		subscriptions_drop(chat, cursor);
		chat->n_reads -= cursor->is_read_due;
		cursor->is_read_due = false;
		cursor->read = 0; /* the numbers are new */
		cursor->state = CURSOR_PLANNED;
	} else {
		session_forget(chat, cursor);
	}
	*ret_event = (struct chat_event){
		.type = CHAT_GAP, .target = chat->shown, .from = next, .text = reason
	};
	return DELIVERY_E_EVENT;
}

/* "GAP target FROM TO reason" */
static int deliver_gap(struct chat *chat, const struct frame *frame, struct chat_event *ret_event)
{
	struct cursor *cursor;
	const char *reason;
	uint64_t from, to;

	if (frame->n_words < 5 || !number_parse(frame->word[2], &from) ||
		!number_parse(frame->word[3], &to))
		return DELIVERY_E_JUNK;
	cursor = cursors_find(&chat->cursors, frame->word[1]);
	reason = terminate(frame->word[4]);
	if (cursor && cursor->state != CURSOR_ASKED && strcmp(reason, "deleted") == 0)
		return deliver_deletion(chat, cursor, from, reason, ret_event);
	if (!cursor || cursor->state != CURSOR_UP)
		return DELIVERY_E_NONE;
	if (strcmp(reason, "reset") == 0) {
		if (cursor->reset_due) /* more may have been delivered since it was asked */
			from = cursor->reset_from;
		cursor->next = cursor->placed;
		cursor->is_loose = true;
		cursor->reset_due = false;
		cursor->after_reset = true;
		return delivery_gap(ret_event, cursor, from, 0, reason);
	}
	if (strcmp(reason, "lapped") == 0 && frame->n_words > 6)
		return subscription_gap(chat, frame, cursor, ret_event) ? DELIVERY_E_EVENT
									: DELIVERY_E_NONE;
	if (to == 0)
		return delivery_gap(ret_event, cursor, from, to, reason);
	if (to < from || to == UINT64_MAX)
		return DELIVERY_E_JUNK;
	if (cursor->is_fast) { /* it may have been caught up from further back */
		cursor->is_loose = false;
		cursor->next = MAX(cursor->next, to + 1);
		cursor->heard = MAX(cursor->heard, to + 1);
		subscriptions_note_gap(chat, cursor);
		return delivery_gap(ret_event, cursor, from, to, reason);
	}
	if (!cursor->is_loose) {
		if (to < cursor->next)
			return DELIVERY_E_NONE;
		from = cursor->next; /* what lies between is missing as well */
	}
	cursor->is_loose = false;
	cursor->next = to + 1;
	return delivery_gap(ret_event, cursor, from, to, reason);
}

/* "AT room SEQ": what the log has before that came already, or comes from rings. */
static int deliver_place(struct chat *chat, const struct frame *frame)
{
	struct cursor *cursor;
	uint64_t seq;

	if (frame->n_words < 3 || !number_parse(frame->word[2], &seq))
		return DELIVERY_E_JUNK;
	cursor = cursors_find(&chat->cursors, frame->word[1]);
	if (cursor && cursor->state == CURSOR_UP && cursor->is_fast && !cursor->reset_due) {
		cursor->next = MAX(cursor->next, seq);
		cursor->heard = MAX(cursor->heard, seq);
	}
	return DELIVERY_E_NONE;
}

/* "RING room ..." and "UNRING room ...": a ring begins or ends here. */
static int deliver_ring(struct chat *chat, const struct frame *frame, struct chat_event *ret_event)
{
	struct cursor *cursor =
		frame->n_words > 1 ? cursors_find(&chat->cursors, frame->word[1]) : NULL;

	if (cursor && cursor->state == CURSOR_UP)
		return subscription_deliver(chat, frame, cursor, ret_event) ? DELIVERY_E_EVENT
									    : DELIVERY_E_NONE;
	/* it is joined again, or not any more: then so is the ring */
	passed_close(session_take_fd(chat));
	subscription_confirm(chat, true);
	return DELIVERY_E_NONE;
}

static enum chat_type presence_type(enum verb verb)
{
	switch (verb) {
	case VERB_JOINED:
		return CHAT_JOINED;
	case VERB_PARTED:
		return CHAT_PARTED;
	case VERB_SET:
		return CHAT_SET;
	default:
		return CHAT_SEEN;
	}
}

/* "JOINED room NAME UID [of=USER]"; PARTED; SEEN, with seq=N; SET, with key=KEY version=V */
static int deliver_presence(
	struct chat *chat, const struct frame *frame, struct chat_event *ret_event)
{
	struct text of = frame_get(frame, 4, "of"), seq_word = frame_get(frame, 4, "seq");
	struct text key = frame_get(frame, 4, "key");
	struct cursor *cursor;
	uint64_t uid, seq = 0;

	if (frame->n_words < 4 || !number_parse(frame->word[3], &uid) || uid > UINT32_MAX ||
		(seq_word.data && !number_parse(seq_word, &seq)) ||
		(frame->verb == VERB_SET && !key.data))
		return DELIVERY_E_JUNK;
	cursor = cursors_find(&chat->cursors, frame->word[1]);
	if (!cursor || cursor->state != CURSOR_UP || !cursor->wants_presence)
		return DELIVERY_E_NONE;
	*ret_event = (struct chat_event){
		.type = presence_type(frame->verb),
		.target = cursor->shown,
		.seq = seq,
		.name = terminate(frame->word[2]),
		.uid = (uid_t)uid,
		.of = of.data ? terminate(of) : NULL,
		.text = key.data ? terminate(key) : NULL,
	};
	return DELIVERY_E_EVENT;
}

/* The placement is of a cursor that stood somewhere: does it go on there? */
static void cursor_place_again(struct cursor *cursor, uint64_t next, uint64_t log)
{
	cursor->placed = next;
	if (log == cursor->log)
		return;
	cursor->reset_from = cursor->next;
	cursor->reset_due = true;
	cursor->is_loose = true;
	cursor->after_reset = true;
	cursor->log = log;
	cursor->next = next;
}

static void cursor_place(struct cursor *cursor, uint64_t next, uint64_t log, uint64_t asked)
{
	cursor->placed = next;
	cursor->next = asked > 0 && asked < next ? asked : next;
	cursor->log = log;
	cursor->is_loose = false;
	cursor->reset_due = false;
	cursor->after_reset = false;
}

static int deliver_join(struct chat *chat, const struct frame *frame, struct chat_event *ret_event)
{
	uint64_t serial, next, log;
	struct cursor *cursor;
	bool was_dropped;

	cursor = cursors_find_tag(&chat->cursors, frame->tag, &serial);
	if (!cursor)
		return DELIVERY_E_NONE;
	if (frame->verb == VERB_REFUSE) {
		if (cursor->state != CURSOR_RESUMING)
			return DELIVERY_E_NONE; /* chat_join() has told it */
		memcpy(chat->shown, cursor->shown, sizeof chat->shown);
		session_forget(chat, cursor);
		*ret_event = (struct chat_event){
			.type = CHAT_REFUSED,
			.target = chat->shown,
			.text = frame->n_words > 2 ? frame->word[2].data : "",
			.code = frame->n_words > 1 ? terminate(frame->word[1]) : "",
		};
		return DELIVERY_E_EVENT;
	}
	/* a tag that nobody had asked under when it arrived was not looked at then */
	if (frame->verb != VERB_DONE || frame->n_words < 2 ||
		!number_parse(frame->word[1], &next) ||
		!number_parse_hex(frame_get(frame, 1, "log"), &log))
		return DELIVERY_E_JUNK;
	cursor_settle(cursor, false);
	cursor->heard = next;
	cursor->is_ephemeral = text_equal(frame_get(frame, 1, "mode"), TEXT("ephemeral"));
	if (cursor->state == CURSOR_RESUMING) {
		cursor_place_again(cursor, next, log);
		subscriptions_serve(chat, cursor);
	} else {
		subscriptions_restart(chat, cursor);
		cursor_place(cursor, next, log, serial == cursor->serial_last ? cursor->asked : 0);
	}
	cursor->state = CURSOR_UP;
	was_dropped = cursor->was_dropped;
	cursor->was_dropped = false;
	if (was_dropped && cursor->wants_presence)
		return delivery_gap(ret_event, cursor, 0, 0, "presence");
	return DELIVERY_E_NONE;
}

/* "CURSOR target NEXT first=A log=ID", which arrived well-formed. */
static int deliver_cursor(struct chat *chat, const struct frame *frame)
{
	struct cursor *cursor = cursors_find(&chat->cursors, frame->word[1]);
	uint64_t next, log;

	/* one that was known is resumed by number, not from here, unless it was parked */
	if (!cursor || (cursor->state != CURSOR_PLANNED && cursor->n_unparked == 0))
		return DELIVERY_E_NONE;
	if (!number_parse(frame->word[2], &next) ||
		!number_parse_hex(frame_get(frame, 2, "log"), &log))
		return DELIVERY_E_JUNK;
	cursor_settle(cursor, false);
	if (cursor->n_unparked > 0) {
		cursor->n_unparked--;
		cursor_place_again(cursor, next, log);
	} else {
		cursor_place(cursor, next, log, 0);
	}
	cursor->state = CURSOR_UP;
	return DELIVERY_E_NONE;
}

/* "! CODE SAY target id=N text", which arrived well-formed. */
static int deliver_refusal(
	struct chat *chat, const struct frame *frame, struct chat_event *ret_event)
{
	struct text id_word = frame_get(frame, 3, "id");
	size_t last = frame->n_words > 3 ? 3 : 2;
	uint64_t id = 0;

	if (text_equal(frame->word[1], TEXT("OLD")))
		return DELIVERY_E_NONE;
	if (id_word.data && number_parse(id_word, &id) && frame->n_words > 4)
		last = 4;
	target_show(text_of(chat->name), last >= 3 ? frame->word[3] : TEXT(""), chat->shown);
	*ret_event = (struct chat_event){
		.type = CHAT_REFUSED,
		.target = chat->shown,
		.id = id,
		.text = frame->n_words > last + 1 ? frame->word[last + 1].data : "",
		.code = terminate(frame->word[1]),
	};
	return DELIVERY_E_EVENT;
}

/* All but MSG. The line is copied, so that its words can be terminated. */
static int deliver_other(struct chat *chat, struct text text, struct chat_event *ret_event)
{
	const char *lf = memchr(text.data, '\n', MIN(text.len, (size_t)LINE_LEN_MAX));
	struct frame frame;
	int r;

	if (frame_parse(&frame, text))
		return DELIVERY_E_JUNK;
	if (!chat->inbox.has_arrived) {
		r = session_arrive(chat, &frame);
		session_check_joins(chat);
		if (r <= 0)
			return r < 0 ? DELIVERY_E_JUNK : DELIVERY_E_NONE;
	}
	text.len = lf ? (size_t)(lf - text.data) : text.len;
	if (text.len > LINE_LEN_MAX)
		return DELIVERY_E_JUNK;
	memcpy(chat->line, text.data, text.len);
	chat->line[text.len] = '\0';
	if (frame_parse(&frame, (struct text){ chat->line, text.len }))
		return DELIVERY_E_JUNK;
	if (frame.tag.len > 0)
		return frame.tag.data[0] == 'j' ? deliver_join(chat, &frame, ret_event)
						: DELIVERY_E_NONE;
	switch (frame.verb) {
	case VERB_GAP:
		return deliver_gap(chat, &frame, ret_event);
	case VERB_AT:
		return deliver_place(chat, &frame);
	case VERB_CURSOR:
		return deliver_cursor(chat, &frame);
	case VERB_RING:
	case VERB_UNRING:
		return deliver_ring(chat, &frame, ret_event);
	case VERB_JOINED:
	case VERB_PARTED:
	case VERB_SEEN:
	case VERB_SET:
		return deliver_presence(chat, &frame, ret_event);
	case VERB_REFUSE:
		return frame.n_words > 2 && (text_equal(frame.word[2], TEXT("SAY")) ||
						    text_equal(frame.word[2], TEXT("CURSOR")))
			       ? deliver_refusal(chat, &frame, ret_event)
			       : DELIVERY_E_NONE;
	default:
		return DELIVERY_E_NONE;
	}
}

/* The rest of a packet makes no sense; what it would have placed is forgotten. */
static void delivery_give_up(struct chat *chat)
{
	struct cursor *cursor;

	inbox_discard(&chat->inbox);
	session_lose(chat, "the broker sent what is not of the protocol");
	for (uint32_t at = 0; (cursor = cursors_next(&chat->cursors, &at));)
		cursor_settle(cursor, true);
}

/* The connection was lost, or is back. */
static int deliver_happening(struct chat *chat, struct chat_event *ret_event)
{
	const struct item *item = &chat->inbox.held;
	struct cursor *cursor;

	if (item->kind == ITEM_UP) {
		*ret_event = (struct chat_event){ .type = CHAT_UP };
		return DELIVERY_E_EVENT;
	}
	for (uint32_t at = 0; (cursor = cursors_next(&chat->cursors, &at));)
		if (cursor->state == CURSOR_UP)
			cursor->state = CURSOR_RESUMING;
	if (item->is_quiet)
		return DELIVERY_E_NONE;
	*ret_event = (struct chat_event){
		.type = CHAT_DOWN,
		.code = item->data,
		.text = item->data + item->code_len + 1,
		.ended = item->is_ended,
	};
	return DELIVERY_E_EVENT;
}

int delivery_next(struct chat *chat, struct chat_event *ret_event)
{
	struct inbox *inbox = &chat->inbox;
	struct text text;
	int r;

	for (;;) {
		r = inbox_next(inbox, &text);
		if (r == INBOX_E_END) {
			if (!inbox_take(inbox))
				return 0;
			if (inbox->held.kind != ITEM_PACKET && deliver_happening(chat, ret_event))
				return 1;
			continue;
		}
		if (r)
			r = DELIVERY_E_JUNK;
		else if (message_is(text))
			r = deliver_message(chat, text, ret_event);
		else
			r = deliver_other(chat, text, ret_event);
		if (r == DELIVERY_E_EVENT)
			return 1;
		if (r == DELIVERY_E_JUNK)
			delivery_give_up(chat);
	}
}
