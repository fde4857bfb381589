/* settings_test.c - limits: their lines, their file, and who has which. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/stat.h>
#include <cmocka.h>

#include "broker/settings.h"
#include "protocol/base.h"

#define SETTINGS(name)                                                                             \
	_cleanup_(settings_deinit) struct settings name;                                           \
	settings_init(&name)

static void test_set(void **state)
{
	static const struct {
		const char *line;
		int r;
		unsigned limit;
		uint64_t value;
	} table[] = {
		{ "connections=1", 0, QUOTA_CONNECTIONS, 1 },
		{ "connections=0", SETTINGS_E_VALUE }, /* never "no limit" */
		{ "connections=00", SETTINGS_E_VALUE },
		{ "connections=1000000", 0, QUOTA_CONNECTIONS, 1000000 },
		{ "connections=1000001", SETTINGS_E_VALUE },
		{ "cursors=2k", 0, QUOTA_CURSORS, 2048 },
		{ "rooms=1M", SETTINGS_E_VALUE },
		{ "rooms=976k", 0, QUOTA_ROOMS, 976 * 1024 },
		{ "names=1000", 0, QUOTA_NAMES, 1000 },
		{ "names=1001", SETTINGS_E_VALUE },
		{ "bytes=256k", 0, QUOTA_BYTES, 256 << 10 },
		{ "bytes=262143", SETTINGS_E_VALUE },
		{ "rate=1", 0, LIMIT_RATE, 1 },
		{ "rate=0", SETTINGS_E_VALUE },
		{ "rate=1000000000", 0, LIMIT_RATE, RATE_MAX },
		{ "rate=1000000001", SETTINGS_E_VALUE },
		{ "connects=5", 0, LIMIT_CONNECTS, 5 },
		{ "connects=0", SETTINGS_E_VALUE },
		{ "connects=1G", SETTINGS_E_VALUE },
		{ "room-bytes=1024G", 0, LIMIT_ROOM_BYTES, UINT64_C(1) << 40 },
		{ "room-bytes=1025G", SETTINGS_E_VALUE },
		{ "log-bytes=1M", 0, LIMIT_LOG_BYTES, 1 << 20 },
		{ "log-bytes=1023k", SETTINGS_E_VALUE },
		{ "room-idle=1", 0, LIMIT_ROOM_IDLE, 1 },
		/* what shifts out of 64 bits */
		{ "log-bytes=17179869184G", SETTINGS_E_VALUE },
		{ "log-bytes=17179869185G", SETTINGS_E_VALUE },
		{ "log-bytes=18446744073709551615", SETTINGS_E_VALUE },
		{ "log-bytes=18446744073709551616", SETTINGS_E_VALUE },
		/* not numbers */
		{ "names=", SETTINGS_E_VALUE },
		{ "names=k", SETTINGS_E_VALUE },
		{ "names=-1", SETTINGS_E_VALUE },
		{ "names=+1", SETTINGS_E_VALUE },
		{ "names= 1", 0, QUOTA_NAMES, 1 },
		{ "names=1 ", 0, QUOTA_NAMES, 1 },
		{ "names=0x1", SETTINGS_E_VALUE },
		{ "names=1kk", SETTINGS_E_VALUE },
		{ "names=1K", SETTINGS_E_VALUE },
		{ "names=1=2", SETTINGS_E_VALUE },
		/* not limits */
		{ "", SETTINGS_E_SYNTAX },
		{ "names", SETTINGS_E_SYNTAX },
		{ "=1", SETTINGS_E_NAME },
		{ "name=1", SETTINGS_E_NAME },
		{ "namess=1", SETTINGS_E_NAME },
		{ "Names=1", SETTINGS_E_NAME },
		{ " names\t=1", 0, QUOTA_NAMES, 1 },
		{ "na mes=1", SETTINGS_E_NAME },
		/* of one user */
		{ ":names=1", SETTINGS_E_SYNTAX },
		{ "alice:log-bytes=1G", SETTINGS_E_NAME },
		{ "alice:room-idle=10", SETTINGS_E_NAME },
		{ "alice:room-bytes=1M", SETTINGS_E_NAME },
		{ "alice:names=0", SETTINGS_E_VALUE },
		{ "alice:rate=0", SETTINGS_E_VALUE },
		{ "a:b:names=1", SETTINGS_E_NAME },
		{ "a23456789012345678901234567890123:names=1", SETTINGS_E_SYNTAX },
	};

	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		SETTINGS(settings);
		SETTINGS(before);

		assert_int_equal(settings_set(&settings, text_of(table[i].line)), table[i].r);
		if (!table[i].r)
			before.limit[table[i].limit] = table[i].value;
		assert_memory_equal(settings.limit, before.limit, sizeof before.limit);
		assert_int_equal(settings.n_overrides, 0);
		assert_true(strlen(settings_strerror(table[i].r)) > 0);
	}
}

static void expect_set(struct settings *settings, const char *line)
{
	assert_int_equal(settings_set(settings, text_of(line)), 0);
}

static void test_users(void **state)
{
	SETTINGS(settings);
	SETTINGS(copy);

	expect_set(&settings, "names=5");
	expect_set(&settings, "alice:names=6");
	expect_set(&settings, "1000:cursors=7");
	expect_set(&settings, "a2345678901234567890123456789012:names=9");
	expect_set(&settings, "rate=100");
	expect_set(&settings, "alice:rate=7");
	expect_set(&settings, "1001:connects=2");
	assert_int_equal(settings_of_user(&settings, LIMIT_RATE, 1000, "alice"), 7);
	assert_int_equal(settings_of_user(&settings, LIMIT_RATE, 1000, "bob"), 100);
	assert_int_equal(settings_of_user(&settings, LIMIT_CONNECTS, 1001, "bob"), 2);
	assert_int_equal(settings_of_user(&settings, LIMIT_CONNECTS, 1000, "alice"), RATE_MAX);
	assert_int_equal(settings_of_user(&settings, QUOTA_NAMES, 1, "bob"), 5);
	assert_int_equal(settings_of_user(&settings, QUOTA_NAMES, 1, ""), 5);
	assert_int_equal(settings_of_user(&settings, QUOTA_NAMES, 1000, "alice"), 6);
	assert_int_equal(settings_of_user(&settings, QUOTA_NAMES, 1000, ""), 5);
	assert_int_equal(settings_of_user(&settings, QUOTA_CURSORS, 1000, "alice"), 7);
	assert_int_equal(settings_of_user(&settings, QUOTA_CURSORS, 1000, ""), 7);
	assert_int_equal(settings_of_user(&settings, QUOTA_CURSORS, 1001, "alice"), 4096);
	assert_int_equal(
		settings_of_user(&settings, QUOTA_NAMES, 1, "a2345678901234567890123456789012"), 9);
	/* set again, it is one row still */
	expect_set(&settings, "alice:names=8");
	assert_int_equal(settings.n_overrides, 5);
	assert_int_equal(settings_of_user(&settings, QUOTA_NAMES, 1000, "alice"), 8);

	settings_deinit(&copy);
	assert_int_equal(settings_copy(&copy, &settings), 0);
	assert_ptr_not_equal(copy.overrides, settings.overrides);
	expect_set(&copy, "alice:names=1");
	assert_int_equal(settings_of_user(&settings, QUOTA_NAMES, 1000, "alice"), 8);
	assert_int_equal(settings_of_user(&copy, QUOTA_NAMES, 1000, "alice"), 1);
}

static void test_full(void **state)
{
	SETTINGS(settings);
	char line[32];

	for (int i = 0; i < OVERRIDES_MAX; i++) {
		sprintf(line, "%d:names=%d", i, i % 1000 + 1);
		expect_set(&settings, line);
	}
	assert_int_equal(settings_set(&settings, TEXT("x:names=1")), SETTINGS_E_FULL);
	expect_set(&settings, "1023:names=9");
	assert_int_equal(settings_of_user(&settings, QUOTA_NAMES, 1023, ""), 9);
	assert_int_equal(settings_of_user(&settings, QUOTA_NAMES, 512, ""), 513);
}

static void write_file(const char *path, const char *data, size_t len)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	assert_int_equal(fwrite(data, 1, len, file), len);
	assert_int_equal(fclose(file), 0);
}

static void test_file(void **state)
{
	static const struct {
		const char *file;
		int r;
		unsigned line;
		uint64_t names;
	} table[] = {
		{ "", 0, 0, 8 },
		{ "names=3", 0, 0, 3 },
		{ "names=3\n", 0, 0, 3 },
		{ "# all\n\n \t names=3 # each \r\n", 0, 0, 3 },
		{ "#names=3\n", 0, 0, 8 },
		{ "names=3\nnames=4\n", 0, 0, 4 },
		{ "names=3\nnames\n", SETTINGS_E_SYNTAX, 2, 3 },
		{ "\n\nnames=0\n", SETTINGS_E_VALUE, 3, 8 },
		{ "nymes=1", SETTINGS_E_NAME, 1, 8 },
		{ "names = 3\n", 0, 0, 3 },
	};
	char path[] = "/tmp/settings_test.XXXXXX", data[SETTINGS_LEN_MAX + 1];
	unsigned line;
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	close(fd);
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		SETTINGS(settings);

		write_file(path, table[i].file, strlen(table[i].file));
		assert_int_equal(settings_read(&settings, path, &line), table[i].r);
		assert_int_equal(line, table[i].line);
		assert_int_equal(settings.limit[QUOTA_NAMES], table[i].names);
	}

	SETTINGS(settings);
	memset(data, '\n', sizeof data);
	memcpy(data + SETTINGS_LEN_MAX - 7, "names=3", 7);
	write_file(path, data, SETTINGS_LEN_MAX);
	assert_int_equal(settings_read(&settings, path, &line), 0);
	assert_int_equal(settings.limit[QUOTA_NAMES], 3);
	write_file(path, data, SETTINGS_LEN_MAX + 1);
	assert_int_equal(settings_read(&settings, path, &line), -EFBIG);

	/* what is no file is not waited for */
	unlink(path);
	assert_int_equal(settings_read(&settings, path, &line), -ENOENT);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(settings_read(&settings, path, &line), -EINVAL);
	unlink(path);
	assert_int_equal(settings_read(&settings, "/tmp", &line), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_set),
		cmocka_unit_test(test_users),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
