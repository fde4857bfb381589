/* frame_test.c - text frames: chat-protocol(7), sections Frames and Answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "protocol/base.h"
#include "protocol/frame.h"
#include "tests/unit/exact.h"

#define A(literal)                                                                                 \
	{                                                                                          \
		(literal), sizeof(literal) - 1                                                     \
	}

static void assert_text(struct text got, struct text want, const char *what, struct text packet)
{
	if (!text_equal(got, want))
		fail_msg("%s of \"%.*s\": got \"%.*s\", want \"%.*s\"", what, (int)packet.len,
			packet.data, (int)got.len, got.data, (int)want.len, want.data);
}

/* Whatever the outcome, everything in the frame lies in the packet. */
static void assert_inside(const struct frame *frame, struct text packet)
{
	const char *end = packet.data + packet.len;
	const struct text parts[] = { frame->tag, frame->rest, frame->body };

	assert_true(frame->n_words <= FRAME_WORDS_MAX);
	assert_true(frame->tag.len <= TAG_LEN_MAX);
	assert_true(frame->verb < VERB_COUNT);
	for (size_t i = 0; i < ARRAY_LEN(parts); i++)
		assert_true(parts[i].data >= packet.data && parts[i].data + parts[i].len <= end);
	for (size_t i = 0; i < frame->n_words; i++)
		assert_true(frame->word[i].len > 0 && frame->word[i].data >= packet.data &&
			    frame->word[i].data + frame->word[i].len <= end);
	assert_true(frame->has_body || frame->body.len == 0);
	assert_true(!frame->has_more_words || frame->n_words == FRAME_WORDS_MAX);
}

static void test_verbs(void **state)
{
	static const char *const unknown[] = { "", "say", "Say", "SA", "SAYS", "HELL", "HELLOO",
		"SAY\n", " SAY", "FROB", "**", "#" };

	assert_string_equal(verb_name(VERB_UNKNOWN), "");
	for (enum verb verb = VERB_BATCH; verb < VERB_COUNT; verb++) {
		assert_true(strlen(verb_name(verb)) > 0);
		assert_int_equal(verb_find(text_of(verb_name(verb))), verb);
	}
	for (size_t i = 0; i < ARRAY_LEN(unknown); i++) {
		EXACT(name, text_of(unknown[i]));

		assert_int_equal(verb_find(name), VERB_UNKNOWN);
	}
	assert_true(verb_is_request(VERB_HELLO));
	assert_true(verb_is_request(VERB_SAY));
	assert_true(verb_is_request(VERB_STOP));
	assert_false(verb_is_request(VERB_UNKNOWN));
	assert_false(verb_is_request(VERB_BATCH));
	assert_false(verb_is_request(VERB_MSG));
	assert_false(verb_is_request(VERB_REFUSE));
}

static void test_parse(void **state)
{
	static const struct {
		struct text packet, tag;
		enum verb verb;
		size_t n_words;
		struct text last, rest; /* the last word, the line after the verb */
		bool has_body;
		struct text body;
	} table[] = {
		{ A("PING"), A(""), VERB_PING, 1, A("PING"), A(""), false, A("") },
		{ A("#1 PING"), A("1"), VERB_PING, 1, A("PING"), A(""), false, A("") },
		{ A("#abcXYZ0123456789 PING"), A("abcXYZ0123456789"), VERB_PING, 1, A("PING"),
			A(""), false, A("") },
		{ A("JOIN lobby last=20"), A(""), VERB_JOIN, 3, A("last=20"), A("lobby last=20"),
			false, A("") },
		{ A("#3 SAY lobby\nhello, everybody"), A("3"), VERB_SAY, 2, A("lobby"), A("lobby"),
			true, A("hello, everybody") },
		/* an empty body is not none */
		{ A("SAY lobby\n"), A(""), VERB_SAY, 2, A("lobby"), A("lobby"), true, A("") },
		{ A("SAY\nx"), A(""), VERB_SAY, 1, A("SAY"), A(""), true, A("x") },
		/* a body is any bytes; only the first LF counts */
		{ A("SAY lobby\n\n#1 QUIT\n"), A(""), VERB_SAY, 2, A("lobby"), A("lobby"), true,
			A("\n#1 QUIT\n") },
		{ A("SAY lobby\n\0\xff\x1b  \r\n"), A(""), VERB_SAY, 2, A("lobby"), A("lobby"),
			true, A("\0\xff\x1b  \r\n") },
		/* words are any UTF-8 */
		{ A("STOP gr\xc3\xbc\xc3\x9f \xf0\x9f\x98\x80"), A(""), VERB_STOP, 3,
			A("\xf0\x9f\x98\x80"), A("gr\xc3\xbc\xc3\x9f \xf0\x9f\x98\x80"), false,
			A("") },
		{ A("CTL kick bob for \"noise\" = 1"), A(""), VERB_CTL, 7, A("1"),
			A("kick bob for \"noise\" = 1"), false, A("") },
		/* only the first word can be a tag */
		{ A("#1 STOP #2"), A("1"), VERB_STOP, 2, A("#2"), A("#2"), false, A("") },
		{ A("STOP #2"), A(""), VERB_STOP, 2, A("#2"), A("#2"), false, A("") },
		{ A("#1 #2 PING"), A("1"), VERB_UNKNOWN, 2, A("PING"), A("PING"), false, A("") },
		{ A("frob"), A(""), VERB_UNKNOWN, 1, A("frob"), A(""), false, A("") },
		{ A("ping"), A(""), VERB_UNKNOWN, 1, A("ping"), A(""), false, A("") },
		/* what the broker sends */
		{ A("#2 * 1 first=1 log=9f0c6a51b8e2d374"), A("2"), VERB_DONE, 4,
			A("log=9f0c6a51b8e2d374"), A("1 first=1 log=9f0c6a51b8e2d374"), false,
			A("") },
		{ A("#2 *"), A("2"), VERB_DONE, 1, A("*"), A(""), false, A("") },
		{ A("#2 + MSG lobby 1 2 alice 1000\nhi"), A("2"), VERB_ROW, 7, A("1000"),
			A("MSG lobby 1 2 alice 1000"), true, A("hi") },
		{ A("! ROOM SAY nowhere..good not a room name"), A(""), VERB_REFUSE, 8, A("name"),
			A("ROOM SAY nowhere..good not a room name"), false, A("") },
		{ A("MSG @a+b 18446744073709551615 1 a 0\n"), A(""), VERB_MSG, 6, A("0"),
			A("@a+b 18446744073709551615 1 a 0"), true, A("") },
		{ A("BATCH\n"), A(""), VERB_BATCH, 1, A("BATCH"), A(""), true, A("") },
	};

	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		struct frame frame;
		EXACT(packet, table[i].packet);

		assert_int_equal(frame_parse(&frame, packet), 0);
		assert_inside(&frame, packet);
		assert_int_equal(frame.verb, table[i].verb);
		assert_int_equal(frame.n_words, table[i].n_words);
		assert_int_equal(frame.has_body, table[i].has_body);
		assert_false(frame.has_more_words);
		assert_text(frame.tag, table[i].tag, "tag", packet);
		assert_text(frame.word[frame.n_words - 1], table[i].last, "last word", packet);
		assert_text(frame.rest, table[i].rest, "rest", packet);
		assert_text(frame.body, table[i].body, "body", packet);
	}
}

/* What was understood before the error is there to answer it with. */
static void test_malformed(void **state)
{
	static const struct {
		struct text packet, tag;
		enum verb verb;
	} table[] = {
		{ A(""), A(""), VERB_UNKNOWN },
		{ A("\n"), A(""), VERB_UNKNOWN },
		{ A("\nbody"), A(""), VERB_UNKNOWN },
		{ A(" "), A(""), VERB_UNKNOWN },
		{ A(" PING"), A(""), VERB_UNKNOWN },
		{ A("PING "), A(""), VERB_PING },
		{ A("PING \n"), A(""), VERB_PING },
		{ A("SAY  lobby\nx"), A(""), VERB_SAY },
		{ A("SAY lobby  id=1\nx"), A(""), VERB_SAY },
		{ A("#7 SAY  lobby\nx"), A("7"), VERB_SAY },
		{ A("#7"), A("7"), VERB_UNKNOWN },
		{ A("#7\n"), A("7"), VERB_UNKNOWN },
		{ A("#7 "), A("7"), VERB_UNKNOWN },
		{ A("#7  PING"), A("7"), VERB_UNKNOWN },
		{ A("# PING"), A(""), VERB_UNKNOWN },
		{ A("#"), A(""), VERB_UNKNOWN },
		{ A("#12345678901234567 PING"), A(""), VERB_UNKNOWN },
		{ A("#a-b PING"), A(""), VERB_UNKNOWN },
		{ A("#a\xc3\xbc PING"), A(""), VERB_UNKNOWN },
		{ A("##1 PING"), A(""), VERB_UNKNOWN },
		/* control characters, tab and CR included */
		{ A("PING\0"), A(""), VERB_UNKNOWN },
		{ A("PING\r\n"), A(""), VERB_UNKNOWN },
		{ A("SAY\tlobby"), A(""), VERB_UNKNOWN },
		{ A("SAY lobby\x01\nx"), A(""), VERB_SAY },
		{ A("SAY lobby\x1f\nx"), A(""), VERB_SAY },
		{ A("SAY lobby\x7f\nx"), A(""), VERB_SAY },
		{ A("#9 JOIN a\0b"), A("9"), VERB_JOIN },
		/* not UTF-8 before the body */
		{ A("STOP \xff"), A(""), VERB_STOP },
		{ A("STOP \xc3"), A(""), VERB_STOP },
		{ A("STOP \xc3\n\xbc"), A(""), VERB_STOP },
		{ A("STOP \xc3 \xbc"), A(""), VERB_STOP },
		{ A("STOP \xed\xa0\x80"), A(""), VERB_STOP },
		{ A("STOP \xc0\xaf"), A(""), VERB_STOP },
		{ A("\xff"), A(""), VERB_UNKNOWN },
	};

	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		struct frame frame;
		EXACT(packet, table[i].packet);

		if (frame_parse(&frame, packet) != FRAME_E_MALFORMED)
			fail_msg("row %zu, \"%s\": taken", i, table[i].packet.data);
		assert_inside(&frame, packet);
		assert_int_equal(frame.verb, table[i].verb);
		assert_text(frame.tag, table[i].tag, "tag", packet);
	}
}

/* Every control character is refused before the body and taken in it. */
static void test_control_characters(void **state)
{
	for (int c = 0; c < 256; c++) {
		char line[] = { 'S', 'T', 'O', 'P', ' ', 'a', (char)c, 'b' };
		char body[] = { 'S', 'A', 'Y', ' ', 'a', '\n', (char)c };
		bool is_control = (c < 0x20 && c != '\n') || c == 0x7f || c >= 0x80;
		struct frame frame;
		EXACT(packet, ((struct text){ line, sizeof line }));
		EXACT(other, ((struct text){ body, sizeof body }));

		assert_int_equal(frame_parse(&frame, packet), is_control ? FRAME_E_MALFORMED : 0);
		assert_int_equal(frame_parse(&frame, other), 0);
		assert_int_equal(frame.body.len, 1);
	}
}

/* LEN bytes, the start of which is START and the rest FILL. The caller frees it. */
static char *filled(const char *start, char fill, size_t len)
{
	char *data = malloc(len);

	assert_non_null(data);
	memset(data, fill, len);
	memcpy(data, start, strlen(start));
	return data;
}

static void test_lengths(void **state)
{
	static const struct {
		size_t line_len;
		bool has_body;
		size_t body_len;
		int result;
	} table[] = {
		{ LINE_LEN_MAX - 1, false, 0, 0 },
		{ LINE_LEN_MAX, false, 0, 0 },
		{ LINE_LEN_MAX + 1, false, 0, FRAME_E_LINE },
		{ LINE_LEN_MAX + 2, false, 0, FRAME_E_LINE },
		{ PACKET_LEN_MAX, false, 0, FRAME_E_LINE },
		{ LINE_LEN_MAX, true, 0, 0 },
		{ LINE_LEN_MAX, true, 1, 0 },
		{ LINE_LEN_MAX + 1, true, 0, FRAME_E_LINE },
		{ LINE_LEN_MAX + 1, true, BODY_LEN_MAX, FRAME_E_LINE },
		{ 16, true, BODY_LEN_MAX - 1, 0 },
		{ 16, true, BODY_LEN_MAX, 0 },
		{ 16, true, BODY_LEN_MAX + 1, FRAME_E_BODY },
		{ LINE_LEN_MAX, true, BODY_LEN_MAX, 0 },
		{ LINE_LEN_MAX, true, BODY_LEN_MAX + 1, FRAME_E_BODY },
	};

	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		size_t len = table[i].line_len + table[i].has_body + table[i].body_len;
		_cleanup_(exact_freep) char *data = filled("#t SAY ", 'x', len);
		struct text packet = { data, len };
		struct frame frame;

		if (table[i].has_body)
			data[table[i].line_len] = '\n';
		if (frame_parse(&frame, packet) != table[i].result)
			fail_msg("row %zu: not %d", i, table[i].result);
		assert_inside(&frame, packet);
		/* however it ends, it can be answered */
		assert_int_equal(frame.tag.len, 1);
		assert_int_equal(frame.verb, VERB_SAY);
		if (table[i].result == 0)
			assert_int_equal(frame.body.len, table[i].body_len);
	}
	assert_true(LINE_LEN_MAX + 1 + BODY_LEN_MAX <= PACKET_LEN_MAX);
}

/* The words beyond the table stay in the rest, and are still looked at. */
static void test_many_words(void **state)
{
	for (size_t n = FRAME_WORDS_MAX - 1; n <= FRAME_WORDS_MAX + 2; n++) {
		_cleanup_(exact_freep) char *data = filled("STOP", ' ', 4 + (n - 1) * 2);
		struct text packet = { data, 4 + (n - 1) * 2 };
		struct frame frame;

		for (size_t i = 1; i < n; i++)
			data[4 + (i - 1) * 2 + 1] = (char)('a' + i % 26);
		assert_int_equal(frame_parse(&frame, packet), 0);
		assert_inside(&frame, packet);
		assert_int_equal(frame.n_words, MIN(n, (size_t)FRAME_WORDS_MAX));
		assert_int_equal(frame.has_more_words, n > FRAME_WORDS_MAX);
		assert_int_equal(frame.rest.len, packet.len - 5);
		/* two spaces at its very end */
		data[packet.len - 1] = ' ';
		assert_int_equal(frame_parse(&frame, packet), FRAME_E_MALFORMED);
	}
}

static void test_get_and_has(void **state)
{
	EXACT(packet,
		TEXT("JOIN since=5 log=ab since=6 empty= presence newer =x a=b=c lo=1\nlast=3"));
	static const struct {
		size_t first;
		const char *key, *value; /* NULL: not there */
	} get[] = {
		{ 1, "since", "5" }, /* the first counts */
		{ 2, "since", "6" },
		{ 4, "since", NULL },
		{ 1, "log", "ab" },
		{ 1, "lo", "1" },
		{ 1, "empty", "" },
		{ 1, "a", "b=c" },
		{ 1, "", "x" },
		{ 1, "presence", NULL }, /* a word, not a value */
		{ 1, "last", NULL },     /* in the body */
		{ 1, "sinc", NULL },
		{ 1, "since=", NULL },
		{ 1, "JOIN", NULL },
		{ 99, "since", NULL },
	};
	static const struct {
		size_t first;
		const char *word;
		bool has;
	} has[] = {
		{ 1, "presence", true },
		{ 5, "presence", true },
		{ 6, "presence", false },
		{ 1, "new", false },
		{ 1, "newer", true },
		{ 1, "since", false },
		{ 1, "since=5", true },
		{ 0, "JOIN", true },
		{ 1, "JOIN", false },
		{ 1, "", false },
		{ 1, "last=3", false },
	};
	struct frame frame;

	assert_int_equal(frame_parse(&frame, packet), 0);
	for (size_t i = 0; i < ARRAY_LEN(get); i++) {
		struct text value = frame_get(&frame, get[i].first, get[i].key);

		if (!get[i].value != !value.data)
			fail_msg("%s from %zu: there or not", get[i].key, get[i].first);
		if (get[i].value)
			assert_text(value, text_of(get[i].value), get[i].key, packet);
	}
	for (size_t i = 0; i < ARRAY_LEN(has); i++)
		if (frame_has(&frame, has[i].first, has[i].word) != has[i].has)
			fail_msg("%s from %zu: want %d", has[i].word, has[i].first, has[i].has);
}

/* Every cut and every change of one byte: an outcome, and nothing outside. */
static void test_mutations(void **state)
{
	static const struct text packets[] = {
		A("#t1 HELLO 1 name=alice pub=0f batch direct"),
		A("SAY @alice+bob id=18446744073709551615\n\x00\xff body"),
		A("#x + MSG b\xc3\xbc 1 1795168800000000000 alice 1000 of=root p=ab:1\nhi"),
	};

	for (size_t i = 0; i < ARRAY_LEN(packets); i++) {
		for (size_t cut = 0; cut <= packets[i].len; cut++) {
			EXACT(packet, ((struct text){ packets[i].data, cut }));
			struct frame frame;
			int r = frame_parse(&frame, packet);

			assert_true(r == 0 || r == FRAME_E_MALFORMED);
			assert_inside(&frame, packet);
		}
		for (size_t at = 0; at < packets[i].len; at++) {
			EXACT(packet, packets[i]);

			for (int c = 0; c < 256; c++) {
				struct frame frame;
				int r;

				packet_data[at] = (char)c;
				r = frame_parse(&frame, packet);
				assert_true(r == 0 || r == FRAME_E_MALFORMED);
				assert_inside(&frame, packet);
				assert_true(r || frame.n_words > 0);
			}
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_verbs),
		cmocka_unit_test(test_parse),
		cmocka_unit_test(test_malformed),
		cmocka_unit_test(test_control_characters),
		cmocka_unit_test(test_lengths),
		cmocka_unit_test(test_many_words),
		cmocka_unit_test(test_get_and_has),
		cmocka_unit_test(test_mutations),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
