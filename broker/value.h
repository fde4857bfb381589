/* value.h - what a room keeps under a key: settings of the room, its topic, whatever the programs
 * in it agree upon. chat-protocol(7), SET and GET.
 *
 * What is not a log is a row of this table. A value is never changed: another one with a larger
 * version takes its place. Where rooms are stored, that is when it is on the disk; until then it
 * is on its way, and nobody is shown it.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "broker/list.h"
#include "broker/room.h"

struct value {
	struct list link;       /* in room.values, or in room.coming */
	struct list store_link; /* in store.coming, while it is on its way to the disk */
	unsigned n_refs;
	/* While it is of a room: who set it, and is charged for it; a reference. */
	struct room *room;
	struct user *user;
	uid_t uid;
	uint64_t version; /* ns since the epoch; counts up in a room */
	uint64_t batch;   /* it is stored with this one */
	size_t key_len, author_len, len;
	char data[]; /* the key, "NAME UID[ of=USER]", and the value; no value: it is removed */
};

static inline struct text value_key(const struct value *value)
{
	return (struct text){ value->data, value->key_len };
}

static inline struct text value_author(const struct value *value)
{
	return (struct text){ value->data + value->key_len, value->author_len };
}

static inline struct text value_text(const struct value *value)
{
	return (struct text){ value->data + value->key_len + value->author_len, value->len };
}

/* Keys that mean something to the broker; the others are what users make of them. */
#define KEY_MODE         "mode"         /* "durable" or "ephemeral" */
#define KEY_RETAIN_BYTES "retain-bytes" /* of messages, at the most */
#define KEY_RETAIN_AGE   "retain-age"   /* seconds that a message is kept */

/* A message is kept for so long at least, s: whole segments go. */
#define RETAIN_AGE_MIN 60

bool key_is_setting(struct text key);

/* Is TEXT (not empty) what KEY can have? With false *ret_why is what it takes. */
bool value_fits(struct text key, struct text text, const char **ret_why);

/* What it is charged, in bytes. */
size_t value_size(const struct value *value);

/* The value in force, or NULL. */
struct value *room_value(const struct room *room, struct text key);
/* Is one on its way? */
bool room_awaits_value(const struct room *room, struct text key);

/* A value of ROOM that is on its way. With IS_BEYOND no limit keeps it away. Returns 0,
 * ROOM_E_QUOTA or -ENOMEM. */
int value_new(struct room *room, struct user *user, struct text author, struct text key,
	struct text text, uint64_t version, bool is_beyond, struct value **ret_value);

/* It is there: it takes effect. The caller releases its room, which it may have been all of. */
void value_land(struct rooms *rooms, struct value *value);

/* It will not be. The same. */
void value_drop(struct rooms *rooms, struct value *value);

struct value *value_ref(struct value *value);
void value_put(struct value *value);

/* ROOM takes the values of another, which goes; it has none. */
void room_take_values(struct rooms *rooms, struct room *room, struct room *from);

void room_free_values(struct rooms *rooms, struct room *room);
