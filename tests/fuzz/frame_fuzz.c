/* frame_fuzz.c - any bytes are a frame or an outcome, and a frame lies in its packet. */
#include <string.h>

#include "protocol/base.h"
#include "protocol/frame.h"
#include "tests/fuzz/fuzz.h"

static void expect_inside(struct text part, struct text packet)
{
	EXPECT(part.data >= packet.data);
	EXPECT(part.data + part.len <= packet.data + packet.len);
}

/* Put together again from what was parsed, it is the same packet. */
static void expect_whole(const struct frame *frame, struct text packet)
{
	const char *at = packet.data;

	if (frame->tag.len > 0) {
		EXPECT(*at == '#' && at + 1 == frame->tag.data);
		at += 1 + frame->tag.len + 1;
	}
	for (size_t i = 0; i < frame->n_words; i++) {
		EXPECT(frame->word[i].len > 0 && frame->word[i].data == at);
		EXPECT(!memchr(at, ' ', frame->word[i].len));
		EXPECT(text_is_utf8(frame->word[i]));
		at += frame->word[i].len + 1;
	}
	if (!frame->has_more_words)
		EXPECT(at - 1 == frame->rest.data + frame->rest.len);
	at = frame->rest.data + frame->rest.len;
	EXPECT(at - packet.data <= LINE_LEN_MAX);
	if (frame->has_body) {
		EXPECT(*at == '\n' && at + 1 == frame->body.data);
		at += 1 + frame->body.len;
	}
	EXPECT(at == packet.data + packet.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct text packet = { (const char *)data, len };
	struct frame frame;
	int r;

	r = frame_parse(&frame, packet);
	EXPECT(r == 0 || r == FRAME_E_MALFORMED || r == FRAME_E_LINE || r == FRAME_E_BODY);
	EXPECT(frame.verb < VERB_COUNT && frame.n_words <= FRAME_WORDS_MAX);
	expect_inside(frame.tag, packet);
	expect_inside(frame.rest, packet);
	expect_inside(frame.body, packet);
	for (size_t i = 0; i < frame.n_words; i++)
		expect_inside(frame.word[i], packet);
	if (r)
		return 0;
	expect_whole(&frame, packet);
	EXPECT(frame.n_words > 0 && frame.body.len <= BODY_LEN_MAX);
	EXPECT(frame.verb == verb_find(frame.word[0]));
	for (size_t i = 1; i < frame.n_words; i++) {
		char word[LINE_LEN_MAX + 1];
		char *equals;

		memcpy(word, frame.word[i].data, frame.word[i].len);
		word[frame.word[i].len] = '\0';
		EXPECT(frame_has(&frame, 1, word));
		equals = strchr(word, '=');
		if (equals) {
			*equals = '\0';
			EXPECT(frame_get(&frame, 1, word).data);
		}
	}
	return 0;
}
