/* handle_list.c - WHO, ROOMS: who and what there is. */
#include <stdio.h>
#include <string.h>

#include "broker/broker.h"
#include "broker/dispatch.h"
#include "broker/mark.h"
#include "broker/page.h"

static bool who_row(struct page *page, uint64_t number, const struct session *other)
{
	char row[AUTHOR_LEN_MAX + 40];
	uint64_t age = page->session->broker->users.now - other->opened_at;
	int n;

	n = snprintf(row, sizeof row, "%.*s since=%lu", (int)other->author.name.len,
		other->author.name.data, (unsigned long)(age / 1000000000));
	return page_put(page, number, (struct text){ row, (size_t)n });
}

static void who_all(struct page *page)
{
	list_for_each (link, &page->session->broker->sessions) {
		struct session *other = container_of(link, struct session, sessions_link);

		/* the first session has number 1 */
		if (other->number > page->after && other->person &&
			!who_row(page, other->number, other))
			break;
	}
}

static void who_in(struct page *page, const struct room *room)
{
	list_for_each (link, &room->cursors) {
		struct cursor *cursor = container_of(link, struct cursor, room_link);

		if (cursor->number > page->after && !who_row(page, cursor->number, cursor->session))
			break;
	}
}

int handle_who(struct session *session, const struct frame *frame)
{
	struct page page;
	struct room *room;

	if (!page_open(&page, session, frame))
		return 0;
	if (!page.what.data) {
		who_all(&page);
		page_close(&page);
		return 0;
	}
	if (!text_is_room(page.what)) {
		answer_refuse(session, frame, CODE_ROOM, "not a room name");
		return 0;
	}
	room = rooms_find(&session->broker->rooms, page.what);
	if (!room) {
		answer_refuse(session, frame, CODE_NOROOM, "no such room");
		return 0;
	}
	if (answer_has_rows(frame))
		who_in(&page, room);
	page_close(&page);
	return 0;
}

#define ROOMS_ROW_MAX (BROKER_ROW_MAX + sizeof " seen=" + NUMBER_DECIMAL_MAX)

/* With how far the session's user has read it, if that is known. */
static struct text rooms_row(struct session *session, const struct room *room, char *row)
{
	struct text text = broker_room_row(session->broker, room, row);
	uint64_t seen = room_mark(&session->broker->rooms, room, session->user->uid);

	if (seen > 0)
		text.len += (size_t)sprintf(row + text.len, " seen=%lu", (unsigned long)seen);
	return text;
}

/* "ROOMS target": that one. */
static int rooms_one(struct page *page)
{
	struct session *session = page->session;
	char row[ROOMS_ROW_MAX];
	struct room *room;
	int r;

	r = handle_target_room(session, page->frame, page->what, false, &room);
	if (r || !room)
		return r;
	(void)page_put(page, room->number, rooms_row(session, room, row));
	page_close(page);
	return 0;
}

/* "ROOMS [target] [after=N]" */
int handle_rooms(struct session *session, const struct frame *frame)
{
	char row[ROOMS_ROW_MAX];
	struct page page;

	if (!page_open(&page, session, frame))
		return 0;
	if (page.what.data)
		return rooms_one(&page);
	list_for_each (link, &session->broker->rooms.all) {
		struct room *room = container_of(link, struct room, rooms_link);

		if (room->number > page.after && session_may_see(session, room) &&
			!page_put(&page, room->number, rooms_row(session, room, row)))
			break;
	}
	page_close(&page);
	return 0;
}
