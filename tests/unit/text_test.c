/* text_test.c - names, UTF-8 and what is shown on a terminal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "protocol/base.h"
#include "protocol/text.h"
#include "tests/unit/exact.h"

#define TEN "0123456789"
#define A(literal)                                                                                 \
	{                                                                                          \
		(literal), sizeof(literal) - 1                                                     \
	}
#define CHAR_MAX_U8 0x10ffffu

static void assert_text(struct text got, struct text want, struct text input)
{
	if (!text_equal(got, want))
		fail_msg("of \"%.*s\": got \"%.*s\", want \"%.*s\"", (int)input.len, input.data,
			(int)got.len, got.data, (int)want.len, want.data);
}

static void test_equal(void **state)
{
	assert_true(text_equal(TEXT("a"), text_of("a")));
	assert_true(text_equal(TEXT(""), TEXT("")));
	assert_true(text_equal(TEXT("a\0b"), TEXT("a\0b")));
	assert_false(text_equal(TEXT("a\0b"), TEXT("a\0c")));
	assert_false(text_equal(TEXT("a"), TEXT("ab")));
	assert_false(text_equal(TEXT("a"), TEXT("")));
}

static void test_chomp(void **state)
{
	static const struct {
		struct text in, out;
	} table[] = {
		{ A(""), A("") },
		{ A("hi"), A("hi") },
		{ A("hi\n"), A("hi") },
		{ A("hi\r\n"), A("hi") },
		{ A("hi\0"), A("hi") },
		{ A("\n"), A("") },
		{ A("\r\n"), A("") },
		{ A("\0"), A("") },
		/* exactly one is taken off */
		{ A("hi\n\n"), A("hi\n") },
		{ A("hi\r\n\r\n"), A("hi\r\n") },
		{ A("hi\0\0"), A("hi\0") },
		{ A("hi\n\0"), A("hi\n") },
		{ A("hi\0\n"), A("hi\0") },
		{ A("hi\r"), A("hi\r") },
		{ A("\nhi"), A("\nhi") },
	};

	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		EXACT(in, table[i].in);

		assert_text(text_chomp(in), table[i].out, table[i].in);
	}
}

static void test_utf8(void **state)
{
	static const struct {
		struct text in;
		bool is_utf8;
	} table[] = {
		{ A(""), true },
		{ A("plain"), true },
		{ A("a\0b"), true },
		{ A("\x7f"), true },
		{ A("gr\xc3\xbc\xc3\x9f"), true },
		/* the borders of each length */
		{ A("\xc2\x80"), true },
		{ A("\xdf\xbf"), true },
		{ A("\xe0\xa0\x80"), true },
		{ A("\xed\x9f\xbf"), true },
		{ A("\xee\x80\x80"), true },
		{ A("\xef\xbf\xbf"), true },
		{ A("\xf0\x90\x80\x80"), true },
		{ A("\xf4\x8f\xbf\xbf"), true },
		/* overlong forms */
		{ A("\xc0\x80"), false },
		{ A("\xc0\xaf"), false },
		{ A("\xc1\xbf"), false },
		{ A("\xe0\x80\x80"), false },
		{ A("\xe0\x9f\xbf"), false },
		{ A("\xf0\x80\x80\x80"), false },
		{ A("\xf0\x8f\xbf\xbf"), false },
		/* surrogates, alone and as a CESU-8 pair */
		{ A("\xed\xa0\x80"), false },
		{ A("\xed\xbf\xbf"), false },
		{ A("\xed\xa0\xbd\xed\xb8\x80"), false },
		/* beyond U+10FFFF, and bytes that are in no character */
		{ A("\xf4\x90\x80\x80"), false },
		{ A("\xf5\x80\x80\x80"), false },
		{ A("\xf8\x88\x80\x80\x80"), false },
		{ A("\xfc\x84\x80\x80\x80\x80"), false },
		{ A("\xfe"), false },
		{ A("\xff"), false },
		/* stray and missing continuations */
		{ A("\x80"), false },
		{ A("\xbf"), false },
		{ A("a\x80"), false },
		{ A("\xc3"), false },
		{ A("\xe2\x82"), false },
		{ A("\xe2"), false },
		{ A("\xf0\x9f\x98"), false },
		{ A("\xc3("), false },
		{ A("\xe2(\x82"), false },
		{ A("\xe2\x82("), false },
		{ A("\xf0\x9f\x98("), false },
		{ A("\xc3\xc3\xbc"), false },
		{ A("ok\xc3\xbcok\xff"), false },
	};

	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		EXACT(in, table[i].in);

		if (text_is_utf8(in) != table[i].is_utf8)
			fail_msg("row %zu: want %d", i, table[i].is_utf8);
	}
}

/* Written down from Unicode 15, table 3-6, not taken from the code under test. */
static size_t encode(char *dst, uint32_t c)
{
	if (c < 0x80) {
		dst[0] = (char)c;
		return 1;
	}
	if (c < 0x800) {
		dst[0] = (char)(0xc0 | c >> 6);
		dst[1] = (char)(0x80 | (c & 0x3f));
		return 2;
	}
	if (c < 0x10000) {
		dst[0] = (char)(0xe0 | c >> 12);
		dst[1] = (char)(0x80 | (c >> 6 & 0x3f));
		dst[2] = (char)(0x80 | (c & 0x3f));
		return 3;
	}
	dst[0] = (char)(0xf0 | c >> 18);
	dst[1] = (char)(0x80 | (c >> 12 & 0x3f));
	dst[2] = (char)(0x80 | (c >> 6 & 0x3f));
	dst[3] = (char)(0x80 | (c & 0x3f));
	return 4;
}

static bool is_shown_escaped(uint32_t c)
{
	static const struct {
		uint32_t first, last;
	} ranges[] = {
		{ 0x0000, 0x001f },   /* C0 */
		{ 0x007f, 0x009f },   /* DEL, C1 */
		{ 0x061c, 0x061c },   /* Arabic letter mark */
		{ 0x200e, 0x200f },   /* left-to-right and right-to-left marks */
		{ 0x2028, 0x202e },   /* separators, embeddings, overrides */
		{ 0x2066, 0x206f },   /* isolates, deprecated format controls */
		{ 0xfeff, 0xfeff },   /* byte order mark */
		{ 0xfff9, 0xfffb },   /* interlinear annotation */
		{ 0xe0000, 0xe007f }, /* tags: invisible text */
	};

	for (size_t i = 0; i < ARRAY_LEN(ranges); i++)
		if (c >= ranges[i].first && c <= ranges[i].last)
			return true;
	return c == '\\';
}

static void test_every_character(void **state)
{
	char in[4], out[TEXT_ESCAPED_MAX(4)];

	for (uint32_t c = 0; c <= CHAR_MAX_U8; c++) {
		struct text text = { in, encode(in, c) };
		bool surrogate = c >= 0xd800 && c <= 0xdfff;
		size_t len = text_escape(out, text);
		bool same = text_equal((struct text){ out, len }, text);

		if (text_is_utf8(text) == surrogate)
			fail_msg("U+%04x: is_utf8", c);
		if (same == (surrogate || is_shown_escaped(c)))
			fail_msg("U+%04x: escaped", c);
	}
}

static void test_name(void **state)
{
	static const struct {
		struct text in;
		bool is_name;
	} table[] = {
		{ A("alice"), true },
		{ A("_apt"), true },
		{ A("0day"), true },
		{ A("a"), true },
		{ A("a.b-c_d"), true },
		{ A("a.."), true },
		{ A("u1000"), true },
		{ A(TEN TEN TEN "01"), true },
		{ A(TEN TEN TEN "012"), false },
		{ A(""), false },
		{ A(".a"), false },
		{ A("-a"), false },
		{ A("Alice"), false },
		{ A("alicE"), false },
		{ A("a b"), false },
		{ A("a\n"), false },
		{ A("a\0"), false },
		{ A("a+b"), false },
		{ A("a@b"), false },
		{ A("a#"), false },
		{ A("a$"), false },
		{ A("/"), false },
		{ A(":"), false },
		{ A("`"), false },
		{ A("{"), false },
		{ A("j\xc3\xbcrgen"), false },
	};

	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		EXACT(in, table[i].in);

		if (text_is_name(in) != table[i].is_name)
			fail_msg("\"%s\": want %d", table[i].in.data, table[i].is_name);
	}
}

static void test_room(void **state)
{
	static const struct {
		struct text in;
		bool is_room;
	} table[] = {
		{ A("lobby"), true },
		{ A("build.ci"), true },
		{ A("a.b.c"), true },
		{ A("_"), true },
		{ A("-"), true },
		{ A("-x.9_"), true },
		{ A(TEN TEN TEN TEN TEN TEN "0123"), true },
		{ A(TEN TEN TEN TEN TEN TEN ".123"), true },
		{ A(TEN TEN TEN TEN TEN TEN "01234"), false },
		{ A(""), false },
		{ A("."), false },
		{ A(".a"), false },
		{ A("a."), false },
		{ A("a..b"), false },
		{ A("Lobby"), false },
		{ A("@bob"), false },
		{ A("a b"), false },
		{ A("a/b"), false },
		{ A("a\0"), false },
		{ A("r\xc3\xa4um"), false },
	};

	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		EXACT(in, table[i].in);

		if (text_is_room(in) != table[i].is_room)
			fail_msg("\"%s\": want %d", table[i].in.data, table[i].is_room);
	}
}

static void test_direct(void **state)
{
	static const struct {
		struct text in;
		bool is_direct;
	} table[] = {
		{ A("@bob"), true },
		{ A("@" TEN TEN TEN "01"), true },
		{ A("@" TEN TEN TEN "012"), false },
		{ A("@"), false },
		{ A(""), false },
		{ A("bob"), false },
		{ A("@@bob"), false },
		{ A("@Bob"), false },
		{ A("@a+b"), false },
		{ A(" @bob"), false },
	};

	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		EXACT(in, table[i].in);

		if (text_is_direct(in) != table[i].is_direct)
			fail_msg("\"%s\": want %d", table[i].in.data, table[i].is_direct);
	}
}

static void test_conversation(void **state)
{
	static const struct {
		struct text in, a, b; /* a is empty where it is none */
	} table[] = {
		{ A("@alice+bob"), A("alice"), A("bob") },
		{ A("@a+b"), A("a"), A("b") },
		{ A("@a+a"), A("a"), A("a") }, /* with oneself */
		{ A("@bob+bobby"), A("bob"), A("bobby") },
		{ A("@a.b+a_b"), A("a.b"), A("a_b") },
		{ A("@" TEN TEN TEN "01+" TEN TEN TEN "02"), A(TEN TEN TEN "01"),
			A(TEN TEN TEN "02") },
		{ A("@bob+alice"), A(""), A("") },
		{ A("@bobby+bob"), A(""), A("") },
		{ A("@a+b+c"), A(""), A("") },
		{ A("@a+"), A(""), A("") },
		{ A("@+b"), A(""), A("") },
		{ A("@+"), A(""), A("") },
		{ A("@a+b "), A(""), A("") },
		{ A("@a"), A(""), A("") },
		{ A("a+b"), A(""), A("") },
		{ A("@"), A(""), A("") },
		{ A(""), A(""), A("") },
		{ A("@A+b"), A(""), A("") },
		{ A("@" TEN TEN TEN "012+b"), A(""), A("") },
	};

	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		struct text a = A("untouched"), b = A("untouched");
		EXACT(in, table[i].in);

		if (text_is_conversation(in, &a, &b) != (table[i].a.len > 0))
			fail_msg("\"%s\": want %d", table[i].in.data, table[i].a.len > 0);
		assert_text(a, table[i].a.len ? table[i].a : TEXT("untouched"), table[i].in);
		assert_text(b, table[i].b.len ? table[i].b : TEXT("untouched"), table[i].in);
	}
	assert_int_equal(TARGET_LEN_MAX, sizeof("@" TEN TEN TEN "01+" TEN TEN TEN "02") - 1);
}

static void test_escape(void **state)
{
	static const struct {
		struct text in, out;
	} table[] = {
		{ A(""), A("") },
		{ A("hello, world"), A("hello, world") },
		{ A("gr\xc3\xbc\xc3\x9f \xf0\x9f\x98\x80"),
			A("gr\xc3\xbc\xc3\x9f \xf0\x9f\x98\x80") },
		{ A("a\nb\tc"), A("a\\nb\\tc") },
		{ A("a\r\n"), A("a\\x0d\\n") },
		{ A("\0"), A("\\x00") },
		{ A("C:\\n"), A("C:\\\\n") },
		{ A("\\x1b"), A("\\\\x1b") },
		/* a fake prompt, a title, a bell, a back space */
		{ A("\x1b[2J\x1b[1;1Hroot# "), A("\\x1b[2J\\x1b[1;1Hroot# ") },
		{ A("\x1b]0;title\x07"), A("\\x1b]0;title\\x07") },
		{ A("ab\x08"), A("ab\\x08") },
		{ A("\x7f"), A("\\x7f") },
		/* CSI as one C1 character, and as the bare byte of an 8-bit terminal */
		{ A("\xc2\x9b"
		    "31m"),
			A("\\xc2\\x9b31m") },
		{ A("\x9b"
		    "31m"),
			A("\\x9b31m") },
		{ A("\xc2\x85"), A("\\xc2\\x85") },
		{ A("\xc2\xa0"), A("\xc2\xa0") },
		/* right-to-left override, isolate, line separator */
		{ A("\xe2\x80\xae"
		    "cba"),
			A("\\xe2\\x80\\xaecba") },
		{ A("\xe2\x81\xa6"), A("\\xe2\\x81\\xa6") },
		{ A("\xe2\x80\xa8"), A("\\xe2\\x80\\xa8") },
		{ A("\xe2\x80\x8d"), A("\xe2\x80\x8d") }, /* the joiner of emoji stays */
		/* not UTF-8: only the bytes that are wrong */
		{ A("a\xff"
		    "b"),
			A("a\\xffb") },
		{ A("\xc3"), A("\\xc3") },
		{ A("\xc3("), A("\\xc3(") },
		{ A("\xc3\x1b"), A("\\xc3\\x1b") },
		{ A("\xe2\x82"), A("\\xe2\\x82") },
		{ A("\xe2\xc3\xbc"), A("\\xe2\xc3\xbc") },
		{ A("\xc0\x9b"), A("\\xc0\\x9b") },
		{ A("\xed\xa0\x80"), A("\\xed\\xa0\\x80") },
	};

	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		EXACT(in, table[i].in);
		_cleanup_(exact_freep) char *out = malloc(TEXT_ESCAPED_MAX(in.len));
		struct text got = { out, text_escape(out, in) };

		assert_text(got, table[i].out, table[i].in);
	}
}

/* What text_escape() wrote, read back. Asserts that it is well-formed. */
static size_t unescape(char *dst, struct text text)
{
	static const char hex[] = "0123456789abcdef";
	size_t out = 0;

	for (size_t i = 0; i < text.len; i++) {
		char c = text.data[i];

		assert_true((unsigned char)c >= 0x20 && c != 0x7f);
		if (c != '\\') {
			dst[out++] = c;
			continue;
		}
		assert_true(++i < text.len);
		c = text.data[i];
		if (c == 'x') {
			const char *high, *low;

			assert_true(i + 2 < text.len);
			high = strchr(hex, text.data[i + 1]);
			low = strchr(hex, text.data[i + 2]);
			assert_non_null(high);
			assert_non_null(low);
			dst[out++] = (char)((high - hex) << 4 | (low - hex));
			i += 2;
		} else {
			assert_true(c == 'n' || c == 't' || c == '\\');
			dst[out++] = c == 'n' ? '\n' : c == 't' ? '\t' : '\\';
		}
	}
	return out;
}

static void escape_and_back(struct text in)
{
	char out[TEXT_ESCAPED_MAX(4)], back[TEXT_ESCAPED_MAX(4)];
	struct text escaped = { out, text_escape(out, in) };

	assert_true(escaped.len <= TEXT_ESCAPED_MAX(in.len));
	assert_true(text_is_utf8(escaped));
	assert_text((struct text){ back, unescape(back, escaped) }, in, escaped);
}

/* Two messages that differ never look the same, and what is shown is always
 * clean: every pair of bytes, and every lead byte with its awkward followers. */
static void test_escape_is_reversible(void **state)
{
	static const unsigned char awkward[] = { 0, '\n', 0x1b, '\\', 'x', '0', 0x7f, 0x80, 0x8f,
		0x90, 0x9b, 0x9f, 0xa0, 0xae, 0xbf, 0xc2, 0xe2, 0xff };

	for (int a = 0; a < 256; a++) {
		escape_and_back((struct text){ (char[]){ (char)a }, 1 });
		for (int b = 0; b < 256; b++)
			escape_and_back((struct text){ (char[]){ (char)a, (char)b }, 2 });
		for (size_t i = 0; i < ARRAY_LEN(awkward); i++)
			for (size_t k = 0; k < ARRAY_LEN(awkward); k++)
				for (size_t m = 0; m < ARRAY_LEN(awkward); m++)
					escape_and_back((struct text){
						(char[]){ (char)a, (char)awkward[i],
							(char)awkward[k], (char)awkward[m] },
						4 });
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_equal),
		cmocka_unit_test(test_chomp),
		cmocka_unit_test(test_utf8),
		cmocka_unit_test(test_every_character),
		cmocka_unit_test(test_name),
		cmocka_unit_test(test_room),
		cmocka_unit_test(test_direct),
		cmocka_unit_test(test_conversation),
		cmocka_unit_test(test_escape),
		cmocka_unit_test(test_escape_is_reversible),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
