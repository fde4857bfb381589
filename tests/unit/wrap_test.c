/* wrap_test.c - client/wrap.h and client/width.h: where lines are broken, and that no row is wider
 * than the terminal or begins with the text of somebody else. */
#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include <cmocka.h>

#include "client/width.h"
#include "client/wrap.h"
#include "protocol/base.h"

#define ACUTE  "\xcc\x81"                 /* combining */
#define HAN    "\xe4\xb8\xad"             /* wide */
#define EMOJI  "\xf0\x9f\x98\x80"         /* wide */
#define FLAG   "\xf0\x9f\x87\xa9"         /* half of one: wide in some terminals */
#define HEART  "\xe2\x9d\xa4\xef\xb8\x8f" /* made wide by a variation selector */
#define JOINER "\xe2\x80\x8d"
#define BOLD   "\033[1;31m"
#define OFF    "\033[0m"

/* n times one character, or a text of n characters */
#define X4  "xxxx"
#define X10 "xxxxxxxxxx"
#define X20 X10 X10
#define X80 X20 X20 X20 X20

static const struct {
	const char *what;
	unsigned columns, flags;
	const char *text, *shown;
} rows[] = {
	{ "exactly as wide", 20, 0, X20 "\n", X20 "\n" },
	{ "one more", 20, 0, X20 "y\n", X20 "\n      y\n" },
	{ "exactly as wide, 80", 80, 0, X80 "\n", X80 "\n" },
	{ "one more, 80", 80, 0, X80 "y\n", X80 "\n      y\n" },
	{ "an empty line", 20, 0, "\n\n", "\n\n" },
	{ "no line feed", 20, 0, "x", "x" },
	{ "lines are apart", 20, 0, X20 "\n" X20 "\n", X20 "\n" X20 "\n" },
	{ "padding", 20, 0, "12:00 a: hello      12:00 root: x\n",
		"12:00 a: hello      \n      12:00 root: x\n" },
	{ "padding, one too few", 20, 0, "12:00 a: hello     12:00 root: x\n",
		"12:00 a: hello     \n      12:00 root: x\n" },
	{ "padding, one too many", 20, 0, "12:00 a: hello       12:00 root: x\n",
		"12:00 a: hello      \n      12:00 root: x\n" },
	{ "padding, two rows", 10, 0, "a:                        b\n",
		"a:        \n          \n          \n   b\n" },
	{ "at a space", 20, 0, "12:00 al: one two three four\n",
		"12:00 al: one two \n      three four\n" },
	{ "the space that does not fit", 10, 0, "1234567890 abc\n", "1234567890\n   abc\n" },
	{ "a word that goes as a whole", 10, 0, "ab cdefghijk\n", "ab cdefghi\n   jk\n" },
	{ "a word as long as a row", 10, 0, "abcd efghijk\n", "abcd \n   efghijk\n" },
	{ "a long word", 20, 0, "ab " X20 X20 "\n",
		"ab xxxxxxxxxxxxxxxxx\n      " X10 X4 "\n      xxxxxxxxx\n" },

	{ "wide, at the edge", 20, 0, X10 "xxxxxxxx" HAN "\n", X10 "xxxxxxxx" HAN "\n" },
	{ "wide, astride the edge", 20, 0, X10 "xxxxxxxxx" HAN "\n",
		X10 "xxxxxxxxx\n      " HAN "\n" },
	{ "wide, all", 7, 0, HAN HAN HAN HAN HAN "\n", HAN HAN HAN "\n  " HAN HAN "\n" },
	{ "an emoji", 20, 0, X10 "xxxxxxxxx" EMOJI "\n", X10 "xxxxxxxxx\n      " EMOJI "\n" },
	{ "half of a flag", 20, 0, X10 "xxxxxxxxx" FLAG "\n", X10 "xxxxxxxxx\n      " FLAG "\n" },
	{ "a selector", 20, 0, X10 "xxxxxxxx" HEART "\n",
		X10 "xxxxxxxx\xe2\x9d\xa4\n      \xef\xb8\x8f\n" },
	{ "wide where there is no room", 2, 0, "a" HAN "\n",
		"a\\\n x\n e\n 4\n \\\n x\n b\n 8\n \\\n x\n a\n d\n" },
	{ "wide where there just is", 3, 0, "a" HAN HAN "\n", "a" HAN "\n " HAN "\n" },
	{ "letters", 6, 0, "\xc3\xa9\xd0\xb6\xce\xa9xxxx\n", "\xc3\xa9\xd0\xb6\xce\xa9xxx\n  x\n" },
	{ "letters, where they are wide", 6, WIDTH_CJK, "\xc3\xa9\xd0\xb6\xce\xa9xxxx\n",
		"\xc3\xa9\xd0\xb6\xce\xa9\n  xxxx\n" },

	{ "a mark takes no column", 6, 0, "e" ACUTE "xxxxxe" ACUTE "\n",
		"e" ACUTE "xxxxx\n  e" ACUTE "\n" },
	{ "a mark at the edge", 6, 0, "xxxxxe" ACUTE "\n", "xxxxxe" ACUTE "\n" },
	{ "a mark where none is known", 6, WIDTH_NO_MARK, "xxxxxe" ACUTE "\n",
		"xxxxxe\n  " ACUTE "\n" },
	{ "a few marks", 80, 0, "e" ACUTE ACUTE ACUTE ACUTE "x\n",
		"e" ACUTE ACUTE ACUTE ACUTE "x\n" },
	{ "too many", 80, 0, "e" ACUTE ACUTE ACUTE ACUTE ACUTE ACUTE "x" ACUTE "\n",
		"e" ACUTE ACUTE ACUTE ACUTE "\\xcc\\x81\\xcc\\x81x" ACUTE "\n" },
	{ "too many are counted", 10, 0, "e" ACUTE ACUTE ACUTE ACUTE ACUTE "xx\n",
		"e" ACUTE ACUTE ACUTE ACUTE "\\xcc\\x81x\n   x\n" },
	{ "joiners are no way out", 80, 0, "e" ACUTE ACUTE JOINER ACUTE ACUTE "\n",
		"e" ACUTE ACUTE JOINER ACUTE "\\xcc\\x81\n" },

	{ "colours take no column", 6, 0, BOLD "xxx" OFF "xxx" OFF "y\n",
		BOLD "xxx" OFF "xxx" OFF "\n  y\n" },
	{ "a coloured word goes as a whole", 10, 0, "abcde " BOLD "fghi" OFF "j\n",
		"abcde \n   " BOLD "fghi" OFF "j\n" },
	{ "no other sequence", 80, 0, "\033[2J\033]0;\033[1", "\\x1b[2J\\x1b]0;\\x1b[1" },
	{ "no control character", 80, 0, "\r\t\x7f\xc2\x9b\x0b", "\\x0d\\x09\\x7f\\xc2\\x9b\\x0b" },
	{ "no bad byte", 80, 0, "\xff" HAN "\xe4\xb8", "\\xff" HAN "\\xe4\\xb8" },

	{ "one column", 1, 0, BOLD "12:00 a" OFF "\n1\n", BOLD "1" OFF "\n1\n" },
	{ "one column, wide", 1, 0, HAN "\n", "\\\n" },
	{ "two columns", 2, 0, "1234\n", "12\n 3\n 4\n" },
	{ "six columns", 6, 0, "12:00 bob: hi\n", "12:00 \n  bob:\n  hi\n" },
	{ "ten columns", 10, 0, "12:00 bob: hi there\n", "12:00 bob:\n   hi \n   there\n" },
};

/* What WRAP_PUT makes of TEXT; to be freed. */
static char *wrapped(unsigned columns, unsigned flags, struct text text)
{
	struct wrap wrap;
	char *shown = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&shown, &len);

	assert_non_null(out);
	wrap_init(&wrap, out, columns, flags);
	wrap_put(&wrap, text);
	fclose(out);
	return shown;
}

static void test_rows(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char *shown = wrapped(rows[i].columns, rows[i].flags, text_of(rows[i].text));

		if (strcmp(shown, rows[i].shown) != 0)
			fail_msg("%s:\n got\n%s\n want\n%s", rows[i].what, shown, rows[i].shown);
		free(shown);
	}
}

/* A line that comes in parts is broken at the same columns. */
static void test_parts(void **state)
{
	char *shown = NULL;
	struct wrap wrap;
	size_t len = 0;
	FILE *out = open_memstream(&shown, &len);

	wrap_init(&wrap, out, 10, 0);
	for (int i = 0; i < 15; i++)
		wrap_put(&wrap, TEXT("x"));
	wrap_put(&wrap, TEXT("\n"));
	/* and at those of the terminal as it is now */
	wrap_put(&wrap, TEXT(X10));
	wrap.columns = 6;
	wrap_put(&wrap, TEXT("yy\n" X10 "\n"));
	fclose(out);
	assert_string_equal(shown, X10 "\n   xxxxx\n" X10 "\n  yy\nxxxxxx\n  xxxx\n");
	free(shown);
}

/* A word that is longer than the memory for it. */
static void test_longest_word(void **state)
{
	char text[3 * WRAP_WORD_MAX], wanted[4 * WRAP_WORD_MAX], *shown;

	memset(text, 'x', sizeof text);
	text[1] = ' ';
	shown = wrapped(2 * WRAP_WORD_MAX, 0, (struct text){ text, sizeof text });
	snprintf(wanted, sizeof wanted, "%.*s\n      %.*s", 2 * WRAP_WORD_MAX, text, WRAP_WORD_MAX,
		text + 2 * WRAP_WORD_MAX);
	assert_string_equal(shown, wanted);
	free(shown);
}

static void test_one_row(void **state)
{
	static const struct {
		unsigned columns;
		const char *text, *shown;
	} table[] = {
		{ 10, X10, X10 },
		{ 10, X10 "y", X10 },
		{ 10, "a b c d e f g", "a b c d e " },
		{ 3, "xx" HAN "y", "xx" },
		{ 3, "xxe" ACUTE, "xxe" ACUTE },
		{ 1, HAN, "\\" },
		{ 2, HAN, HAN },
		{ 0, "x", "" },
	};

	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		char *shown = NULL;
		size_t len = 0;
		FILE *out = open_memstream(&shown, &len);

		wrap_put_row(out, table[i].columns, 0, text_of(table[i].text));
		fclose(out);
		assert_string_equal(shown, table[i].shown);
		free(shown);
	}
}

/* Is TEXT of rows that fit, each but the first of a line with a blank before it? The C library's
 * widths are the measure. */
static bool fits(const char *text, unsigned columns)
{
	mbstate_t state = { 0 };
	unsigned column = 0;
	wchar_t c;

	while (*text) {
		size_t n = mbrtowc(&c, text, strlen(text), &state);

		assert_true(n > 0 && n <= strlen(text));
		text += n;
		if (c == L'\n') {
			column = 0;
			if (*text && *text != ' ')
				return false;
			continue;
		}
		assert_true(wcwidth(c) >= 0);
		column += (unsigned)wcwidth(c);
		if (column > columns)
			return false;
	}
	return true;
}

static void put_without_blanks(FILE *out, const char *text)
{
	for (; *text; text++)
		if (*text != ' ' && *text != '\n')
			fputc(*text, out);
	fputc('\n', out);
}

static void check_any(const char *text, unsigned columns)
{
	char *shown = wrapped(columns, 0, text_of(text)), *before = NULL, *after = NULL;
	size_t before_len, after_len;
	FILE *out;

	if (!fits(shown, columns))
		fail_msg("%u columns:\n%s\n", columns, shown);
	out = open_memstream(&before, &before_len);
	put_without_blanks(out, text);
	fclose(out);
	out = open_memstream(&after, &after_len);
	put_without_blanks(out, shown);
	fclose(out);
	if (columns > 2)
		assert_string_equal(before, after); /* nothing is lost */
	free(before);
	free(after);
	free(shown);
}

/* Whatever the text is. */
static void test_any_text(void **state)
{
	static const char *const parts[] = { " ", " ", "   ", "x", "word", "15:27 root: run this",
		ACUTE, HAN, EMOJI, JOINER, "\xc3\xa9", "\xd7\xa9", "\xe0\xb8\x81\xe0\xb8\xb4", X20,
		"\\x1b[2J" };
	static const unsigned widths[] = { 1, 2, 3, 4, 6, 7, 10, 20, 21, 80, 200 };

	srand(1);
	for (unsigned round = 0; round < 5000; round++) {
		char text[1024] = "12:00 al: ";

		for (int i = rand() % 60; i > 0; i--) {
			const char *part = parts[rand() % (int)ARRAY_LEN(parts)];

			/* no more marks in a row than are shown */
			if ((part[0] & 0x80) == 0 || part[0] == HAN[0])
				strcat(text, part);
			else
				strcat(strcat(text, "x"), part);
		}
		check_any(text, widths[round % ARRAY_LEN(widths)]);
	}
}

/* The C library knows what is usual; nothing may be counted as less than that. */
static void test_widths(void **state)
{
	for (uint32_t c = 1; c < 0x110000; c++) {
		int usual = wcwidth((wchar_t)c);

		if (usual > (int)width_of(c, 0))
			fail_msg("U+%04X takes %d columns, not %u", c, usual, width_of(c, 0));
		if (width_of(c, WIDTH_NO_MARK) == 0 || width_of(c, WIDTH_CJK) < width_of(c, 0))
			fail_msg("U+%04X: the flags make it narrower", c);
		if (width_of(c, 0) == 0 && !width_is_mark(c))
			fail_msg("U+%04X takes no column and is no mark", c);
	}
}

static int setup(void **state)
{
	return setlocale(LC_CTYPE, "C.UTF-8") ? 0 : -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_parts),
		cmocka_unit_test(test_longest_word),
		cmocka_unit_test(test_one_row),
		cmocka_unit_test_setup(test_any_text, setup),
		cmocka_unit_test_setup(test_widths, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
