/* shell.h - chat-client for people: the line they type, the rooms they are in. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/chat.h"
#include "client/connect.h"
#include "protocol/limits.h"

/* The last so many messages are shown when a room is gone into. */
#define SHELL_LAST 20

/* And of those that are looked for. */
#define SHELL_FIND_LAST 100

/* The broker of a local socket answers at once, or something is wrong. */
#define SHELL_ANSWER_TIMEOUT_MS 2000

/* What was shown and the broker was not told yet, at most so many rooms. */
#define SHELL_SEEN_MAX 16

struct shell_seen {
	char target[TARGET_LEN_MAX + 1];
	uint64_t seq;
};

struct shell {
	struct chat *chat;                 /* owned */
	char (*rooms)[TARGET_LEN_MAX + 1]; /* owned: that it has a cursor in; not wall */
	size_t n_rooms;
	char target[TARGET_LEN_MAX + 1]; /* what lines are said to; "" in no room */
	bool is_asked_to_stop;           /* the next line answers "stop the broker?" */
	bool interrupted;                /* Ctrl-C was the last key, on an empty line */
	bool may_ask; /* about a broker of another user: not while the screen is open */
	bool lost, leaving;
	struct shell_seen seen[SHELL_SEEN_MAX];
	size_t n_seen;
	int status;
	int day; /* of the year, of the message that was shown last; -1 */
};

/* Talk in the N rooms until told to leave. Standard input and output are a
 * terminal. Returns a status. */
int shell_run(const struct settings *settings, int n, char **rooms);

/* Show one line of words that are not a message; escaped. */
void shell_show(const char *format, ...) _printf_(1, 2);

/* Is it in the room, go into it showing LAST messages, leave it. The latter two
 * tell what went wrong, and return true when nothing did. */
bool shell_has(const struct shell *shell, const char *target);
bool shell_join(struct shell *shell, const char *target, uint64_t last);
bool shell_part(struct shell *shell, const char *target);

/* Show what happened, or was said before. */
void shell_render(struct shell *shell, const struct chat_event *event);

/* Talk to TARGET from now on, "" for nothing. */
void shell_switch(struct shell *shell, const char *target);

void shell_say(struct shell *shell, const char *target, const char *text);

/* Leave, and end with STATUS. */
void shell_leave(struct shell *shell, int status);

/* Show why a request failed: R as of chat_request(), with its ANSWER; ABOUT is what was
 * asked about, or NULL. */
void shell_refused(struct shell *shell, int r, const char *answer, const char *about);
