/* owner_test.c - whose directories a path leads through, and that nothing is made in those of
 * others: root may have the environment of a user. */
#include <fcntl.h>
#include <limits.h>
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

#include "broker/home.h"
#include "protocol/base.h"
#include "protocol/owner.h"

#define STRANGER 65534

/* own is ours, other the stranger's, with root's directory deep in it. */
static char top[] = "/tmp/owner_test.XXXXXX";

static const char *path_of(const char *name)
{
	static char paths[4][128];
	static unsigned i;
	char *path = paths[i++ % ARRAY_LEN(paths)];

	snprintf(path, sizeof paths[0], "%s/%s", top, name);
	return path;
}

static int setup(void **state)
{
	if (!mkdtemp(top) || chmod(top, 0755) < 0)
		return -1;
	if (mkdir(path_of("own"), 0755) < 0 || mkdir(path_of("other"), 0777) < 0)
		return -1;
	if (geteuid() != 0)
		return 0;
	if (mkdir(path_of("other/roots"), 0755) < 0 || symlink("other", path_of("link")) < 0)
		return -1;
	return chown(path_of("other"), STRANGER, (gid_t)-1);
}

static int teardown(void **state)
{
	static const char *const names[] = { "other/roots", "other", "own" };

	unlink(path_of("link"));
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		(void)rmdir(path_of(names[i]));
	return rmdir(top); /* and nothing else was made */
}

static void test_may_make(void **state)
{
	assert_true(owner_may_make("/"));
	assert_true(owner_may_make("/not.there/at/all"));
	assert_true(owner_may_make(path_of("own")));
	assert_true(owner_may_make(path_of("own/")));
	assert_true(owner_may_make(path_of("own/not/there/yet")));
	if (geteuid() != 0)
		skip();
	assert_false(owner_may_make(path_of("other")));
	assert_false(owner_may_make(path_of("other//")));
	assert_false(owner_may_make(path_of("other/not/there/yet")));
	assert_false(owner_may_make(path_of("other/roots/not/there")));
	assert_false(owner_may_make(path_of("link/not/there")));
}

/* A user is not kept out by what root made above: only the last directory counts. */
static void test_may_make_as_user(void **state)
{
	if (geteuid() != 0)
		skip();
	assert_int_equal(seteuid(STRANGER), 0);
	assert_true(owner_may_make(path_of("other")));
	assert_true(owner_may_make(path_of("other/x")));
	assert_true(owner_may_make(path_of("own/x"))); /* root's: mkdir(2) decides */
	assert_int_equal(seteuid(0), 0);
	assert_int_equal(seteuid(1), 0);
	assert_false(owner_may_make(path_of("other")));
	assert_int_equal(seteuid(0), 0);
}

static void test_home(void **state)
{
	char path[PATH_MAX], why[HOME_WHY_MAX];

	if (geteuid() != 0)
		skip();
	setenv("HOME", path_of("other"), 1);
	setenv("XDG_STATE_HOME", path_of("other/state"), 1);
	assert_int_equal(home_find(path, why), 0);
	assert_string_equal(path, "/var/lib/chat-broker");
	unsetenv("XDG_STATE_HOME");
	assert_int_equal(home_find(path, why), 0);
	assert_string_equal(path, "/var/lib/chat-broker");
	setenv("XDG_STATE_HOME", path_of("own"), 1);
	assert_int_equal(home_find(path, why), 0);
	assert_string_equal(path, path_of("own/chat-broker"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_may_make),
		cmocka_unit_test(test_may_make_as_user),
		cmocka_unit_test(test_home),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
