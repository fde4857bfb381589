/* talk.h - chats of libchat with a broker of the harness. What does not come within
 * DEADLINE_MS, or is something else, fails the test. */
#pragma once

#include "client/chat.h"
#include "tests/integration/harness.h"

/* Open one; the caller closes it. */
struct chat *open_as(const struct broker *broker, const struct chat_config *config);
struct chat *open_named(const struct broker *broker, const char *name);

void join(struct chat *chat, const char *target);

/* The next event, which must come. */
struct chat_event next_event(struct chat *chat);
/* The next one of TYPE; others are passed over, but not messages. */
struct chat_event await_event(struct chat *chat, enum chat_type type);
void expect_message(struct chat *chat, const char *target, const char *body);
/* Nothing is on its way. */
void expect_nothing(struct chat *chat);

void say(struct chat *chat, const char *target, const char *body);
/* FIRST to LAST, each as a message of its own. */
void say_numbers(struct chat *chat, const char *target, unsigned first, unsigned last);
void expect_numbers(struct chat *chat, const char *target, unsigned first, unsigned last);
