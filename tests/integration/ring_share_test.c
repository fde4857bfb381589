/* ring_share_test.c - what the rings of one user cost the others: time, places and rates.
 * chat-broker(8), LIMITS; chat-ring(7). */
#include "tests/integration/fast.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "protocol/control.h"
#include "protocol/shared.h"
#include "protocol/waker.h"

#define GREEDY 65534 /* nobody */
#define OTHER  1

/* Rings that the default limit allows a user in one room. */
#define ROOM_RINGS 16

static struct broker *start_for_users(const char *limit)
{
	if (geteuid() != 0)
		SKIP("only root can be several users");
	return broker_start(limit ? "--limit" : NULL, limit);
}

static void publishers_open(struct publisher *publishers, unsigned n, const struct broker *broker,
	uid_t uid, const char *room)
{
	char words[64];

	for (unsigned i = 0; i < n; i++) {
		snprintf(words, sizeof words, "batch pub=%x", i + 1);
		publisher_open_user(&publishers[i], broker, uid, room, words);
	}
}

static void publishers_close(struct publisher *publishers, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		publisher_close(&publishers[i]);
}

/* Put records with a time that is a lie, as many as the gate lets pass. */
static unsigned publisher_fill(struct publisher *publisher, uint64_t *number)
{
	unsigned n = 0;

	while (ring_put(&publisher->writer, 1, *number + 1, "a lie", 5) == 0) {
		++*number;
		n++;
	}
	return n;
}

/* The broker waits for the bell. */
static void publisher_await_sleep(const struct publisher *publisher)
{
	const struct control_page *page = publisher->control.at;
	uint64_t until = clock_ms() + DEADLINE_MS;

	while (shared_acquire32(&page->bell) == 0)
		assert_true(clock_ms() < until);
}

/* One message of somebody else has full rings looked at for the time that their user has, and
 * no longer. */
static void test_sweep_is_bounded(void **state)
{
	struct broker *broker = start_for_users(NULL);
	struct raw *raw = raw_hello_as(broker, OTHER, "");
	struct publisher publishers[ROOM_RINGS];
	unsigned long seq, n_put = 0;

	publishers_open(publishers, ROOM_RINGS, broker, GREEDY, "room");
	for (unsigned i = 0; i < ROOM_RINGS; i++)
		publisher_await_sleep(&publishers[i]);
	for (unsigned i = 0; i < ROOM_RINGS; i++) {
		uint64_t number = 0;

		n_put += publisher_fill(&publishers[i], &number);
	}
	assert_true(n_put > 50000);
	raw_send(raw, "#s SAY room\nhello");
	seq = strtoul(raw_expect(raw, "#s * ~") + strlen("#s * "), NULL, 10);
	assert_in_range(seq, 2, n_put / 4);
	publishers_close(publishers, ROOM_RINGS);
	broker_stop(broker);
}

/* Keep rings full until killed; their times are lies. */
static _Noreturn void pour(struct publisher *publishers, unsigned n)
{
	uint64_t numbers[ROOM_RINGS] = { 0 };
	uint32_t bells[ROOM_RINGS] = { 0 };

	for (;;) {
		for (unsigned i = 0; i < n; i++) {
			const struct control_page *page = publishers[i].control.at;
			uint32_t bell = shared_acquire32(&page->bell);

			(void)publisher_fill(&publishers[i], &numbers[i]);
			if (bell != bells[i])
				(void)raw_try_send(publishers[i].raw, "BELL", 4);
			bells[i] = bell;
		}
	}
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* Rings that are always full in a room where another user speaks: a third user waits no longer
 * for that. */
static void test_bystander(void **state)
{
	enum { ROUNDS = 41, SAYS = 100 };
	struct broker *broker = start_for_users(NULL);
	struct raw *speaker = raw_hello_as(broker, OTHER, "batch");
	struct raw *bystander = raw_hello(broker, "name=t3ster");
	struct publisher publishers[ROOM_RINGS];
	const char *frames[SAYS + 2];
	uint64_t waits[ROUNDS];
	pid_t pid;

	for (unsigned i = 0; i < SAYS; i++)
		frames[i] = "SAY room\nhello";
	frames[SAYS] = "#p PING";
	frames[SAYS + 1] = NULL;
	pid = child_fork();
	if (pid == 0) { /* the memory of a ring is not for children */
		publishers_open(publishers, ROOM_RINGS, broker, GREEDY, "room");
		pour(publishers, ROOM_RINGS);
	}
	raw_await_counter(bystander, "rings", ROOM_RINGS);
	fast_await_row(bystander, "#r + room ~");
	for (unsigned i = 0; i < ROUNDS; i++) {
		uint64_t before;

		raw_send_batch_of(speaker, frames);
		before = clock_ms();
		raw_send(bystander, "#p PING");
		raw_expect(bystander, "#p *");
		waits[i] = clock_ms() - before;
		raw_expect(speaker, "#p *");
	}
	qsort(waits, ROUNDS, sizeof *waits, compare);
	assert_in_range(waits[ROUNDS / 2], 0, 25);
	kill(pid, SIGKILL);
	child_expect_kill(pid);
	broker_stop(broker);
}

/* All rings that one connection can have: the first ones are always full, and a record comes into
 * the last whenever a byte comes from COMMANDS. */
static _Noreturn void pour_and_put(const struct broker *broker, int commands)
{
	struct publisher rings[RINGS_MAX], *quiet = &rings[RINGS_MAX - 1];
	uint64_t numbers[RINGS_MAX] = { 0 };
	char byte;

	publisher_open(&rings[0], broker, "room0");
	for (unsigned i = 1; i < RINGS_MAX; i++) {
		rings[i] = rings[0];
		fast_make_ring(&rings[i].memory, &rings[i].writer);
		raw_send_fds(rings[0].raw, &rings[i].memory.fd, 1, "#g RING room%u nonce=7", i);
		raw_expect(rings[0].raw, "#g * slot=%u", i);
		rings[i].writer.gate =
			&((const struct control_page *)rings[0].control.at)->slots[i].gate;
	}
	for (;;) {
		for (unsigned i = 0; i < RINGS_MAX - 1; i++)
			(void)publisher_fill(&rings[i], &numbers[i]);
		if (read(commands, &byte, 1) != 1)
			continue;
		publisher_put(quiet, ++numbers[RINGS_MAX - 1], "hello");
		(void)raw_try_send(rings[0].raw, "BELL", 4);
	}
}

/* Of the rings of one connection, those that are always full leave the others their turns. */
static void test_full_rings_leave_turns(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *raw = raw_join(broker, "name=t3ster", "room15");
	int commands[2];
	pid_t pid;

	assert_int_equal(pipe2(commands, O_NONBLOCK), 0);
	pid = child_fork();
	if (pid == 0)
		pour_and_put(broker, commands[0]);
	for (unsigned i = 1; i <= 20; i++) {
		assert_int_equal(write(commands[1], "x", 1), 1);
		raw_expect(raw, "MSG room15 %u ~\nhello", i);
	}
	kill(pid, SIGKILL);
	child_expect_kill(pid);
	close(commands[0]);
	close(commands[1]);
	broker_stop(broker);
}

/* A reader of another user than the broker's, which can be woken. */
static struct raw *join_other(const struct broker *broker, const char *room)
{
	struct raw *raw = fast_join(broker, OTHER, room);
	uid_t own = geteuid();
	struct sleeper sleeper;
	int fds[2];

	assert_int_equal(seteuid(OTHER), 0);
	assert_int_equal(sleeper_create(&sleeper), 0);
	assert_int_equal(seteuid(own), 0);
	fds[0] = sleeper.fd;
	fds[1] = sleeper.page.fd;
	raw_send_fds(raw, fds, 2, "#w WAKER");
	raw_expect(raw, "#w *");
	sleeper_close(&sleeper);
	return raw;
}

/* The rings of one user take half of the places that a reader of another user has. A ring
 * without a place comes from the log, and the next user has its place. */
static void test_places_are_shared(void **state)
{
	enum { PLACES = RINGS_MAX / 2 };
	struct broker *broker = start_for_users("cursors=1");
	struct raw *reader = join_other(broker, "room"), *admin = raw_hello(broker, "");
	struct publisher greedy[PLACES + 1], other, own[RINGS_MAX - PLACES - 1];

	publishers_open(greedy, PLACES + 1, broker, GREEDY, "room");
	for (unsigned i = 0; i < PLACES; i++) {
		raw_expect(reader, "RING room nobody %u p=%016x ~", GREEDY, i + 1);
		raw_send(reader, "#t TOOK");
		raw_expect(reader, "#t *");
	}
	fast_await_row(admin, "#r + room nobody ~ number=8 ~ readers=1 direct=0 logged=0 ~");
	fast_await_row(admin, "#r + room nobody ~ number=9 ~ readers=0 direct=0 logged=1 ~");
	publisher_put(&greedy[PLACES], 1, "no place");
	raw_send(greedy[PLACES].raw, "BELL");
	raw_expect(reader, "MSG room 1 ~\nno place");
	publisher_open_user(&other, broker, geteuid(), "room", "name=r00t batch pub=1");
	raw_expect(reader, "RING room r00t ~");
	raw_send(reader, "#t TOOK");
	raw_expect(reader, "#t *");
	/* of its own user it takes what is there */
	publishers_open(own, ARRAY_LEN(own), broker, OTHER, "room");
	for (unsigned i = 0; i < ARRAY_LEN(own); i++) {
		raw_expect(reader, "RING room ~ %u p=%016x ~", OTHER, i + 1);
		raw_send(reader, "#t TOOK");
		raw_expect(reader, "#t *");
	}
	publishers_close(own, ARRAY_LEN(own));
	publisher_close(&other);
	publishers_close(greedy, PLACES + 1);
	broker_stop(broker);
}

/* A rate holds for messages in rings, too: readers have them from the log, at that rate. */
static void test_rate(void **state)
{
	struct broker *broker = start_for_users("nobody:rate=50");
	struct raw *maker = raw_hello(broker, ""), *reader, *admin = raw_hello(broker, "");
	struct publisher publisher;
	uint64_t before;

	raw_send(maker, "#j JOIN room mode=ephemeral");
	raw_expect(maker, "#j * ~");
	reader = join_other(broker, "room");
	raw_send(maker, "#p PART room");
	raw_expect(maker, "#p *");
	publisher_open_user(&publisher, broker, GREEDY, "room", "batch pub=1");
	fast_await_row(admin, "#r + room ~ gated ~ readers=0 direct=0 logged=1 ~");
	before = clock_ms();
	for (unsigned i = 1; i <= 120; i++)
		publisher_put(&publisher, i, "hello");
	raw_send(publisher.raw, "BELL");
	for (unsigned i = 1; i <= 120; i++)
		raw_expect(reader, "MSG room %u ~:%u\nhello", i, i);
	/* 50 at once, and 70 more */
	assert_in_range(clock_ms() - before, 1390, 10000);
	publisher_close(&publisher);
	broker_stop(broker);
}

/* A rate that comes with new limits ends the rings that are passed already. */
static void test_rate_comes(void **state)
{
	struct publisher publisher, unchanged;
	struct broker *broker;
	struct raw *reader;

	if (geteuid() != 0)
		SKIP("only root can be several users");
	broker = broker_new();
	file_write(broker_path(broker, "limits"), "names=7\n");
	broker_spawn_here(broker, "--limits", broker_path(broker, "limits"));
	broker_wait_ready(broker);
	reader = join_other(broker, "room");
	publisher_open_user(&publisher, broker, GREEDY, "room", "batch pub=1");
	raw_expect(reader, "RING room nobody ~");
	raw_send(reader, "#t TOOK");
	raw_expect(reader, "#t *");
	publisher_open_as(&unchanged, broker, "room", "name=r00t batch pub=1");
	raw_expect(reader, "RING room r00t ~");
	raw_send(reader, "#t TOOK");
	raw_expect(reader, "#t *");
	file_write(broker_path(broker, "limits"), "rate=50\n");
	broker_signal(broker, SIGHUP);
	raw_expect(publisher.raw, "REVOKED room ~");
	raw_expect(reader, "UNRING room nobody ~");
	raw_send(reader, "#t TOOK");
	raw_expect(reader, "#t *");
	/* a new one is not passed */
	sealed_close(&publisher.memory);
	assert_int_equal(seteuid(GREEDY), 0);
	fast_make_ring(&publisher.memory, &publisher.writer);
	assert_int_equal(seteuid(0), 0);
	raw_send_fds(publisher.raw, &publisher.memory.fd, 1, "#g RING room nonce=8");
	raw_expect(publisher.raw, "#g * slot=0");
	publisher_put(&publisher, 1, "hello");
	raw_send(publisher.raw, "BELL");
	raw_expect(reader, "MSG room 1 ~\nhello");
	publisher_close(&unchanged);
	publisher_close(&publisher);
	broker_stop(broker);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_sweep_is_bounded),
		TEST(test_bystander),
		TEST(test_full_rings_leave_turns),
		TEST(test_places_are_shared),
		TEST(test_rate),
		TEST(test_rate_comes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
