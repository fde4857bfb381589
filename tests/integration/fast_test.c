/* fast_test.c - libchat's fast path with the real broker: what goes through rings, and what
 * becomes of it when anybody is slow, gone, killed, or somebody else. libchat(3), The fast
 * path; chat-ring(7). */
#include "tests/integration/fast.h"
#include "tests/integration/fast_talk.h"

#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "protocol/control.h"
#include "protocol/ring.h"

#define NOBODY 65534

/* The row of the first ring, as STATS has it, must come to be like PATTERN, while these
 * two look at what they are told. */
static void await_ring(struct raw *raw, struct chat *chat, struct chat *reader, const char *pattern)
{
	uint64_t until = clock_ms() + DEADLINE_MS;

	for (;;) {
		struct text frame;
		struct chat_event event;
		bool is_there = false;

		assert_int_equal(chat_receive(chat, &event, 0), 0);
		assert_int_equal(chat_receive(reader, &event, 0), 0);
		raw_send(raw, "#r STATS rings");
		while (!pattern_matches("#r * ~", frame = raw_next(raw)))
			is_there |= pattern_matches(pattern, frame);
		if (is_there)
			return;
		if (clock_ms() > until)
			fail_msg("no ring is like %s", pattern);
	}
}

/* The reader must come to have taken so many rings. */
static void await_rings(struct raw *raw, struct chat *chat, struct chat *reader, unsigned n)
{
	uint64_t until = clock_ms() + DEADLINE_MS;
	unsigned n_taken;

	do {
		struct chat_event event;
		struct text frame;

		assert_int_equal(chat_receive(chat, &event, 0), 0);
		assert_int_equal(chat_receive(reader, &event, 0), 0);
		n_taken = 0;
		raw_send(raw, "#r STATS rings");
		while (!pattern_matches("#r * ~", frame = raw_next(raw)))
			n_taken += pattern_matches("#r + ~ readers=1 ~", frame);
		assert_true(clock_ms() < until);
	} while (n_taken < n);
}

/* What everybody reads is the same, in one order: through the ring, from the log, and by
 * who comes later. */
static void test_archived(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct chat *chat = open_named(broker, "sp3aker"), *reader = open_named(broker, "r3ader");
	struct raw *raw = raw_join(broker, "name=t3ster", "room");
	char body[16];

	join_fast(reader, "room", CHAT_FAST);
	say_numbers(chat, "room", 1, 3); /* these go through the socket */
	put_numbers(chat, "room", CHAT_FAST, 4, 2000);
	flush(chat);
	expect_numbers(reader, "room", 1, 2000);
	for (unsigned i = 1; i <= 2000; i++) {
		snprintf(body, sizeof body, "%u", i);
		raw_expect(raw, "MSG room %u ~ sp3aker %u~p=~:%u\n%s", i, getuid(), i, body);
	}
	await_ring(
		raw, chat, reader, "#r + room sp3aker ~ number=1 bytes=~ gated at=~ readers=1 ~");
	raw_send(raw, "#p PAST room from=1999");
	raw_expect(raw, "#p + MSG room 1999 ~\n1999");
	raw_expect(raw, "#p + MSG room 2000 ~\n2000");
	chat_close(chat);
	chat_close(reader);
	broker_stop(broker);
}

/* The reader is told the same as with the socket, but for the number in the log. */
static void test_event(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct chat *chat = open_named(broker, "sp3aker"), *reader = open_named(broker, "r3ader");
	struct chat_event event;

	join_fast(reader, "room", CHAT_FAST);
	warm_up(chat, reader, "room", CHAT_FAST);
	put(chat, "room", 0, "one way or the other: a ring that is there is used");
	event = await_event(reader, CHAT_MESSAGE);
	assert_string_equal(event.target, "room");
	assert_string_equal(event.name, "sp3aker");
	assert_int_equal(event.uid, getuid());
	assert_int_equal(event.seq, 0);
	assert_true(event.time > UINT64_C(1700000000000000000));
	assert_false(event.own);
	/* one's own comes back, too */
	join_fast(chat, "room", CHAT_FAST);
	put(chat, "room", CHAT_FAST, "mine");
	assert_true(await_event(chat, CHAT_MESSAGE).own);
	chat_close(chat);
	chat_close(reader);
	broker_stop(broker);
}

/* With nobody at the socket an ephemeral room keeps nothing and gates nobody; with
 * somebody there it does, from then on. */
static void test_ephemeral(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct chat *chat = open_named(broker, "sp3aker"), *reader = open_named(broker, "r3ader");
	struct raw *raw = raw_hello(broker, "name=t3ster");

	join_fast(reader, "room", FREE);
	warm_up(chat, reader, "room", FREE);
	await_ring(raw, chat, reader, "#r + room sp3aker ~ free ~ readers=1 ~");
	put_numbers(chat, "room", FREE, 1, 1000);
	expect_numbers(reader, "room", 1, 1000);
	raw_send(raw, "#j JOIN room");
	raw_expect(raw, "#j * ~ mode=ephemeral ~");
	await_ring(raw, chat, reader, "#r + room sp3aker ~ gated ~ readers=1 ~");
	put_numbers(chat, "room", FREE, 1001, 1003);
	flush(chat);
	raw_expect(raw, "MSG room ~\n1001");
	raw_expect(raw, "MSG room ~\n1002");
	raw_expect(raw, "MSG room ~\n1003");
	expect_numbers(reader, "room", 1001, 1003);
	raw_send(raw, "#p PART room");
	raw_expect(raw, "#p *");
	await_ring(raw, chat, reader, "#r + room sp3aker ~ free ~ readers=1 ~");
	put_numbers(chat, "room", FREE, 1004, 1010);
	expect_numbers(reader, "room", 1004, 1010);
	chat_close(chat);
	chat_close(reader);
	broker_stop(broker);
}

/* Nobody waits for a reader; what it missed of an ephemeral room is counted exactly. */
static void test_lapped_ephemeral(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct chat *chat = open_named(broker, "sp3aker"), *reader = open_named(broker, "r3ader");
	unsigned next = 1;

	join_fast(reader, "room", FREE);
	warm_up(chat, reader, "room", FREE);
	for (unsigned i = 1; i <= FLOOD; i++)
		put_large(chat, "room", FREE, i);
	put(chat, "room", FREE, "end");
	for (;;) {
		struct chat_event event = next_event(reader);

		if (event.type == CHAT_GAP) {
			assert_string_equal(event.text, "lapped");
			assert_string_equal(event.name, "sp3aker");
			next += (unsigned)(event.to - event.from + 1);
			continue;
		}
		assert_int_equal(event.type, CHAT_MESSAGE);
		if (event.len == 3)
			break;
		assert_int_equal(strtoul(event.body, NULL, 10), next);
		next++;
	}
	assert_int_equal(next, FLOOD + 1);
	chat_close(chat);
	chat_close(reader);
	broker_stop(broker);
}

/* In any other room the log has it: nothing is missing. */
static void test_lapped_archived(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct chat *chat = open_named(broker, "sp3aker"), *reader = open_named(broker, "r3ader");
	struct raw *raw = raw_hello(broker, "name=t3ster");

	join_fast(reader, "room", CHAT_FAST);
	warm_up(chat, reader, "room", CHAT_FAST);
	for (unsigned i = 1; i <= FLOOD; i++)
		put_large(chat, "room", CHAT_FAST, i);
	flush(chat);
	for (unsigned i = 1; i <= FLOOD; i++)
		assert_int_equal(strtoul(await_event(reader, CHAT_MESSAGE).body, NULL, 10), i);
	await_ring(raw, chat, reader, "#r + room sp3aker ~ laps=1 ~");
	/* and then it is back on the ring */
	warm_up(chat, reader, "room", CHAT_FAST);
	chat_close(chat);
	chat_close(reader);
	broker_stop(broker);
}

/* What the log does not keep is no gap to who had it from the ring. */
static void test_retention(void **state)
{
	struct broker *broker = broker_start("--limit", "room-bytes=256k");
	struct chat *chat = open_named(broker, "sp3aker"), *reader = open_named(broker, "r3ader");
	struct raw *raw = raw_hello(broker, "name=t3ster");

	join_fast(reader, "room", CHAT_FAST);
	warm_up(chat, reader, "room", CHAT_FAST);
	for (unsigned i = 0; i < 300; i++) {
		for (unsigned k = 1; k <= 8; k++)
			put_large(chat, "room", CHAT_FAST, 8 * i + k);
		for (unsigned k = 1; k <= 8; k++) {
			struct chat_event event = next_event(reader);

			assert_int_equal(event.type, CHAT_MESSAGE);
			assert_int_equal(strtoul(event.body, NULL, 10), 8 * i + k);
		}
	}
	flush(chat);
	assert_int_equal(raw_counter(raw, "gap_records"), 0);
	chat_close(chat);
	chat_close(reader);
	broker_stop(broker);
}

/* A reader of a room that is kept which is too slow for the ring, and for the log behind it,
 * is told of each message that it misses, where it misses it, and of no other. */
static void test_flood(void **state)
{
	enum { MESSAGES = 60000 };
	struct broker *broker = broker_start("--limit", "room-bytes=1M");
	struct chat *reader = open_named(broker, "r3ader");
	unsigned next = 1, n_gaps = 0;
	pid_t pid;

	join_fast(reader, "room", CHAT_FAST);
	pid = child_fork();
	if (pid == 0) {
		struct chat *chat = open_named(broker, "sp3aker");
		static char body[1000];

		for (unsigned i = 1; i <= MESSAGES; i++) {
			snprintf(body, sizeof body, "%u", i);
			if (chat_send(chat, "room", body, sizeof body, CHAT_FAST))
				_exit(1);
		}
		put(chat, "room", CHAT_FAST, "end");
		flush(chat);
		_exit(0);
	}
	for (;;) {
		struct chat_event event = next_event(reader);

		if (event.type == CHAT_GAP) {
			next += (unsigned)(event.to - event.from + 1);
			n_gaps++;
			continue;
		}
		assert_int_equal(event.type, CHAT_MESSAGE);
		if (event.len == 3)
			break;
		assert_int_equal(strtoul(event.body, NULL, 10), next);
		if (next++ % 16 == 0) /* it takes its time */
			sched_yield();
	}
	assert_int_equal(next, MESSAGES + 1);
	if (n_gaps == 0)
		print_message("it missed nothing here\n");
	child_expect_exit(pid, 0);
	chat_close(reader);
	broker_stop(broker);
}

/* One that says it spoke before everybody is heard before them for two rings at the most. */
static void test_liar(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct chat *chat = open_named(broker, "sp3aker"), *reader = open_named(broker, "r3ader");
	struct raw *raw = raw_hello(broker, "name=t3ster");
	struct publisher liar;
	struct chat_event event = { 0 };
	unsigned n = 0;

	join_fast(reader, "room", FREE);
	warm_up(chat, reader, "room", FREE);
	publisher_open_as(&liar, broker, "room", "name=li4r batch pub=abc");
	liar.writer.gate = NULL;
	await_rings(raw, chat, reader, 2);
	put(chat, "room", FREE, "the truth");
	while (event.len != strlen("the truth")) {
		assert_int_equal(ring_put(&liar.writer, 0, ++n, "a lie", 5), 0);
		event = next_event(reader);
		assert_int_equal(event.type, CHAT_MESSAGE);
		assert_true(n < 3 * RING_CAPACITY_MIN / RING_LINE);
	}
	publisher_close(&liar);
	chat_close(chat);
	chat_close(reader);
	broker_stop(broker);
}

/* Publishers that went while the reader was away, too, take no place for good. */
static void test_publishers_go(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct chat *reader = open_named(broker, "r3ader");

	join_fast(reader, "room", CHAT_FAST);
	for (unsigned i = 0; i < RINGS_MAX + 2; i++) {
		struct chat *chat = open_named(broker, "sp3aker");

		warm_up(chat, reader, "room", CHAT_FAST);
		broker_kill9(broker);
		chat_close(chat);
		broker_spawn_here(broker, NULL);
		broker_wait_ready(broker);
		while (await_event(reader, CHAT_UP).type != CHAT_UP)
			;
	}
	chat_close(reader);
	broker_stop(broker);
}

/* What was put is there, also when who put it is not any more. */
static void test_publisher_gone(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct chat *reader = open_named(broker, "r3ader"), *later;
	struct raw *raw = raw_join(broker, "name=t3ster", "room");
	int ready[2];
	char byte;
	pid_t pid;

	join_fast(reader, "room", CHAT_FAST);
	assert_int_equal(pipe(ready), 0);
	pid = child_fork();
	if (pid == 0) {
		struct chat *chat = open_named(broker, "sp3aker");

		put_numbers(chat, "room", CHAT_FAST, 1, 10);
		flush(chat);
		put_numbers(chat, "room", CHAT_FAST, 11, 3000);
		if (write(ready[1], "x", 1) == 1)
			pause();
		_exit(1);
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	kill(pid, SIGKILL);
	child_expect_kill(pid);
	close(ready[0]);
	close(ready[1]);
	expect_numbers(reader, "room", 1, 3000);
	for (unsigned i = 1; i <= 3000; i++)
		raw_expect(raw, "MSG room %u ~\n%u", i, i);
	/* somebody else of that user goes on by the socket */
	later = open_named(broker, "sp3aker");
	say(later, "room", "later");
	expect_body(reader, "later");
	raw_expect(raw, "MSG room 3001 ~\nlater");
	raw_await_counter(raw, "rings", 1);
	chat_close(reader);
	chat_close(later);
	broker_stop(broker);
}

/* The broker is killed: rings go on, and the next one is offered the same. */
static void test_broker_killed(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct chat *chat = open_named(broker, "sp3aker"), *reader = open_named(broker, "r3ader");
	char body[16];
	struct raw *raw;

	join_fast(reader, "room", CHAT_FAST);
	warm_up(chat, reader, "room", CHAT_FAST);
	put_numbers(chat, "room", CHAT_FAST, 1, 100);
	broker_kill9(broker);
	put_numbers(chat, "room", CHAT_FAST, 101, 200);
	for (unsigned i = 1; i <= 200; i++) {
		struct chat_event event;

		do
			event = next_event(reader);
		while (event.type == CHAT_DOWN);
		snprintf(body, sizeof body, "%u", i);
		assert_int_equal(event.type, CHAT_MESSAGE);
		assert_memory_equal(event.body, body, strlen(body));
	}
	broker_spawn_here(broker, NULL);
	broker_wait_ready(broker);
	put_numbers(chat, "room", CHAT_FAST, 201, 300);
	flush(chat);
	for (unsigned i = 201; i <= 300; i++) {
		struct chat_event event;

		do
			event = next_event(reader);
		while (event.type == CHAT_DOWN || event.type == CHAT_UP ||
			(event.type == CHAT_GAP && strcmp(event.text, "reset") == 0));
		snprintf(body, sizeof body, "%u", i);
		assert_int_equal(event.type, CHAT_MESSAGE);
		assert_memory_equal(event.body, body, strlen(body));
	}
	/* everything that was in the ring is in the new log, once */
	raw = raw_hello(broker, "name=t3ster");
	raw_send(raw, "#j JOIN room since=1");
	raw_expect(raw, "#j * ~");
	raw_await(raw, "MSG room ~\n1");
	for (unsigned i = 2; i <= 300; i++)
		raw_expect(raw, "MSG room ~\n%u", i);
	chat_close(chat);
	chat_close(reader);
	broker_stop(broker);
}

/* Without shared memory everything is as it was. */
static void test_no_shm(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct chat *chat, *reader = open_named(broker, "r3ader");
	struct raw *raw = raw_hello(broker, "name=t3ster");

	setenv("CHAT_NO_SHM", "1", 1);
	chat = open_named(broker, "sp3aker");
	unsetenv("CHAT_NO_SHM");
	join_fast(reader, "room", CHAT_FAST);
	put_numbers(chat, "room", CHAT_FAST, 1, 100);
	flush(chat);
	expect_numbers(reader, "room", 1, 100);
	assert_int_equal(raw_counter(raw, "rings"), 0);
	chat_close(chat);
	chat_close(reader);
	broker_stop(broker);
}

/* A ring that is refused is poured into the socket: nothing is lost, nothing doubled. */
static void test_refused(void **state)
{
	struct broker *broker = broker_start("--limit", "ring-bytes=256k");
	struct chat *chat = open_named(broker, "sp3aker"), *reader = open_named(broker, "r3ader");
	struct raw *raw = raw_hello(broker, "name=t3ster");

	join_fast(reader, "room", CHAT_FAST);
	put_numbers(chat, "room", CHAT_FAST, 1, 5000);
	flush(chat);
	put_numbers(chat, "room", CHAT_FAST, 5001, 5010);
	flush(chat);
	expect_numbers(reader, "room", 1, 5010);
	assert_int_equal(raw_counter(raw, "rings"), 0);
	chat_close(chat);
	chat_close(reader);
	broker_stop(broker);
}

/* Who is thrown out reads no further: the ring that it had mapped is not used any more. */
static void test_revoked(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct chat *chat = open_named(broker, "sp3aker"), *reader = open_named(broker, "r3ader");
	struct chat *spy = open_named(broker, "sp1");
	struct raw *raw = raw_hello(broker, "name=t3ster");
	struct chat_event event;

	join_fast(reader, "room", CHAT_FAST);
	warm_up(chat, reader, "room", CHAT_FAST);
	join_fast(spy, "room", CHAT_FAST);
	do {
		put(chat, "room", CHAT_FAST, "before");
		flush(chat);
		expect_body(reader, "before");
	} while (!expect_body(spy, "before"));
	await_ring(raw, reader, spy, "#r + room sp3aker ~ readers=2 ~");
	raw_send(raw, "#k CTL KICK sp1");
	raw_await(raw, "#k *");
	put_numbers(chat, "room", CHAT_FAST, 1, 500);
	flush(chat);
	expect_numbers(reader, "room", 1, 500);
	event = next_event(spy);
	assert_int_equal(event.type, CHAT_DOWN);
	assert_true(event.ended);
	/* the next ring is another one, which it does not have */
	warm_up(chat, reader, "room", CHAT_FAST);
	raw_await_counter(raw, "rings", 2);
	chat_close(chat);
	chat_close(reader);
	chat_close(spy);
	broker_stop(broker);
}

/* Who polls the descriptor is woken by it. */
static void test_polled(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct chat *chat = open_named(broker, "sp3aker"), *reader = open_named(broker, "r3ader");
	struct chat_event event;
	unsigned next = 1;
	struct raw *raw;
	char body[16];
	pid_t pid;
	int fd;

	join_fast(reader, "room", FREE);
	warm_up(chat, reader, "room", FREE);
	fd = chat_fd(reader);
	warm_up(chat, reader, "room", FREE);
	pid = child_fork();
	if (pid == 0) {
		struct chat *other = open_named(broker, "0ther");

		for (unsigned i = 1; i <= 300; i++) {
			put_numbers(other, "room", FREE, i, i);
			flush(other);
		}
		pause();
	}
	while (next <= 300) {
		while (chat_receive(reader, &event, 0) > 0) {
			snprintf(body, sizeof body, "%u", next++);
			assert_int_equal(event.type, CHAT_MESSAGE);
			assert_memory_equal(event.body, body, strlen(body));
		}
		if (next <= 300)
			assert_true(wait_fd(fd, POLLIN, clock_ms() + DEADLINE_MS));
	}
	/* what is behind the end of the ring waits for TOOK, and nothing else comes */
	kill(pid, SIGKILL);
	child_expect_kill(pid);
	raw = raw_hello(broker, "name=t3ster");
	raw_send(raw, "#s SAY room\nplain");
	raw_expect(raw, "#s * ~");
	while (chat_receive(reader, &event, 0) == 0)
		assert_true(wait_fd(fd, POLLIN, clock_ms() + DEADLINE_MS));
	assert_int_equal(event.type, CHAT_MESSAGE);
	assert_memory_equal(event.body, "plain", 5);
	chat_close(chat);
	chat_close(reader);
	broker_stop(broker);
}

/* A child speaks as UID, each time it is told to by a byte. */
static pid_t speaker_start(const struct broker *broker, uid_t uid, int go)
{
	pid_t pid = child_fork();
	struct chat *chat;
	char byte;

	if (pid != 0)
		return pid;
	if (setuid(uid) != 0)
		_exit(1);
	chat = open_named(broker, "sp3aker");
	for (unsigned i = 1; read(go, &byte, 1) == 1; i++) {
		put_numbers(chat, "room", FREE, i, i);
		put_numbers(chat, "room", FREE, 0, 0);
		flush(chat);
	}
	pause();
	_exit(1);
}

/* The reader sleeps each time until it is woken; that must not take the bounded sleep. */
static void sleep_and_wake(uid_t broker_uid, uid_t speaker_uid, uid_t reader_uid)
{
	struct broker *broker = broker_new();
	int go[2];
	pid_t speaker, reader;

	if (geteuid() != 0)
		SKIP("only root can be several users");
	broker->uid = broker_uid;
	broker_spawn_here(broker, NULL);
	broker_wait_ready(broker);
	assert_int_equal(pipe(go), 0);
	setenv("CHAT_BROKER_UID", broker_uid ? "65534" : "0", 1);
	speaker = speaker_start(broker, speaker_uid, go[0]);
	reader = child_fork();
	if (reader == 0) {
		struct chat *chat;
		uint64_t slowest = 0;
		unsigned n_rings = 0;

		if (setuid(reader_uid) != 0)
			_exit(1);
		chat = open_named(broker, "r3ader");
		join_fast(chat, "room", FREE);
		for (unsigned i = 1; i <= 200; i++) {
			uint64_t start = clock_ms();
			char body[16];

			if (write(go[1], "x", 1) != 1)
				_exit(1);
			snprintf(body, sizeof body, "%u", i);
			n_rings += expect_body(chat, body);
			(void)expect_body(chat, "0");
			slowest = MAX(slowest, clock_ms() - start);
		}
		if (n_rings < 100)
			fail_msg("only %u came through the ring", n_rings);
		if (slowest > 900)
			fail_msg("woken after %lu ms", (unsigned long)slowest);
		_exit(0);
	}
	child_expect_exit(reader, 0);
	kill(speaker, SIGKILL);
	child_expect_kill(speaker);
	close(go[0]);
	close(go[1]);
	unsetenv("CHAT_BROKER_UID");
	broker_stop(broker);
}

/* A broker of one's own: the named semaphore. */
static void test_wake_own(void **state)
{
	sleep_and_wake(0, 0, 0);
}

/* A broker under a service's uid: an eventfd. */
static void test_wake_service(void **state)
{
	sleep_and_wake(NOBODY, 0, 0);
}

/* Speaker and reader are two users: the broker wakes. */
static void test_wake_other(void **state)
{
	sleep_and_wake(0, 0, NOBODY);
}

static void test_wake_other_of_service(void **state)
{
	sleep_and_wake(NOBODY, NOBODY, 0);
}

/* As --list-ipc has them, which names the socket behind each. */
static unsigned count_semaphores(const struct broker *broker)
{
	char command[512], line[256], path[64];
	unsigned n = 0;
	FILE *list;

	snprintf(command, sizeof command, "%s --list-ipc --socket %s", getenv("CHAT_BROKER"),
		broker->socket);
	list = popen(command, "r");
	assert_non_null(list);
	while (fgets(line, sizeof line, list)) {
		if (!strstr(line, broker->socket))
			continue;
		assert_int_equal(sscanf(line, "%63s", path), 1);
		assert_true(file_exists(path));
		n++;
	}
	assert_int_equal(pclose(list), 0);
	return n;
}

/* What a kill leaves behind the next start removes; so does --clean-ipc, which --list-ipc
 * shows. */
static void test_leftovers(void **state)
{
	struct broker *broker = broker_start(NULL);
	const char *program = getenv("CHAT_BROKER");
	struct chat *chat = open_named(broker, "sp3aker"), *reader = open_named(broker, "r3ader");

	join_fast(reader, "room", CHAT_FAST);
	warm_up(chat, reader, "room", CHAT_FAST);
	assert_int_equal(count_semaphores(broker), 2);
	/* a broker that runs keeps what it has */
	assert_int_equal(
		child_end(child_run(broker->dir, (const char *[]){ program, "--clean-ipc",
							 "--socket", broker->socket, NULL })),
		75);
	broker_kill9(broker);
	chat_close(chat);
	chat_close(reader);
	assert_int_equal(count_semaphores(broker), 2);
	child_expect_exit(child_run(broker->dir, (const char *[]){ program, "--clean-ipc",
							 "--socket", broker->socket, NULL }),
		0);
	assert_int_equal(count_semaphores(broker), 0);
	broker_spawn_here(broker, NULL);
	broker_wait_ready(broker);
	chat = open_named(broker, "sp3aker");
	reader = open_named(broker, "r3ader");
	join_fast(reader, "room", CHAT_FAST);
	warm_up(chat, reader, "room", CHAT_FAST);
	broker_kill9(broker);
	chat_close(chat);
	chat_close(reader);
	broker_spawn_here(broker, NULL);
	broker_expect(broker, "removed semaphores=2 of a broker that was killed");
	assert_int_equal(count_semaphores(broker), 0);
	broker_stop(broker);
}

/* Nobody removes the semaphores of a running broker, even when its socket and its lock were
 * removed. */
static void test_swept_lock(void **state)
{
	struct broker *broker = broker_start(NULL), *other = broker_new();
	const char *program = getenv("CHAT_BROKER");
	struct chat *chat = open_named(broker, "sp3aker"), *reader = open_named(broker, "r3ader");

	join_fast(reader, "room", CHAT_FAST);
	warm_up(chat, reader, "room", CHAT_FAST);
	assert_int_equal(count_semaphores(broker), 2);
	broker_signal(broker, SIGSTOP); /* or it would make them again */
	assert_int_equal(unlink(broker_path(broker, "broker.sock.lock")), 0);
	child_expect_exit(child_run(broker->dir, (const char *[]){ program, "--clean-ipc",
							 "--socket", broker->socket, NULL }),
		0);
	assert_int_equal(count_semaphores(broker), 2);
	assert_int_equal(unlink(broker->socket), 0);
	strcpy(other->socket, broker->socket);
	broker_spawn_here(other, NULL);
	broker_wait_ready(other);
	assert_int_equal(broker_count(other, "removed semaphores"), 0);
	assert_int_equal(count_semaphores(broker), 2);
	broker_signal(other, SIGTERM);
	broker_expect_exit(other, 0);
	broker_signal(broker, SIGCONT);
	warm_up(chat, reader, "room", CHAT_FAST);
	chat_close(chat);
	chat_close(reader);
	broker_stop(broker);
	assert_int_equal(count_semaphores(broker), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_archived),
		TEST(test_event),
		TEST(test_ephemeral),
		TEST(test_lapped_ephemeral),
		TEST(test_lapped_archived),
		TEST(test_retention),
		TEST(test_flood),
		TEST(test_liar),
		TEST(test_publishers_go),
		TEST(test_publisher_gone),
		TEST(test_broker_killed),
		TEST(test_no_shm),
		TEST(test_refused),
		TEST(test_revoked),
		TEST(test_polled),
		TEST(test_wake_own),
		TEST(test_wake_service),
		TEST(test_wake_other),
		TEST(test_wake_other_of_service),
		TEST(test_leftovers),
		TEST(test_swept_lock),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
