/* fast_examples_test.c - the programs of this folder do what they say, with a broker of the
 * test's own: for everybody the same, most of it through shared memory, and an end when
 * somebody is missing. */
#include "tests/integration/program.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Long enough for a loaded machine to get going; and for who waits in vain. */
#define PATIENCE "20"
#define SHORT    "0.5"

#define ROUNDS   600
#define N_ROUNDS "600"
#define ENDLESS  "100000000"

static const struct program_config counter_config = { .path = COUNTER };
static const struct program_config timed_config = { .path = TIMED };

/* The broker ends, and no semaphore of it stays in /dev/shm. */
static void stop(struct broker *broker)
{
	char command[512], line[256];
	FILE *list;

	broker_stop(broker);
	snprintf(command, sizeof command, "%s --list-ipc --socket %s", getenv("CHAT_BROKER"),
		broker->socket);
	list = popen(command, "r");
	assert_non_null(list);
	while (fgets(line, sizeof line, list))
		if (strstr(line, broker->socket))
			fail_msg("left behind: %s", line);
	assert_int_equal(pclose(list), 0);
}

/* "N of ALL ... came through shared memory": most of them. */
static void expect_mostly_shared(const char *text, const char *what, unsigned all)
{
	const char *line = strstr(text, " came through shared memory\n");
	char expected[64];
	unsigned n;

	if (!line)
		fail_msg("not told how many were shared: %s", text);
	while (line > text && line[-1] != '\n')
		line--;
	snprintf(expected, sizeof expected, " of %u %s came", all, what);
	assert_non_null(strstr(line, expected));
	n = (unsigned)strtoul(line, NULL, 10);
	if (n <= all / 2 || n > all)
		fail_msg("%s", line);
}

/* ---- counter ---- */

/* Each turn of all is there, in order, and nothing else. */
static void expect_turns(const char *text, const char *const writers[], unsigned n_writers)
{
	char line[64];

	for (unsigned value = 1; value <= ROUNDS; value++) {
		snprintf(line, sizeof line, "%s %u\n", writers[(value - 1) % n_writers], value);
		if (strncmp(text, line, strlen(line)) != 0)
			fail_msg("expected %s, got %.40s", line, text);
		text += strlen(line);
	}
	assert_string_equal(text, "");
}

static void test_two_writers(void **state)
{
	static const char *const writers[] = { "ann1", "b0b" };
	struct broker *broker = broker_start(NULL);
	struct program *programs[2];

	for (unsigned i = 0; i < 2; i++)
		programs[i] = program_start_as(broker, &counter_config, "-t", PATIENCE, "table",
			writers[i], N_ROUNDS, "ann1", "b0b");
	for (unsigned i = 0; i < 2; i++) {
		program_expect_exit(programs[i], 0);
		expect_turns(programs[i]->out.text, writers, 2);
		expect_mostly_shared(programs[i]->err.text, "turns", ROUNDS);
	}
	stop(broker);
}

static void test_three_writers(void **state)
{
	static const char *const writers[] = { "ann1", "b0b", "c4t" };
	struct broker *broker = broker_start(NULL);
	struct program *programs[3];

	for (unsigned i = 3; i-- > 0;)
		programs[i] = program_start_as(broker, &counter_config, "-t", PATIENCE, "table",
			writers[i], N_ROUNDS, "ann1", "b0b", "c4t");
	for (unsigned i = 0; i < 3; i++) {
		program_expect_exit(programs[i], 0);
		expect_turns(programs[i]->out.text, writers, 3);
		expect_mostly_shared(programs[i]->err.text, "turns", ROUNDS);
	}
	stop(broker);
}

/* The same through the socket, when one of them has no shared memory. */
static void test_one_without(void **state)
{
	static const char *const writers[] = { "ann1", "b0b" };
	static const struct program_config without = {
		.path = COUNTER,
		.environment = { "CHAT_NO_SHM=1" },
	};
	struct broker *broker = broker_start(NULL);
	struct program *ann = program_start_as(
		broker, &counter_config, "-t", PATIENCE, "table", "ann1", N_ROUNDS, "ann1", "b0b");
	struct program *bob = program_start_as(
		broker, &without, "-t", PATIENCE, "table", "b0b", N_ROUNDS, "ann1", "b0b");

	program_expect_exit(ann, 0);
	program_expect_exit(bob, 0);
	expect_turns(ann->out.text, writers, 2);
	expect_turns(bob->out.text, writers, 2);
	assert_string_equal(bob->err.text, "0 of " N_ROUNDS " turns came through shared memory\n");
	stop(broker);
}

static void test_killed_writer(void **state)
{
	static const struct program_config unread = { .path = COUNTER, .out = "/dev/null" };
	struct broker *broker = broker_start(NULL);
	struct program *ann = program_start_as(
		broker, &counter_config, "-t", "2", "table", "ann1", ENDLESS, "ann1", "b0b");
	struct program *bob = program_start_as(
		broker, &unread, "-t", "2", "table", "b0b", ENDLESS, "ann1", "b0b");

	program_wait_lines(ann, 100);
	kill(bob->pid, SIGKILL);
	child_expect_kill(bob->pid);
	program_expect_exit(ann, 1);
	assert_string_equal(ann->err.text, "counter: waited in vain for the turn of b0b\n");
	stop(broker);
}

static void test_lone_writer(void **state)
{
	struct broker *broker = broker_start(NULL);

	program_check_as(broker, &counter_config, 1, "", "", "counter: not everybody came\n", "-t",
		SHORT, "table", "ann1", "10", "ann1", "b0b");
	stop(broker);
}

/* ---- timed ---- */

static struct program *serve(const struct broker *broker)
{
	struct program *server = program_start_as(broker, &timed_config, "serve", "clock");

	program_wait_out(server, "serving clock\n");
	return server;
}

static void expect_served(struct program *server, int number, const char *out)
{
	assert_int_equal(kill(server->pid, number), 0);
	program_expect_exit(server, 0);
	assert_string_equal(server->out.text, out);
	assert_string_equal(server->err.text, "");
}

/* N times of day since START, s, none before the one before it; and the sum of it. */
static void expect_answers(struct program *asker, unsigned n, time_t start)
{
	char *at;
	unsigned long long last = (unsigned long long)start * 1000000000;

	program_expect_exit(asker, 0);
	at = asker->out.text;
	for (unsigned i = 0; i < n; i++) {
		unsigned long long ns = strtoull(at, &at, 10);

		assert_int_equal(*at++, '\n');
		assert_true(ns >= last);
		last = ns;
	}
	assert_true(last <= ((unsigned long long)time(NULL) + 1) * 1000000000);
	if (!pattern_matches("round trip us: min ~ median ~ max ~\n~\n", text_of(at)))
		fail_msg("%s", at);
	expect_mostly_shared(at, "answers", n);
	assert_string_equal(asker->err.text, "");
}

static void test_ask(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct program *server = serve(broker);
	time_t start = time(NULL);

	expect_answers(
		program_start_as(broker, &timed_config, "-t", PATIENCE, "ask", "clock"), 10, start);
	expect_answers(
		program_start_as(broker, &timed_config, "-t", PATIENCE, "ask", "clock", "300"), 300,
		start);
	expect_served(server, SIGTERM, "serving clock\n310 answers\n");
	stop(broker);
}

static void test_askers_at_once(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct program *server = serve(broker), *askers[3];
	time_t start = time(NULL);

	for (unsigned i = 0; i < ARRAY_LEN(askers); i++)
		askers[i] = program_start_as(
			broker, &timed_config, "-t", PATIENCE, "ask", "clock", "200");
	for (unsigned i = 0; i < ARRAY_LEN(askers); i++)
		expect_answers(askers[i], 200, start);
	expect_served(server, SIGINT, "serving clock\n600 answers\n");
	stop(broker);
}

static void test_no_server(void **state)
{
	struct broker *broker = broker_start(NULL);

	program_check_as(broker, &timed_config, 1, "", "",
		"timed: no answer: is anybody serving clock?\n", "-t", SHORT, "ask", "clock");
	stop(broker);
}

/* ---- both ---- */

static void test_no_broker(void **state)
{
	struct broker *broker = broker_new();

	program_check_as(broker, &counter_config, 1, "", "", "counter: no broker answers at ~\n",
		"table", "ann1", "10", "ann1", "b0b");
	program_check_as(broker, &timed_config, 1, "", "", "timed: no broker answers at ~\n", "ask",
		"clock");
}

static void test_usage(void **state)
{
	static const char *const of_counter[][8] = {
		{ NULL },
		{ "table", "ann1", "10", "ann1" },
		{ "table", "ann1", "0", "ann1", "b0b" },
		{ "table", "c4t", "10", "ann1", "b0b" },
		{ "-t", "0", "table", "ann1", "10", "ann1", "b0b" },
		{ "-x", "table", "ann1", "10", "ann1", "b0b" },
	};
	static const char *const of_timed[][5] = {
		{ NULL },
		{ "ask" },
		{ "serve", "clock", "10" },
		{ "ask", "clock", "0" },
		{ "-t", "x", "ask", "clock" },
	};
	struct broker *broker = broker_new();

	for (size_t i = 0; i < ARRAY_LEN(of_counter); i++)
		program_check_with(
			broker, &counter_config, 64, "", "", "~usage: counter ~\n", of_counter[i]);
	for (size_t i = 0; i < ARRAY_LEN(of_timed); i++)
		program_check_with(
			broker, &timed_config, 64, "", "", "~usage: timed ~\n", of_timed[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		PROGRAM_TEST(test_two_writers),
		PROGRAM_TEST(test_three_writers),
		PROGRAM_TEST(test_one_without),
		PROGRAM_TEST(test_killed_writer),
		PROGRAM_TEST(test_lone_writer),
		PROGRAM_TEST(test_ask),
		PROGRAM_TEST(test_askers_at_once),
		PROGRAM_TEST(test_no_server),
		PROGRAM_TEST(test_no_broker),
		PROGRAM_TEST(test_usage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
