/* room.h - what a room is, and what it keeps under a key: chat-client room, and what is shown
 * of it at a join. chat-protocol(7), ROOMS, SET and GET.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "client/chat.h"

struct room_about {
	bool is_there;
	char mode[16];         /* "durable", "ephemeral", or "": the broker stores nothing */
	uint64_t retain_bytes; /* what is kept, at the most */
	uint64_t retain_age;   /* s; 0: for ever */
	uid_t owner;
};

/* Ask what the room TARGET is, within TIMEOUT_MS. Returns and errors as chat_request(). */
int room_ask(struct chat *chat, const char *target, int timeout_ms, struct room_about *ret_about,
	const char **ret_answer);

/* Ask for the values of TARGET, or that under KEY, unless it is NULL; ROW gets each. The same. */
int room_get(struct chat *chat, const char *target, const char *key, int timeout_ms,
	chat_row_fn *row, void *userdata, const char **ret_answer);

/* Whether, how much and for how long it is kept, in words: "stored, up to 1 GiB, for 30 days". */
#define ROOM_WORDS_MAX 96
void room_describe(const struct room_about *about, char words[static ROOM_WORDS_MAX]);

/* A number of bytes with an optional k, M or G (1024), and a time like 90s, 10m, 2h or 30d in
 * seconds. False when it is none. */
bool bytes_parse(const char *word, uint64_t *ret_bytes);
bool seconds_parse(const char *word, uint64_t *ret_seconds);
