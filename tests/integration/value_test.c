/* value_test.c - what a room keeps under a key, and what its owner wants to be kept of what is said
 * there: SET and GET, chat-protocol(7); STORAGE, chat-broker(8). */
#include "tests/integration/disk.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define NOBODY 65534

static uint64_t set(struct raw *raw, const char *words, const char *value)
{
	uint64_t version = 0;

	raw_send(raw, "#set SET %s\n%s", words, value);
	assert_int_equal(sscanf(raw_await(raw, "#set * ~"), "#set * %lu", &version), 1);
	return version;
}

static void test_set_and_get(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *raw = raw_hello(broker, "name=t3ster"), *reader;
	uint64_t first, second;

	reader = raw_join(broker, "name=r3ader", "room presence");
	raw_send(reader, "#0 GET room");
	raw_expect(reader, "#0 * 0");
	first = set(raw, "room topic", "one\ntwo");
	raw_expect(reader, "SET room t3ster %u ~key=topic version=%lu", getuid(), first);
	raw_send(raw, "#1 GET room topic");
	raw_expect(
		raw, "#1 + SET room t3ster %u ~key=topic version=%lu\none\ntwo", getuid(), first);
	raw_expect(raw, "#1 * 1");
	raw_send(raw, "#2 GET room another");
	raw_expect(raw, "#2 * 0");
	second = set(raw, "room topic", "three");
	assert_true(second > first);
	set(raw, "room a.b-c_9", "x");
	raw_send(raw, "#3 GET room");
	raw_expect(raw, "#3 + SET room ~key=topic version=%lu\nthree", second);
	raw_expect(raw, "#3 + SET room ~key=a.b-c_9 ~\nx");
	raw_expect(raw, "#3 * 2");
	/* only what is as one knows it */
	raw_send(raw, "#4 SET room topic if=%lu\nfour", first);
	raw_expect(raw, "#4 ! CHANGED its version is %lu", second);
	raw_send(raw, "#5 SET room topic if=0\nfour");
	raw_expect(raw, "#5 ! CHANGED ~");
	raw_send(raw, "SET room new if=1\nfour");
	raw_expect(raw, "! CHANGED SET room its version is 0");
	raw_send(raw, "#6 SET room new if=0\nfour");
	raw_expect(raw, "#6 * ~");
	first = set(raw, "room topic", "five");
	assert_true(first > second);
	/* an empty one removes it, once */
	set(raw, "room topic", "");
	set(raw, "room new", "");
	set(raw, "room a.b-c_9", "");
	raw_send(raw, "#7 SET room topic\n");
	raw_expect(raw, "#7 * 0");
	raw_send(raw, "#8 GET room");
	raw_expect(raw, "#8 * 0");
	raw_await(reader, "SET room ~key=a.b-c_9 ~");
	raw_await(reader, "SET room ~key=a.b-c_9 ~");
	/* a room of which nothing is left but a value stays; without one it goes */
	set(raw, "quiet topic", "x");
	raw_send(raw, "#9 ROOMS quiet");
	raw_expect(raw, "#9 + quiet readers=0 first=1 next=1 ~");
	raw_expect(raw, "#9 * 1");
	set(raw, "quiet topic", "");
	raw_send(raw, "#9 ROOMS quiet");
	raw_expect(raw, "#9 ! NOROOM ~");
	broker_stop(broker);
}

static void test_refusals(void **state)
{
	static const struct {
		const char *request, *answer;
	} table[] = {
		{ "SET room", "ARGS" },
		{ "SET room topic", "ARGS" }, /* no body */
		{ "SET room Topic\nx", "ARGS" },
		{ "SET room .topic\nx", "ARGS" },
		{ "SET room t23456789012345678901234567890123\nx", "ARGS" },
		{ "SET room topic if=x\nx", "ARGS" },
		{ "SET room. topic\nx", "ROOM" },
		{ "SET room mode\nloud", "ARGS mode is durable or ephemeral" },
		{ "SET room mode\ndurable", "ARGS this broker stores nothing" },
		{ "SET room retain-bytes\n65535", "ARGS retain-bytes is ~ 65536 ~" },
		{ "SET room retain-bytes\n1k", "ARGS" },
		{ "SET room retain-age\n59", "ARGS retain-age is ~ 60 to ~" },
		{ "SET room retain-age\n1000000001", "ARGS" },
		{ "SET @nob0dy topic\nx", "NONAME" },
		{ "SET nothing topic\n", "NOROOM" },
		{ "GET nothing", "NOROOM" },
		{ "GET room.", "ROOM" },
		{ "GET", "ARGS" },
	};
	struct broker *broker = broker_start("--limit", "value-bytes=256k");
	struct raw *raw = raw_hello(broker, "name=t3ster");
	char value[VALUE_LEN_MAX + 2];

	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		raw_send(raw, "#1 %s", table[i].request);
		raw_expect(raw, "#1 ! %s~", table[i].answer);
	}
	raw_send(raw, "#r ROOMS");
	raw_expect(raw, "#r * 0"); /* none was made by that */
	memset(value, 'x', sizeof value);
	value[VALUE_LEN_MAX] = '\0';
	set(raw, "room topic", value);
	value[VALUE_LEN_MAX] = 'x';
	value[VALUE_LEN_MAX + 1] = '\0';
	raw_send(raw, "#2 SET room topic\n%s", value);
	raw_expect(raw, "#2 ! TOOBIG ~2048 bytes");
	value[VALUE_LEN_MAX] = '\0';
	/* so many, and all of them come in one answer */
	for (int i = 1; i < VALUES_MAX; i++) {
		char words[32];

		snprintf(words, sizeof words, "room key%d", i);
		set(raw, words, value);
	}
	raw_send(raw, "#3 SET room one.more\nx");
	raw_expect(raw, "#3 ! QUOTA values: ~%d ~", VALUES_MAX);
	set(raw, "room key1", "y"); /* but it can change */
	raw_send(raw, "#4 GET room");
	for (int i = 0; i < VALUES_MAX; i++)
		raw_expect(raw, "#4 + SET ~");
	raw_expect(raw, "#4 * %d", VALUES_MAX);
	/* they count, and do not any more when they are gone */
	for (int i = 0; i < 200; i++) {
		struct text answer;

		raw_send(raw, "#5 SET room%d topic\n%s", i, value);
		answer = raw_next(raw);
		if (pattern_matches("#5 ! QUOTA value-bytes: at the limit of 262144", answer))
			break;
		if (!pattern_matches("#5 * ~", answer))
			fail_msg("got %.*s", (int)answer.len, answer.data);
		assert_true(i < 100);
	}
	for (int i = 0; i < 10; i++) {
		char words[32];

		snprintf(words, sizeof words, "room%d topic", i);
		set(raw, words, "");
	}
	set(raw, "room100 topic", value);
	broker_stop(broker);
}

/* Whose is it? */
static void test_owner(void **state)
{
	struct broker *broker;
	struct raw *raw, *other;

	if (geteuid() != 0)
		SKIP("only root can be two users");
	broker = broker_new();
	broker->uid = 54321;
	broker_spawn_here(broker, "--mode", "0666");
	broker_wait_ready(broker);
	raw = raw_hello_as(broker, 54322, "name=t3ster");
	other = raw_hello_as(broker, NOBODY, "name=0ther");
	set(raw, "room topic", "mine");
	raw_send(other, "#1 SET room topic\nmy own");
	raw_expect(other, "#1 ! DENIED ~");
	raw_send(other, "#2 SET lobby topic\nmy own");
	raw_expect(other, "#2 ! DENIED ~");
	raw_send(other, "#3 SET wall topic\nmy own");
	raw_expect(other, "#3 ! DENIED ~");
	raw_send(other, "#4 GET room topic");
	raw_expect(other, "#4 + SET room t3ster 54322 ~\nmine");
	raw_expect(other, "#4 * 1");
	/* the broker's user and root may */
	set(raw_hello_as(broker, 54321, "name=s3lf"), "room topic", "ours");
	set(raw_hello(broker, "name=r00t"), "room topic", "root's");
	/* and both sides of a conversation, but nobody else */
	set(raw, "@0ther topic", "between us");
	raw_send(other, "#5 GET @t3ster topic");
	raw_expect(other, "#5 + SET @0ther+t3ster t3ster 54322 ~\nbetween us");
	raw_expect(other, "#5 * 1");
	set(other, "@t3ster topic", "between us two");
	/* but who said that nothing is to be stored is not overruled */
	set(raw, "@0ther retain-age", "1000");
	raw_send(other, "#7 SET @t3ster retain-age\n");
	raw_expect(other, "#7 ! DENIED the other side ~");
	set(raw, "@0ther retain-age", "");
	set(other, "@t3ster retain-age", "2000");
	raw_send(raw_hello(broker, "name=r00t"), "#6 GET @0ther+t3ster");
	raw = raw_hello(broker, "name=r00t");
	raw_send(raw, "#6 GET @0ther+t3ster");
	raw_expect(raw, "#6 ! ROOM ~");
	broker_stop(broker);
}

/* From the journal, from files, and what was removed stays so. */
static void test_survives(void **state)
{
	struct broker *broker = stored_start();
	struct raw *raw = raw_hello(broker, "name=t3ster");
	uint64_t version, last;

	set(raw, "room gone", "x");
	version = set(raw, "room topic", "one\ntwo");
	set(raw, "room gone", "");
	raw_send(raw, "#1 SAY another\none");
	raw_expect(raw, "#1 * 1");
	last = set(raw, "another topic", "that");
	for (int i = 0; i < 2; i++) {
		restart(broker);
		raw = raw_hello(broker, "name=t3ster");
		raw_send(raw, "#g GET room");
		raw_expect(raw, "#g + SET room t3ster %u ~key=topic version=%lu\none\ntwo",
			getuid(), version);
		raw_expect(raw, "#g * 1");
		raw_send(raw, "#g GET another");
		raw_expect(raw, "#g + SET another ~ version=%lu\nthat", last);
		raw_expect(raw, "#g * 1");
		raw_send(raw, "#p PAST another");
		raw_expect(raw, "#p + MSG another 1 ~\none");
		raw_expect(raw, "#p * 1");
		if (i == 0)
			raw_await_counter(raw, "checkpoints", 1);
	}
	assert_true(set(raw, "another topic", "this") > last);
	set(raw, "another topic", "");
	set(raw, "room topic", "");
	broker_stop(broker);
	stored_spawn(broker, NULL, NULL);
	raw = raw_hello(broker, "name=t3ster");
	raw_send(raw, "#r ROOMS");
	raw_expect(raw, "#r + another ~");
	raw_expect(raw, "#r * 1");
	raw_send(raw, "#g GET another");
	raw_expect(raw, "#g * 0");
	broker_stop(broker);
}

/* Until the disk has it, it is neither answered nor shown. */
static void test_waits_for_the_disk(void **state)
{
	struct broker *broker = shimmed_start();
	struct raw *raw = raw_hello(broker, "name=t3ster");
	struct raw *reader = raw_join(broker, "name=r3ader", "room presence");
	struct raw *other = raw_hello(broker, "name=0ther");

	set(raw, "room topic", "before");
	raw_await(reader, "SET ~");
	disk_hang(broker);
	raw_send(raw, "#2 SET room topic\nafter");
	raw_send(raw, "#6 SAY room\nand behind it");
	raw_expect_quiet(reader);
	raw_send(other, "#3 SET room topic\nlast");
	raw_send(reader, "#4 GET room topic");
	raw_expect(reader, "#4 + SET ~\nbefore");
	raw_expect(reader, "#4 * 1");
	raw_expect_quiet(reader);
	disk_go_on(broker);
	raw_expect(raw, "#2 * ~");
	raw_expect(raw, "#6 * 1");
	raw_expect(other, "#3 * ~");
	raw_await(reader, "SET ~");
	raw_await(reader, "SET ~");
	raw_send(reader, "#5 GET room topic");
	raw_await(reader, "#5 + SET ~0ther ~\nlast");
	broker_stop(broker);
}

/* Of two who set the same as they know it, one does. */
static void test_one_of_two(void **state)
{
	struct broker *broker = shimmed_start();
	struct raw *raw = raw_hello(broker, "name=t3ster"),
		   *other = raw_hello(broker, "name=0ther");
	uint64_t first, second;

	disk_hang(broker);
	raw_send(raw, "#1 SET room lock if=0\nmine");
	raw_expect_quiet(raw_hello(broker, "name=th1rd"));
	raw_send(other, "#2 SET room lock if=0\nmine");
	raw_expect_quiet(raw_hello(broker, "name=th1rd"));
	disk_go_on(broker);
	raw_expect(raw, "#1 * ~");
	raw_expect(other, "#2 ! CHANGED ~");
	broker_stop(broker);
	/* in one packet, at one time */
	broker = broker_start(NULL);
	raw = raw_hello(broker, "name=t3ster batch");
	raw_send_batch(raw, "#1 SET room a\nx", "#2 SET room a\ny");
	assert_int_equal(sscanf(raw_expect(raw, "#1 * ~"), "#1 * %lu", &first), 1);
	assert_int_equal(sscanf(raw_expect(raw, "#2 * ~"), "#2 * %lu", &second), 1);
	assert_true(second > first);
	broker_stop(broker);
}

/* A room that was to be stored, and could not be, is when it can. */
static void test_known_later(void **state)
{
	struct broker *broker = shimmed_start();
	struct raw *raw = raw_join(broker, "name=t3ster", "room");

	file_write(broker_path(broker, "write"), "28");
	raw_send(raw, "#1 SAY room\nlost");
	raw_expect(raw, "#1 ! NOSPACE ~");
	disk_heal(broker, "write");
	raw_send(raw, "#2 SAY room\none");
	raw_await(raw, "#2 * 1");
	restart(broker);
	raw = raw_hello(broker, "name=t3ster");
	raw_send(raw, "#p PAST room");
	raw_expect(raw, "#p + MSG room 1 ~\none");
	raw_expect(raw, "#p * 1");
	broker_stop(broker);
}

/* What can not be stored is not set, and what was there is. */
static void refuse_while(const char *trouble, int error, const char *code)
{
	struct broker *broker = shimmed_start();
	struct raw *raw = raw_hello(broker, "name=t3ster");
	char text[16];

	set(raw, "room topic", "before");
	snprintf(text, sizeof text, "%d", error);
	file_write(broker_path(broker, trouble), text);
	raw_send(raw, "#1 SET room topic\nlost");
	raw_expect(raw, "#1 ! %s ~", code);
	raw_send(raw, "SET new topic\nlost");
	raw_expect(raw, "! %s SET new ~", code);
	raw_send(raw, "#2 SET room mode\nephemeral");
	raw_expect(raw, "#2 ! %s ~", code);
	raw_send(raw, "#3 GET room");
	raw_expect(raw, "#3 + SET ~\nbefore");
	raw_expect(raw, "#3 * 1");
	raw_send(raw, "#4 GET new");
	raw_expect(raw, "#4 ! NOROOM ~");
	disk_heal(broker, trouble);
	set(raw, "room topic", "after");
	set(raw, "new topic", "too");
	raw_send(raw, "#5 SAY room\nand this");
	raw_expect(raw, "#5 * 1");
	restart(broker);
	raw = raw_hello(broker, "name=t3ster");
	raw_send(raw, "#3 GET room");
	raw_expect(raw, "#3 + SET ~\nafter");
	raw_expect(raw, "#3 * 1");
	raw_send(raw, "#4 GET new");
	raw_expect(raw, "#4 + SET ~\ntoo");
	raw_expect(raw, "#4 * 1");
	raw_send(raw, "#5 JOIN room");
	raw_expect(raw, "#5 * 2 ~ mode=durable ~");
	broker_stop(broker);
}

static void test_refused_by_the_disk(void **state)
{
	refuse_while("sync", EIO, "IO");
	refuse_while("write", ENOSPC, "NOSPACE");
}

/* A room whose messages are all too old is whose it was. */
static void test_old_room_stays(void **state)
{
	struct broker *broker;
	struct raw *raw;

	if (geteuid() != 0)
		SKIP("only root can be two users");
	broker = broker_new();
	stored_spawn(broker, "--limit", "room-disk-age=1");
	raw = raw_hello_as(broker, NOBODY, "name=0wner pub=abc");
	raw_send(raw, "#1 SAY room id=1\none");
	raw_expect(raw, "#1 * 1");
	do {
		raw_send(raw, "#p PAST room");
	} while (!pattern_matches("#p * 0", raw_next(raw)) && raw_await(raw, "#p * 1"));
	raw = raw_join(broker, "name=t3ster", "room");
	raw_send(raw, "#2 PART room");
	raw_expect(raw, "#2 *");
	raw_send(raw, "#r ROOMS room");
	raw_expect(raw, "#r + room ~ first=2 next=2 ~ owner=%u ~", NOBODY);
	raw_expect(raw, "#r * 1");
	broker_stop(broker);
}

/* A user who may say little may not set much. */
static void test_rate(void **state)
{
	struct broker *broker;
	struct raw *raw;
	uint64_t start;

	if (geteuid() != 0)
		SKIP("the broker's own user has no rate");
	broker = broker_start("--limit", "nobody:rate=20");
	raw = raw_hello_as(broker, NOBODY, "name=t3ster");
	start = clock_ms();
	for (int i = 0; i < 40; i++)
		set(raw, "room topic", "x");
	assert_in_range(clock_ms() - start, 500, DEADLINE_MS);
	broker_stop(broker);
}

/* ---- how much, and for how long ---- */

/* The least number that the room has. */
static uint64_t room_first(struct raw *raw)
{
	uint64_t first = 0;

	raw_send(raw, "#f ROOMS room");
	assert_int_equal(
		sscanf(raw_await(raw, "#f + room ~"), "#f + room readers=%*u first=%lu", &first),
		1);
	raw_await(raw, "#f * 1");
	return first;
}

static void say_much(struct raw *raw, unsigned n)
{
	static char body[4000];

	memset(body, 'x', sizeof body - 1);
	for (unsigned i = 0; i < n; i++) {
		raw_send(raw, "#s SAY room\n%s", body);
		raw_await(raw, "#s * ~");
	}
}

static void test_retain_bytes(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *raw = raw_hello(broker, "name=t3ster");

	say_much(raw, 100);
	assert_int_equal(room_first(raw), 1);
	set(raw, "room retain-bytes", "100000"); /* at once */
	assert_in_range(room_first(raw), 30, 100);
	raw_send(raw, "#n FIND room\nnowhere");
	raw_expect(raw, "#n * 0");
	say_much(raw, 100);
	assert_in_range(room_first(raw), 170, 200);
	raw_send(raw, "#j JOIN room");
	raw_expect(raw, "#j ~ retain-bytes=100000");
	set(raw, "room retain-bytes", "");
	raw_send(raw, "#j JOIN room");
	raw_expect(raw, "#j ~ retain-bytes=33554432");
	say_much(raw, 100);
	assert_in_range(room_first(raw), 170, 200);
	/* no more than the broker allows */
	set(raw, "room retain-bytes", "1000000000");
	raw_send(raw, "#j JOIN room");
	raw_expect(raw, "#j ~ retain-bytes=33554432");
	broker_stop(broker);
}

static void test_retain_on_disk(void **state)
{
	struct broker *broker = broker_new();
	struct raw *raw;

	stored_spawn(broker, "--limit", "journal-bytes=64k");
	raw = raw_hello(broker, "name=t3ster");
	set(raw, "room retain-bytes", "200000");
	say_much(raw, 300);
	while (room_first(raw) < 200)
		say_much(raw, 1);
	raw_send(raw, "#j JOIN room");
	raw_expect(raw, "#j ~ mode=durable retain-bytes=200000");
	broker_stop(broker);
	stored_spawn(broker, NULL, NULL);
	raw = raw_hello(broker, "name=t3ster");
	assert_true(room_first(raw) >= 200);
	raw_send(raw, "#j JOIN room");
	raw_expect(raw, "#j ~ mode=durable retain-bytes=200000");
	broker_stop(broker);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_set_and_get),
		TEST(test_refusals),
		TEST(test_owner),
		TEST(test_survives),
		TEST(test_waits_for_the_disk),
		TEST(test_one_of_two),
		TEST(test_known_later),
		TEST(test_refused_by_the_disk),
		TEST(test_old_room_stays),
		TEST(test_rate),
		TEST(test_retain_bytes),
		TEST(test_retain_on_disk),
	};

	return cmocka_run_group_tests_name("integration/value", tests, NULL, NULL);
}
