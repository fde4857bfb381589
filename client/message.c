/* message.c - see message.h. The LF is found first and then stops every loop, so
 * none of them has to look at the end. */
#include "client/message.h"

#include "protocol/base.h"
#include "protocol/number.h"

#define DIGITS_MAX 19 /* any number of so many digits fits 64 bits */

/* Eight digits at once (the bytes are little-endian, see record.c): a time has 19. */
static bool digits_are_eight(uint64_t bytes)
{
	return ((bytes & 0xf0f0f0f0f0f0f0f0u) == 0x3030303030303030u) &&
	       (((bytes + 0x0606060606060606u) & 0xf0f0f0f0f0f0f0f0u) == 0x3030303030303030u);
}

static uint64_t digits_of_eight(uint64_t bytes)
{
	bytes = (bytes & 0x0f0f0f0f0f0f0f0fu) * 2561 >> 8;
	bytes = (bytes & 0x00ff00ff00ff00ffu) * 6553601 >> 16;
	return (bytes & 0x0000ffff0000ffffu) * 42949672960001u >> 32;
}

/* Read digits and the one character that must follow, SPACE or LF, which is before
 * END. NULL if not so. */
static const char *number_word(const char *p, const char *end, uint64_t *ret_value)
{
	const char *start = p;
	uint64_t value = 0;
	uint64_t bytes;
	unsigned digit;

	while (end - p >= 8) {
		memcpy(&bytes, p, 8);
		if (!digits_are_eight(bytes))
			break;
		value = value * 100000000 + digits_of_eight(bytes);
		p += 8;
	}
	while ((digit = (unsigned)(unsigned char)*p - '0') <= 9) {
		value = value * 10 + digit;
		p++;
	}
	if (p == start || p - start > DIGITS_MAX || (*p != ' ' && *p != '\n'))
		return NULL;
	*ret_value = value;
	return p;
}

/* The same for a time, which has 19 digits until the year 2286. */
#define TIME_LEN 19

static const char *time_word(
	const char *p, const char *end, struct message_memo *memo, uint64_t *ret_time)
{
	const char *start = p;

	if (end - p >= TIME_LEN && memcmp(p, memo->time_text, TIME_LEN) == 0 &&
		p[TIME_LEN] == ' ') {
		*ret_time = memo->time;
		return p + TIME_LEN;
	}
	p = number_word(p, end, ret_time);
	if (p && p - start == TIME_LEN) {
		memcpy(memo->time_text, start, TIME_LEN);
		memo->time = *ret_time;
	}
	return p;
}

static bool label_read(struct text word, struct message_memo *memo, uint64_t *ret_label)
{
	if (word.len != NUMBER_HEX_LEN)
		return number_parse_hex(word, ret_label);
	if (memcmp(word.data, memo->label_text, NUMBER_HEX_LEN) != 0) {
		if (!number_parse_hex(word, &memo->label))
			return false;
		memcpy(memo->label_text, word.data, NUMBER_HEX_LEN);
	}
	*ret_label = memo->label;
	return true;
}

static const char *word_end(const char *p)
{
	while (*p != ' ' && *p != '\n')
		p++;
	return p;
}

/* "PUB:N". A publisher may have chosen any label and number: one that can not be
 * read only means that nothing is known of it. */
static void message_read_publisher(
	struct message *message, struct text word, struct message_memo *memo)
{
	const char *colon = memchr(word.data, ':', word.len), *end = word.data + word.len;

	if (!colon || !label_read((struct text){ word.data, (size_t)(colon - word.data) }, memo,
			      &message->label))
		return;
	/* the short way, then the one that knows numbers of 20 digits */
	message->has_publisher =
		number_word(colon + 1, end, &message->n) == end ||
		number_parse((struct text){ colon + 1, (size_t)(end - colon) - 1 }, &message->n);
}

static void message_read_word(struct message *message, struct text word, struct message_memo *memo)
{
	if (word.len > 2 && memcmp(word.data, "p=", 2) == 0)
		message_read_publisher(message, (struct text){ word.data + 2, word.len - 2 }, memo);
	else if (word.len > 3 && memcmp(word.data, "of=", 3) == 0)
		message->of = (struct text){ word.data + 3, word.len - 3 };
}

/* The line that would come next is not this one any more, but the one after it. */
static void memo_count(struct message_memo *memo)
{
	memo->seq++;
	memo->n++;
	if (!number_count(memo->line + memo->seq_at, memo->seq_len) ||
		!number_count(memo->line + memo->n_at, memo->n_len))
		memo->line_len = 0;
}

/* Is FRAME what was expected next? */
static bool message_is_next(struct message *message, struct text frame, struct message_memo *memo)
{
	if (memo->line_len == 0 || frame.len < memo->line_len ||
		memcmp(frame.data, memo->line, memo->line_len) != 0)
		return false;
	*message = (struct message){
		.target = { frame.data + 4, memo->target_len },
		.name = { frame.data + memo->name_at, memo->name_len },
		.of = { memo->of_at > 0 ? frame.data + memo->of_at : NULL, memo->of_len },
		.body = { frame.data + memo->line_len, frame.len - memo->line_len },
		.seq = memo->seq,
		.time = memo->time,
		.uid = memo->uid,
		.has_publisher = true,
		.label = memo->label,
		.n = memo->n,
	};
	memo_count(memo);
	return true;
}

/* Expect that the next line is like the one of MESSAGE, whose last word is LAST. */
static void memo_expect(struct message_memo *memo, const struct message *message, struct text frame,
	struct text last)
{
	size_t line_len = (size_t)(message->body.data - frame.data);
	uint64_t n;

	/* the publisher is the last word, in its usual form, and both are remembered */
	if (!message->has_publisher || line_len > sizeof memo->line ||
		last.len <= 3 + NUMBER_HEX_LEN || last.data[2 + NUMBER_HEX_LEN] != ':' ||
		memcmp(last.data, "p=", 2) != 0 ||
		memcmp(last.data + 2, memo->label_text, NUMBER_HEX_LEN) != 0 ||
		message->label != memo->label || message->time != memo->time)
		return;
	memo->n_at = (size_t)(last.data - frame.data) + 3 + NUMBER_HEX_LEN;
	memo->n_len = line_len - 1 - memo->n_at;
	memo->target_len = message->target.len;
	memo->seq_at = 4 + memo->target_len + 1;
	memo->seq_len = (size_t)((const char *)memchr(frame.data + memo->seq_at, ' ', line_len) -
				 frame.data) -
			memo->seq_at;
	if (memo->n_len > DIGITS_MAX ||
		!number_parse((struct text){ frame.data + memo->n_at, memo->n_len }, &n) ||
		n != message->n)
		return;
	memo->name_at = (size_t)(message->name.data - frame.data);
	memo->name_len = message->name.len;
	memo->of_at = message->of.data ? (size_t)(message->of.data - frame.data) : 0;
	memo->of_len = message->of.len;
	memo->seq = message->seq;
	memo->n = message->n;
	memo->uid = message->uid;
	memcpy(memo->line, frame.data, line_len);
	memo->line_len = line_len;
	memo_count(memo);
}

int message_parse(struct message *ret_message, struct text frame, struct message_memo *memo)
{
	struct message *message = ret_message;
	const char *p = frame.data + 4, *start = p, *line_end;
	struct text last = { "", 0 };
	uint64_t uid;

	if (message_is_next(message, frame, memo))
		return 0;
	memo->line_len = 0;
	line_end = memchr(frame.data, '\n', MIN(frame.len, (size_t)LINE_LEN_MAX + 1));
	if (!line_end)
		return MESSAGE_E_MALFORMED;
	p = word_end(p);
	message->target = (struct text){ start, (size_t)(p - start) };
	if (*p != ' ' || message->target.len == 0)
		return MESSAGE_E_MALFORMED;
	p = number_word(p + 1, line_end, &message->seq);
	if (!p || *p != ' ')
		return MESSAGE_E_MALFORMED;
	p = time_word(p + 1, line_end, memo, &message->time);
	if (!p || *p != ' ')
		return MESSAGE_E_MALFORMED;
	start = p + 1;
	p = word_end(start);
	message->name = (struct text){ start, (size_t)(p - start) };
	if (*p != ' ' || message->name.len == 0)
		return MESSAGE_E_MALFORMED;
	p = number_word(p + 1, line_end, &uid);
	if (!p || uid > UINT32_MAX || message->seq == 0)
		return MESSAGE_E_MALFORMED;
	message->uid = (uid_t)uid;
	message->of = (struct text){ NULL, 0 };
	message->has_publisher = false;
	message->label = message->n = 0;
	while (*p == ' ') {
		start = p + 1;
		p = word_end(start);
		last = (struct text){ start, (size_t)(p - start) };
		message_read_word(message, last, memo);
	}
	message->body = (struct text){ p + 1, frame.len - (size_t)(p - frame.data) - 1 };
	memo_expect(memo, message, frame, last);
	return 0;
}
