/* cursor.h - where this reader stands in each log, and the table of those places.
 *
 * A cursor has two positions. NEXT is that of delivery: the number the program
 * gets next. While packets wait to be delivered, ARRIVED_NEXT is the one that the
 * latest undelivered placement (an answer to JOIN, or CURSOR) will set. States and
 * NEXT change only in stream order, when delivery gets there; what is asked for on
 * a new connection is cursor_resume_point().
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/seen.h"
#include "protocol/text.h"

enum cursor_state {
	CURSOR_ASKED,    /* chat_join() waits for the first answer */
	CURSOR_PLANNED,  /* placed by a packet that was not delivered yet */
	CURSOR_UP,       /* messages are delivered */
	CURSOR_RESUMING, /* messages are ignored until the answer to JOIN */
};

struct cursor {
	char target[TARGET_LEN_MAX + 1]; /* as in records: "room" or "@a+b" */
	char shown[TARGET_LEN_MAX + 1];  /* as in events: "room" or "@other" */
	size_t target_len;
	uint32_t slot;
	struct cursor *chain; /* next in the bucket */

	enum cursor_state state;
	bool wants_presence;
	bool is_fast;         /* messages of publishers that have rings come from there */
	bool wants_ephemeral; /* it asked for such a room, */
	bool is_ephemeral;    /* and it is one: what was missed of a ring is nowhere else */
	uint64_t next;
	uint64_t log;
	uint64_t placed;     /* the number that the last placement named */
	uint64_t heard;      /* since then all of the log before this number came: below NEXT at
				first, if rings had what is between */
	uint64_t reset_from; /* the number that was next before a reset */
	bool is_loose;       /* whatever comes first is NEXT: the numbers are new */
	bool reset_due;      /* it is another log, and no GAP has said so yet */
	bool after_reset;    /* messages that were seen may come again */
	struct seen seen;

	unsigned n_arrived; /* placements that arrived and were not delivered */
	uint64_t arrived_next, arrived_log;
	bool has_moved; /* one of them because the program asked for it */

	uint64_t serial_first; /* of the JOIN that made it: older tags are not for it */
	uint64_t serial_last;  /* of the latest JOIN */
	uint64_t asked;        /* the number that the latest one of the program asked for, or 0 */
	bool wants_join;       /* to be sent with the others */
	bool awaits_join;      /* sent, its answer has not arrived */
	uint64_t read;         /* the highest number that chat_seen() was told */
	bool is_read_due;      /* and the broker was not, yet */
	bool was_dropped;      /* packets for it were dropped by this library */
	bool was_told;         /* the broker made it, with CURSOR */
	bool is_parked;        /* the other side is not known now: CURSOR will place it */
	unsigned n_unparked;   /* placements among the arrived that CURSOR brought */
	bool is_deleted;       /* GAP arrived that says so, and no placement after it */
};

struct cursor_slot {
	struct cursor *cursor; /* owned */
	uint32_t next_free;    /* slot + 1 */
};

struct cursors {
	struct cursor_slot *slots;
	struct cursor **buckets;
	uint32_t n_slots, size; /* size: of both arrays, a power of two */
	uint32_t n_cursors;
	uint32_t free_first; /* slot + 1 */
	struct cursor *last; /* the one found last */
};

void cursors_deinit(struct cursors *cursors);

/* TARGET as in records. NULL when there is none. */
struct cursor *cursors_find(struct cursors *cursors, struct text target);

/* A new one, which is not in the table: ASKED. TARGET fits TARGET_LEN_MAX.
 * Returns 0, -ENOMEM, or -ENOSPC when there are too many. */
int cursors_add(
	struct cursors *cursors, struct text target, struct text shown, struct cursor **ret_cursor);
void cursors_remove(struct cursors *cursors, struct cursor *cursor);

/* Walk: start with *AT = 0; NULL at the end. */
struct cursor *cursors_next(const struct cursors *cursors, uint32_t *at);

#define CURSOR_TAG_LEN 16

/* The tag of a JOIN, of CURSOR_TAG_LEN bytes, and the cursor that it names. */
void cursor_put_tag(const struct cursor *cursor, uint64_t serial, char *dst);
struct cursor *cursors_find_tag(
	const struct cursors *cursors, struct text tag, uint64_t *ret_serial);

/* A placement arrived; it will be delivered later. */
void cursor_arrive(struct cursor *cursor, uint64_t next, uint64_t log);

/* A placement is being delivered, or (ALL) none of them will be any more. */
void cursor_settle(struct cursor *cursor, bool all);

/* What to ask for when it is joined again. */
void cursor_resume_point(const struct cursor *cursor, uint64_t *ret_next, uint64_t *ret_log);
