/* node_test.c - what is not ours is described, and otherwise left alone. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>
#include <cmocka.h>

#include "broker/node.h"
#include "protocol/base.h"

struct place {
	char dir[32], path[64], lock[64], other[64];
};

static int place_setup(void **state)
{
	struct place *place = calloc(1, sizeof *place);

	assert_non_null(place);
	strcpy(place->dir, "/tmp/node_test.XXXXXX");
	assert_non_null(mkdtemp(place->dir));
	snprintf(place->path, sizeof place->path, "%s/node", place->dir);
	snprintf(place->lock, sizeof place->lock, "%s/node.lock", place->dir);
	snprintf(place->other, sizeof place->other, "%s/other", place->dir);
	*state = place;
	return 0;
}

static int place_teardown(void **state)
{
	struct place *place = *state;

	unlink(place->path);
	rmdir(place->path);
	unlink(place->lock);
	unlink(place->other);
	assert_int_equal(rmdir(place->dir), 0);
	free(place);
	return 0;
}

static void make_file(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	close(fd);
}

static void make(const char *path, mode_t type)
{
	if (type == S_IFDIR)
		assert_int_equal(mkdir(path, 0700), 0);
	else if (type == S_IFLNK)
		assert_int_equal(symlink("/etc/passwd", path), 0);
	else if (type == S_IFREG)
		make_file(path);
	else
		assert_int_equal(mknod(path, type | 0600, 0), 0);
}

/* Each type where each is wanted. */
static void test_check_types(void **state)
{
	static const struct {
		mode_t type;
		const char *name;
	} types[] = {
		{ S_IFREG, "a regular file" },
		{ S_IFIFO, "a FIFO" },
		{ S_IFSOCK, "a socket" },
		{ S_IFDIR, "a directory" },
		{ S_IFLNK, "a symbolic link" },
	};
	struct place *place = *state;
	char why[NODE_WHY_MAX];
	struct stat st;

	for (size_t have = 0; have < ARRAY_LEN(types); have++) {
		assert_int_equal(node_check(place->path, types[have].type, why), NODE_E_ABSENT);
		make(place->path, types[have].type);
		for (size_t want = 0; want < 3; want++) {
			why[0] = '\0';
			if (want == have) {
				assert_int_equal(node_check(place->path, types[want].type, why), 0);
				continue;
			}
			assert_int_equal(
				node_check(place->path, types[want].type, why), NODE_E_FOREIGN);
			assert_non_null(strstr(why, types[have].name));
			assert_non_null(strstr(why, place->path));
		}
		assert_int_equal(lstat(place->path, &st), 0);
		assert_int_equal(st.st_mode & S_IFMT, types[have].type);
		if (types[have].type == S_IFDIR)
			rmdir(place->path);
		else
			unlink(place->path);
	}
}

/* A second name: removing one would leave the other in somebody's hands. */
static void test_check_links(void **state)
{
	struct place *place = *state;
	char why[NODE_WHY_MAX];

	make_file(place->path);
	assert_int_equal(link(place->path, place->other), 0);
	assert_int_equal(node_check(place->path, S_IFREG, why), NODE_E_FOREIGN);
	assert_non_null(strstr(why, "more than one name"));
	unlink(place->other);
	assert_int_equal(node_check(place->path, S_IFREG, why), 0);
}

static void test_check_owner(void **state)
{
	struct place *place = *state;
	char why[NODE_WHY_MAX];

	if (geteuid() != 0)
		skip();
	for (int i = 0; i < 2; i++) {
		make(place->path, i == 0 ? S_IFREG : S_IFIFO);
		assert_int_equal(lchown(place->path, 54321, (gid_t)-1), 0);
		assert_int_equal(
			node_check(place->path, i == 0 ? S_IFREG : S_IFIFO, why), NODE_E_FOREIGN);
		assert_non_null(strstr(why, "an unknown user (uid 54321)"));
		assert_int_equal(unlink(place->path), 0);
	}
}

static void test_check_errors(void **state)
{
	struct place *place = *state;
	char why[NODE_WHY_MAX], path[128];

	make_file(place->path);
	snprintf(path, sizeof path, "%s/below", place->path);
	assert_int_equal(node_check(path, S_IFREG, why), -ENOTDIR);
	snprintf(path, sizeof path, "%s/no/such", place->dir);
	assert_int_equal(node_check(path, S_IFREG, why), NODE_E_ABSENT);
}

static void test_same(void **state)
{
	struct place *place = *state;
	struct stat st;

	make_file(place->path);
	assert_int_equal(lstat(place->path, &st), 0);
	assert_true(node_is_same(place->path, &st));
	/* another file in its place, made while the first exists so that no number is reused */
	make_file(place->other);
	assert_int_equal(rename(place->other, place->path), 0);
	assert_false(node_is_same(place->path, &st));
	/* a link to the very file is not the file */
	assert_int_equal(rename(place->path, place->other), 0);
	assert_int_equal(lstat(place->other, &st), 0);
	assert_int_equal(symlink(place->other, place->path), 0);
	assert_false(node_is_same(place->path, &st));
	unlink(place->path);
	assert_false(node_is_same(place->path, &st));
}

static void test_lock(void **state)
{
	struct place *place = *state;
	struct node_lock lock = { .fd = -1 }, second = { .fd = -1 };
	char why[NODE_WHY_MAX], pid[32], content[32] = "";
	struct stat st;

	node_unlock(&lock); /* not held: nothing */
	assert_int_equal(node_lock(&lock, place->path, why), 0);
	assert_int_equal(lstat(place->lock, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	sprintf(pid, "%d\n", getpid());
	assert_int_equal(pread(lock.fd, content, sizeof content - 1, 0), strlen(pid));
	assert_string_equal(content, pid);

	assert_int_equal(node_lock(&second, place->path, why), NODE_E_HELD);
	assert_int_equal(second.fd, -1);
	sprintf(pid, "pid %d, has", getpid());
	assert_non_null(strstr(why, pid));
	node_unlock(&lock);
	assert_int_equal(lock.fd, -1);
	assert_int_equal(lstat(place->lock, &st), -1);
	assert_int_equal(node_lock(&lock, place->path, why), 0);
	node_unlock(&lock);
}

/* A file that a broker left when it was killed is no obstacle, whatever it holds. */
static void test_lock_left_over(void **state)
{
	struct place *place = *state;
	struct node_lock lock = { .fd = -1 };
	char why[NODE_WHY_MAX], content[64] = "";
	FILE *file = fopen(place->lock, "w");

	assert_non_null(file);
	fputs("1234567890 and much more than a pid\n", file);
	fclose(file);
	assert_int_equal(node_lock(&lock, place->path, why), 0);
	assert_true(pread(lock.fd, content, sizeof content - 1, 0) > 0);
	assert_int_equal(strtol(content, NULL, 10), getpid());
	assert_null(strstr(content, "much"));
	node_unlock(&lock);
	assert_int_equal(node_lock(&lock, "/no/such/directory/socket", why), -ENOENT);
}

/* What squats on the lock's path is not followed, opened, changed or removed. */
static void test_lock_squatted(void **state)
{
	static const mode_t types[] = { S_IFLNK, S_IFIFO, S_IFSOCK };
	struct place *place = *state;
	struct node_lock lock = { .fd = -1 };
	char why[NODE_WHY_MAX];
	struct stat st;

	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		if (types[i] == S_IFLNK)
			assert_int_equal(symlink(place->other, place->lock), 0);
		else
			make(place->lock, types[i]);
		assert_int_equal(node_lock(&lock, place->path, why), NODE_E_FOREIGN);
		assert_int_equal(lstat(place->lock, &st), 0);
		assert_int_equal(st.st_mode & S_IFMT, types[i]);
		assert_int_equal(lstat(place->other, &st), -1);
		unlink(place->lock);
	}
	/* a second name of somebody's file */
	make_file(place->other);
	assert_int_equal(link(place->other, place->lock), 0);
	assert_int_equal(node_lock(&lock, place->path, why), NODE_E_FOREIGN);
	unlink(place->lock);
	if (geteuid() == 0) {
		make_file(place->lock);
		assert_int_equal(chown(place->lock, 54321, (gid_t)-1), 0);
		assert_int_equal(node_lock(&lock, place->path, why), NODE_E_FOREIGN);
		assert_int_equal(lstat(place->lock, &st), 0);
		assert_int_equal(st.st_uid, 54321);
	}
	assert_int_equal(lock.fd, -1);
}

/* The file was removed and made again by another broker while we held the old one: the
 * old lock protects nothing, so the other's is the one that counts. */
static void test_lock_replaced(void **state)
{
	struct place *place = *state;
	struct node_lock ours = { .fd = -1 }, theirs = { .fd = -1 }, third = { .fd = -1 };
	char why[NODE_WHY_MAX];

	assert_int_equal(node_lock(&ours, place->path, why), 0);
	assert_int_equal(unlink(place->lock), 0);
	assert_int_equal(node_lock(&theirs, place->path, why), 0);
	assert_int_equal(node_lock(&third, place->path, why), NODE_E_HELD);
	node_unlock(&ours);
	assert_int_equal(node_lock(&third, place->path, why), NODE_E_HELD);
	node_unlock(&theirs);
	assert_int_equal(node_lock(&third, place->path, why), 0);
	node_unlock(&third);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_check_types, place_setup, place_teardown),
		cmocka_unit_test_setup_teardown(test_check_links, place_setup, place_teardown),
		cmocka_unit_test_setup_teardown(test_check_owner, place_setup, place_teardown),
		cmocka_unit_test_setup_teardown(test_check_errors, place_setup, place_teardown),
		cmocka_unit_test_setup_teardown(test_same, place_setup, place_teardown),
		cmocka_unit_test_setup_teardown(test_lock, place_setup, place_teardown),
		cmocka_unit_test_setup_teardown(test_lock_left_over, place_setup, place_teardown),
		cmocka_unit_test_setup_teardown(test_lock_squatted, place_setup, place_teardown),
		cmocka_unit_test_setup_teardown(test_lock_replaced, place_setup, place_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
