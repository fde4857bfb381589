/* store_test.c - rooms that survive: what was answered is there after a kill, nobody is shown
 * what is not, and a disk that fails, fills or lies is told of. chat-broker(8), STORAGE.
 *
 * disk_shim.c, loaded in front of the broker, makes the trouble while a file is there.
 */
#include "tests/integration/disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define NOBODY 65534

static void test_survives(void **state)
{
	struct broker *broker = stored_start();
	struct raw *raw = raw_hello(broker, "name=t3ster pub=abc");
	char log[32];

	raw_send(raw, "#j JOIN room");
	assert_int_equal(sscanf(raw_expect(raw, "#j * 1 first=1 log=~ mode=durable ~"),
				 "#j * 1 first=1 log=%16s", log),
		1);
	raw_send(raw, "#1 SAY room id=7\none");
	raw_await(raw, "#1 * 1");
	raw_send(raw, "#2 SAY room\ntwo");
	raw_await(raw, "#2 * 2");
	raw_send(raw, "#3 SAY @t3ster\nto myself");
	raw_await(raw, "#3 * 1");
	raw_send(raw, "#4 SEEN @t3ster 1");
	raw_await(raw, "#4 * 1 ~");
	raw_send(raw, "#5 PING");
	raw_await(raw, "#5 *");
	for (int i = 0; i < 2; i++) { /* from the journal, then from files */
		restart(broker);
		raw = raw_hello(broker, "name=t3ster pub=abc");
		raw_send(raw, "#j JOIN room since=1 log=%s", log);
		raw_expect(raw, "#j * 1 first=1 log=%s mode=durable ~", log);
		raw_expect(raw, "MSG room 1 ~ t3ster ~ p=0000000000000abc:7\none");
		raw_expect(raw, "MSG room 2 ~\ntwo");
		raw_send(raw, "#1 SAY room id=7\none");
		raw_expect(raw, "#1 * 1"); /* said already */
		raw_send(raw, "#p PAST @t3ster");
		raw_expect(raw, "#p + MSG @t3ster+t3ster 1 ~\nto myself");
		raw_expect(raw, "#p * 1");
		raw_send(raw, "#s SEEN @t3ster");
		raw_expect(raw, "#s * 1 ~");
		if (i == 0)
			raw_await_counter(raw, "checkpoints", 1);
	}
	raw_send(raw, "#6 SAY room id=8\nthree");
	raw_await(raw, "#6 * 3");
	broker_stop(broker);
	/* a stop leaves nothing to replay */
	stored_spawn(broker, NULL, NULL);
	assert_int_equal(broker_count(broker, "replayed"), 1);
	raw = raw_hello(broker, "name=t3ster pub=abc");
	raw_send(raw, "#p PAST room from=3");
	raw_expect(raw, "#p + MSG room 3 ~\nthree");
	raw_expect(raw, "#p * 1");
	broker_stop(broker);
}

/* What is not to be stored is not, and has rings. */
static void test_ephemeral(void **state)
{
	struct broker *broker = stored_start();
	struct raw *raw = raw_hello(broker, "name=t3ster");

	raw_send(raw, "#j JOIN room mode=ephemeral");
	raw_expect(raw, "#j * 1 first=1 log=~ mode=ephemeral ~");
	raw_send(raw, "#1 SAY room\none");
	raw_expect(raw, "#1 * 1");
	raw_expect(raw, "MSG room 1 ~");
	raw_send(raw, "#2 SAY other\none");
	raw_await(raw, "#2 * 1");
	raw_send(raw, "#r ROOMS");
	raw_expect(raw, "#r + room ~ mode=ephemeral ~");
	raw_expect(raw, "#r + other ~ mode=durable ~");
	raw_expect(raw, "#r * 2");
	restart(broker);
	raw = raw_hello(broker, "name=t3ster");
	raw_send(raw, "#r ROOMS");
	raw_expect(raw, "#r + other ~");
	raw_expect(raw, "#r * 1");
	broker_stop(broker);
}

/* Until the disk has it, it is neither answered nor shown, and all else goes on. */
static void test_waits_for_the_disk(void **state)
{
	struct broker *broker;
	struct raw *raw, *reader, *other;

	broker = shimmed_start();
	raw = raw_hello(broker, "name=t3ster pub=abc");
	reader = raw_join(broker, "name=r3ader", "room");
	other = raw_join(broker, "name=0ther", "free mode=ephemeral");
	raw_send(raw, "#0 SAY room\nbefore");
	raw_expect(raw, "#0 * 1");
	raw_expect(reader, "MSG room 1 ~\nbefore");
	disk_hang(broker);
	raw_send(raw, "#1 SAY room id=1\none");
	raw_send(raw, "SAY room id=2\ntwo");
	raw_send(raw, "#3 SAY free\nmeanwhile");
	raw_send(raw, "#4 SAY wall\nnot mine");
	raw_send(raw, "#5 PING");
	raw_send(raw, "#6 TIME");
	raw_expect(other, "MSG free 1 ~\nmeanwhile");
	raw_expect_quiet(other);
	raw_expect_quiet(reader);
	raw_send(reader, "#j JOIN room last=5");
	raw_expect(reader, "#j * 1 ~");
	raw_expect(reader, "MSG room 1 ~");
	raw_send(reader, "#r ROOMS");
	raw_await(reader, "#r + room ~ next=2 ~");
	raw_expect(reader, "#r + free ~");
	raw_await(reader, "#r * ~");
	raw_send(reader, "#p PAST room");
	raw_expect(reader, "#p + MSG room 1 ~");
	raw_expect(reader, "#p * 1");
	raw_send(reader, "#p PAST room to=3");
	raw_expect(reader, "#p + MSG room 1 ~");
	raw_expect(reader, "#p * 1");
	raw_send(reader, "#f FIND room\none");
	raw_expect(reader, "#f * 0");
	raw_send(reader, "#w STATS sessions");
	raw_await(reader, "#w + t3ster ~ waits=storage~");
	raw_await(reader, "#w * ~");
	disk_go_on(broker);
	raw_expect(raw, "#1 * 2");
	raw_expect(raw, "#3 * 1");
	raw_expect(raw, "#4 ~");
	raw_expect(raw, "#5 *");
	raw_expect(raw, "#6 * ~");
	raw_expect(reader, "MSG room 2 ~\none");
	raw_expect(reader, "MSG room 3 ~\ntwo");
	broker_stop(broker);
}

/* So much and no more waits for a disk; a session that ends takes its answers with it. */
static void test_waits_long(void **state)
{
	static char body[60000];
	struct broker *broker;
	struct raw *raw, *other, *gone;
	unsigned n = 0;

	memset(body, 'x', sizeof body - 1);
	broker = shimmed_start();
	raw = raw_hello(broker, "name=t3ster pub=abc");
	other = raw_hello(broker, "name=0ther");
	gone = raw_hello(broker, "name=g0ne");
	disk_hang(broker);
	raw_send(gone, "#1 SAY room\nand away");
	raw_expect_quiet(other);
	raw_close(gone);
	for (n = 1; n <= 200; n++) {
		char frame[sizeof body + 64];
		int len = snprintf(frame, sizeof frame, "#%u SAY room id=%u\n%s", n, n, body);

		if (!raw_try_send(raw, frame, (size_t)len))
			break;
	}
	assert_true(n < 200); /* it is not read any more */
	raw_send(other, "#s STATS");
	raw_await(other, "#s * ~");
	disk_go_on(broker);
	for (unsigned i = 1; i < n; i++)
		raw_expect(raw, "#%u * %u", i, i + 1);
	broker_stop(broker);
}

/* A sync that fails once is made good: the file is not trusted, and it is written anew. */
static void test_sync_fails_once(void **state)
{
	struct broker *broker;
	struct raw *raw;

	broker = shimmed_start();
	raw = raw_hello(broker, "name=t3ster pub=abc");
	raw_send(raw, "#1 SAY room id=1\none");
	raw_expect(raw, "#1 * 1");
	for (unsigned i = 2; i <= 4; i++) {
		file_write(broker_path(broker, "sync"), "5 1");
		raw_send(raw, "#s SAY room id=%u\n%u", i, i);
		raw_expect(raw, "#s * %u", i);
		assert_false(file_exists(broker_path(broker, "sync")));
	}
	assert_int_equal(broker_count(broker, "storage failed"), 0);
	restart(broker);
	raw = raw_hello(broker, "name=t3ster pub=abc");
	raw_send(raw, "#p PAST room");
	raw_expect(raw, "#p + MSG room 1 ~\none");
	for (unsigned i = 2; i <= 4; i++)
		raw_expect(raw, "#p + MSG room %u ~\n%u", i, i);
	raw_expect(raw, "#p * 4");
	broker_stop(broker);
}

/* One that goes on failing refuses what is said, and only that; then all is as before. */
static void refuse_while(struct broker *broker, const char *trouble, int error, const char *code)
{
	struct raw *raw = raw_hello(broker, "name=t3ster pub=abc");
	struct raw *reader = raw_join(broker, "name=r3ader", "room");
	char text[16];

	raw_send(raw, "#1 SAY room id=1\none");
	raw_expect(raw, "#1 * 1");
	raw_expect(reader, "MSG room 1 ~\none");
	raw_send(raw, "#0 SAY @t3ster\nmine");
	raw_expect(raw, "#0 * 1");
	snprintf(text, sizeof text, "%d", error);
	file_write(broker_path(broker, trouble), text);
	raw_send(raw, "#5 SEEN room 1"); /* this is tried again */
	raw_expect(raw, "#5 * 1");
	raw_send(raw, "#2 SAY room id=2\nlost");
	raw_expect(raw, "#2 ! %s ~", code);
	raw_send(raw, "SAY room id=3\nlost");
	raw_expect(raw, "! %s SAY room id=3 ~", code);
	raw_send(raw, "#4 SAY another\nlost");
	raw_expect(raw, "#4 ! %s ~", code);
	raw_send(raw, "#6 SAY @t3ster\nlost"); /* which one has read oneself, if it is said */
	raw_expect(raw, "#6 ! %s ~", code);
	raw_expect_quiet(reader);
	broker_expect(broker, "storage failed");
	disk_heal(broker, trouble);
	raw_send(raw, "#2 SAY room id=2\ntwo");
	raw_expect(raw, "#2 * 2");
	raw_expect(reader, "MSG room 2 ~\ntwo");
	broker_expect(broker, "storage works again");
	raw_send(raw, "#8 SEEN @t3ster");
	raw_expect(raw, "#8 * 1 ~");
	restart(broker);
	raw = raw_hello(broker, "name=t3ster pub=abc");
	raw_send(raw, "#p PAST room");
	raw_expect(raw, "#p + MSG room 1 ~\none");
	raw_expect(raw, "#p + MSG room 2 ~\ntwo");
	raw_expect(raw, "#p * 2");
	raw_send(raw, "#s SEEN room");
	raw_expect(raw, "#s * 1");
	broker_stop(broker);
}

static void test_sync_fails(void **state)
{
	refuse_while(shimmed_start(), "sync", EIO, "IO");
}

static void test_write_fails(void **state)
{
	refuse_while(shimmed_start(), "write", ENOSPC, "NOSPACE");
}

/* A checkpoint that fails takes nothing away, and is made up for. */
static void test_checkpoint_fails(void **state)
{
	struct broker *broker;
	struct raw *raw;

	broker = shimmed_start();
	raw = raw_hello(broker, "name=t3ster");
	raw_send(raw, "#1 SAY room\none");
	raw_expect(raw, "#1 * 1");
	broker_kill9(broker);
	raw_close_all();
	/* after the start there is one to be made: of the journal */
	file_write(broker_path(broker, "create"), "28");
	broker_spawn_here(broker, "--state", broker_path(broker, "state"));
	broker_wait_ready(broker);
	broker_expect(broker, "storage failed");
	raw = raw_hello(broker, "name=t3ster");
	raw_send(raw, "#p PAST room");
	raw_expect(raw, "#p + MSG room 1 ~\none");
	raw_expect(raw, "#p * 1");
	disk_heal(broker, "create");
	raw_await_counter(raw, "checkpoints", 1);
	broker_stop(broker);
}

/* ---- a disk that is full ---- */

static void fill(const char *path)
{
	static char block[4096];
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	memset(block, 'x', sizeof block);
	while (write(fd, block, sizeof block) > 0)
		;
	close(fd);
}

static void say_large(struct raw *raw, unsigned n, const char *body)
{
	static char frame[PACKET_LEN_MAX];
	int len = snprintf(frame, sizeof frame, "#%u SAY room id=%u\n%s", n, n, body);

	raw_send_bytes(raw, frame, (size_t)len);
}

/* A disk of 2 MiB for the state of BROKER. False when there can be none. */
static bool mount_small(const struct broker *broker, char path[static 96])
{
	snprintf(path, 96, "%s", broker_path(broker, "state"));
	assert_int_equal(mkdir(path, 0700), 0);
	return geteuid() == 0 && mount("tmpfs", path, "tmpfs", 0, "size=2m,mode=0700") == 0;
}

static void test_full_disk(void **state)
{
	struct broker *broker = broker_new();
	char mounted[96], filler[128];
	unsigned n = 0, n_stored = 0;
	static char body[30000];
	struct raw *raw;

	memset(body, 'x', sizeof body - 1);
	if (!mount_small(broker, mounted))
		SKIP("nothing can be mounted here");
	snprintf(filler, sizeof filler, "%s/filler", mounted);
	stored_spawn(broker, "--limit", "journal-bytes=64k");
	raw = raw_hello(broker, "name=t3ster pub=abc");
	raw_send(raw, "#1 SAY room id=1\nbefore");
	raw_expect(raw, "#1 * 1");
	fill(filler);
	for (n = 2; n < 1000; n++) {
		const char *answer;

		say_large(raw, n, body);
		answer = raw_expect(raw, "#%u ~", n);
		if (strstr(answer, " ! NOSPACE "))
			break;
		assert_non_null(strstr(answer, " * "));
		n_stored++;
	}
	assert_true(n < 1000);
	raw_send(raw, "#p PAST room to=1");
	raw_expect(raw, "#p + MSG room 1 ~\nbefore");
	raw_expect(raw, "#p * 1");
	assert_int_equal(unlink(filler), 0);
	raw_send(raw, "#%u SAY room id=%u\nafter", n, n);
	raw_expect(raw, "#%u * %u", n, n_stored + 2);
	broker_kill9(broker);
	raw_close_all();
	stored_spawn(broker, "--limit", "journal-bytes=64k");
	raw = raw_hello(broker, "name=t3ster pub=abc");
	raw_send(raw, "#p PAST room from=%u", n_stored + 2);
	raw_expect(raw, "#p + MSG room ~\nafter");
	raw_expect(raw, "#p * 1");
	broker_stop(broker);
	assert_int_equal(umount(mounted), 0);
}

/* What is there is read, what is said is refused; and it can be looked at. */
static void test_read_only(void **state)
{
	struct broker *broker = broker_new();
	char mounted[96];
	struct raw *raw;
	pid_t pid;

	if (!mount_small(broker, mounted))
		SKIP("nothing can be mounted here");
	for (int i = 1; i <= 3; i += 2) {
		stored_spawn(broker, NULL, NULL);
		raw = raw_hello(broker, "name=t3ster");
		raw_send(raw, "#1 SAY room\n%d", i);
		raw_expect(raw, "#1 * %d", i / 2 + 1);
		raw_send(raw, "#2 SEEN room %d", i / 2 + 1);
		raw_expect(raw, "#2 * %d", i / 2 + 1);
		broker_stop(broker);
		assert_int_equal(mount(NULL, mounted, NULL, MS_REMOUNT | MS_RDONLY, NULL), 0);
		stored_spawn(broker, NULL, NULL);
		raw = raw_hello(broker, "name=t3ster");
		raw_send(raw, "#1 SAY room\nlost");
		raw_expect(raw, "#1 ! IO ~Read-only file system");
		raw_send(raw, "#p PAST room last=1");
		raw_expect(raw, "#p + MSG room %d ~\n%d", i / 2 + 1, i);
		raw_expect(raw, "#p * 1");
		broker_stop(broker);
		pid = child_run(broker->dir,
			(const char *[]){ getenv("CHAT_BROKER"), "--verify", mounted, NULL });
		child_expect_exit(pid, 0);
		assert_int_equal(mount(NULL, mounted, NULL, MS_REMOUNT, NULL), 0);
	}
	assert_int_equal(umount(mounted), 0);
}

/* Retention takes files, too; a room that goes takes all of its own. */
static void test_retention(void **state)
{
	struct broker *broker = broker_new();
	static char body[8000];
	struct raw *raw;

	memset(body, 'x', sizeof body - 1);
	broker_spawn_here(broker, "--state", broker_path(broker, "state"), "--limit",
		"room-disk-bytes=256k", "--limit", "journal-bytes=64k");
	broker_wait_ready(broker);
	raw = raw_hello(broker, "name=t3ster pub=abc");
	for (unsigned i = 1; i <= 200; i++) {
		say_large(raw, i, body);
		raw_expect(raw, "#%u * %u", i, i);
	}
	broker_stop(broker);
	assert_in_range(directory_count(broker_path(broker, "state/rooms")), 1, 64);
	stored_spawn(broker, "--limit", "room-bytes=256k");
	raw = raw_hello(broker, "name=t3ster pub=abc");
	raw_send(raw, "#j JOIN room since=1");
	raw_expect(raw, "#j * 1 first=~");
	raw_expect(raw, "GAP room 1 ~ retention");
	raw_await(raw, "MSG room 200 ~");
	say_large(raw, 1, body);
	raw_expect(raw, "#1 ! OLD ~");
	for (unsigned i = 201; i <= 400; i++) {
		say_large(raw, i, body);
		raw_await(raw, "#%u * %u", i, i);
	}
	broker_stop(broker);
	assert_in_range(directory_count(broker_path(broker, "state/rooms")), 1, 64);
}

/* The broker does not wait for ever for a disk, either. */
static void test_stop_while_it_hangs(void **state)
{
	struct broker *broker;
	struct raw *raw;

	broker = shimmed_start();
	raw = raw_hello(broker, "name=t3ster");
	disk_hang(broker);
	raw_send(raw, "#1 SAY room\none");
	raw_send(raw, "#2 PING");
	broker_signal(broker, SIGTERM);
	raw_expect_close(raw); /* it is not answered what nobody knows */
	broker_expect_exit(broker, 0);
	broker_expect(broker, "it did not answer in time");
}

static void test_inspect(void **state)
{
	struct broker *broker = stored_start();
	struct raw *raw = raw_hello(broker, "name=t3ster");
	char directory[96];
	pid_t pid;

	snprintf(directory, sizeof directory, "%s", broker_path(broker, "state"));
	raw_send(raw, "#1 SAY room\none\ntwo");
	raw_expect(raw, "#1 * 1");
	pid = child_run(broker->dir,
		(const char *[]){ getenv("CHAT_BROKER"), "--verify", directory, NULL });
	child_expect_exit(pid, 75);
	broker_stop(broker);
	pid = child_run(broker->dir,
		(const char *[]){ getenv("CHAT_BROKER"), "--verify", directory, NULL });
	child_expect_exit(pid, 0);
	pid = child_run(broker->dir,
		(const char *[]){ getenv("CHAT_BROKER"), "--dump", directory, "room", NULL });
	child_expect_exit(pid, 0);
	pid = child_run(broker->dir,
		(const char *[]){ getenv("CHAT_BROKER"), "--dump", directory, "none", NULL });
	child_expect_exit(pid, 66);
	flip(find_file(broker, "state/rooms", ""), 80);
	pid = child_run(broker->dir,
		(const char *[]){ getenv("CHAT_BROKER"), "--verify", directory, NULL });
	child_expect_exit(pid, 65);
	/* it was looked at only */
	assert_false(file_exists(broker_path(broker, "state/damaged")));
}

/* A name is whose it was, and written to while he is away. */
static void test_names(void **state)
{
	struct broker *broker;
	struct raw *raw;

	if (geteuid() != 0)
		SKIP("only root can be several users");
	broker = stored_start();
	raw = raw_hello_as(broker, NOBODY, "name=h1s");
	raw_send(raw, "#p PING");
	raw_expect(raw, "#p *");
	raw_await_counter(raw, "stored_batches", 1);
	for (unsigned i = 0; i < 3; i++) { /* from the journal, then from a file, and once more */
		restart(broker);
		raw = raw_open(broker);
		raw_send(raw, "#h HELLO 1 name=h1s");
		raw_expect(raw, "#h ! TAKEN ~");
		raw = raw_hello(broker, ""); /* a name that is not taken */
		raw_send(raw, "#s SAY @h1s\nhello");
		raw_await(raw, "#s * %u", i + 1);
		if (i == 0)
			raw_await_counter(raw, "checkpoints", 1);
	}
	raw = raw_hello_as(broker, NOBODY, "name=h1s");
	raw_send(raw, "#p PAST @root");
	raw_await(raw, "#p * 3");
	broker_stop(broker);
}

/* What comes with another packet, after a lone one, is stored as soon. */
static void test_two_at_once(void **state)
{
	struct broker *broker = stored_start();
	struct raw *raw = raw_hello(broker, "name=t3ster");

	raw_send(raw, "#j JOIN quick mode=ephemeral");
	raw_expect(raw, "#j * ~");
	for (unsigned i = 1; i <= 20; i++) {
		raw_send(raw, "SAY quick\nx");
		raw_expect(raw, "MSG quick %u ~", i);
		broker_signal(broker, SIGSTOP);
		raw_send(raw, "#p PING");
		raw_send(raw, "#s SAY room\nx");
		broker_signal(broker, SIGCONT);
		raw_expect(raw, "#p *");
		raw_expect(raw, "#s * %u", i);
	}
	broker_stop(broker);
}

/* ---- where ---- */

/* A broker that is not told where to store, but in its environment. */
static void home_spawn(struct broker *broker, const char *home, const char *state)
{
	broker->environment[0] = home;
	broker->environment[1] = state;
	broker_spawn(
		broker, (const char *const[]){ "--socket", broker->socket, "--ctl", "none", NULL });
}

static void expect_state_in(struct broker *broker, const char *path)
{
	struct stat statbuf;

	broker_expect(broker, "state directory=%s ~", path);
	broker_expect(broker, "ready ~");
	assert_int_equal(stat(path, &statbuf), 0);
	assert_int_equal(statbuf.st_mode & 07777, 0700);
	broker_stop(broker);
}

static void test_usual_place(void **state)
{
	struct broker *broker = broker_new(), *other;
	static char home[128], set[160];

	snprintf(home, sizeof home, "HOME=%s", broker->dir);
	snprintf(set, sizeof set, "XDG_STATE_HOME=%s/of/state", broker->dir);
	home_spawn(broker, home, set);
	broker_expect(broker, "ready ~");
	/* one broker at a time, and the other is told what to do */
	other = broker_new();
	home_spawn(other, home, set);
	broker_expect(other, "uses it; stop that one, or choose another directory");
	broker_expect_exit(other, 75);
	broker_stop(broker);
	home_spawn(broker, home, set);
	expect_state_in(broker, broker_path(broker, "of/state/chat-broker"));
	if (geteuid() != 0)
		SKIP("only root can be several users");
	/* root's is another one; of anybody else it is below the home directory */
	broker->uid = NOBODY;
	home_spawn(broker, home, "XDG_STATE_HOME=not/absolute");
	expect_state_in(broker, broker_path(broker, ".local/state/chat-broker"));
	home_spawn(broker, "HOME=/dev/null", "XDG_STATE_HOME=");
	broker_expect(broker,
		"can not store in /dev/null/.local/state/chat-broker: Not a directory; "
		"say --state DIRECTORY, or --ephemeral");
	broker_expect_exit(broker, 73);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_survives),
		TEST(test_ephemeral),
		TEST(test_waits_for_the_disk),
		TEST(test_waits_long),
		TEST(test_sync_fails_once),
		TEST(test_sync_fails),
		TEST(test_write_fails),
		TEST(test_checkpoint_fails),
		TEST(test_full_disk),
		TEST(test_read_only),
		TEST(test_retention),
		TEST(test_stop_while_it_hangs),
		TEST(test_inspect),
		TEST(test_two_at_once),
		TEST(test_names),
		TEST(test_usual_place),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
