/* handle_value.c - SET, GET: what a room keeps under a key. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "broker/broker.h"
#include "broker/dispatch.h"
#include "broker/value.h"
#include "protocol/number.h"

/* ---- SET ---- */

struct set {
	struct session *session;
	const struct frame *frame;
	struct text key, text;
	struct room *room;
};

static bool set_refuse(const struct set *set, enum code code, const char *why)
{
	answer_refuse(set->session, set->frame, code, "%s", why);
	return false;
}

/* Is the request well-formed? */
static bool set_is_good(const struct set *set)
{
	const char *why = "";

	if (!set->frame->has_body)
		return set_refuse(
			set, CODE_ARGS, "a value is missing; an empty one removes the key");
	if (!text_is_name(set->key))
		return set_refuse(set, CODE_ARGS, "a key is of a-z 0-9 _ . -, 32 at the most");
	if (set->text.len > VALUE_LEN_MAX) {
		answer_refuse(set->session, set->frame, CODE_TOOBIG,
			"the value is longer than %d bytes", VALUE_LEN_MAX);
		return false;
	}
	if (set->text.len > 0 && !value_fits(set->key, set->text, &why)) {
		answer_refuse(set->session, set->frame, CODE_ARGS, "%.*s is %s", (int)set->key.len,
			set->key.data, why);
		return false;
	}
	return true;
}

/* Of a conversation both may set what they like, but for what the broker does with it: there who
 * said it first is not overruled by the other. */
static bool set_is_allowed(const struct set *set)
{
	const struct session *session = set->session;
	const struct value *value = room_value(set->room, set->key);

	if (room_is_conversation(set->room))
		return !key_is_setting(set->key) || !value || value->uid == session->user->uid;
	return session_is_admin(session) ||
	       (set->room->owner->uid == session->user->uid && !room_is_wall(set->room));
}

/* if=: is the version in force the one that the client knows? */
static bool set_is_current(const struct set *set)
{
	const struct value *value = room_value(set->room, set->key);
	struct text word = frame_get(set->frame, 3, "if");
	uint64_t known, version = value ? value->version : 0;

	if (!word.data)
		return true;
	if (!number_parse(word, &known))
		return set_refuse(set, CODE_ARGS, "if= is not a version");
	if (known == version)
		return true;
	answer_refuse(set->session, set->frame, CODE_CHANGED, "its version is %lu",
		(unsigned long)version);
	return false;
}

/* A row of the table says what kind of room it is: is there to be one, too? */
static bool set_implies_mode(const struct set *set)
{
	struct text mode = TEXT(KEY_MODE);

	return set->session->broker->rooms.store && set->room->is_ephemeral &&
	       !text_equal(set->key, mode) && !room_value(set->room, mode) &&
	       !room_awaits_value(set->room, mode);
}

static unsigned count_values(const struct list *values)
{
	unsigned n = 0;

	list_for_each (link, values)
		n += !key_is_setting(value_key(container_of(link, struct value, link)));
	return n;
}

static bool set_has_room(const struct set *set)
{
	unsigned n = count_values(&set->room->values) + count_values(&set->room->coming);

	if (n < VALUES_MAX || key_is_setting(set->key) || room_value(set->room, set->key) ||
		set->text.len == 0)
		return true;
	answer_refuse(set->session, set->frame, CODE_QUOTA, "values: at the limit of %d in a room",
		VALUES_MAX);
	return false;
}

/* Can the mode of the room change now? */
static bool set_may_change_mode(const struct set *set)
{
	if (!set->session->broker->rooms.store && text_equal(set->text, TEXT("durable")))
		return set_refuse(set, CODE_ARGS, "this broker stores nothing");
	if (!list_is_empty(&set->room->feeds))
		return set_refuse(set, CODE_RING, "somebody speaks there through shared memory");
	return true;
}

/* Is something of the room on its way to the disk that is to be there first? */
static bool set_must_wait(const struct set *set, bool is_mode)
{
	const struct stored *stored = set->room->stored;

	return room_awaits_value(set->room, set->key) ||
	       (stored && (stored->is_changing || (is_mode && stored->held > 0)));
}

/* A value that is on its way: to the disk, or it is there. Returns 0, ROOM_E_QUOTA or -ENOMEM. */
static int set_value(
	const struct set *set, struct text key, struct text text, uint64_t *ret_version)
{
	struct session *session = set->session;
	struct rooms *rooms = &session->broker->rooms;
	struct room *room = set->room;
	uint64_t version = MAX(rooms->time, room->values_version + 1);
	struct value *value;
	int r;

	/* it can be removed whatever there is */
	r = value_new(room, session->user, session->author.name, key, text, version, text.len == 0,
		&value);
	if (r)
		return r;
	*ret_version = version;
	if (!rooms->store) {
		value_land(rooms, value);
		return 0;
	}
	r = store_set(rooms->store, value);
	if (r < 0)
		value_drop(rooms, value);
	return r;
}

/* Returns 0, ROOM_E_QUOTA or -ENOMEM. */
static int set_values(const struct set *set, uint64_t *ret_version)
{
	int r = 0;

	if (set_implies_mode(set))
		r = set_value(set, TEXT(KEY_MODE), TEXT("ephemeral"), ret_version);
	return r ? r : set_value(set, set->key, set->text, ret_version);
}

/* Returns 0 or DISPATCH_E_WAIT; the request is answered, or it waits. */
static int set_in(const struct set *set)
{
	bool is_mode = text_equal(set->key, TEXT(KEY_MODE));
	struct session *session = set->session;
	struct store *store = session->broker->rooms.store;
	struct room *room = set->room;
	uint64_t version;
	int r;

	if (!set_is_allowed(set)) {
		set_refuse(set, CODE_DENIED,
			room_is_conversation(room) ? "the other side has set that"
						   : "only its owner and administrators set that");
		return 0;
	}
	if (set_must_wait(set, is_mode)) {
		store_wait(store, session);
		return DISPATCH_E_WAIT;
	}
	if (!set_is_current(set) || !set_has_room(set) || (is_mode && !set_may_change_mode(set)))
		return 0;
	if (set->text.len == 0 && !room_value(room, set->key)) {
		answer_done(session, set->frame, "0"); /* there is none */
		return 0;
	}
	r = set_values(set, &version);
	if (r == 0)
		session_take_token(session);
	if (r == ROOM_E_QUOTA)
		answer_refuse(session, set->frame, CODE_QUOTA, "value-bytes: at the limit of %lu",
			(unsigned long)session->user->account->max[QUOTA_VALUES]);
	else if (r < 0)
		answer_error(session, set->frame, r);
	else if (store)
		hold_done(session, set->frame, room, 0, version);
	else
		answer_done(session, set->frame, "%lu", (unsigned long)version);
	return 0;
}

/* "SET target key [if=V] LF value" */
int handle_set(struct session *session, const struct frame *frame)
{
	struct rooms *rooms = &session->broker->rooms;
	struct set set = {
		.session = session, .frame = frame, .key = frame->word[2], .text = frame->body
	};
	int r;

	if (!set_is_good(&set))
		return 0;
	if (!session_may_say(session))
		return DISPATCH_E_WAIT;
	r = handle_target_room(session, frame, frame->word[1], set.text.len > 0, &set.room);
	if (r || !set.room)
		return r;
	r = set_in(&set);
	rooms_release(rooms, set.room);
	return r;
}

/* ---- GET ---- */

static void get_row(struct session *session, const struct frame *frame, const struct value *value)
{
	char row[sizeof "SET   key= version=\n" + TARGET_LEN_MAX + AUTHOR_LEN_MAX + NAME_LEN_MAX +
		 NUMBER_DECIMAL_MAX + VALUE_LEN_MAX];
	struct text target = room_target(value->room), key = value_key(value);
	struct text author = value_author(value), text = value_text(value);
	int n;

	n = snprintf(row, sizeof row, "SET %.*s %.*s key=%.*s version=%lu\n", (int)target.len,
		target.data, (int)author.len, author.data, (int)key.len, key.data,
		(unsigned long)value->version);
	memcpy(row + n, text.data, text.len);
	answer_row(session, frame, (struct text){ row, (size_t)n + text.len });
}

/* "GET target [key]" */
int handle_get(struct session *session, const struct frame *frame)
{
	struct room *room;
	unsigned n = 0;
	int r;

	r = handle_target_room(session, frame, frame->word[1], false, &room);
	if (r || !room || !answer_has_rows(frame))
		return r;
	list_for_each (link, &room->values) {
		const struct value *value = container_of(link, struct value, link);

		if (frame->n_words > 2 && !text_equal(value_key(value), frame->word[2]))
			continue;
		get_row(session, frame, value);
		n++;
	}
	answer_done(session, frame, "%u", n);
	return 0;
}
