/* delete_test.c - a room is deleted: who may, what its readers are told, what is left of it, and
 * when it is answered. chat-protocol(7), DELETE. */
#include "tests/integration/disk.h"
#include "tests/integration/fast.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "protocol/control.h"
#include "protocol/shared.h"

/* Two users of the host who own nothing of the broker's. */
#define OWNER    65501
#define STRANGER 65502

#define SKIP_UNLESS_ROOT()                                                                         \
	do {                                                                                       \
		if (geteuid() != 0)                                                                \
			SKIP("only root has two users");                                           \
	} while (0)

static struct raw *owner_of(const struct broker *broker)
{
	return raw_hello_as(broker, OWNER, "name=0wner");
}

static void say(struct raw *raw, const char *room, unsigned n)
{
	for (unsigned i = 1; i <= n; i++) {
		raw_send(raw, "#s SAY %s\nmessage %u", room, i);
		raw_await(raw, "#s * ~");
	}
}

static void delete_room(struct raw *raw, const char *target, unsigned n_messages)
{
	raw_send(raw, "#d DELETE %s", target);
	raw_await(raw, "#d * %u", n_messages);
}

/* The segments below "rooms". */
static unsigned count_files(const struct broker *broker)
{
	return directory_count(broker_path(broker, "state/rooms"));
}

static void await_no_files(const struct broker *broker)
{
	uint64_t until = clock_ms() + DEADLINE_MS;

	while (count_files(broker) > 0)
		assert_true(clock_ms() < until);
}

/* Only its owner and administrators delete a room, and only one that is there. */
static void test_who_may(void **state)
{
	struct broker *broker;
	struct raw *owner, *stranger, *admin;

	SKIP_UNLESS_ROOT();
	broker = broker_start(NULL);
	owner = owner_of(broker);
	stranger = raw_hello_as(broker, STRANGER, "name=str4nger");
	admin = raw_hello(broker, "name=adm1n");
	say(owner, "room", 3);
	raw_send(stranger, "#d DELETE room");
	raw_expect(stranger, "#d ! DENIED only its owner and administrators delete it");
	raw_send(stranger, "DELETE room");
	raw_expect(stranger, "! DENIED DELETE room ~");
	delete_room(owner, "room", 3);
	raw_send(owner, "#d DELETE room");
	raw_expect(owner, "#d ! NOROOM ~");
	raw_send(owner, "#d DELETE Room");
	raw_expect(owner, "#d ! ROOM ~");
	raw_send(owner, "#d DELETE");
	raw_expect(owner, "#d ! ARGS ~");
	/* the name is free for anybody, and begins from 1 */
	raw_send(stranger, "#s SAY room\nmine now");
	raw_expect(stranger, "#s * 1");
	raw_send(owner, "#d DELETE room");
	raw_expect(owner, "#d ! DENIED ~");
	delete_room(admin, "room", 1);
	raw_send(owner, "DELETE lobby");
	raw_expect(owner, "! NOROOM DELETE lobby ~");
	say(owner, "lobby", 1);
	raw_send(owner, "#d DELETE lobby");
	raw_expect(owner, "#d ! DENIED ~");
	delete_room(admin, "lobby", 1);
	raw_send(owner, "DELETE nowhere"); /* without a tag only a failure is told */
	raw_expect(owner, "! NOROOM DELETE nowhere ~");
	say(owner, "room", 1);
	raw_send(owner, "DELETE room");
	raw_expect_quiet(owner);
	raw_send(owner, "#r ROOMS room");
	raw_expect(owner, "#r ! NOROOM ~");
	broker_stop(broker);
}

static void test_plain(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *raw = raw_open(broker);

	raw_send(raw, "DELETE lobby");
	raw_expect(raw, "!STATE");
	broker_stop(broker);
}

/* Readers are told behind what they were sent, and have no cursor there then. */
static void test_readers(void **state)
{
	struct broker *broker = stored_start();
	struct raw *raw = raw_join(broker, "name=t3ster", "room"), *reader[3], *slow;
	static const char *const hellos[] = { "name=f1rst", "name=s3cond batch", "name=th1rd" };
	static const char *const joins[] = { "room since=1", "room presence since=1", "room new" };

	say(raw, "room", 3);
	for (unsigned i = 0; i < 3; i++) {
		reader[i] = raw_hello(broker, hellos[i]);
		raw_send(reader[i], "#j JOIN %s", joins[i]);
		raw_expect(reader[i], "#j * ~");
		for (unsigned k = 1; i < 2 && k <= 3; k++)
			raw_expect(reader[i], "MSG room %u ~", k);
	}
	raw_expect(reader[1], "JOINED room th1rd ~");
	slow = raw_hello(broker, "name=sl0w batch");
	raw_send(slow, "#j JOIN room since=1");
	delete_room(raw, "room", 3);
	for (unsigned i = 0; i < 3; i++)
		raw_await(reader[i], "GAP room 4 0 deleted");
	raw_await(slow, "GAP room ~ 0 deleted");
	for (unsigned i = 0; i < 3; i++) {
		raw_expect_quiet(reader[i]);
		raw_send(reader[i], "#p PART room");
		raw_expect(reader[i], "#p ! NOROOM ~");
	}
	/* a reader that joins again is in another room */
	raw_send(reader[0], "#j JOIN room");
	raw_expect(reader[0], "#j * 1 first=1 ~");
	say(raw, "room", 1);
	raw_expect(reader[0], "MSG room 1 ~");
	raw_expect_quiet(reader[1]);
	raw_send(reader[2], "#p PART room");
	raw_expect(reader[2], "#p ! NOTIN ~");
	broker_stop(broker);
}

/* The owner of a deleted room can make another at once, and the place of its values is free,
 * whatever readers do. */
static void test_quota(void **state)
{
	struct broker *broker;
	struct raw *owner, *reader;

	SKIP_UNLESS_ROOT();
	for (unsigned is_stored = 0; is_stored < 2; is_stored++) {
		broker = broker_new();
		broker_spawn_here(broker, "--limit", "rooms=2", "--limit", "cursors=2",
			is_stored ? "--state" : NULL, broker_path(broker, "state"));
		broker_wait_ready(broker);
		owner = owner_of(broker);
		reader = raw_hello_as(broker, STRANGER, "name=r3ader");
		for (unsigned i = 0; i < 6; i++) {
			char room[16];

			snprintf(room, sizeof room, "build.%u", i);
			say(owner, room, 2);
			raw_send(owner, "#v SET %s topic\nkept", room);
			raw_expect(owner, "#v * ~");
			raw_send(reader, "#j JOIN %s", room); /* never read */
			if (i % 2 == 0)
				continue;
			raw_send(owner, "#s SAY too-many\nx");
			raw_expect(owner, "#s ! QUOTA ~");
			delete_room(owner, room, 2);
			snprintf(room, sizeof room, "build.%u", i - 1);
			delete_room(owner, room, 2);
		}
		raw_send(owner, "#u STATS users");
		raw_await(owner, "#u + ~ cursors=0/2 rooms=0/2 ~ value-bytes=0/~");
		broker_stop(broker);
	}
}

/* Nothing of it is there with the next broker, whenever that comes; nor is the new room mistaken
 * for the old one: not its numbers, its publishers, marks and values. */
static void test_killed(void **state)
{
	for (unsigned n = 0; n < 4; n++) {
		struct broker *broker = stored_start();
		struct raw *raw = raw_hello(broker, "name=t3ster pub=abc");
		bool is_in_files = n & 1, is_made_again = n & 2;

		for (unsigned i = 1; i <= 3; i++) {
			raw_send(raw, "#s SAY room id=%u\nold", i);
			raw_await(raw, "#s * %u", i);
		}
		raw_send(raw, "#v SET room topic\nold");
		raw_await(raw, "#v * ~");
		raw_send(raw, "#n SEEN room 3");
		raw_await(raw, "#n * 3");
		if (is_in_files) {
			restart(broker);
			raw = raw_hello(broker, "name=t3ster pub=abc");
			raw_await_counter(raw, "checkpoints", 1);
			assert_in_range(count_files(broker), 1, 1);
		}
		delete_room(raw, "room", 3);
		if (is_made_again) {
			raw_send(raw, "#s SAY room id=2\nnew");
			raw_expect(raw, "#s * 1");
		}
		for (unsigned i = 0; i < 3; i++) {
			restart(broker);
			raw = raw_hello(broker, "name=t3ster pub=abc");
			raw_send(raw, "#p PAST room");
			if (is_made_again) {
				raw_expect(raw, "#p + MSG room 1 ~\nnew");
				raw_expect(raw, "#p * 1");
				raw_send(raw, "#g GET room");
				raw_expect(raw, "#g * 0");
				raw_send(raw, "#n SEEN room");
				raw_expect(raw, "#n * 0");
			} else {
				raw_expect(raw, "#p ! NOROOM ~");
			}
			if (i == 0)
				raw_await_counter(raw, "checkpoints", 1);
			assert_int_equal(count_files(broker), is_made_again);
		}
		raw_send(raw, "#s SAY room id=1\nnot said in this room");
		raw_expect(raw, is_made_again ? "#s ! OLD ~" : "#s * 1");
		broker_stop(broker);
	}
}

/* A checkpoint removes the files. */
static void test_files(void **state)
{
	struct broker *broker = broker_new();
	static char body[4000];
	struct raw *raw;

	memset(body, 'x', sizeof body - 1);
	stored_spawn(broker, "--limit", "journal-bytes=64k");
	raw = raw_hello(broker, "name=t3ster");
	for (unsigned i = 0; i < 200; i++) {
		raw_send(raw, "#s SAY room\n%s", body);
		raw_await(raw, "#s * ~");
	}
	delete_room(raw, "room", 200);
	for (unsigned i = 0; i < 32; i++) { /* as much as makes the next checkpoint due */
		raw_send(raw, "#s SAY again\n%s", body);
		raw_await(raw, "#s * ~");
	}
	delete_room(raw, "again", 32);
	raw_send(raw, "#s SAY again\n%s", body);
	raw_await(raw, "#s * 1");
	delete_room(raw, "again", 1);
	broker_stop(broker);
	await_no_files(broker);
}

/* Also those that a checkpoint had written which failed then: no catalog names them. */
static void test_files_of_failed_checkpoint(void **state)
{
	struct broker *broker = broker_new();
	static char body[4000], catalog[128];
	struct raw *raw;

	memset(body, 'x', sizeof body - 1);
	stored_spawn(broker, "--limit", "journal-bytes=64k");
	snprintf(catalog, sizeof catalog, "%s", broker_path(broker, "state/state.db"));
	raw = raw_hello(broker, "name=t3ster");
	assert_int_equal(rename(catalog, broker_path(broker, "aside")), 0);
	assert_int_equal(mkdir(catalog, 0700), 0);
	for (unsigned i = 0; i < 100; i++) {
		raw_send(raw, "#s SAY room\n%s", body);
		raw_await(raw, "#s * ~");
	}
	broker_expect(broker, "checkpoint failed");
	assert_true(count_files(broker) > 1);
	delete_room(raw, "room", 100);
	assert_int_equal(rmdir(catalog), 0);
	assert_int_equal(rename(broker_path(broker, "aside"), catalog), 0);
	broker_expect(broker, "checkpoints work again");
	await_no_files(broker);
	broker_stop(broker);
}

/* The broker answers DELETE when the disk has it. Until then the room is unchanged, takes no more
 * messages and values, and nobody is told. */
static void test_held(void **state)
{
	struct broker *broker = shimmed_start();
	struct raw *raw = raw_hello(broker, "name=t3ster"), *reader, *sayer, *setter, *again, *gone,
		   *first, *second;

	say(raw, "room", 2);
	reader = raw_join(broker, "name=r3ader", "room");
	sayer = raw_hello(broker, "name=s4yer");
	setter = raw_hello(broker, "name=s3tter");
	again = raw_hello(broker, "name=aga1n");
	gone = raw_hello(broker, "name=g0ne");
	raw_send(gone, "#v SET valued topic\nx");
	raw_await(gone, "#v * ~");
	say(gone, "twice", 1);
	first = raw_hello(broker, "name=aga1n");
	second = raw_hello(broker, "name=aga1n");
	disk_hang(broker);
	raw_send(gone, "#g SAY other\nso that the next batch has both");
	raw_expect_quiet(sayer);
	raw_send(raw, "#s SAY room\nbefore"); /* goes with it */
	raw_expect_quiet(reader);
	/* a room that goes by itself with the same batch */
	raw_send(raw_hello(broker, "name=g0ne"), "SET valued topic\n");
	raw_expect_quiet(reader);
	raw_send(raw_hello(broker, "name=g0ne"), "DELETE valued");
	raw_expect_quiet(reader);
	/* and one that two delete */
	raw_send(first, "#d DELETE twice");
	raw_expect_quiet(reader);
	raw_send(second, "#d DELETE twice");
	raw_expect_quiet(reader);
	raw_send(again, "#d DELETE room");
	raw_expect_quiet(reader);
	raw_send(sayer, "#s SAY room\nafter");
	raw_send(setter, "#v SET room topic\nafter");
	raw_send(raw, "#d DELETE room"); /* waits for its own SAY */
	raw_send(reader, "#p PAST room");
	raw_expect(reader, "#p + MSG room 1 ~");
	raw_expect(reader, "#p + MSG room 2 ~");
	raw_expect(reader, "#p * 2");
	raw_expect_quiet(reader);
	disk_go_on(broker);
	raw_expect(reader, "GAP room ~ 0 deleted");
	raw_expect(first, "#d * 1");
	raw_expect(second, "#d ! NOROOM ~");
	raw_expect(raw, "#s * 3");
	raw_await(again, "#d * 3");
	raw_expect(sayer, "#s * 1");
	raw_expect(setter, "#v * ~");
	raw_expect(raw, "#d ~");
	raw_expect_quiet(reader);
	raw_send(reader, "#g GET valued");
	raw_expect(reader, "#g ! NOROOM ~");
	broker_stop(broker);
}

/* The disk does not take the DELETE: the room stays, and its readers are told nothing. No note is
 * left behind that deletes the room, or its new messages, later. */
static void test_disk_fails(void **state)
{
	struct broker *broker = shimmed_start();
	struct raw *raw = raw_hello(broker, "name=t3ster"), *reader;

	say(raw, "room", 2);
	reader = raw_join(broker, "name=r3ader", "room");
	for (unsigned i = 0; i < 2; i++) {
		file_write(broker_path(broker, i ? "write" : "sync"), i ? "28" : "5");
		raw_send(raw, "#d DELETE room");
		raw_expect(raw, i ? "#d ! NOSPACE ~" : "#d ! IO ~");
		raw_send(raw, "DELETE room");
		raw_expect(raw, i ? "! NOSPACE DELETE room ~" : "! IO DELETE room ~");
		raw_expect_quiet(reader);
		disk_heal(broker, i ? "write" : "sync");
		/* nothing that was told is lost by that */
		raw_send(raw, "#s SAY room\nstays");
		raw_await(raw, "#s * %u", 3 + i);
		raw_expect(reader, "MSG room %u ~\nstays", 3 + i);
	}
	restart(broker);
	raw = raw_hello(broker, "name=t3ster");
	raw_send(raw, "#p PAST room");
	raw_await(raw, "#p * 4");
	delete_room(raw, "room", 4);
	restart(broker);
	raw = raw_hello(broker, "name=t3ster");
	raw_send(raw, "#p PAST room");
	raw_expect(raw, "#p ! NOROOM ~");
	broker_stop(broker);
}

/* TEXT was written to the journal. */
static void await_written(const struct broker *broker, const char *text)
{
	static char data[64 * 1024];
	uint64_t until = clock_ms() + DEADLINE_MS;
	ssize_t n = 0;

	while (n <= 0 || !memmem(data, (size_t)n, text, strlen(text))) {
		int fd = open(find_file(broker, "state", "journal"), O_RDONLY | O_CLOEXEC);

		n = read(fd, data, sizeof data);
		close(fd);
		assert_true(clock_ms() < until);
	}
}

/* The batch before is stored, and the one that has it is not. */
static void test_disk_fails_behind(void **state)
{
	struct broker *broker = shimmed_start();
	struct raw *raw = raw_hello(broker, "name=t3ster"), *reader;
	struct raw *other = raw_hello(broker, "name=0ther");

	say(raw, "room", 1);
	reader = raw_join(broker, "name=r3ader", "room");
	raw_send(other, "#q PING deep"); /* the names that were taken are stored */
	raw_expect(other, "#q *");
	disk_hang(broker);
	raw_send(other, "#o SAY other\nbefore it");
	await_written(broker, "before it");
	raw_send(raw, "#d DELETE room");
	raw_expect_quiet(reader);
	file_write(broker_path(broker, "write"), "28");
	disk_go_on(broker);
	raw_expect(other, "#o * 1");
	raw_expect(raw, "#d ! NOSPACE ~");
	raw_expect_quiet(reader);
	disk_heal(broker, "write");
	delete_room(raw, "room", 1);
	raw_expect(reader, "GAP room 2 0 deleted");
	broker_stop(broker);
}

/* A broker that dies before it is answered has the room or has it not, and all of it. */
static void test_killed_before(void **state)
{
	struct broker *broker = shimmed_start();
	struct raw *raw = raw_hello(broker, "name=t3ster");
	const char *answer;

	say(raw, "room", 2);
	disk_hang(broker);
	raw_send(raw, "#d DELETE room");
	raw_expect_quiet(raw_hello(broker, "name=0ther"));
	broker_kill9(broker);
	raw_close_all();
	disk_heal(broker, "hang");
	stored_spawn(broker, NULL, NULL);
	raw = raw_hello(broker, "name=t3ster");
	raw_send(raw, "#p PAST room");
	answer = raw_await(raw, "#p ~");
	if (strncmp(answer, "#p ! NOROOM", strlen("#p ! NOROOM")) != 0) {
		raw_expect(raw, "#p + MSG room 2 ~");
		raw_expect(raw, "#p * 2");
	}
	broker_stop(broker);
}

/* In one packet: a record of the new room has nothing in common with the last one of the old. */
static void test_one_packet(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *raw = raw_hello(broker, "name=t3ster pub=abc");

	for (unsigned i = 0; i < 10; i++) {
		raw_send_batch_of(raw, (const char *const[]){ "SAY room id=1\none", "DELETE room",
					       "SAY room id=1\none", "#n SAY room id=2\ntwo",
					       "#p PAST room", "#d DELETE room", NULL });
		raw_expect(raw, "#n * 2");
		raw_expect(raw, "#p + MSG room 1 ~ p=~:1\none");
		raw_expect(raw, "#p + MSG room 2 ~ p=~:2\ntwo");
		raw_expect(raw, "#p * 2");
		raw_expect(raw, "#d * 2");
	}
	broker_stop(broker);
}

/* ---- conversations ---- */

/* The user who began a conversation can delete it, and so can administrators. The other side has it
 * again with the next message. */
static void test_conversation(void **state)
{
	struct broker *broker;
	struct raw *owner, *other, *admin;

	SKIP_UNLESS_ROOT();
	broker = stored_start();
	other = raw_hello_as(broker, STRANGER, "name=0ther direct");
	owner = raw_hello_as(broker, OWNER, "name=0wner direct");
	admin = raw_hello(broker, "name=adm1n");
	for (unsigned i = 0; i < 3; i++) {
		raw_send(owner, "#s SAY @0ther\nhello");
		raw_await(owner, "#s * 1");
		raw_await(other, "CURSOR @0ther+0wner 1 ~");
		raw_await(other, "MSG @0ther+0wner 1 ~\nhello");
		raw_send(other, "#s SAY @0wner\nhello yourself");
		raw_await(other, "#s * 2");
		raw_send(other, "#d DELETE @0wner");
		raw_await(other, "#d ! DENIED only the user that began it ~");
		if (i == 1)
			delete_room(admin, "@0ther+0wner", 2);
		else
			delete_room(owner, i ? "@0ther+0wner" : "@0ther", 2);
		raw_await(other, "GAP @0ther+0wner 3 0 deleted");
	}
	raw_send(admin, "#d DELETE @0ther+0wner");
	raw_expect(admin, "#d ! ROOM not a conversation of yours");
	raw_send(owner, "#d DELETE @0ther");
	raw_await(owner, "#d ! NOROOM ~");
	raw_send(owner, "#d DELETE @n0body");
	raw_await(owner, "#d ! NONAME ~");
	broker_stop(broker);
}

/* The lines that tell of one are not asked for: they never fill what is kept for a session that
 * does not read, which would cost it the connection. */
static void test_conversation_with_deaf(void **state)
{
	struct broker *broker;
	struct raw *owner, *deaf, *admin;
	const char *answer;
	unsigned n = 0;

	SKIP_UNLESS_ROOT();
	broker = broker_start("--limit", "bytes=256k", "--limit", "send-buffer=64k");
	deaf = raw_hello_as(broker, STRANGER, "name=d3af direct");
	owner = owner_of(broker);
	do {
		raw_send(owner, "#s SAY @d3af\n%04000d", 0);
		raw_await(owner, "#s * ~");
		raw_send(owner, "#d DELETE @d3af");
		answer = raw_await(owner, "#d ~");
	} while (strncmp(answer, "#d *", 4) == 0 && ++n < 100000);
	assert_true(pattern_matches("#d ! AGAIN the other side does not read ~", text_of(answer)));
	raw_expect_quiet(raw_hello(broker, "name=0ther"));
	admin = raw_hello(broker, "name=adm1n");
	delete_room(admin, "@0wner+d3af", 1);
	raw_send(deaf, "#p PING");
	raw_await(deaf, "#p *"); /* it was not cut off */
	broker_stop(broker);
}

/* ---- who is in the middle of something ---- */

/* The records are deleted while they are read back, searched or sent. */
static void test_reading(void **state)
{
	static char body[2000];
	struct broker *broker = shimmed_start();
	struct raw *raw = raw_hello(broker, "name=t3ster"), *reader, *past, *finder, *joiner;

	memset(body, 'x', sizeof body - 1);
	for (unsigned i = 0; i < 1000; i++) {
		raw_send(raw, "#s SAY room\n%s", body);
		raw_await(raw, "#s * ~");
	}
	/* of what is in files only the newest segment is in memory, if it is small */
	restart(broker);
	raw = raw_hello(broker, "name=t3ster");
	raw_await_counter(raw, "checkpoints", 1);
	restart(broker);
	assert_int_equal(mkfifo(broker_path(broker, "hang-read"), 0600), 0);
	raw = raw_hello(broker, "name=t3ster");
	reader = raw_hello(broker, "name=r3ader");
	raw_send(reader, "#j JOIN room since=1");
	raw_expect(reader, "#j * 1 ~");
	past = raw_hello(broker, "name=p4st");
	raw_send(past, "#p PAST room");
	finder = raw_hello(broker, "name=f1nder");
	raw_send(finder, "#f FIND room\nnowhere");
	joiner = raw_hello(broker, "name=j01ner");
	raw_send(joiner, "#j JOIN room since=@1");
	raw_expect_quiet(raw);
	delete_room(raw, "room", 1000);
	raw_expect(reader, "GAP room 1 0 deleted");
	say(raw, "room", 1);
	file_await(broker_path(broker, "hang-read"));
	{
		FILE *fifo = fopen(broker_path(broker, "hang-read"), "r+e");

		assert_non_null(fifo);
		disk_heal(broker, "hang-read");
		raw_await(finder, "#f ~");
		raw_await(past, "#p * 1");
		raw_await(joiner, "#j ~");
		fclose(fifo);
	}
	raw_expect_quiet(reader);
	broker_stop(broker);
	assert_int_equal(broker_count(broker, "damaged room"), 0);
}

/* ---- rings ---- */

static const struct control_slot *slot_of(const struct publisher *publisher)
{
	return ((const struct control_page *)publisher->control.at)->slots;
}

/* A ring ends with its room. Records that were taken are deleted with the room; the publisher still
 * has the others. Readers get the same GAP as others, and do not follow the ring any more. */
static void test_rings(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *raw = raw_join(broker, "name=t3ster", "room"), *reader;
	struct publisher publisher;
	unsigned long at;

	publisher_open(&publisher, broker, "room");
	reader = fast_join(broker, geteuid(), "room");
	raw_expect(reader, "RING room sp3aker ~");
	raw_send(reader, "TOOK");
	raw_await(publisher.raw, "SLEEPER slot=0 ~");
	publisher_put(&publisher, 1, "one");
	delete_room(raw, "room", 1);
	assert_int_equal(
		sscanf(raw_await(publisher.raw, "REVOKED room ~"), "REVOKED room at=%lu", &at), 1);
	assert_int_equal(at, publisher.writer.pos);
	assert_int_equal(shared_acquire32(&slot_of(&publisher)->error), EPIPE);
	raw_await(reader, "GAP room ~ 0 deleted");
	raw_expect_quiet(reader);
	raw_send(raw, "#r STATS rings");
	raw_expect(raw, "#r * 0");
	/* by the socket it makes the room again, and may have another ring there */
	raw_send(publisher.raw, "#s SAY room id=2\ntwo");
	raw_await(publisher.raw, "#s * 1");
	raw_send(reader, "#j JOIN room since=1 ring");
	raw_await(reader, "#j * 1 ~");
	raw_await(reader, "MSG room 1 ~:2\ntwo");
	publisher_close(&publisher);
	broker_stop(broker);
}

/* Three more rings end with their room: one that nobody archives, one that is read in the middle,
 * and one whose publisher has left. Nothing refers to the room any more. */
static void test_rings_of_all_kinds(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *raw = raw_hello(broker, "name=t3ster"), *reader[2];
	struct publisher free_one, gone;

	raw_send(raw, "#j JOIN room mode=ephemeral");
	raw_expect(raw, "#j * ~");
	reader[0] = fast_join(broker, geteuid(), "room");
	reader[1] = fast_join(broker, geteuid(), "room");
	raw_send(raw, "#j PART room");
	raw_expect(raw, "#j *");
	publisher_open(&free_one, broker, "room");
	publisher_open_as(&gone, broker, "room", "name=g0ne batch pub=fed");
	raw_expect(reader[0], "RING room ~");
	raw_send(reader[0], "TOOK"); /* then the other one; reader[1] takes nothing */
	raw_expect(reader[0], "RING room ~");
	for (unsigned i = 1; i <= 100; i++) {
		publisher_put(&free_one, i, "x");
		publisher_put(&gone, i, "x");
	}
	publisher_close(&gone);
	raw_send(raw, "#d DELETE room");
	raw_await(raw, "#d * ~");
	raw_await(free_one.raw, "REVOKED room ~");
	raw_await(reader[0], "GAP room ~ deleted");
	raw_await(reader[1], "GAP room ~ deleted");
	for (unsigned i = 0; i < 2; i++) {
		raw_send(reader[i], "#t TOOK");
		raw_await(reader[i], "#t *");
		raw_send(reader[i], "#r RESYNC room %u p=abc after=0", geteuid());
		raw_await(reader[i], "#r ! NOTIN ~");
		raw_close(reader[i]);
	}
	publisher_close(&free_one);
	raw_expect_quiet(raw);
	raw_send(raw, "#r STATS rings");
	raw_expect(raw, "#r * 0");
	broker_stop(broker);
}

/* In a stored room a ring waits for the disk as well, and the publisher keeps the records of that
 * time. */
static void test_stored_ring(void **state)
{
	struct broker *broker = shimmed_start();
	struct raw *raw = raw_hello(broker, "name=t3ster");
	struct publisher publisher;
	unsigned long at;

	say(raw, "room", 1);
	publisher_open(&publisher, broker, "room");
	publisher_put(&publisher, 1, "one");
	raw_send(publisher.raw, "#b BELL");
	raw_expect(publisher.raw, "#b *");
	disk_hang(broker);
	raw_send(raw, "#d DELETE room");
	raw_expect_quiet(raw_hello(broker, "name=0ther"));
	publisher_put(&publisher, 2, "two");
	raw_send(publisher.raw, "BELL");
	raw_expect_quiet(publisher.raw);
	disk_go_on(broker);
	raw_expect(raw, "#d * 2");
	assert_int_equal(
		sscanf(raw_await(publisher.raw, "REVOKED room ~"), "REVOKED room at=%lu", &at), 1);
	assert_int_equal(at, RING_LINE);
	raw_send(raw, "#r STATS rings");
	raw_expect(raw, "#r * 0");
	publisher_close(&publisher);
	broker_stop(broker);
}

/* ---- what goes by itself ---- */

/* Wait until room NAME has no messages, or IS_GONE. */
static void await_empty(struct raw *raw, const char *name, bool is_gone)
{
	uint64_t until = clock_ms() + DEADLINE_MS;
	unsigned first, next;
	bool is_there;

	do {
		raw_send(raw, "#r ROOMS %s", name);
		is_there = sscanf(raw_await(raw, "#r ~"), "#r + %*s readers=%*u first=%u next=%u",
				   &first, &next) == 2;
		if (is_there)
			raw_await(raw, "#r * ~");
		assert_true(clock_ms() < until);
	} while (is_there && (is_gone || first < next));
	assert_int_equal(is_there, !is_gone);
}

static void set(struct raw *raw, const char *words, const char *value)
{
	raw_send(raw, "#v SET %s\n%s", words, value);
	raw_await(raw, "#v * ~");
}

/* An ephemeral room that nobody reads goes when its messages have, and so does one that was made
 * durable, of which no message is stored; not one that has a value, or a message that is stored. */
static void test_goes_by_itself(void **state)
{
	struct broker *broker;
	struct raw *owner;

	SKIP_UNLESS_ROOT();
	broker = broker_new();
	broker_spawn_here(broker, "--state", broker_path(broker, "state"), "--limit", "rooms=4",
		"--limit", "room-idle=1");
	broker_wait_ready(broker);
	owner = owner_of(broker);
	say(owner, "kept", 1);
	raw_send(owner, "#j JOIN one mode=ephemeral");
	raw_await(owner, "#j * ~");
	say(owner, "one", 3);
	raw_send(owner, "#j PART one");
	raw_await(owner, "#j *");
	set(owner, "two mode", "ephemeral");
	say(owner, "two", 3);
	set(owner, "three mode", "ephemeral");
	say(owner, "three", 3);
	set(owner, "three mode", ""); /* the messages are still in memory */
	raw_send(owner, "#s SAY five\nx");
	raw_await(owner, "#s ! QUOTA ~");
	await_empty(owner, "one", true);
	await_empty(owner, "three", true);
	await_empty(owner, "two", false);
	set(owner, "two mode", "");
	await_empty(owner, "two", true);
	raw_send(owner, "#p PAST kept");
	raw_await(owner, "#p * 1");
	say(owner, "kept", 1); /* then what was told of the others is on the disk, too */
	restart(broker);
	owner = owner_of(broker);
	raw_send(owner, "#r ROOMS");
	raw_expect(owner, "#r + kept ~ first=1 next=3 ~");
	raw_expect(owner, "#r * 1");
	broker_stop(broker);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_who_may),
		TEST(test_plain),
		TEST(test_readers),
		TEST(test_quota),
		TEST(test_killed),
		TEST(test_files),
		TEST(test_files_of_failed_checkpoint),
		TEST(test_held),
		TEST(test_disk_fails),
		TEST(test_disk_fails_behind),
		TEST(test_killed_before),
		TEST(test_one_packet),
		TEST(test_conversation),
		TEST(test_conversation_with_deaf),
		TEST(test_reading),
		TEST(test_rings),
		TEST(test_rings_of_all_kinds),
		TEST(test_stored_ring),
		TEST(test_goes_by_itself),
	};

	return cmocka_run_group_tests_name("integration/delete", tests, NULL, NULL);
}
