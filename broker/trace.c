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

/* Of a line, in a bucket. */
#define LINE_COST 1000

/* Of a line of debugging: there are many, and an administrator has asked for them. */
#define DEBUG_COST 100

/* A share is quiet when it could write so many lines: a user that goes on writes its next
 * line, and the count with it, before that. */
#define QUIET_LINES 3u

/* A count that could not be written is tried again after so long. */
#define RETRY_NS (UINT64_C(1) * 1000000000)

static const char *const level_names[] = {
	[TRACE_ERROR] = "error",
	[TRACE_WARNING] = "warning",
	[TRACE_INFO] = "info",
	[TRACE_DEBUG] = "debug",
};

static struct {
	enum trace_level level;
	struct trace_bucket bucket;
	uint64_t n_lost;
	struct list lossy; /* shares with lines that were left out and not counted out loud yet */
} state = {
	.level = TRACE_INFO,
	.bucket.tokens = LINES_BURST * LINE_COST,
	.lossy = { &state.lossy, &state.lossy },
};

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

/* Lines of the burst that each level leaves to more severe levels: errors go first, debugging
 * last. */
static const unsigned lines_kept[] = {
	[TRACE_ERROR] = 0,
	[TRACE_WARNING] = 100,
	[TRACE_INFO] = 100,
	[TRACE_DEBUG] = 500,
};

static uint64_t trace_clock_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void bucket_fill(struct trace_bucket *bucket, uint64_t burst, uint64_t per_s)
{
	uint64_t now = trace_clock_ms(), full = burst * LINE_COST;

	/* as long as it takes to fill it is enough, and no product wraps */
	bucket->tokens = MIN(
		bucket->tokens + MIN(now - bucket->at_ms, full) * per_s * LINE_COST / 1000, full);
	bucket->at_ms = now;
}

static bool trace_take_token(enum trace_level level)
{
	uint64_t keep = lines_kept[level];

	bucket_fill(&state.bucket, LINES_BURST, LINES_PER_S);
	if (state.bucket.tokens < (keep + 1) * LINE_COST)
		return false;
	state.bucket.tokens -= LINE_COST;
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

/* Returns whether it was written. */
static _printf_(2, 0) bool trace_line(enum trace_level level, const char *format, va_list ap)
{
	char plain[LINE_MAX_LEN], line[64 + TEXT_ESCAPED_MAX(LINE_MAX_LEN)];
	size_t len;
	int n;

	if (!trace_take_token(level)) {
		state.n_lost++;
		return false;
	}
	n = vsnprintf(plain, sizeof plain, format, ap);
	if (n < 0)
		return false;
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
	if (trace_write(line, len))
		return true;
	state.n_lost++;
	return false;
}

void trace(enum trace_level level, const char *format, ...)
{
	va_list ap;

	if (level > state.level)
		return;
	va_start(ap, format);
	(void)trace_line(level, format, ap);
	va_end(ap);
}

/* ---- shares ---- */

void trace_share_init(struct trace_share *share, unsigned burst, unsigned per_s)
{
	*share = (struct trace_share){ .burst = burst,
		.per_s = per_s,
		.bucket = { .tokens = (uint64_t)burst * LINE_COST, .at_ms = trace_clock_ms() } };
	list_init(&share->lossy_link);
}

void trace_share_name(struct trace_share *share, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(share->source, sizeof share->source, format, ap);
	va_end(ap);
}

/* Write the count of missing lines, which is shown at any level. */
static _printf_(1, 2) bool trace_count(const char *format, ...)
{
	va_list ap;
	bool is_written;

	va_start(ap, format);
	is_written = trace_line(TRACE_WARNING, format, ap);
	va_end(ap);
	return is_written;
}

/* Write the count of SHARE, which costs a line of it. Where there is no room for it, it goes
 * on counting. */
static void share_count(struct trace_share *share)
{
	share->bucket.tokens -= MIN(share->bucket.tokens, (uint64_t)LINE_COST);
	if (!trace_count(
		    "%s: %lu lines were left out", share->source, (unsigned long)share->n_lost))
		return;
	share->n_lost = 0;
	list_unlink(&share->lossy_link);
}

void trace_share_deinit(struct trace_share *share)
{
	if (share->n_lost > 0) {
		share_count(share);
		state.n_lost += share->n_lost;
		list_unlink(&share->lossy_link);
	}
	share->n_lost = 0;
}

/* Take what a line costs, if it is there; debugging leaves half for what matters more. */
static bool share_take_token(struct trace_share *share, enum trace_level level)
{
	uint64_t cost = level == TRACE_DEBUG ? DEBUG_COST : LINE_COST;
	uint64_t keep = level == TRACE_DEBUG ? (uint64_t)share->burst * LINE_COST / 2 : 0;
	uint64_t count = share->n_lost > 0 ? LINE_COST : 0; /* its line comes first */

	bucket_fill(&share->bucket, share->burst, share->per_s);
	if (share->bucket.tokens < keep + cost + count)
		return false;
	share->bucket.tokens -= cost;
	return true;
}

void trace_shared(struct trace_share *share, enum trace_level level, const char *format, ...)
{
	va_list ap;

	if (level > state.level)
		return;
	if (!share_take_token(share, level)) {
		share->n_lost++;
		if (!list_is_linked(&share->lossy_link))
			list_append(&state.lossy, &share->lossy_link);
		return;
	}
	if (share->n_lost > 0)
		share_count(share);
	va_start(ap, format);
	(void)trace_line(level, format, ap);
	va_end(ap);
}

uint64_t trace_patience(void)
{
	uint64_t wait = UINT64_MAX;

	list_for_each (link, &state.lossy) {
		struct trace_share *share = container_of(link, struct trace_share, lossy_link);
		uint64_t quiet = MIN(share->burst, QUIET_LINES) * (uint64_t)LINE_COST;

		bucket_fill(&share->bucket, share->burst, share->per_s);
		if (share->bucket.tokens >= quiet) {
			share_count(share);
			if (share->n_lost > 0)
				wait = MIN(wait, RETRY_NS);
			continue;
		}
		wait = MIN(wait,
			((quiet - share->bucket.tokens) / share->per_s + 1) * UINT64_C(1000000));
	}
	return wait;
}
