/* vanish_test.c - the files of a broker that runs go away, with their directory or without,
 * and what a killed broker left in the FIFO's place: chat-broker(8), FILES. */
#include "tests/integration/harness.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- directories ---- */

static void make_directory(const struct broker *broker, const char *name)
{
	if (mkdir(broker_path(broker, name), 0755) < 0)
		fail_msg("mkdir %s: %s", name, strerror(errno));
}

static void move(const struct broker *broker, const char *from, const char *to)
{
	if (rename(broker_path(broker, from), broker_path(broker, to)) < 0)
		fail_msg("rename %s: %s", from, strerror(errno));
}

/* A broker with the files sock and ctl in NAME, a directory in its own. */
static struct broker *place_below(const char *name)
{
	struct broker *broker = broker_new();

	make_directory(broker, name);
	snprintf(broker->socket, sizeof broker->socket, "%s/%s/sock", broker->dir, name);
	snprintf(broker->ctl, sizeof broker->ctl, "%s/%s/ctl", broker->dir, name);
	return broker;
}

static struct broker *start_below(const char *name)
{
	struct broker *broker = place_below(name);

	broker_spawn_here(broker, NULL);
	broker_wait_ready(broker);
	return broker;
}

/* A cleaner that wins in the end: the broker makes its files again meanwhile. */
static void remove_directory(const struct broker *broker, const char *name)
{
	static const char *const files[] = { "sock", "sock.lock", "ctl", "ctl.lock", "ctl.status" };
	uint64_t until = clock_ms() + DEADLINE_MS;
	char path[128];

	do {
		for (size_t i = 0; i < ARRAY_LEN(files); i++) {
			snprintf(path, sizeof path, "%s/%s/%s", broker->dir, name, files[i]);
			(void)unlink(path);
		}
		if (rmdir(broker_path(broker, name)) == 0)
			return;
	} while (errno == ENOTEMPTY && clock_ms() < until);
	fail_msg("rmdir: %s", strerror(errno));
}

static void expect_reachable(struct broker *broker)
{
	char lock[80];

	raw_close(raw_hello(broker, "name=other"));
	broker_ctl(broker, "LOGLEVEL info");
	broker_expect(broker, "ctl command=\"LOGLEVEL info\"");
	snprintf(lock, sizeof lock, "%s.lock", broker->socket);
	assert_int_equal(atoi(file_read(lock)), broker->pid);
	snprintf(lock, sizeof lock, "%s.lock", broker->ctl);
	assert_int_equal(atoi(file_read(lock)), broker->pid);
}

/* A line of each, in any order. */
static void expect_both(struct broker *broker, const char *level, const char *event)
{
	size_t start = broker->text_at, end;

	broker_expect(broker, "%ssocket %s path=%s~", level, event, broker->socket);
	end = broker->text_at;
	broker->text_at = start;
	broker_expect(broker, "%sctl %s path=%s~", level, event, broker->ctl);
	broker->text_at = MAX(end, broker->text_at);
}

static void expect_made_again(struct broker *broker)
{
	expect_both(broker, "warning: ", "vanished");
	expect_reachable(broker);
}

static void end(struct broker *broker)
{
	broker_signal(broker, SIGTERM);
	broker_expect_exit(broker, 0);
	assert_false(file_exists(broker->socket) || file_exists(broker->ctl));
}

static void test_directory_is_removed(void **state)
{
	struct broker *broker = start_below("run");
	struct raw *known = raw_join(broker, "name=t3ster", "room");

	for (int i = 0; i < 3; i++) {
		remove_directory(broker, "run");
		expect_both(broker, "error: ", "lost");
		raw_expect_quiet(known);
		/* longer than from one try to the next: it is said once */
		raw_expect_silence(known, 1500);
		assert_int_equal(broker_count(broker, "socket lost path="), i + 1);
		make_directory(broker, "run");
		expect_made_again(broker);
	}
	end(broker);
	assert_int_equal(directory_count(broker_path(broker, "run")), 0);
}

static void test_directory_is_replaced(void **state)
{
	struct broker *broker = start_below("run");
	struct raw *known = raw_join(broker, "name=t3ster", "room");

	move(broker, "run", "away");
	make_directory(broker, "run");
	expect_made_again(broker);
	raw_expect_quiet(known);
	/* the socket that was moved away does not answer any more */
	assert_null(raw_open_path(broker_path(broker, "away/sock")));
	end(broker);
}

/* A directory that was moved away and back is used as before, and nothing is made. */
static void test_directory_comes_back(void **state)
{
	struct broker *broker = start_below("run");

	move(broker, "run", "away");
	broker_expect(broker, "error: socket lost path=%s ~", broker->socket);
	/* a client that finds the socket there is accepted meanwhile */
	assert_non_null(raw_open_path(broker_path(broker, "away/sock")));
	move(broker, "away", "run");
	expect_reachable(broker);
	assert_int_equal(broker_count(broker, "made again"), 0);
	move(broker, "run", "away");
	broker_expect(broker, "error: ctl lost path=%s ~", broker->ctl);
	move(broker, "away", "run");
	expect_reachable(broker);
	end(broker);
}

static void test_directory_above_is_replaced(void **state)
{
	struct broker *broker = broker_new();

	make_directory(broker, "a");
	make_directory(broker, "a/b");
	make_directory(broker, "a/b/run");
	snprintf(broker->socket, sizeof broker->socket, "%s/a/b/run/sock", broker->dir);
	snprintf(broker->ctl, sizeof broker->ctl, "%s/a/b/run/ctl", broker->dir);
	broker_spawn_here(broker, NULL);
	broker_wait_ready(broker);
	move(broker, "a", "old");
	broker_expect(broker, "error: socket lost path=%s ~", broker->socket);
	make_directory(broker, "a");
	make_directory(broker, "a/b");
	make_directory(broker, "a/b/run");
	expect_made_again(broker);
	end(broker);
	assert_int_equal(unlink(broker_path(broker, "old/b/run/sock")), 0);
}

/* Relative paths lead to the directory in which the broker was started, whichever it is now. */
static void replace_current_directory(bool is_slow)
{
	static const char *const options[] = { "--socket", "./sock", "--ephemeral", "--ctl", "ctl",
		NULL };
	struct broker *broker = broker_new();
	char dir[sizeof broker->dir], away[64];
	struct raw *raw;

	/* the broker is started in it, so it is the one that goes */
	strcpy(dir, broker->dir);
	broker_spawn(broker, options);
	broker_wait_ready(broker);
	snprintf(away, sizeof away, "%s.away", dir);
	raw = raw_open_path(broker_path(broker, "sock"));
	assert_int_equal(rename(dir, away), 0);
	if (is_slow) { /* the broker has seen that it is gone */
		raw_send(raw, "hello");
		raw_expect(raw, "*");
	}
	assert_int_equal(mkdir(dir, 0755), 0);
	broker_expect(broker, "warning: socket vanished path=./sock; made again");
	broker_expect(broker, "warning: ctl vanished path=ctl; made again");
	raw = raw_open_path(broker_path(broker, "sock"));
	assert_non_null(raw);
	raw_send(raw, "hello");
	raw_expect(raw, "*");
	broker_signal(broker, SIGTERM);
	broker_expect_exit(broker, 0);
	assert_int_equal(directory_count(dir), 0);
	strcpy(broker->dir, away); /* for it to be removed */
	assert_int_equal(rmdir(dir), 0);
}

static void test_current_directory_is_replaced(void **state)
{
	replace_current_directory(false);
}

static void test_current_directory_is_made_later(void **state)
{
	replace_current_directory(true);
}

/* Another broker was quicker in the new directory: the path is its own until it ends. */
static void test_another_broker_has_it(void **state)
{
	struct broker *broker = start_below("run"), *other;
	struct raw *known = raw_join(broker, "name=t3ster", "room"), *raw;

	broker_signal(broker, SIGSTOP);
	move(broker, "run", "away");
	make_directory(broker, "run");
	other = broker_new();
	strcpy(other->socket, broker->socket);
	strcpy(other->ctl, broker->ctl);
	broker_spawn_here(other, NULL);
	broker_wait_ready(other);
	broker_signal(broker, SIGCONT);
	broker_expect(broker, "error: socket lost path=%s reason=\"another broker, pid %d, has ~",
		broker->socket, other->pid);
	broker_expect(broker, "error: ctl lost path=%s reason=\"another broker, pid %d, has ~",
		broker->ctl, other->pid);
	raw_expect_quiet(known);
	raw = raw_hello(other, "name=t3ster");
	raw_expect_silence(known, 1500);
	raw_expect_quiet(raw);
	assert_int_equal(broker_count(broker, "socket lost path="), 1);
	assert_int_equal(broker_count(broker, "made again"), 0);
	broker_signal(other, SIGTERM);
	broker_expect_exit(other, 0);
	expect_made_again(broker);
	raw_expect_quiet(known);
	end(broker);
}

static void test_lock_is_swept(void **state)
{
	struct broker *broker = broker_start(NULL), *second = broker_new();
	struct raw *raw = raw_hello(broker, "name=t3ster");
	const char *lock = broker_path(broker, "broker.sock.lock");
	char wanted[64];

	assert_int_equal(unlink(lock), 0);
	broker_expect(broker, "warning: lock vanished path=%s; made again", broker->socket);
	assert_int_equal(atoi(file_read(lock)), broker->pid);
	assert_int_equal(unlink(broker_path(broker, "broker.ctl.lock")), 0);
	broker_expect(broker, "warning: ctl lock vanished path=%s; made again", broker->ctl);
	raw_expect_quiet(raw);
	strcpy(second->socket, broker->socket);
	snprintf(wanted, sizeof wanted, "another broker, pid %d", broker->pid);
	broker_spawn_here(second, NULL);
	broker_expect_refusal(second, 75, wanted);
	broker_stop(broker);
}

/* ---- the FIFO ---- */

/* A process that opens the FIFO as a shell's ">" does, writes a line and ends with 0. */
static pid_t writer_start(const char *path, const char *line)
{
	pid_t pid = child_fork();
	int fd;

	if (pid > 0)
		return pid;
	fd = open(path, O_WRONLY | O_CLOEXEC);
	_exit(fd < 0 || write(fd, line, strlen(line)) != (ssize_t)strlen(line));
}

/* PID sleeps in open(2) of a FIFO. */
static void await_open(pid_t pid)
{
	uint64_t until = clock_ms() + DEADLINE_MS;
	char path[64];

	snprintf(path, sizeof path, "/proc/%d/wchan", pid);
	while (!strstr(file_read(path), "fifo") && !strstr(file_read(path), "wait_for_partner")) {
		if (clock_ms() >= until || !child_runs(pid))
			fail_msg("the writer does not wait: %s", file_read(path));
	}
}

/* A command that waits since the broker was killed is carried out by the next one. */
static void test_writer_waits_for_a_broker(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct stat before, after;
	pid_t writer;

	assert_int_equal(lstat(broker->ctl, &before), 0);
	broker_kill9(broker);
	writer = writer_start(broker->ctl, "LOGLEVEL debug\n");
	await_open(writer);
	broker_spawn_here(broker, NULL);
	broker_wait_ready(broker);
	child_expect_exit(writer, 0);
	broker_expect(broker, "ctl command=\"LOGLEVEL debug\"");
	assert_int_equal(lstat(broker->ctl, &after), 0);
	assert_int_equal(before.st_ino, after.st_ino);
	broker_stop(broker);
}

/* A FIFO that more users could write to than may command: they go on, and are not obeyed. */
static void test_writer_of_a_wide_fifo(void **state)
{
	struct broker *broker = broker_new();
	struct stat before, after;
	pid_t writer;

	assert_int_equal(mkfifo(broker->ctl, 0600), 0);
	assert_int_equal(chmod(broker->ctl, 0622), 0);
	assert_int_equal(lstat(broker->ctl, &before), 0);
	writer = writer_start(broker->ctl, "LOGLEVEL debug\n");
	await_open(writer);
	broker_spawn_here(broker, NULL);
	broker_wait_ready(broker);
	(void)child_end_anyhow(writer);
	assert_int_equal(lstat(broker->ctl, &after), 0);
	assert_int_equal(after.st_mode & 07777, 0600);
	broker_ctl(broker, "LOGLEVEL info");
	broker_expect(broker, "ctl command=\"LOGLEVEL info\"");
	assert_int_equal(broker_count(broker, "LOGLEVEL debug"), 0);
	broker_stop(broker);
}

/* A FIFO that another process reads is not taken from it, by a start or by a broker that runs. */
static void test_fifo_is_read(void **state)
{
	struct broker *broker = broker_new();
	struct stat before, after;
	struct raw *raw;
	int fd;

	assert_int_equal(mkfifo(broker->ctl, 0600), 0);
	assert_int_equal(lstat(broker->ctl, &before), 0);
	fd = open(broker->ctl, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	assert_true(fd >= 0);
	broker_spawn_here(broker, NULL);
	broker_expect(
		broker, "warning: WITHOUT ADMIN FIFO: ~another process reads %s", broker->ctl);
	broker_expect(broker, "ready socket=%s ctl=-", broker->socket);
	raw_close(raw_hello(broker, "name=t3ster"));
	broker_signal(broker, SIGTERM);
	broker_expect_exit(broker, 0);
	assert_int_equal(lstat(broker->ctl, &after), 0);
	assert_int_equal(before.st_ino, after.st_ino);
	close(fd);
	broker_spawn_here(broker, NULL);
	broker_wait_ready(broker);
	raw = raw_hello(broker, "name=t3ster");
	assert_int_equal(mkfifo(broker_path(broker, "other"), 0600), 0);
	fd = open(broker_path(broker, "other"), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	assert_int_equal(rename(broker_path(broker, "other"), broker->ctl), 0);
	broker_expect(
		broker, "error: ctl lost path=%s reason=\"another process reads ~", broker->ctl);
	raw_expect_quiet(raw);
	assert_int_equal(unlink(broker->ctl), 0);
	close(fd);
	broker_expect(broker, "warning: ctl vanished path=%s; made again", broker->ctl);
	broker_ctl(broker, "STATS");
	broker_expect(broker, "ctl sessions 1");
	broker_stop(broker);
}

/* The broker obeys commands that were written before the FIFO vanished. */
static void test_written_before_it_vanished(void **state)
{
	struct broker *broker = broker_start(NULL);

	broker_signal(broker, SIGSTOP);
	for (int i = 0; i < 100; i++)
		broker_ctl(broker, "SAY room number %d", i);
	assert_int_equal(unlink(broker->ctl), 0);
	broker_signal(broker, SIGCONT);
	for (int i = 0; i < 100; i++)
		broker_expect(broker, "ctl command=\"SAY room number %d\"", i);
	broker_expect(broker, "ctl vanished path=%s", broker->ctl);
	broker_stop(broker);
}

/* A stop leaves no writer behind that waits: each ends, or finds no FIFO. */
static void test_writers_at_a_stop(void **state)
{
	struct broker *broker = broker_start(NULL);
	pid_t writers[20];

	for (size_t i = 0; i < ARRAY_LEN(writers); i++) {
		if (i == ARRAY_LEN(writers) / 2)
			broker_signal(broker, SIGTERM);
		writers[i] = writer_start(broker->ctl, "LOGLEVEL info\n");
	}
	broker_expect_exit(broker, 0);
	for (size_t i = 0; i < ARRAY_LEN(writers); i++)
		(void)child_end_anyhow(writers[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_directory_is_removed),
		TEST(test_directory_is_replaced),
		TEST(test_directory_comes_back),
		TEST(test_directory_above_is_replaced),
		TEST(test_current_directory_is_replaced),
		TEST(test_current_directory_is_made_later),
		TEST(test_another_broker_has_it),
		TEST(test_lock_is_swept),
		TEST(test_writer_waits_for_a_broker),
		TEST(test_writer_of_a_wide_fifo),
		TEST(test_fifo_is_read),
		TEST(test_written_before_it_vanished),
		TEST(test_writers_at_a_stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
