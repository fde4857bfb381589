/* quota_test.c - limits, and clients that try them: chat-broker(8), LIMITS, and
 * chat-protocol(7), What a bad request gets. */
#include "tests/integration/harness.h"

#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define STRANGER 65534

/* What a client can make the broker hold without a limit being told: answers, requests
 * and presence are bounded by 100 KiB or so each; the rest is the allocator's. */
#define MEMORY_MAX ((size_t)8 << 20)

/* The sanitizer keeps what was freed for a while: let it keep little. */
static struct broker *start_lean(const char *option, const char *value)
{
	struct broker *broker = broker_new();

	broker->environment[0] = "ASAN_OPTIONS=quarantine_size_mb=1:malloc_context_size=0";
	broker_spawn_here(broker, option, value);
	broker_wait_ready(broker);
	return broker;
}

static void expect_no_growth(struct broker *broker, size_t before)
{
	size_t now = broker_memory(broker);

	if (now > before + MEMORY_MAX * (HARNESS_HAS_ASAN ? 4 : 1))
		fail_msg("%zu KiB more than before", (now - before) >> 10);
}

static void test_connections(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *raws[128], *raw;
	struct text answer;

	for (size_t i = 0; i < ARRAY_LEN(raws); i++)
		raws[i] = raw_hello(broker, "");
	for (int i = 0; i < 3; i++) {
		raw = raw_open(broker);
		raw_expect(raw, "BYE QUOTA connections~128");
		raw_expect_close(raw);
		broker_expect(broker, "quota uid=%u ~connections~limit=128", getuid());
	}
	if (geteuid() == 0)
		raw_hello_as(broker, STRANGER, "");
	raw_close(raws[0]);
	do {
		raw = raw_open(broker);
		(void)!write(raw->fd, "hello", 5); /* it may be closed already */
		answer = raw_next(raw);
	} while (pattern_matches("BYE QUOTA ~", answer));
	assert_true(pattern_matches("*", answer));
	raw_expect_quiet(raws[1]);
	broker_stop(broker);
}

static void test_limit_of_one_user(void **state)
{
	static const char *const limits[] = { "nobody:connections=2", "65534:connections=2" };

	if (geteuid() != 0)
		SKIP("only root has two users");
	for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
		struct broker *broker = broker_start("--limit", limits[i]);

		raw_hello_as(broker, STRANGER, "");
		raw_hello_as(broker, STRANGER, "");
		raw_expect(raw_open_as(broker, STRANGER), "BYE QUOTA connections~2");
		for (int k = 0; k < 5; k++)
			raw_hello(broker, "");
		broker_stop(broker);
	}
}

static void test_cursors(void **state)
{
	struct broker *broker = broker_start("--limit", "cursors=3");
	struct raw *raw = raw_hello(broker, "name=t3ster direct");
	struct raw *other = raw_join(broker, "name=other", "c");

	raw_send(raw, "#1 JOIN a");
	raw_expect(raw, "#1 * ~");
	raw_send(raw, "#2 JOIN b");
	raw_expect(raw, "#2 * ~");
	raw_send(raw, "#3 JOIN d");
	raw_expect(raw, "#3 ! QUOTA cursors~3");
	raw_send(raw, "JOIN d");
	raw_expect(raw, "! QUOTA JOIN d cursors~");
	raw_send(raw, "#4 WHO d"); /* nothing was left of it */
	raw_expect(raw, "#4 ! NOROOM ~");
	raw_send(raw, "#5 JOIN a last=3"); /* to move one is not to have another */
	raw_expect(raw, "#5 * ~");
	/* a conversation can not be delivered, and that is said */
	raw_send(other, "#6 SAY @t3ster\nhello");
	raw_expect(other, "#6 * 1");
	raw_expect(raw, "! QUOTA CURSOR @other+t3ster ~");
	raw_send(raw, "#7 PAST @other");
	raw_expect(raw, "#7 + MSG @other+t3ster 1 ~");
	raw_expect(raw, "#7 * 1");
	raw_close(other);
	while (raw_counter(raw, "cursors") > 2)
		;
	raw_send(raw, "#8 JOIN d");
	raw_expect(raw, "#8 * ~");
	broker_stop(broker);
}

static void test_rooms(void **state)
{
	struct broker *broker = broker_start("--limit", "rooms=3");
	struct raw *raw = raw_hello(broker, "name=t3ster");

	raw_send(raw, "SAY a\nx");
	raw_send(raw, "SAY @root\nx");
	raw_send(raw, "#1 JOIN c");
	raw_expect(raw, "#1 * ~");
	raw_send(raw, "#2 SAY d\nx");
	raw_expect(raw, "#2 ! QUOTA rooms~3");
	raw_send(raw, "#3 JOIN d");
	raw_expect(raw, "#3 ! QUOTA rooms~");
	raw_send(raw, "SAY @daemon id=7\nx");
	raw_expect(raw, "! ~ SAY @daemon id=7 ~");
	raw_send(raw, "#4 SAY a\nx");
	raw_expect(raw, "#4 * 2");
	raw_send(raw, "PART c");
	raw_send(raw, "#5 SAY d\nx");
	raw_expect(raw, "#5 * 1");
	raw_send(raw, "#6 SAY e\nx");
	raw_expect(raw, "#6 ! QUOTA rooms~");
	broker_stop(broker);
}

/* A client that does not read its answers is not read, and has lost none when it does. */
static void test_answers_nobody_reads(void **state)
{
	struct broker *broker = start_lean(NULL, NULL);
	struct raw *greedy = raw_hello(broker, "name=greedy");
	struct raw *other = raw_join(broker, "name=other", "room");
	size_t before, n_asked = 0, n_said = 0;
	char text[1024];

	memset(text, 'x', sizeof text);
	memcpy(text, "SAY room\n", 9);
	for (int i = 0; i < 200; i++)
		raw_send_bytes(greedy, text, sizeof text);
	raw_expect_quiet(greedy);
	for (int i = 0; i < 200; i++)
		raw_expect(other, "MSG room ~");
	before = broker_memory(broker);
	/* each of these asks for 64 KiB; one in a while says something */
	while (n_asked < 5000 && raw_try_send(greedy, "#p PAST room", 12)) {
		n_asked++;
		if (n_asked % 2 == 0 && raw_try_send(greedy, "SAY said\nx", 10))
			n_said++;
	}
	assert_true(n_asked > 0 && n_asked < 5000);
	raw_send(other, "#s SAY room\nothers are served");
	raw_expect(other, "#s * 201");
	raw_expect(other, "MSG room 201 ~\nothers are served");
	expect_no_growth(broker, before);
	for (size_t i = 0; i < n_asked; i++) {
		while (pattern_matches("#p + ~", raw_next(greedy)))
			;
	}
	raw_expect_quiet(greedy);
	raw_send(other, "#r ROOMS");
	raw_expect(other, "#r + room ~");
	if (n_said > 0)
		raw_expect(other, "#r + said readers=0 first=1 next=%zu ~", n_said + 1);
	broker_stop(broker);
}

/* Many of them together are at their user's limit; nobody else is. */
static void test_bytes(void **state)
{
	struct broker *broker;
	struct raw *greedy[20], *other;
	unsigned n_quota = 0;
	char text[1024];

	if (geteuid() != 0)
		SKIP("only root has two users");
	broker = start_lean("--limit", "nobody:bytes=256k");
	other = raw_join(broker, "name=other", "room");
	memset(text, 'x', sizeof text);
	memcpy(text, "SAY room\n", 9);
	for (int i = 0; i < 200; i++)
		raw_send_bytes(other, text, sizeof text);
	for (int i = 0; i < 200; i++)
		raw_expect(other, "MSG room ~");
	for (size_t i = 0; i < ARRAY_LEN(greedy); i++)
		greedy[i] = raw_hello_as(broker, STRANGER, "");
	for (size_t i = 0; i < ARRAY_LEN(greedy); i++)
		/* it may be closed already */
		for (int k = 0; k < 10; k++)
			(void)!send(greedy[i]->fd, "#p PAST room", 12, MSG_NOSIGNAL);
	/* answered, so all of them had their turn */
	raw_expect_quiet(other);
	for (size_t i = 0; i < ARRAY_LEN(greedy); i++)
		for (int n_answers = 0; n_answers < 10;) {
			struct text frame = raw_next(greedy[i]);

			n_answers += pattern_matches("#p * ~", frame);
			if (pattern_matches("BYE QUOTA bytes: ~", frame)) {
				n_quota++;
				break;
			}
		}
	assert_true(n_quota > 0);
	raw_expect_quiet(other);
	/* nothing is held any more: there is room again */
	raw_hello_as(broker, STRANGER, "");
	broker_stop(broker);
}

/* ---- descriptors ---- */

static void set_descriptors(const struct broker *broker, unsigned soft, unsigned hard)
{
	struct rlimit limit = { soft, hard };

	if (prlimit(broker->pid, RLIMIT_NOFILE, &limit, NULL) < 0)
		fail_msg("prlimit");
}

static void test_out_of_descriptors(void **state)
{
	static const struct {
		int more; /* descriptors than it has */
		const char *expect;
	} table[] = {
		{ 6, "quota uid=~ what=descriptors ~ left=0" },
		{ 0, "descriptors" }, /* it may have been started with one of a high number */
		{ -3, "accept " },
	};
	struct broker *broker = broker_start(NULL);
	struct raw *reader = raw_join(broker, "name=reader", "lobby"), *raws[20], *raw;
	unsigned n_descriptors = broker_descriptors(broker), n_again = 0, n_quota = 0;
	struct rlimit own;

	getrlimit(RLIMIT_NOFILE, &own);
	for (size_t n = 0; n < ARRAY_LEN(table); n++) {
		set_descriptors(
			broker, n_descriptors + (unsigned)table[n].more, (unsigned)own.rlim_max);
		for (size_t i = 0; i < ARRAY_LEN(raws); i++)
			raws[i] = raw_open(broker);
		broker_expect(broker, "%s", table[n].expect);
		raw_send(reader, "#s SAY lobby\nstill served");
		raw_expect(reader, "#s * ~");
		raw_expect(reader, "MSG lobby ~\nstill served");
		broker_ctl(broker, "STATS");
		broker_expect(broker, "ctl sessions ");
		set_descriptors(broker, (unsigned)own.rlim_cur, (unsigned)own.rlim_max);
		for (size_t i = 0; i < ARRAY_LEN(raws); i++) {
			struct text answer;

			(void)!write(raws[i]->fd, "hello", 5);
			answer = raw_next(raws[i]);
			if (pattern_matches("BYE AGAIN ~", answer))
				n_again++;
			else if (pattern_matches("BYE QUOTA connections: 0 descriptors~", answer))
				n_quota++;
			else if (pattern_matches("*", answer))
				raw_expect(reader, "MSG lobby ~\nhello");
			else
				fail_msg("%.*s", (int)answer.len, answer.data);
			raw_close(raws[i]);
		}
		raw = raw_hello(broker, "name=later");
		raw_close(raw);
		while (raw_counter(reader, "sessions") > 1)
			;
		assert_int_equal(broker_descriptors(broker), n_descriptors);
	}
	assert_true(n_again > 0 && n_quota > 0);
	broker_stop(broker);
}

/* When they get scarce, who holds many gets no more, and who holds few or none does. */
static void test_descriptors_are_shared(void **state)
{
	struct broker *broker;
	struct raw *raw;
	struct rlimit own;
	unsigned n = 0;

	if (geteuid() != 0)
		SKIP("only root has two users");
	broker = broker_start(NULL);
	raw = raw_hello(broker, "");
	getrlimit(RLIMIT_NOFILE, &own);
	set_descriptors(broker, broker_descriptors(broker) + 90 + 8, (unsigned)own.rlim_max);
	for (;;) {
		struct raw *other = raw_open_as(broker, STRANGER);

		(void)!write(other->fd, "#1 HELLO 1", 10);
		if (pattern_matches("BYE QUOTA connections: 9 descriptors~", raw_next(other)))
			break;
		n++;
	}
	assert_int_equal(n, 80);
	broker_expect(broker, "quota uid=%u ~ what=descriptors used=80 left=9", STRANGER);
	/* refused ones hold nothing, however many come */
	for (int i = 0; i < 100; i++)
		raw_expect(raw_open_as(broker, STRANGER), "BYE QUOTA ~");
	for (int i = 0; i < 4; i++)
		raw_hello(broker, "");
	raw_hello_as(broker, 1, "");
	raw_expect_quiet(raw);
	assert_int_equal(raw_counter(raw, "turned_away"), 101);
	assert_int_equal(raw_counter(raw, "cut"), 0);
	broker_stop(broker);
}

/* What clients pass, and are passed, is theirs, too. */
static void test_passed_are_shared(void **state)
{
	struct broker *broker;
	struct rlimit own;
	unsigned n = 0;

	if (geteuid() != 0)
		SKIP("only root has two users");
	broker = broker_start(NULL);
	getrlimit(RLIMIT_NOFILE, &own);
	set_descriptors(broker, broker_descriptors(broker) + 90 + 8, (unsigned)own.rlim_max);
	for (;;) {
		struct raw *other = raw_open_as(broker, STRANGER);

		(void)!write(other->fd, "#1 HELLO 1 batch pub=1", 22);
		if (pattern_matches("BYE QUOTA ~", raw_next(other)))
			break;
		raw_send(other, "#f FAST");
		if (pattern_matches("#f ! RING too few descriptors ~", raw_next(other)))
			continue;
		raw_expect(other, "PAGE ~"); /* it does not say TOOK */
		n++;
	}
	assert_in_range(n, 38, 41);
	for (int i = 0; i < 4; i++)
		raw_hello(broker, "");
	broker_stop(broker);
}

/* Who is refused makes way at once, for those who stand behind it at the door. */
static void test_refused_make_way(void **state)
{
	struct broker *broker;
	struct raw *other;
	struct rlimit own;

	if (geteuid() != 0)
		SKIP("only root has two users");
	broker = broker_start(NULL);
	getrlimit(RLIMIT_NOFILE, &own);
	for (int i = 0; i < 9; i++)
		raw_hello_as(broker, STRANGER, "");
	set_descriptors(broker, broker_descriptors(broker) + 10, (unsigned)own.rlim_max);
	broker_signal(broker, SIGSTOP);
	for (int i = 0; i < 30; i++)
		raw_open_as(broker, STRANGER);
	other = raw_open_as(broker, 1);
	raw_send(other, "#1 HELLO 1");
	broker_signal(broker, SIGCONT);
	raw_expect(other, "#1 * 1 ~");
	assert_int_equal(raw_counter(other, "cut"), 0);
	broker_stop(broker);
}

/* Not even those who have none yet get what the broker keeps for itself. */
static void test_some_are_kept_back(void **state)
{
	struct broker *broker;
	struct rlimit own;
	unsigned max, n_in;

	if (geteuid() != 0)
		SKIP("only root has several users");
	for (uid_t uid = 1; uid <= 6; uid++)
		if (!getpwuid(uid))
			SKIP("the accounts are not as expected");
	broker = broker_start(NULL);
	raw_hello(broker, "");
	getrlimit(RLIMIT_NOFILE, &own);
	max = broker_descriptors(broker) + 6;
	n_in = 6 - MIN(max / 8, 8u);
	set_descriptors(broker, max, (unsigned)own.rlim_max);
	for (uid_t uid = 1; uid <= n_in; uid++)
		raw_hello_as(broker, uid, "");
	raw_expect(raw_open_as(broker, n_in + 1), "BYE AGAIN ~descriptors");
	broker_stop(broker);
}

static void test_a_thousand_connections(void **state)
{
	static struct raw *raws[1000];
	struct rlimit limit;
	struct broker *broker;
	struct raw *speaker;

	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_cur < 1200)
		SKIP("not enough descriptors");
	broker = broker_start("--limit", "connections=2000");
	speaker = raw_hello(broker, "name=speaker");
	for (size_t i = 0; i < ARRAY_LEN(raws); i++)
		raws[i] = raw_join(broker, i % 2 ? "name=r" : "name=r batch", "room");
	raw_send(speaker, "#s SAY room\nhello, all of you");
	raw_expect(speaker, "#s * 1");
	for (size_t i = 0; i < ARRAY_LEN(raws); i++)
		raw_expect(raws[i], "MSG room 1 ~ speaker ~\nhello, all of you");
	/* and all of them at once */
	for (size_t i = 0; i < ARRAY_LEN(raws); i++)
		raw_send(raws[i], "SAY other\n%zu", i);
	for (size_t i = 0; i < ARRAY_LEN(raws); i++)
		raw_expect_quiet(raws[i]);
	raw_send(speaker, "#p PAST other from=1000");
	raw_expect(speaker, "#p + MSG other 1000 ~");
	raw_expect(speaker, "#p * 1");
	broker_stop(broker);
}

/* Presence in the face of somebody who does not listen: chat-broker(8), memory is
 * bounded, nobody is disconnected. */
static void test_coming_and_going(void **state)
{
	struct broker *broker = start_lean(NULL, NULL);
	struct raw *guest = raw_hello(broker, "name=gu3st"), *other;
	size_t before;
	pid_t pid = child_fork();

	if (pid == 0) {
		struct raw *raw = raw_join(broker, "name=stopped", "room presence");

		raise(SIGSTOP);
		/* awake again: all that is left is there, or a GAP for it, and the end */
		while (!pattern_matches("MSG room ~\nthe end", raw_next(raw)))
			;
		_exit(0);
	}
	child_expect_stopped(pid);
	other = raw_join(broker, "name=other", "room");
	before = broker_memory(broker);
	for (int i = 0; i < 1000; i++) {
		for (int k = 0; k < 10; k++)
			raw_send_batch(guest, "JOIN room", "PART room", "JOIN room", "PART room",
				"JOIN room", "PART room", "JOIN room", "PART room", "JOIN room",
				"PART room", "JOIN room", "PART room", "JOIN room", "PART room",
				"JOIN room", "PART room", "JOIN room", "PART room", "JOIN room",
				"PART room");
		if (i % 100 == 0)
			raw_expect_quiet(other);
	}
	raw_expect_quiet(guest);
	expect_no_growth(broker, before);
	assert_int_equal(raw_counter(other, "sessions"), 3);
	raw_send(guest, "SAY room\nthe end");
	raw_expect(other, "MSG room 1 ~\nthe end");
	kill(pid, SIGCONT);
	child_expect_exit(pid, 0);
	broker_stop(broker);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_connections),
		TEST(test_limit_of_one_user),
		TEST(test_cursors),
		TEST(test_rooms),
		TEST(test_answers_nobody_reads),
		TEST(test_bytes),
		TEST(test_out_of_descriptors),
		TEST(test_descriptors_are_shared),
		TEST(test_passed_are_shared),
		TEST(test_refused_make_way),
		TEST(test_some_are_kept_back),
		TEST(test_a_thousand_connections),
		TEST(test_coming_and_going),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
