/* lifecycle_test.c - start, stop, signals: chat-broker(8). */
#include "tests/integration/harness.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "protocol/packet.h"

/* chat-broker(8): the broker is gone within 2 s; a sanitizer looks for leaks, too. */
#define STOP_MS (HARNESS_HAS_ASAN ? 4000 : 2000)

/* A backlog of some MiB. */
#define BACKLOG_MESSAGES 80
#define BODY_LEN         60000

static void test_ready_line(void **state)
{
	struct broker *broker = broker_new();

	broker_spawn_here(broker, NULL);
	broker_expect(broker, "chat-broker: ready socket=%s ctl=%s pid=%d", broker->socket,
		broker->ctl, broker->pid);
	broker_stop(broker);
	assert_int_equal(broker_count(broker, "ready"), 1);
	assert_int_equal(directory_count(broker->dir), 0);
}

static int notify_open(const struct broker *broker)
{
	struct sockaddr_un address;
	socklen_t len;
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	assert_int_equal(packet_address(broker_path(broker, "notify"), &address, &len), 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
	return fd;
}

static void notify_expect(int fd, const char *wanted)
{
	char state[256];
	ssize_t n;

	if (!wait_fd(fd, POLLIN, clock_ms() + DEADLINE_MS))
		fail_msg("the service manager is not told %s", wanted);
	n = recv(fd, state, sizeof state - 1, 0);
	assert_true(n > 0);
	state[n] = '\0';
	if (strncmp(state, wanted, strlen(wanted)) != 0)
		fail_msg("the service manager is told %s, not %s", state, wanted);
}

static void test_service_manager_is_told(void **state)
{
	struct broker *broker = broker_new();
	int fd = notify_open(broker);
	char environment[128];

	snprintf(
		environment, sizeof environment, "NOTIFY_SOCKET=%s", broker_path(broker, "notify"));
	broker->environment[0] = environment;
	broker_spawn_here(broker, NULL);
	notify_expect(fd, "READY=1");
	broker_wait_ready(broker);
	broker_signal(broker, SIGTERM);
	notify_expect(fd, "STOPPING=1");
	broker_expect_exit(broker, 0);
	close(fd);
}

/* A service manager that is not there, or does not read, holds nobody up. */
static void test_service_manager_is_gone(void **state)
{
	struct broker *broker = broker_new();

	broker->environment[0] = "NOTIFY_SOCKET=/tmp/chat-broker-test.nothing-is-here";
	broker_spawn_here(broker, NULL);
	broker_wait_ready(broker);
	broker_stop(broker);
}

static void test_ways_to_stop(void **state)
{
	static const struct {
		int signal;
		const char *request, *fifo;
		const char *bye;
	} ways[] = {
		{ .signal = SIGTERM, .bye = "BYE STOP~" },
		{ .signal = SIGINT, .bye = "BYE STOP~" },
		{ .request = "#s STOP", .bye = "BYE STOP" },
		{ .request = "#s STOP back in an hour", .bye = "BYE STOP back in an hour" },
		{ .request = "#s CTL STOP at noon", .bye = "BYE STOP at noon" },
		{ .fifo = "STOP", .bye = "BYE STOP" },
		{ .fifo = "STOP for the night", .bye = "BYE STOP for the night" },
	};

	for (size_t i = 0; i < ARRAY_LEN(ways); i++) {
		struct broker *broker = broker_start(NULL);
		struct raw *reader = raw_join(broker, "name=reader", "lobby");
		struct raw *batch = raw_join(broker, "name=batch batch", "lobby");
		struct raw *plain = raw_open(broker);
		struct raw *asker = raw_hello(broker, "name=asker");
		uint64_t start = clock_ms();

		raw_send(plain, "said");
		raw_expect(plain, "*");
		if (ways[i].signal)
			broker_signal(broker, ways[i].signal);
		if (ways[i].fifo)
			broker_ctl(broker, "%s", ways[i].fifo);
		if (ways[i].request) {
			raw_send(asker, "%s", ways[i].request);
			raw_await(asker, "#s *");
		}
		raw_expect(asker, "%s", ways[i].bye);
		raw_expect_close(asker);
		raw_expect(reader, "MSG lobby 1 ~\nsaid");
		raw_expect(reader, "%s", ways[i].bye);
		raw_expect_close(reader);
		raw_expect(batch, "MSG lobby 1 ~\nsaid");
		raw_expect(batch, "%s", ways[i].bye);
		raw_expect_close(batch);
		raw_expect_close(plain); /* answers and nothing else */
		broker_expect_exit(broker, 0);
		assert_true(clock_ms() - start < STOP_MS);
		assert_int_equal(directory_count(broker->dir), 0);
		harness_teardown(state);
	}
}

/* Say the backlog in room while nobody reads: it is more than any socket holds. */
static void say_backlog(struct broker *broker)
{
	static char frame[BODY_LEN + 64];
	struct raw *speaker = raw_hello(broker, "name=speaker");

	for (int i = 1; i <= BACKLOG_MESSAGES; i++) {
		int n = snprintf(frame, sizeof frame, "#s SAY room\n%d ", i);

		memset(frame + n, 'x', BODY_LEN);
		raw_send_bytes(speaker, frame, (size_t)n + BODY_LEN);
		raw_expect(speaker, "#s * %d", i);
	}
	raw_close(speaker);
}

static void test_owed_is_delivered_first(void **state)
{
	static const char *const features[] = { "name=reader", "name=reader batch" };

	for (size_t i = 0; i < ARRAY_LEN(features); i++) {
		struct broker *broker = broker_start(NULL);
		struct raw *reader = raw_join(broker, features[i], "room");
		struct raw *past = raw_hello(broker, "name=past");
		uint64_t start;

		say_backlog(broker);
		raw_send(past, "#p PAST room");
		raw_send(past, "#q PAST room");
		raw_expect(past, "#p + MSG room 1 ~");
		start = clock_ms();
		broker_signal(broker, SIGTERM);
		broker_expect(broker, "stopping");
		for (int k = 1; k <= BACKLOG_MESSAGES; k++)
			raw_expect(reader, "MSG room %d ~", k);
		raw_expect(reader, "BYE STOP~");
		raw_expect_close(reader);
		raw_expect(past, "#p * 1 next=2");
		raw_await(past, "#q * 1 next=2");
		raw_expect(past, "BYE STOP~");
		raw_expect_close(past);
		broker_expect_exit(broker, 0);
		assert_true(clock_ms() - start < STOP_MS);
		harness_teardown(state);
	}
}

static void test_stopped_client_does_not_hold_it_up(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *reader;
	uint64_t start;
	pid_t pid = child_fork();

	if (pid == 0) {
		(void)raw_join(broker, "name=stopped batch", "room");
		raise(SIGSTOP);
		_exit(0);
	}
	child_expect_stopped(pid);
	reader = raw_join(broker, "name=reader", "room");
	say_backlog(broker);
	start = clock_ms();
	broker_signal(broker, SIGTERM);
	for (int k = 1; k <= BACKLOG_MESSAGES; k++)
		raw_expect(reader, "MSG room %d ~", k);
	raw_expect(reader, "BYE STOP~");
	raw_expect_close(reader);
	broker_expect(broker, "stopped with sessions=1 ");
	broker_expect_exit(broker, 0);
	assert_true(clock_ms() - start < STOP_MS);
	assert_int_equal(directory_count(broker->dir), 0);
}

/* No new client is let in, and who was let in but not heard yet goes as well. */
static void test_stop_with_strange_clients(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *silent = raw_open(broker), *refused = raw_open(broker);
	struct raw *reader = raw_join(broker, "name=reader", "room");

	raw_send(refused, "HELLO 9");
	raw_expect(refused, "! VERSION ~");
	broker_signal(broker, SIGTERM);
	raw_expect_close(silent);
	raw_expect(refused, "BYE STOP~");
	raw_expect_close(refused);
	raw_expect(reader, "BYE STOP~");
	raw_expect_close(reader);
	broker_expect_exit(broker, 0);
	assert_null(raw_open_path(broker->socket));
}

/* How many of WANTED more connections are let in. */
static unsigned connections_allowed(struct broker *broker, struct raw *watcher, unsigned wanted)
{
	struct raw *raws[16];
	unsigned n = 0;

	for (unsigned i = 0; i < wanted; i++) {
		struct text answer;

		raws[i] = raw_open(broker);
		/* it may be closed already */
		(void)!send(raws[i]->fd, "#h HELLO 1", 10, MSG_NOSIGNAL);
		answer = raw_next(raws[i]);
		n += pattern_matches("#h * ~", answer);
		if (!pattern_matches("#h * ~", answer) && !pattern_matches("BYE QUOTA ~", answer))
			fail_msg("%.*s", (int)answer.len, answer.data);
	}
	for (unsigned i = 0; i < wanted; i++)
		raw_close(raws[i]);
	while (raw_counter(watcher, "sessions") > 1)
		;
	return n;
}

static void test_sighup_reads_the_limits(void **state)
{
	struct broker *broker = broker_new();
	struct raw *watcher;
	char limits[128];

	strcpy(limits, broker_path(broker, "limits"));
	file_write(limits, "connections=4 # all of it\n\n# a comment\n  cursors == 7\n");
	broker_spawn_here(broker, "--limits", limits);
	/* it is wrong: refused at the start */
	broker_expect(broker, "limits file=%s line=4 reason=", limits);
	broker_expect_exit(broker, 78);
	file_write(limits, "connections=4 # all of it\n\n# a comment\n\tcursors=7\r\n");
	broker_spawn_here(broker, "--limits", limits);
	broker_wait_ready(broker);
	watcher = raw_hello(broker, "name=watcher");
	assert_int_equal(connections_allowed(broker, watcher, 6), 3);
	broker_expect(broker, "quota uid=%u ~connections", getuid());

	file_write(limits, "connections=6\n");
	broker_signal(broker, SIGHUP);
	broker_expect(broker, "limits read file=%s", limits);
	assert_int_equal(connections_allowed(broker, watcher, 8), 5);
	/* lowered below what is used: nobody is sent away */
	file_write(limits, "connections=1\n");
	broker_signal(broker, SIGHUP);
	broker_expect(broker, "limits read file=%s", limits);
	assert_int_equal(connections_allowed(broker, watcher, 2), 0);
	raw_expect_quiet(watcher);
	broker_stop(broker);
}

static void test_sighup_bad_limits(void **state)
{
	static const char *const bad[] = { "connections=0\n", "connections\n", "nothing=1\n",
		"connections=5\n:connections=6\n", "connections=5\nnobody:log-bytes=1M\n",
		"connections=99999999999999999999\n", "\xff\n" };
	struct broker *broker = broker_new();
	struct raw *watcher;
	char limits[128];

	strcpy(limits, broker_path(broker, "limits"));
	file_write(limits, "connections=3\n");
	broker_spawn_here(broker, "--limits", limits);
	broker_wait_ready(broker);
	watcher = raw_hello(broker, "name=watcher");
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		file_write(limits, bad[i]);
		broker_signal(broker, SIGHUP);
		broker_expect(broker, "error: limits file=%s line=%d", limits,
			strchr(bad[i], '\n')[1] ? 2 : 1);
		broker_expect(broker, "limits unchanged");
	}
	unlink(limits);
	broker_signal(broker, SIGHUP);
	broker_expect(broker, "error: limits file=%s ~No such file", limits);
	broker_expect(broker, "limits unchanged");
	assert_int_equal(connections_allowed(broker, watcher, 5), 2);
	broker_stop(broker);
}

static void test_sighup_without_limits(void **state)
{
	struct broker *broker = broker_start(NULL);

	broker_signal(broker, SIGHUP);
	broker_expect(broker, "limits unchanged");
	broker_stop(broker);
}

static void test_sigusr1_writes_the_counters(void **state)
{
	struct broker *broker = broker_start(NULL);

	raw_join(broker, "name=reader", "room");
	broker_signal(broker, SIGUSR1);
	broker_expect(broker, "stats sessions 1");
	broker_expect(broker, "stats rooms 1");
	broker_stop(broker);
}

/* A reader of the diagnostics that does not read, or is gone, holds nobody up. */
static void test_diagnostics_nobody_reads(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *raw = raw_hello(broker, "name=t3ster");

	broker_ctl(broker, "LOGLEVEL debug");
	for (int i = 0; i < 3000; i++)
		raw_close(raw_open(broker));
	raw_expect_quiet(raw);
	close(broker->diagnostics);
	broker->diagnostics = -1;
	for (int i = 0; i < 100; i++)
		raw_close(raw_open(broker));
	raw_expect_quiet(raw);
	broker_stop(broker);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_ready_line),
		TEST(test_service_manager_is_told),
		TEST(test_service_manager_is_gone),
		TEST(test_ways_to_stop),
		TEST(test_owed_is_delivered_first),
		TEST(test_stopped_client_does_not_hold_it_up),
		TEST(test_stop_with_strange_clients),
		TEST(test_sighup_reads_the_limits),
		TEST(test_sighup_bad_limits),
		TEST(test_sighup_without_limits),
		TEST(test_sigusr1_writes_the_counters),
		TEST(test_diagnostics_nobody_reads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
