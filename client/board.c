/* board.c - see board.h. */
#include "client/board.h"

#include <inttypes.h>
#include <string.h>

#include "client/ask.h"
#include "client/render.h"
#include "protocol/base.h"
#include "protocol/number.h"

/* Room for one cell. */
#define CELL_MAX 80

/* Of a limit, percent: less is not worth a word. */
#define FULL_MIN 10

/* ---- rows ---- */

/* Each has the words that come before its key=value words, and what it is sorted by. */
static const struct {
	const char *json;
	const char *words[3]; /* "" ends them */
	const char *keys[BOARD_KEYS];
} kinds[] = {
	[BOARD_USERS] = { "users", { "name", "uid", "" },
		{ "rate=", "said=", "log_bytes=", "connections=" } },
	[BOARD_SESSIONS] = { "sessions", { "name", "uid", "" },
		{ "behind=", "blocked=", "held=", "rate=" } },
	[BOARD_ROOMS] = { "rooms", { "room", "", "" }, { "bytes=", "rate=", "readers=", "next=" } },
};
_Static_assert(ARRAY_LEN(kinds) == BOARD_SECTIONS, "every section has a row");

/* The number in VALUE, or before its '/'. */
static bool value_number(struct text value, uint64_t *ret_number)
{
	const char *slash = memchr(value.data, '/', value.len);

	if (slash)
		value.len = (size_t)(slash - value.data);
	return number_parse(value, ret_number);
}

static uint64_t row_number(struct text row, const char *key)
{
	uint64_t number = 0;

	(void)value_number(row_value(row, key), &number);
	return number;
}

void board_clear(struct board *board)
{
	board->n_counters = 0;
	for (int i = 0; i < BOARD_SECTIONS; i++)
		board->lists[i].n_rows = 0;
}

void board_count(struct board *board, struct text row)
{
	struct board_counter *counter = &board->counters[board->n_counters];
	struct text name = row_word(&row);

	if (board->n_counters == BOARD_COUNTERS_MAX || name.len >= sizeof counter->name ||
		!number_parse(row_word(&row), &counter->value))
		return;
	memcpy(counter->name, name.data, name.len);
	counter->name[name.len] = '\0';
	board->n_counters++;
}

uint64_t board_counter(const struct board *board, const char *name)
{
	for (size_t i = 0; i < board->n_counters; i++)
		if (strcmp(board->counters[i].name, name) == 0)
			return board->counters[i].value;
	return 0;
}

static bool key_is_above(const uint64_t *a, const uint64_t *b)
{
	for (int i = 0; i < BOARD_KEYS; i++)
		if (a[i] != b[i])
			return a[i] > b[i];
	return false;
}

void board_add(struct board *board, enum board_section section, struct text row)
{
	struct board_list *list = &board->lists[section];
	uint64_t key[BOARD_KEYS];
	size_t at = list->n_rows;

	for (int i = 0; i < BOARD_KEYS; i++)
		key[i] = row_number(row, kinds[section].keys[i]);
	while (at > 0 && key_is_above(key, list->rows[at - 1].key))
		at--;
	if (at == BOARD_ROWS_MAX)
		return;
	if (list->n_rows < BOARD_ROWS_MAX)
		list->n_rows++;
	memmove(&list->rows[at + 1], &list->rows[at],
		(list->n_rows - 1 - at) * sizeof list->rows[0]);
	memcpy(list->rows[at].key, key, sizeof key);
	list->rows[at].len = MIN(row.len, (size_t)BOARD_ROW_LEN_MAX);
	memcpy(list->rows[at].data, row.data, list->rows[at].len);
}

/* ---- cells ---- */

/* Counts in thousands, bytes in units of 1024: four digits at the most. */
static void cell_scaled(char *cell, uint64_t value, uint64_t unit)
{
	static const char letters[] = " kMGTPE";
	double scaled = (double)value;
	int i = 0;

	for (; scaled >= (double)unit && i < 6; i++)
		scaled /= (double)unit;
	if (i == 0)
		snprintf(cell, CELL_MAX, "%" PRIu64, value);
	else
		snprintf(cell, CELL_MAX, scaled < 9.95 ? "%.1f%c" : "%.0f%c", scaled, letters[i]);
}

static void cell_bytes(char *cell, uint64_t value)
{
	cell_scaled(cell, value, 1024);
}

static void cell_count(char *cell, uint64_t value)
{
	if (value < 100000)
		snprintf(cell, CELL_MAX, "%" PRIu64, value);
	else
		cell_scaled(cell, value, 1000);
}

static void cell_time(char *cell, uint64_t ms)
{
	uint64_t s = ms / 1000;

	if (ms == 0)
		snprintf(cell, CELL_MAX, "-");
	else if (ms < 1000)
		snprintf(cell, CELL_MAX, "%" PRIu64 "ms", ms);
	else if (s < 60)
		snprintf(cell, CELL_MAX, "%" PRIu64 ".%" PRIu64 "s", s, ms / 100 % 10);
	else if (s < 3600)
		snprintf(cell, CELL_MAX, "%" PRIu64 "m%02" PRIu64 "s", s / 60, s % 60);
	else if (s < 86400)
		snprintf(cell, CELL_MAX, "%" PRIu64 "h%02" PRIu64 "m", s / 3600, s / 60 % 60);
	else
		snprintf(cell, CELL_MAX, "%" PRIu64 "d%02" PRIu64 "h", s / 86400, s / 3600 % 24);
}

/* As it is, but printable. */
static void cell_word(char *cell, struct text word)
{
	size_t len = MIN(word.len, (size_t)CELL_MAX - 1);

	for (size_t i = 0; i < len; i++)
		cell[i] = word.data[i] > ' ' && word.data[i] < 0x7f ? word.data[i] : '?';
	cell[len] = '\0';
}

/* The limit that the user is nearest to, "connections 94%"; "-" far from all. */
static void cell_fullest(char *cell, struct text row)
{
	uint64_t most = FULL_MIN - 1;

	snprintf(cell, CELL_MAX, "-");
	while (row.len > 0) {
		struct text word = row_word(&row), limit;
		const char *equals = memchr(word.data, '=', word.len);
		const char *slash = memchr(word.data, '/', word.len);
		uint64_t used, max;

		if (!equals || !slash || slash < equals)
			continue;
		limit = (struct text){ slash + 1, (size_t)(word.data + word.len - slash - 1) };
		if (!number_parse(
			    (struct text){ equals + 1, (size_t)(slash - equals - 1) }, &used) ||
			!number_parse(limit, &max) || max == 0)
			continue;
		/* a rate can be a little above its limit for a second */
		used = (uint64_t)((double)MIN(used, max) * 100 / (double)max);
		if (used <= most)
			continue;
		most = used;
		word.len = MIN((size_t)(equals - word.data), (size_t)16);
		cell_word(cell, word);
		snprintf(cell + strlen(cell), CELL_MAX - strlen(cell), " %" PRIu64 "%%", used);
	}
}

/* Who a row is of: "nick(alice)", of a session with its number; a room's name. */
static void cell_who(char *cell, enum board_section section, struct text row)
{
	struct text rest = row, name = row_word(&rest), of = row_value(rest, "of=");
	char word[CELL_MAX], more[CELL_MAX] = "";
	uint64_t number = row_number(rest, "number=");

	cell_word(word, name);
	if (of.len > 0)
		cell_word(more, of);
	if (section != BOARD_SESSIONS) {
		snprintf(cell, CELL_MAX, "%s", word);
	} else if (text_equal(name, TEXT("-"))) { /* it has no name yet */
		cell_word(more, row_word(&rest));
		snprintf(cell, CELL_MAX, "uid %.10s #%" PRIu64, more, number);
	} else {
		snprintf(cell, CELL_MAX, "%.32s%s%.20s%s #%" PRIu64, word, *more ? "(" : "", more,
			*more ? ")" : "", number);
	}
}

/* ---- columns ---- */

enum form {
	FORM_COUNT,
	FORM_BEHIND, /* a count, and whether there is more */
	FORM_BYTES,
	FORM_TIME,
	FORM_WORD,
	FORM_KEPT, /* messages from first= to next= */
	FORM_FULLEST,
};

struct column {
	const char *title;
	const char *key;
	enum form form;
	int width; /* words stand on the left of it, numbers on the right */
};

#define COLUMNS_MAX 9

/* Behind who it is of, those that matter most first: what does not fit is left out. */
static const struct {
	const char *title;
	struct column columns[COLUMNS_MAX];
} tables[] = {
	[BOARD_USERS] = { "USER",
		{
			{ "MSG/S", "rate=", FORM_COUNT, 6 },
			{ "SLOWED", "slowed=", FORM_COUNT, 6 },
			{ "SAID", "said=", FORM_COUNT, 6 },
			{ "LOG", "log_bytes=", FORM_BYTES, 5 },
			{ "HELD", "bytes=", FORM_BYTES, 5 },
			{ "CONNS", "connections=", FORM_COUNT, 5 },
			{ "CURSORS", "cursors=", FORM_COUNT, 7 },
			{ "FULLEST", NULL, FORM_FULLEST, 16 },
			{ "ROOMS", "rooms=", FORM_COUNT, 5 },
		} },
	[BOARD_SESSIONS] = { "SESSION",
		{
			{ "BEHIND", "behind=", FORM_BEHIND, 6 },
			{ "IN", "room=", FORM_WORD, 14 },
			{ "BLOCKED", "blocked=", FORM_TIME, 7 },
			{ "HELD", "held=", FORM_BYTES, 5 },
			{ "WAITS", "waits=", FORM_WORD, 7 },
			{ "MSG/S", "rate=", FORM_COUNT, 6 },
			{ "SENT", "delivered=", FORM_COUNT, 6 },
			{ "PID", "pid=", FORM_WORD, 7 },
			{ "SAID", "said=", FORM_COUNT, 6 },
		} },
	[BOARD_ROOMS] = { "ROOM",
		{
			{ "BYTES", "bytes=", FORM_BYTES, 6 },
			{ "MSG/S", "rate=", FORM_COUNT, 6 },
			{ "MESSAGES", NULL, FORM_KEPT, 8 },
			{ "READERS", "readers=", FORM_COUNT, 7 },
			{ "OWNER", "owner=", FORM_WORD, 10 },
		} },
};
_Static_assert(ARRAY_LEN(tables) == BOARD_SECTIONS, "every section has columns");

/* Of who it is of: as much as is left over, within these. */
#define WHO_WIDTH_MIN 14
#define WHO_WIDTH_MAX 40

static bool row_has(struct text row, struct text word)
{
	while (row.len > 0)
		if (text_equal(row_word(&row), word))
			return true;
	return false;
}

static void cell_make(char *cell, const struct column *column, struct text row)
{
	uint64_t first, next;

	switch (column->form) {
	case FORM_COUNT:
		cell_count(cell, row_number(row, column->key));
		break;
	case FORM_BEHIND:
		cell_count(cell, row_number(row, column->key));
		if (row_has(row, TEXT("more")))
			strcat(cell, "+");
		break;
	case FORM_BYTES:
		cell_bytes(cell, row_number(row, column->key));
		break;
	case FORM_TIME:
		cell_time(cell, row_number(row, column->key));
		break;
	case FORM_WORD:
		cell_word(cell, row_value(row, column->key));
		break;
	case FORM_KEPT:
		first = row_number(row, "first=");
		next = row_number(row, "next=");
		cell_count(cell, next > first ? next - first : 0);
		break;
	case FORM_FULLEST:
		cell_fullest(cell, row);
		break;
	}
}

/* How many of a section's columns fit, and what is left for who it is of. */
static size_t columns_fit(enum board_section section, unsigned n_columns, int *ret_who_width)
{
	int left = (int)n_columns - WHO_WIDTH_MIN;
	size_t n = 0;

	for (; n < COLUMNS_MAX && tables[section].columns[n].title; n++) {
		if (left < tables[section].columns[n].width + 1)
			break;
		left -= tables[section].columns[n].width + 1;
	}
	*ret_who_width = MIN(WHO_WIDTH_MIN + MAX(left, 0), WHO_WIDTH_MAX);
	return n;
}

/* Put CELL behind what is in LINE, in WIDTH columns; words that are cut show it. */
static void line_add(char *line, const char *cell, int width, bool is_word)
{
	bool is_cut = (int)strlen(cell) > width;

	line += strlen(line);
	if (is_word)
		sprintf(line, "%-*.*s", width, width, cell);
	else
		sprintf(line, "%*.*s", width, width, cell);
	if (is_cut && is_word)
		line[width - 1] = '+';
}

/* One line without its end: titles when ROW has no data. */
static void line_put(FILE *out, enum board_section section, unsigned n_columns, struct text row)
{
	char cell[CELL_MAX], line[(COLUMNS_MAX + 1) * (CELL_MAX + 1)] = "";
	int who_width;
	size_t n = columns_fit(section, n_columns, &who_width), len;

	if (row.data)
		cell_who(cell, section, row);
	else
		snprintf(cell, sizeof cell, "%s", tables[section].title);
	line_add(line, cell, who_width, true);
	for (size_t i = 0; i < n; i++) {
		const struct column *column = &tables[section].columns[i];

		if (row.data)
			cell_make(cell, column, row);
		else
			snprintf(cell, sizeof cell, "%s", column->title);
		strcat(line, " ");
		line_add(line, cell, column->width,
			column->form == FORM_WORD || column->form == FORM_FULLEST);
	}
	for (len = MIN(strlen(line), (size_t)n_columns); len > 0 && line[len - 1] == ' ';)
		len--;
	fwrite(line, 1, len, out);
}

/* ---- the page ---- */

/* How many rows of each section there is room for: a third of it for each, and what one
 * does not need for the others. A section is its title, with an empty line before. */
static void rows_share(
	const struct board *board, unsigned n_lines, unsigned n_rows[static BOARD_SECTIONS])
{
	unsigned n_sections = MIN(n_lines / 3, (unsigned)BOARD_SECTIONS), left;

	left = n_lines - 2 * n_sections;
	for (unsigned i = 0; i < BOARD_SECTIONS; i++)
		n_rows[i] = 0;
	for (bool more = n_sections > 0; more && left > 0;) {
		more = false;
		for (unsigned i = 0; i < n_sections && left > 0; i++)
			if (n_rows[i] < board->lists[i].n_rows) {
				n_rows[i]++;
				left--;
				more = true;
			}
	}
}

static void print_section(FILE *out, const struct board *board, enum board_section section,
	unsigned n_columns, unsigned n_rows, const char *line_break, bool bold)
{
	const struct board_list *list = &board->lists[section];

	fprintf(out, "%s%s%s", line_break, line_break, bold ? "\033[1m" : "");
	line_put(out, section, n_columns, (struct text){ NULL, 0 });
	fputs(bold ? "\033[0m" : "", out);
	for (unsigned i = 0; i < n_rows; i++) {
		fputs(line_break, out);
		line_put(out, section, n_columns,
			(struct text){ list->rows[i].data, list->rows[i].len });
	}
}

/* The broker in two lines. */
static void print_sums(
	FILE *out, const struct board *board, unsigned n_columns, const char *line_break)
{
	char line[640], said[CELL_MAX], sent[CELL_MAX], used[CELL_MAX], limit[CELL_MAX],
		up[CELL_MAX];
	uint64_t bytes = board_counter(board, "log_bytes");
	uint64_t max = board_counter(board, "log_bytes_limit");

	cell_count(said, board_counter(board, "appended_rate"));
	cell_count(sent, board_counter(board, "delivered_rate"));
	cell_bytes(used, bytes);
	cell_bytes(limit, max);
	cell_time(up, board_counter(board, "uptime_s") * 1000);
	snprintf(line, sizeof line,
		"%s messages/s, %s deliveries/s, %" PRIu64 " sessions of %" PRIu64 " people", said,
		sent, board_counter(board, "sessions"), board_counter(board, "persons"));
	fprintf(out, "%.*s%s", (int)n_columns, line, line_break);
	snprintf(line, sizeof line,
		"logs %s of %s (%.0f%%), %" PRIu64 " rooms, %" PRIu64 " cursors, up %s", used,
		limit, max > 0 ? (double)bytes * 100 / (double)max : 0,
		board_counter(board, "rooms"), board_counter(board, "cursors"), up);
	fprintf(out, "%.*s", (int)n_columns, line);
}

void board_print(FILE *out, const struct board *board, unsigned n_columns, unsigned n_lines,
	const char *line_break, bool bold)
{
	unsigned n_rows[BOARD_SECTIONS];

	n_lines = MAX(n_lines, (unsigned)BOARD_LINES_MIN);
	print_sums(out, board, n_columns, line_break);
	n_lines -= BOARD_LINES_MIN;
	rows_share(board, n_lines, n_rows);
	for (unsigned i = 0; i < MIN(n_lines / 3, (unsigned)BOARD_SECTIONS); i++)
		print_section(
			out, board, (enum board_section)i, n_columns, n_rows[i], line_break, bold);
}

/* ---- JSON ---- */

/* Is it a number only by accident: a room may be called 42. */
static bool key_is_name(struct text key)
{
	return text_equal(key, TEXT("name")) || text_equal(key, TEXT("of")) ||
	       text_equal(key, TEXT("room"));
}

/* "key":value; of "used/limit" it is the first. */
static void json_value(FILE *out, struct text key, struct text value)
{
	uint64_t number;

	render_json_text(out, key);
	putc(':', out);
	if (!key_is_name(key) && value_number(value, &number))
		fprintf(out, "%" PRIu64, number);
	else
		render_json_text(out, value);
}

/* And "key_limit" is the second. */
static void json_limit(FILE *out, struct text key, struct text value)
{
	const char *slash = memchr(value.data, '/', value.len);
	char name[64];

	if (!slash || key_is_name(key) || key.len > 32)
		return;
	snprintf(name, sizeof name, "%.*s_limit", (int)key.len, key.data);
	value.len -= (size_t)(slash + 1 - value.data);
	value.data = slash + 1;
	putc(',', out);
	json_value(out, text_of(name), value);
}

static void json_row(FILE *out, enum board_section section, struct text row)
{
	const char *comma = "";

	putc('{', out);
	for (int i = 0; *kinds[section].words[i]; i++) {
		struct text word = row_word(&row);

		if (text_equal(word, TEXT("-"))) /* of nobody in particular */
			continue;
		fputs(comma, out);
		json_value(out, text_of(kinds[section].words[i]), word);
		comma = ",";
	}
	while (row.len > 0) {
		struct text word = row_word(&row);
		const char *equals = memchr(word.data, '=', word.len);
		size_t len = equals ? (size_t)(equals - word.data) : word.len;

		fputs(comma, out);
		if (equals) {
			struct text key = { word.data, len };
			struct text value = { equals + 1, word.len - len - 1 };

			json_value(out, key, value);
			json_limit(out, key, value);
		} else {
			render_json_text(out, word);
			fputs(":true", out);
		}
		comma = ",";
	}
	putc('}', out);
}

void board_print_json(FILE *out, const struct board *board)
{
	fputs("{\"counters\":{", out);
	for (size_t i = 0; i < board->n_counters; i++) {
		fputs(i > 0 ? "," : "", out);
		render_json_text(out, text_of(board->counters[i].name));
		fprintf(out, ":%" PRIu64, board->counters[i].value);
	}
	putc('}', out);
	for (int i = 0; i < BOARD_SECTIONS; i++) {
		const struct board_list *list = &board->lists[i];

		fprintf(out, ",\"%s\":[", kinds[i].json);
		for (size_t k = 0; k < list->n_rows; k++) {
			fputs(k > 0 ? "," : "", out);
			json_row(out, (enum board_section)i,
				(struct text){ list->rows[k].data, list->rows[k].len });
		}
		putc(']', out);
	}
	fputs("}\n", out);
}
