/* age_test.c - the clock of ages goes on as the kernel's clocks do, whatever the wall clock says.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "broker/age.h"

#define S    UINT64_C(1000000000)
#define HOUR (3600 * S)
#define DAY  (24 * HOUR)

/* The clocks of the machine also advance during the test, by less than a second in each row. */
static void test_turn(void **state)
{
	static const struct {
		uint64_t wall, monotonic, boot, passed; /* s */
		int64_t jump;
	} table[] = {
		{ 10, 10, 10, 10, 0 },
		{ 14, 10, 10, 10, 0 },
		{ 1000, 10, 10, 10, 990 },
		{ (uint64_t)-1000, 10, 10, 10, -1010 },
		{ 1000, 10, 1000, 1000, 0 }, /* suspended */
		{ 1000, 1000, 10, 1000, 0 },
		{ 0, 5000, 5000, 5000, -5000 },
	};

	for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
		struct age age;
		uint64_t before;
		int64_t jump;

		age_init(&age);
		before = age.now;
		age.wall -= table[i].wall * S;
		age.monotonic -= table[i].monotonic * S;
		age.boot -= table[i].boot * S;
		jump = age_turn(&age);
		assert_in_range(age.now - before, table[i].passed * S, (table[i].passed + 1) * S);
		if (table[i].jump == 0)
			assert_int_equal(jump, 0);
		else
			assert_in_range(jump - table[i].jump * (int64_t)S + (int64_t)S, 0, 2 * S);
	}
}

static void test_resume(void **state)
{
	static const struct {
		int64_t away, counted, jump; /* s */
	} table[] = {
		{ 0, 0, 0 },
		{ 100, 100, 0 },
		{ 86400, 86400, 0 },
		{ 86401, 0, 86401 },
		{ -3, 0, 0 },
		{ -100, 0, -100 },
	};

	for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
		struct age age;

		age_init(&age);
		assert_int_equal(age_resume(&age, 5 * DAY, age.wall - (uint64_t)table[i].away * S),
			table[i].jump * (int64_t)S);
		assert_int_equal(age.now, 5 * DAY + (uint64_t)table[i].counted * S);
		assert_int_equal(age.stored, 5 * DAY);
	}
}

/* Where nothing was stored it begins with the wall clock. */
static void test_first(void **state)
{
	struct age age;

	age_init(&age);
	assert_int_equal(age_resume(&age, 0, 0), 0);
	assert_int_equal(age.now, age.wall);
	assert_int_equal(age.stored, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_turn),
		cmocka_unit_test(test_resume),
		cmocka_unit_test(test_first),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
