/* quota_test.c - a charge is all or nothing, and at the limit exactly. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "broker/quota.h"

static void test_charge(void **state)
{
	static const struct {
		uint64_t used, max, amount;
		int r;
	} table[] = {
		{ 0, 1, 1, 0 },
		{ 0, 1, 2, QUOTA_E_LIMIT },
		{ 1, 1, 1, QUOTA_E_LIMIT },
		{ 9, 10, 1, 0 },
		{ 9, 10, 2, QUOTA_E_LIMIT },
		{ 0, 10, 10, 0 },
		{ 0, 0, 1, QUOTA_E_LIMIT }, /* never "no limit" */
		/* a limit that was lowered */
		{ 10, 5, 1, QUOTA_E_LIMIT },
		{ 10, 5, UINT64_MAX, QUOTA_E_LIMIT },
		/* sums that wrap */
		{ 1, 10, UINT64_MAX, QUOTA_E_LIMIT },
		{ UINT64_MAX - 1, UINT64_MAX, 1, 0 },
		{ UINT64_MAX - 1, UINT64_MAX, 2, QUOTA_E_LIMIT },
	};

	for (size_t i = 0; i < ARRAY_LEN(table); i++)
		for (int kind = 0; kind < QUOTA_KINDS; kind++) {
			struct quota_account account;

			quota_init(&account);
			account.used[kind] = table[i].used;
			account.max[kind] = table[i].max;
			assert_int_equal(
				quota_charge(&account, (enum quota_kind)kind, table[i].amount),
				table[i].r);
			assert_int_equal(account.used[kind],
				table[i].used + (table[i].r ? 0 : table[i].amount));
			quota_discharge(&account, (enum quota_kind)kind, account.used[kind]);
			quota_deinit(&account);
		}
}

/* One kind is not another. */
static void test_kinds(void **state)
{
	struct quota_account account;

	quota_init(&account);
	for (int kind = 0; kind < QUOTA_KINDS; kind++)
		account.max[kind] = (uint64_t)kind + 1;
	for (int kind = 0; kind < QUOTA_KINDS; kind++) {
		assert_int_equal(
			quota_charge(&account, (enum quota_kind)kind, (uint64_t)kind + 1), 0);
		assert_int_equal(quota_charge(&account, (enum quota_kind)kind, 1), QUOTA_E_LIMIT);
	}
	for (int kind = 0; kind < QUOTA_KINDS; kind++) {
		assert_int_equal(account.used[kind], kind + 1);
		quota_discharge(&account, (enum quota_kind)kind, (uint64_t)kind + 1);
	}
	quota_deinit(&account);
}

static void test_names(void **state)
{
	for (int kind = 0; kind < QUOTA_KINDS; kind++) {
		assert_true(strlen(quota_name((enum quota_kind)kind)) > 0);
		for (int other = 0; other < kind; other++)
			assert_string_not_equal(quota_name((enum quota_kind)kind),
				quota_name((enum quota_kind)other));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_charge),
		cmocka_unit_test(test_kinds),
		cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
