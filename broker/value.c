/* value.c - see value.h. */
#include "broker/value.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/cursor.h"
#include "broker/feed.h"
#include "broker/retain.h"
#include "broker/store.h"
#include "protocol/number.h"

/* ---- what the broker understands ---- */

static bool number_fits(struct text text, uint64_t min, uint64_t max)
{
	uint64_t number;

	return number_parse(text, &number) && number >= min && number <= max;
}

bool key_is_setting(struct text key)
{
	return text_equal(key, TEXT(KEY_MODE)) || text_equal(key, TEXT(KEY_RETAIN_BYTES)) ||
	       text_equal(key, TEXT(KEY_RETAIN_AGE));
}

bool value_fits(struct text key, struct text text, const char **ret_why)
{
	uint64_t min, max;

	if (text_equal(key, TEXT(KEY_MODE))) {
		*ret_why = "durable or ephemeral";
		return text_equal(text, TEXT("durable")) || text_equal(text, TEXT("ephemeral"));
	}
	if (text_equal(key, TEXT(KEY_RETAIN_BYTES))) {
		limit_bounds(LIMIT_ROOM_DISK_BYTES, &min, &max);
		*ret_why = "a number of bytes, 65536 at the least";
		return number_fits(text, min, max);
	}
	if (text_equal(key, TEXT(KEY_RETAIN_AGE))) {
		*ret_why = "a number of seconds, 60 to 1000000000";
		return number_fits(text, RETAIN_AGE_MIN, AGE_FOREVER);
	}
	return true;
}

/* The number that ROOM has under KEY; 0: none. */
static uint64_t room_number(const struct room *room, struct text key)
{
	const struct value *value = room_value(room, key);
	uint64_t number = 0;

	return value && number_parse(value_text(value), &number) ? number : 0;
}

/* What ROOM has under KEY changed. */
static void room_apply(struct rooms *rooms, struct room *room, struct text key)
{
	const struct value *mode = room_value(room, TEXT(KEY_MODE));

	room->retain_bytes = room_number(room, TEXT(KEY_RETAIN_BYTES));
	rooms->n_aged -= room->retain_age > 0;
	room->retain_age = room_number(room, TEXT(KEY_RETAIN_AGE));
	rooms->n_aged += room->retain_age > 0;
	if (!rooms->store || !rooms->store->is_recovering)
		rooms_check(rooms, room);
	if (text_equal(key, TEXT(KEY_MODE)))
		room_set_mode(rooms, room, mode && text_equal(value_text(mode), TEXT("ephemeral")));
}

/* ---- values ---- */

static struct value *value_in(const struct list *list, struct text key)
{
	list_for_each (link, list) {
		struct value *value = container_of(link, struct value, link);

		if (text_equal(value_key(value), key))
			return value;
	}
	return NULL;
}

struct value *room_value(const struct room *room, struct text key)
{
	return value_in(&room->values, key);
}

bool room_awaits_value(const struct room *room, struct text key)
{
	return value_in(&room->coming, key) != NULL;
}

size_t value_size(const struct value *value)
{
	return sizeof *value + value->key_len + value->author_len + value->len;
}

int value_new(struct room *room, struct user *user, struct text author, struct text key,
	struct text text, uint64_t version, bool is_beyond, struct value **ret_value)
{
	size_t size = sizeof(struct value) + key.len + author.len + text.len;
	struct value *value;

	if (is_beyond)
		quota_charge_beyond(user->account, QUOTA_VALUES, size);
	else if (quota_charge(user->account, QUOTA_VALUES, size))
		return ROOM_E_QUOTA;
	value = malloc(size);
	if (!value) {
		quota_discharge(user->account, QUOTA_VALUES, size);
		return -ENOMEM;
	}
	*value = (struct value){ .n_refs = 1,
		.room = room,
		.user = user_ref(user),
		.uid = user->uid,
		.version = version,
		.key_len = key.len,
		.author_len = author.len,
		.len = text.len };
	memcpy(value->data, key.data, key.len);
	memcpy(value->data + key.len, author.data, author.len);
	memcpy(value->data + key.len + author.len, text.data, text.len);
	room->values_version = MAX(room->values_version, version);
	list_init(&value->store_link);
	list_append(&room->coming, &value->link);
	*ret_value = value;
	return 0;
}

struct value *value_ref(struct value *value)
{
	value->n_refs++;
	return value;
}

void value_put(struct value *value)
{
	if (--value->n_refs == 0)
		free(value);
}

static void value_unlink(struct rooms *rooms, struct value *value)
{
	list_unlink(&value->link);
	list_unlink(&value->store_link);
	quota_discharge(value->user->account, QUOTA_VALUES, value_size(value));
	users_put(rooms->users, TAKE(value->user));
	value->room = NULL;
	value_put(value);
}

/* Who wants to know who comes and goes hears of it. */
static void value_tell(struct rooms *rooms, struct room *room, const struct value *value)
{
	struct text author = value_author(value), key = value_key(value);
	char words[PRESENCE_WORDS_MAX];
	int n;

	n = snprintf(words, sizeof words, "%.*s key=%.*s version=%lu", (int)author.len, author.data,
		(int)key.len, key.data, (unsigned long)value->version);
	room_tell_presence(rooms, room, "SET", (struct text){ words, (size_t)n });
}

void value_land(struct rooms *rooms, struct value *value)
{
	struct room *room = value->room;
	struct value *before = room_value(room, value_key(value));

	list_unlink(&value->store_link);
	list_unlink(&value->link);
	list_append(&room->values, &value->link);
	if (before)
		value_unlink(rooms, before);
	room->values_changed = true;
	value_ref(value);
	if (value->len == 0)
		value_unlink(rooms, value);
	room_apply(rooms, room, value_key(value));
	value_tell(rooms, room, value);
	value_put(value);
	if (room->stored)
		store_changed(rooms->store, room);
}

void value_drop(struct rooms *rooms, struct value *value)
{
	struct room *room = value->room;

	if (room->stored && text_equal(value_key(value), TEXT(KEY_MODE)))
		room->stored->is_changing = false;
	value_unlink(rooms, value);
}

void room_take_values(struct rooms *rooms, struct room *room, struct room *from)
{
	list_take(&room->values, &from->values);
	list_for_each (link, &room->values)
		container_of(link, struct value, link)->room = room;
	room->values_version = from->values_version;
	room->values_changed = true;
	room_apply(rooms, from, TEXT(""));
	room_apply(rooms, room, TEXT(KEY_MODE));
}

void room_free_values(struct rooms *rooms, struct room *room)
{
	struct list *link;

	while ((link = list_first(&room->coming)) || (link = list_first(&room->values)))
		value_unlink(rooms, container_of(link, struct value, link));
}
