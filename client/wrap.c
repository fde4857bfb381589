/* wrap.c - see wrap.h.
 *
 * The row is written word by word: the last word is held back until it is known to fit, since it
 * goes to the next row otherwise. Text never relies on the terminal's behaviour at the last column,
 * which differs: a row has at most as many columns as the terminal, and then a line feed.
 */
#include "client/wrap.h"

#include <string.h>

#include "client/width.h"
#include "protocol/base.h"

void wrap_init(struct wrap *wrap, FILE *out, unsigned columns, unsigned flags)
{
	wrap->out = out;
	wrap->columns = columns;
	wrap->flags = flags;
	wrap->is_cut = wrap->is_full = wrap->has_space = false;
	wrap->column = wrap->n_marks = wrap->word_columns = 0;
	wrap->word_len = 0;
}

static unsigned wrap_indent(const struct wrap *wrap)
{
	return MIN(MAX(wrap->columns / 3, 1u), (unsigned)WRAP_INDENT_MAX);
}

static bool wrap_has_rows(const struct wrap *wrap)
{
	return !wrap->is_cut && wrap->columns > 1;
}

static void wrap_end_word(struct wrap *wrap)
{
	fwrite(wrap->word, 1, wrap->word_len, wrap->out);
	wrap->word_len = 0;
	wrap->word_columns = 0;
	wrap->has_space = false;
}

static void wrap_end_line(struct wrap *wrap)
{
	wrap_end_word(wrap);
	putc_unlocked('\n', wrap->out);
	wrap->is_full = false;
	wrap->column = wrap->n_marks = 0;
}

/* Begin a row for N_COLUMNS more. The word moves to it when the row before has a space to end with
 * and the new one has the columns; otherwise the word is broken. */
static void wrap_end_row(struct wrap *wrap, unsigned n_columns)
{
	unsigned indent = wrap_indent(wrap);

	if (!wrap->has_space || indent + wrap->word_columns + n_columns > wrap->columns)
		wrap_end_word(wrap);
	wrap->has_space = false;
	fprintf(wrap->out, "\n%*s", (int)indent, "");
	wrap->column = indent + wrap->word_columns;
}

static void wrap_add(struct wrap *wrap, const char *bytes, size_t len, unsigned n_columns)
{
	if (wrap->word_len + len > sizeof wrap->word)
		wrap_end_word(wrap);
	memcpy(wrap->word + wrap->word_len, bytes, len);
	wrap->word_len += len;
	wrap->word_columns += n_columns;
	wrap->column += n_columns;
}

/* A character of N_COLUMNS. The end of a row takes the place of a space. */
static void wrap_add_character(struct wrap *wrap, const char *bytes, size_t len, unsigned n_columns)
{
	bool is_space = *bytes == ' ';

	if (is_space)
		wrap_end_word(wrap);
	if (wrap->column + n_columns > wrap->columns && !wrap_has_rows(wrap))
		wrap->is_full = true;
	if (wrap->is_full)
		return;
	if (wrap->column + n_columns > wrap->columns) {
		wrap_end_row(wrap, n_columns);
		if (is_space)
			return;
	}
	wrap_add(wrap, bytes, len, n_columns);
	if (is_space) {
		wrap_end_word(wrap);
		wrap->has_space = true;
	}
}

/* As text_escape() shows a byte. */
static void wrap_add_escaped(struct wrap *wrap, const char *bytes, size_t len)
{
	static const char hex[] = "0123456789abcdef";

	for (size_t i = 0; i < len; i++) {
		unsigned char byte = (unsigned char)bytes[i];
		const char shown[] = { '\\', 'x', hex[byte >> 4], hex[byte & 15] };

		for (size_t k = 0; k < sizeof shown; k++)
			wrap_add_character(wrap, &shown[k], 1, 1);
	}
}

/* The columns of a row that text can have. */
static unsigned wrap_room(const struct wrap *wrap)
{
	return wrap_has_rows(wrap) ? wrap->columns - wrap_indent(wrap) : wrap->columns;
}

static void wrap_put_character(struct wrap *wrap, const char *bytes, size_t len, uint32_t c)
{
	unsigned n_columns = width_of(c, wrap->flags);

	wrap->n_marks = width_is_mark(c) ? wrap->n_marks + 1 : 0;
	if (wrap->n_marks > WRAP_MARKS_MAX || n_columns > wrap_room(wrap))
		wrap_add_escaped(wrap, bytes, len);
	else
		wrap_add_character(wrap, bytes, len, n_columns);
}

/* The length of the colour sequence at the start of TEXT, or 0. */
static size_t colour_len(struct text text)
{
	size_t n = 2;

	if (text.len < 3 || memcmp(text.data, "\033[", 2) != 0)
		return 0;
	while (n < text.len &&
		((text.data[n] >= '0' && text.data[n] <= '9') || text.data[n] == ';'))
		n++;
	return n < text.len && text.data[n] == 'm' ? n + 1 : 0;
}

void wrap_put(struct wrap *wrap, struct text text)
{
	while (text.len > 0) {
		uint32_t c = 0;
		size_t n = colour_len(text);

		if (n > 0) {
			wrap_add(wrap, text.data, n, 0);
		} else if (*text.data == '\n') {
			n = 1;
			wrap_end_line(wrap);
		} else {
			n = MAX(text_decode(text, &c), (size_t)1);
			if (c < 0x20 || (c >= 0x7f && c < 0xa0))
				wrap_add_escaped(wrap, text.data, n);
			else
				wrap_put_character(wrap, text.data, n, c);
		}
		text.data += n;
		text.len -= n;
	}
	wrap_end_word(wrap);
}

void wrap_put_row(FILE *out, unsigned columns, unsigned flags, struct text text)
{
	struct wrap wrap;

	wrap_init(&wrap, out, columns, flags);
	wrap.is_cut = true;
	wrap_put(&wrap, text);
}
