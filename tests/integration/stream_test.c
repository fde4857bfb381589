/* stream_test.c - many who say and listen at once, and a broker that is killed under
 * them: nothing is doubled, and nothing is lost without a word. chat-client(1). */
#include "tests/integration/program.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define N_SPEAKERS  20
#define N_LINES     1000
#define N_LISTENERS 3

/* The lines "SPEAKER NUMBER\n", from FIRST to LAST; to be freed. */
static char *make_lines(unsigned speaker, unsigned first, unsigned last)
{
	char *lines = NULL;
	size_t len;
	FILE *out = open_memstream(&lines, &len);

	for (unsigned i = first; i <= last; i++)
		fprintf(out, "%u %u\n", speaker, i);
	fclose(out);
	return lines;
}

/* Each speaker's lines are all there, once, and in the order in which they were said. */
static void check_complete(const char *text, unsigned n_speakers, unsigned n_lines)
{
	unsigned next[N_SPEAKERS] = { 0 }, speaker, line;
	const char *at = text;
	int n;

	for (; sscanf(at, "%u %u\n%n", &speaker, &line, &n) == 2; at += n) {
		assert_true(speaker < n_speakers);
		if (line != ++next[speaker])
			fail_msg("of speaker %u came %u, not %u", speaker, line, next[speaker]);
	}
	assert_int_equal(*at, '\0');
	for (unsigned i = 0; i < n_speakers; i++)
		assert_int_equal(next[i], n_lines);
}

static void test_many(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct program *listeners[N_LISTENERS], *speakers[N_SPEAKERS];
	char count[16];

	snprintf(count, sizeof count, "%d", N_SPEAKERS * N_LINES);
	for (int i = 0; i < N_LISTENERS; i++) {
		listeners[i] = program_start(
			broker, "listen", "--raw", "--count", count, "--timeout", "60", "room");
		program_wait_err(listeners[i], "listening room from 1\n");
	}
	for (unsigned i = 0; i < N_SPEAKERS; i++)
		speakers[i] = program_start(broker, "say", "room");
	for (unsigned i = 0; i < N_SPEAKERS; i++) {
		char *lines = make_lines(i, 1, N_LINES);

		program_put(speakers[i], lines, strlen(lines));
		program_put_end(speakers[i]);
		free(lines);
	}
	for (unsigned i = 0; i < N_SPEAKERS; i++)
		program_expect_exit(speakers[i], 0);
	for (int i = 0; i < N_LISTENERS; i++)
		program_expect_exit(listeners[i], 0);
	check_complete(listeners[0]->out.text, N_SPEAKERS, N_LINES);
	for (int i = 1; i < N_LISTENERS; i++)
		assert_string_equal(listeners[i]->out.text, listeners[0]->out.text);
	broker_stop(broker);
}

static void restart(struct broker *broker)
{
	broker_kill9(broker);
	broker_spawn_here(broker, NULL);
	broker_wait_ready(broker);
}

/* Said before, while, and after the broker is away; the listener is there all the time
 * and has read what was acknowledged. */
static void test_broker_is_killed(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct program *listener = program_start(broker, "listen", "--raw", "room");
	struct program *say = program_start(broker, "say", "room");
	char *lines;

	program_wait_err(listener, "listening room from 1\n");
	for (unsigned round = 0; round < 3; round++) {
		lines = make_lines(0, round * 300 + 1, round * 300 + 100);
		program_put(say, lines, strlen(lines));
		free(lines);
		program_wait_lines(listener, round * 300 + 100);
		broker_kill9(broker);
		program_wait_err(say, "connection lost");
		lines = make_lines(0, round * 300 + 101, round * 300 + 200);
		program_put(say, lines, strlen(lines));
		free(lines);
		broker_spawn_here(broker, NULL);
		broker_wait_ready(broker);
		program_wait_lines(listener, round * 300 + 200);
		lines = make_lines(0, round * 300 + 201, round * 300 + 300);
		program_put(say, lines, strlen(lines));
		free(lines);
		program_wait_lines(listener, round * 300 + 300);
	}
	program_put_end(say);
	program_expect_exit(say, 0);
	check_complete(listener->out.text, 1, 900);
	program_wait_err(listener, "room: the log begins anew (reset)");
	kill(listener->pid, SIGKILL);
	broker_stop(broker);
}

/* The broker is killed in the middle of a stream. What it had acknowledged and not yet
 * delivered went with it; everything else arrives, once and in order. */
static void test_broker_is_killed_in_the_middle(void **state)
{
	for (unsigned round = 0; round < 8; round++) {
		struct broker *broker = broker_start(NULL);
		struct program *listener = program_start(broker, "listen", "--raw", "room");
		struct program *say;
		char *lines = make_lines(0, 1, 20000), *more;
		unsigned line, last = 0, speaker, n_holes = 0;
		const char *at;
		int n;

		program_wait_err(listener, "listening room from 1\n");
		say = program_start(broker, "say", "room");
		program_put(say, lines, strlen(lines));
		program_wait_lines(listener, 500 + round * 700);
		restart(broker);
		more = make_lines(0, 20001, 20100);
		program_put(say, more, strlen(more));
		program_put_end(say);
		program_expect_exit(say, 0);
		program_wait_out(listener, "0 20100\n");
		for (at = listener->out.text; sscanf(at, "%u %u\n%n", &speaker, &line, &n) == 2;
			at += n) {
			if (line <= last)
				fail_msg("line %u again, after %u", line, last);
			n_holes += line > last + 1;
			last = line;
		}
		assert_int_equal(last, 20100);
		/* what was lost stood in one piece at the end of the old log, and it was said */
		assert_true(n_holes <= 1);
		program_wait_err(listener, "room: the log begins anew (reset)");
		free(lines);
		free(more);
		broker_stop(broker);
		program_teardown(state);
	}
}

/* A listener that starts late gets the same, from the log. */
static void test_late_listener(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct program *listener;
	char *lines = make_lines(0, 1, 20000);

	program_check(broker, 0, lines, "", "", "say", "room");
	listener = program_start(broker, "listen", "--raw", "--last", "20000", "--count", "20000",
		"--timeout", "30", "room");
	program_expect_exit(listener, 0);
	assert_string_equal(listener->out.text, lines);
	free(lines);
	broker_stop(broker);
}

/* A listener that is stopped holds nobody up, and misses nothing that is kept. */
static void test_stopped_listener(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct program *slow = program_start(broker, "listen", "--raw", "--count", "20000", "room");
	struct program *fast = program_start(broker, "listen", "--raw", "--count", "20000", "room");
	char *lines = make_lines(0, 1, 20000);

	program_wait_err(slow, "listening room from 1\n");
	program_wait_err(fast, "listening room from 1\n");
	kill(slow->pid, SIGSTOP);
	child_expect_stopped(slow->pid);
	program_check(broker, 0, lines, "", "", "say", "room");
	program_expect_exit(fast, 0);
	assert_string_equal(fast->out.text, lines);
	kill(slow->pid, SIGCONT);
	program_expect_exit(slow, 0);
	assert_string_equal(slow->out.text, lines);
	free(lines);
	broker_stop(broker);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		PROGRAM_TEST(test_many),
		PROGRAM_TEST(test_broker_is_killed),
		PROGRAM_TEST(test_broker_is_killed_in_the_middle),
		PROGRAM_TEST(test_late_listener),
		PROGRAM_TEST(test_stopped_listener),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
