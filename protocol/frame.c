/* frame.c - see frame.h. One pass over the line: it splits, and refuses control
 * characters; only a line with a byte above 0x7f is looked at again for UTF-8. */
#include "protocol/frame.h"

#include "protocol/base.h"

static const char *const verb_names[] = {
	[VERB_UNKNOWN] = "",
	[VERB_BATCH] = "BATCH",
	[VERB_HELLO] = "HELLO",
	[VERB_JOIN] = "JOIN",
	[VERB_PART] = "PART",
	[VERB_SAY] = "SAY",
	[VERB_PAST] = "PAST",
	[VERB_FIND] = "FIND",
	[VERB_SEEN] = "SEEN",
	[VERB_SET] = "SET",
	[VERB_GET] = "GET",
	[VERB_DELETE] = "DELETE",
	[VERB_WHO] = "WHO",
	[VERB_ROOMS] = "ROOMS",
	[VERB_TIME] = "TIME",
	[VERB_PING] = "PING",
	[VERB_STATS] = "STATS",
	[VERB_CTL] = "CTL",
	[VERB_FAST] = "FAST",
	[VERB_RING] = "RING",
	[VERB_BELL] = "BELL",
	[VERB_RESYNC] = "RESYNC",
	[VERB_WAKER] = "WAKER",
	[VERB_TOOK] = "TOOK",
	[VERB_QUIT] = "QUIT",
	[VERB_STOP] = "STOP",
	[VERB_MSG] = "MSG",
	[VERB_GAP] = "GAP",
	[VERB_AT] = "AT",
	[VERB_CURSOR] = "CURSOR",
	[VERB_JOINED] = "JOINED",
	[VERB_PARTED] = "PARTED",
	[VERB_PAGE] = "PAGE",
	[VERB_UNRING] = "UNRING",
	[VERB_SLEEPER] = "SLEEPER",
	[VERB_REVOKED] = "REVOKED",
	[VERB_BYE] = "BYE",
	[VERB_ROW] = "+",
	[VERB_DONE] = "*",
	[VERB_REFUSE] = "!",
};
_Static_assert(ARRAY_LEN(verb_names) == VERB_COUNT, "every verb has a name");

const char *verb_name(enum verb verb)
{
	return verb_names[verb];
}

enum verb verb_find(struct text name)
{
	/* the two that are most of the traffic */
	if (name.len == 3 && memcmp(name.data, "SAY", 3) == 0)
		return VERB_SAY;
	if (name.len == 3 && memcmp(name.data, "MSG", 3) == 0)
		return VERB_MSG;
	for (enum verb verb = VERB_BATCH; verb < VERB_COUNT; verb++)
		if (text_equal(name, text_of(verb_names[verb])))
			return verb;
	return VERB_UNKNOWN;
}

static bool tag_is_valid(struct text tag)
{
	if (tag.len < 1 || tag.len > TAG_LEN_MAX)
		return false;
	for (size_t i = 0; i < tag.len; i++) {
		char c = tag.data[i];

		if (!(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9'))
			return false;
	}
	return true;
}

/* A word ends at END. The first may be the tag, the next is the verb. */
static int frame_add_word(struct frame *frame, const char *start, const char *end)
{
	struct text word = { start, (size_t)(end - start) };

	if (word.len == 0)
		return FRAME_E_MALFORMED;
	if (frame->n_words == 0 && word.data[0] == '#' && frame->tag.len == 0) {
		word.data++;
		word.len--;
		if (!tag_is_valid(word))
			return FRAME_E_MALFORMED;
		frame->tag = word;
		return 0;
	}
	if (frame->n_words == FRAME_WORDS_MAX) {
		frame->has_more_words = true;
		return 0;
	}
	if (frame->n_words == 0) {
		frame->verb = verb_find(word);
		frame->rest.data = end;
	} else if (frame->n_words == 1) {
		frame->rest.data = start;
	}
	frame->word[frame->n_words++] = word;
	return 0;
}

int frame_parse(struct frame *ret_frame, struct text packet)
{
	struct frame *frame = ret_frame;
	const char *start = packet.data, *p = packet.data, *end;
	bool ascii = true;
	int r;

	frame->tag = (struct text){ packet.data, 0 };
	frame->rest = frame->tag;
	frame->body = frame->tag;
	frame->verb = VERB_UNKNOWN;
	frame->n_words = 0;
	frame->has_body = false;
	frame->has_more_words = false;

	end = packet.data + MIN(packet.len, (size_t)LINE_LEN_MAX + 1);
	for (; p < end; p++) {
		unsigned char c = (unsigned char)*p;

		if (c == ' ') {
			r = frame_add_word(frame, start, p);
			if (r)
				return r;
			start = p + 1;
		} else if (c == '\n') {
			break;
		} else if (c < 0x20 || c == 0x7f) {
			return FRAME_E_MALFORMED;
		} else if (c >= 0x80) {
			ascii = false;
		}
	}
	if (p == end && packet.len > LINE_LEN_MAX)
		return FRAME_E_LINE;
	r = frame_add_word(frame, start, p);
	if (r)
		return r;
	if (frame->n_words == 0) /* only a tag */
		return FRAME_E_MALFORMED;
	frame->rest.len = (size_t)(p - frame->rest.data);
	if (!ascii) {
		struct text line = { packet.data, (size_t)(p - packet.data) };

		if (!text_is_utf8(line) || text_has_c1(line))
			return FRAME_E_MALFORMED;
	}
	if (p < packet.data + packet.len) {
		frame->has_body = true;
		frame->body = (struct text){ p + 1, packet.len - (size_t)(p - packet.data) - 1 };
		if (frame->body.len > BODY_LEN_MAX)
			return FRAME_E_BODY;
	}
	return 0;
}

struct text frame_get(const struct frame *frame, size_t first, const char *key)
{
	size_t len = strlen(key);

	for (size_t i = first; i < frame->n_words; i++) {
		struct text word = frame->word[i];

		if (word.len > len && word.data[len] == '=' && memcmp(word.data, key, len) == 0)
			return (struct text){ word.data + len + 1, word.len - len - 1 };
	}
	return (struct text){ NULL, 0 };
}

bool frame_has(const struct frame *frame, size_t first, const char *word)
{
	for (size_t i = first; i < frame->n_words; i++)
		if (text_equal(frame->word[i], text_of(word)))
			return true;
	return false;
}
