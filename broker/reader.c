/* reader.c - see reader.h. */
#include "broker/reader.h"

#include <errno.h>
#include <stdio.h>

#include "broker/broker.h"
#include "broker/follower.h"
#include "broker/output.h"

void reader_schedule(struct cursor *cursor)
{
	struct session *session = cursor->session;

	if (session->is_deaf || list_is_linked(&cursor->pending_link) || !cursor_is_behind(cursor))
		return;
	list_append(&session->pending, &cursor->pending_link);
	output_schedule(session);
}

/* Does the person read the room from another terminal, too? Who leaves thousands of
 * rooms at once asks for each, so the readers of a room are looked at, which are few
 * where presence is told, and not the sessions of the person. */
static bool person_reads_elsewhere(const struct session *session, const struct room *room)
{
	list_for_each (link, &room->cursors) {
		const struct session *other = container_of(link, struct cursor, room_link)->session;

		if (other != session && other->person == session->person)
			return true;
	}
	return false;
}

static void reader_tell(struct session *session, struct room *room, const char *verb)
{
	if (room->presence && room->n_cursors <= PRESENCE_READERS_MAX &&
		!person_reads_elsewhere(session, room))
		room_tell_presence(&session->broker->rooms, room, verb, session->author.name);
}

/* Who began a conversation pays for the cursors that the other side gets without
 * asking, or strangers could use its quota up. */
static struct quota_account *reader_account(
	const struct session *session, const struct room *room, bool is_announced)
{
	return (is_announced ? room->owner : session->user)->account;
}

static int reader_place(
	struct session *session, struct room *room, bool is_announced, struct cursor **ret_cursor)
{
	struct quota_account *account = reader_account(session, room, is_announced);
	struct rooms *rooms = &session->broker->rooms;
	struct cursor *cursor = rooms_find_cursor(rooms, session->number, room);

	if (!cursor) {
		if (quota_charge(account, QUOTA_CURSORS, 1))
			return ROOM_E_QUOTA;
		cursor = cursor_new(rooms, room, session, session->number);
		if (!cursor) {
			quota_discharge(account, QUOTA_CURSORS, 1);
			return -ENOMEM;
		}
		cursor->is_announced = is_announced;
		list_append(&session->cursors, &cursor->session_link);
		reader_tell(session, room, "JOINED");
	}
	*ret_cursor = cursor;
	return 0;
}

int reader_join(struct session *session, struct room *room, struct cursor **ret_cursor)
{
	return reader_place(session, room, false, ret_cursor);
}

void reader_part(struct session *session, struct cursor *cursor)
{
	struct rooms *rooms = &session->broker->rooms;

	reader_tell(session, cursor->room, "PARTED");
	followers_part(cursor);
	cursor_set_fast(cursor, false);
	/* before the room may go, and its owner */
	quota_discharge(
		reader_account(session, cursor->room, cursor->is_announced), QUOTA_CURSORS, 1);
	cursor_free(rooms, cursor);
}

void reader_dismiss(struct cursor *cursor)
{
	struct session *session = cursor->session;
	struct text target = room_target(cursor->room);
	char line[TARGET_LEN_MAX + 64];
	int n;

	n = snprintf(line, sizeof line, "GAP %.*s %lu 0 deleted", (int)target.len, target.data,
		(unsigned long)cursor->at.seq);
	quota_discharge(
		reader_account(session, cursor->room, cursor->is_announced), QUOTA_CURSORS, 1);
	cursor_free(&session->broker->rooms, cursor);
	/* the session may close for it, and then it has no cursors */
	output_put(session, (struct text){ line, (size_t)n });
}

void reader_part_all(struct session *session)
{
	list_for_each (link, &session->cursors)
		reader_part(session, container_of(link, struct cursor, session_link));
}

/* Place a cursor before record SEQ and say so, unless there is one already. */
static void reader_announce(struct session *session, struct room *room, uint64_t seq)
{
	char line[TARGET_LEN_MAX + 96];
	struct text target = room_target(room);
	struct cursor *cursor;
	int n, r;

	if (rooms_find_cursor(&session->broker->rooms, session->number, room))
		return;
	r = reader_place(session, room, true, &cursor);
	/* nobody asked for this line: told often enough, it must not fill what is kept */
	if (r && session_output_len(session) > ANSWERS_HELD_MAX)
		return;
	if (r)
		n = snprintf(line, sizeof line,
			"! QUOTA CURSOR %.*s the limit of cursors: this conversation is not "
			"delivered",
			(int)target.len, target.data);
	else
		n = snprintf(line, sizeof line, "CURSOR %.*s %lu first=%lu log=%016lx",
			(int)target.len, target.data, (unsigned long)seq,
			(unsigned long)room_first(room), (unsigned long)room->id);
	output_put(session, (struct text){ line, (size_t)n });
	if (r)
		return;
	room_seek(room, seq, &cursor->at);
	reader_schedule(cursor);
}

void reader_join_direct_since(struct session *session, uint64_t time)
{
	list_for_each (link, &session->broker->rooms.all) {
		struct room *room = container_of(link, struct room, rooms_link);
		uint64_t seq;

		if (!room_has_party(room, text_of(session->person->name), session->user->uid))
			continue;
		/* of what is on the disk, all of a segment: it is not worth to wait for */
		(void)room_find_time(room, time, &seq);
		if (seq < log_end(&room->log))
			reader_announce(session, room, seq);
	}
}

void reader_join_direct(struct broker *broker, struct room *room)
{
	struct text names[2];

	text_is_conversation(room_target(room), &names[0], &names[1]);
	for (int i = 0; i < 2; i++) {
		struct person *person = users_find_person(&broker->users, names[i], room->party[i]);

		if (!person)
			continue;
		list_for_each (link, &person->sessions) {
			struct session *session = container_of(link, struct session, person_link);

			if (session->has_direct && session->state == SESSION_OPEN)
				reader_announce(session, room, log_end(&room->log));
		}
	}
}
