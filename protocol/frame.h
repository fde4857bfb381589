/* frame.h - one text frame: the verbs, parsing, building.
 *
 *	frame = [ "#" tag SP ] VERB *( SP word ) [ LF body ]
 *
 * chat-protocol(7), section Frames. Parsing allocates nothing and borrows
 * everything from the packet.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/text.h"

enum verb {
	VERB_UNKNOWN,
	VERB_BATCH, /* starts a packet of records; no verb inside one */

	/* requests */
	VERB_HELLO,
	VERB_JOIN,
	VERB_PART,
	VERB_SAY,
	VERB_PAST,
	VERB_FIND,
	VERB_SEEN, /* and what the broker sends of it */
	VERB_SET,  /* the same */
	VERB_GET,
	VERB_DELETE,
	VERB_WHO,
	VERB_ROOMS,
	VERB_TIME,
	VERB_PING,
	VERB_STATS,
	VERB_CTL,
	VERB_FAST,
	VERB_RING,
	VERB_BELL,
	VERB_RESYNC,
	VERB_WAKER,
	VERB_TOOK,
	VERB_QUIT,
	VERB_STOP,

	/* what the broker sends */
	VERB_MSG,
	VERB_GAP,
	VERB_AT,
	VERB_CURSOR,
	VERB_JOINED,
	VERB_PARTED,
	VERB_PAGE,
	VERB_UNRING,
	VERB_SLEEPER,
	VERB_REVOKED,
	VERB_BYE,
	VERB_ROW,    /* "+" */
	VERB_DONE,   /* "*" */
	VERB_REFUSE, /* "!" */

	VERB_COUNT,
};

#define VERB_REQUEST_FIRST VERB_HELLO
#define VERB_REQUEST_LAST  VERB_STOP

/* "HELLO", ...; "" for VERB_UNKNOWN. Never NULL. */
const char *verb_name(enum verb verb);
enum verb verb_find(struct text name);

static inline bool verb_is_request(enum verb verb)
{
	return verb >= VERB_REQUEST_FIRST && verb <= VERB_REQUEST_LAST;
}

struct frame {
	struct text tag; /* without '#'; len 0 when there is none */
	enum verb verb;
	size_t n_words; /* the verb's own word is word[0] */
	struct text word[FRAME_WORDS_MAX];
	struct text rest; /* the line after the verb, for free text */
	bool has_body;
	bool has_more_words; /* than FRAME_WORDS_MAX; they are in rest */
	struct text body;
};

enum {
	FRAME_E_MALFORMED = 1, /* FRAME */
	FRAME_E_LINE,          /* TOOBIG: the line */
	FRAME_E_BODY,          /* TOOBIG: the body */
};

/* Parse one frame. On any outcome *ret_frame holds what was understood before
 * it: the tag, and the verb if it got there, so an error can be answered. */
int frame_parse(struct frame *ret_frame, struct text packet);

/* The value of the first word "key=value" from word FIRST on; NULL data when
 * there is none. */
struct text frame_get(const struct frame *frame, size_t first, const char *key);

/* Is WORD one of the words from FIRST on? */
bool frame_has(const struct frame *frame, size_t first, const char *word);
