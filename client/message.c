/* message.c - see message.h. The LF is found first and then stops every loop, so
 * none of them has to look at the end. */
#include "client/message.h"

#include "protocol/base.h"
#include "protocol/number.h"

#define DIGITS_MAX 19 /* any number of so many digits fits 64 bits */

/* Read digits and the one character that must follow, SPACE or LF. NULL if not so. */
static const char *number_word(const char *p, uint64_t *ret_value)
{
	const char *start = p;
	uint64_t value = 0;
	unsigned digit;

	while ((digit = (unsigned)(unsigned char)*p - '0') <= 9) {
		value = value * 10 + digit;
		p++;
	}
	if (p == start || p - start > DIGITS_MAX || (*p != ' ' && *p != '\n'))
		return NULL;
	*ret_value = value;
	return p;
}

static const char *word_end(const char *p)
{
	while (*p != ' ' && *p != '\n')
		p++;
	return p;
}

/* "PUB:N". A publisher may have chosen any label and number: one that can not be
 * read only means that nothing is known of it. */
static void message_read_publisher(struct message *message, struct text word)
{
	const char *colon = memchr(word.data, ':', word.len);

	if (!colon)
		return;
	message->has_publisher =
		number_parse_hex(
			(struct text){ word.data, (size_t)(colon - word.data) }, &message->label) &&
		number_parse((struct text){ colon + 1, word.len - (size_t)(colon - word.data) - 1 },
			&message->n);
}

static void message_read_word(struct message *message, struct text word)
{
	if (word.len > 2 && memcmp(word.data, "p=", 2) == 0)
		message_read_publisher(message, (struct text){ word.data + 2, word.len - 2 });
	else if (word.len > 3 && memcmp(word.data, "of=", 3) == 0)
		message->of = (struct text){ word.data + 3, word.len - 3 };
}

int message_parse(struct message *ret_message, struct text frame)
{
	struct message *message = ret_message;
	const char *p = frame.data + 4, *start = p, *line_end;
	uint64_t uid;

	line_end = memchr(frame.data, '\n', MIN(frame.len, (size_t)LINE_LEN_MAX + 1));
	if (!line_end)
		return MESSAGE_E_MALFORMED;
	p = word_end(p);
	message->target = (struct text){ start, (size_t)(p - start) };
	if (*p != ' ' || message->target.len == 0)
		return MESSAGE_E_MALFORMED;
	p = number_word(p + 1, &message->seq);
	if (!p || *p != ' ')
		return MESSAGE_E_MALFORMED;
	p = number_word(p + 1, &message->time);
	if (!p || *p != ' ')
		return MESSAGE_E_MALFORMED;
	start = p + 1;
	p = word_end(start);
	message->name = (struct text){ start, (size_t)(p - start) };
	if (*p != ' ' || message->name.len == 0)
		return MESSAGE_E_MALFORMED;
	p = number_word(p + 1, &uid);
	if (!p || uid > UINT32_MAX || message->seq == 0)
		return MESSAGE_E_MALFORMED;
	message->uid = (uid_t)uid;
	message->of = (struct text){ NULL, 0 };
	message->has_publisher = false;
	while (*p == ' ') {
		start = p + 1;
		p = word_end(start);
		message_read_word(message, (struct text){ start, (size_t)(p - start) });
	}
	message->body = (struct text){ p + 1, frame.len - (size_t)(p - frame.data) - 1 };
	return 0;
}
