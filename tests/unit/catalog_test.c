/* catalog_test.c - what a checkpoint leaves is read back as it was, also from the format before;
 * one of a later format, or of something else, is refused. */
#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "broker/catalog.h"
#include "protocol/base.h"

static char directory[64], file[96];

static int setup(void **state)
{
	snprintf(directory, sizeof directory, "/tmp/chat-catalog.XXXXXX");
	assert_non_null(mkdtemp(directory));
	snprintf(file, sizeof file, "%s/" CATALOG_NAME, directory);
	return 0;
}

static int teardown(void **state)
{
	char journal[128];

	snprintf(journal, sizeof journal, "%s-journal", file);
	(void)unlink(journal);
	(void)unlink(file);
	return rmdir(directory);
}

/* What was read, a line each. */
struct reading {
	char text[1024];
	size_t len;
};

static _printf_(2, 3) int note(struct reading *reading, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	reading->len += (size_t)vsnprintf(
		reading->text + reading->len, sizeof reading->text - reading->len, format, ap);
	va_end(ap);
	return 0;
}

static int take_clock(void *userdata, uint64_t age, uint64_t wall)
{
	return note(userdata, "clock %lu %lu\n", (unsigned long)age, (unsigned long)wall);
}

static int take_room(void *userdata, const struct catalog_room *room)
{
	return note(userdata, "room %lu %.*s owner=%u next=%lu\n", (unsigned long)room->id,
		(int)room->key.len, room->key.data, room->owner, (unsigned long)room->next);
}

static int take_segment(void *userdata, uint64_t room, const struct segment_image *image)
{
	return note(userdata, "segment %lu %u used=%u time=%lu last=%lu\n", (unsigned long)room,
		image->number, image->used, (unsigned long)image->time, (unsigned long)image->last);
}

static int take_publisher(void *userdata, uint64_t room, const struct catalog_publisher *row)
{
	return note(userdata, "publisher %lu %lu\n", (unsigned long)room, (unsigned long)row->id);
}

static int take_mark(void *userdata, uint64_t room, uid_t uid, uint64_t seq)
{
	return note(userdata, "mark %lu %u %lu\n", (unsigned long)room, uid, (unsigned long)seq);
}

static int take_value(void *userdata, uint64_t room, const struct catalog_value *value)
{
	return note(userdata, "value %lu %.*s=%.*s by %.*s %u version=%lu\n", (unsigned long)room,
		(int)value->key.len, value->key.data, (int)value->text.len, value->text.data,
		(int)value->author.len, value->author.data, value->uid,
		(unsigned long)value->version);
}

static int take_name(void *userdata, struct text name, uid_t uid, uint64_t used_at)
{
	return note(userdata, "name %.*s %u %lu\n", (int)name.len, name.data, uid,
		(unsigned long)used_at);
}

static int take_dropped(void *userdata, uint64_t room)
{
	return note(userdata, "dropped %lu\n", (unsigned long)room);
}

static const struct catalog_reader reader = { take_clock, take_room, take_segment, take_publisher,
	take_mark, take_value, take_name, take_dropped };

static void expect_all_when(enum catalog_mode mode, const char *wanted)
{
	struct reading reading = { .len = 0 };
	char why[CATALOG_WHY_MAX];
	struct catalog catalog;

	assert_int_equal(catalog_open(&catalog, directory, mode, why), 0);
	assert_int_equal(catalog_check(&catalog, why), 0);
	assert_int_equal(catalog_read(&catalog, &reader, &reading, why), 0);
	catalog_close(&catalog);
	assert_string_equal(reading.text, wanted);
}

static void expect_all(const char *wanted)
{
	expect_all_when(CATALOG_WRITE, wanted);
}

static void put_all(struct catalog *catalog, uint64_t last)
{
	assert_int_equal(catalog_begin(catalog), 0);
	assert_int_equal(catalog_put_room(catalog, &(struct catalog_room){ .id = 7,
							   .key = TEXT("room"),
							   .target_len = 4,
							   .owner = 1000,
							   .next = 3 }),
		0);
	assert_int_equal(catalog_put_segment(catalog, 7,
				 &(struct segment_image){ .number = 2,
					 .size = 100,
					 .used = 50,
					 .first = 1,
					 .next = 3,
					 .time = 10,
					 .last = last }),
		0);
	assert_int_equal(catalog_put_mark(catalog, 7, 1001, 2), 0);
	assert_int_equal(catalog_commit(catalog), 0);
}

static void test_values(void **state)
{
	static const struct catalog_value values[] = {
		{ TEXT("topic"), TEXT("al1ce 1000"), TEXT("so much"), 1000, 5 },
		{ TEXT("a"), TEXT("b0b 1001 of=bob"), TEXT("x"), 1001, 4 },
	};
	char why[CATALOG_WHY_MAX];
	struct catalog catalog;

	assert_int_equal(catalog_open(&catalog, directory, CATALOG_CREATE, why), 0);
	put_all(&catalog, 20);
	assert_int_equal(catalog_begin(&catalog), 0);
	for (size_t i = 0; i < ARRAY_LEN(values); i++)
		assert_int_equal(catalog_put_value(&catalog, 7, &values[i]), 0);
	assert_int_equal(catalog_commit(&catalog), 0);
	catalog_close(&catalog);
	expect_all("room 7 room owner=1000 next=3\nsegment 7 2 used=50 time=10 last=20\n"
		   "mark 7 1001 2\nvalue 7 a=x by b0b 1001 of=bob 1001 version=4\n"
		   "value 7 topic=so much by al1ce 1000 1000 version=5\n");
	assert_int_equal(catalog_open(&catalog, directory, CATALOG_CREATE, why), 0);
	assert_int_equal(catalog_begin(&catalog), 0);
	assert_int_equal(catalog_drop_values(&catalog, 7), 0);
	assert_int_equal(catalog_put_value(&catalog, 7, &values[1]), 0);
	assert_int_equal(catalog_commit(&catalog), 0);
	/* with the room all goes */
	assert_int_equal(catalog_begin(&catalog), 0);
	assert_int_equal(catalog_drop_room(&catalog, 7), 0);
	catalog_close(&catalog); /* which takes back what was not committed */
	expect_all("room 7 room owner=1000 next=3\nsegment 7 2 used=50 time=10 last=20\n"
		   "mark 7 1001 2\nvalue 7 a=x by b0b 1001 of=bob 1001 version=4\n");
	assert_int_equal(catalog_open(&catalog, directory, CATALOG_CREATE, why), 0);
	assert_int_equal(catalog_begin(&catalog), 0);
	assert_int_equal(catalog_drop_room(&catalog, 7), 0);
	assert_int_equal(catalog_commit(&catalog), 0);
	catalog_close(&catalog);
	expect_all("dropped 7\n");
	assert_int_equal(catalog_open(&catalog, directory, CATALOG_CREATE, why), 0);
	assert_int_equal(catalog_clear_dropped(&catalog), 0);
	catalog_close(&catalog);
	expect_all("");
}

static void run_sql(const char *sql)
{
	sqlite3 *db;

	assert_int_equal(sqlite3_open(file, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
}

static void expect_int_in_file(const char *sql, int wanted)
{
	sqlite3_stmt *statement;
	sqlite3 *db;

	assert_int_equal(sqlite3_open(file, &db), SQLITE_OK);
	assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
	assert_int_equal(sqlite3_column_int(statement, 0), wanted);
	sqlite3_finalize(statement);
	sqlite3_close(db);
}

#define WITHOUT_CRC                                                                                \
	"ALTER TABLE room DROP COLUMN crc; ALTER TABLE segment DROP COLUMN crc;"                   \
	"ALTER TABLE publisher DROP COLUMN crc; ALTER TABLE mark DROP COLUMN crc;"                 \
	"ALTER TABLE name DROP COLUMN crc; ALTER TABLE journal DROP COLUMN crc;"

static void test_clock(void **state)
{
	char why[CATALOG_WHY_MAX];
	struct catalog catalog;

	for (uint64_t i = 1; i <= 2; i++) {
		assert_int_equal(catalog_open(&catalog, directory, CATALOG_CREATE, why), 0);
		assert_int_equal(catalog_begin(&catalog), 0);
		assert_int_equal(catalog_set_clock(&catalog, i, 10 * i), 0);
		assert_int_equal(catalog_commit(&catalog), 0);
		catalog_close(&catalog);
	}
	expect_all("clock 2 20\n");
	/* the format before had none */
	run_sql("DROP TABLE clock; PRAGMA user_version=4;");
	expect_all_when(CATALOG_INSPECT, "");
	expect_int_in_file("PRAGMA user_version", 4);
	expect_all("");
	expect_int_in_file("PRAGMA user_version", 5);
}

/* The oldest format had no values, did not know when a segment ends, nor what was dropped. */
static void test_format_before(void **state)
{
	char why[CATALOG_WHY_MAX];
	struct catalog catalog;

	assert_int_equal(catalog_open(&catalog, directory, CATALOG_CREATE, why), 0);
	put_all(&catalog, 20);
	catalog_close(&catalog);
	run_sql("DROP TABLE clock; DROP TABLE value; ALTER TABLE segment DROP COLUMN "
		"last;" WITHOUT_CRC
		"ALTER TABLE journal DROP COLUMN state; ALTER TABLE journal DROP COLUMN "
		"incarnation;"
		"DROP TABLE dropped; PRAGMA user_version=2;");
	for (int i = 0; i < 2; i++) /* who only looks changes nothing */
		expect_all_when(CATALOG_INSPECT,
			"room 7 room owner=1000 next=3\n"
			"segment 7 2 used=50 time=10 last=0\nmark 7 1001 2\n");
	expect_int_in_file("PRAGMA user_version", 2);
	expect_all("room 7 room owner=1000 next=3\nsegment 7 2 used=50 time=10 last=0\n"
		   "mark 7 1001 2\n");
	assert_int_equal(catalog_open(&catalog, directory, CATALOG_CREATE, why), 0);
	put_all(&catalog, 30);
	catalog_close(&catalog);
	expect_all("room 7 room owner=1000 next=3\nsegment 7 2 used=50 time=10 last=30\n"
		   "mark 7 1001 2\n");
}

static void test_other_formats(void **state)
{
	static const struct {
		const char *sql, *why;
	} table[] = {
		{ "PRAGMA user_version=6", "of another version" },
		{ "PRAGMA user_version=1", "of another version" },
		{ "PRAGMA application_id=1", "not a file of chat-broker" },
	};
	char why[CATALOG_WHY_MAX];
	struct catalog catalog;

	assert_int_equal(catalog_open(&catalog, directory, CATALOG_CREATE, why), 0);
	catalog_close(&catalog);
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		run_sql(table[i].sql);
		assert_int_equal(
			catalog_open(&catalog, directory, CATALOG_CREATE, why), CATALOG_E_FORMAT);
		assert_non_null(strstr(why, table[i].why));
	}
}

static void expect_damaged(const char *why_wanted)
{
	struct reading reading = { .len = 0 };
	struct catalog_journal journal;
	char why[CATALOG_WHY_MAX] = "";
	struct catalog catalog;
	int r;

	assert_int_equal(catalog_open(&catalog, directory, CATALOG_INSPECT, why), 0);
	r = catalog_read_journal(&catalog, &journal, why);
	if (r == 0)
		r = catalog_read(&catalog, &reader, &reading, why);
	catalog_close(&catalog);
	assert_int_equal(r, CATALOG_E_DAMAGED);
	assert_non_null(strstr(why, why_wanted));
}

/* SQLite does not notice another number in a row; its CRC does. */
static void test_changed_rows(void **state)
{
	static const char *const changes[] = {
		"UPDATE room SET next=4",
		"UPDATE room SET key=CAST('rooM' AS BLOB)",
		"UPDATE segment SET used=51",
		"UPDATE mark SET seq=3",
		"UPDATE journal SET generation=7",
		"UPDATE clock SET age=7",
		"UPDATE journal SET crc=1",
	};
	static const char *const back[] = { "UPDATE room SET next=3",
		"UPDATE room SET key=CAST('room' AS BLOB)", "UPDATE segment SET used=50",
		"UPDATE mark SET seq=2", "UPDATE journal SET generation=5",
		"UPDATE clock SET age=1", "" };
	char why[CATALOG_WHY_MAX];
	struct catalog catalog;

	assert_int_equal(catalog_open(&catalog, directory, CATALOG_CREATE, why), 0);
	put_all(&catalog, 20);
	assert_int_equal(catalog_set_journal(
				 &catalog, &(struct catalog_journal){ 5, CATALOG_JOURNAL_OPEN, 9 }),
		0);
	assert_int_equal(catalog_set_clock(&catalog, 1, 2), 0);
	catalog_close(&catalog);
	for (size_t i = 0; i < ARRAY_LEN(changes); i++) {
		run_sql(changes[i]);
		expect_damaged("a row is damaged");
		run_sql(back[i]);
	}
}

/* One that is only looked at is not made, and is not changed. */
static void test_absent(void **state)
{
	char why[CATALOG_WHY_MAX];
	struct catalog catalog;
	FILE *empty;

	assert_int_equal(catalog_open(&catalog, directory, CATALOG_INSPECT, why), CATALOG_E_ABSENT);
	assert_int_equal(catalog_open(&catalog, directory, CATALOG_WRITE, why), CATALOG_E_ABSENT);
	assert_int_equal(access(file, F_OK), -1);
	empty = fopen(file, "w");
	assert_non_null(empty);
	fclose(empty);
	assert_int_equal(catalog_open(&catalog, directory, CATALOG_INSPECT, why), CATALOG_E_ABSENT);
	assert_int_equal(catalog_open(&catalog, directory, CATALOG_WRITE, why), CATALOG_E_ABSENT);
	assert_int_equal(catalog_open(&catalog, directory, CATALOG_CREATE, why), 0);
	catalog_close(&catalog);
	expect_all("");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_values, setup, teardown),
		cmocka_unit_test_setup_teardown(test_clock, setup, teardown),
		cmocka_unit_test_setup_teardown(test_format_before, setup, teardown),
		cmocka_unit_test_setup_teardown(test_other_formats, setup, teardown),
		cmocka_unit_test_setup_teardown(test_changed_rows, setup, teardown),
		cmocka_unit_test_setup_teardown(test_absent, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
