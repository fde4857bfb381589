/* line.h - newline-framed commands out of a stream that many write to.
 *
 * A line over the cap is dropped whole. Pure: the clock is the caller's.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "protocol/text.h"

/* A write of at most PIPE_BUF bytes is never mixed with another one's, pipe(7). */
#define LINE_CAP 4096

struct line_reader {
	size_t len;
	bool is_skipping; /* the rest of a line over the cap */
	char buffer[LINE_CAP];
};

/* LINE has no LF and no CR before it; it is borrowed. */
typedef void line_fn(void *userdata, struct text line);

/* Take LEN bytes; call FN for each line that is complete. Returns how many lines
 * were dropped for being over the cap. */
unsigned line_feed(
	struct line_reader *reader, const char *data, size_t len, line_fn *fn, void *userdata);

/* Is there half a line? */
bool line_is_partial(const struct line_reader *reader);

/* Forget it. */
void line_drop(struct line_reader *reader);
