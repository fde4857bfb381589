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

/* The same person from the same program as the last time: P is behind TIME. False when
 * not so, or not surely. */
static bool message_same_author(struct message *message, struct text frame, const char *p,
	const char *line_end, const struct message_memo *memo)
{
	if (memo->author_len == 0 || (size_t)(line_end - p) <= memo->author_len ||
		memcmp(p, memo->author, memo->author_len) != 0 ||
		number_word(p + memo->author_len, line_end, &message->n) != line_end)
		return false;
	message->name = (struct text){ p + 1, memo->name_len };
	message->uid = memo->author_uid;
	message->of = (struct text){ memo->of_len > 0 ? p + memo->of_at : NULL, memo->of_len };
	message->has_publisher = true;
	message->label = memo->author_label;
	message->body =
		(struct text){ line_end + 1, frame.len - (size_t)(line_end - frame.data) - 1 };
	return true;
}

/* LAST is the last word of the line; P is behind TIME. */
static void message_keep_author(
	const struct message *message, const char *p, struct text last, struct message_memo *memo)
{
	const char *colon = memchr(last.data, ':', last.len);
	size_t len;

	memo->author_len = 0;
	if (!message->has_publisher || !colon || memcmp(last.data, "p=", 2) != 0)
		return;
	len = (size_t)(colon - p) + 1;
	if (len > sizeof memo->author)
		return;
	memcpy(memo->author, p, len);
	memo->author_len = len;
	memo->name_len = message->name.len;
	memo->of_at = message->of.data ? (size_t)(message->of.data - p) : 0;
	memo->of_len = message->of.data ? message->of.len : 0;
	memo->author_uid = message->uid;
	memo->author_label = message->label;
}

int message_parse(struct message *ret_message, struct text frame, struct message_memo *memo)
{
	struct message *message = ret_message;
	const char *p = frame.data + 4, *start = p, *line_end;
	const char *author;
	struct text last = { "", 0 };
	uint64_t uid;

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
	if (message_same_author(message, frame, p, line_end, memo))
		return message->seq == 0 ? MESSAGE_E_MALFORMED : 0;
	author = p;
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
	while (*p == ' ') {
		start = p + 1;
		p = word_end(start);
		last = (struct text){ start, (size_t)(p - start) };
		message_read_word(message, last, memo);
	}
	message_keep_author(message, author, last, memo);
	message->body = (struct text){ p + 1, frame.len - (size_t)(p - frame.data) - 1 };
	return 0;
}
