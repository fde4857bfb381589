/* render.h - events as text: one safe line, or one JSON object.
 *
 * The formats are those of chat-client(1). Pure but for the time zone: what comes
 * in as bytes goes out to a stream, and whatever somebody else wrote (bodies,
 * names, reasons) goes through text_escape() or the like of it in JSON.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "client/chat.h"
#include "protocol/text.h"

/* TEXT as text_escape() shows it; of any length. */
void render_text(FILE *out, struct text text);

/* "alice", or "nick(alice)" when the name is not that of the Unix user. */
void render_person(FILE *out, const struct chat_event *event);

/* Does EVENT tell that a room was deleted? */
bool event_is_deletion(const struct chat_event *event);

/* What happened, in words, without a line feed: for all types but CHAT_MESSAGE. */
void render_notice(FILE *out, const struct chat_event *event);

/* The forms of a CHAT_MESSAGE, each with its line feed:
 *	HH:MM:SS ROOM NAME: BODY	(local time)
 *	YYYY-MM-DD HH:MM:SS ROOM NAME: BODY
 *	the bytes of the body as they are */
void render_plain(FILE *out, const struct chat_event *event);
void render_dated(FILE *out, const struct chat_event *event);
void render_raw(FILE *out, const struct chat_event *event);

/* A JSON string. Should TEXT not be UTF-8, it still is one: then each bad byte is a
 * replacement character. */
void render_json_text(FILE *out, struct text text);

/* Any event as a JSON object and a line feed. */
void render_json(FILE *out, const struct chat_event *event);

/* Any event as it is shown above the typed line: "HH:MM NAME: BODY", with the
 * room in brackets where it is not CURRENT; notices as "HH:MM -- WORDS". NOW is
 * the time in seconds that is shown for notices. */
struct render_screen {
	const char *current; /* the target that is being talked to */
	bool colour;
	int64_t now;
};
void render_screen(FILE *out, const struct render_screen *screen, const struct chat_event *event);

/* NS since the epoch as 2026-11-20T12:00:00.123456789Z */
void render_time(FILE *out, uint64_t ns);
