/* emulator.c - see emulator.h. */
#include "tests/integration/emulator.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include "protocol/base.h"

#define ESC '\033'

void emulator_init(struct emulator *emulator, unsigned columns, unsigned rows, bool reflows)
{
	*emulator = (struct emulator){ .columns = columns, .rows = rows, .reflows = reflows };
}

void emulator_deinit(struct emulator *emulator)
{
	free(emulator->past);
	free(emulator->text);
}

/* ---- text ---- */

static unsigned row_len(const struct row *row, unsigned columns)
{
	unsigned len = columns;

	while (len > 0 && (row->cell[len - 1] == 0 || row->cell[len - 1] == ' '))
		len--;
	return len;
}

static void put_utf8(FILE *out, uint32_t c)
{
	if (c < 0x80) {
		fputc((int)c, out);
	} else if (c < 0x800) {
		fprintf(out, "%c%c", 0xc0 | c >> 6, 0x80 | (c & 63));
	} else if (c < 0x10000) {
		fprintf(out, "%c%c%c", 0xe0 | c >> 12, 0x80 | (c >> 6 & 63), 0x80 | (c & 63));
	} else {
		fprintf(out, "%c%c%c%c", 0xf0 | c >> 18, 0x80 | (c >> 12 & 63),
			0x80 | (c >> 6 & 63), 0x80 | (c & 63));
	}
}

static void put_cells(FILE *out, const struct row *row, unsigned len)
{
	for (unsigned x = 0; x < len; x++) {
		/* nothing behind a wide character is the rest of it */
		if (row->cell[x] == 0 && x > 0 && wcwidth((wchar_t)row->cell[x - 1]) == 2)
			continue;
		put_utf8(out, row->cell[x] ? row->cell[x] : ' ');
	}
}

static void put_row(FILE *out, const struct row *row, unsigned columns)
{
	if (row->wraps && row->cell[columns - 1]) {
		put_cells(out, row, columns);
	} else {
		put_cells(out, row, row_len(row, columns));
		if (!row->wraps)
			fputc('\n', out);
	}
}

const char *emulator_row(struct emulator *emulator, unsigned y)
{
	size_t len;
	FILE *out;

	free(TAKE(emulator->text));
	out = open_memstream(&emulator->text, &len);
	put_cells(out, &emulator->row[y], row_len(&emulator->row[y], emulator->columns));
	fclose(out);
	return emulator->text;
}

static const char *emulator_print(struct emulator *emulator, bool past)
{
	unsigned n = emulator->rows;
	size_t len;
	FILE *out;

	free(TAKE(emulator->text));
	out = open_memstream(&emulator->text, &len);
	if (past && emulator->past)
		fwrite(emulator->past, 1, emulator->past_len, out);
	while (n > 0 && row_len(&emulator->row[n - 1], emulator->columns) == 0)
		n--;
	for (unsigned y = 0; y < n; y++)
		put_row(out, &emulator->row[y], emulator->columns);
	if (n > 0 && emulator->row[n - 1].wraps)
		fputc('\n', out);
	fclose(out);
	return emulator->text;
}

const char *emulator_screen(struct emulator *emulator)
{
	return emulator_print(emulator, false);
}

const char *emulator_text(struct emulator *emulator)
{
	return emulator_print(emulator, true);
}

/* ---- moving ---- */

/* The uppermost row goes where nothing changes it any more. */
static void emulator_scroll(struct emulator *emulator)
{
	char *line = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&line, &len);

	put_row(out, &emulator->row[0], emulator->columns);
	fclose(out);
	emulator->past = realloc(emulator->past, emulator->past_len + len + 1);
	memcpy(emulator->past + emulator->past_len, line, len);
	emulator->past_len += len;
	free(line);
	memmove(emulator->row, emulator->row + 1, (emulator->rows - 1) * sizeof(struct row));
	emulator->row[emulator->rows - 1] = (struct row){ 0 };
}

static void emulator_line_feed(struct emulator *emulator)
{
	emulator->is_wrapping = false;
	if (emulator->y + 1 < emulator->rows)
		emulator->y++;
	else
		emulator_scroll(emulator);
}

static void emulator_wrap(struct emulator *emulator)
{
	emulator->row[emulator->y].wraps = true;
	emulator->n_wraps++;
	emulator->x = 0;
	emulator_line_feed(emulator);
}

static void emulator_print_character(struct emulator *emulator, uint32_t c)
{
	int width = wcwidth((wchar_t)c);
	struct row *row;

	if (width <= 0)
		return; /* combining: not kept */
	if (emulator->is_wrapping || emulator->x + (unsigned)width > emulator->columns)
		emulator_wrap(emulator);
	row = &emulator->row[emulator->y];
	row->cell[emulator->x] = c;
	if (width == 2)
		row->cell[emulator->x + 1] = 0;
	emulator->x += (unsigned)width;
	emulator->is_wrapping = emulator->x == emulator->columns;
	if (emulator->is_wrapping)
		emulator->x--;
}

static void emulator_go(struct emulator *emulator, long x, long y)
{
	emulator->is_wrapping = false;
	emulator->x = (unsigned)MIN(MAX(x, 0L), (long)emulator->columns - 1);
	emulator->y = (unsigned)MIN(MAX(y, 0L), (long)emulator->rows - 1);
}

static void emulator_erase(struct emulator *emulator, unsigned y, unsigned from, unsigned to)
{
	for (unsigned x = from; x < to; x++)
		emulator->row[y].cell[x] = 0;
	if (to == emulator->columns)
		emulator->row[y].wraps = false;
}

static void emulator_erase_line(struct emulator *emulator, long how)
{
	emulator_erase(emulator, emulator->y, how == 0 ? emulator->x : 0,
		how == 1 ? emulator->x + 1 : emulator->columns);
}

static void emulator_erase_display(struct emulator *emulator, long how)
{
	if (how == 0)
		emulator_erase_line(emulator, 0);
	for (unsigned y = how == 0 ? emulator->y + 1 : 0; y < emulator->rows; y++)
		emulator_erase(emulator, y, 0, emulator->columns);
}

static void emulator_insert(struct emulator *emulator, long n, bool deletes)
{
	uint32_t *at = &emulator->row[emulator->y].cell[emulator->x];
	unsigned left = emulator->columns - emulator->x;
	unsigned count = (unsigned)MIN(MAX(n, 1L), (long)left);

	if (deletes) {
		memmove(at, at + count, (left - count) * sizeof(*at));
		memset(at + left - count, 0, count * sizeof(*at));
	} else {
		memmove(at + count, at, (left - count) * sizeof(*at));
		memset(at, 0, count * sizeof(*at));
	}
	emulator->is_wrapping = false;
}

/* ---- sequences ---- */

static void emulator_complain(struct emulator *emulator)
{
	char *end = emulator->unknown + sizeof(emulator->unknown), *at = emulator->unknown;

	if (*emulator->unknown)
		return;
	for (size_t i = 0; i < emulator->sequence_len && at + 5 < end; i++)
		at += sprintf(at, "\\x%02x", (unsigned char)emulator->sequence[i]);
}

/* Those of "CSI ? n h" and l that change nothing here: meta keys, the cursor's look */
static void emulator_mode(struct emulator *emulator, long number, bool on)
{
	if (number == 2004)
		emulator->pastes = on;
	else if (number != 1034 && number != 1 && number != 12 && number != 25)
		emulator_complain(emulator);
}

/* ESC [ parameters final */
static void emulator_control(struct emulator *emulator)
{
	const char *at = emulator->sequence + 2;
	long x = emulator->x, y = emulator->y, first, second = 1, n;
	char final = emulator->sequence[emulator->sequence_len - 1], *end;

	if (*at == '?') {
		n = strtol(at + 1, &end, 10);
		if (final == 'h' || final == 'l')
			emulator_mode(emulator, n, final == 'h');
		else
			emulator_complain(emulator);
		return;
	}
	first = strtol(at, &end, 10);
	if (*end == ';')
		second = strtol(end + 1, &end, 10);
	n = MAX(first, 1L);
	switch (final) {
	case 'A':
		emulator_go(emulator, x, y - n);
		break;
	case 'B':
		emulator_go(emulator, x, y + n);
		break;
	case 'C':
		emulator_go(emulator, x + n, y);
		break;
	case 'D':
		emulator_go(emulator, x - n, y);
		break;
	case 'G':
		emulator_go(emulator, n - 1, y);
		break;
	case 'H':
		emulator_go(emulator, MAX(second, 1L) - 1, n - 1);
		break;
	case 'J':
		emulator_erase_display(emulator, first);
		break;
	case 'K':
		emulator_erase_line(emulator, first);
		break;
	case 'P':
		emulator_insert(emulator, first, true);
		break;
	case '@':
		emulator_insert(emulator, first, false);
		break;
	case 'm':
		break;
	default:
		emulator_complain(emulator);
	}
}

/* A byte of a sequence. False when it is complete. */
static bool emulator_sequence(struct emulator *emulator, unsigned char c)
{
	if (emulator->sequence_len == sizeof(emulator->sequence) - 1) {
		emulator_complain(emulator);
		return false;
	}
	emulator->sequence[emulator->sequence_len++] = (char)c;
	emulator->sequence[emulator->sequence_len] = '\0';
	if (emulator->sequence_len == 2) {
		if (c != '[' && c != '=' && c != '>') /* the latter two: the keypad */
			emulator_complain(emulator);
		return c == '[';
	}
	if (c < 0x40 || c > 0x7e)
		return true;
	emulator_control(emulator);
	return false;
}

/* A byte of a character of several. False when it is complete. */
static bool emulator_utf8(struct emulator *emulator, unsigned char c)
{
	unsigned char lead = (unsigned char)emulator->sequence[0];
	size_t len = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
	uint32_t character = lead & (0x7fu >> len);

	if (lead < 0xc2 || lead > 0xf4 || (emulator->sequence_len > 0 && (c & 0xc0) != 0x80)) {
		emulator_complain(emulator);
		return false;
	}
	emulator->sequence[emulator->sequence_len++] = (char)c;
	if (emulator->sequence_len < len)
		return true;
	for (size_t i = 1; i < len; i++)
		character = character << 6 | ((unsigned char)emulator->sequence[i] & 63);
	emulator_print_character(emulator, character);
	return false;
}

static void emulator_control_character(struct emulator *emulator, unsigned char c)
{
	switch (c) {
	case '\r':
		emulator->x = 0;
		emulator->is_wrapping = false;
		break;
	case '\n':
		emulator_line_feed(emulator);
		break;
	case '\b':
		emulator_go(emulator, (long)emulator->x - 1, emulator->y);
		break;
	case '\t':
		emulator_go(emulator, (long)(emulator->x / 8 + 1) * 8, emulator->y);
		break;
	case '\a':
		break;
	default:
		emulator->sequence[0] = (char)c;
		emulator->sequence_len = 1;
		emulator_complain(emulator);
		emulator->sequence_len = 0;
	}
}

void emulator_put(struct emulator *emulator, const char *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)bytes[i];
		bool more;

		if (emulator->sequence_len > 0 && emulator->sequence[0] == ESC) {
			more = emulator_sequence(emulator, c);
		} else if (emulator->sequence_len > 0 || c >= 0x80) {
			if (emulator->sequence_len == 0)
				emulator->sequence[0] = (char)c;
			more = emulator_utf8(emulator, c);
		} else if (c == ESC) {
			more = emulator_sequence(emulator, c);
		} else {
			if (c < 0x20 || c == 0x7f)
				emulator_control_character(emulator, c);
			else
				emulator_print_character(emulator, c);
			continue;
		}
		if (!more)
			emulator->sequence_len = 0;
	}
}

/* ---- a new size ---- */

/* Print the screen anew at its new width, line by line, and find the cursor again. */
static void emulator_reflow(struct emulator *emulator, const struct emulator *before)
{
	unsigned last = before->rows - 1, x = 0, y = 0;
	bool found = false;

	while (last > before->y && row_len(&before->row[last], before->columns) == 0)
		last--;
	for (unsigned i = 0; i <= last; i++) {
		const struct row *row = &before->row[i];
		unsigned len = row->wraps ? before->columns : row_len(row, before->columns);

		if (i == before->y)
			len = MAX(len, before->x);
		for (unsigned k = 0; k < len; k++) {
			size_t past = emulator->past_len;

			emulator_print_character(emulator, row->cell[k] ? row->cell[k] : ' ');
			if (found && past != emulator->past_len && y > 0)
				y--;
			if (i == before->y && k == before->x) {
				x = emulator->x - !emulator->is_wrapping;
				y = emulator->y;
				found = true;
			}
		}
		if (i == before->y && !found) {
			if (emulator->is_wrapping)
				emulator_wrap(emulator);
			x = emulator->x;
			y = emulator->y;
			found = true;
		}
		if (!row->wraps && i < last) {
			size_t past = emulator->past_len;

			emulator->x = 0;
			emulator_line_feed(emulator);
			if (found && past != emulator->past_len && y > 0)
				y--;
		}
	}
	emulator_go(emulator, x, y);
}

void emulator_resize(struct emulator *emulator, unsigned columns, unsigned rows)
{
	struct emulator *before = malloc(sizeof *before);

	*before = *emulator;
	while (emulator->y >= rows) {
		emulator_scroll(emulator);
		emulator->y--;
	}
	emulator->rows = rows;
	if (columns == emulator->columns) {
		free(before);
		return;
	}
	*before = *emulator;
	emulator->columns = columns;
	if (emulator->reflows) {
		memset(emulator->row, 0, sizeof(emulator->row));
		emulator->x = emulator->y = 0;
		emulator->is_wrapping = false;
		emulator_reflow(emulator, before);
	} else {
		for (unsigned y = 0; y < rows && columns < before->columns; y++)
			emulator_erase(emulator, y, columns, before->columns);
		emulator_go(emulator, emulator->x, emulator->y);
	}
	free(before);
}
