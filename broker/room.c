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

#include "broker/catalog.h"
#include "broker/mark.h"
#include "broker/publisher.h"
#include "broker/retain.h"
#include "broker/store.h"
#include "broker/value.h"
#include "protocol/frame.h"
#include "protocol/number.h"
#include "protocol/record.h"

_Static_assert(RECORD_HEADER_LEN + MSG_LINE_MAX + BODY_LEN_MAX + 7 <= BATCH_LEN_MAX,
	"the largest record fits one packet");

void rooms_init(struct rooms *rooms, struct users *users, const struct settings *settings)
{
	*rooms = (struct rooms){ .users = users, .settings = settings };
	rooms->next_number = rooms->next_cursor = 1;
	table_init(&rooms->by_key);
	table_init(&rooms->cursors);
	table_init(&rooms->publishers);
	table_init(&rooms->marks);
	list_init(&rooms->all);
	list_init(&rooms->idle);
	list_init(&rooms->dirty);
	list_init(&rooms->unchecked);
}

/* Account for what the room's log has become since it was BEFORE. */
static void room_charge_log(struct rooms *rooms, struct room *room, const struct log *before)
{
	uint64_t change = room->log.bytes - before->bytes; /* may wrap: a difference */

	rooms->log_bytes += change;
	rooms->n_taken_bytes += room->log.taken - before->taken;
	room->owner->account->log_bytes += change;
}

void room_take_oldest(struct rooms *rooms, struct room *room)
{
	struct log before = room->log;

	log_take_oldest(&room->log);
	room_charge_log(rooms, room, &before);
	if (room_is_stored(room))
		store_changed(rooms->store, room);
}

/* Who said what there, and who has read it. */
static void room_forget_people(struct rooms *rooms, struct room *room)
{
	while (!list_is_empty(&room->publishers))
		publisher_free(rooms,
			container_of(list_first(&room->publishers), struct publisher, recent_link));
	list_for_each (link, &room->marks)
		mark_free(rooms, container_of(link, struct mark, room_link));
}

void room_begin_anew(struct rooms *rooms, struct room *room)
{
	while (room->log.bytes > 0)
		room_take_oldest(rooms, room);
	log_init(&room->log);
	room->said_next = 1;
	room_forget_people(rooms, room);
	randombytes_buf(&room->id, sizeof room->id);
}

static void room_free(struct rooms *rooms, struct room *room)
{
	assert(room->n_cursors == 0 && list_is_empty(&room->feeds));
	if (room->stored)
		store_forget(rooms->store, room);
	while (room->log.bytes > 0)
		room_take_oldest(rooms, room);
	rooms->n_aged -= room->retain_age > 0;
	room_free_values(rooms, room);
	room_forget_people(rooms, room);
	if (!room->is_hidden)
		rooms_hide(rooms, room);
	rooms->line.author = NULL; /* of the packet in hand: another room may get this place */
	list_unlink(&room->rooms_link);
	list_unlink(&room->owner_link);
	list_unlink(&room->idle_link);
	list_unlink(&room->dirty_link);
	list_unlink(&room->check_link);
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
	table_deinit(&rooms->marks);
}

struct room *rooms_find(struct rooms *rooms, struct text name)
{
	struct table_link *link;

	if (rooms->latest && text_equal(name, table_key(&rooms->latest->link)))
		return rooms->latest;
	link = table_find(&rooms->by_key, name);
	if (link)
		rooms->latest = container_of(link, struct room, link);
	return link ? rooms->latest : NULL;
}

/* IS_RESTORED: it was there before, so no limit keeps it away. */
static int room_new(struct rooms *rooms, struct text key, size_t target_len, struct user *user,
	bool is_restored, struct room **ret_room)
{
	struct room *room;

	/* the two rooms of the house are the broker's, whoever comes first */
	if (text_equal(key, TEXT("lobby")) || text_equal(key, TEXT("wall"))) {
		if (users_get(rooms->users, rooms->users->self, &user) < 0)
			return -ENOMEM;
	} else {
		user_ref(user);
	}
	if (is_restored) {
		quota_charge_beyond(user->account, QUOTA_ROOMS, 1);
	} else if (quota_charge(user->account, QUOTA_ROOMS, 1)) {
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
	list_init(&room->marks);
	list_init(&room->values);
	list_init(&room->coming);
	list_init(&room->feeds);
	list_init(&room->dirty_link);
	list_init(&room->check_link);
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
		return room_new(rooms, name, name.len, user, false, ret_room);
	*ret_room = room;
	return 0;
}

int rooms_get_conversation(struct rooms *rooms, struct text a, uid_t uid_a, struct text b,
	uid_t uid_b, struct user *user, bool create, struct room **ret_room)
{
	char key[ROOM_KEY_MAX];
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
		r = room_new(rooms, (struct text){ key, (size_t)n }, a.len + b.len + 2, user, false,
			&room);
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

/* Was something said in it that is stored, or was? */
static bool room_is_kept(const struct room *room)
{
	return room_is_stored(room) && room->log.next > room->stored->since;
}

void rooms_release(struct rooms *rooms, struct room *room)
{
	if (room->is_hidden)
		return; /* the caller of rooms_hide() frees it */
	if (room_is_kept(room))
		return; /* its numbers go on, and it is whose it is */
	if (room->n_cursors == 0 && room_first(room) == room->log.next &&
		list_is_empty(&room->feeds) && list_is_empty(&room->values) &&
		list_is_empty(&room->coming))
		room_free(rooms, room);
}

uint64_t rooms_expire(struct rooms *rooms, uint64_t now)
{
	uint64_t limit = rooms->settings->limit[LIMIT_ROOM_IDLE] * UINT64_C(1000000000);

	list_for_each (link, &rooms->idle) {
		struct room *room = container_of(link, struct room, idle_link);

		if (now - room->idle_since < limit)
			return limit - (now - room->idle_since);
		if (room_is_kept(room)) {
			list_unlink(link);
			continue;
		}
		if (list_is_empty(&room->feeds) && room->stored) { /* its values stay */
			while (room->log.bytes > 0)
				room_take_oldest(rooms, room);
			list_unlink(link);
			rooms_release(rooms, room);
			continue;
		}
		if (list_is_empty(&room->feeds)) {
			room_free(rooms, room);
			continue;
		}
		room->idle_since = now; /* somebody means to speak */
		list_unlink(link);
		list_append(&rooms->idle, link);
	}
	return UINT64_MAX;
}

const char *room_words(
	const struct rooms *rooms, const struct room *room, char words[static ROOM_WORDS_MAX])
{
	const char *mode = room->is_ephemeral             ? " mode=ephemeral"
			   : room_is_durable(rooms, room) ? " mode=durable"
							  : "";
	uint64_t age = room_retain_age(rooms, room);
	int n;

	n = snprintf(words, ROOM_WORDS_MAX, "%s retain-bytes=%lu", mode,
		(unsigned long)room_retain_bytes(rooms, room));
	if (age != UINT64_MAX)
		snprintf(words + n, ROOM_WORDS_MAX - (size_t)n, " retain-age=%lu",
			(unsigned long)(age / 1000000000));
	return words;
}

void room_set_idle(struct rooms *rooms, struct room *room)
{
	if (room_is_kept(room))
		return;
	room->idle_since = rooms->users->now;
	list_unlink(&room->idle_link);
	list_append(&rooms->idle, &room->idle_link);
}

/* ---- appending ---- */

/* The new segment has room below the ceiling, if it can. */
static void rooms_make_room(struct rooms *rooms, struct room *keep)
{
	while (rooms->log_bytes > rooms->settings->limit[LIMIT_LOG_BYTES])
		if (!rooms_give_memory(rooms, keep)) {
			rooms->is_unchecked = rooms->store != NULL;
			break;
		}
}

static char *put(char *dst, const char *data, size_t len)
{
	memcpy(dst, data, len);
	return dst + len;
}

void rooms_take_up(struct rooms *rooms, uint64_t time)
{
	rooms->time = time;
	rooms->n_taken_up++;
	rooms->line.author = NULL;
}

/* "MSG room SEQ TIME author[ p=LABEL:" */
static void line_start(struct msg_line *line, const struct room *room, const struct author *author,
	struct publisher *publisher, uint64_t time)
{
	char *p = line->text;

	line->author = author;
	line->room = room;
	line->publisher = publisher;
	line->seq = room->log.next;
	p = put(p, "MSG ", 4);
	p = put(p, room->key, room->target_len);
	*p++ = ' ';
	line->seq_at = (size_t)(p - line->text);
	line->seq_len = number_put(p, line->seq);
	p += line->seq_len;
	*p++ = ' ';
	p += number_put(p, time);
	*p++ = ' ';
	p = put(p, author->name.data, author->name.len);
	if (publisher) {
		p = put(p, " p=", 3);
		number_put_hex(p, author->label);
		p += NUMBER_HEX_LEN;
		*p++ = ':';
	}
	line->len = (size_t)(p - line->text);
}

static size_t room_compose(struct rooms *rooms, const struct room *room, char *frame,
	const struct author *author, struct publisher *publisher, struct text id, struct text body,
	uint64_t time)
{
	struct msg_line *line = &rooms->line;
	char *p;

	if (line->author != author || line->room != room || line->publisher != publisher ||
		++line->seq != room->log.next ||
		!number_count(line->text + line->seq_at, line->seq_len))
		line_start(line, room, author, publisher, time);
	p = put(frame, line->text, line->len);
	if (publisher) {
		while (id.data[0] == '0') { /* as it is looked for */
			id.data++;
			id.len--;
		}
		p = put(p, id.data, id.len);
	}
	*p++ = '\n';
	p = put(p, body.data, body.len);
	return (size_t)(p - frame);
}

/* The row of who spoke there last, in this packet, is at hand. */
static struct publisher *room_publisher(
	struct rooms *rooms, struct room *room, const struct author *author)
{
	const struct msg_line *line = &rooms->line;

	if (line->author == author && line->room == room && line->publisher)
		return line->publisher;
	return room_get_publisher(rooms, room, author);
}

/* A record was appended to ROOM, whose log was BEFORE. */
static void room_note_append(struct rooms *rooms, struct room *room, const struct log *before)
{
	if (room->log.bytes != before->bytes || room->log.taken != before->taken) {
		room_charge_log(rooms, room, before);
		if (rooms->log_bytes > rooms->settings->limit[LIMIT_LOG_BYTES])
			rooms_make_room(rooms, room);
	}
	if (room->n_cursors == 0)
		room_set_idle(rooms, room);
	else if (!list_is_linked(&room->dirty_link) && !room->log.is_held)
		list_append(&rooms->dirty, &room->dirty_link);
	room->said_next = room->log.next;
}

/* It is to be stored; if it can not be, PUBLISHER said what it had said before. */
static void room_note_stored(
	struct rooms *rooms, struct room *room, struct publisher *publisher, size_t frame_len)
{
	store_appended(rooms->store, room, record_size(frame_len));
	if (publisher && publisher->seq < log_end(&room->log)) {
		publisher->kept_id = publisher->id;
		publisher->kept_seq = publisher->seq;
	}
}

/* Only whole segments are removed for their age, so one segment may cover only a part of that age.
 * NOW is the time of the next record, by the clock of ages. */
static void room_close_segment(const struct rooms *rooms, struct room *room, uint64_t now)
{
	uint64_t age;

	if (room->retain_age == 0 && rooms->settings->limit[LIMIT_ROOM_DISK_AGE] == AGE_FOREVER)
		return; /* mostly */
	age = room_retain_age(rooms, room);
	if (age != UINT64_MAX && log_newest_began(&room->log) + age / RETAIN_AGE_PARTS < now)
		log_close(&room->log);
}

int room_append(struct rooms *rooms, struct room *room, const struct author *author, struct text id,
	uint64_t value, struct text body, uint64_t *ret_seq)
{
	struct publisher *publisher = NULL;
	uint64_t time = MAX(rooms->time, room->log.last_time);
	struct log before = { .bytes = room->log.bytes, .taken = room->log.taken };
	size_t frame_len;
	char *frame;
	int r;

	if (room_is_durable(rooms, room) && !room->stored) {
		r = store_take_up(rooms->store, room);
		if (r < 0)
			return r;
	}
	if (id.len > 0 && author->has_publisher) {
		publisher = room_publisher(rooms, room, author);
		if (!publisher)
			return -ENOMEM;
		if (value <= publisher->id)
			return ret_seq ? room_find_message(room, publisher, author, value, ret_seq)
				       : ROOM_E_DUPLICATE;
	}
	if (room_is_stored(room) && store_is_choked(rooms->store))
		return store_is_choked(rooms->store);
	room_close_segment(rooms, room, rooms->users->age.now);
	r = log_reserve(
		&room->log, MSG_LINE_MAX + body.len, room_memory_bytes(rooms, room), &frame);
	if (r < 0) {
		room_charge_log(rooms, room, &before); /* it gave old segments up in vain */
		return r;
	}
	frame_len = room_compose(rooms, room, frame, author, publisher, id, body, time);
	log_commit(&room->log, frame_len, time, rooms->users->age.now);
	rooms->n_records++;
	if (room_is_stored(room))
		room_note_stored(rooms, room, publisher, frame_len);
	if (publisher)
		publisher_note(publisher, value, room->log.next - 1);
	room_note_append(rooms, room, &before);
	if (ret_seq)
		*ret_seq = room->log.next - 1;
	return 0;
}

/* ---- a room that was stored ---- */

int rooms_restore(struct rooms *rooms, const struct catalog_room *row, struct room **ret_room)
{
	struct user *user;
	int r;

	r = users_get(rooms->users, row->owner, &user);
	if (r < 0)
		return r;
	r = room_new(rooms, row->key, row->target_len, user, true, ret_room);
	users_put(rooms->users, user);
	if (r < 0)
		return r;
	(*ret_room)->id = row->id;
	(*ret_room)->party[0] = row->party[0];
	(*ret_room)->party[1] = row->party[1];
	(*ret_room)->log.last_time = row->last_time;
	return 0;
}

void room_charge_restored(struct rooms *rooms, struct room *room)
{
	room_charge_log(rooms, room, &(struct log){ .taken = room->log.taken });
}

/* Who said it, and which of its messages it is, as FRAME has it. */
static int room_note_frame(struct rooms *rooms, struct room *room, const struct frame *frame)
{
	struct author author = { .has_publisher = true };
	struct text p = frame_get(frame, 6, "p"), number;
	const char *colon = p.data ? memchr(p.data, ':', p.len) : NULL;
	struct publisher *publisher;
	uint64_t uid, id;

	if (!colon)
		return 0;
	number = (struct text){ colon + 1, p.len - (size_t)(colon + 1 - p.data) };
	if (!number_parse_hex((struct text){ p.data, (size_t)(colon - p.data) }, &author.label) ||
		!number_parse(number, &id) || !number_parse(frame->word[5], &uid))
		return 0;
	author.uid = (uid_t)uid;
	publisher = room_get_publisher(rooms, room, &author);
	if (!publisher)
		return -ENOMEM;
	publisher_note(publisher, id, room->log.next - 1);
	return 0;
}

int room_put_back(struct rooms *rooms, struct room *room, struct text text)
{
	struct log before = { .bytes = room->log.bytes, .taken = room->log.taken };
	const struct age *age = &rooms->users->age;
	uint64_t time = 0, said;
	struct frame frame;
	char *place;
	int r;

	if (frame_parse(&frame, text) != 0 || frame.n_words <= 5 ||
		!number_parse(frame.word[3], &time))
		time = room->log.last_time;
	/* it was said when it says, if that is between what was stored last and now */
	said = MIN(MAX(time, age->stored), age->now);
	room_close_segment(rooms, room, said);
	r = log_reserve(&room->log, text.len, rooms->settings->limit[LIMIT_ROOM_BYTES], &place);
	if (r < 0)
		return r;
	memcpy(place, text.data, text.len);
	log_commit(&room->log, text.len, time, said);
	if (frame_parse(&frame, (struct text){ place, text.len }) == 0 && frame.n_words > 5)
		r = room_note_frame(rooms, room, &frame);
	room_note_append(rooms, room, &before);
	return r;
}

void rooms_truncate(struct rooms *rooms, struct room *room)
{
	struct log before = room->log;

	log_truncate(&room->log);
	room_charge_log(rooms, room, &before);
	rooms->line.author = NULL;
	room->said_next = room->log.next;
}

void rooms_hide(struct rooms *rooms, struct room *room)
{
	if (rooms->latest == room)
		rooms->latest = NULL;
	table_remove(&rooms->by_key, &room->link);
	room->is_hidden = true;
}

void rooms_forget(struct rooms *rooms, struct room *room)
{
	room_free(rooms, room);
}
