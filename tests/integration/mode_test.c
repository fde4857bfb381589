/* mode_test.c - rooms that become ephemeral, and durable again: what is stored of them then, and
 * what is not. chat-broker(8), STORAGE; chat-protocol(7), SET. */
#include "tests/integration/disk.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/integration/fast.h"

static uint64_t set(struct raw *raw, const char *words, const char *value)
{
	uint64_t version = 0;

	raw_send(raw, "#set SET %s\n%s", words, value);
	assert_int_equal(sscanf(raw_await(raw, "#set * ~"), "#set * %lu", &version), 1);
	return version;
}

static bool file_has(const char *path, const char *text)
{
	size_t size = 4 << 20, len = strlen(text), n = 0;
	char *data = malloc(size);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got;
	bool has;

	assert_non_null(data);
	while (fd >= 0 && n < size && (got = read(fd, data + n, size - n)) > 0)
		n += (size_t)got;
	if (fd >= 0)
		close(fd);
	has = memmem(data, n, text, len) != NULL;
	free(data);
	return has;
}

/* Has a file below DIRECTORY, of the broker's, this text? */
static bool state_has(const struct broker *broker, const char *directory, const char *text)
{
	char path[128], entry_path[512];
	struct dirent *entry;
	bool has = false;
	DIR *dir;

	snprintf(path, sizeof path, "%s", broker_path(broker, directory));
	dir = opendir(path);
	assert_non_null(dir);
	while ((entry = readdir(dir))) {
		snprintf(entry_path, sizeof entry_path, "%s/%s", path, entry->d_name);
		has = has || (entry->d_type == DT_REG && file_has(entry_path, text));
	}
	closedir(dir);
	return has;
}

static bool disk_has(const struct broker *broker, const char *text)
{
	return state_has(broker, "state", text) || state_has(broker, "state/rooms", text);
}

/* What was stored of a room that becomes ephemeral is removed, and what is said then is not. */
static void test_becomes_ephemeral(void **state)
{
	struct broker *broker = stored_start();
	struct raw *raw = raw_hello(broker, "name=t3ster");
	struct raw *reader = raw_join(broker, "name=r3ader", "room");
	char log[32];

	raw_send(raw, "#1 SAY room\nwritten-down");
	raw_expect(raw, "#1 * 1");
	raw_expect(reader, "MSG room 1 ~");
	assert_true(disk_has(broker, "written-down"));
	restart(broker); /* so that it is in files */
	raw = raw_hello(broker, "name=t3ster");
	raw_await_counter(raw, "checkpoints", 1);
	raw_send(raw, "#j JOIN room last=9");
	assert_int_equal(sscanf(raw_expect(raw, "#j * 1 first=1 log=~ mode=durable ~"),
				 "#j * 1 first=1 log=%16s", log),
		1);
	raw_expect(raw, "MSG room 1 ~\nwritten-down");
	set(raw, "room topic", "kept");
	set(raw, "room mode", "ephemeral");
	raw_send(raw, "#2 SAY room\noff-the-record");
	raw_await(raw, "#2 * 2");
	raw_send(raw, "#j JOIN room last=9");
	raw_await(raw, "#j * 1 first=1 log=%s mode=ephemeral ~", log); /* in memory it stays */
	raw_await(raw, "MSG room 1 ~\nwritten-down");
	raw_expect(raw, "MSG room 2 ~\noff-the-record");
	assert_false(disk_has(broker, "off-the-record"));
	for (int i = 0; i < 3; i++) { /* from the journal; what is left is removed; from files */
		restart(broker);
		raw = raw_hello(broker, "name=t3ster");
		raw_send(raw, "#j JOIN room last=9");
		assert_null(strstr(raw_expect(raw, "#j * 1 first=1 log=~ mode=ephemeral ~"), log));
		raw_send(raw, "#g GET room");
		raw_await(raw, "#g + SET ~key=topic ~\nkept");
		raw_await(raw, "#g + SET ~key=mode ~\nephemeral");
		raw_await(raw, "#g * 2");
		raw_send(raw, "#3 SAY room\noff-the-record");
		raw_await(raw, "#3 * 1");
		if (i == 0)
			raw_await_counter(raw_hello(broker, "name=0ther"), "checkpoints", 1);
	}
	assert_false(disk_has(broker, "written-down"));
	assert_false(disk_has(broker, "off-the-record"));
	broker_stop(broker);
	assert_false(disk_has(broker, "off-the-record"));
}

/* Nor what is said while that is on its way. */
static void test_said_meanwhile(void **state)
{
	struct broker *broker = shimmed_start();
	struct raw *raw = raw_hello(broker, "name=t3ster"),
		   *other = raw_hello(broker, "name=0ther"), *third;

	raw_send(raw, "#1 SAY room\nwritten-down");
	raw_expect(raw, "#1 * 1");
	disk_hang(broker);
	third = raw_hello(broker, "name=th1rd");
	raw_send(third, "#t SAY another\nso that the next batch has both");
	raw_expect_quiet(raw_hello(broker, "name=f0urth"));
	raw_send(raw, "#m SET room mode\nephemeral");
	raw_expect_quiet(raw_hello(broker, "name=th1rd"));
	raw_send(other, "#2 SAY room\noff-the-record");
	raw_expect_quiet(raw_hello(broker, "name=th1rd"));
	disk_go_on(broker);
	raw_expect(raw, "#m * ~");
	raw_expect(other, "#2 * 2");
	raw_expect(third, "#t * 1");
	raw_send(raw, "#3 SAY another\nand all of it is done");
	raw_expect(raw, "#3 * 2");
	assert_false(disk_has(broker, "off-the-record"));
	broker_stop(broker);
}

/* A switch takes little memory: each begins a segment. */
static void test_switches_cost_little(void **state)
{
	struct broker *broker = stored_start();
	struct raw *raw = raw_hello(broker, "name=t3ster");

	for (int i = 0; i < 100; i++) {
		set(raw, "room mode", i % 2 ? "durable" : "ephemeral");
		raw_send(raw, "#1 SAY room\n%d", i);
		raw_expect(raw, "#1 * ~");
	}
	assert_in_range(raw_counter(raw, "log_bytes"), 1, 600 * 1024);
	broker_stop(broker);
}

/* What was said in a room before it is durable is never stored; its numbers go on. */
static void test_becomes_durable(void **state)
{
	struct broker *broker = shimmed_start();
	struct raw *raw = raw_hello(broker, "name=t3ster pub=abc"), *reader;
	char log[32];

	raw_send(raw, "#j JOIN room mode=ephemeral");
	raw_expect(raw, "#j * 1 ~ mode=ephemeral ~");
	set(raw, "room topic", "kept");
	for (int i = 1; i <= 3; i++) {
		raw_send(raw, "#1 SAY room id=%d\noff-the-record", i);
		raw_await(raw, "#1 * %d", i);
	}
	restart(broker); /* it stays of its kind, for it has a value */
	raw = raw_hello(broker, "name=t3ster pub=abc");
	raw_send(raw, "#j JOIN room presence");
	raw_expect(raw, "#j * 1 ~ mode=ephemeral ~");
	for (int i = 1; i <= 3; i++) {
		raw_send(raw, "#1 SAY room id=%d\noff-the-record", i);
		raw_await(raw, "#1 * %d", i);
	}
	reader = raw_join(broker, "name=r3ader", "room last=1");
	raw_expect(reader, "MSG room 3 ~");
	/* nothing is said while that is on its way */
	disk_hang(broker);
	raw_send(raw, "#m SET room mode\ndurable");
	raw_send(raw, "#2 SAY room id=4\nfor-the-record");
	raw_expect_quiet(reader);
	disk_go_on(broker);
	raw_await(raw, "#m * ~");
	raw_await(raw, "#2 * 4");
	raw_expect(reader, "MSG room 4 ~\nfor-the-record");
	raw_send(raw, "#j JOIN room last=9");
	assert_int_equal(sscanf(raw_await(raw, "#j * 1 first=1 log=~ mode=durable ~"),
				 "#j * 1 first=1 log=%16s", log),
		1);
	raw_await(raw, "MSG room 1 ~");
	for (int i = 0; i < 3; i++) {
		restart(broker);
		raw = raw_hello(broker, "name=t3ster pub=abc");
		raw_send(raw, "#j JOIN room since=1 log=%s", log);
		raw_expect(raw, "#j * 1 first=4 log=%s mode=durable ~", log);
		raw_expect(raw, "GAP room 1 3 retention");
		raw_expect(raw, "MSG room 4 ~\nfor-the-record");
		raw_send(raw, "#g GET room topic");
		raw_await(raw, "#g + SET ~\nkept");
		raw_send(raw, "#3 SAY room id=4\nfor-the-record");
		raw_await(raw, "#3 * 4"); /* once */
		if (i == 0)
			raw_await_counter(raw_hello(broker, "name=0ther"), "checkpoints", 1);
	}
	assert_false(disk_has(broker, "off-the-record"));
	broker_stop(broker);
	assert_false(disk_has(broker, "off-the-record"));
	assert_true(disk_has(broker, "for-the-record"));
}

/* What was said before is in no file, though it was in memory when these were written; and nobody
 * looks for it there when memory has no place for it any more. */
static void test_before_is_in_no_file(void **state)
{
	static char body[8000];
	struct broker *broker = broker_new();
	struct raw *raw, *reader;

	memset(body, 'x', sizeof body - 1);
	broker_spawn_here(broker, "--state", broker_path(broker, "state"), "--limit",
		"room-bytes=256k", "--limit", "journal-bytes=64k");
	broker_wait_ready(broker);
	raw = raw_hello(broker, "name=t3ster");
	raw_send(raw, "#j JOIN room mode=ephemeral");
	raw_expect(raw, "#j * ~");
	raw_send(raw, "#j PART room");
	raw_expect(raw, "#j *");
	set(raw, "room mode", "ephemeral");
	for (int i = 0; i < 20; i++) {
		raw_send(raw, "#1 SAY room\noff-the-record %s", body);
		raw_expect(raw, "#1 * ~");
	}
	set(raw, "room mode", "durable");
	raw_send(raw, "#1 SAY room\nfor-the-record");
	raw_expect(raw, "#1 * 21");
	for (int i = 0; i < 100; i++) {
		raw_send(raw, "#1 SAY room\n%s", body);
		raw_expect(raw, "#1 * ~");
	}
	reader = raw_hello(broker, "name=r3ader");
	raw_send(reader, "#j JOIN room since=1");
	raw_expect(reader, "#j * 1 first=21 ~");
	raw_expect(reader, "GAP room 1 20 retention");
	raw_expect(reader, "MSG room 21 ~\nfor-the-record");
	assert_false(disk_has(broker, "off-the-record"));
	broker_stop(broker);
	assert_int_equal(broker_count(broker, "damaged room"), 0);
	assert_false(disk_has(broker, "off-the-record"));
	/* in one segment, had it gone on */
	stored_spawn(broker, NULL, NULL);
	raw = raw_hello(broker, "name=t3ster");
	set(raw, "small mode", "ephemeral");
	raw_send(raw, "#1 SAY small\noff-the-record");
	raw_expect(raw, "#1 * 1");
	set(raw, "small mode", "durable");
	raw_send(raw, "#1 SAY small\nfor-the-record");
	raw_expect(raw, "#1 * 2");
	broker_stop(broker);
	assert_false(disk_has(broker, "off-the-record"));
}

/* There and back, again and again, with a kill at each place. */
static void test_there_and_back(void **state)
{
	struct broker *broker = stored_start();

	for (int i = 0; i < 6; i++) {
		struct raw *raw = raw_hello(broker, "name=t3ster");

		set(raw, "room mode", i % 2 ? "durable" : "ephemeral");
		raw_send(raw, "#1 SAY room\n%d", i);
		raw_await(raw, "#1 * ~");
		if (i % 3 != 1)
			restart(broker);
		raw = raw_hello(broker, "name=t3ster");
		raw_send(raw, "#j JOIN room");
		raw_expect(raw, "#j ~ mode=%s ~", i % 2 ? "durable" : "ephemeral");
	}
	broker_stop(broker);
}

/* A room that was ephemeral in between is another on the disk than it was before: nothing of the
 * one is taken for the other's, whenever the broker dies, and what was read stays read. */
static void test_twice_and_killed(void **state)
{
	for (unsigned n_waits = 0; n_waits < 4; n_waits++) {
		struct broker *broker = stored_start();
		struct raw *raw = raw_hello(broker, "name=t3ster");

		raw_send(raw, "#1 SAY room\none");
		raw_expect(raw, "#1 * 1");
		raw_send(raw, "#s SEEN room 1");
		raw_expect(raw, "#s * 1");
		raw_send(raw, "#o SAY other\nand behind it that is stored");
		raw_expect(raw, "#o * 1");
		if (n_waits & 1) { /* it is in files */
			restart(broker);
			raw = raw_hello(broker, "name=t3ster");
			raw_await_counter(raw, "checkpoints", 1);
		}
		set(raw, "room topic", "kept");
		set(raw, "room mode", "ephemeral");
		set(raw, "room mode", "durable");
		raw_send(raw, "#2 SAY room\ntwo");
		raw_expect(raw, "#2 * 2");
		if (n_waits < 2) { /* else it is from before */
			raw_send(raw, "#s SEEN room 2");
			raw_expect(raw, "#s * 2");
		}
		raw_send(raw, "#3 SAY room\nthree");
		raw_expect(raw, "#3 * 3");
		for (unsigned i = 4; i < 7; i++) {
			restart(broker);
			raw = raw_hello(broker, "name=t3ster");
			raw_send(raw, "#s SEEN room");
			raw_expect(raw, "#s * %d", n_waits < 2 ? 2 : 1);
			raw_send(raw, "#%u SAY room\n%u", i, i);
			raw_expect(raw, "#%u * %u", i, i);
			if (n_waits & 2 && i == 4)
				raw_await_counter(raw, "checkpoints", 1);
			assert_int_equal(broker_count(broker, "damaged room"), 0);
		}
		if (n_waits & 1) {
			broker_stop(broker);
			stored_spawn(broker, NULL, NULL);
		} else {
			restart(broker);
		}
		raw = raw_hello(broker, "name=t3ster");
		raw_send(raw, "#p PAST room");
		raw_expect(raw, "#p + MSG room 2 ~\ntwo");
		raw_expect(raw, "#p + MSG room 3 ~\nthree");
		for (unsigned i = 4; i < 7; i++)
			raw_expect(raw, "#p + MSG room %u ~\n%u", i, i);
		raw_expect(raw, "#p * 5");
		raw_send(raw, "#g GET room topic");
		raw_expect(raw, "#g + SET ~\nkept");
		raw_expect(raw, "#g * 1");
		raw_send(raw, "#r ROOMS");
		raw_await(raw, "#r * 2"); /* and the other one */
		raw_send(raw, "#s SEEN room");
		raw_expect(raw, "#s * %d", n_waits < 2 ? 2 : 1);
		broker_stop(broker);
	}
}

/* Who followed rings in a room that is stored now has nothing before the disk has it. */
static void test_fast_reader_waits(void **state)
{
	struct broker *broker = shimmed_start();
	struct raw *reader = fast_join(broker, getuid(), "room mode=ephemeral");
	struct raw *raw = raw_hello(broker, "name=t3ster");
	struct publisher publisher;

	set(raw, "room mode", "durable");
	publisher_open(&publisher, broker, "room");
	disk_hang(broker);
	publisher_put(&publisher, 1, "one");
	raw_send(publisher.raw, "BELL");
	raw_expect_quiet(raw);
	raw_expect_silence(reader, 50); /* no RING, and no message */
	disk_go_on(broker);
	raw_expect(reader, "MSG room 1 ~\none");
	publisher_close(&publisher);
	broker_stop(broker);
}

/* While somebody speaks through shared memory it does not change. */
static void test_rings(void **state)
{
	struct broker *broker = stored_start();
	struct raw *raw = raw_hello(broker, "name=t3ster");
	struct publisher publisher;

	publisher_open(&publisher, broker, "room");
	raw_send(raw, "#1 SET room mode\nephemeral");
	raw_expect(raw, "#1 ! RING ~");
	set(raw, "room topic", "but others do");
	publisher_close(&publisher);
	broker_stop(broker);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_becomes_ephemeral),
		TEST(test_said_meanwhile),
		TEST(test_switches_cost_little),
		TEST(test_becomes_durable),
		TEST(test_before_is_in_no_file),
		TEST(test_there_and_back),
		TEST(test_twice_and_killed),
		TEST(test_fast_reader_waits),
		TEST(test_rings),
	};

	return cmocka_run_group_tests_name("integration/mode", tests, NULL, NULL);
}
