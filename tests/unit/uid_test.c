/* uid_test.c - which maps give everybody an id, and what a process in a namespace without any
 * is told of itself and its files. */
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "protocol/uid.h"

#define OVERFLOW 65534
#define OWN      54321
#define OTHER    54322

static void test_maps(void **state)
{
	static const struct {
		const char *map;
		bool is_whole;
	} table[] = {
		{ "         0          0 4294967295\n", true },
		{ "0 0 65536\n65536 65536 4294901759\n", true },
		{ "0 1000 4294967295", true },
		{ "", false },
		{ "         0       1000          1\n", false },
		{ "0 100000 65536\n", false },
		{ "0 0 4294967294\n", false },
		{ "0 0 4294967294\n4294967294 4294967294 1\n", true },
		{ "0 0 4294967294\n4294967294 4294967294 2\n", false },
		{ "0 0 4294967296\n", false },
		{ "0 0 18446744073709551615\n", false },
		{ "1 1 18446744073709551615\n0 0 1\n", false },
		{ "0 0\n", false },
		{ "0 0 4294967295 7\n", false },
		{ "a b c\n", false },
	};

	for (size_t i = 0; i < sizeof table / sizeof *table; i++)
		if (uid_map_is_whole(text_of(table[i].map)) != table[i].is_whole)
			fail_msg("%s", table[i].map);
}

/* Each step that fails has a number, which is the exit status. */
static int child_in_namespace(int own, int others)
{
	struct stat statbuf;

	if (uid_check(OVERFLOW) != 0 || uid_self_is_unmapped()) /* the map is known now */
		return 1;
	if (fchown(own, OWN, (gid_t)-1) < 0 || fchown(others, OTHER, (gid_t)-1) < 0 ||
		setresuid(OWN, OWN, OWN) < 0)
		return 2;
	if (fstat(own, &statbuf) < 0 || !uid_owns(own, &statbuf) || !uid_owns_closed(&statbuf) ||
		fstat(others, &statbuf) < 0 || uid_owns(others, &statbuf) ||
		uid_owns_closed(&statbuf))
		return 3;
	if (unshare(CLONE_NEWUSER) < 0)
		return 77;
	/* does not hold there */
	if (uid_check(OVERFLOW) != UID_E_UNMAPPED || !uid_is_unmapped(geteuid()) ||
		!uid_self_is_unmapped() || uid_check(OWN) != 0 || uid_check(0) != 0)
		return 4;
	if (fstat(own, &statbuf) < 0 || statbuf.st_uid != geteuid() || !uid_owns(own, &statbuf) ||
		uid_owns_closed(&statbuf))
		return 5;
	if (fcntl(own, F_GETFL) & O_NOATIME)
		return 6;
	if (fstat(others, &statbuf) < 0 || statbuf.st_uid != geteuid() ||
		uid_owns(others, &statbuf) || uid_owns_closed(&statbuf))
		return 7;
	return 0;
}

static void test_namespace(void **state)
{
	char path[] = "/tmp/uid_test.XXXXXX", path2[] = "/tmp/uid_test.XXXXXX";
	int own = mkstemp(path), others = mkstemp(path2), status;
	pid_t pid;

	assert_true(own >= 0 && others >= 0);
	unlink(path);
	unlink(path2);
	if (geteuid() != 0 || uid_check(OVERFLOW) != 0) {
		print_message("skipped: only root, where all users have ids, can be several\n");
		skip();
	}
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(child_in_namespace(own, others));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	close(own);
	close(others);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77) {
		print_message("skipped: the kernel refuses user namespaces to users\n");
		skip();
	}
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* The maps stay known when there are no descriptors left to read them again. */
static void test_no_descriptors(void **state)
{
	int expected = uid_check(OVERFLOW), first = dup(0), last = first, fd;

	uid_learn();
	while ((fd = dup(0)) >= 0)
		last = fd;
	assert_int_equal(uid_check(OVERFLOW), expected);
	for (fd = first; fd <= last; fd++)
		close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_maps),
		cmocka_unit_test(test_namespace),
		cmocka_unit_test(test_no_descriptors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
