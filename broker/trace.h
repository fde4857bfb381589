/* trace.h - diagnostics: one line each on stderr, key=value, rate limited.
 *
 * Writing never blocks and never fails the broker: a line that has no room is
 * counted and told of later. Everything is escaped; lines come from one place,
 * where the decision is made. Lines that a client can cause are written on the
 * share of its user, so that one user cannot displace the lines of another.
 * chat-broker(8), section DIAGNOSTICS.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "broker/list.h"
#include "protocol/base.h"
#include "protocol/text.h"

enum trace_level {
	TRACE_ERROR,
	TRACE_WARNING,
	TRACE_INFO,
	TRACE_DEBUG,
};

/* Lines above this level are not written; TRACE_INFO at the start. */
void trace_set_level(enum trace_level level);

/* "error" to "debug". */
bool trace_find_level(struct text name, enum trace_level *ret_level);

/* Write one line: "chat-broker: TEXT" for TRACE_INFO, else with the level's name
 * before TEXT. */
_printf_(2, 3) void trace(enum trace_level level, const char *format, ...);

/* A token bucket, in thousandths of a line. */
struct trace_bucket {
	uint64_t tokens;
	uint64_t at_ms;
};

/* The lines that one source may cause: a user, the FIFO, the listener. Lines above it are
 * left out and counted. The count is written before the next line of the share, or by
 * trace_patience() when no line follows. */
struct trace_share {
	struct list lossy_link; /* in the list of shares whose count is not written yet */
	struct trace_bucket bucket;
	unsigned burst, per_s; /* lines at once; lines a second */
	uint64_t n_lost;
	char source[24]; /* for the line that has the count */
};

/* The share of each user. */
#define TRACE_USER_BURST 10
#define TRACE_USER_PER_S 1

void trace_share_init(struct trace_share *share, unsigned burst, unsigned per_s);
/* The source of SHARE: "uid=1001", cut to fit. */
_printf_(2, 3) void trace_share_name(struct trace_share *share, const char *format, ...);
/* Writes the count that is left. Takes a share that was not initialised, if it is all zero. */
void trace_share_deinit(struct trace_share *share);

/* Write one line, as trace() does, on SHARE. */
_printf_(3, 4) void trace_shared(
	struct trace_share *share, enum trace_level level, const char *format, ...);

/* Write the counts of the shares that have been quiet since they lost lines. Returns the ns
 * until the next one is due, UINT64_MAX when there is none. */
uint64_t trace_patience(void);
