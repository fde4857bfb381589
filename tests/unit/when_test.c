/* when_test.c - times as people write them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdlib.h>
#include <time.h>

#include "client/when.h"
#include "protocol/base.h"

#define S UINT64_C(1000000000)

/* Thursday, 26 November 2026, 12:00 in Berlin, which is at UTC+1 then. */
#define NOON (UINT64_C(1795690800) * S)

static int zone_set(void **state)
{
	setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3", 1);
	tzset();
	return 0;
}

static void test_times(void **state)
{
	static const struct {
		const char *word;
		uint64_t ns;
	} table[] = {
		{ "90s", NOON - 90 * S },
		{ "0s", NOON },
		{ "10m", NOON - 600 * S },
		{ "2h", NOON - 7200 * S },
		{ "3d", NOON - 3 * 86400 * S },
		{ "100000d", 0 }, /* before the epoch is as good as from the beginning */
		{ "09:30", NOON - 9000 * S },
		{ "9:30", NOON - 9000 * S },
		{ "11:59:59", NOON - S },
		{ "12:00", NOON },
		{ "12:01", NOON - 86340 * S }, /* yesterday */
		{ "2026-11-26", NOON - 43200 * S },
		{ "2026-11-26 12:00", NOON },
		{ "2026-11-26T12:00:30", NOON + 30 * S },
		{ "2026-07-01 12:00", NOON - (148 * 86400 + 3600) * S }, /* summer time */
		{ "@1795690800000000001", NOON + 1 },
		{ "@0", 0 },
	};

	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		uint64_t ns = 1;

		if (!when_parse(table[i].word, NOON, &ns) || ns != table[i].ns)
			fail_msg("%s is %lu, not %lu", table[i].word, (unsigned long)ns,
				(unsigned long)table[i].ns);
	}
}

static void test_no_times(void **state)
{
	static const char *const words[] = { "", "s", "10", "10x", "-1h", "1.5h", "ten", "25:00",
		"12:60", "12:00:60", "12", "12:00 ", "12:00pm", "2026-13-01", "2026-02-30",
		"2026-11-26 ", "2026-11-26 25:00", "2026-11-26x", "2026-11-26 12:00 ", "1969-12-01",
		"@", "@x", "@-1", "99999999999999999999s" };

	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		uint64_t ns;

		if (when_parse(words[i], NOON, &ns))
			fail_msg("'%s' is %lu", words[i], (unsigned long)ns);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_times),
		cmocka_unit_test(test_no_times),
	};

	return cmocka_run_group_tests(tests, zone_set, NULL);
}
