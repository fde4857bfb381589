/* cold_test.c - what memory does not keep of a room is on the disk, and read back by who wants
 * it: nobody sees where it was. chat-broker(8), STORAGE. */
#include "tests/integration/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MANY     3000
#define SMALLER  800 /* than half of disk-bytes */
#define BURST    100
#define STRANGER 65534

/* What is kept of what was read back, and messages of 7 kB that are more. */
#define CACHE (64u << 20)
#define LARGE 11000

/* Memory for a tenth of what is said, and checkpoints as often as can be. */
static const char *const options[] = { "--state", NULL, "--limit", "room-bytes=256k", "--limit",
	"journal-bytes=64k", NULL, NULL, NULL };

static void small_spawn(struct broker *broker, const char *limit)
{
	const char *all[ARRAY_LEN(options)];

	memcpy(all, options, sizeof options);
	all[1] = broker_path(broker, "state");
	all[6] = limit ? "--limit" : NULL;
	all[7] = limit;
	broker_spawn_with(broker, all);
	broker_wait_ready(broker);
}

static struct broker *small_start(const char *limit)
{
	struct broker *broker = broker_new();

	small_spawn(broker, limit);
	return broker;
}

/* With a disk that a test makes fail. */
static struct broker *shimmed_small_start(const char *limit)
{
	struct broker *broker = shimmed_start();

	broker_stop(broker);
	small_spawn(broker, limit);
	return broker;
}

/* Message I: its number, and then as much as makes it a KiB. */
static const char *body_of(unsigned i)
{
	static char body[1024];

	memset(body, 'x', sizeof body - 1);
	body[snprintf(body, sizeof body, "number %u.", i)] = ' ';
	return body;
}

static void say_many(struct raw *raw, const char *room, unsigned first, unsigned last)
{
	for (unsigned i = first; i <= last; i++) {
		raw_send(raw, "#s SAY %s id=%u\n%s", room, i, body_of(i));
		raw_expect(raw, "#s * ~");
	}
}

/* Memory has no more than LIMIT bytes, though nobody speaks: checkpoints brought the rest to
 * files. */
static void await_memory(struct raw *raw, uint64_t limit)
{
	uint64_t until = clock_ms() + DEADLINE_MS, bytes;

	while ((bytes = raw_counter(raw, "log_bytes")) > limit)
		if (clock_ms() > until)
			fail_msg("%lu bytes are in memory", (unsigned long)bytes);
}

/* Wait until memory has only a part of the room: room-bytes, and the messages that come before a
 * checkpoint is due. */
static void await_cold(struct raw *raw)
{
	await_memory(raw, 384 * 1024);
}

/* The same, without waiting for each; the disk may take long for them all together. */
static void raw_burst(struct raw *raw, const char *room, unsigned n)
{
	for (unsigned i = 1, answered = 0; answered < n;) {
		for (; i <= n && i <= answered + BURST; i++)
			raw_send(raw, "#s SAY %s id=%u\n%s", room, i + SMALLER, body_of(i));
		raw_expect(raw, "#s * ~");
		answered++;
	}
}

static void expect_stream(struct raw *raw, unsigned first, unsigned last)
{
	for (unsigned i = first; i <= last; i++)
		raw_expect(raw, "MSG room %u ~:%u\nnumber %u. ~", i, i, i);
}

/* All of ROOM by PAST, page by page. */
static void expect_past_of(struct raw *raw, const char *room, unsigned first, unsigned last)
{
	unsigned next = first;

	while (next <= last) {
		struct text frame;
		unsigned before = next;

		raw_send(raw, "#p PAST %s from=%u to=%u", room, next, last);
		while (!pattern_matches("#p * ~", frame = raw_next(raw))) {
			char wanted[64];

			snprintf(wanted, sizeof wanted, "#p + MSG %s %u ~", room, next++);
			if (!pattern_matches(wanted, frame))
				fail_msg("expected %s, got %.*s", wanted, (int)MIN(frame.len, 80),
					frame.data);
		}
		assert_true(next > before);
	}
}

static void expect_past(struct raw *raw, unsigned first, unsigned last)
{
	expect_past_of(raw, "room", first, last);
}

static void test_more_than_memory(void **state)
{
	struct broker *broker = small_start(NULL);
	struct raw *raw = raw_hello(broker, "name=t3ster pub=abc"), *reader;
	char log[32];

	say_many(raw, "room", 1, MANY);
	await_cold(raw);
	for (unsigned i = 0; i < 2; i++) {
		expect_past(raw, 1, MANY);
		expect_past(raw, MANY - 49, MANY);
		raw_send(raw, "#r ROOMS");
		raw_await(raw, "#r + room ~ first=1 next=%u ~", MANY + 1);
		raw_await(raw, "#r * ~");
		/* newest first, as far as one request looks */
		raw_send(raw, "#f FIND room from=700\nnumber 701.");
		raw_expect(raw, "#f * 0");
		raw_send(raw, "#f FIND room from=700\nNUMBER 123.");
		raw_expect(raw, "#f + MSG room 123 ~");
		raw_expect(raw, "#f * ~");
		/* record by record, and in batches */
		reader = raw_hello(broker, "name=r3ader");
		raw_send(reader, "#j JOIN room since=1");
		assert_int_equal(sscanf(raw_expect(reader, "#j * 1 first=1 log=~"),
					 "#j * 1 first=1 log=%16s", log),
			1);
		expect_stream(reader, 1, MANY);
		raw_close(reader);
		reader = raw_hello(broker, "name=r3ader batch");
		raw_send(reader, "#j JOIN room last=%u", MANY - 9);
		raw_expect(reader, "#j * 10 first=1 ~");
		expect_stream(reader, 10, MANY);
		raw_close(reader);
		/* once, however long ago */
		raw_send(raw, "#o SAY room id=%u\nagain", MANY - 1000);
		raw_expect(raw, "#o * %u", MANY - 1000);
		assert_true(raw_counter(raw, "log_bytes") < 1024 * 1024);
		raw_close(raw);
		broker_kill9(broker);
		small_spawn(broker, NULL);
		raw = raw_hello(broker, "name=t3ster pub=abc");
	}
	say_many(raw, "room", MANY + 1, MANY + 10);
	expect_past(raw, MANY - 10, MANY + 10);
	broker_stop(broker);
}

/* Who stood still in what was in memory goes on in what is on the disk. */
static void test_stood_still(void **state)
{
	struct broker *broker = small_start(NULL);
	struct raw *raw = raw_hello(broker, "name=t3ster pub=abc"), *slow[3];

	for (unsigned i = 0; i < ARRAY_LEN(slow); i++) {
		slow[i] = raw_hello(broker, i == 1 ? "name=r3ader" : "name=r3ader batch");
		raw_send(slow[i], "#j JOIN room");
		raw_expect(slow[i], "#j * ~");
	}
	say_many(raw, "room", 1, MANY);
	await_cold(raw);
	for (unsigned i = 0; i < ARRAY_LEN(slow); i++)
		expect_stream(slow[i], 1, MANY);
	broker_stop(broker);
}

/* What the journal alone has is not too much for memory: it is in no file. */
static void test_replayed(void **state)
{
	struct broker *broker = broker_new();
	struct raw *raw;

	stored_spawn(broker, NULL, NULL);
	raw = raw_hello(broker, "name=t3ster pub=abc");
	say_many(raw, "small", 1, 2);
	say_many(raw, "room", 1, MANY);
	broker_kill9(broker);
	raw_close_all();
	small_spawn(broker, "log-bytes=1M");
	raw = raw_hello(broker, "name=t3ster pub=abc");
	expect_past(raw, 1, MANY);
	raw_send(raw, "#p PAST small");
	raw_await(raw, "#p * 2");
	broker_stop(broker);
}

/* Where a time was is found wherever it is. */
static void test_times(void **state)
{
	struct broker *broker = small_start(NULL);
	struct raw *raw = raw_hello(broker, "name=t3ster pub=abc"), *reader;
	static char at[MANY + 1][24];

	say_many(raw, "room", 1, MANY);
	await_cold(raw);
	reader = raw_hello(broker, "name=r3ader");
	raw_send(reader, "#j JOIN room since=1");
	raw_expect(reader, "#j * ~");
	for (unsigned i = 1; i <= MANY; i++)
		assert_int_equal(
			sscanf(raw_expect(reader, "MSG room %u ~", i), "MSG room %*u %23s", at[i]),
			1);
	for (unsigned i = 1; i <= MANY; i += 271) {
		unsigned first = i;

		while (first > 1 && strcmp(at[first - 1], at[i]) == 0)
			first--;
		raw_send(raw, "#p PAST room from=@%s to=%u", at[i], i);
		for (unsigned k = first; k <= i; k++)
			raw_expect(raw, "#p + MSG room %u ~", k);
		raw_expect(raw, "#p * %u", i + 1 - first);
		raw_send(raw, "#j JOIN room since=@%s", at[i]);
		raw_expect(raw, "#j * %u first=1 ~", first);
		raw_send(raw, "#q PART room");
		raw_await(raw, "#q *");
	}
	raw_send(raw, "#p PAST room to=@1");
	raw_expect(raw, "#p * 0");
	broker_stop(broker);
}

/* What is beyond the disk's limit is told as a gap, and its files are gone. */
static void test_disk_limit(void **state)
{
	struct broker *broker = small_start("room-disk-bytes=1M");
	struct raw *raw = raw_hello(broker, "name=t3ster pub=abc"), *reader;
	uint64_t first;

	say_many(raw, "room", 1, MANY);
	await_cold(raw);
	reader = raw_hello(broker, "name=r3ader batch");
	raw_send(reader, "#j JOIN room since=1");
	raw_expect(reader, "#j * 1 first=~");
	assert_int_equal(
		sscanf(raw_expect(reader, "GAP room 1 ~ retention"), "GAP room 1 %lu", &first), 1);
	assert_in_range(first, MANY / 2, MANY - 600);
	expect_stream(reader, (unsigned)first + 1, MANY);
	broker_stop(broker);
	assert_in_range(directory_count(broker_path(broker, "state/rooms")), 4, 40);
}

/* Also one that is lower than when it was said. */
static void test_lower_limit(void **state)
{
	struct broker *broker = small_start(NULL);
	struct raw *raw = raw_hello(broker, "name=t3ster pub=abc");
	uint64_t first;

	say_many(raw, "room", 1, MANY);
	broker_stop(broker);
	small_spawn(broker, "room-disk-bytes=1M");
	raw = raw_hello(broker, "name=t3ster batch");
	raw_send(raw, "#j JOIN room since=1");
	assert_int_equal(sscanf(raw_expect(raw, "#j * 1 first=~"), "#j * 1 first=%lu", &first), 1);
	assert_in_range(first, MANY / 2, MANY - 600);
	raw_expect(raw, "GAP room 1 %lu retention", (unsigned long)first - 1);
	expect_stream(raw, (unsigned)first, MANY);
	broker_stop(broker);
}

/* What is too old goes, also in a room where nobody speaks; what is not does not. */
static void test_age(void **state)
{
	struct broker *broker = small_start(NULL);
	struct raw *raw = raw_hello(broker, "name=t3ster pub=abc"), *reader;
	uint64_t until = clock_ms() + DEADLINE_MS;

	say_many(raw, "room", 1, 1000);
	say_many(raw, "small", 1, 2);
	broker_stop(broker);
	small_spawn(broker, "room-disk-age=1");
	raw = raw_hello(broker, "name=t3ster pub=abc");
	reader = raw_hello(broker, "name=r3ader");
	do {
		raw_send(raw, "#p PAST room last=1");
		assert_true(clock_ms() < until);
	} while (!pattern_matches("#p * 0", raw_next(raw)) && (raw_expect(raw, "#p * 1"), true));
	do {
		raw_send(raw, "#p PAST small last=1");
		assert_true(clock_ms() < until);
	} while (!pattern_matches("#p * 0", raw_next(raw)) && (raw_expect(raw, "#p * 1"), true));
	raw_send(reader, "#j JOIN room since=1");
	raw_expect(reader, "#j * 1 first=1001 ~");
	raw_expect(reader, "GAP room 1 1000 retention");
	raw_send(raw, "#s SAY room id=1001\n%s", body_of(1001));
	raw_expect(raw, "#s * 1001");
	raw_expect(reader, "MSG room 1001 ~");
	/* their files go with a checkpoint */
	for (unsigned i = 1; directory_count(broker_path(broker, "state/rooms")) > 20; i++) {
		say_many(raw, "other", i, i);
		assert_true(clock_ms() < until);
	}
	broker_stop(broker);
}

/* Wait until "room" keeps nothing before AT_LEAST. Returns the number of its first message. */
static uint64_t await_first(struct raw *raw, uint64_t at_least)
{
	uint64_t until = clock_ms() + DEADLINE_MS, first = 1;

	while (first < at_least) {
		raw_send(raw, "#r ROOMS room");
		assert_int_equal(sscanf(raw_expect(raw, "#r + room ~"),
					 "#r + room readers=0 first=%lu", &first),
			1);
		raw_expect(raw, "#r * 1");
		assert_true(clock_ms() < until);
	}
	return first;
}

/* Of all rooms, the one with most gives, wherever its messages are; DELAY: of a sync, in ms. */
static void run_disk_limit_of_all(const char *delay)
{
	struct broker *broker = shimmed_small_start("disk-bytes=2M");
	uint64_t first;
	struct raw *raw = raw_hello(broker, "name=t3ster pub=abc");

	say_many(raw, "small", 1, SMALLER);
	file_write(broker_path(broker, "slow"), delay);
	raw_burst(raw, "room", MANY);
	/* so much less is kept of it when all is in files */
	first = await_first(raw, MANY - 1100);
	assert_in_range(first, MANY - 1100, MANY - 700);
	raw_send(raw, "#r ROOMS small");
	raw_expect(raw, "#r + small ~ first=1 next=%u ~", SMALLER + 1);
	raw_expect(raw, "#r * 1");
	expect_past(raw, (unsigned)first, MANY);
	broker_stop(broker);
}

static void test_disk_limit_of_all(void **state)
{
	run_disk_limit_of_all("0");
	run_disk_limit_of_all("50");
	run_disk_limit_of_all("200");
}

/* All rooms together come below the limit, also when each has no more than its newest segment. */
static void test_memory_of_all(void **state)
{
	struct broker *broker = small_start("log-bytes=1M");
	struct raw *raw = raw_hello(broker, "name=t3ster");
	static char body[7000];
	char name[16];

	memset(body, 'x', sizeof body - 1);
	for (unsigned n = 1; n <= 3; n++) {
		for (unsigned i = 0; i < 200; i++) {
			raw_send(raw, "#s SAY r%u\n%s", i, body);
			raw_expect(raw, "#s * %u", n);
		}
		await_memory(raw, 1 << 20);
		for (unsigned i = 0; i < 200; i++) {
			snprintf(name, sizeof name, "r%u", i);
			expect_past_of(raw, name, 1, n);
		}
		if (n == 2)
			continue;
		broker_kill9(broker);
		raw_close_all();
		small_spawn(broker, "log-bytes=1M");
		raw = raw_hello(broker, "name=t3ster");
	}
	broker_stop(broker);
}

/* A limit that is lowered holds at once, nobody speaking. */
static void test_reload(void **state)
{
	struct broker *broker = broker_new();
	struct raw *raw;

	file_write(broker_path(broker, "limits"), "room-bytes=8M\n");
	broker_spawn_here(broker, "--limits", broker_path(broker, "limits"));
	broker_wait_ready(broker);
	raw = raw_hello(broker, "name=t3ster pub=abc");
	say_many(raw, "room", 1, MANY);
	assert_true(raw_counter(raw, "log_bytes") > 2 << 20);
	file_write(broker_path(broker, "limits"), "room-bytes=1M\n");
	broker_signal(broker, SIGHUP);
	await_memory(raw, 1 << 20);
	broker_stop(broker);
}

/* The disk limit of a room is enforced even if nobody speaks any more. The disk is so slow that
 * 3000 messages come while it writes the first. */
static void test_disk_limit_later(void **state)
{
	struct broker *broker = shimmed_small_start("room-disk-bytes=512k");
	uint64_t first;
	struct raw *raw = raw_hello(broker, "name=t3ster pub=abc");

	file_write(broker_path(broker, "slow"), "200");
	raw_burst(raw, "room", MANY);
	first = await_first(raw, MANY - 600);
	await_memory(raw, 384 * 1024);
	expect_past(raw, (unsigned)first, MANY);
	broker_stop(broker);
}

static void expect_first(struct raw *raw)
{
	raw_send(raw, "#p PAST room from=1 to=1");
	raw_expect(raw, "#p + MSG room 1 ~");
	raw_expect(raw, "#p * 1");
}

/* More of the past is read than is kept for that: a reader that stood still meanwhile goes on,
 * and what another user reads is kept. */
static void test_cache(void **state)
{
	static char body[7000];

	struct broker *broker = small_start(NULL);
	struct raw *raw = raw_hello(broker, "name=t3ster pub=abc"), *slow, *quick, *other;
	const char *files = broker_path(broker, "state/rooms"), *away = broker_path(broker, "away");

	memset(body, 'x', sizeof body - 1);
	for (unsigned i = 1; i <= LARGE; i++) {
		raw_send(raw, "#s SAY room id=%u\n%s", i, body);
		raw_expect(raw, "#s * %u", i);
	}
	await_cold(raw);
	other = geteuid() == 0 ? raw_hello_as(broker, STRANGER, "") : NULL;
	if (other)
		expect_first(other);
	slow = raw_hello(broker, "name=r3ader batch");
	raw_send(slow, "#j JOIN room since=1");
	raw_expect(slow, "#j * 1 first=1 ~");
	raw_expect(slow, "MSG room 1 ~");
	quick = raw_hello(broker, "name=r3ader batch");
	raw_send(quick, "#j JOIN room since=1");
	raw_expect(quick, "#j * 1 first=1 ~");
	for (unsigned i = 1; i <= LARGE; i++)
		raw_expect(quick, "MSG room %u ~:%u\n%s", i, i, body);
	assert_in_range(raw_counter(raw, "cache_bytes"), CACHE / 2, CACHE + CACHE / 8);
	if (other) {
		assert_int_equal(rename(files, away), 0);
		expect_first(other);
		assert_int_equal(rename(away, files), 0);
	}
	for (unsigned i = 2; i <= LARGE; i++)
		raw_expect(slow, "MSG room %u ~:%u\n%s", i, i, body);
	broker_stop(broker);
}

/* The file of a segment that is damaged is put aside: its numbers are a gap, and no others. */
static void test_damaged(void **state)
{
	struct broker *broker = small_start(NULL);
	struct raw *raw = raw_hello(broker, "name=t3ster pub=abc"), *reader;
	char name[64], log[32];
	uint64_t from, to;

	say_many(raw, "room", 1, MANY);
	await_cold(raw);
	/* one that is neither the first nor the last */
	reader = raw_hello(broker, "name=r3ader batch");
	raw_send(reader, "#j JOIN room");
	assert_int_equal(sscanf(raw_expect(reader, "#j * ~ first=1 log=~"),
				 "#j * %*u first=1 log=%16s", log),
		1);
	snprintf(name, sizeof name, "%s-%08x", log, 40);
	flip(find_file(broker, "state/rooms", name), 1000);
	raw_send(reader, "#j JOIN room since=1");
	raw_expect(reader, "#j * 1 first=1 ~");
	for (from = 1;; from++) {
		struct text frame = raw_next(reader);

		if (!pattern_matches("MSG room ~", frame))
			break;
	}
	broker_expect(broker, "damaged room=room segment=40 ~ lost=1; the file is kept in damaged");
	assert_int_equal(directory_count(broker_path(broker, "state/damaged")), 1);
	raw_send(raw, "#j JOIN room since=%lu", (unsigned long)from);
	raw_expect(raw, "#j * ~");
	assert_int_equal(sscanf(raw_expect(raw, "GAP room %lu ~ damaged~", (unsigned long)from),
				 "GAP room %*u %lu", &to),
		1);
	assert_int_equal(to, from); /* one byte, one message */
	expect_stream(raw, (unsigned)to + 1, MANY);
	raw_send(raw, "#p PAST room from=%lu to=%lu", (unsigned long)from - 1,
		(unsigned long)to + 1);
	raw_expect(raw, "#p + MSG room %lu ~", (unsigned long)from - 1);
	raw_expect(raw, "#p + MSG room %lu ~", (unsigned long)to + 1);
	raw_expect(raw, "#p * 2");
	raw_send(raw, "#f FIND room from=%lu max=2\nnumber", (unsigned long)to + 1);
	raw_expect(raw, "#f + MSG room %lu ~", (unsigned long)to + 1);
	raw_expect(raw, "#f + MSG room %lu ~", (unsigned long)from - 1);
	raw_expect(raw, "#f * 2~");
	/* a search finds that a file is gone, and goes on behind it */
	broker_stop(broker);
	small_spawn(broker, NULL);
	raw = raw_hello(broker, "name=t3ster");
	snprintf(name, sizeof name, "%s-%08x", log, 20);
	assert_int_equal(unlink(find_file(broker, "state/rooms", name)), 0);
	raw_send(raw, "#f FIND room from=1500\nnumber 1.");
	raw_expect(raw, "#f + MSG room 1 ~");
	raw_expect(raw, "#f * 1");
	broker_expect(broker, "damaged room=room segment=20 ~");
	raw_send(raw, "#f FIND room from=1500\nnumber 2.");
	raw_expect(raw, "#f + MSG room 2 ~");
	raw_expect(raw, "#f * 1");
	assert_int_equal(directory_count(broker_path(broker, "state/damaged")), 1);
	broker_stop(broker);
}

/* ---- a disk that does not answer ---- */

static void hang_reads(const struct broker *broker)
{
	assert_int_equal(mkfifo(broker_path(broker, "hang-read"), 0600), 0);
}

static void reads_go_on(const struct broker *broker)
{
	int fd = open(broker_path(broker, "hang-read"), O_RDWR | O_CLOEXEC);

	assert_true(fd >= 0);
	disk_heal(broker, "hang-read"); /* left open, as in disk_go_on() */
}

/* Who reads the past waits for the disk, and nobody else. */
static void test_reading_hangs(void **state)
{
	struct broker *broker = shimmed_small_start(NULL);
	struct raw *raw = raw_hello(broker, "name=t3ster pub=abc"), *reader, *asker;

	say_many(raw, "room", 1, MANY);
	await_cold(raw);
	hang_reads(broker);
	reader = raw_hello(broker, "name=r3ader batch");
	raw_send(reader, "#j JOIN room since=1");
	raw_expect(reader, "#j * 1 ~");
	asker = raw_hello(broker, "name=4sker");
	raw_send(asker, "#p PAST room from=1000 to=1001");
	say_many(raw, "room", MANY + 1, MANY + 10);
	expect_past(raw, MANY, MANY + 10);
	raw_expect_quiet(reader);
	raw_expect_silence(asker, 50);
	/* one that is gone meanwhile is not missed */
	raw_close(asker);
	asker = raw_hello(broker, "name=4sker");
	raw_send(asker, "#p PAST room from=1000 to=1001");
	reads_go_on(broker);
	expect_stream(reader, 1, MANY + 10);
	raw_expect(asker, "#p + MSG room 1000 ~");
	raw_expect(asker, "#p + MSG room 1001 ~");
	raw_expect(asker, "#p * 2");
	broker_stop(broker);
}

/* Who has gone leaves nothing to be done behind, but what it said. */
static void test_gone_with_requests(void **state)
{
	struct broker *broker = shimmed_small_start(NULL);
	struct raw *raw = raw_hello(broker, "name=t3ster pub=abc"), *gone;

	say_many(raw, "room", 1, MANY);
	await_cold(raw);
	gone = raw_hello(broker, "name=g0ne");
	hang_reads(broker);
	for (int i = 0; i < 2000 && raw_try_send(gone, "#f FIND room\nx", 14); i++)
		;
	raw_expect_quiet(raw);
	raw_close(gone);
	reads_go_on(broker);
	/* that would take a second for each hundred of them */
	raw_await_counter(raw, "sessions", 1);
	broker_stop(broker);
}

/* At a stop who reads there gets all that it is owed. */
static void test_stop_while_reading(void **state)
{
	struct broker *broker = shimmed_small_start(NULL);
	struct raw *raw = raw_hello(broker, "name=t3ster pub=abc"), *reader;

	say_many(raw, "room", 1, MANY);
	await_cold(raw);
	raw_close(raw);
	hang_reads(broker);
	reader = raw_hello(broker, "name=r3ader batch");
	raw_send(reader, "#j JOIN room since=1");
	raw_expect(reader, "#j * 1 ~");
	broker_signal(broker, SIGTERM);
	reads_go_on(broker);
	expect_stream(reader, 1, MANY);
	raw_expect(reader, "BYE STOP ~");
	broker_expect_exit(broker, 0);
}

/* What can not be read now is refused, or waits and is tried again: it may be there. */
static void test_reading_fails(void **state)
{
	struct broker *broker = shimmed_small_start(NULL);
	struct raw *raw = raw_hello(broker, "name=t3ster pub=abc"), *reader;

	say_many(raw, "room", 1, MANY);
	await_cold(raw);
	file_write(broker_path(broker, "read"), "5");
	raw_send(raw, "#p PAST room from=1 to=1");
	raw_expect(raw, "#p ! IO ~");
	raw_send(raw, "#f FIND room from=1\nnumber");
	raw_expect(raw, "#f ! IO ~");
	raw_send(raw, "#j JOIN room since=@1");
	raw_expect(raw, "#j * 1 ~");
	raw_expect_quiet(raw);
	reader = raw_hello(broker, "name=r3ader batch");
	raw_send(reader, "#j JOIN room since=1");
	raw_expect(reader, "#j * 1 ~");
	raw_expect_quiet(reader);
	disk_heal(broker, "read");
	expect_stream(reader, 1, MANY);
	expect_stream(raw, 1, MANY);
	assert_false(file_exists(broker_path(broker, "state/damaged")));
	broker_stop(broker);
}

/* Files can not be written for long: before memory is full no more is taken. */
static void test_no_files(void **state)
{
	struct broker *broker = broker_new();
	char rooms[512], away[520];
	struct raw *raw;
	unsigned n = 0;

	stored_spawn(broker, NULL, NULL);
	broker_stop(broker);
	snprintf(rooms, sizeof rooms, "%s", broker_path(broker, "state/rooms"));
	snprintf(away, sizeof away, "%s.away", rooms);
	small_spawn(broker, "log-bytes=1M");
	assert_int_equal(rename(rooms, away), 0);
	raw = raw_hello(broker, "name=t3ster pub=abc");
	for (;;) {
		const char *answer;

		raw_send(raw, "#s SAY room id=%u\n%s", n + 1, body_of(n + 1));
		answer = raw_expect(raw, "#s ~");
		if (strncmp(answer, "#s ! IO ", 8) == 0)
			break;
		n++;
		assert_true(n < 5000);
	}
	broker_expect(broker, "checkpoint failed ~");
	assert_int_equal(rename(away, rooms), 0);
	do {
		raw_send(raw, "#s SAY room id=%u\n%s", n + 1, body_of(n + 1));
	} while (strncmp(raw_expect(raw, "#s ~"), "#s ! IO ", 8) == 0);
	expect_past(raw, 1, n + 1);
	broker_stop(broker);
}

/* ---- checkpoints ---- */

/* The newest file of the journal. */
static unsigned journal_newest(const struct broker *broker)
{
	unsigned newest = 0, n;

	for (n = 1; n < 1000; n++) {
		char name[64];

		snprintf(name, sizeof name, "state/journal-%016x", n);
		if (file_exists(broker_path(broker, name)))
			newest = n;
	}
	return newest;
}

/* What is on its way to the disk when a checkpoint is made is not in that: if it gets lost then,
 * nobody said it. */
static void test_checkpoint_in_between(void **state)
{
	struct broker *broker = shimmed_small_start(NULL);
	char rooms[512], away[520], name[64];
	uint64_t until = clock_ms() + DEADLINE_MS;
	struct stat statbuf;
	struct raw *raw;
	unsigned newest;

	snprintf(rooms, sizeof rooms, "%s", broker_path(broker, "state/rooms"));
	snprintf(away, sizeof away, "%s.away", rooms);
	raw = raw_hello(broker, "name=t3ster pub=abc");
	say_many(raw, "room", 1, 1);
	/* checkpoints fail, and are tried again, each time with a new file of the journal */
	assert_int_equal(rename(rooms, away), 0);
	say_many(raw, "room", 2, 100);
	broker_expect(broker, "checkpoint failed ~");
	disk_hang(broker);
	newest = journal_newest(broker);
	while (journal_newest(broker) == newest)
		assert_true(clock_ms() < until);
	/* the next one hangs: what is said now is behind it */
	raw_send(raw, "#s SAY room id=101\nlost");
	raw_send(raw, "#p PAST room last=1");
	assert_int_equal(rename(away, rooms), 0);
	disk_go_on(broker);
	raw_expect(raw, "#s * 101");
	raw_await(raw, "#p * 1");
	raw_await_counter(raw, "checkpoints", 1);
	newest = journal_newest(broker);
	broker_kill9(broker);
	raw_close_all();
	/* as if it had never got there */
	snprintf(name, sizeof name, "state/journal-%016x", newest);
	assert_int_equal(stat(broker_path(broker, name), &statbuf), 0);
	flip(broker_path(broker, name), 512 + 40);
	small_spawn(broker, NULL);
	raw = raw_hello(broker, "name=t3ster pub=abc");
	raw_send(raw, "#s SAY room id=101\nagain");
	raw_await(raw, "#s * 101");
	raw_send(raw, "#p PAST room from=101");
	raw_expect(raw, "#p + MSG room 101 ~\nagain");
	raw_expect(raw, "#p * 1");
	broker_stop(broker);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_more_than_memory),
		TEST(test_stood_still),
		TEST(test_replayed),
		TEST(test_times),
		TEST(test_disk_limit),
		TEST(test_lower_limit),
		TEST(test_age),
		TEST(test_disk_limit_of_all),
		TEST(test_disk_limit_later),
		TEST(test_memory_of_all),
		TEST(test_reload),
		TEST(test_cache),
		TEST(test_damaged),
		TEST(test_reading_hangs),
		TEST(test_gone_with_requests),
		TEST(test_stop_while_reading),
		TEST(test_reading_fails),
		TEST(test_no_files),
		TEST(test_checkpoint_in_between),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
