/* damage_test.c - a state that is not as it was left. The broker keeps all that it can, reports
 * each loss, and refuses a state that does not fit together. chat-broker(8), STORAGE.
 */
#include "tests/integration/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "broker/archive.h"

static off_t file_len(const char *path)
{
	struct stat statbuf;

	assert_int_equal(stat(path, &statbuf), 0);
	return statbuf.st_size;
}

/* All of it, to be freed. */
static char *read_file(const char *path, size_t *ret_len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char *data;

	assert_true(fd >= 0);
	*ret_len = (size_t)file_len(path);
	data = malloc(*ret_len + 1);
	assert_non_null(data);
	assert_int_equal(read(fd, data, *ret_len), *ret_len);
	close(fd);
	return data;
}

/* Where TEXT is. */
static long file_find(const char *path, const char *text)
{
	size_t len;
	char *data = read_file(path, &len), *found = memmem(data, len, text, strlen(text));
	long at = found ? found - data : -1;

	free(data);
	assert_true(at >= 0);
	return at;
}

static void file_copy(const char *from, const char *to)
{
	size_t len;
	char *data = read_file(from, &len);
	int fd = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, len), len);
	close(fd);
	free(data);
}

/* The status of --verify. */
static void expect_verified(const struct broker *broker, int status)
{
	char state[96];
	pid_t pid;

	snprintf(state, sizeof state, "%s", broker_path(broker, "state"));
	pid = child_run(
		broker->dir, (const char *[]){ getenv("CHAT_BROKER"), "--verify", state, NULL });
	child_expect_exit(pid, status);
}

/* One byte of a segment's header, or of its only record. A header is made again from the catalog,
 * and costs nothing; the record is lost, and the next one has its own number. */
static void test_damaged_segment(void **state)
{
	static const long offsets[] = { 0, 8, 16, 24, 28, 32, 60, 64, 68, 72, 100, 111 };

	struct broker *broker = broker_new();
	char old[160], directory[96];

	snprintf(directory, sizeof directory, "%s", broker_path(broker, "state"));
	for (size_t i = 0; i < ARRAY_LEN(offsets); i++) {
		bool is_lost = offsets[i] >= 64;
		struct raw *raw;

		stored_spawn(broker, NULL, NULL);
		raw = raw_hello(broker, "name=t3ster");
		raw_send(raw, "#1 SAY room\none");
		raw_expect(raw, "#1 * 1");
		broker_stop(broker);
		flip(find_file(broker, "state/rooms", ""), offsets[i]);
		stored_spawn(broker, NULL, NULL);
		assert_int_equal(
			broker_count(broker, "damaged room=room segment=1 first=1 next=2"), i + 1);
		raw = raw_hello(broker, "name=t3ster");
		raw_send(raw, "#2 SAY room\ntwo");
		raw_expect(raw, "#2 * 2");
		raw_send(raw, "#j JOIN room since=1");
		raw_expect(raw, "#j * 1 first=%d ~", is_lost ? 2 : 1);
		raw_expect(raw, is_lost ? "GAP room 1 1 retention" : "MSG room 1 ~\none");
		raw_expect(raw, "MSG room 2 ~\ntwo");
		assert_int_equal(directory_count(broker_path(broker, "state/damaged")), 1);
		broker_stop(broker);
		stored_spawn(broker, NULL, NULL);
		assert_int_equal(broker_count(broker, "damaged room"), i + 1);
		broker_stop(broker);
		snprintf(old, sizeof old, "%s.%zu", directory, i);
		assert_int_equal(rename(directory, old), 0);
	}
}

/* One of several records of a segment is damaged: readers get a gap of one number, the others are
 * there, and so it is with the next broker, which finds nothing damaged any more. */
static void test_damaged_record(void **state)
{
	struct broker *broker = stored_start();
	struct raw *raw = raw_hello(broker, "name=t3ster");
	char path[512];

	for (unsigned i = 1; i <= 5; i++) {
		raw_send(raw, "#s SAY room\nnumber %u", i);
		raw_expect(raw, "#s * %u", i);
	}
	broker_stop(broker);
	snprintf(path, sizeof path, "%s", find_file(broker, "state/rooms", ""));
	/* records of one size: in the third one */
	flip(path, ARCHIVE_HEADER_LEN + 2 * ((file_len(path) - ARCHIVE_HEADER_LEN) / 5) + 30);
	expect_verified(broker, 65);
	for (unsigned n = 0; n < 2; n++) {
		stored_spawn(broker, NULL, NULL);
		assert_int_equal(broker_count(broker, "damaged room=room segment=1 ~ lost=1"), 1);
		raw = raw_hello(broker, "name=t3ster");
		raw_send(raw, "#j JOIN room since=1");
		raw_expect(raw, "#j * 1 first=1 ~");
		raw_expect(raw, "MSG room 1 ~\nnumber 1");
		raw_expect(raw, "MSG room 2 ~\nnumber 2");
		raw_expect(raw, "GAP room 3 3 damaged~");
		raw_expect(raw, "MSG room 4 ~\nnumber 4");
		raw_expect(raw, "MSG room 5 ~\nnumber 5");
		raw_send(raw, "#p PAST room from=2 to=4");
		raw_expect(raw, "#p + MSG room 2 ~");
		raw_expect(raw, "#p + MSG room 4 ~");
		raw_expect(raw, "#p * 2");
		raw_send(raw, "#f FIND room\n---");
		raw_expect(raw, "#f * 0");
		broker_stop(broker);
	}
	assert_int_equal(directory_count(broker_path(broker, "state/damaged")), 1);
	expect_verified(broker, 0);
}

/* A byte of the journal is damaged before something that was synced later: that is no torn write.
 * The rest is kept, the file is, too, and a reader that comes back is not told that it has all. */
static void test_damaged_journal(void **state)
{
	struct broker *broker = stored_start();
	struct raw *raw = raw_hello(broker, "name=t3ster");
	char path[512], log[32];

	for (unsigned i = 1; i <= 3; i++) {
		raw_send(raw, "#s SAY room\nnumber %u", i);
		raw_expect(raw, "#s * %u", i);
	}
	raw_send(raw, "#j JOIN room");
	assert_int_equal(
		sscanf(raw_expect(raw, "#j * 4 first=1 log=~"), "#j * 4 first=1 log=%16s", log), 1);
	broker_kill9(broker);
	raw_close_all();
	snprintf(path, sizeof path, "%s", find_file(broker, "state", "journal-"));
	flip(path, file_find(path, "number 2"));
	expect_verified(broker, 65);
	stored_spawn(broker, NULL, NULL);
	assert_int_equal(broker_count(broker, "damaged journal-~ are damaged~"), 1);
	assert_int_equal(broker_count(broker, "lost room=room first=2 next=3 records=1~"), 1);
	assert_int_equal(directory_count(broker_path(broker, "state/damaged")), 1);
	raw = raw_hello(broker, "name=t3ster");
	raw_send(raw, "#j JOIN room since=4 log=%s", log);
	raw_expect(raw, "#j * 1 first=1 ~");
	raw_expect(raw, "GAP room 4 0 reset");
	raw_expect(raw, "MSG room 1 ~\nnumber 1");
	raw_expect(raw, "GAP room 2 2 damaged");
	raw_expect(raw, "MSG room 3 ~\nnumber 3");
	raw = raw_hello(broker, "name=t3ster");
	raw_send(raw, "#1 SAY room\nnew");
	raw_expect(raw, "#1 * 4");
	raw_await_counter(raw, "checkpoints", 1);
	restart(broker);
	assert_int_equal(broker_count(broker, "damaged journal"), 1);
	raw = raw_hello(broker, "name=t3ster");
	raw_send(raw, "#p PAST room");
	raw_expect(raw, "#p + MSG room 1 ~");
	raw_expect(raw, "#p + MSG room 3 ~");
	raw_expect(raw, "#p + MSG room 4 ~\nnew");
	raw_expect(raw, "#p * 3");
	broker_stop(broker);
}

/* The last write may be torn: that is no damage, and nothing of it comes back. */
static void test_torn_journal(void **state)
{
	struct broker *broker = stored_start();
	struct raw *raw = raw_hello(broker, "name=t3ster");
	char path[512];

	for (unsigned i = 1; i <= 2; i++) {
		raw_send(raw, "#s SAY room\nnumber %u", i);
		raw_expect(raw, "#s * %u", i);
	}
	broker_kill9(broker);
	raw_close_all();
	snprintf(path, sizeof path, "%s", find_file(broker, "state", "journal-"));
	flip(path, file_find(path, "number 2"));
	stored_spawn(broker, NULL, NULL);
	assert_int_equal(broker_count(broker, "the last write was not finished~"), 1);
	assert_int_equal(broker_count(broker, "damaged journal"), 0);
	raw = raw_hello(broker, "name=t3ster");
	raw_send(raw, "#1 SAY room\nagain");
	raw_expect(raw, "#1 * 2");
	restart(broker);
	raw = raw_hello(broker, "name=t3ster");
	raw_send(raw, "#p PAST room");
	raw_expect(raw, "#p + MSG room 1 ~\nnumber 1");
	raw_expect(raw, "#p + MSG room 2 ~\nagain");
	raw_expect(raw, "#p * 2");
	broker_stop(broker);
}

/* The start is refused with words that help, --verify agrees, and nothing is removed. */
static void expect_refused(struct broker *broker, const char *why)
{
	unsigned n = broker_count(broker, "--rebuild");
	unsigned n_files = directory_count(broker_path(broker, "state/rooms"));

	broker_spawn_here(broker, "--state", broker_path(broker, "state"));
	broker_expect_exit(broker, 65);
	broker_expect(broker, "%s", why);
	assert_int_equal(broker_count(broker, "--rebuild"), n + 1);
	expect_verified(broker, 65);
	assert_int_equal(directory_count(broker_path(broker, "state/rooms")), n_files);
}

/* The broker does not remove files only because the catalog does not know them. */
static void test_lost_catalog(void **state)
{
	struct broker *broker = stored_start();
	char path[160], old[176], right[176];
	struct raw *raw = raw_hello(broker, "name=t3ster");

	snprintf(path, sizeof path, "%s", broker_path(broker, "state/state.db"));
	snprintf(old, sizeof old, "%s.old", broker_path(broker, "state.db"));
	snprintf(right, sizeof right, "%s.right", broker_path(broker, "state.db"));
	raw_send(raw, "#1 SAY room\none");
	raw_expect(raw, "#1 * 1");
	broker_stop(broker);
	file_copy(path, old);
	stored_spawn(broker, NULL, NULL);
	raw = raw_hello(broker, "name=t3ster");
	raw_send(raw, "#2 SAY room\ntwo");
	raw_expect(raw, "#2 * 2");
	raw_send(raw, "#3 SAY another\none");
	raw_expect(raw, "#3 * 1");
	broker_stop(broker);
	raw_close_all();
	file_copy(path, right);
	assert_int_equal(unlink(path), 0);
	expect_refused(broker, "state.db: missing");
	assert_int_equal(access(path, F_OK), -1); /* nor made */
	file_write(path, "");
	expect_refused(broker, "state.db is empty");
	file_copy(old, path);
	expect_refused(broker, "does not know 2 of the files");
	file_write(path,
		"no database, but long enough to be taken for one by who only looks at sizes");
	expect_refused(broker, "state.db: file is not a database");
	file_copy(right, path);
	stored_spawn(broker, NULL, NULL);
	raw = raw_hello(broker, "name=t3ster");
	raw_send(raw, "#p PAST room");
	raw_expect(raw, "#p + MSG room 1 ~");
	raw_expect(raw, "#p + MSG room 2 ~");
	raw_expect(raw, "#p * 2");
	broker_stop(broker);
}

/* A journal that should be there is missed. */
static void test_lost_journal(void **state)
{
	struct broker *broker = stored_start();
	struct raw *raw = raw_hello(broker, "name=t3ster");
	char path[512], aside[160];

	raw_send(raw, "#1 SAY room\none");
	raw_expect(raw, "#1 * 1");
	broker_kill9(broker);
	raw_close_all();
	/* the second one: the first is made at the start, and is empty */
	snprintf(path, sizeof path, "%s", find_file(broker, "state", "journal-"));
	path[strlen(path) - 1]--;
	snprintf(aside, sizeof aside, "%s", broker_path(broker, "aside"));
	assert_int_equal(rename(path, aside), 0);
	expect_refused(broker, "journal-0000000000000001 is missing");
	assert_int_equal(rename(aside, path), 0);
	stored_spawn(broker, NULL, NULL);
	broker_stop(broker);
}

/* A directory without any of the files that the catalog names is not the one that was used: the
 * disk that has them is not mounted. */
static void test_not_mounted(void **state)
{
	struct broker *broker = stored_start();
	struct raw *raw = raw_hello(broker, "name=t3ster");
	char rooms[96], aside[96], found[112];

	snprintf(rooms, sizeof rooms, "%s", broker_path(broker, "state/rooms"));
	snprintf(aside, sizeof aside, "%s", broker_path(broker, "aside"));
	raw_send(raw, "#1 SAY room\none");
	raw_expect(raw, "#1 * 1");
	broker_stop(broker);
	raw_close_all();
	assert_int_equal(rename(rooms, aside), 0);
	assert_int_equal(mkdir(rooms, 0700), 0);
	for (unsigned i = 0; i < 2; i++) {
		snprintf(found, sizeof found, "%s/lost+found", rooms);
		if (i == 1)
			assert_int_equal(mkdir(found, 0700), 0);
		expect_refused(broker, "rooms has none of the 1 files");
		expect_verified(broker, 65);
	}
	assert_int_equal(rmdir(found), 0);
	assert_int_equal(rmdir(rooms), 0); /* nothing was made there */
	assert_int_equal(rename(aside, rooms), 0);
	stored_spawn(broker, NULL, NULL);
	raw = raw_hello(broker, "name=t3ster");
	raw_send(raw, "#p PAST room");
	raw_expect(raw, "#p + MSG room 1 ~\none");
	raw_expect(raw, "#p * 1");
	broker_stop(broker);
}

/* The broker leaves a state alone that is of another version, or that others use or may write. */
static void test_not_ours(void **state)
{
	struct broker *broker = stored_start(), *other = broker_new();
	struct raw *raw = raw_hello(broker, "name=t3ster");
	char directory[96], path[512];

	snprintf(directory, sizeof directory, "%s", broker_path(broker, "state"));
	raw_send(raw, "#1 SAY room\none");
	raw_expect(raw, "#1 * 1");
	broker_spawn_here(other, "--state", directory);
	broker_expect_exit(other, 75);
	broker_expect(other, "the broker with pid ~ on host ~ uses it");
	broker_kill9(broker);
	raw_close_all();
	snprintf(path, sizeof path, "%s", find_file(broker, "state", "journal-"));
	flip(path, 6); /* both copies of the header */
	flip(path, 256 + 6);
	broker_spawn_here(other, "--state", directory);
	broker_expect_exit(other, 65);
	broker_expect(other, "is of another version");
	flip(path, 6);
	flip(path, 256 + 6);
	chmod(directory, 0770);
	broker_spawn_here(other, "--state", directory);
	broker_expect_exit(other, 73);
	broker_expect(other, "others may write to it, mode 0770; chmod 700");
	chmod(directory, 0700);
	broker_spawn_here(other, "--state", "/nowhere/at/all");
	broker_expect_exit(other, 71);
	broker_expect(other, "No such file");
}

/* A text that looks like an entry, or like records, is a text. */
static void test_body_is_an_entry(void **state)
{
	struct broker *broker = stored_start();
	struct raw *raw = raw_hello(broker, "name=t3ster");
	static char frame[4096], stored[4096];
	int n, fd;

	raw_send(raw, "#1 SAY room\nfirst");
	raw_expect(raw, "#1 * 1");
	/* send the present content of the journal as a message */
	fd = open(find_file(broker, "state", "journal-"), O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(pread(fd, stored, 1024, 0), 1024);
	close(fd);
	n = snprintf(frame, sizeof frame, "#2 SAY room\n");
	memcpy(frame + n, stored, 1024);
	raw_send_bytes(raw, frame, (size_t)n + 1024);
	raw_expect(raw, "#2 * 2");
	restart(broker);
	raw = raw_hello(broker, "name=t3ster");
	raw_send(raw, "#p PAST room");
	raw_expect(raw, "#p + MSG room 1 ~\nfirst");
	raw_expect(raw, "#p + MSG room 2 ~");
	raw_expect(raw, "#p * 2");
	broker_stop(broker);
}

static void expect_mode(const struct broker *broker, const char *name, mode_t mode)
{
	struct stat statbuf;

	assert_int_equal(stat(broker_path(broker, name), &statbuf), 0);
	assert_int_equal(statbuf.st_mode & 07777, mode);
}

/* Modes are the broker's own, whatever the umask, and are mended at a start. */
static void test_modes(void **state)
{
	struct broker *broker = broker_new();
	mode_t old = umask(0177);

	for (unsigned n = 0; n < 2; n++) {
		stored_spawn(broker, NULL, NULL);
		(void)umask(old);
		expect_mode(broker, "state", 0700);
		expect_mode(broker, "state/rooms", 0700);
		expect_mode(broker, "state/state.db", 0600);
		expect_mode(broker, "state/lock", 0600);
		expect_mode(broker, "state/journal-0000000000000001", 0600);
		broker_kill9(broker);
		assert_int_equal(chmod(broker_path(broker, "state/state.db"), 0644), 0);
		assert_int_equal(chmod(broker_path(broker, "state/rooms"), 0600), 0);
		assert_int_equal(chmod(broker_path(broker, "state"), 0750), 0);
		umask(0);
	}
	(void)umask(old);
}

/* A broker on another host has a lock on the file only: one of the directory does not leave its
 * host on a network file system. */
static void test_locked_elsewhere(void **state)
{
	struct flock flock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	struct broker *broker = stored_start();
	int fd;

	broker_stop(broker);
	fd = open(broker_path(broker, "state/lock"), O_RDWR | O_TRUNC | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "elsewhere 4711\n", 15), 15);
	assert_int_equal(fcntl(fd, F_OFD_SETLK, &flock), 0);
	broker_spawn_here(broker, "--state", broker_path(broker, "state"));
	broker_expect(broker, "the broker with pid 4711 on host elsewhere uses it; stop that one");
	broker_expect_exit(broker, 75);
	expect_verified(broker, 75);
	close(fd);
	stored_spawn(broker, NULL, NULL);
	broker_stop(broker);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_damaged_segment),
		TEST(test_damaged_record),
		TEST(test_damaged_journal),
		TEST(test_torn_journal),
		TEST(test_lost_catalog),
		TEST(test_lost_journal),
		TEST(test_not_mounted),
		TEST(test_not_ours),
		TEST(test_body_is_an_entry),
		TEST(test_modes),
		TEST(test_locked_elsewhere),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
