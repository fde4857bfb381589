/* trouble_test.c - a broker whose user data base fails or hangs, that has no memory, or
 * that the kernel refuses what it asks: who is there is served, who can not be is told
 * AGAIN or NOMEM, and nobody waits longer than the trouble lasts.
 *
 * trouble_shim.c, loaded in front of the broker, makes the trouble while a file is there.
 */
#include "tests/integration/crowd.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define STRANGER 65534

static struct broker *troubled_new(void)
{
	static char directory[128];
	struct broker *broker = broker_new();

	snprintf(directory, sizeof directory, "CHAT_TROUBLE=%s", broker->dir);
	broker->environment[0] = "LD_PRELOAD=" CHAT_TROUBLE_SHIM;
	broker->environment[1] = directory;
	return broker;
}

static struct broker *troubled_start(const char *option, const char *value)
{
	struct broker *broker = troubled_new();

	broker_spawn_here(broker, option, value);
	broker_wait_ready(broker);
	return broker;
}

static void hang_begin(const struct broker *broker)
{
	assert_int_equal(mkfifo(broker_path(broker, "hang"), 0644), 0);
}

/* Whoever waits goes on, whoever comes does not wait. */
static void hang_end(const struct broker *broker)
{
	const char *path = broker_path(broker, "hang");
	int fd = open(path, O_RDWR | O_CLOEXEC);

	assert_true(fd >= 0);
	unlink(path);
	/* left open: the last who waits may not have been woken yet */
}

static void test_data_base_fails(void **state)
{
	struct broker *broker;
	struct raw *known, *raw;
	struct text answer;

	if (HARNESS_HAS_ASAN)
		SKIP("the sanitizer wants to be loaded first");
	broker = troubled_start(NULL, NULL);
	known = raw_hello(broker, "");
	file_write(broker_path(broker, "fail"), "");

	/* a name that must be looked up is refused for now */
	raw = raw_open(broker);
	raw_send(raw, "#1 HELLO 1 name=nick");
	raw_expect(raw, "#1 ! AGAIN ~");
	raw_send(raw, "HELLO 1 name=nick");
	raw_expect(raw, "! AGAIN HELLO 1 ~");
	raw_send(known, "#2 SAY @nick\nhello");
	raw_expect(known, "#2 ! AGAIN ~");
	raw_send(known, "JOIN @other");
	raw_expect(known, "! AGAIN JOIN @other ~");
	/* whose user is not known is not let in */
	if (geteuid() == 0) {
		struct raw *stranger = raw_open_as(broker, STRANGER);

		raw_expect(stranger, "BYE AGAIN ~");
		raw_expect_close(stranger);
	}
	raw_send(known, "#3 SAY lobby\nno data base is needed");
	raw_expect(known, "#3 * 1");
	raw_send(raw, "#4 HELLO 1 name=u%u", getuid());
	raw_expect(raw, "#4 * 1 name=u%u ~", getuid());

	unlink(broker_path(broker, "fail"));
	raw = raw_open(broker);
	do {
		raw_send(raw, "#1 HELLO 1 name=nick");
		answer = raw_next(raw);
	} while (pattern_matches("#1 ! AGAIN ~", answer));
	assert_true(pattern_matches("#1 * 1 name=nick ~", answer));
	raw_send(known, "#2 SAY @nick\nhello");
	raw_expect(known, "#2 * 1");
	broker_stop(broker);
}

static void test_data_base_hangs(void **state)
{
	struct broker *broker;
	struct raw *known, *plain, *waiting, *stranger = NULL;

	if (HARNESS_HAS_ASAN)
		SKIP("the sanitizer wants to be loaded first");
	broker = troubled_start(NULL, NULL);
	known = raw_join(broker, "", "lobby");
	hang_begin(broker);
	waiting = raw_open(broker);
	raw_send(waiting, "#1 HELLO 1 name=nick");
	raw_send(waiting, "#2 PING");
	raw_send(waiting, "SAY lobby\nthird");
	if (geteuid() == 0) {
		stranger = raw_open_as(broker, STRANGER);
		raw_send(stranger, "fourth");
	}
	/* nobody else waits for it */
	plain = raw_open(broker);
	raw_send(plain, "first");
	raw_expect(plain, "*");
	raw_expect(known, "MSG lobby 1 ~\nfirst");
	raw_send(known, "#1 SAY lobby\nsecond");
	raw_expect(known, "#1 * 2");
	raw_expect(known, "MSG lobby 2 ~\nsecond");
	raw_expect_quiet(known);

	hang_end(broker);
	raw_expect(waiting, "#1 * 1 name=nick ~");
	raw_expect(waiting, "#2 *");
	if (stranger)
		raw_expect(stranger, "*");
	/* in which order, nobody promised */
	raw_expect(known, "MSG lobby 3 ~");
	if (stranger)
		raw_expect(known, "MSG lobby 4 ~");
	broker_stop(broker);
}

static void test_stop_while_it_hangs(void **state)
{
	struct broker *broker;
	struct raw *known, *waiting;
	uint64_t start;

	if (HARNESS_HAS_ASAN)
		SKIP("the sanitizer wants to be loaded first");
	broker = troubled_start(NULL, NULL);
	known = raw_hello(broker, "");
	hang_begin(broker);
	waiting = raw_open(broker);
	raw_send(waiting, "#1 HELLO 1 name=nick");
	raw_expect_quiet(known);
	start = clock_ms();
	broker_signal(broker, SIGTERM);
	raw_expect(known, "BYE STOP~");
	raw_expect(waiting, "BYE STOP~");
	raw_expect_close(waiting);
	broker_expect_exit(broker, 0);
	assert_true(clock_ms() - start < 2000);
}

/* More names than can wait: some are told AGAIN at once, the others get their answer. That is
 * for who asks for most, not for another user. */
static void test_too_many_wait(void **state)
{
	struct broker *broker;
	struct raw *raws[600], *other = NULL;
	unsigned n_again = 0, n_done = 0;

	if (HARNESS_HAS_ASAN)
		SKIP("the sanitizer wants to be loaded first");
	broker = troubled_start("--limit", "connections=1000");
	broker_stop(broker);
	broker_spawn_here(broker, "--limit", "connections=1000", "--limit", "names=1000");
	broker_wait_ready(broker);
	raw_hello(broker, "");
	if (geteuid() == 0)
		other = raw_hello_as(broker, STRANGER, "");
	hang_begin(broker);
	for (size_t i = 0; i < ARRAY_LEN(raws); i++) {
		raws[i] = raw_open(broker);
		raw_send(raws[i], "#1 HELLO 1 name=nick.%zu", i);
	}
	/* the last one comes too late: the answer says that all were looked at */
	raw_expect(raws[ARRAY_LEN(raws) - 1],
		"#1 ! AGAIN too many look-ups of names wait, 512 of them yours; ~");
	if (other) {
		raw_send(other, "#1 PAST @n0body.here");
		raw_send(raws[ARRAY_LEN(raws) - 1], "#2 HELLO 1 name=u0"); /* was it looked at? */
		raw_expect(raws[ARRAY_LEN(raws) - 1], "#2 ~");
	}
	hang_end(broker);
	if (other)
		raw_expect(other, "#1 ! NONAME ~");
	for (size_t i = 0; i < ARRAY_LEN(raws) - 1; i++) {
		struct text answer = raw_next(raws[i]);

		n_again += pattern_matches("#1 ! AGAIN ~", answer);
		n_done += pattern_matches("#1 * 1 name=~", answer);
	}
	assert_int_equal(n_again + n_done, ARRAY_LEN(raws) - 1);
	assert_true(n_again > 0 && n_done >= 500);
	broker_stop(broker);
}

/* The house is full before anybody in it is known, and the look-up needs descriptors. */
static void test_full_of_unknown_people(void **state)
{
	struct broker *broker;
	struct crowd *crowd;
	struct text packet;
	unsigned n_in = 0;

	if (HARNESS_HAS_ASAN)
		SKIP("the sanitizer wants to be loaded first");
	broker = troubled_new();
	broker->n_descriptors_max = 64;
	hang_begin(broker);
	file_write(broker_path(broker, "hungry"), "");
	broker_spawn_here(broker, NULL);
	broker_wait_ready(broker);
	crowd = crowd_open(broker, 100);
	crowd_send(crowd, "#h HELLO 1");
	packet = crowd_next(crowd, crowd->n - 1); /* all were looked at */
	assert_true(pattern_matches("BYE AGAIN ~descriptors", packet));
	hang_end(broker);
	for (unsigned i = 0; i < crowd->n - 1; i++) {
		packet = crowd_next(crowd, i);
		if (pattern_matches("#h * 1 name=~", packet))
			n_in++;
		else if (!pattern_matches("BYE AGAIN ~descriptors", packet) &&
			 !pattern_matches("BYE QUOTA connections: ~", packet))
			fail_msg("connection %u: %.*s", i, (int)packet.len, packet.data);
	}
	assert_in_range(n_in, 30, 60);
	broker_stop(broker);
}

/* ---- the kernel ---- */

static void trouble_begin(const struct broker *broker, const char *name, unsigned number)
{
	char path[128], text[16];

	snprintf(text, sizeof text, "%u\n", number);
	/* it is there with its content, or not at all */
	strcpy(path, broker_path(broker, "trouble.new"));
	file_write(path, text);
	assert_int_equal(rename(path, broker_path(broker, name)), 0);
}

static void trouble_end(const struct broker *broker, const char *name)
{
	assert_int_equal(unlink(broker_path(broker, name)), 0);
}

/* Nobody can be let in: they wait, and the broker waits, too. */
static void test_accept_fails(void **state)
{
	static const unsigned errors[] = { ENFILE, ENOMEM, ENOBUFS, EMFILE };
	struct broker *broker;
	struct raw *known, *newcomer;
	uint64_t cpu;

	if (HARNESS_HAS_ASAN)
		SKIP("the sanitizer wants to be loaded first");
	broker = troubled_start(NULL, NULL);
	known = raw_join(broker, "", "room");
	for (size_t i = 0; i < ARRAY_LEN(errors); i++) {
		trouble_begin(broker, "accept", errors[i]);
		newcomer = raw_open(broker);
		raw_send(newcomer, "#1 HELLO 1");
		broker_expect(broker, "accept paused reason=");
		cpu = broker_cpu_ns(broker);
		raw_expect_silence(newcomer, 250);
		assert_in_range(broker_cpu_ns(broker) - cpu, 0, 50 * 1000000);
		raw_send(known, "SAY room\nhello");
		raw_expect(known, "MSG room ~\nhello");
		trouble_end(broker, "accept");
		raw_expect(newcomer, "#1 * 1 ~");
	}
	broker_stop(broker);
}

static void test_watch_fails(void **state)
{
	static const unsigned errors[] = { ENOSPC, ENOMEM };
	struct broker *broker;
	struct raw *known, *newcomer;
	unsigned n_open;

	if (HARNESS_HAS_ASAN)
		SKIP("the sanitizer wants to be loaded first");
	broker = troubled_start(NULL, NULL);
	known = raw_join(broker, "", "room");
	n_open = broker_descriptors(broker);
	for (size_t i = 0; i < ARRAY_LEN(errors); i++) {
		trouble_begin(broker, "watch", errors[i]);
		for (int k = 0; k < 100; k++) {
			newcomer = raw_open(broker);
			raw_expect(newcomer, "BYE AGAIN ~");
			raw_expect_close(newcomer);
		}
		raw_expect_quiet(known);
		trouble_end(broker, "watch");
		assert_int_equal(broker_descriptors(broker), n_open);
	}
	raw_hello(broker, "name=later");
	broker_stop(broker);
}

/* A reader that does not read holds a stop up for longer than the listener pauses. */
static void test_stop_while_accept_fails(void **state)
{
	struct broker *broker;
	struct raw *reader, *writer;
	char text[60000];

	if (HARNESS_HAS_ASAN)
		SKIP("the sanitizer wants to be loaded first");
	broker = troubled_start(NULL, NULL);
	reader = raw_join(broker, "", "room");
	writer = raw_hello(broker, "");
	memset(text, 'x', sizeof text);
	memcpy(text, "SAY room\n", 9);
	for (int i = 0; i < 20; i++)
		raw_send_bytes(writer, text, sizeof text);
	raw_expect_quiet(writer);
	trouble_begin(broker, "accept", ENFILE);
	raw_open(broker);
	broker_expect(broker, "accept paused reason=");
	broker_signal(broker, SIGTERM);
	raw_expect(writer, "BYE STOP ~");
	broker_expect_exit(broker, 0);
	raw_expect(reader, "MSG room 1 ~");
}

/* The socket vanishes meanwhile, and something else is in its place. */
static void test_socket_lost_while_accept_fails(void **state)
{
	struct broker *broker;
	struct raw *known;

	if (HARNESS_HAS_ASAN)
		SKIP("the sanitizer wants to be loaded first");
	broker = troubled_start(NULL, NULL);
	known = raw_join(broker, "", "room");
	trouble_begin(broker, "accept", ENFILE);
	raw_open(broker);
	broker_expect(broker, "accept paused reason=");
	file_write(broker_path(broker, "other"), "not a socket");
	assert_int_equal(rename(broker_path(broker, "other"), broker->socket), 0);
	broker_expect(broker, "socket lost path=");
	raw_expect_silence(known, 200);
	raw_expect_quiet(known);
	unlink(broker->socket);
	broker_stop(broker);
}

/* ---- memory ---- */

static void test_out_of_memory(void **state)
{
	static const unsigned sizes[] = { 2048, 257, 65, 1 };
	struct broker *broker;
	struct raw *raw, *reader, *other;
	struct text answer;

	if (HARNESS_HAS_ASAN)
		SKIP("the sanitizer wants to be loaded first");
	broker = troubled_start(NULL, NULL);
	raw = raw_hello(broker, "name=t3ster pub=1");
	reader = raw_join(broker, "name=reader", "room");

	trouble_begin(broker, "memory", 2048);
	raw_send(raw, "#1 SAY room id=1\nthere is no segment yet");
	raw_expect(raw, "#1 ! NOMEM ~");
	raw_send(raw, "SAY new id=2\nx");
	raw_expect(raw, "! NOMEM SAY new id=2 ~");
	raw_expect_quiet(raw);
	trouble_begin(broker, "memory", 257);
	raw_send(raw, "#2 JOIN new");
	raw_expect(raw, "#2 ! NOMEM ~");
	raw_expect_quiet(raw);
	raw_expect_quiet(reader);
	trouble_end(broker, "memory");

	/* it was refused, so it may be said again, and it is the first */
	raw_send(raw, "#3 SAY room id=1\nnow there is");
	raw_expect(raw, "#3 * 1");
	raw_expect(reader, "MSG room 1 ~\nnow there is");
	raw_send(raw, "#4 WHO new");
	raw_expect(raw, "#4 ! NOROOM ~");

	/* whatever fails, it lives, and so does who asks nothing of it */
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		trouble_begin(broker, "memory", sizes[i]);
		for (int k = 0; k < 8; k++) {
			static const char *const requests[] = { "SAY room\nx", "JOIN r",
				"SAY @b\nx", "PAST room", "SAY r id=9\nx", "HELLO 1", "CTL WHO",
				"PING" };

			other = raw_open_path(broker->socket);
			if (!other)
				continue;
			(void)!write(other->fd, "#h HELLO 1 name=n batch direct pub=3", 36);
			(void)!write(other->fd, requests[k], strlen(requests[k]));
			raw_close(other);
		}
		trouble_end(broker, "memory");
		raw_send(reader, "#5 PING");
		do {
			answer = raw_next(reader);
		} while (!pattern_matches("#5 *", answer));
	}
	raw_expect_quiet(raw);
	raw_hello(broker, "name=later");
	broker_stop(broker);
}

/* ---- each allocation of a broker that stores ---- */

#define SAID_MAX 400

/* What SAY is answered: by its number, refused, or with the end of the session. */
enum outcome {
	TAKEN,
	REFUSED,
	ENDED,
};

static enum outcome outcome_of(struct raw *raw, const char *about, unsigned at)
{
	char packet[PACKET_LEN_MAX];
	ssize_t n;

	for (;;) {
		if (!wait_fd(raw->fd, POLLIN, clock_ms() + DEADLINE_MS))
			fail_msg("%s is not answered, with %u", about, at);
		n = recv(raw->fd, packet, sizeof packet, 0);
		if (n <= 0)
			return ENDED;
		if (pattern_matches("#1 * ~", (struct text){ packet, (size_t)n }) ||
			pattern_matches("#1 *", (struct text){ packet, (size_t)n }))
			return TAKEN;
		if (pattern_matches("#1 ! ~", (struct text){ packet, (size_t)n }))
			return REFUSED;
	}
}

/* Is BODY in the room once, or never if it was not TAKEN, or lost with the answer? */
static void expect_said(struct raw *raw, const char *body, enum outcome outcome)
{
	unsigned n = 0;
	struct text row;

	raw_send(raw, "#f FIND room\n%s.", body);
	for (;;) {
		row = raw_next(raw);
		if (pattern_matches("#f * ~", row))
			break;
		n++;
	}
	if (outcome == TAKEN ? n != 1 : outcome == REFUSED ? n != 0 : n > 1)
		fail_msg("%s is there %u times, outcome %d", body, n, (int)outcome);
}

static struct broker *stored_troubled(struct broker *broker)
{
	if (!broker)
		broker = troubled_new();
	broker_spawn_here(broker, "--state", broker_path(broker, "state"), "--limit",
		"room-bytes=256k", "--limit", "journal-bytes=64k");
	broker_wait_ready(broker);
	return broker;
}

/* The n-th allocation from a request on fails, for each n: of the loop, of the journal, of a
 * checkpoint. Who is refused was not heard, who was answered is there after a kill. */
static void test_each_allocation(void **state)
{
	static const char *const others[] = { "#1 JOIN room last=3", "#1 PAST room",
		"#1 FIND room\n1", "#1 SET room topic\nx", "#1 GET room", "#1 SEEN room 1",
		"#1 SAY @t3ster\nx", "#1 SAY new.room\nx", "#1 SET room mode\ndurable",
		"#1 ROOMS" };
	static enum outcome said[SAID_MAX];
	static char filler[8000];
	struct broker *broker;
	unsigned n_said = 0, n_bad = 0;
	struct raw *raw;

	if (HARNESS_HAS_ASAN)
		SKIP("the sanitizer wants to be loaded first");
	memset(filler, 'x', sizeof filler - 1);
	broker = stored_troubled(NULL);
	for (unsigned at = 1; at <= 12; at++) {
		for (size_t i = 0; i < ARRAY_LEN(others); i++) {
			raw = raw_hello(broker, "name=t3ster pub=abc");
			trouble_begin(broker, "memory-at", at);
			raw_send(raw, "%s", others[i]);
			n_bad += outcome_of(raw, others[i], at) != TAKEN;
			(void)unlink(broker_path(broker, "memory-at"));
			raw_close(raw);
			raw = raw_hello(broker, "name=t3ster");
			trouble_begin(broker, "memory-at", at);
			raw_send(raw, "#1 SAY room\nnumber %u. %s", n_said, filler);
			said[n_said] = outcome_of(raw, "SAY", at);
			n_bad += said[n_said++] != TAKEN;
			(void)unlink(broker_path(broker, "memory-at"));
			raw_close(raw);
		}
	}
	assert_true(n_bad > 20);
	broker_kill9(broker);
	raw_close_all();
	stored_troubled(broker);
	raw = raw_hello(broker, "name=t3ster");
	for (unsigned i = 0; i < n_said; i++) {
		char body[32];

		snprintf(body, sizeof body, "number %u", i);
		expect_said(raw, body, said[i]);
	}
	broker_stop(broker);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_data_base_fails),
		TEST(test_data_base_hangs),
		TEST(test_stop_while_it_hangs),
		TEST(test_too_many_wait),
		TEST(test_full_of_unknown_people),
		TEST(test_accept_fails),
		TEST(test_watch_fails),
		TEST(test_stop_while_accept_fails),
		TEST(test_socket_lost_while_accept_fails),
		TEST(test_out_of_memory),
		TEST(test_each_allocation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
