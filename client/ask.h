/* ask.h - requests that are answered in rows and pages, and what rows are made of. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "client/chat.h"
#include "protocol/text.h"

/* The milliseconds of CLOCK_MONOTONIC that are left until UNTIL_MS: 0 or more. */
uint64_t ask_now_ms(void);
int ask_left_ms(uint64_t until_ms);

/* Send REQUEST (WHO, ROOMS, STATS) and, as long as an answer says next=N, again with
 * after=N, each page within 10 s, all of them within TIMEOUT_MS. ROW gets every
 * row. Returns and errors as chat_request(); *ret_answer is the last answer, borrowed from
 * CHAT. */
int ask_pages(struct chat *chat, const char *request, int timeout_ms, chat_row_fn *row,
	void *userdata, const char **ret_answer);

/* Complain about ANSWER, a refusal whose first word is its code. ABOUT is what was asked about, or
 * NULL. Returns a status. */
int refused(const char *answer, const char *about);

/* Close CHAT and standard output. Returns STATUS, or that of an error in this. */
int finish(struct chat *chat, int status);

/* Take the first word off *ROW, a list of words with single spaces. */
struct text row_word(struct text *row);

/* Of a row of ROOMS: how many messages its user has not read. Of a room of which nothing is
 * known to be read that is 0, of a conversation all that is kept. */
uint64_t row_unread(struct text row);

/* The value of the word KEY=value in ROW, as far as it is there. KEY ends in '='. */
struct text row_value(struct text row, const char *key);
