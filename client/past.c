/* past.c - see past.h. */
#include "client/past.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/ask.h"
#include "protocol/base.h"
#include "protocol/limits.h"
#include "protocol/number.h"

/* Pages that take all of their time, of one answer: a broker that means harm has pages without
 * end. */
#define PAGES_SLOW_MAX 60

struct past {
	struct chat *chat;
	past_event_fn *tell;
	void *userdata;
	uint64_t n_rows, max; /* more than MAX are not told, whatever the broker sends */

	/* rows that are told in the other order: owned */
	struct text *rows;
	size_t n_kept;
	bool is_kept, is_short;
};

static void copy_word(char *dst, size_t size, struct text word)
{
	snprintf(dst, size, "%.*s", (int)word.len, word.data ? word.data : "");
}

/* What is shown of a target: a conversation is called after the other side. */
static void show_target(char *dst, size_t size, struct text target, const char *own)
{
	struct text a, b;

	if (!text_is_conversation(target, &a, &b)) {
		copy_word(dst, size, target);
		return;
	}
	*dst = '@';
	copy_word(dst + 1, size - 1, text_equal(a, text_of(own)) ? b : a);
}

/* "MSG target SEQ TIME NAME UID [of=USER] [p=PUB:N] LF body" */
static void past_tell(struct past *past, struct text row)
{
	const char *lf = memchr(row.data, '\n', row.len), *end = row.data + row.len;
	struct text line = { row.data, (size_t)((lf ? lf : end) - row.data) }, uid_word, of_word;
	char target[TARGET_LEN_MAX + 1], name[NAME_LEN_MAX + 1], of[NAME_LEN_MAX + 1];
	struct chat_event event = { .type = CHAT_MESSAGE, .target = target, .name = name };
	uint64_t uid;

	if (!text_equal(row_word(&line), TEXT("MSG")))
		return;
	show_target(target, sizeof target, row_word(&line), chat_name(past->chat));
	if (!number_parse(row_word(&line), &event.seq) ||
		!number_parse(row_word(&line), &event.time))
		return;
	copy_word(name, sizeof name, row_word(&line));
	uid_word = row_word(&line);
	of_word = row_value(line, "of=");
	copy_word(of, sizeof of, of_word);
	if (!number_parse(uid_word, &uid))
		return;
	event.uid = (uid_t)uid;
	event.of = of_word.len > 0 ? of : NULL;
	event.body = lf ? lf + 1 : "";
	event.len = lf ? (size_t)(end - event.body) : 0;
	past->tell(past->userdata, &event);
}

static void past_keep(struct past *past, struct text row)
{
	struct text *rows = reallocarray(past->rows, past->n_kept + 1, sizeof *rows);
	char *copy = malloc(row.len);

	if (rows)
		past->rows = rows;
	past->is_short |= !rows || !copy;
	if (!rows || !copy) {
		free(copy);
		return;
	}
	memcpy(copy, row.data, row.len);
	rows[past->n_kept++] = (struct text){ copy, row.len };
}

static void past_row(void *userdata, const char *row, size_t len)
{
	struct past *past = userdata;

	if (past->n_rows == past->max)
		return;
	past->n_rows++;
	if (past->is_kept)
		past_keep(past, (struct text){ row, len });
	else
		past_tell(past, (struct text){ row, len });
}

/* The next= of ANSWER: 0 when there is none. */
static uint64_t answer_next(const char *answer)
{
	uint64_t next = 0;

	return number_parse(row_value(text_of(answer), "next="), &next) ? next : 0;
}

static void end_row(void *userdata, const char *row, size_t len)
{
	(void)number_parse(row_value((struct text){ row, len }, "next="), userdata);
}

/* The number that the next message of TARGET gets: 0 when the broker does not say. Returns 0 or
 * -errno, as chat_request() does. */
static int past_end(struct chat *chat, const char *target, int timeout_ms, uint64_t *ret_next,
	const char **ret_answer)
{
	char request[LINE_LEN_MAX];
	int r;

	*ret_next = 0;
	snprintf(request, sizeof request, "ROOMS %s", target);
	r = chat_request(chat, request, NULL, 0, timeout_ms, end_row, ret_next, ret_answer);
	return r < 0 ? r : 0; /* PAST says why it is refused */
}

int past_read(struct chat *chat, const char *target, const struct past_range *range, int timeout_ms,
	past_event_fn *tell, void *userdata, const char **ret_answer)
{
	struct past past = { .chat = chat,
		.tell = tell,
		.userdata = userdata,
		.max = range->has_last ? range->last : UINT64_MAX };
	uint64_t end = ask_now_ms() + PAGES_SLOW_MAX * (uint64_t)timeout_ms;
	uint64_t last_next = 0, next = 0, before;
	char request[LINE_LEN_MAX], to[32] = "";
	int n, r;

	/* the end is a number: a clock that is set does not move it */
	r = past_end(chat, target, timeout_ms, &last_next, ret_answer);
	if (r)
		return r;
	if (last_next > 0) /* 1 of an empty room */
		snprintf(to, sizeof to, " to=%" PRIu64, last_next > 1 ? last_next - 1 : last_next);
	n = snprintf(request, sizeof request, "PAST %s%s", target, to);
	if (range->has_since)
		n += snprintf(
			request + n, sizeof request - (size_t)n, " from=@%" PRIu64, range->since);
	if (range->has_last)
		snprintf(request + n, sizeof request - (size_t)n, " last=%" PRIu64, range->last);
	do {
		r = chat_request(chat, request, NULL, 0, MIN(timeout_ms, ask_left_ms(end)),
			past_row, &past, ret_answer);
		if (r)
			return r;
		before = next;
		next = answer_next(*ret_answer);
		snprintf(request, sizeof request, "PAST %s from=%" PRIu64 "%s", target, next, to);
	} while (next > before && past.n_rows < past.max && ask_left_ms(end) > 0);
	return 0;
}

int past_find(struct chat *chat, const char *target, const char *text, uint64_t max, int timeout_ms,
	past_event_fn *tell, void *userdata, const char **ret_answer)
{
	struct past past = {
		.chat = chat, .tell = tell, .userdata = userdata, .max = max, .is_kept = true
	};
	uint64_t end = ask_now_ms() + PAGES_SLOW_MAX * (uint64_t)timeout_ms;
	uint64_t next = 0, before;
	char request[LINE_LEN_MAX];
	int r;

	do {
		int n = snprintf(
			request, sizeof request, "FIND %s max=%" PRIu64, target, max - past.n_rows);

		if (next > 0)
			snprintf(request + n, sizeof request - (size_t)n, " from=%" PRIu64, next);
		r = chat_request(chat, request, text, strlen(text),
			MIN(timeout_ms, ask_left_ms(end)), past_row, &past, ret_answer);
		before = next > 0 ? next : UINT64_MAX;
		next = r == 0 ? answer_next(*ret_answer) : 0;
	} while (next > 0 && next < before && past.n_rows < max && !past.is_short &&
		 ask_left_ms(end) > 0);
	while (past.n_kept-- > 0) {
		if (r == 0 && !past.is_short)
			past_tell(&past, past.rows[past.n_kept]);
		free((char *)past.rows[past.n_kept].data);
	}
	free(past.rows);
	return past.is_short ? -ENOMEM : r;
}
