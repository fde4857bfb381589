/* handle_room.c - JOIN, PART, SAY, DELETE, SEEN: the requests for one room. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "broker/broker.h"
#include "broker/cache.h"
#include "broker/dispatch.h"
#include "broker/fastpath.h"
#include "broker/mark.h"
#include "broker/position.h"
#include "broker/reader.h"
#include "broker/removal.h"
#include "protocol/number.h"
#include "protocol/record.h"

/* ---- which room ---- */

static int refuse_room(struct session *session, const struct frame *frame, int outcome)
{
	if (outcome == ROOM_E_QUOTA)
		answer_refuse(session, frame, CODE_QUOTA, "rooms: at the limit of %lu",
			(unsigned long)session->user->account->max[QUOTA_ROOMS]);
	else if (outcome == ROOM_E_NONE)
		answer_refuse(session, frame, CODE_NOROOM, "no such room");
	else
		answer_error(session, frame, outcome);
	return 0;
}

/* The other side of a conversation that TARGET names, from this session's side. */
static bool target_other(struct session *session, struct text target, struct text *ret_other)
{
	struct text a, b, own = text_of(session->person->name);

	if (text_is_direct(target)) {
		*ret_other = (struct text){ target.data + 1, target.len - 1 };
		return true;
	}
	if (!text_is_conversation(target, &a, &b) || (!text_equal(a, own) && !text_equal(b, own)))
		return false;
	*ret_other = text_equal(a, own) ? b : a;
	return true;
}

/* Find, or when CREATE is set make, the room of a conversation. Sets *ret_room to
 * NULL when the request was refused. Returns 0 or DISPATCH_E_WAIT. */
static int target_conversation(struct session *session, const struct frame *frame,
	struct text target, bool create, struct room **ret_room)
{
	struct broker *broker = session->broker;
	struct text other;
	uid_t uid;
	int r;

	*ret_room = NULL;
	if (!target_other(session, target, &other)) {
		answer_refuse(session, frame, CODE_ROOM, "not a conversation of yours");
		return 0;
	}
	r = users_resolve(&broker->users, session->user, other, &session->wait_link, &uid);
	switch (r) {
	case 0:
		break;
	case USERS_E_WAIT:
		session->is_waiting = true;
		return DISPATCH_E_WAIT;
	case USERS_E_NONE:
		answer_refuse(session, frame, CODE_NONAME, "nobody has this name");
		return 0;
	case USERS_E_AGAIN:
	case USERS_E_BUSY:
		answer_refuse_name(session, frame, r);
		return 0;
	default:
		answer_error(session, frame, r);
		return 0;
	}
	r = rooms_get_conversation(&broker->rooms, text_of(session->person->name),
		session->user->uid, other, uid, session->user, create, ret_room);
	if (r)
		refuse_room(session, frame, r);
	return 0;
}

int handle_target_room(struct session *session, const struct frame *frame, struct text target,
	bool create, struct room **ret_room)
{
	struct rooms *rooms = &session->broker->rooms;
	int r = 0;

	*ret_room = NULL;
	if (target.len > 0 && target.data[0] == '@')
		return target_conversation(session, frame, target, create, ret_room);
	if (!text_is_room(target)) {
		answer_refuse(session, frame, CODE_ROOM, "not a room name");
		return 0;
	}
	if (create)
		r = rooms_get(rooms, target, session->user, ret_room);
	else
		*ret_room = rooms_find(rooms, target);
	if (r || !*ret_room) {
		*ret_room = NULL;
		return refuse_room(session, frame, r ? r : ROOM_E_NONE);
	}
	return 0;
}

/* ---- JOIN, PART ---- */

/* Where the request wants the cursor: fills in at.seq and reset_from. Returns as
 * position_parse() does. */
static int join_position(struct session *session, const struct frame *frame, struct room *room,
	struct cursor *ret_cursor)
{
	struct text since = frame_get(frame, 2, "since"), last = frame_get(frame, 2, "last");
	struct text log = frame_get(frame, 2, "log");
	uint64_t end = log_end(&room->log), n = end, id;
	int r;

	ret_cursor->reset_from = 0;
	ret_cursor->at.seq = end;
	if ((since.data && last.data) || (log.data && !number_parse_hex(log, &id)))
		return POSITION_E_WORD;
	if (last.data) {
		if (!number_parse(last, &n))
			return POSITION_E_WORD;
		ret_cursor->at.seq = end - MIN(n, end - room_first(room));
	} else if (since.data) {
		r = position_parse(session, room, since, false, &n);
		if (r)
			return r;
		ret_cursor->at.seq = MIN(n, end);
		if ((log.data && id != room->id) || n > room->log.next) {
			ret_cursor->reset_from = n;
			ret_cursor->at.seq = room_first(room);
		}
	}
	return 0;
}

bool handle_room_mode(const struct frame *frame, struct room *room)
{
	struct text mode = frame_get(frame, 2, "mode");

	if (!mode.data)
		return true;
	if (!text_equal(mode, TEXT("ephemeral")))
		return false;
	if (room_is_fresh(room) && !room_is_conversation(room))
		room->is_ephemeral = true;
	return true;
}

static void cursor_place(struct cursor *cursor, const struct cursor *position)
{
	const struct room *room = cursor->room;

	cursor->reset_from = position->reset_from;
	cursor->awaits_disk = false;
	room_seek(room, MAX(position->at.seq, room_first(room)), &cursor->at);
	cursor->at.seq = position->at.seq; /* what is gone is told as a gap */
	reader_schedule(cursor);
}

int handle_join(struct session *session, const struct frame *frame)
{
	struct rooms *rooms = &session->broker->rooms;
	struct cursor position = { 0 }, *cursor;
	char words[ROOM_WORDS_MAX];
	struct room *room;
	bool is_new;
	int r;

	r = handle_target_room(session, frame, frame->word[1], true, &room);
	if (r || !room)
		return r;
	r = join_position(session, frame, room, &position);
	if (r == 0 && !handle_room_mode(frame, room))
		r = POSITION_E_WORD;
	if (r) {
		r = position_refuse(session, frame, r, "since=, last=, log= or mode= is malformed");
		rooms_release(rooms, room);
		return r;
	}
	is_new = !rooms_find_cursor(rooms, session->number, room);
	r = reader_join(session, room, &cursor);
	if (r == 0 && frame_has(frame, 2, "presence") && cursor_ask_presence(cursor) < 0) {
		answer_error(session, frame, -ENOMEM);
		if (is_new)
			reader_part(session, cursor);
		return 0;
	}
	if (r) {
		if (r == ROOM_E_QUOTA)
			answer_refuse(session, frame, CODE_QUOTA, "cursors: at the limit of %lu",
				(unsigned long)session->user->account->max[QUOTA_CURSORS]);
		else
			answer_error(session, frame, r);
		rooms_release(rooms, room);
		return 0;
	}
	answer_done(session, frame, "%lu first=%lu log=%016lx%s", (unsigned long)position.at.seq,
		(unsigned long)room_first(room), (unsigned long)room->id,
		room_words(rooms, room, words));
	cursor_place(cursor, &position);
	/* it begins anew: what it was told of rings before does not hold where it stands now */
	followers_part(cursor);
	cursor->told = cursor->at.seq;
	cursor_set_fast(cursor,
		session->fast && frame_has(frame, 2, "ring") && !room_is_durable(rooms, room));
	if (cursor->is_fast)
		followers_join(cursor);
	room_update_feeds(room);
	return 0;
}

int handle_part(struct session *session, const struct frame *frame)
{
	struct cursor *cursor;
	struct room *room;
	int r;

	r = handle_target_room(session, frame, frame->word[1], false, &room);
	if (r || !room)
		return r;
	cursor = rooms_find_cursor(&session->broker->rooms, session->number, room);
	if (!cursor) {
		answer_refuse(session, frame, CODE_NOTIN, "no cursor of yours is there");
		return 0;
	}
	reader_part(session, cursor);
	answer_ok(session, frame);
	return 0;
}

/* ---- SAY ---- */

/* What one says oneself, having read all before it, is read. */
static void mark_own(struct session *session, struct room *room, uint64_t seq)
{
	struct rooms *rooms = &session->broker->rooms;

	if (room_mark(rooms, room, session->user->uid) + 1 == seq)
		(void)room_move_mark(rooms, room, session->user, seq);
}

int handle_say_in(struct session *session, const struct frame *frame, struct text target,
	struct text id, struct text body)
{
	struct broker *broker = session->broker;
	struct feed *feed;
	struct room *room;
	uint64_t seq, value = 0;
	int r;

	if (id.len > 0 && (!number_parse(id, &value) || value == 0)) {
		answer_refuse(session, frame, CODE_ARGS, "id= is not a number above 0");
		return 0;
	}
	if (!session_may_say(session))
		return DISPATCH_E_WAIT;
	r = handle_target_room(session, frame, target, true, &room);
	if (r || !room)
		return r;
	if (room_is_wall(room) && !session_is_admin(session)) {
		answer_refuse(
			session, frame, CODE_DENIED, "only the broker's user and root speak here");
		rooms_release(&broker->rooms, room);
		return 0;
	}
	if (store_must_wait(&broker->store, room)) {
		store_wait(&broker->store, session);
		return DISPATCH_E_WAIT;
	}
	if (room_is_conversation(room))
		reader_join_direct(broker, room);
	rooms_sweep_feeds(&broker->rooms, room);
	if (session->fast && fast_must_wait(session, room))
		return DISPATCH_E_WAIT;
	r = session->fast && fast_is_ahead(session, room) ? fast_error(session) : 0;
	if (r < 0) { /* what is before it can not be kept */
		answer_error(session, frame, r);
		return 0;
	}
	/* who follows its ring looks for all numbers of a publisher there */
	feed = value > 0 ? room_find_feed(room, &session->author) : NULL;
	if (feed)
		feed_leave(feed);
	r = room_append(&broker->rooms, room, &session->author, id, value, body, &seq);
	if (r == 0) {
		session_count_said(session, room, body.len);
		if (room_is_conversation(room))
			mark_own(session, room, seq);
	}
	switch (r) {
	case 0:
	case ROOM_E_DUPLICATE:
		if (room_is_stored(room) && seq >= log_end(&room->log))
			hold_done(session, frame, room, value, seq);
		else if (frame->tag.len > 0 || session_is_plain(session))
			answer_done(session, frame, "%lu", (unsigned long)seq);
		break;
	case ROOM_E_WAIT:
		r = position_await(session, room, seq);
		if (r == DISPATCH_E_WAIT)
			return r;
		answer_error(session, frame, r);
		break;
	case ROOM_E_OLD:
		answer_refuse(session, frame, CODE_OLD, "said already, and not kept any more");
		break;
	default:
		answer_error(session, frame, r);
		rooms_release(&broker->rooms, room);
		break;
	}
	return 0;
}

/* Parse "SAY room [id=N] LF body" where ROOM is that one, in one pass:
 * what is compared with its name and is digits else needs no other look. False when it
 * is anything else. */
static bool say_parse_again(const struct room *room, struct text packet, struct text *ret_id,
	uint64_t *ret_value, struct text *ret_body)
{
	struct text key = table_key(&room->link);
	const char *p = packet.data, *end = packet.data + packet.len;
	uint64_t value = 0;

	if (packet.len < strlen("SAY ") + key.len || memcmp(p, "SAY ", strlen("SAY ")) != 0 ||
		memcmp(p + strlen("SAY "), key.data, key.len) != 0)
		return false;
	p += strlen("SAY ") + key.len;
	*ret_id = (struct text){ p, 0 };
	if (end - p > (ptrdiff_t)strlen(" id=") && memcmp(p, " id=", strlen(" id=")) == 0) {
		p += strlen(" id=");
		ret_id->data = p;
		for (; p < end && (unsigned char)(*p - '0') <= 9; p++)
			value = value * 10 + (unsigned char)(*p - '0');
		ret_id->len = (size_t)(p - ret_id->data);
		/* with one digit less than the most it can not have wrapped */
		if (value == 0 || ret_id->len >= NUMBER_DECIMAL_MAX)
			return false;
	}
	if (p == end || *p != '\n')
		return false;
	*ret_value = value;
	*ret_body = (struct text){ p + 1, (size_t)(end - p) - 1 };
	return ret_body->len <= BODY_LEN_MAX;
}

bool handle_say_again(struct session *session, struct text packet)
{
	struct rooms *rooms = &session->broker->rooms;
	struct room *room = rooms->latest;
	static const struct frame untagged = { .verb = VERB_SAY };
	struct text id, body;
	uint64_t value, seq;
	int r;

	/* into these two not everybody may speak */
	if (!room || room_is_conversation(room) || room_is_wall(room) ||
		!say_parse_again(room, packet, &id, &value, &body) ||
		(id.len > 0 && !session->author.has_publisher) ||
		store_must_wait(rooms->store, room) || !session_may_say(session))
		return false;
	rooms_sweep_feeds(rooms, room);
	if (session->fast && fast_is_ahead(session, room))
		return false;
	if (id.len > 0 && room_find_feed(room, &session->author))
		return false;
	r = room_append(rooms, room, &session->author, id, value, body, &seq);
	if (r == 0)
		session_count_said(session, room, body.len);
	if (room_is_stored(room) &&
		(r == 0 || (r == ROOM_E_DUPLICATE && seq >= log_end(&room->log))))
		hold_done(session, &untagged, room, value, seq);
	return r == 0 || r == ROOM_E_DUPLICATE;
}

int handle_say(struct session *session, const struct frame *frame)
{
	struct text id = frame_get(frame, 2, "id");

	if (!frame->has_body) {
		answer_refuse(session, frame, CODE_ARGS, "a body is missing");
		return 0;
	}
	if (id.data && (id.len == 0 || !session->author.has_publisher)) {
		answer_refuse(session, frame, CODE_ARGS, "id= needs a number, and pub= in HELLO");
		return 0;
	}
	return handle_say_in(session, frame, frame->word[1], id, frame->body);
}

/* ---- DELETE ---- */

/* An administrator may name a conversation of others, as records do. Names that had other users
 * before have more than one: any of them. */
static struct room *rooms_find_target(struct rooms *rooms, struct text target)
{
	list_for_each (link, &rooms->all) {
		struct room *room = container_of(link, struct room, rooms_link);

		if (text_equal(room_target(room), target))
			return room;
	}
	return NULL;
}

/* The room that is to be deleted; NULL when that is refused. Returns as handle_target_room(). */
static int delete_target(struct session *session, const struct frame *frame, struct room **ret_room)
{
	struct text target = frame->word[1], a, b;

	*ret_room = session_is_admin(session) && text_is_conversation(target, &a, &b)
			    ? rooms_find_target(&session->broker->rooms, target)
			    : NULL;
	return *ret_room ? 0 : handle_target_room(session, frame, target, false, ret_room);
}

/* A conversation comes to the other side without being asked for, so what is told of it must not
 * fill what is kept for a session that does not read. */
static bool room_has_lagging_reader(const struct room *room, const struct session *session)
{
	list_for_each (link, &room->cursors) {
		const struct cursor *cursor = container_of(link, struct cursor, room_link);

		if (cursor->is_announced && cursor->session->user != session->user &&
			session_output_len(cursor->session) > ANSWERS_HELD_MAX)
			return true;
	}
	return false;
}

/* Is the session's user allowed to delete ROOM, and can it be done now? */
static bool delete_is_allowed(
	struct session *session, const struct frame *frame, const struct room *room)
{
	if (session_is_admin(session))
		return true;
	if (room->owner->uid != session->user->uid) {
		answer_refuse(session, frame, CODE_DENIED, "only %s and administrators delete it",
			room_is_conversation(room) ? "the user that began it" : "its owner");
		return false;
	}
	if (room_has_lagging_reader(room, session)) {
		answer_refuse(session, frame, CODE_AGAIN,
			"the other side does not read what it is sent; try again later");
		return false;
	}
	return true;
}

static void delete_room(struct session *session, const struct frame *frame, struct room *room)
{
	struct rooms *rooms = &session->broker->rooms;
	uint64_t n_messages;
	int r = 0;

	rooms_sweep_feeds(rooms, room); /* older records in rings are deleted, too */
	n_messages = room->log.next - room_first(room);
	if (room->stored)
		r = store_delete(rooms->store, room);
	if (r < 0) {
		answer_error(session, frame, r);
		return;
	}
	session_take_token(session);
	if (room->stored) {
		hold_done(session, frame, room, 0, n_messages);
		return;
	}
	room_delete(rooms, room);
	answer_done(session, frame, "%lu", (unsigned long)n_messages);
}

/* "DELETE target" */
int handle_delete(struct session *session, const struct frame *frame)
{
	struct store *store = &session->broker->store;
	struct room *room;
	int r;

	if (!session_may_say(session))
		return DISPATCH_E_WAIT;
	r = delete_target(session, frame, &room);
	if (r || !room)
		return r;
	if (!delete_is_allowed(session, frame, room))
		return 0;
	if (room->stored && room->stored->is_changing) {
		store_wait(store, session);
		return DISPATCH_E_WAIT;
	}
	if (session->fast && fast_must_wait(session, room)) /* DELETE includes its ring */
		return DISPATCH_E_WAIT;
	delete_room(session, frame, room);
	return 0;
}

/* ---- SEEN ---- */

/* How far the other side of a conversation has read; 0 of a room. */
static uint64_t seen_by_other(struct session *session, const struct room *room)
{
	uid_t own = session->user->uid;

	if (!room_is_conversation(room))
		return 0;
	return room_mark(&session->broker->rooms, room,
		room->party[0] == own ? room->party[1] : room->party[0]);
}

/* Who wants to know whether what was said is read hears of it in the stream. */
static void seen_tell(struct session *session, struct room *room, uint64_t seq)
{
	char words[PRESENCE_WORDS_MAX];
	int n;

	if (!room_is_conversation(room))
		return;
	n = snprintf(words, sizeof words, "%.*s seq=%lu", (int)session->author.name.len,
		session->author.name.data, (unsigned long)seq);
	room_tell_presence(
		&session->broker->rooms, room, "SEEN", (struct text){ words, (size_t)n });
}

/* "SEEN target [SEQ]" */
int handle_seen(struct session *session, const struct frame *frame)
{
	struct rooms *rooms = &session->broker->rooms;
	struct room *room;
	uint64_t seq = 0;
	int r;

	r = handle_target_room(session, frame, frame->word[1], false, &room);
	if (r || !room)
		return r;
	if (frame->n_words > 2 &&
		(!number_parse(frame->word[2], &seq) || seq >= log_end(&room->log))) {
		answer_refuse(session, frame, CODE_ARGS, "not the number of a message");
		return 0;
	}
	if (seq > 0) {
		r = room_move_mark(rooms, room, session->user, seq);
		if (r < 0) {
			answer_error(session, frame, r);
			return 0;
		}
		if (r > 0)
			seen_tell(session, room, seq);
	}
	seq = room_mark(rooms, room, session->user->uid);
	if (room_is_conversation(room))
		answer_done(session, frame, "%lu other=%lu", (unsigned long)seq,
			(unsigned long)seen_by_other(session, room));
	else
		answer_done(session, frame, "%lu", (unsigned long)seq);
	return 0;
}
