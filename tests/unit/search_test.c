/* search_test.c - what is found and what is not, beside the slow and simple way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "broker/search.h"
#include "protocol/base.h"

static bool finds(const char *needle, const char *text)
{
	struct search search;

	assert_true(search_init(&search, text_of(needle)));
	return search_finds(&search, text_of(text));
}

static void test_words(void **state)
{
	static const struct {
		const char *needle, *text;
		bool is_found;
	} table[] = {
		{ "a", "a", true },
		{ "a", "A", true },
		{ "A", "a", true },
		{ "a", "", false },
		{ "ab", "a", false },
		{ "disk full", "the Disk  full", false },
		{ "disk full", "the DISK FULL again", true },
		{ "end", "in the END", true },
		{ "start", "STARTed", true },
		{ "[", "{", false }, /* they differ in the bit of the case, too */
		{ "@", "`", false },
		{ "1", "\x11", false },
		{ "\xc3\xa4", "n\xc3\xa4her", true },
		{ "\xc3\xa4", "N\xc3\x84HER", false }, /* only ASCII has cases here */
		{ "aab", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab", true },
		{ "aab", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaac", false },
	};

	for (size_t i = 0; i < ARRAY_LEN(table); i++)
		if (finds(table[i].needle, table[i].text) != table[i].is_found)
			fail_msg("'%s' in '%s'", table[i].needle, table[i].text);
}

static void test_bounds(void **state)
{
	static char text[SEARCH_LEN_MAX + 1];
	struct search search;

	memset(text, 'x', sizeof text);
	assert_false(search_init(&search, (struct text){ text, 0 }));
	assert_false(search_init(&search, (struct text){ text, SEARCH_LEN_MAX + 1 }));
	assert_true(search_init(&search, (struct text){ text, SEARCH_LEN_MAX }));
	assert_true(search_finds(&search, (struct text){ text, SEARCH_LEN_MAX }));
	assert_false(search_finds(&search, (struct text){ text, SEARCH_LEN_MAX - 1 }));
}

static unsigned char lower(unsigned char c)
{
	return c >= 'A' && c <= 'Z' ? (unsigned char)(c + 'a' - 'A') : c;
}

static bool finds_slowly(
	const unsigned char *needle, size_t n, const unsigned char *text, size_t len)
{
	for (size_t at = 0; at + n <= len; at++) {
		size_t i = 0;

		while (i < n && lower(text[at + i]) == lower(needle[i]))
			i++;
		if (i == n)
			return true;
	}
	return false;
}

/* Of few bytes, so that much is found; each text in memory that ends with it. */
static void test_chance(void **state)
{
	static const unsigned char alphabet[] = { 'a', 'A', 'b', 'B', '[', '{', 0, 0xff };

	srandom(1);
	for (unsigned run = 0; run < 20000; run++) {
		size_t n = 1 + (size_t)random() % 4, len = (size_t)random() % 80;
		unsigned char needle[4], *text = malloc(len ? len : 1);
		struct search search;
		bool is_found;

		for (size_t i = 0; i < n; i++)
			needle[i] = alphabet[random() % 8];
		assert_non_null(text);
		for (size_t i = 0; i < len; i++)
			text[i] = alphabet[random() % 8];
		assert_true(search_init(&search, (struct text){ (char *)needle, n }));
		is_found = search_finds(&search, (struct text){ (char *)text, len });
		if (is_found != finds_slowly(needle, n, text, len))
			fail_msg("run %u: %d", run, is_found);
		free(text);
	}
}

/* Texts that are chosen so that much fits, and not all: the other way is taken in the middle. */
static void test_much_that_fits(void **state)
{
	static char text[64000], needle[SEARCH_LEN_MAX];
	struct search search;

	srandom(1);
	for (int i = 0; i < 200; i++) {
		size_t len = 60000 + (size_t)random() % 4000;
		size_t n = 2 + (size_t)random() % (SEARCH_LEN_MAX - 2);

		for (size_t k = 0; k < len; k++)
			text[k] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaAaab"[random() %
									 (i % 2 ? 35 : 36)];
		memset(needle, 'a', n);
		needle[(size_t)random() % n] = 'b';
		assert_true(search_init(&search, (struct text){ needle, n }));
		assert_int_equal(search_finds(&search, (struct text){ text, len }),
			finds_slowly((unsigned char *)needle, n, (unsigned char *)text, len));
		/* somewhere behind it all */
		memcpy(text + len - n - (size_t)i, needle, n);
		assert_true(search_finds(&search, (struct text){ text, len }));
	}
	/* and with borders of its own */
	for (int i = 0; i < 200; i++) {
		size_t n = 2 + (size_t)random() % 30;

		for (size_t k = 0; k < sizeof text; k++)
			text[k] = "aB"[random() % 16 == 0];
		for (size_t k = 0; k < n; k++)
			needle[k] = "Ab"[random() % 4 == 0];
		assert_true(search_init(&search, (struct text){ needle, n }));
		assert_int_equal(search_finds(&search, (struct text){ text, sizeof text }),
			finds_slowly(
				(unsigned char *)needle, n, (unsigned char *)text, sizeof text));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_much_that_fits),
		cmocka_unit_test(test_chance),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
