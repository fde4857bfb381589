/* backup_test.c - --backup copies a state beside a running broker, --rebuild makes a catalog again.
 * chat-broker(8), STORAGE, Backup and restore.
 */
#include "tests/integration/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

/* Run the broker's program with two or three words, and expect its exit status to be STATUS. */
static void expect_run(
	const struct broker *broker, int status, const char *option, const char *a, const char *b)
{
	pid_t pid = child_run(
		broker->dir, (const char *[]){ getenv("CHAT_BROKER"), option, a, b, NULL });

	child_expect_exit(pid, status);
}

static void say(struct raw *raw, unsigned from, unsigned to)
{
	for (unsigned i = from; i <= to; i++) {
		raw_send(raw, "#s SAY room\nnumber %u", i);
		raw_await(raw, "#s * %u", i);
	}
}

/* The identity of the log of ROOM. */
static void join(struct raw *raw, char log[static 32])
{
	raw_send(raw, "#j JOIN room");
	assert_int_equal(sscanf(raw_expect(raw, "#j * ~"), "#j * %*u first=%*u log=%16s", log), 1);
	raw_send(raw, "#j PART room");
	raw_expect(raw, "#j *~");
}

/* A broker goes on with the copy, and a reader that saw newer messages is not told that it has
 * all. */
static void test_restore(void **state)
{
	struct broker *broker = stored_start(), *other = broker_new();
	struct raw *raw = raw_hello(broker, "name=t3ster");
	char source[96], copy[96], log[32], restored[32];

	snprintf(source, sizeof source, "%s", broker_path(broker, "state"));
	snprintf(copy, sizeof copy, "%s", broker_path(broker, "copy"));
	say(raw, 1, 3);
	raw_send(raw, "#v SET room topic\nkept");
	raw_await(raw, "#v * ~");
	expect_run(broker, 0, "--backup", source, copy);
	say(raw, 4, 6);
	join(raw, log);
	broker_stop(broker);
	raw_close_all();
	broker_spawn_here(other, "--state", copy);
	broker_wait_ready(other);
	raw = raw_hello(other, "name=t3ster");
	join(raw, restored);
	assert_string_not_equal(log, restored);
	raw_send(raw, "#j JOIN room since=7 log=%s", log);
	raw_expect(raw, "#j * 1 first=1 ~");
	raw_expect(raw, "GAP room 7 0 reset");
	for (unsigned i = 1; i <= 3; i++)
		raw_expect(raw, "MSG room %u ~\nnumber %u", i, i);
	raw_send(raw, "#g GET room topic");
	raw_await(raw, "#g ~\nkept");
	broker_stop(other);
}

/* A backup during checkpoints has all messages that were acknowledged before the backup began. */
static void test_while_busy(void **state)
{
	struct broker *broker = broker_new();
	char source[96], copy[96];
	static char body[4000];
	struct raw *raw;
	unsigned n = 0;

	memset(body, 'x', sizeof body - 1);
	snprintf(source, sizeof source, "%s", broker_path(broker, "state"));
	broker_spawn_here(broker, "--state", source, "--limit", "journal-bytes=64k");
	broker_wait_ready(broker);
	raw = raw_hello(broker, "name=t3ster");
	say(raw, 1, 1);
	n = 1;
	for (unsigned i = 0; i < 3; i++) {
		unsigned n_before = n;
		char number[16];
		pid_t pid;

		snprintf(copy, sizeof copy, "%s%u", broker_path(broker, "copy"), i);
		pid = child_run(broker->dir,
			(const char *[]){ getenv("CHAT_BROKER"), "--backup", source, copy, NULL });
		for (; n < n_before + 100; n++) {
			raw_send(raw, "#s SAY room\n%u %s", n + 1, body);
			raw_await(raw, "#s * %u", n + 1);
		}
		child_expect_exit(pid, 0);
		snprintf(number, sizeof number, "%u", n_before);
		pid = child_run(broker->dir,
			(const char *[]){ "/bin/sh", "-c",
				"\"$0\" --dump \"$1\" room | grep \"^MSG room $2 \" >/dev/null",
				getenv("CHAT_BROKER"), copy, number, NULL });
		child_expect_exit(pid, 0);
	}
	broker_stop(broker);
}

static void test_refused(void **state)
{
	struct broker *broker = stored_start();
	struct raw *raw = raw_hello(broker, "name=t3ster");
	char source[96], copy[128], small[96];

	snprintf(source, sizeof source, "%s", broker_path(broker, "state"));
	snprintf(copy, sizeof copy, "%s", broker_path(broker, "copy"));
	snprintf(small, sizeof small, "%s", broker_path(broker, "small"));
	say(raw, 1, 1);
	expect_run(broker, 64, "--backup", source, NULL);
	expect_run(broker, 66, "--backup", "/nowhere/at/all", copy);
	expect_run(broker, 73, "--backup", source, "/nowhere/at/all");
	expect_run(broker, 0, "--backup", source, copy);
	expect_run(broker, 73, "--backup", source, copy); /* it exists */
	expect_run(broker, 75, "--rebuild", source, NULL);
	assert_int_equal(mkdir(small, 0700), 0);
	if (mount("none", small, "tmpfs", 0, "size=16k,mode=700") == 0) {
		snprintf(copy, sizeof copy, "%s/copy", small);
		expect_run(broker, 74, "--backup", source, copy);
		assert_int_equal(access(copy, F_OK), -1); /* none that looks whole */
		assert_int_equal(umount2(small, MNT_DETACH), 0);
	}
	broker_stop(broker);
	expect_run(broker, 66, "--rebuild", "/nowhere/at/all", NULL);
}

/* The power was cut while the catalog was made: its journal is there alone. */
static void test_only_a_journal(void **state)
{
	struct broker *broker = broker_new();
	char fresh[96];

	snprintf(fresh, sizeof fresh, "%s", broker_path(broker, "state"));
	assert_int_equal(mkdir(fresh, 0700), 0);
	file_write(broker_path(broker, "state/state.db-journal"), "of a transaction");
	expect_run(broker, 0, "--verify", fresh, NULL);
	stored_spawn(broker, NULL, NULL);
	broker_stop(broker);
}

/* Is TEXT in one of the journals of the state at PATH? */
static bool journal_has(const char *path, const char *text)
{
	static char data[1 << 20];
	bool has = false;

	for (unsigned generation = 1; generation <= 2 && !has; generation++) {
		char name[160];
		int fd;

		snprintf(name, sizeof name, "%s/journal-%016u", path, generation);
		fd = open(name, O_RDONLY | O_CLOEXEC);
		if (fd >= 0) {
			ssize_t n = read(fd, data, sizeof data);

			has = n > 0 && memmem(data, (size_t)n, text, strlen(text));
			close(fd);
		}
	}
	return has;
}

/* A disk that takes a part of a write: the copy is whole, or there is none. */
static void test_disk_almost_full(void **state)
{
	struct broker *broker = stored_start();
	struct raw *raw = raw_hello(broker, "name=t3ster");
	char source[96], copy[128], small[96], size[32];
	unsigned n_whole = 0, n_refused = 0;

	snprintf(source, sizeof source, "%s", broker_path(broker, "state"));
	snprintf(small, sizeof small, "%s", broker_path(broker, "small"));
	snprintf(copy, sizeof copy, "%s/copy", small);
	say(raw, 1, 500);
	assert_int_equal(mkdir(small, 0700), 0);
	for (unsigned kib = 32; n_whole < 2; kib += 16) {
		int status;

		assert_true(kib < 4096);
		snprintf(size, sizeof size, "size=%uk,mode=700", kib);
		if (mount("none", small, "tmpfs", 0, size) < 0)
			SKIP("only root mounts a small disk");
		status = child_end(child_run(broker->dir,
			(const char *[]){ getenv("CHAT_BROKER"), "--backup", source, copy, NULL }));
		if (status == 0) {
			expect_run(broker, 0, "--verify", copy, NULL);
			assert_true(journal_has(copy, "number 500"));
			n_whole++;
		} else {
			assert_int_equal(status, 74);
			assert_int_equal(access(copy, F_OK), -1);
			n_refused++;
		}
		assert_int_equal(umount2(small, MNT_DETACH), 0);
	}
	assert_true(n_refused > 0);
	broker_stop(broker);
}

static void expect_three(struct raw *raw)
{
	raw_send(raw, "#p PAST room");
	for (unsigned i = 1; i <= 3; i++)
		raw_expect(raw, "#p + MSG room %u ~\nnumber %u", i, i);
	raw_expect(raw, "#p * 3");
}

/* Without a catalog the files say what there is, and whose; with the old one nothing else is lost,
 * and it is kept. */
static void test_rebuild(void **state)
{
	struct broker *broker = stored_start();
	struct raw *raw = raw_hello(broker, "name=t3ster");
	char source[96], catalog[112];

	snprintf(source, sizeof source, "%s", broker_path(broker, "state"));
	snprintf(catalog, sizeof catalog, "%s/state.db", source);
	say(raw, 1, 3);
	raw_send(raw, "#d SAY @t3ster\nto myself");
	raw_await(raw, "#d * 1");
	raw_send(raw, "#v SET room topic\nkept");
	raw_await(raw, "#v * ~");
	broker_stop(broker);
	for (unsigned n = 1; n <= 2; n++) {
		if (n == 2)
			assert_int_equal(unlink(catalog), 0);
		expect_run(broker, 0, "--rebuild", source, NULL);
		expect_run(broker, 0, "--verify", source, NULL);
		stored_spawn(broker, NULL, NULL);
		raw = raw_hello(broker, "name=t3ster");
		expect_three(raw);
		raw_send(raw, "#p PAST @t3ster");
		raw_expect(raw, "#p + MSG @t3ster+t3ster 1 ~\nto myself");
		raw_expect(raw, "#p * 1");
		raw_send(raw, "#g GET room topic");
		raw_expect(raw, n == 1 ? "#g + ~\nkept" : "#g ~");
		if (n == 1)
			raw_expect(raw, "#g * ~");
		broker_stop(broker);
	}
	assert_int_equal(directory_count(broker_path(broker, "state/damaged")), 1);
}

/* Messages that only the journal has come back with the next start. */
static void test_rebuild_after_kill(void **state)
{
	struct broker *broker = stored_start();
	struct raw *raw = raw_hello(broker, "name=t3ster");
	char source[96], catalog[112];

	snprintf(source, sizeof source, "%s", broker_path(broker, "state"));
	snprintf(catalog, sizeof catalog, "%s/state.db", source);
	say(raw, 1, 3);
	broker_kill9(broker);
	raw_close_all();
	file_write(catalog, "no database, but long enough to be taken for one by its size");
	expect_run(broker, 65, "--verify", source, NULL);
	expect_run(broker, 0, "--rebuild", source, NULL);
	stored_spawn(broker, NULL, NULL);
	raw = raw_hello(broker, "name=t3ster");
	expect_three(raw);
	broker_stop(broker);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_restore),
		TEST(test_while_busy),
		TEST(test_refused),
		TEST(test_only_a_journal),
		TEST(test_disk_almost_full),
		TEST(test_rebuild),
		TEST(test_rebuild_after_kill),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
