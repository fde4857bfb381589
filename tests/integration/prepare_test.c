/* prepare_test.c - where ./chat and ./check build and keep their files: nowhere that belongs to
 * another user. */
#include "tests/integration/program.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define STRANGER 65534

/* Run LINES behind .ci/prepare.sh, with the environment of the stranger, in a tree called TREE
 * in the directory of BROKER. */
static void check(const struct broker *broker, const char *tree, const char *lines, const char *out)
{
	static char home[80], state[80], cache[80], tmp[80];
	struct program_config config = { .path = "/bin/sh" };
	char script[1024];

	snprintf(home, sizeof home, "HOME=%s/other", broker->dir);
	snprintf(state, sizeof state, "XDG_STATE_HOME=%s/other/state", broker->dir);
	snprintf(cache, sizeof cache, "XDG_CACHE_HOME=%s/other/cache", broker->dir);
	snprintf(tmp, sizeof tmp, "TMPDIR=%s/other", broker->dir);
	config.environment[0] = home;
	config.environment[1] = state;
	config.environment[2] = cache;
	config.environment[3] = tmp;
	snprintf(script, sizeof script, "set -eu; root=%s; . '" CHAT_ROOT "/.ci/prepare.sh'; %s",
		broker_path(broker, tree), lines);
	program_check_as(broker, &config, 0, "", out, "", "-c", script);
}

static void make_directory(const struct broker *broker, const char *name, uid_t uid)
{
	assert_int_equal(mkdir(broker_path(broker, name), 0777), 0);
	assert_int_equal(chown(broker_path(broker, name), uid, (gid_t)-1), 0);
}

static void test_environment_of_another(void **state)
{
	struct broker *broker = broker_new();

	if (geteuid() != 0)
		SKIP("only root has the environment of others");
	make_directory(broker, "other", STRANGER);
	make_directory(broker, "other/tree", STRANGER);
	make_directory(broker, "other/tree/build", STRANGER);
	make_directory(broker, "own", 0);
	check(broker, "own", "echo \"$HOME ${XDG_STATE_HOME-} ${XDG_CACHE_HOME-} ${TMPDIR-}\"",
		"/~   \n");
	check(broker, "own", "case $HOME in *other*) echo wrong ;; esac", "");
	check(broker, "own", "usual_dir XDG_STATE_HOME .local/state /var/lib", "/var/lib\n");
	check(broker, "own", "XDG_STATE_HOME=/x; usual_dir XDG_STATE_HOME .local/state /var/lib",
		"/x\n");
	/* a tree of another user is not built in */
	check(broker, "other/tree", "writable_dir() { echo \"$1\"; }; build_dir ''",
		"/var/cache/chat-broker/build-~\n");
	check(broker, "other/tree", "writable_dir() { echo \"$1\"; }; build_dir -check-gcc",
		"/var/cache/chat-broker/build-~-check-gcc\n");
	check(broker, "own", "build_dir '' | sed 's,.*/own,own,'", "own/build\n");
	check(broker, "own", "may_make \"$root/../other/x\" || echo no", "no\n");
	assert_int_equal(directory_count(broker_path(broker, "other/tree/build")), 0);
	assert_int_equal(directory_count(broker_path(broker, "other/tree")), 1);
	assert_int_equal(directory_count(broker_path(broker, "other")), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		PROGRAM_TEST(test_environment_of_another),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
