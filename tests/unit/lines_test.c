/* lines_test.c - standard input cut into lines, in pieces of any size. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "client/lines.h"
#include "protocol/base.h"

/* What comes of INPUT, written in pieces of PIECE bytes: lines joined by '|', "!" for
 * one that was too long. */
static char *lines_of(const char *input, size_t len, size_t piece)
{
	struct lines *lines = malloc(sizeof *lines);
	char *result = calloc(1, len + 16), *out = result;
	struct text line;
	int fds[2], r;

	assert_int_equal(pipe(fds), 0);
	assert_non_null(lines);
	lines_init(lines, fds[0]);
	for (;;) {
		while ((r = lines_next(lines, &line)) != LINES_NONE) {
			if (r == LINES_LONG)
				*out++ = '!';
			else
				out = mempcpy(out, line.data, line.len);
			*out++ = '|';
		}
		if (lines->eof)
			break;
		piece = MIN(piece, len);
		if (piece > 0)
			assert_int_equal(write(fds[1], input, piece), piece);
		else
			close(fds[1]);
		input += piece;
		len -= piece;
		assert_int_equal(lines_fill(lines), 0);
	}
	close(fds[0]);
	free(lines);
	return result;
}

static void test_lines(void **state)
{
	static const struct {
		const char *input, *wanted;
	} table[] = {
		{ "", "" },
		{ "\n", "|" },
		{ "\n\n", "||" },
		{ "one", "one|" },
		{ "one\n", "one|" },
		{ "one\r\n", "one|" },
		{ "one\r", "one\r|" },
		{ "o\rne\n", "o\rne|" },
		{ "one\ntwo\n\nthree", "one|two||three|" },
	};

	for (size_t i = 0; i < ARRAY_LEN(table); i++)
		for (size_t piece = 1; piece < 20; piece++) {
			char *lines = lines_of(table[i].input, strlen(table[i].input), piece);

			assert_string_equal(lines, table[i].wanted);
			free(lines);
		}
}

static void test_long_lines(void **state)
{
	static const size_t lengths[] = { BODY_LEN_MAX - 1, BODY_LEN_MAX, BODY_LEN_MAX + 1,
		BODY_LEN_MAX + 2, BODY_LEN_MAX + 3, 3 * BODY_LEN_MAX };
	static char input[3 * BODY_LEN_MAX + 16];

	for (size_t i = 0; i < ARRAY_LEN(lengths) * 2; i++) {
		size_t len = lengths[i / 2];
		bool is_long = len > BODY_LEN_MAX;
		char *lines;

		memset(input, 'x', len);
		strcpy(input + len, i % 2 ? "\r\nnext\n" : "\nnext");
		lines = lines_of(input, strlen(input), 4096);
		assert_int_equal(strlen(lines), is_long ? 7 : len + 6);
		assert_string_equal(lines + (is_long ? 0 : len), is_long ? "!|next|" : "|next|");
		free(lines);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_long_lines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
