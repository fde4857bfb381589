/* render_test.c - client/render.h: what events look like, and that nothing of
 * them can disturb a terminal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "client/render.h"
#include "protocol/base.h"

/* 2026-11-20 12:00:01 UTC */
#define NOON 1795176001u
#define NS   1000000000u

typedef void render_fn(FILE *out, const struct chat_event *event);

static void render_lobby(FILE *out, const struct chat_event *event)
{
	const struct render_screen screen = { .current = "lobby", .now = NOON + 60 };

	render_screen(out, &screen, event);
}

static void render_coloured(FILE *out, const struct chat_event *event)
{
	const struct render_screen screen = { .current = "lobby", .colour = true, .now = NOON };

	render_screen(out, &screen, event);
}

#define MESSAGE(room, who, text)                                                                   \
	.type = CHAT_MESSAGE, .target = (room), .seq = 7, .time = (uint64_t)NOON * NS + 5,         \
	.name = (who), .uid = 1000, .body = (text), .len = sizeof(text) - 1

static const struct {
	const char *what;
	render_fn *render;
	struct chat_event event;
	const char *shown;
} rows[] = {
	{ "a line", render_plain, { MESSAGE("lobby", "alice", "hi") },
		"12:00:01 lobby alice: hi\n" },
	{ "a nick", render_plain, { MESSAGE("@bob", "nick", "hi"), .of = "alice" },
		"12:00:01 @bob nick(alice): hi\n" },
	{ "no body", render_plain, { MESSAGE("lobby", "alice", "") }, "12:00:01 lobby alice: \n" },
	{ "lines, escapes, backslashes", render_plain,
		{ MESSAGE("lobby", "alice", "a\nb\033[2J\\\x7f\0z") },
		"12:00:01 lobby alice: a\\nb\\x1b[2J\\\\\\x7f\\x00z\n" },
	{ "bad bytes and C1", render_plain, { MESSAGE("lobby", "alice", "\xff\xc2\x9b") },
		"12:00:01 lobby alice: \\xff\\xc2\\x9b\n" },
	{ "a name that lies", render_plain, { MESSAGE("lob\nby", "a\033[m", "x"), .of = "b\r" },
		"12:00:01 lob\\nby a\\x1b[m(b\\x0d): x\n" },
	{ "raw is raw", render_raw, { MESSAGE("lobby", "alice", "a\033\0\xff") }, "a\033\0\xff\n" },

	{ "the room of the prompt", render_lobby, { MESSAGE("lobby", "alice", "hi") },
		"12:00 alice: hi\n" },
	{ "another room", render_lobby, { MESSAGE("build.ci", "alice", "hi") },
		"12:00 [build.ci] alice: hi\n" },
	{ "colours", render_coloured, { MESSAGE("lobby", "alice", "\033[31m") },
		"\033[2m12:00 \033[0m\033[1malice\033[0m: \\x1b[31m\n" },
	{ "wall", render_coloured, { MESSAGE("wall", "root", "down") },
		"\033[2m12:00 [wall] \033[0m\033[1;31mroot\033[0m: down\n" },
	{ "a gap", render_lobby,
		{ .type = CHAT_GAP, .target = "lobby", .from = 5, .to = 9, .text = "retention" },
		"12:01 -- lobby: 5 to 9 can not be read any more (retention)\n" },
	{ "a reset", render_lobby,
		{ .type = CHAT_GAP, .target = "lobby", .from = 5, .text = "reset" },
		"12:01 -- lobby: the log begins anew (reset)\n" },
	{ "a presence gap", render_lobby,
		{ .type = CHAT_GAP, .target = "lobby", .text = "presence" },
		"12:01 -- lobby: somebody may have come or gone unseen (presence)\n" },
	{ "joined", render_lobby,
		{ .type = CHAT_JOINED, .target = "lobby", .name = "nick", .of = "bob" },
		"12:01 -- nick(bob) came into lobby\n" },
	{ "parted", render_lobby, { .type = CHAT_PARTED, .target = "lobby", .name = "bob" },
		"12:01 -- bob left lobby\n" },
	{ "refused", render_lobby,
		{ .type = CHAT_REFUSED,
			.target = "@x",
			.id = 1,
			.code = "NONAME",
			.text = "nobody\033" },
		"12:01 -- @x: not taken: nobody\\x1b (NONAME)\n" },
	{ "a cursor refused", render_lobby,
		{ .type = CHAT_REFUSED, .target = "r", .code = "DENIED", .text = "no" },
		"12:01 -- r: not read here any more: no (DENIED)\n" },
	{ "down", render_lobby, { .type = CHAT_DOWN, .code = "STOP", .text = "new\ndisk" },
		"12:01 -- the broker was stopped (new\\ndisk); trying again\n" },
	{ "down, without words", render_lobby, { .type = CHAT_DOWN, .code = "", .text = "" },
		"12:01 -- connection lost; trying again\n" },
	{ "down for good", render_lobby,
		{ .type = CHAT_DOWN, .code = "KICKED", .text = "out", .ended = true },
		"12:01 -- you were removed by an administrator: out\n" },
	{ "up", render_lobby, { .type = CHAT_UP }, "12:01 -- back\n" },

	{ "JSON", render_json, { MESSAGE("lobby", "alice", "say \"hi\"\\\n") },
		"{\"type\":\"message\",\"target\":\"lobby\",\"seq\":7,"
		"\"time\":\"2026-11-20T12:00:01.000000005Z\",\"name\":\"alice\",\"uid\":1000,"
		"\"body\":\"say \\\"hi\\\"\\\\\\u000a\"}\n" },
	{ "JSON of a nick; wide characters stay", render_json,
		{ MESSAGE("@bob", "nick", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"), .of = "alice" },
		"{\"type\":\"message\",\"target\":\"@bob\",\"seq\":7,"
		"\"time\":\"2026-11-20T12:00:01.000000005Z\",\"name\":\"nick\",\"uid\":1000,"
		"\"of\":\"alice\",\"body\":\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"}\n" },
	{ "JSON: C0, DEL, C1, bidi, tags", render_json,
		{ MESSAGE("r", "a", "\x01\x7f\xc2\x9b\xe2\x80\xae\xe2\x81\xa6\xf3\xa0\x81\x81") },
		"{\"type\":\"message\",\"target\":\"r\",\"seq\":7,"
		"\"time\":\"2026-11-20T12:00:01.000000005Z\",\"name\":\"a\",\"uid\":1000,"
		"\"body\":\"\\u0001\\u007f\\u009b\\u202e\\u2066\\udb40\\udc41\"}\n" },
	{ "JSON: bytes", render_json, { MESSAGE("r", "a", "\xff\xfe\0") },
		"{\"type\":\"message\",\"target\":\"r\",\"seq\":7,"
		"\"time\":\"2026-11-20T12:00:01.000000005Z\",\"name\":\"a\",\"uid\":1000,"
		"\"body_base64\":\"//4A\"}\n" },
	{ "JSON: one byte", render_json, { MESSAGE("r", "a", "\xff") },
		"{\"type\":\"message\",\"target\":\"r\",\"seq\":7,"
		"\"time\":\"2026-11-20T12:00:01.000000005Z\",\"name\":\"a\",\"uid\":1000,"
		"\"body_base64\":\"/w==\"}\n" },
	{ "JSON: two bytes", render_json, { MESSAGE("r", "a", "a\xff") },
		"{\"type\":\"message\",\"target\":\"r\",\"seq\":7,"
		"\"time\":\"2026-11-20T12:00:01.000000005Z\",\"name\":\"a\",\"uid\":1000,"
		"\"body_base64\":\"Yf8=\"}\n" },
	{ "JSON: a target that is not UTF-8", render_json, { .type = CHAT_UP, .target = "\xff\"" },
		"{\"type\":\"up\",\"target\":\"\\ufffd\\u0022\"}\n" },
	{ "JSON: gap", render_json,
		{ .type = CHAT_GAP, .target = "r", .from = 1, .to = UINT64_MAX, .text = "reset" },
		"{\"type\":\"gap\",\"target\":\"r\",\"from\":1,\"to\":18446744073709551615,"
		"\"reason\":\"reset\"}\n" },
	{ "JSON: joined", render_json,
		{ .type = CHAT_JOINED, .target = "r", .name = "bob", .uid = 1001 },
		"{\"type\":\"joined\",\"target\":\"r\",\"name\":\"bob\",\"uid\":1001}\n" },
	{ "JSON: refused", render_json,
		{ .type = CHAT_REFUSED, .target = "r", .id = 3, .code = "DENIED", .text = "no" },
		"{\"type\":\"refused\",\"target\":\"r\",\"id\":3,\"code\":\"DENIED\","
		"\"text\":\"no\"}\n" },
	{ "JSON: down", render_json, { .type = CHAT_DOWN, .code = "STOP", .text = "" },
		"{\"type\":\"down\",\"code\":\"STOP\",\"text\":\"\",\"ended\":false}\n" },
};

static void test_rows(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char *shown = NULL;
		size_t len = 0;
		FILE *out = open_memstream(&shown, &len);

		assert_non_null(out);
		rows[i].render(out, &rows[i].event);
		fclose(out);
		/* what raw shows may hold zeros */
		if (len < strlen(rows[i].shown) || memcmp(shown, rows[i].shown, len) != 0 ||
			(rows[i].render != render_raw && len != strlen(rows[i].shown)))
			fail_msg("%s:\n got %s want %s", rows[i].what, shown, rows[i].shown);
		free(shown);
	}
}

/* A long body is escaped in slices, which must halve no character. */
static void test_slices(void **state)
{
	static char body[64000];

	for (size_t shift = 0; shift < 4; shift++) {
		struct chat_event event = { MESSAGE("r", "a", "") };
		char *shown = NULL;
		size_t len = 0;
		FILE *out = open_memstream(&shown, &len);

		memset(body, 'x', shift);
		for (size_t i = shift; i + 4 <= sizeof(body); i += 4)
			memcpy(body + i, "\xf0\x9f\x98\x80", 4);
		event.body = body;
		event.len = sizeof(body) - 4 + shift;
		render_plain(out, &event);
		fclose(out);
		assert_int_equal(len, strlen("12:00:01 r a: \n") + event.len);
		assert_null(memchr(shown, '\\', len));
		free(shown);
	}
}

/* Continuation bytes without end belong to no character: all of them are shown. */
static void test_slices_of_nonsense(void **state)
{
	static char body[64000];
	struct chat_event event = { MESSAGE("r", "a", "") };
	char *shown = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&shown, &len);

	memset(body, 0x80, sizeof(body));
	event.body = body;
	event.len = sizeof(body);
	render_plain(out, &event);
	fclose(out);
	assert_int_equal(len, strlen("12:00:01 r a: \n") + 4 * sizeof(body));
	free(shown);
}

/* Whatever the bytes are: one line, of printable bytes. */
static void test_never_raw(void **state)
{
	static render_fn *const renders[] = { render_plain, render_json, render_lobby };

	srand(1);
	for (size_t round = 0; round < 3000; round++) {
		char body[64], name[16], *shown = NULL;
		struct chat_event event = { MESSAGE("r", name, "") };
		size_t len = 0;
		FILE *out = open_memstream(&shown, &len);

		for (size_t i = 0; i < sizeof(body); i++)
			body[i] = (char)(rand() >> 8);
		for (size_t i = 0; i < sizeof(name) - 1; i++)
			name[i] = (char)(1 + (rand() >> 8) % 255);
		name[sizeof(name) - 1] = '\0';
		event.body = body;
		event.len = sizeof(body);
		renders[round % ARRAY_LEN(renders)](out, &event);
		fclose(out);
		assert_int_equal(shown[len - 1], '\n');
		for (size_t i = 0; i < len - 1; i++)
			assert_true((unsigned char)shown[i] >= 0x20 && shown[i] != 0x7f);
		assert_true(text_is_utf8((struct text){ shown, len }));
		free(shown);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_slices),
		cmocka_unit_test(test_slices_of_nonsense),
		cmocka_unit_test(test_never_raw),
	};

	setenv("TZ", "UTC0", 1);
	tzset();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
