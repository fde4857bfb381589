/* file_limit_test.c - files that must not grow beyond RLIMIT_FSIZE: the signal that the kernel
 * sends ends nobody. chat-broker(8), DIAGNOSTICS and STORAGE; chat-client(1), EXIT STATUS. */
#include "tests/integration/program.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "protocol/sealed.h"

/* A log that is full, or that nobody reads, is lost; the broker goes on. */
static void test_log_is_full(void **state)
{
	struct broker *broker = broker_new();
	struct raw *raw, *known;
	struct stat st;

	broker->log = broker_path(broker, "log");
	broker->file_len_max = 2048;
	broker_spawn_here(broker, NULL);
	file_await(broker->ctl); /* made after the socket listens */
	known = raw_join(broker, "name=t3ster", "room");
	do {
		raw = raw_open(broker);
		raw_send(raw, "HELLO 1");
		raw_send_bytes(raw, "BATCH\nnonsense", 14);
		raw_await(raw, "BYE ~");
		raw_close(raw);
		assert_int_equal(stat(broker_path(broker, "log"), &st), 0);
	} while (st.st_size < 2048);
	for (int i = 0; i < 10; i++) {
		raw = raw_open(broker);
		raw_send(raw, "HELLO 1");
		raw_send_bytes(raw, "BATCH\nnonsense", 14);
		raw_await(raw, "BYE ~");
		raw_close(raw);
	}
	raw_expect_quiet(known);
	broker_stop(broker);
}

/* Signals that a read or a write can raise do not end the broker, and do not stop it. */
static void test_signals(void **state)
{
	static const int numbers[] = { SIGPIPE, SIGXFSZ, SIGTTIN, SIGTTOU };
	struct broker *broker = broker_start(NULL);
	struct raw *raw = raw_hello(broker, "name=t3ster");

	for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
		broker_signal(broker, numbers[i]);
		raw_expect_quiet(raw);
	}
	broker_stop(broker);
}

static void limit_files(const struct broker *broker, rlim_t len)
{
	const struct rlimit limit = { len, RLIM_INFINITY };

	assert_int_equal(prlimit(broker->pid, RLIMIT_FSIZE, &limit, NULL), 0);
}

/* Say LEN bytes in the room. */
static const char *say(struct raw *raw, size_t len)
{
	static char packet[60000];

	assert_true(len <= sizeof packet);
	memset(packet, 'x', len);
	memcpy(packet, "#1 SAY room\n", 12);
	raw_send_bytes(raw, packet, len);
	return raw_next(raw).data;
}

/* Files of the state reach the limit: SAY is refused, nothing that was acknowledged is lost, and
 * the broker stores again when the limit is gone. */
static void test_storage(void **state)
{
	struct broker *broker = broker_new();
	const char *place = broker_path(broker, "state");
	struct raw *raw;

	broker_spawn_here(broker, "--state", place, "--limit", "journal-bytes=64k");
	broker_wait_ready(broker);
	raw = raw_hello(broker, "name=t3ster");
	for (unsigned i = 1; i <= 5; i++) {
		limit_files(broker, RLIM_INFINITY);
		raw_send(raw, "#1 SAY room\nshort");
		raw_expect(raw, "#1 * %u", i);
		if (i > 1)
			broker_expect(broker, "storage works again");
		limit_files(broker, 20000);
		assert_true(
			pattern_matches("#1 ! NOSPACE ~File too large~", text_of(say(raw, 60000))));
		broker_expect(broker, "storage failed reason=\"File too large\"");
		raw_expect_quiet(raw);
	}
	limit_files(broker, RLIM_INFINITY);
	for (unsigned i = 6; i <= 10; i++)
		assert_true(pattern_matches("#1 * ~", text_of(say(raw, 60000))));
	broker_kill9(broker);
	raw_close_all();
	broker_spawn_here(broker, "--state", place);
	broker_wait_ready(broker);
	raw = raw_hello(broker, "name=t3ster");
	for (unsigned i = 1; i <= 10; i++) {
		raw_send(raw, "#4 PAST room from=%u to=%u", i, i);
		raw_expect(raw, "#4 + MSG room %u ~", i);
		raw_expect(raw, "#4 * ~");
	}
	broker_stop(broker);
}

/* While no file of the state can grow, checkpoints fail, which is said; then they work again. */
static void test_checkpoint(void **state)
{
	struct broker *broker = broker_new();
	char value[2001] = "";
	struct raw *raw;

	broker_spawn_here(
		broker, "--state", broker_path(broker, "state"), "--limit", "journal-bytes=64k");
	broker_wait_ready(broker);
	raw = raw_hello(broker, "name=t3ster");
	/* the journal fits, the database of the values does not */
	limit_files(broker, 80000);
	memset(value, 'x', sizeof value - 1);
	for (unsigned i = 0; i < 60; i++) {
		raw_send(raw, "#1 SET room%u key%u\n%s", i % 3, i, value);
		raw_expect(raw, "#1 * ~");
	}
	broker_expect(broker, "checkpoint failed reason=\"~");
	raw_expect_quiet(raw);
	limit_files(broker, RLIM_INFINITY);
	broker_expect(broker, "checkpoints work again");
	raw_send(raw, "#2 SAY room\nhello");
	raw_expect(raw, "#2 * 1");
	broker_stop(broker);
}

/* A program whose output is full says so. */
static void test_output(void **state)
{
	struct program_config config = { .path = "/bin/sh" };
	struct broker *broker = broker_start(NULL);

	config.out = broker_path(broker, "out");
	file_write(config.out, "");
	program_check(broker, 0, "hello\n", "", "", "say", "room");
	program_check_as(broker, &config, 74, "", "", "chat-client: ~File too large\n", "-c",
		"ulimit -f 0; exec \"$CHAT_CLIENT\" history room");
	broker_stop(broker);
}

/* A ring is a file, too: a program that may not have one speaks through the socket. */
static void test_ring(void **state)
{
	struct program_config config = { .path = "/bin/sh" };
	struct broker *broker = broker_start(NULL);

	program_check_as(broker, &config, 0, "one\ntwo\n", "", "", "-c",
		"ulimit -f 100; exec \"$CHAT_CLIENT\" say --fast room");
	program_check(broker, 0, "", "~one\n~two\n", "", "history", "room");
	broker_stop(broker);
}

/* A program that links libchat may not ignore the signal, and lives. */
static void test_memory_of_a_program(void **state)
{
	const struct rlimit limit = { 100000, RLIM_INFINITY };
	pid_t pid = child_fork();
	struct sealed memory;

	if (pid == 0) {
		signal(SIGXFSZ, SIG_DFL);
		if (setrlimit(RLIMIT_FSIZE, &limit) < 0)
			_exit(126);
		if (sealed_create(&memory, "test", 100000) != 0)
			_exit(1);
		_exit(sealed_create(&memory, "test", 100001) != -EFBIG);
	}
	child_expect_exit(pid, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		PROGRAM_TEST(test_log_is_full),
		PROGRAM_TEST(test_signals),
		PROGRAM_TEST(test_storage),
		PROGRAM_TEST(test_checkpoint),
		PROGRAM_TEST(test_output),
		PROGRAM_TEST(test_ring),
		PROGRAM_TEST(test_memory_of_a_program),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
