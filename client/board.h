/* board.h - what top shows: the broker's sums, and the rows of STATS and ROOMS that stand
 * out: who floods, who is slow, what fills the memory. chat-client(1), section TOP.
 *
 * Bounded: of any number of rows the first BOARD_ROWS_MAX of each order are kept. Pure:
 * rows go in, lines or one JSON object come out. Nothing that came from elsewhere gets
 * to the terminal but printable ASCII.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "protocol/text.h"

/* Rows that are kept of each section, counters, and the length of one: a longer row is
 * cut, which takes words that say less. */
#define BOARD_ROWS_MAX     64
#define BOARD_COUNTERS_MAX 64
#define BOARD_ROW_LEN_MAX  768

/* The fewest lines that are drawn; a smaller terminal shows a part of them. */
#define BOARD_LINES_MIN 2

enum board_section {
	BOARD_USERS,    /* by messages a second: who floods */
	BOARD_SESSIONS, /* by how far behind, and how long blocked: who is slow */
	BOARD_ROOMS,    /* by bytes: who fills what */
	BOARD_SECTIONS,
};

#define BOARD_KEYS 4

struct board_row {
	uint64_t key[BOARD_KEYS]; /* the highest first */
	size_t len;
	char data[BOARD_ROW_LEN_MAX];
};

struct board {
	size_t n_counters;
	struct board_counter {
		char name[32];
		uint64_t value;
	} counters[BOARD_COUNTERS_MAX];
	struct board_list {
		size_t n_rows; /* that are kept */
		struct board_row rows[BOARD_ROWS_MAX];
	} lists[BOARD_SECTIONS];
};

void board_clear(struct board *board);

/* A row of STATS: "counter value". */
void board_count(struct board *board, struct text row);

/* A row of STATS users, STATS sessions or ROOMS. */
void board_add(struct board *board, enum board_section section, struct text row);

/* The counter of that name, 0 when there is none. */
uint64_t board_counter(const struct board *board, const char *name);

/* Write at most N_LINES lines of at most N_COLUMNS characters, each but the first with a
 * BREAK before it; titles are bold with BOLD, which takes escape sequences. */
void board_print(FILE *out, const struct board *board, unsigned n_columns, unsigned n_lines,
	const char *line_break, bool bold);

/* One object and a line feed. */
void board_print_json(FILE *out, const struct board *board);
