/* brokers_test.c - which brokers of other users are trusted, and what is remembered. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "client/brokers.h"
#include "client/trust.h"

static char home[] = "/tmp/brokers_test.XXXXXX";
static char directory[64], file[80];

static int home_setup(void **state)
{
	assert_non_null(mkdtemp(home));
	setenv("XDG_STATE_HOME", home, 1);
	snprintf(directory, sizeof directory, "%s/chat-client", home);
	snprintf(file, sizeof file, "%s/brokers", directory);
	return 0;
}

static int home_teardown(void **state)
{
	unlink(file);
	rmdir(directory);
	return rmdir(home);
}

static mode_t mode_of(const char *path)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	return st.st_mode & 07777;
}

static void test_remember(void **state)
{
	assert_false(brokers_is_known("/tmp/a", 7));
	assert_int_equal(brokers_remember("/tmp/a", 7), 0);
	assert_int_equal(brokers_remember("/tmp/with\nlines", 8), 0);
	assert_true(brokers_is_known("/tmp/a", 7));
	assert_true(brokers_is_known("/tmp/with\nlines", 8));
	assert_false(brokers_is_known("/tmp/a", 8));
	assert_false(brokers_is_known("/tmp/a", 70));
	assert_false(brokers_is_known("/tmp/", 7));
	assert_false(brokers_is_known("/tmp/a/", 7));
	assert_false(brokers_is_known("lines", 8));
	assert_int_equal(mode_of(file), 0600);
	assert_int_equal(mode_of(directory), 0700);
}

/* Root with the environment of another user makes nothing in that user's directories. */
static void test_home_of_another(void **state)
{
	char own[80], path[160];
	static const char *const made[] = { "/.local/state/chat-client/brokers",
		"/.local/state/chat-client", "/.local/state", "/.local" };

	if (geteuid() != 0)
		skip();
	snprintf(own, sizeof own, "%s/own", home);
	assert_int_equal(mkdir(own, 0700), 0);
	assert_int_equal(chown(home, 0, 0), 0);
	snprintf(path, sizeof path, "%s/other", home);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(chown(path, 65534, (gid_t)-1), 0);
	setenv("XDG_STATE_HOME", path, 1);
	setenv("HOME", own, 1);
	assert_int_equal(brokers_remember("/tmp/c", 7), 0);
	assert_true(brokers_is_known("/tmp/c", 7));
	assert_int_equal(rmdir(path), 0); /* it is empty */
	for (size_t i = 0; i < sizeof made / sizeof *made; i++) {
		snprintf(path, sizeof path, "%s%s", own, made[i]);
		assert_int_equal(remove(path), 0);
	}
	assert_int_equal(rmdir(own), 0);
	setenv("XDG_STATE_HOME", home, 1);
}

/* A file that somebody else could have written says nothing. */
static void test_writable_by_others(void **state)
{
	assert_int_equal(brokers_remember("/tmp/a", 7), 0);
	assert_int_equal(chmod(file, 0602), 0);
	assert_false(brokers_is_known("/tmp/a", 7));
	assert_int_equal(chmod(file, 0620), 0);
	assert_false(brokers_is_known("/tmp/a", 7));
	assert_int_equal(chmod(file, 0600), 0);
	assert_true(brokers_is_known("/tmp/a", 7));
}

static void test_trust(void **state)
{
	char line[200];

	unsetenv("CHAT_BROKER_UID");
	assert_true(trust_is_given(0));
	assert_true(trust_is_given(geteuid()));
	assert_false(trust_is_given(54321));
	setenv("CHAT_BROKER_UID", "54321", 1);
	assert_true(trust_is_given(54321));
	assert_false(trust_is_given(5432));
	setenv("CHAT_BROKER_UID", "54321x", 1);
	assert_false(trust_is_given(54321));
	setenv("CHAT_BROKER_UID", "", 1);
	assert_false(trust_is_given(54321));
	trust_explain(line, sizeof line, "/tmp/s", 54321);
	assert_non_null(strstr(line, "54321"));
	assert_non_null(strstr(line, "/tmp/s"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_remember),
		cmocka_unit_test(test_home_of_another),
		cmocka_unit_test(test_writable_by_others),
		cmocka_unit_test(test_trust),
	};

	return cmocka_run_group_tests(tests, home_setup, home_teardown);
}
