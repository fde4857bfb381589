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
		cmocka_unit_test_setup_teardown(test_long, capture, release),
		cmocka_unit_test_setup_teardown(test_full, capture, release),
		cmocka_unit_test_setup_teardown(test_rate, capture, release),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
