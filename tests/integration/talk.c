/* talk.c - see talk.h. */
#include "tests/integration/talk.h"

#include <stdio.h>
#include <string.h>

struct chat *open_as(const struct broker *broker, const struct chat_config *config)
{
	struct chat_config here = *config;
	struct chat *chat;
	int r;

	here.socket = broker->socket;
	r = chat_open(&chat, &here);
	if (r)
		fail_msg("chat_open: %d, %s", r, chat_error(chat));
	return chat;
}

struct chat *open_named(const struct broker *broker, const char *name)
{
	return open_as(broker, &(struct chat_config){ .name = name });
}

void join(struct chat *chat, const char *target)
{
	if (chat_join(chat, target, CHAT_NEW, 0, 0, NULL) != 0)
		fail_msg("chat_join %s: %s", target, chat_error(chat));
}

/* The next event, which must come. */
struct chat_event next_event(struct chat *chat)
{
	uint64_t until = clock_ms() + DEADLINE_MS;
	struct chat_event event;
	int r;

	do {
		r = chat_receive(chat, &event, 1000);
	} while (r == 0 && clock_ms() < until);
	if (r != 1)
		fail_msg("no event: %d, %s", r, chat_error(chat));
	return event;
}

/* The next one of TYPE; others are passed over, but not messages. */
struct chat_event await_event(struct chat *chat, enum chat_type type)
{
	for (;;) {
		struct chat_event event = next_event(chat);

		if (event.type == type)
			return event;
		if (event.type == CHAT_MESSAGE)
			fail_msg("a message instead of event %d: %.*s", type,
				(int)MIN(event.len, (size_t)80), event.body);
	}
}

void expect_message(struct chat *chat, const char *target, const char *body)
{
	struct chat_event event = await_event(chat, CHAT_MESSAGE);

	assert_string_equal(event.target, target);
	if (event.len != strlen(body) || memcmp(event.body, body, event.len) != 0)
		fail_msg(
			"expected %s, got %.*s", body, (int)MIN(event.len, (size_t)80), event.body);
}

void expect_nothing(struct chat *chat)
{
	struct chat_event event;

	/* whatever is on its way came before this answer */
	assert_int_equal(chat_request(chat, "PING", NULL, 0, 5000, NULL, NULL, NULL), 0);
	if (chat_receive(chat, &event, 0) != 0)
		fail_msg("event %d of %s", event.type, event.target);
}

void say(struct chat *chat, const char *target, const char *body)
{
	if (chat_send(chat, target, body, strlen(body), 0) != 0)
		fail_msg("chat_send: %s", chat_error(chat));
}

void say_numbers(struct chat *chat, const char *target, unsigned first, unsigned last)
{
	char body[16];

	for (; first <= last; first++) {
		snprintf(body, sizeof body, "%u", first);
		say(chat, target, body);
	}
}

void expect_numbers(struct chat *chat, const char *target, unsigned first, unsigned last)
{
	char body[16];

	for (; first <= last; first++) {
		snprintf(body, sizeof body, "%u", first);
		expect_message(chat, target, body);
	}
}
