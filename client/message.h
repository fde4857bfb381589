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

/* Words of the last message: most of the next one's are the same, and comparing is
 * cheaper than reading. Start with zeros. */
struct message_memo {
	char time_text[24];
	uint64_t time;
	char label_text[NUMBER_HEX_LEN];
	uint64_t label;
	/* " NAME UID [of=USER] p=PUB:", when that was all of the line behind TIME but N */
	char author[160];
	size_t author_len;              /* 0: none is kept */
	size_t name_len, of_at, of_len; /* within author; of_len 0: there is none */
	uid_t author_uid;
	uint64_t author_label;
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
