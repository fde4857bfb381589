/* paths_test.c - the socket, the FIFO and their locks among files of others:
 * chat-broker(8), OPTIONS and FILES. */
#include "tests/integration/harness.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define STRANGER 65534

static struct stat status_of(const char *path)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		fail_msg("%s: %s", path, strerror(errno));
	return st;
}

static void expect_mode(const char *path, mode_t mode, gid_t gid)
{
	struct stat st = status_of(path);

	if ((st.st_mode & 07777) != mode || st.st_gid != gid)
		fail_msg("%s: mode %o group %u", path, st.st_mode & 07777, st.st_gid);
}

static void test_modes(void **state)
{
	mode_t old = umask(077);
	struct broker *broker = broker_start(NULL);

	expect_mode(broker->socket, 0666, getegid());
	expect_mode(broker->ctl, 0600, getegid());
	expect_mode(broker_path(broker, "broker.sock.lock"), 0600, getegid());
	expect_mode(broker_path(broker, "broker.ctl.lock"), 0600, getegid());
	broker_stop(broker);
	umask(0);
	broker = broker_start("--mode", "0640");
	expect_mode(broker->socket, 0640, getegid());
	expect_mode(broker->ctl, 0600, getegid());
	expect_mode(broker_path(broker, "broker.sock.lock"), 0600, getegid());
	broker_stop(broker);
	umask(old);
}

static void test_groups(void **state)
{
	struct broker *broker;
	struct raw *raw;

	if (geteuid() != 0)
		SKIP("only root may give a file to any group");
	broker = broker_start("--mode", "0660", "--group", "12345", "--admin-group", "12346");
	expect_mode(broker->socket, 0660, 12345);
	expect_mode(broker->ctl, 0620, 12346);
	assert_int_equal(seteuid(STRANGER), 0);
	raw = raw_open_path(broker->socket);
	assert_int_equal(seteuid(0), 0);
	assert_null(raw);
	raw_hello(broker, "");
	broker_stop(broker);
}

static void test_relative_path(void **state)
{
	static const char *const options[] = { "--socket", "./here.sock", "--ephemeral", "--ctl",
		"here.ctl", NULL };
	struct broker *broker = broker_new();
	struct raw *raw;

	broker_spawn(broker, options);
	broker_expect(broker, "ready socket=./here.sock ctl=here.ctl");
	strcpy(broker->socket, broker_path(broker, "here.sock"));
	strcpy(broker->ctl, broker_path(broker, "here.ctl"));
	raw = raw_hello(broker, "name=t3ster");
	broker_ctl(broker, "STATS");
	broker_expect(broker, "ctl sessions 1");
	unlink(broker->socket);
	broker_expect(broker, "socket vanished path=./here.sock");
	raw_expect_quiet(raw);
	raw_hello(broker, "name=later");
	broker_stop(broker);
	assert_int_equal(directory_count(broker->dir), 0);
}

static void test_longest_path(void **state)
{
	struct broker *broker = broker_new();
	const char *options[] = { "--socket", NULL, "--ctl", "none", "--ephemeral", NULL };
	char path[108];

	memset(path, 'x', sizeof path);
	memcpy(path, broker->dir, strlen(broker->dir));
	path[strlen(broker->dir)] = '/';
	path[107] = '\0';
	options[1] = path;
	broker_spawn(broker, options);
	broker_wait_ready(broker);
	assert_non_null(raw_open_path(path));
	broker_signal(broker, SIGTERM);
	broker_expect_exit(broker, 0);
	assert_int_equal(directory_count(broker->dir), 0);
}

static void test_abstract_socket(void **state)
{
	struct broker *broker = broker_new(), *second = broker_new();
	const char *options[] = { "--socket", NULL, "--ctl", "none", "--ephemeral", NULL };
	char name[64];
	struct raw *raw;

	snprintf(name, sizeof name, "@chat-broker-test-%d", getpid());
	options[1] = name;
	broker_spawn(broker, options);
	broker_expect(broker, "ready socket=%s ctl=-", name);
	assert_int_equal(directory_count(broker->dir), 0);
	raw = raw_open_path(name);
	assert_non_null(raw);
	raw_send(raw, "hello");
	raw_expect(raw, "*");
	broker_spawn(second, options);
	broker_expect_refusal(second, 75, name);
	broker_signal(broker, SIGTERM);
	broker_expect_exit(broker, 0);
}

static void test_second_broker(void **state)
{
	struct broker *first = broker_start(NULL), *second = broker_new();
	const char *options[] = { "--socket", first->socket, "--ctl", "none", "--ephemeral", NULL };
	char wanted[64];
	struct raw *raw = raw_hello(first, "name=t3ster");

	broker_spawn(second, options);
	snprintf(wanted, sizeof wanted, "another broker, pid %d", first->pid);
	broker_expect_refusal(second, 75, wanted);
	/* somebody took the lock away: it is still found out */
	unlink(broker_path(first, "broker.sock.lock"));
	second = broker_new();
	broker_spawn(second, options);
	broker_expect_refusal(second, 75, first->socket);
	raw_expect_quiet(raw);
	raw_hello(first, "name=other");
	/* the FIFO of another broker is not taken, either */
	second = broker_new();
	options[1] = second->socket;
	options[3] = first->ctl;
	broker_spawn(second, options);
	broker_expect(second, "warning: WITHOUT ADMIN FIFO: ~%s", first->ctl);
	broker_expect(second, "ready socket=%s ctl=-", second->socket);
	raw_hello(second, "name=t3ster");
	broker_ctl(first, "STATS");
	broker_expect(first, "ctl sessions ");
	broker_stop(second);
	broker_stop(first);
}

static void test_after_kill9(void **state)
{
	struct broker *broker = broker_start(NULL);

	for (int i = 0; i < 3; i++) {
		struct raw *raw = raw_join(broker, "name=t3ster", "lobby");

		broker_ctl(broker, "STATS");
		file_await(broker_path(broker, "broker.ctl.status"));
		broker_kill9(broker);
		raw_expect_close(raw);
		assert_true(file_exists(broker->socket) && file_exists(broker->ctl));
		broker_spawn_here(broker, NULL);
		broker_wait_ready(broker);
	}
	raw_hello(broker, "name=t3ster");
	broker_ctl(broker, "WHO");
	broker_expect(broker, "ctl t3ster ");
	broker_stop(broker);
	assert_int_equal(directory_count(broker->dir), 0);
}

/* ---- what is in the way ---- */

enum squat {
	SQUAT_DIRECTORY,
	SQUAT_LINK, /* to a file that must stay as it is */
	SQUAT_BROKEN_LINK,
	SQUAT_FILE,      /* our own */
	SQUAT_HARD_LINK, /* our own, under two names */
	SQUAT_FIFO,
	SQUAT_STRANGER, /* a regular file of another user */
	SQUAT_SAME,     /* of the right type, of another user */
	SQUATS,
};

static const char *const squat_words[] = {
	[SQUAT_DIRECTORY] = "a directory of ",
	[SQUAT_LINK] = "a symbolic link of ",
	[SQUAT_BROKEN_LINK] = "a symbolic link of ",
	[SQUAT_FILE] = "a regular file of ",
	[SQUAT_HARD_LINK] = "a regular file of ~with more than one name",
	[SQUAT_FIFO] = "a FIFO of ",
	[SQUAT_STRANGER] = "a regular file of nobody (uid 65534)",
	[SQUAT_SAME] = "a ~ of nobody (uid 65534)",
};

static const struct {
	const char *name;
	mode_t type;
	int status;       /* with which the broker ends; 0: it starts without its FIFO */
	unsigned allowed; /* bit of each squat that is not one */
} nodes[] = {
	{ "broker.sock", S_IFSOCK, 73, 0 },
	{ "broker.sock.lock", S_IFREG, 73, 1 << SQUAT_FILE },
	{ "broker.ctl", S_IFIFO, 0, 1 << SQUAT_FILE | 1 << SQUAT_FIFO },
	{ "broker.ctl.lock", S_IFREG, 0, 1 << SQUAT_FILE },
};

static bool squat(const struct broker *broker, const char *path, mode_t type, enum squat squat)
{
	const char *victim = broker_path(broker, "victim");
	uid_t uid = squat >= SQUAT_STRANGER ? STRANGER : geteuid();

	if (squat >= SQUAT_STRANGER && geteuid() != 0)
		return false;
	file_write(victim, "precious");
	switch (squat) {
	case SQUAT_DIRECTORY:
		return mkdir(path, 0755) == 0;
	case SQUAT_LINK:
		return symlink(victim, path) == 0;
	case SQUAT_BROKEN_LINK:
		return symlink("nothing", path) == 0;
	case SQUAT_HARD_LINK:
		return link(victim, path) == 0;
	case SQUAT_FIFO:
		return mkfifo(path, 0666) == 0;
	default:
		return mknod(path, (squat == SQUAT_SAME ? type : S_IFREG) | 0666, 0) == 0 &&
		       chown(path, uid, (gid_t)-1) == 0;
	}
}

static void expect_untouched(
	const struct broker *broker, const char *path, const struct stat *before)
{
	struct stat after = status_of(path);

	assert_int_equal(after.st_ino, before->st_ino);
	assert_int_equal(after.st_mode, before->st_mode);
	assert_int_equal(after.st_uid, before->st_uid);
	assert_string_equal(file_read(broker_path(broker, "victim")), "precious");
	assert_false(file_exists(broker_path(broker, "nothing")));
}

static void test_squatted(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(nodes); i++)
		for (enum squat kind = 0; kind < SQUATS; kind++) {
			struct broker *broker = broker_new();
			const char *path = broker_path(broker, nodes[i].name);
			struct stat before;

			if (nodes[i].allowed & 1u << kind ||
				!squat(broker, path, nodes[i].type, kind)) {
				harness_teardown(state);
				continue;
			}
			before = status_of(path);
			broker_spawn_here(broker, NULL);
			broker_expect(broker, "%s%s~%s is %s",
				nodes[i].status ? "error: " : "warning: WITHOUT ADMIN FIFO: ",
				nodes[i].status ? "can not listen" : "", path, squat_words[kind]);
			if (nodes[i].status) {
				broker_expect_exit(broker, nodes[i].status);
				expect_untouched(broker, path, &before);
				/* the victim and the squatter */
				assert_int_equal(directory_count(broker->dir), 2);
			} else {
				broker_expect(broker, "ready socket=%s ctl=-", broker->socket);
				raw_hello(broker, "name=t3ster");
				broker_signal(broker, SIGTERM);
				broker_expect_exit(broker, 0);
				expect_untouched(broker, path, &before);
				assert_int_equal(directory_count(broker->dir), 2);
			}
			harness_teardown(state);
		}
}

/* What is ours and no use any more is replaced: what echo wrote while no broker ran, a
 * FIFO, a socket, a lock that nobody holds. */
static void test_left_overs(void **state)
{
	struct broker *broker = broker_new();

	file_write(broker->ctl, "STOP\n");
	file_write(broker_path(broker, "broker.sock.lock"), "1\n");
	file_write(broker_path(broker, "broker.ctl.lock"), "1\n");
	file_write(broker_path(broker, "broker.ctl.status"), "old\n");
	assert_int_equal(mknod(broker->socket, S_IFSOCK | 0666, 0), 0);
	broker_spawn_here(broker, NULL);
	broker_wait_ready(broker);
	assert_true(S_ISFIFO(status_of(broker->ctl).st_mode));
	raw_hello(broker, "name=t3ster");
	broker_ctl(broker, "STATS");
	broker_expect(broker, "ctl sessions 1");
	broker_stop(broker);
	assert_int_equal(directory_count(broker->dir), 0);
}

/* A file of ours in the place of the FIFO that is somebody's work stays. */
static void test_work_is_kept(void **state)
{
	static const char *const works[] = { "important notes\n", "STOP\nand more\n", "STOPS\n" };

	for (size_t i = 0; i < ARRAY_LEN(works); i++) {
		struct broker *broker = broker_new();

		file_write(broker->ctl, works[i]);
		broker_spawn_here(broker, NULL);
		broker_expect(broker, "warning: WITHOUT ADMIN FIFO: ~%s is a regular file of ~",
			broker->ctl);
		broker_wait_ready(broker);
		assert_string_equal(file_read(broker->ctl), works[i]);
		unlink(broker->ctl);
		broker_stop(broker);
		harness_teardown(state);
	}
}

static void test_socket_is_made_again(void **state)
{
	struct broker *broker = broker_start("--mode", "0644");
	struct raw *raw = raw_join(broker, "name=t3ster", "room");

	for (int i = 0; i < 5; i++) {
		unlink(broker->socket);
		broker_expect(broker, "warning: socket vanished path=%s", broker->socket);
		expect_mode(broker->socket, 0644, getegid());
		raw_close(raw_hello(broker, "name=other"));
		raw_expect_quiet(raw);
	}
	assert_int_equal(rename(broker->socket, broker_path(broker, "moved")), 0);
	broker_expect(broker, "socket vanished path=%s", broker->socket);
	raw_hello(broker, "name=other");
	/* what was moved away does not answer any more */
	assert_null(raw_open_path(broker_path(broker, "moved")));
	broker_stop(broker);
}

/* In its place is something of somebody else: it is left alone, and said. */
static void test_socket_is_taken(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *raw = raw_join(broker, "name=t3ster", "room");
	const char *other = broker_path(broker, "other");

	file_write(other, "of somebody else");
	assert_int_equal(rename(other, broker->socket), 0);
	broker_expect(
		broker, "error: socket lost path=%s reason=~a regular file of ", broker->socket);
	raw_expect_quiet(raw);
	broker_signal(broker, SIGTERM);
	broker_expect_exit(broker, 0);
	assert_string_equal(file_read(broker->socket), "of somebody else");
	assert_int_equal(directory_count(broker->dir), 1);
}

/* Clients that had connected when it vanished, but were not let in yet, are not lost. */
static void test_backlog_of_a_vanished_socket(void **state)
{
	struct broker *broker = broker_start("--limit", "connections=500");
	struct raw *raws[200];

	raw_close(raw_hello(broker, "name=known"));
	broker_signal(broker, SIGSTOP);
	for (size_t i = 0; i < ARRAY_LEN(raws); i++) {
		raws[i] = raw_open(broker);
		raw_send(raws[i], "hello");
	}
	unlink(broker->socket);
	broker_signal(broker, SIGCONT);
	for (size_t i = 0; i < ARRAY_LEN(raws); i++)
		raw_expect(raws[i], "*");
	broker_expect(broker, "socket vanished path=%s", broker->socket);
	raw_hello(broker, "name=later");
	broker_stop(broker);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_modes),
		TEST(test_groups),
		TEST(test_relative_path),
		TEST(test_longest_path),
		TEST(test_abstract_socket),
		TEST(test_second_broker),
		TEST(test_after_kill9),
		TEST(test_squatted),
		TEST(test_left_overs),
		TEST(test_work_is_kept),
		TEST(test_socket_is_made_again),
		TEST(test_socket_is_taken),
		TEST(test_backlog_of_a_vanished_socket),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
