/* trace.h - diagnostics: one line each on stderr, key=value, rate limited.
 *
 * Writing never blocks and never fails the broker: a line that has no room is
 * counted and told of later. Everything is escaped; lines come from one place,
 * where the decision is made. chat-broker(8), section DIAGNOSTICS.
 */
#pragma once

#include <stdbool.h>

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
