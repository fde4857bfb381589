/* message.h - the MSG frame, read in one pass: it is most of what a reader sees.
 *
 *	MSG target SEQ TIME NAME UID [of=USER] [p=PUB:N] LF body
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "protocol/number.h"
#include "protocol/text.h"

struct message {
	struct text target, name;
	struct text of; /* data NULL when there is none */
	struct text body;
	uint64_t seq, time;
	uid_t uid;
	bool has_publisher;
	uint64_t label, n; /* of the publisher */
};

/* What the last message tells of the next one: start with zeros. Most differ from the one
 * before only in their two numbers, each higher by one, and comparing is cheaper than
 * reading. */
struct message_memo {
	char time_text[24];
	uint64_t time;
	char label_text[NUMBER_HEX_LEN];
	uint64_t label;
	/* the line that comes next if all goes on as it did */
	char line[256];
	size_t line_len; /* with its LF; 0: none is kept */
	size_t target_len, seq_at, seq_len, name_at, name_len, of_at, of_len, n_at, n_len;
	uint64_t seq, n;
	uid_t uid;
};

enum {
	MESSAGE_E_MALFORMED = 1,
};

static inline bool message_is(struct text frame)
{
	return frame.len > 4 && memcmp(frame.data, "MSG ", 4) == 0;
}

/* FRAME is one that message_is(). Borrows from it; each word is followed by a
 * space or LF within the frame, so the owner of the bytes can terminate it there. */
int message_parse(struct message *ret_message, struct text frame, struct message_memo *memo);
