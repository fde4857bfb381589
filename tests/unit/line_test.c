/* line_test.c - commands out of a stream, wherever the reads cut it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "broker/line.h"
#include "protocol/base.h"

struct lines {
	char data[4 * LINE_CAP];
	size_t len;
	unsigned n_lines;
};

/* "<" LINE ">" */
static void lines_add(void *userdata, struct text line)
{
	struct lines *lines = userdata;

	lines->len += (size_t)snprintf(lines->data + lines->len, sizeof lines->data - lines->len,
		"<%.*s>", (int)line.len, line.data);
	lines->n_lines++;
}

static void test_streams(void **state)
{
	static const struct {
		const char *stream, *lines;
		bool partial;
	} table[] = {
		{ "", "", false },
		{ "STOP\n", "<STOP>", false },
		{ "STOP", "", true },
		{ "\n", "<>", false },
		{ "\n\n", "<><>", false },
		{ "STOP now\nSTATS\n", "<STOP now><STATS>", false },
		{ "STOP\r\n", "<STOP>", false },
		{ "\r\n", "<>", false },
		{ "a\r\r\n", "<a\r>", false },
		{ "a\rb\n", "<a\rb>", false },
		{ "a\nb", "<a>", true },
		{ " a \n", "< a >", false },
	};

	for (size_t i = 0; i < ARRAY_LEN(table); i++)
		for (size_t piece = 1; piece <= 8; piece++) {
			struct line_reader reader = { 0 };
			struct lines lines = { .len = 0 };
			size_t len = strlen(table[i].stream), n;

			for (size_t at = 0; at < len; at += n) {
				n = MIN(piece, len - at);
				assert_int_equal(line_feed(&reader, table[i].stream + at, n,
							 lines_add, &lines),
					0);
			}
			assert_string_equal(lines.data, table[i].lines);
			assert_int_equal(line_is_partial(&reader), table[i].partial);
		}
}

/* A line of exactly the cap, one more, and what comes after. */
static void test_cap(void **state)
{
	static char stream[3 * LINE_CAP];

	for (size_t extra = 0; extra < 3; extra++)
		for (size_t piece = 1; piece < sizeof stream; piece = piece * 3 + 1) {
			struct line_reader reader = { 0 };
			static struct lines lines;
			size_t len = LINE_CAP + extra, n;
			unsigned n_dropped = 0;

			lines = (struct lines){ .len = 0 };
			memset(stream, 'x', len);
			strcpy(stream + len, "\nSTATS\n");
			len += 7;
			for (size_t at = 0; at < len; at += n) {
				n = MIN(piece, len - at);
				n_dropped += line_feed(&reader, stream + at, n, lines_add, &lines);
			}
			assert_int_equal(n_dropped, extra > 0);
			assert_int_equal(lines.n_lines, extra > 0 ? 1 : 2);
			assert_string_equal(lines.data + lines.len - 7, "<STATS>");
			assert_int_equal(lines.len, extra > 0 ? 7 : LINE_CAP + 2 + 7);
			assert_false(line_is_partial(&reader));
		}
}

/* Half a line is forgotten, also one that was too long already. */
static void test_drop(void **state)
{
	struct line_reader reader = { 0 };
	struct lines lines = { .len = 0 };
	static char stream[LINE_CAP + 1];

	line_feed(&reader, "STO", 3, lines_add, &lines);
	assert_true(line_is_partial(&reader));
	line_drop(&reader);
	assert_false(line_is_partial(&reader));
	line_feed(&reader, "WHO\n", 4, lines_add, &lines);
	assert_string_equal(lines.data, "<WHO>");

	memset(stream, 'x', sizeof stream);
	assert_int_equal(line_feed(&reader, stream, sizeof stream, lines_add, &lines), 1);
	assert_true(line_is_partial(&reader));
	line_drop(&reader);
	line_feed(&reader, "WHO\n", 4, lines_add, &lines);
	assert_string_equal(lines.data, "<WHO><WHO>");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_streams),
		cmocka_unit_test(test_cap),
		cmocka_unit_test(test_drop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
