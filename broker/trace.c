/* trace.c - see trace.h. The one global of the broker: there is one stderr. */
#include "broker/trace.h"

#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

/* What one event may say at the most, before escaping. */
#define LINE_MAX_LEN 900

/* Lines a second, and in one burst: enough for a busy day, too few to fill a
 * disk; a hostile client gets its own line and no more. */
#define LINES_PER_S 100
#define LINES_BURST 1000

static const char *const level_names[] = {
	[TRACE_ERROR] = "error",
	[TRACE_WARNING] = "warning",
	[TRACE_INFO] = "info",
	[TRACE_DEBUG] = "debug",
};

static struct {
	enum trace_level level;
	uint64_t tokens; /* thousandths of a line */
	uint64_t at_ms;
	uint64_t n_lost;
} state = { .level = TRACE_INFO, .tokens = LINES_BURST * 1000 };

void trace_set_level(enum trace_level level)
{
	state.level = level;
}

bool trace_find_level(struct text name, enum trace_level *ret_level)
{
	for (size_t i = 0; i < ARRAY_LEN(level_names); i++)
		if (text_equal(name, text_of(level_names[i]))) {
			*ret_level = (enum trace_level)i;
			return true;
		}
	return false;
}

/* The last of the burst is for errors: warnings are what a hostile client can cause. */
#define LINES_FOR_ERRORS 100

static bool trace_take_token(enum trace_level level)
{
	uint64_t keep = level == TRACE_ERROR ? 0 : LINES_FOR_ERRORS;

	struct timespec ts;
	uint64_t now;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	now = (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
	state.tokens =
		MIN(state.tokens + (now - state.at_ms) * LINES_PER_S, (uint64_t)LINES_BURST * 1000);
	state.at_ms = now;
	if (state.tokens < (keep + 1) * 1000)
		return false;
	state.tokens -= 1000;
	return true;
}

/* A pipe that polls writable takes PIPE_BUF bytes without blocking, a terminal
 * that is stopped does not poll writable: so ask first. */
static bool trace_write(const char *line, size_t len)
{
	struct pollfd fd = { .fd = STDERR_FILENO, .events = POLLOUT };

	return poll(&fd, 1, 0) == 1 && (fd.revents & POLLOUT) &&
	       write(STDERR_FILENO, line, len) == (ssize_t)len;
}

void trace(enum trace_level level, const char *format, ...)
{
	char plain[LINE_MAX_LEN], line[64 + TEXT_ESCAPED_MAX(LINE_MAX_LEN)];
	size_t len;
	va_list ap;
	int n;

	if (level > state.level)
		return;
	if (!trace_take_token(level)) {
		state.n_lost++;
		return;
	}
	va_start(ap, format);
	n = vsnprintf(plain, sizeof plain, format, ap);
	va_end(ap);
	if (n < 0)
		return;
	len = (size_t)snprintf(line, 64, "chat-broker: %s%s",
		level == TRACE_INFO ? "" : level_names[level], level == TRACE_INFO ? "" : ": ");
	len += text_escape(line + len, (struct text){ plain, MIN((size_t)n, sizeof plain - 1) });
	line[len++] = '\n';
	if (state.n_lost > 0) {
		char lost[80];
		int k = snprintf(lost, sizeof lost,
			"chat-broker: warning: %lu lines were left out here\n",
			(unsigned long)state.n_lost);

		if (trace_write(lost, (size_t)k))
			state.n_lost = 0;
	}
	if (!trace_write(line, len))
		state.n_lost++;
}
