/* trace_test.c - one safe line for each event, not too many, and never a wait. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "broker/trace.h"

static int saved = -1, pipe_fds[2];

/* stderr is a pipe that nobody reads in time. */
static int capture(void **state)
{
	assert_int_equal(pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK), 0);
	saved = dup(STDERR_FILENO);
	assert_int_equal(dup2(pipe_fds[1], STDERR_FILENO), STDERR_FILENO);
	return 0;
}

static int release(void **state)
{
	trace_set_level(TRACE_INFO);
	dup2(saved, STDERR_FILENO);
	close(saved);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	return 0;
}

/* What was written so far. */
static const char *captured(void)
{
	static char text[1 << 20];
	size_t len = 0;
	ssize_t n;

	while ((n = read(pipe_fds[0], text + len, sizeof text - 1 - len)) > 0)
		len += (size_t)n;
	text[len] = '\0';
	return text;
}

static void test_lines(void **state)
{
	trace(TRACE_INFO, "ready socket=%s", "/tmp/x");
	assert_string_equal(captured(), "chat-broker: ready socket=/tmp/x\n");
	trace(TRACE_WARNING, "w");
	trace(TRACE_ERROR, "e");
	assert_string_equal(captured(), "chat-broker: warning: w\nchat-broker: error: e\n");
	/* whatever a client put in it, it is one line */
	trace(TRACE_INFO, "reason=\"%s\"", "a\nchat-broker: forged\x1b[2J\xff\xe2\x80\xae");
	assert_string_equal(captured(),
		"chat-broker: reason=\"a\\nchat-broker: forged\\x1b[2J\\xff\\xe2\\x80\\xae\"\n");
}

static void test_levels(void **state)
{
	static const struct {
		const char *name;
		enum trace_level level;
		const char *lines;
	} table[] = {
		{ "error", TRACE_ERROR, "chat-broker: error: 0\n" },
		{ "warning", TRACE_WARNING, "chat-broker: error: 0\nchat-broker: warning: 1\n" },
		{ "info", TRACE_INFO,
			"chat-broker: error: 0\nchat-broker: warning: 1\nchat-broker: 2\n" },
		{ "debug", TRACE_DEBUG,
			"chat-broker: error: 0\nchat-broker: warning: 1\nchat-broker: 2\n"
			"chat-broker: debug: 3\n" },
	};
	enum trace_level level = TRACE_DEBUG;

	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		assert_true(trace_find_level(text_of(table[i].name), &level));
		assert_int_equal(level, table[i].level);
		trace_set_level(level);
		for (int k = TRACE_ERROR; k <= TRACE_DEBUG; k++)
			trace((enum trace_level)k, "%d", k);
		assert_string_equal(captured(), table[i].lines);
	}
	assert_false(trace_find_level(TEXT(""), &level));
	assert_false(trace_find_level(TEXT("errors"), &level));
	assert_false(trace_find_level(TEXT("Error"), &level));
	assert_int_equal(level, TRACE_DEBUG);
}

/* As if time had gone by. */
static void share_rest(struct trace_share *share, uint64_t ms)
{
	share->bucket.at_ms -= ms;
}

static void share_make(struct trace_share *share, const char *source)
{
	trace_share_init(share, 3, 1);
	trace_share_name(share, "%s", source);
}

/* Lines above a share are left out, and counted before the next line of that share. */
static void test_share(void **state)
{
	struct trace_share one, two;

	share_make(&one, "uid=1");
	share_make(&two, "uid=2");
	for (int i = 0; i < 5; i++)
		trace_shared(&one, TRACE_WARNING, "one %d", i);
	assert_string_equal(captured(), "chat-broker: warning: one 0\nchat-broker: warning: one 1\n"
					"chat-broker: warning: one 2\n");
	/* that of another is not less for it */
	trace_shared(&two, TRACE_INFO, "two");
	assert_string_equal(captured(), "chat-broker: two\n");
	/* there must be room for the count, too */
	share_rest(&one, 1000);
	trace_shared(&one, TRACE_WARNING, "one");
	assert_string_equal(captured(), "");
	share_rest(&one, 1000);
	trace_shared(&one, TRACE_ERROR, "one");
	assert_string_equal(captured(), "chat-broker: warning: uid=1: 3 lines were left out\n"
					"chat-broker: error: one\n");
	trace_shared(&one, TRACE_WARNING, "one");
	assert_string_equal(captured(), "");
	share_rest(&one, 1000000);
	trace_share_deinit(&one);
	assert_string_equal(captured(), "chat-broker: warning: uid=1: 1 lines were left out\n");
	trace_share_deinit(&two);
	assert_string_equal(captured(), "");
	/* one that was never begun */
	one = (struct trace_share){ 0 };
	trace_share_deinit(&one);
}

/* Of a share that is quiet the count is written, too, and not while lines still come. */
static void test_share_is_quiet(void **state)
{
	struct trace_share share;
	uint64_t wait;

	share_make(&share, "uid=1");
	assert_int_equal(trace_patience(), UINT64_MAX);
	for (int i = 0; i < 7; i++)
		trace_shared(&share, TRACE_WARNING, "x");
	(void)captured();
	wait = trace_patience();
	assert_in_range(wait, UINT64_C(2900000000), UINT64_C(3001000000));
	share_rest(&share, 2000);
	assert_in_range(trace_patience(), UINT64_C(900000000), UINT64_C(1001000000));
	assert_string_equal(captured(), "");
	share_rest(&share, 1000);
	assert_int_equal(trace_patience(), UINT64_MAX);
	assert_string_equal(captured(), "chat-broker: warning: uid=1: 4 lines were left out\n");
	assert_int_equal(trace_patience(), UINT64_MAX);
	trace_share_deinit(&share);
	assert_string_equal(captured(), "");
}

/* A count for which there is no room is tried again, and is whole then. */
static void test_share_is_stuck(void **state)
{
	struct trace_share share;
	char bytes[65536] = { 0 };

	share_make(&share, "uid=1");
	for (int i = 0; i < 5; i++)
		trace_shared(&share, TRACE_WARNING, "x");
	while (write(pipe_fds[1], bytes, 4096) > 0)
		;
	share_rest(&share, 3000);
	assert_int_equal(trace_patience(), UINT64_C(1000000000));
	assert_int_equal(share.n_lost, 2);
	(void)captured();
	share_rest(&share, 3000);
	assert_int_equal(trace_patience(), UINT64_MAX);
	assert_non_null(strstr(captured(), "uid=1: 2 lines were left out\n"));
	trace_share_deinit(&share);
}

/* Debugging leaves half of a share for what matters more. */
static void test_share_of_debugging(void **state)
{
	struct trace_share share;
	const char *at;
	unsigned n = 0;

	trace_set_level(TRACE_DEBUG);
	trace_share_init(&share, 10, 1);
	trace_share_name(&share, "uid=1");
	for (int i = 0; i < 100; i++)
		trace_shared(&share, TRACE_DEBUG, "x");
	for (at = captured(); (at = strchr(at, '\n')); at++)
		n++;
	assert_in_range(n, 45, 55);
	trace_shared(&share, TRACE_WARNING, "what matters");
	assert_non_null(strstr(captured(), "chat-broker: warning: what matters\n"));
	/* lines below the level are not counted */
	trace_set_level(TRACE_ERROR);
	share.n_lost = 0;
	list_unlink(&share.lossy_link);
	trace_shared(&share, TRACE_DEBUG, "x");
	assert_int_equal(share.n_lost, 0);
	trace_share_deinit(&share);
}

/* The longest there is, each byte of it escaped, is one write that a pipe takes whole. */
static void test_long(void **state)
{
	char bytes[5000];
	const char *line;

	memset(bytes, 1, sizeof bytes - 1);
	bytes[sizeof bytes - 1] = '\0';
	trace(TRACE_INFO, "%s", bytes);
	line = captured();
	assert_true(strlen(line) > 3000 && strlen(line) <= 4096);
	assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
}

/* A reader that stopped costs lines, no time; it is told how many. */
static void test_full(void **state)
{
	const char *text, *at;
	unsigned n_lines = 0, n_lost = 0;

	for (int i = 0; i < 600; i++)
		trace(TRACE_INFO, "%0200d", i);
	text = captured();
	for (at = text; (at = strchr(at, '\n')); at++)
		n_lines++;
	assert_true(n_lines < 600);
	trace(TRACE_INFO, "more");
	text = captured();
	assert_int_equal(
		sscanf(text, "chat-broker: warning: %u lines were left out here\n", &n_lost), 1);
	assert_int_equal(n_lines + n_lost, 600);
	assert_non_null(strstr(text, "chat-broker: more\n"));
	trace(TRACE_INFO, "once");
	assert_string_equal(captured(), "chat-broker: once\n");
}

/* More lines than anybody reads are not written: this one comes last, it uses them up. */
static void test_rate(void **state)
{
	unsigned n_lines = 0;

	for (int i = 0; i < 20000; i++) {
		trace(TRACE_INFO, "x");
		n_lines += captured()[0] != '\0';
	}
	assert_true(n_lines <= 2000);
	/* but an error still is: nobody can use that up from outside */
	trace(TRACE_ERROR, "y");
	assert_non_null(strstr(captured(), "chat-broker: error: y\n"));
	/* what a client can cause does not silence what an administrator must see */
	trace(TRACE_ERROR, "disk on fire");
	assert_non_null(strstr(captured(), "error: disk on fire"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_lines, capture, release),
		cmocka_unit_test_setup_teardown(test_levels, capture, release),
		cmocka_unit_test_setup_teardown(test_share, capture, release),
		cmocka_unit_test_setup_teardown(test_share_is_quiet, capture, release),
		cmocka_unit_test_setup_teardown(test_share_is_stuck, capture, release),
		cmocka_unit_test_setup_teardown(test_share_of_debugging, capture, release),
		cmocka_unit_test_setup_teardown(test_long, capture, release),
		cmocka_unit_test_setup_teardown(test_full, capture, release),
		cmocka_unit_test_setup_teardown(test_rate, capture, release),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
