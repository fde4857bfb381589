/* meter_test.c - what a meter shows at each second. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "broker/meter.h"
#include "protocol/base.h"

/* What is added when, and what is seen then. */
static void test_seconds(void **state)
{
	static const struct {
		uint32_t second;
		uint64_t n;
		uint32_t rate;
		uint64_t total;
	} table[] = {
		{ 100, 0, 0, 0 }, { 100, 3, 0, 3 }, /* the second in hand is not over */
		{ 100, 4, 0, 7 }, { 101, 0, 7, 7 }, { 101, 5, 7, 12 }, { 102, 1, 5, 13 },
		{ 103, 0, 1, 13 }, { 104, 0, 0, 13 }, /* nothing in 103 */
		{ 104, 2, 0, 15 },
		{ 106, 0, 0, 15 }, /* not in the last second, but in the one before */
		{ 106, 1, 0, 16 }, { 107, 0, 1, 16 },
		{ UINT32_MAX, UINT64_C(1) << 40, 0, (UINT64_C(1) << 40) + 16 },
		{ 0, 0, UINT32_MAX, (UINT64_C(1) << 40) + 16 }, /* after 136 years */
	};
	struct meter meter = { 0 };

	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		if (table[i].n > 0)
			meter_add(&meter, table[i].second, table[i].n);
		assert_int_equal(meter_rate(&meter, table[i].second), table[i].rate);
		assert_int_equal(meter.total, table[i].total);
	}
}

/* To look at it changes nothing. */
static void test_look(void **state)
{
	struct meter meter = { 0 };

	meter_add(&meter, 7, 9);
	assert_int_equal(meter_rate(&meter, 20), 0);
	assert_int_equal(meter_rate(&meter, 8), 9);
	assert_int_equal(meter_rate(&meter, 7), 0);
	assert_true(sizeof meter <= 24); /* every session has one */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_seconds),
		cmocka_unit_test(test_look),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
