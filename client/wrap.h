/* wrap.h - lines broken into the rows of a terminal.
 *
 * A terminal continues a long line at its left edge, where messages begin: padding would let a
 * sender place a forged message there. So rows are ended here, before the terminal does it, and
 * every row of a line except the first begins with blanks. chat-client(1), What others write.
 *
 * Widths are those of width.h. In one column there is no place for blanks and text: the rest of
 * the line is left out there.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "protocol/text.h"

/* Blanks that begin a row: a third of the columns, at least 1, at most this. */
#define WRAP_INDENT_MAX 6

/* Combining marks on one character; more are shown escaped. */
#define WRAP_MARKS_MAX 4

/* Bytes of a word that can go to the next row as a whole. A longer one is broken at the edge. */
#define WRAP_WORD_MAX 1024

struct wrap {
	FILE *out;             /* borrowed */
	unsigned columns;      /* of the terminal, from 1; may change between calls */
	unsigned flags;        /* WIDTH_ */
	bool is_cut;           /* only the first row of a line is shown */
	bool is_full;          /* the rest of this line is left out */
	bool has_space;        /* the word below follows a space of this row */
	unsigned column;       /* columns of this row that are taken, with the word */
	unsigned n_marks;      /* on the last character */
	unsigned word_columns; /* of the word that is not written yet */
	size_t word_len;
	char word[WRAP_WORD_MAX];
};

void wrap_init(struct wrap *wrap, FILE *out, unsigned columns, unsigned flags);

/* Write TEXT, whose lines end with LF. Bytes that are not UTF-8 and control characters are shown
 * escaped, except LF and the sequences "ESC [ ... m" of our own colours. A call should end at the
 * end of a line: a character must not be split between two calls, a word should not. Errors are
 * those of wrap->out. */
void wrap_put(struct wrap *wrap, struct text text);

/* Write as much of the line TEXT, which has no LF, as one row of COLUMNS shows. */
void wrap_put_row(FILE *out, unsigned columns, unsigned flags, struct text text);
