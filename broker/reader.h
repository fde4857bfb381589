/* reader.h - a session's cursors: joining and parting, with charges and presence. */
#pragma once

#include "broker/cursor.h"
#include "broker/session.h"

/* The session's cursor in ROOM; one at its end is made and charged if there is
 * none. Returns 0, ROOM_E_QUOTA or -ENOMEM. */
int reader_join(struct session *session, struct room *room, struct cursor **ret_cursor);

/* Remove a cursor; the room may go with it. */
void reader_part(struct session *session, struct cursor *cursor);
void reader_part_all(struct session *session);

/* The room of CURSOR is deleted: remove CURSOR, and tell its session where it stood. */
void reader_dismiss(struct cursor *cursor);

/* A message is about to be appended to a conversation: place cursors for the
 * sessions of both that asked for it with "direct". */
void reader_join_direct(struct broker *broker, struct room *room);

/* The same for one session and every conversation of its person that has messages
 * from TIME on: the cursor stands before the first of them. */
void reader_join_direct_since(struct session *session, uint64_t time);

/* There may be something to send for CURSOR: put it in line. */
void reader_schedule(struct cursor *cursor);
