/* fast_talk.c - see fast_talk.h. */
#include "tests/integration/fast_talk.h"

#include <stdio.h>
#include <string.h>

void join_fast(struct chat *chat, const char *room, unsigned flags)
{
	if (chat_join(chat, room, CHAT_NEW, 0, flags, NULL) != 0)
		fail_msg("chat_join %s: %s", room, chat_error(chat));
}

void put(struct chat *chat, const char *room, unsigned flags, const char *body)
{
	if (chat_send(chat, room, body, strlen(body), flags) != 0)
		fail_msg("chat_send: %s", chat_error(chat));
}

void flush(struct chat *chat)
{
	if (chat_flush(chat, DEADLINE_MS) != 0)
		fail_msg("chat_flush: %s", chat_error(chat));
}

bool expect_body(struct chat *chat, const char *body)
{
	struct chat_event event = await_event(chat, CHAT_MESSAGE);

	if (event.len != strlen(body) || memcmp(event.body, body, event.len) != 0)
		fail_msg(
			"expected %s, got %.*s", body, (int)MIN(event.len, (size_t)80), event.body);
	return event.seq == 0;
}

void warm_up(struct chat *chat, struct chat *reader, const char *room, unsigned flags)
{
	uint64_t until = clock_ms() + DEADLINE_MS;

	do {
		if (clock_ms() > until)
			fail_msg("it never came through a ring");
		put(chat, room, flags, "warm up");
		flush(chat);
	} while (!expect_body(reader, "warm up"));
}

void put_numbers(struct chat *chat, const char *room, unsigned flags, unsigned first, unsigned last)
{
	char body[16];

	for (; first <= last; first++) {
		snprintf(body, sizeof body, "%u", first);
		put(chat, room, flags | (first % 8 ? CHAT_MORE : 0), body);
	}
}

void put_large(struct chat *chat, const char *room, unsigned flags, unsigned seq)
{
	static char body[FLOOD_BODY];

	memset(body, 'x', sizeof body);
	snprintf(body, sizeof body, "%u", seq);
	if (chat_send(chat, room, body, sizeof body, flags) != 0)
		fail_msg("chat_send: %s", chat_error(chat));
}
