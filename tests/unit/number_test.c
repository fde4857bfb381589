/* number_test.c - numbers as they stand in frames. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "protocol/base.h"
#include "protocol/number.h"
#include "tests/unit/exact.h"

#define A(literal)                                                                                 \
	{                                                                                          \
		(literal), sizeof(literal) - 1                                                     \
	}
#define UNTOUCHED 0x5555aaaa5555aaaa

struct row {
	struct text in;
	bool is_number;
	uint64_t value;
};

static void check_rows(
	const struct row *rows, size_t n_rows, bool (*parse)(struct text, uint64_t *))
{
	for (size_t i = 0; i < n_rows; i++) {
		uint64_t value = UNTOUCHED;
		EXACT(in, rows[i].in);

		if (parse(in, &value) != rows[i].is_number)
			fail_msg("\"%s\": want %d", rows[i].in.data, rows[i].is_number);
		assert_int_equal(value, rows[i].is_number ? rows[i].value : UNTOUCHED);
	}
}

static void test_parse(void **state)
{
	static const struct row rows[] = {
		{ A("0"), true, 0 },
		{ A("1"), true, 1 },
		{ A("9"), true, 9 },
		{ A("10"), true, 10 },
		{ A("007"), true, 7 },
		{ A("00000000000000000001"), true, 1 },
		{ A("1795168800000000000"), true, 1795168800000000000 },
		{ A("9223372036854775808"), true, (uint64_t)INT64_MAX + 1 },
		{ A("9999999999999999999"), true, 9999999999999999999u },
		{ A("10000000000000000000"), true, 10000000000000000000u },
		{ A("18446744073709551609"), true, UINT64_MAX - 6 },
		{ A("18446744073709551614"), true, UINT64_MAX - 1 },
		{ A("18446744073709551615"), true, UINT64_MAX },
		/* one too much, at each place it can be noticed */
		{ A("18446744073709551616"), false, 0 },
		{ A("18446744073709551619"), false, 0 },
		{ A("18446744073709551620"), false, 0 },
		{ A("18446744073709551700"), false, 0 },
		{ A("20000000000000000000"), false, 0 },
		{ A("99999999999999999999"), false, 0 },
		{ A("018446744073709551615"), false, 0 }, /* 21 digits */
		{ A("000000000000000000000"), false, 0 },
		{ A(""), false, 0 },
		{ A("-1"), false, 0 },
		{ A("+1"), false, 0 },
		{ A(" 1"), false, 0 },
		{ A("1 "), false, 0 },
		{ A("1\n"), false, 0 },
		{ A("1\0"), false, 0 },
		{ A("0x1"), false, 0 },
		{ A("1e3"), false, 0 },
		{ A("1.0"), false, 0 },
		{ A("/"), false, 0 },
		{ A(":"), false, 0 },
		{ A("\xb1"), false, 0 }, /* '1' with the high bit */
		{ A("\xd9\xa1"), false, 0 },
	};

	check_rows(rows, ARRAY_LEN(rows), number_parse);
}

static void test_parse_within(void **state)
{
	uint64_t value;

	assert_true(number_parse_within(TEXT("0"), 0, 10, &value));
	assert_int_equal(value, 0);
	assert_true(number_parse_within(TEXT("10"), 0, 10, &value));
	assert_int_equal(value, 10);
	assert_false(number_parse_within(TEXT("11"), 0, 10, &value));
	assert_false(number_parse_within(TEXT("3"), 4, 10, &value));
	assert_false(number_parse_within(TEXT("5us"), 4, 10, &value));
}

static void test_parse_hex(void **state)
{
	static const struct row rows[] = {
		{ A("0"), true, 0 },
		{ A("9"), true, 9 },
		{ A("a"), true, 10 },
		{ A("f"), true, 15 },
		{ A("A"), true, 10 },
		{ A("F"), true, 15 },
		{ A("dEaDbEeF"), true, 0xdeadbeef },
		{ A("9f0c6a51b8e2d374"), true, 0x9f0c6a51b8e2d374 },
		{ A("ffffffffffffffff"), true, UINT64_MAX },
		{ A("0000000000000001"), true, 1 },
		{ A("00000000000000001"), false, 0 }, /* 17 digits */
		{ A("1ffffffffffffffff"), false, 0 },
		{ A(""), false, 0 },
		{ A("g"), false, 0 },
		{ A("G"), false, 0 },
		{ A("`"), false, 0 },
		{ A("@"), false, 0 },
		{ A("/"), false, 0 },
		{ A(":"), false, 0 },
		{ A("0x1"), false, 0 },
		{ A("-1"), false, 0 },
		{ A(" 1"), false, 0 },
		{ A("1\0"), false, 0 },
	};

	check_rows(rows, ARRAY_LEN(rows), number_parse_hex);
}

/* Written in memory of exactly that size, so that a byte too many is seen. */
static void check_put(uint64_t value, const char *want)
{
	struct text text = text_of(want);
	_cleanup_(exact_freep) char *dst = malloc(NUMBER_DECIMAL_MAX);
	uint64_t back;
	size_t len = number_put(dst, value);

	if (!text_equal((struct text){ dst, len }, text))
		fail_msg("got %.*s, want %s", (int)len, dst, want);
	assert_true(number_parse((struct text){ dst, len }, &back));
	assert_int_equal(back, value);
}

static void test_put(void **state)
{
	char want[NUMBER_DECIMAL_MAX + 1];

	check_put(0, "0");
	check_put(UINT64_MAX, "18446744073709551615");
	check_put((uint64_t)INT64_MAX + 1, "9223372036854775808");
	for (unsigned i = 0; i < 20000; i++) { /* every pair in every place */
		snprintf(want, sizeof want, "%u", i);
		check_put(i, want);
	}
	for (uint64_t power = 10;; power *= 10) { /* where a digit comes in addition */
		for (uint64_t value = power - 1; value <= power + 1; value++) {
			snprintf(want, sizeof want, "%llu", (unsigned long long)value);
			check_put(value, want);
		}
		if (power > UINT64_MAX / 10)
			break;
	}
}

static void test_count(void **state)
{
	char digits[NUMBER_DECIMAL_MAX + 2], want[NUMBER_DECIMAL_MAX + 2];
	uint64_t value = 7;

	for (int i = 0; i < 5000; i++) {
		size_t len = number_put(digits, value);

		digits[len] = 'x'; /* and nothing else is touched */
		if (number_put(want, value + 1) == len)
			assert_true(number_count(digits, len));
		else
			assert_false(number_count(digits, len));
		if (number_put(want, value + 1) == len)
			assert_memory_equal(digits, want, len);
		assert_int_equal(digits[len], 'x');
		value = i % 7 ? value + 1 : value * 10 % 1000000000000000000u + 9;
	}
	memcpy(digits, "0099", 4);
	assert_true(number_count(digits, 4));
	assert_memory_equal(digits, "0100", 4);
	memcpy(digits, "999", 3);
	assert_false(number_count(digits, 3));
}

static void test_put_hex(void **state)
{
	static const struct {
		uint64_t value;
		const char *want;
	} table[] = {
		{ 0, "0000000000000000" },
		{ 1, "0000000000000001" },
		{ 0x0123456789abcdef, "0123456789abcdef" },
		{ 0xfedcba9876543210, "fedcba9876543210" },
		{ 0x8000000000000000, "8000000000000000" },
		{ UINT64_MAX, "ffffffffffffffff" },
	};

	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		_cleanup_(exact_freep) char *dst = malloc(NUMBER_HEX_LEN);
		uint64_t back;

		number_put_hex(dst, table[i].value);
		assert_memory_equal(dst, table[i].want, NUMBER_HEX_LEN);
		assert_true(number_parse_hex((struct text){ dst, NUMBER_HEX_LEN }, &back));
		assert_int_equal(back, table[i].value);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse),
		cmocka_unit_test(test_parse_within),
		cmocka_unit_test(test_parse_hex),
		cmocka_unit_test(test_put),
		cmocka_unit_test(test_count),
		cmocka_unit_test(test_put_hex),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
