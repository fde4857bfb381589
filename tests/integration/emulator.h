/* emulator.h - what a terminal makes of the bytes it is sent: a screen and what has
 * scrolled off it. As much of xterm as readline asks for; anything else is noted in
 * unknown, for the test to fail on. Pure: no process, no descriptor. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define COLUMNS_MAX 200u
#define ROWS_MAX    60u

struct row {
	bool wraps;                 /* the text goes on in the next row */
	uint32_t cell[COLUMNS_MAX]; /* characters; 0: nothing, or the rest of a wide one */
};

struct emulator {
	unsigned columns, rows;
	unsigned x, y;    /* the cursor, from 0 */
	bool is_wrapping; /* the last column was written: the next character goes below */
	bool reflows;     /* lines are broken anew at a new width, unlike in xterm */
	bool pastes;      /* bracketed paste is on */
	struct row row[ROWS_MAX];
	char *past; /* what has scrolled off, UTF-8; owned */
	size_t past_len;
	char *text;        /* of emulator_text(); owned */
	char sequence[32]; /* that is not complete yet */
	size_t sequence_len;
	unsigned n_wraps; /* rows that it went on in by itself, at the left edge */
	char unknown[64]; /* the first sequence that it does not know, readable */
};

void emulator_init(struct emulator *emulator, unsigned columns, unsigned rows, bool reflows);
void emulator_deinit(struct emulator *emulator);

void emulator_put(struct emulator *emulator, const char *bytes, size_t len);
void emulator_resize(struct emulator *emulator, unsigned columns, unsigned rows);

/* One row, without the blanks at its end; good until the next call with EMULATOR. */
const char *emulator_row(struct emulator *emulator, unsigned y);

/* The screen, or all there was since the start: a line of text is one line, in
 * however many rows it stands. Ends with LF; blank rows at the bottom are left out. */
const char *emulator_screen(struct emulator *emulator);
const char *emulator_text(struct emulator *emulator);
