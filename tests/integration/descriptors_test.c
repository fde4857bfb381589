/* descriptors_test.c - more clients than the broker has descriptors, or than fit before
 * its door: newcomers are told or wait, those who are in notice nothing.
 * chat-broker(8), DIAGNOSTICS, and chat-protocol(7), BYE AGAIN. */
#include "tests/integration/crowd.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

#include "client/chat.h"

/* Of them the broker needs some itself. */
#define DESCRIPTORS     64
#define DESCRIPTORS_OWN 32

/* More than the broker lets wait. */
#define BACKLOG_MAX 1000

/* What a round trip may take, and the CPU time of 300 ms in which only doors are closed. */
#define ECHO_MS_MAX 1000
#define CPU_NS_MAX  (UINT64_C(100000000) * (HARNESS_HAS_ASAN ? 2 : 1))

static struct broker *start_small(void)
{
	struct broker *broker = broker_new();

	broker->n_descriptors_max = DESCRIPTORS;
	file_write(broker_path(broker, "limits"), "names=7\n");
	broker_spawn_here(broker, "--limits", broker_path(broker, "limits"));
	broker_wait_ready(broker);
	return broker;
}

/* ALICE says something, BOB hears it. */
static void echo(struct raw *alice, struct raw *bob)
{
	uint64_t start = clock_ms();

	raw_send(alice, "SAY room\nare you there");
	raw_expect(bob, "MSG room ~\nare you there");
	if (clock_ms() - start > ECHO_MS_MAX)
		fail_msg("a round trip of %lu ms", (unsigned long)(clock_ms() - start));
}

/* Is it let in, or told to come again? */
static bool is_let_in(struct crowd *crowd, unsigned i)
{
	struct text packet = crowd_next(crowd, i);

	if (packet.data && pattern_matches("#h * 1 name=~", packet))
		return true;
	/* one user is told that others shall have what is left */
	if (!packet.data || !(pattern_matches("BYE AGAIN ~", packet) ||
				    pattern_matches("BYE QUOTA connections: ~ left", packet)))
		fail_msg("connection %u: neither let in nor told: %.*s", i, (int)packet.len,
			packet.data ? packet.data : "");
	return false;
}

/* Each newcomer says HELLO before it looks whether it may. */
static unsigned count_let_in(struct crowd *crowd)
{
	unsigned n = 0;

	for (unsigned i = 0; i < crowd->n; i++) {
		(void)!write(crowd->fds[i], "#h HELLO 1", 10);
		if (is_let_in(crowd, i))
			n++;
		else
			crowd_leave(crowd, i);
	}
	return n;
}

/* With a broker that may have DESCRIPTORS. */
static void crowd_out(struct broker *broker)
{
	struct raw *alice = raw_hello(broker, "name=al1ce");
	struct raw *bob = raw_join(broker, "name=b0b", "room");
	unsigned n_in, n_told, n_open = broker_descriptors(broker);
	struct crowd *crowd = crowd_open(broker, 2 * DESCRIPTORS + 11), *late;
	uint64_t cpu;

	echo(alice, bob);
	n_in = count_let_in(crowd);
	n_told = crowd->n - n_in;
	assert_in_range(n_in, DESCRIPTORS - DESCRIPTORS_OWN, DESCRIPTORS);
	assert_int_equal(raw_counter(alice, "turned_away"), n_told);
	broker_expect(broker, "quota uid=~ what=descriptors ~");

	/* the door is busy, the house is quiet */
	for (int i = 0; i < 20; i++) {
		late = crowd_open(broker, 10);
		echo(alice, bob);
		assert_int_equal(count_let_in(late), 0);
		crowd_close(late);
	}
	cpu = broker_cpu_ns(broker);
	raw_expect_silence(bob, 300);
	assert_in_range(broker_cpu_ns(broker) - cpu, 0, CPU_NS_MAX);

	/* for each who goes one comes */
	for (unsigned i = 0; i < crowd->n && n_in > 10; i++) {
		n_in -= crowd->fds[i] >= 0;
		crowd_leave(crowd, i);
	}
	raw_await_counter(alice, "sessions", n_in + 2);
	late = crowd_open(broker, 10);
	assert_int_equal(count_let_in(late), 10);
	echo(alice, bob);
	crowd_close_all();
	raw_await_counter(alice, "sessions", 2);
	assert_int_equal(broker_descriptors(broker), n_open);
	broker_stop(broker);
}

static void test_more_clients_than_descriptors(void **state)
{
	crowd_out(start_small());
}

/* An administrator can still do what he needs to. */
static void test_limits_of_a_full_house(void **state)
{
	struct broker *broker = start_small();
	struct crowd *crowd = crowd_open(broker, DESCRIPTORS);

	assert_in_range(count_let_in(crowd), 1, DESCRIPTORS - 1);
	broker_signal(broker, SIGHUP);
	broker_expect(broker, "limits read file=");
	broker_ctl(broker, "STATS");
	file_await(broker_path(broker, "broker.ctl.status"));
	broker_stop(broker);
}

/* Not one is left: whoever is in can still be looked up. */
static void test_look_up_in_a_full_house(void **state)
{
	struct rlimit limit = { 0 };
	struct broker *broker;
	struct raw *raw;
	char path[64];

	if (close_range(~0u, ~0u, 0) < 0)
		SKIP("there is no close_range() here");
	broker = broker_start(NULL);
	raw = raw_open(broker);
	raw_send(raw, "hello");
	raw_expect(raw, "*");
	do
		snprintf(path, sizeof path, "/proc/%d/fd/%lu", broker->pid,
			(unsigned long)limit.rlim_cur++);
	while (file_exists(path));
	limit.rlim_max = --limit.rlim_cur;
	assert_int_equal(prlimit(broker->pid, RLIMIT_NOFILE, &limit, NULL), 0);
	raw_send(raw, "#1 HELLO 1 name=n1ck");
	raw_expect(raw, "#1 * 1 name=n1ck ~");
	broker_stop(broker);
}

/* It finds out the hard way. */
static void test_fewer_descriptors_than_at_the_start(void **state)
{
	struct rlimit limit = { DESCRIPTORS, DESCRIPTORS };
	struct broker *broker = broker_start(NULL);

	assert_int_equal(prlimit(broker->pid, RLIMIT_NOFILE, &limit, NULL), 0);
	crowd_out(broker);
}

static pid_t stopped;

static void go_on(int number)
{
	kill(stopped, SIGCONT);
}

/* More knock than the kernel keeps waiting, and half of them have given up when the
 * broker comes to look. Who comes through libchat waits for its turn. */
static void test_full_backlog(void **state)
{
	const struct itimerval soon = { .it_value.tv_usec = 100 * 1000 };
	struct chat_config config = { .name = "pat1ent" };
	struct broker *broker;
	struct crowd *crowd;
	struct chat *chat;
	uint64_t start;

	crowd_need(BACKLOG_MAX + 100);
	broker = broker_start("--limit", "connections=10000");
	broker_signal(broker, SIGSTOP);
	crowd = crowd_try_open(broker, BACKLOG_MAX);
	assert_in_range(crowd->n, 100, BACKLOG_MAX - 1);
	crowd_send(crowd, "#h HELLO 1");
	for (unsigned i = 0; i < crowd->n; i += 2)
		crowd_leave(crowd, i);

	config.socket = broker->socket;
	stopped = broker->pid;
	signal(SIGALRM, go_on);
	start = clock_ms();
	setitimer(ITIMER_REAL, &soon, NULL);
	if (chat_open(&chat, &config) < 0)
		fail_msg("chat_open: %s", chat_error(chat));
	assert_in_range(clock_ms() - start, 50, 5000);
	crowd_await(crowd, "#h * 1 name=~");
	assert_int_equal(chat_request(chat, "PING", NULL, 0, DEADLINE_MS, NULL, NULL, NULL), 0);
	chat_close(chat);
	signal(SIGALRM, SIG_DFL);
	broker_stop(broker);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_more_clients_than_descriptors),
		TEST(test_limits_of_a_full_house),
		TEST(test_look_up_in_a_full_house),
		TEST(test_fewer_descriptors_than_at_the_start),
		TEST(test_full_backlog),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
