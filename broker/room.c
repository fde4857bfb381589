/* room.c - see room.h.
 *
 * room_append() is the hot path: a record is composed in place in the log, once.
 */
#include "broker/room.h"

#include <assert.h>
#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/frame.h"
#include "protocol/number.h"
#include "protocol/record.h"

/* Of the publishers of a room, what one uid can hold, so that it can not push out
 * everybody else's. */
#define PUBLISHERS_OF_UID (PUBLISHERS_MAX / 4)

/* The same over all rooms, for an account: 3 MiB. */
#define PUBLISHERS_OF_ACCOUNT 16384

/* What is kept of a room's presence. */
#define PRESENCE_BYTES (16 * 1024)

/* A MSG line without its body: verb, target, two numbers, author, p=. */
#define MSG_LINE_MAX                                                                               \
	(4 + TARGET_LEN_MAX + 2 * (NUMBER_DECIMAL_MAX + 1) + 2 + AUTHOR_LEN_MAX + 3 +              \
		NUMBER_HEX_LEN + 1 + NUMBER_DECIMAL_MAX + 1)
_Static_assert(RECORD_HEADER_LEN + MSG_LINE_MAX + BODY_LEN_MAX + 7 <= BATCH_LEN_MAX,
	"the largest record fits one packet");

void rooms_init(struct rooms *rooms, struct users *users, const struct settings *settings)
{
	*rooms = (struct rooms){ .users = users, .settings = settings };
	rooms->next_number = rooms->next_cursor = 1;
	table_init(&rooms->by_key);
	table_init(&rooms->cursors);
	table_init(&rooms->publishers);
	list_init(&rooms->all);
	list_init(&rooms->idle);
	list_init(&rooms->dirty);
}

/* Account for what the room's log has become since it was BEFORE. */
static void room_charge_log(struct rooms *rooms, struct room *room, const struct log *before)
{
	uint64_t change = room->log.bytes - before->bytes; /* may wrap: a difference */

	rooms->log_bytes += change;
	rooms->n_taken_bytes += room->log.taken - before->taken;
	room->owner->account->log_bytes += change;
}

static void room_take_oldest(struct rooms *rooms, struct room *room)
{
	struct log before = room->log;

	log_take_oldest(&room->log);
	room_charge_log(rooms, room, &before);
}

static void publisher_free(struct rooms *rooms, struct publisher *publisher)
{
	publisher->user->account->n_publishers--;
	list_unlink(&publisher->account_link);
	list_unlink(&publisher->recent_link);
	table_remove(&rooms->publishers, &publisher->link);
	publisher->room->n_publishers--;
	rooms->epoch++; /* a session may have it at hand */
	users_put(rooms->users, publisher->user);
	free(publisher);
}

/* It is the one used last. */
static void publisher_touch(struct publisher *publisher)
{
	struct list *recent = &publisher->room->publishers;
	struct list *account = &publisher->user->account->publishers;

	if (recent->prev != &publisher->recent_link) {
		list_unlink(&publisher->recent_link);
		list_append(recent, &publisher->recent_link);
	}
	if (account->prev != &publisher->account_link) {
		list_unlink(&publisher->account_link);
		list_append(account, &publisher->account_link);
	}
}

static void room_free(struct rooms *rooms, struct room *room)
{
	assert(room->n_cursors == 0);
	while (room->log.bytes > 0)
		room_take_oldest(rooms, room);
	while (!list_is_empty(&room->publishers))
		publisher_free(rooms,
			container_of(list_first(&room->publishers), struct publisher, recent_link));
	rooms->epoch++;
	table_remove(&rooms->by_key, &room->link);
	list_unlink(&room->rooms_link);
	list_unlink(&room->owner_link);
	list_unlink(&room->idle_link);
	list_unlink(&room->dirty_link);
	quota_discharge(room->owner->account, QUOTA_ROOMS, 1);
	users_put(rooms->users, room->owner);
	free(room);
}

void rooms_deinit(struct rooms *rooms)
{
	list_for_each (link, &rooms->all)
		room_free(rooms, container_of(link, struct room, rooms_link));
	assert(rooms->log_bytes == 0);
	table_deinit(&rooms->by_key);
	table_deinit(&rooms->cursors);
	table_deinit(&rooms->publishers);
}

struct room *rooms_find(struct rooms *rooms, struct text name)
{
	struct table_link *link = table_find(&rooms->by_key, name);

	return link ? container_of(link, struct room, link) : NULL;
}

static int room_new(struct rooms *rooms, struct text key, size_t target_len, struct user *user,
	struct room **ret_room)
{
	struct room *room;

	/* the two rooms of the house are the broker's, whoever comes first */
	if (text_equal(key, TEXT("lobby")) || text_equal(key, TEXT("wall"))) {
		if (users_get(rooms->users, rooms->users->self, &user) < 0)
			return -ENOMEM;
	} else {
		user_ref(user);
	}
	if (quota_charge(user->account, QUOTA_ROOMS, 1)) {
		users_put(rooms->users, user);
		return ROOM_E_QUOTA;
	}
	room = calloc(1, sizeof *room + key.len + 1);
	if (room) {
		memcpy(room->key, key.data, key.len);
		if (table_add(&rooms->by_key, &room->link, (struct text){ room->key, key.len }) <
			0) {
			free(room);
			room = NULL;
		}
	}
	if (!room) {
		quota_discharge(user->account, QUOTA_ROOMS, 1);
		users_put(rooms->users, user);
		return -ENOMEM;
	}
	room->owner = user;
	room->target_len = target_len;
	room->number = rooms->next_number++;
	randombytes_buf(&room->id, sizeof room->id);
	log_init(&room->log);
	list_init(&room->cursors);
	list_init(&room->publishers);
	list_init(&room->dirty_link);
	list_init(&room->idle_link);
	list_append(&rooms->all, &room->rooms_link);
	list_append(&user->account->rooms, &room->owner_link);
	list_append(&rooms->idle, &room->idle_link);
	room->idle_since = rooms->users->now;
	*ret_room = room;
	return 0;
}

int rooms_get(struct rooms *rooms, struct text name, struct user *user, struct room **ret_room)
{
	struct room *room = rooms_find(rooms, name);

	if (!room)
		return room_new(rooms, name, name.len, user, ret_room);
	*ret_room = room;
	return 0;
}

int rooms_get_conversation(struct rooms *rooms, struct text a, uid_t uid_a, struct text b,
	uid_t uid_b, struct user *user, bool create, struct room **ret_room)
{
	char key[TARGET_LEN_MAX + 24];
	struct room *room;
	int order, n, r;

	order = memcmp(a.data, b.data, MIN(a.len, b.len));
	if (order > 0 || (order == 0 && (a.len > b.len || (a.len == b.len && uid_a > uid_b)))) {
		struct text c = a;
		uid_t uid_c = uid_a;

		a = b;
		uid_a = uid_b;
		b = c;
		uid_b = uid_c;
	}
	n = snprintf(key, sizeof key, "@%.*s+%.*s:%u:%u", (int)a.len, a.data, (int)b.len, b.data,
		uid_a, uid_b);
	room = rooms_find(rooms, (struct text){ key, (size_t)n });
	if (!room && !create)
		return ROOM_E_NONE;
	if (!room) {
		r = room_new(
			rooms, (struct text){ key, (size_t)n }, a.len + b.len + 2, user, &room);
		if (r)
			return r;
		room->party[0] = uid_a;
		room->party[1] = uid_b;
	}
	*ret_room = room;
	return 0;
}

bool room_has_party(const struct room *room, struct text name, uid_t uid)
{
	struct text names[2];

	if (!text_is_conversation(room_target(room), &names[0], &names[1]))
		return false;
	return (text_equal(names[0], name) && room->party[0] == uid) ||
	       (text_equal(names[1], name) && room->party[1] == uid);
}

void rooms_release(struct rooms *rooms, struct room *room)
{
	if (room->n_cursors == 0 && room->log.first == room->log.next)
		room_free(rooms, room);
}

uint64_t rooms_expire(struct rooms *rooms, uint64_t now)
{
	uint64_t limit = rooms->settings->limit[LIMIT_ROOM_IDLE] * UINT64_C(1000000000);

	list_for_each (link, &rooms->idle) {
		struct room *room = container_of(link, struct room, idle_link);

		if (now - room->idle_since < limit)
			return limit - (now - room->idle_since);
		room_free(rooms, room);
	}
	return UINT64_MAX;
}

/* ---- publishers: said once ---- */

static struct publisher *room_find_publisher(
	struct rooms *rooms, struct room *room, const struct author *author)
{
	uint64_t key[3] = { author->label, author->uid, room->number };
	struct table_link *link;

	link = table_find(&rooms->publishers, (struct text){ (char *)key, sizeof key });
	return link ? container_of(link, struct publisher, link) : NULL;
}

/* The one to forget: the uid's own least recent when it has its share, else the
 * least recent of all. */
static void room_forget_publisher(struct rooms *rooms, struct room *room, uid_t uid)
{
	struct publisher *own = NULL;
	unsigned n_own = 0;

	list_for_each (link, &room->publishers) {
		struct publisher *publisher = container_of(link, struct publisher, recent_link);

		if (publisher->key.uid == uid) {
			own = own ? own : publisher;
			n_own++;
		}
	}
	if (n_own >= PUBLISHERS_OF_UID)
		publisher_free(rooms, own);
	else if (room->n_publishers >= PUBLISHERS_MAX)
		publisher_free(rooms,
			container_of(list_first(&room->publishers), struct publisher, recent_link));
}

static struct publisher *room_get_publisher(
	struct rooms *rooms, struct room *room, const struct author *author)
{
	struct publisher *publisher;
	struct user *user;

	if (author->publisher && author->publisher_room == room->number &&
		author->publisher_epoch == rooms->epoch)
		return author->publisher;
	publisher = room_find_publisher(rooms, room, author);
	if (publisher)
		return publisher;
	if (users_get(rooms->users, author->uid, &user) < 0)
		return NULL;
	if (room->n_publishers >= PUBLISHERS_OF_UID)
		room_forget_publisher(rooms, room, author->uid);
	if (user->account->n_publishers >= PUBLISHERS_OF_ACCOUNT)
		publisher_free(rooms, container_of(list_first(&user->account->publishers),
					      struct publisher, account_link));
	publisher = calloc(1, sizeof *publisher);
	if (publisher) {
		publisher->key.label = author->label;
		publisher->key.uid = author->uid;
		publisher->key.room = room->number;
		if (table_add(&rooms->publishers, &publisher->link,
			    (struct text){ (char *)&publisher->key, sizeof publisher->key }) < 0) {
			free(publisher);
			publisher = NULL;
		}
	}
	if (!publisher) {
		users_put(rooms->users, user);
		return NULL;
	}
	publisher->room = room;
	publisher->user = user;
	list_append(&room->publishers, &publisher->recent_link);
	list_append(&user->account->publishers, &publisher->account_link);
	room->n_publishers++;
	user->account->n_publishers++;
	return publisher;
}

/* Where is message VALUE of this publisher? It is at or before publisher->seq. A
 * walk from there, so many records back at most: what one repeated request may
 * cost. */
static int room_find_message(struct room *room, const struct publisher *publisher,
	const struct author *author, uint64_t value, uint64_t *ret_seq)
{
	uint64_t back = MIN((uint64_t)PUBLISHERS_MAX, publisher->seq);
	uint64_t from = MAX(publisher->seq + 1 - back, room->log.first);
	struct log_cursor cursor, next;
	char wanted[64];
	struct text frame, p;
	struct frame parsed;
	uint64_t uid;
	int n;

	if (value == publisher->id) {
		*ret_seq = publisher->seq;
		return ROOM_E_DUPLICATE;
	}
	n = snprintf(wanted, sizeof wanted, "%s:%lu", author->label_text, (unsigned long)value);
	if (from > publisher->seq)
		return ROOM_E_OLD;
	log_seek(&room->log, from, &cursor);
	for (; cursor.seq <= publisher->seq && log_read_one(&room->log, &cursor, &frame, &next);
		cursor = next) {
		if (frame_parse(&parsed, frame) || parsed.n_words < 6)
			continue;
		p = frame_get(&parsed, 6, "p");
		if (text_equal(p, (struct text){ wanted, (size_t)n }) &&
			number_parse(parsed.word[5], &uid) && uid == author->uid) {
			*ret_seq = cursor.seq;
			return ROOM_E_DUPLICATE;
		}
	}
	return ROOM_E_OLD;
}

/* ---- appending ---- */

/* Take from the uid that holds most, from its largest room, until the new segment
 * has room below the ceiling. */
static void rooms_make_room(struct rooms *rooms, struct room *keep)
{
	uint64_t max = rooms->settings->limit[LIMIT_LOG_BYTES];

	while (rooms->log_bytes > max) {
		struct quota_account *most = NULL;
		struct room *largest = NULL;

		list_for_each (link, &rooms->all) {
			struct room *room = container_of(link, struct room, rooms_link);

			if (!most || room->owner->account->log_bytes > most->log_bytes)
				most = room->owner->account;
		}
		list_for_each (link, &most->rooms) {
			struct room *room = container_of(link, struct room, owner_link);

			if (!largest || room->log.bytes > largest->log.bytes)
				largest = room;
		}
		/* the record that was just composed is in the newest segment of KEEP */
		if (largest == keep && list_first(&keep->log.segments) == keep->log.segments.prev)
			return;
		room_take_oldest(rooms, largest);
		if (largest != keep)
			rooms_release(rooms, largest);
	}
}

static char *put(char *dst, const char *data, size_t len)
{
	memcpy(dst, data, len);
	return dst + len;
}

/* ID is 0 where there is none. */
static size_t room_compose(struct rooms *rooms, const struct room *room, char *frame,
	const struct author *author, uint64_t id, struct text body, uint64_t time)
{
	char *p = frame;

	/* a packet of messages has one time: 19 digits are worth keeping */
	if (time != rooms->time) {
		rooms->time_len = number_put(rooms->time_text, time);
		rooms->time = time;
	}

	p = put(p, "MSG ", 4);
	p = put(p, room->key, room->target_len);
	*p++ = ' ';
	p += number_put(p, room->log.next);
	*p++ = ' ';
	p = put(p, rooms->time_text, rooms->time_len);
	*p++ = ' ';
	p = put(p, author->name.data, author->name.len);
	if (id > 0) {
		p = put(p, " p=", 3);
		p = put(p, author->label_text, NUMBER_HEX_LEN);
		*p++ = ':';
		p += number_put(p, id); /* as it is looked for: without leading zeros */
	}
	*p++ = '\n';
	p = put(p, body.data, body.len);
	return (size_t)(p - frame);
}

int room_append(struct rooms *rooms, struct room *room, struct author *author, struct text id,
	uint64_t value, struct text body, uint64_t time, uint64_t *ret_seq)
{
	struct publisher *publisher = NULL;
	struct log before = { .bytes = room->log.bytes, .taken = room->log.taken };
	char *frame;
	int r;

	if (id.len > 0 && author->has_publisher) {
		publisher = room_get_publisher(rooms, room, author);
		if (!publisher)
			return -ENOMEM;
		author->publisher = publisher;
		author->publisher_room = room->number;
		author->publisher_epoch = rooms->epoch;
		if (value <= publisher->id)
			return room_find_message(room, publisher, author, value, ret_seq);
	}
	/* one room may be all there is, but not more */
	r = log_reserve(&room->log, MSG_LINE_MAX + body.len,
		MIN(rooms->settings->limit[LIMIT_ROOM_BYTES],
			rooms->settings->limit[LIMIT_LOG_BYTES]),
		&frame);
	if (r < 0) {
		room_charge_log(rooms, room, &before); /* it gave old segments up in vain */
		return r;
	}
	time = MAX(time, room->log.last_time);
	log_commit(&room->log,
		room_compose(rooms, room, frame, author, publisher ? value : 0, body, time), time);
	rooms->n_records++;
	if (publisher) {
		publisher->id = value;
		publisher->seq = room->log.next - 1;
		publisher_touch(publisher);
	}
	if (room->log.bytes != before.bytes || room->log.taken != before.taken) {
		room_charge_log(rooms, room, &before);
		if (rooms->log_bytes > rooms->settings->limit[LIMIT_LOG_BYTES])
			rooms_make_room(rooms, room);
	}
	if (room->n_cursors == 0) {
		room->idle_since = rooms->users->now;
		list_unlink(&room->idle_link);
		list_append(&rooms->idle, &room->idle_link);
	} else if (!list_is_linked(&room->dirty_link)) {
		list_append(&rooms->dirty, &room->dirty_link);
	}
	*ret_seq = room->log.next - 1;
	return 0;
}

/* ---- cursors ---- */

struct cursor *rooms_find_cursor(struct rooms *rooms, uint64_t session_number, struct room *room)
{
	uint64_t key[2] = { session_number, room->number };
	struct table_link *link;

	link = table_find(&rooms->cursors, (struct text){ (char *)key, sizeof key });
	return link ? container_of(link, struct cursor, link) : NULL;
}

/* It is not told any more, but that is told. */
static void room_lose_presence(struct rooms *rooms, struct room *room)
{
	list_for_each (link, &room->cursors) {
		struct cursor *cursor = container_of(link, struct cursor, room_link);

		cursor->has_lost_presence = cursor->wants_presence;
	}
	if (!list_is_linked(&room->dirty_link))
		list_append(&rooms->dirty, &room->dirty_link);
}

struct cursor *cursor_new(
	struct rooms *rooms, struct room *room, struct session *session, uint64_t session_number)
{
	struct cursor *cursor = calloc(1, sizeof *cursor);

	if (!cursor)
		return NULL;
	cursor->key[0] = session_number;
	cursor->key[1] = room->number;
	if (table_add(&rooms->cursors, &cursor->link,
		    (struct text){ (char *)cursor->key, sizeof cursor->key }) < 0) {
		free(cursor);
		return NULL;
	}
	cursor->number = rooms->next_cursor++;
	cursor->room = room;
	cursor->session = session;
	list_init(&cursor->session_link);
	list_init(&cursor->pending_link);
	list_append(&room->cursors, &cursor->room_link);
	if (room->n_cursors++ == 0)
		list_unlink(&room->idle_link);
	log_seek(&room->log, room->log.next, &cursor->at);
	/* too many now for presence: those who asked are told so */
	if (room->n_cursors == PRESENCE_READERS_MAX + 1 && room->presence)
		room_lose_presence(rooms, room);
	return cursor;
}

struct cursor *cursor_free(struct rooms *rooms, struct cursor *cursor)
{
	struct room *room = cursor->room;

	list_unlink(&cursor->room_link);
	list_unlink(&cursor->session_link);
	list_unlink(&cursor->pending_link);
	table_remove(&rooms->cursors, &cursor->link);
	if (cursor->wants_presence && --room->n_presence == 0) {
		log_deinit(room->presence);
		free(room->presence);
		room->presence = NULL;
	}
	free(cursor);
	if (--room->n_cursors == 0) {
		room->idle_since = rooms->users->now;
		list_append(&rooms->idle, &room->idle_link);
		rooms_release(rooms, room);
	}
	return NULL;
}

bool cursor_is_behind(const struct cursor *cursor)
{
	return cursor->is_reset || cursor->has_lost_presence ||
	       cursor->at.seq < cursor->room->log.next ||
	       (cursor->wants_presence && cursor->presence_at.seq < cursor->room->presence->next);
}

int cursor_ask_presence(struct cursor *cursor)
{
	struct room *room = cursor->room;

	if (cursor->wants_presence)
		return 0;
	if (!room->presence) {
		room->presence = malloc(sizeof *room->presence);
		if (!room->presence)
			return -ENOMEM;
		log_init(room->presence);
	}
	room->n_presence++;
	cursor->wants_presence = true;
	log_seek(room->presence, room->presence->next, &cursor->presence_at);
	return 0;
}

void room_tell_presence(
	struct rooms *rooms, struct room *room, const char *verb, struct text author)
{
	char line[16 + TARGET_LEN_MAX + AUTHOR_LEN_MAX], *frame;
	int n;

	if (!room->presence || room->n_cursors > PRESENCE_READERS_MAX)
		return;
	n = snprintf(line, sizeof line, "%s %.*s %.*s", verb, (int)room->target_len, room->key,
		(int)author.len, author.data);
	if (log_reserve(room->presence, (size_t)n, PRESENCE_BYTES, &frame) < 0) {
		room_lose_presence(rooms, room);
	} else {
		memcpy(frame, line, (size_t)n);
		log_commit(room->presence, (size_t)n, 0);
	}
	if (!list_is_linked(&room->dirty_link))
		list_append(&rooms->dirty, &room->dirty_link);
}
