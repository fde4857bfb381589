/* cursor.c - see cursor.h. */
#include "broker/cursor.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/feed.h"
#include "broker/follower.h"

/* What is kept of a room's presence. */
#define PRESENCE_BYTES (16 * 1024)

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

		if (cursor->presence)
			cursor->presence->is_lost = true;
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
	room_update_feeds(room);
	log_seek(&room->log, log_end(&room->log), &cursor->at);
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
	if (cursor->presence && --room->n_presence == 0) {
		log_deinit(room->presence);
		free(room->presence);
		room->presence = NULL;
	}
	free(cursor->presence);
	free(cursor);
	room->n_cursors--;
	room_update_feeds(room);
	if (room->n_cursors == 0) {
		room_set_idle(rooms, room);
		rooms_release(rooms, room);
	}
	return NULL;
}

bool cursor_is_behind(const struct cursor *cursor)
{
	const struct presence *presence = cursor->presence;

	if (cursor->reset_from > 0 ||
		(presence &&
			(presence->is_lost || presence->at.seq < cursor->room->presence->next)))
		return true;
	if (cursor->is_fast && (followers_hold(cursor) || followers_are_due(cursor)))
		return !followers_hold(cursor);
	return (cursor->at.seq < log_end(&cursor->room->log) && !cursor->awaits_disk) ||
	       followers_place_is_due(cursor);
}

int cursor_ask_presence(struct cursor *cursor)
{
	struct room *room = cursor->room;

	struct presence *presence;

	if (cursor->presence)
		return 0;
	presence = calloc(1, sizeof *presence);
	if (!presence)
		return -ENOMEM;
	if (!room->presence) {
		room->presence = malloc(sizeof *room->presence);
		if (!room->presence) {
			free(presence);
			return -ENOMEM;
		}
		log_init(room->presence);
	}
	room->n_presence++;
	log_seek(room->presence, room->presence->next, &presence->at);
	cursor->presence = presence;
	return 0;
}

void room_tell_presence(
	struct rooms *rooms, struct room *room, const char *verb, struct text author)
{
	char line[16 + TARGET_LEN_MAX + PRESENCE_WORDS_MAX], *frame;
	int n;

	if (!room->presence || room->n_cursors > PRESENCE_READERS_MAX)
		return;
	n = snprintf(line, sizeof line, "%s %.*s %.*s", verb, (int)room->target_len, room->key,
		(int)author.len, author.data);
	if (log_reserve(room->presence, (size_t)n, PRESENCE_BYTES, &frame) < 0) {
		room_lose_presence(rooms, room);
	} else {
		memcpy(frame, line, (size_t)n);
		log_commit(room->presence, (size_t)n, 0, 0);
	}
	if (!list_is_linked(&room->dirty_link))
		list_append(&rooms->dirty, &room->dirty_link);
}
