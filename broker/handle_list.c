/* handle_list.c - WHO, ROOMS, STATS: what there is. */
#include <stdio.h>
#include <string.h>

#include "broker/broker.h"
#include "broker/dispatch.h"
#include "protocol/number.h"

/* after=N of a paged request; 0 without. False when it is malformed. */
static bool page_parse(const struct frame *frame, uint64_t *ret_after)
{
	struct text after = frame_get(frame, 1, "after");

	*ret_after = 0;
	return !after.data || number_parse(after, ret_after);
}

static void page_end(struct session *session, const struct frame *frame, unsigned n_rows,
	bool is_last, uint64_t next)
{
	if (is_last)
		answer_done(session, frame, "%u", n_rows);
	else
		answer_done(session, frame, "%u next=%lu", n_rows, (unsigned long)next);
}

static void who_row(struct session *session, const struct frame *frame, const struct session *other)
{
	char row[AUTHOR_LEN_MAX + 40];
	uint64_t age = session->broker->users.now - other->opened_at;
	int n;

	n = snprintf(row, sizeof row, "%.*s since=%lu", (int)other->author.name.len,
		other->author.name.data, (unsigned long)(age / 1000000000));
	answer_row(session, frame, (struct text){ row, (size_t)n });
}

static void who_all(struct session *session, const struct frame *frame, uint64_t after)
{
	unsigned n_rows = 0;

	list_for_each (link, &session->broker->sessions) {
		struct session *other = container_of(link, struct session, sessions_link);

		/* the first session has number 1 */
		if (other->number <= after || !other->person)
			continue;
		if (n_rows == ANSWER_ROWS_MAX) {
			page_end(session, frame, n_rows, false, after);
			return;
		}
		who_row(session, frame, other);
		n_rows++;
		after = other->number;
	}
	page_end(session, frame, n_rows, true, 0);
}

int handle_who(struct session *session, const struct frame *frame)
{
	struct text name = { NULL, 0 };
	unsigned n_rows = 0;
	struct room *room;
	uint64_t after;

	if (!page_parse(frame, &after)) {
		answer_refuse(session, frame, CODE_ARGS, "after= is malformed");
		return 0;
	}
	if (frame->n_words > 1 && !memchr(frame->word[1].data, '=', frame->word[1].len))
		name = frame->word[1];
	if (!name.data) {
		who_all(session, frame, after);
		return 0;
	}
	if (!text_is_room(name)) {
		answer_refuse(session, frame, CODE_ROOM, "not a room name");
		return 0;
	}
	room = rooms_find(&session->broker->rooms, name);
	if (!room) {
		answer_refuse(session, frame, CODE_NOROOM, "no such room");
		return 0;
	}
	list_for_each (link, &room->cursors) {
		struct cursor *cursor = container_of(link, struct cursor, room_link);

		if (cursor->number <= after)
			continue;
		if (n_rows == ANSWER_ROWS_MAX) {
			page_end(session, frame, n_rows, false, after);
			return 0;
		}
		who_row(session, frame, cursor->session);
		n_rows++;
		after = cursor->number;
	}
	page_end(session, frame, n_rows, true, 0);
	return 0;
}

/* Conversations are their two people's business. */
static bool room_is_visible(const struct session *session, const struct room *room)
{
	return !room_is_conversation(room) ||
	       room_has_party(room, text_of(session->person->name), session->user->uid);
}

int handle_rooms(struct session *session, const struct frame *frame)
{
	char row[BROKER_ROW_MAX];
	unsigned n_rows = 0;
	uint64_t after;

	if (!page_parse(frame, &after)) {
		answer_refuse(session, frame, CODE_ARGS, "after= is malformed");
		return 0;
	}
	list_for_each (link, &session->broker->rooms.all) {
		struct room *room = container_of(link, struct room, rooms_link);

		if (room->number <= after || !room_is_visible(session, room))
			continue;
		if (n_rows == ANSWER_ROWS_MAX) {
			page_end(session, frame, n_rows, false, after);
			return 0;
		}
		answer_row(session, frame, broker_room_row(session->broker, room, row));
		n_rows++;
		after = room->number;
	}
	page_end(session, frame, n_rows, true, 0);
	return 0;
}

struct stats {
	struct session *session;
	const struct frame *frame;
};

static void stats_row(void *userdata, struct text row)
{
	struct stats *stats = userdata;

	answer_row(stats->session, stats->frame, row);
}

int handle_stats(struct session *session, const struct frame *frame)
{
	struct stats stats = { session, frame };

	unsigned n_rows = broker_stats(session->broker, stats_row, &stats);

	answer_done(session, frame, "%u", n_rows);
	return 0;
}
