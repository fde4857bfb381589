/* lines.h - standard input, cut into lines that fit one message.
 *
 * Bounded: a line that is too long is dropped while it is read and reported once.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "protocol/limits.h"
#include "protocol/text.h"

struct lines {
	int fd; /* borrowed */
	bool eof, dropping;
	uint64_t number; /* of the line that lines_next() returned last, from 1 */
	size_t start, end, searched;
	char buffer[BODY_LEN_MAX + 2]; /* the longest body and its CR LF */
};

#define LINES_NONE 1 /* read more first; or, at eof, there is no more */
#define LINES_LONG 2 /* line NUMBER was over BODY_LEN_MAX bytes */

void lines_init(struct lines *lines, int fd);

/* The next line, less its LF or CR LF; borrowed until lines_fill(). The last one
 * may lack its LF. Returns 0, LINES_NONE or LINES_LONG. */
int lines_next(struct lines *lines, struct text *ret_line);

/* Read once, after LINES_NONE; it blocks if nothing is there. Errors: those of
 * read(2), not -EINTR. */
int lines_fill(struct lines *lines);
