/* board_test.c - what stands out, in what space, and that nothing else gets through. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "client/board.h"
#include "protocol/base.h"

static struct board board;

static void add(enum board_section section, const char *row)
{
	board_add(&board, section, text_of(row));
}

/* What is printed; good until the next call. */
static const char *print(unsigned n_columns, unsigned n_lines)
{
	static char *text;
	size_t len;
	FILE *out;

	free(text);
	out = open_memstream(&text, &len);
	board_print(out, &board, n_columns, n_lines, "\n", false);
	fclose(out);
	return text;
}

static const char *print_json(void)
{
	static char *text;
	size_t len;
	FILE *out;

	free(text);
	out = open_memstream(&text, &len);
	board_print_json(out, &board);
	fclose(out);
	return text;
}

static void expect_order(enum board_section section, const char *first, const char *second)
{
	board_clear(&board);
	add(section, second);
	add(section, first);
	assert_memory_equal(board.lists[section].rows[0].data, first, strlen(first));
	board_clear(&board);
	add(section, first);
	add(section, second);
	assert_memory_equal(board.lists[section].rows[0].data, first, strlen(first));
}

static void test_order(void **state)
{
	expect_order(BOARD_USERS, "a 1 said=1 rate=9/10", "b 2 said=99 rate=8/10");
	expect_order(BOARD_USERS, "a 1 said=2 rate=0/10", "b 2 said=1 rate=0/10");
	expect_order(BOARD_USERS, "a 1 connections=9/9 rate=0/1", "b 2 connections=1/9 rate=0/1");
	expect_order(BOARD_SESSIONS, "a 1 behind=10 blocked=0", "b 2 behind=9 blocked=900");
	expect_order(BOARD_SESSIONS, "a 1 behind=9 blocked=2", "b 2 behind=9 blocked=1");
	expect_order(BOARD_SESSIONS, "a 1 behind=0 blocked=0 held=1", "b 2 behind=0 blocked=0");
	expect_order(BOARD_ROOMS, "a bytes=18446744073709551615", "b bytes=1 rate=100");
	expect_order(BOARD_ROOMS, "a bytes=1 rate=2", "b bytes=1 rate=1");
}

/* Of many, the first are kept; of equals, those that came first. */
static void test_many(void **state)
{
	char row[64];

	board_clear(&board);
	for (unsigned i = 0; i < 1000; i++) {
		snprintf(row, sizeof row, "room%u bytes=%u", i, i * 7919 % 1000);
		add(BOARD_ROOMS, row);
	}
	assert_int_equal(board.lists[BOARD_ROOMS].n_rows, BOARD_ROWS_MAX);
	for (size_t i = 0; i < BOARD_ROWS_MAX; i++)
		assert_int_equal(board.lists[BOARD_ROOMS].rows[i].key[0], 999 - i);
	board_clear(&board);
	for (unsigned i = 0; i < 100; i++) {
		snprintf(row, sizeof row, "room%u bytes=5", i);
		add(BOARD_ROOMS, row);
	}
	for (size_t i = 0; i < BOARD_ROWS_MAX; i++) {
		snprintf(row, sizeof row, "room%zu bytes=5", i);
		assert_memory_equal(board.lists[BOARD_ROOMS].rows[i].data, row, strlen(row));
	}
}

static void fill(void)
{
	board_clear(&board);
	board_count(&board, TEXT("appended_rate 1234"));
	board_count(&board, TEXT("delivered_rate 123456"));
	board_count(&board, TEXT("sessions 3"));
	board_count(&board, TEXT("persons 2"));
	board_count(&board, TEXT("rooms 1"));
	board_count(&board, TEXT("cursors 4"));
	board_count(&board, TEXT("log_bytes 134217728"));
	board_count(&board, TEXT("log_bytes_limit 268435456"));
	board_count(&board, TEXT("uptime_s 3725"));
	add(BOARD_USERS,
		"alice 1000 connections=120/128 cursors=1/4096 rooms=1/1024 names=0/8 "
		"bytes=1536/33554432 log_bytes=134217728 said=1000000 said_bytes=9 rate=1234/5000 "
		"slowed=7");
	add(BOARD_USERS, "strangers - connections=1/128 bytes=0/9 said=0 rate=1002/1000 slowed=3");
	add(BOARD_SESSIONS,
		"nick 1000 of=alice number=17 since=9 pid=4711 said=0 rate=0 delivered=99999 "
		"behind=100000 more room=build.ci.nightly.of.a.long.name held=0 blocked=61500");
	add(BOARD_SESSIONS,
		"- 1001 number=18 since=9 said=0 rate=0 delivered=0 behind=0 room=- held=0 "
		"blocked=0 waits=rate");
	add(BOARD_ROOMS, "lobby readers=2 first=11 next=21 bytes=134217728 owner=0 rate=1234");
}

static void test_print(void **state)
{
	fill();
	assert_string_equal(print(80, 24),
		"1234 messages/s, 123k deliveries/s, 3 sessions of 2 people\n"
		"logs 128M of 256M (50%), 1 rooms, 4 cursors, up 1h02m\n"
		"\n"
		"USER              MSG/S SLOWED   SAID   LOG  HELD CONNS CURSORS FULLEST\n"
		"alice              1234      7   1.0M  128M  1.5k   120       1 connections 93%\n"
		"strangers          1002      3      0     0     0     1       0 rate 100%\n"
		"\n"
		"SESSION        BEHIND IN             BLOCKED  HELD WAITS    MSG/S   SENT PID\n"
		"nick(alice) #+  100k+ build.ci.nigh+   1m01s     0              0  99999 4711\n"
		"uid 1001 #18        0 -                    -     0 rate         0      0\n"
		"\n"
		"ROOM                                    BYTES  MSG/S MESSAGES READERS OWNER\n"
		"lobby                                    128M   1234       10       2 0");
}

/* However small it is, it fits, and what matters most is left. */
static void test_sizes(void **state)
{
	fill();
	for (unsigned n_columns = 0; n_columns < 200; n_columns++)
		for (unsigned n_lines = 0; n_lines < 40; n_lines++) {
			const char *text = print(n_columns, n_lines);
			unsigned n = 0;

			for (const char *line = text, *end; line; line = end ? end + 1 : NULL) {
				end = strchr(line, '\n');
				n++;
				assert_true(
					(end ? (size_t)(end - line) : strlen(line)) <= n_columns);
			}
			assert_true(n <= MAX(n_lines, (unsigned)BOARD_LINES_MIN));
			if (n_columns < strlen("alice"))
				continue; /* a part of the name */
			assert_true((n_lines >= 5) == (strstr(text, "\nalice") != NULL));
			assert_true((n_lines >= 11) == (strstr(text, "\nlobby") != NULL));
			assert_true(n_lines < 11 || n_columns < 30 || strstr(text, "BYTES"));
		}
	/* what one section does not need is the others' */
	for (int i = 0; i < 30; i++)
		add(BOARD_ROOMS, "room bytes=1");
	assert_int_equal(strlen(print(20, 40)) > 0, true);
	{
		unsigned n = 0;

		for (const char *at = print(20, 40); (at = strchr(at, '\n')); at++)
			n++;
		assert_int_equal(n + 1, 40);
	}
}

static void test_json(void **state)
{
	board_clear(&board);
	board_count(&board, TEXT("sessions 3"));
	add(BOARD_USERS, "strangers - connections=1/128 rate=0/5");
	add(BOARD_SESSIONS, "1234 1000 of=alice number=17 behind=5 more room=42 blocked=0");
	add(BOARD_SESSIONS, "- 1001 number=18");
	assert_string_equal(print_json(),
		"{\"counters\":{\"sessions\":3},"
		"\"users\":[{\"name\":\"strangers\",\"connections\":1,\"connections_limit\":128,"
		"\"rate\":0,\"rate_limit\":5}],"
		"\"sessions\":[{\"name\":\"1234\",\"uid\":1000,\"of\":\"alice\",\"number\":17,"
		"\"behind\":5,\"more\":true,\"room\":\"42\",\"blocked\":0},"
		"{\"uid\":1001,\"number\":18}],\"rooms\":[]}\n");
	board_clear(&board);
	assert_string_equal(
		print_json(), "{\"counters\":{},\"users\":[],\"sessions\":[],\"rooms\":[]}\n");
}

/* A broker that sends anything can not disturb the terminal, nor this program. */
static void test_hostile(void **state)
{
	static const char *const rows[] = {
		"",
		" ",
		"=",
		"x",
		"- ",
		"-",
		"a b=",
		"\033[2J \033[31m number=\033 room=\033[0m waits=\001 of=\177\n behind=x",
		"a 1 rate=1/ said=/ connections=/1 cursors=1/0 rooms=5/2",
		"a 1 \377\376=1/2 more more \"=\" \\= =x",
		"a 1 of= number= room= held=99999999999999999999 blocked=18446744073709551615",
		"caf\303\251 1 room=\342\200\256evil",
		"name-that-is-longer-than-any-that-there-can-be-and-goes-on-and-on-and-on-and-on-"
		"and-on 1 of=name-that-is-longer-than-any-that-there-can-be-and-goes-on-and-on-"
		"and-on-and-on number=18446744073709551615 room=as-long-as-it-can-be-in-any-place-"
		"of-all-those-where-it-could-be-so-long-and-longer",
	};
	char longest[2000];

	memset(longest, 'y', sizeof longest);
	memcpy(longest + 10, "=1/2 z=", 7);
	for (int section = 0; section < BOARD_SECTIONS; section++) {
		board_clear(&board);
		for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
			add((enum board_section)section, rows[i]);
			board_count(&board, text_of(rows[i]));
		}
		board_add(&board, (enum board_section)section,
			(struct text){ longest, sizeof longest });
		for (const char *p = print(150, 60); *p; p++)
			assert_true(*p == '\n' || (*p >= ' ' && *p < 0x7f));
		for (const char *p = print_json(); *p; p++)
			assert_true(*p == '\n' || ((unsigned char)*p >= ' ' && *p != 0x7f));
	}
	board_clear(&board);
	for (int i = 0; i < BOARD_COUNTERS_MAX + 9; i++)
		board_count(&board, TEXT("name 7"));
	assert_int_equal(board.n_counters, BOARD_COUNTERS_MAX);
	assert_int_equal(board_counter(&board, "name"), 7);
	assert_int_equal(board_counter(&board, "other"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_print),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_json),
		cmocka_unit_test(test_hostile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
