/* past.h - what was said before: PAST and FIND, page by page, as events. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "client/chat.h"

/* A message, of which everything is borrowed. */
typedef void past_event_fn(void *userdata, const struct chat_event *event);

struct past_range {
	bool has_last, has_since;
	uint64_t last;  /* so many at most, the newest */
	uint64_t since; /* ns since the epoch */
};

/* Tell of the messages in TARGET that RANGE has, the oldest first; those whose numbers are given
 * from now on are none of them. Each page within TIMEOUT_MS, and all of them within 60 times of
 * that. Returns and errors as chat_request(); *ret_answer is the last answer, borrowed from CHAT.
 */
int past_read(struct chat *chat, const char *target, const struct past_range *range, int timeout_ms,
	past_event_fn *tell, void *userdata, const char **ret_answer);

/* The same for the last MAX messages that have TEXT in them. Also -ENOMEM. */
int past_find(struct chat *chat, const char *target, const char *text, uint64_t max, int timeout_ms,
	past_event_fn *tell, void *userdata, const char **ret_answer);
