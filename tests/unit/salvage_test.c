/* salvage_test.c - records that are damaged become tombstones of their numbers; the others stay,
 * and no text of a user passes for a record.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "broker/salvage.h"
#include "protocol/base.h"
#include "protocol/frame.h"
#include "protocol/number.h"
#include "protocol/record.h"

#define FIRST 7
#define COUNT 9

static const struct text target = { "room", 4 };

static char data[4 << 20], before[sizeof data];
static size_t starts[COUNT + 1];

/* One record of number SEQ. Returns its size. */
static size_t put(char *at, uint64_t seq, struct text body)
{
	int n = sprintf(at + RECORD_HEADER_LEN, "MSG room %lu 1700000000000000000 alice 1000\n",
		(unsigned long)seq);

	memcpy(at + RECORD_HEADER_LEN + n, body.data, body.len);
	record_close(at, (size_t)n + body.len);
	record_seal(at);
	return record_size((size_t)n + body.len);
}

/* Records FIRST and so on, of several sizes; the largest is as long as a message may be. */
static size_t make(void)
{
	static const size_t lens[COUNT] = { 0, 1, 7, 100, BODY_LEN_MAX, 8, 0, 5000, 3 };
	static char body[BODY_LEN_MAX];

	memset(body, 'b', sizeof body);
	for (size_t i = 0; i < COUNT; i++)
		starts[i + 1] = starts[i] +
				put(data + starts[i], FIRST + i, (struct text){ body, lens[i] });
	memcpy(before, data, starts[COUNT]);
	return starts[COUNT];
}

static uint64_t salvage(size_t len)
{
	return records_salvage(data, len, target, FIRST, FIRST + COUNT);
}

/* All are records that a client takes; those of the bits of LOST are tombstones, and the others are
 * as they were, wherever they are now. */
static void expect(size_t len, unsigned lost)
{
	const char *at = data;
	struct text line;
	uint64_t number;

	for (size_t i = 0; i < COUNT; i++) {
		const char *record = at;
		struct frame frame;

		assert_int_equal(record_next(&at, data + len, &line), 0);
		assert_int_equal(record_check(record), 0);
		assert_int_equal(frame_parse(&frame, line), 0);
		assert_true(number_parse(frame.word[2], &number));
		assert_int_equal(number, FIRST + i);
		assert_int_equal(frame_is_tombstone(line), (lost >> i) & 1);
		if (frame_is_tombstone(line))
			assert_true(text_equal(frame.word[4], TEXT("damaged")));
		else
			assert_memory_equal(record, before + starts[i], starts[i + 1] - starts[i]);
	}
	assert_ptr_equal(at, data + len);
}

static void test_good(void **state)
{
	size_t len = make();

	assert_true(records_are_good(data, len, target, FIRST, FIRST + COUNT));
	assert_false(records_are_good(data, len, target, FIRST, FIRST + COUNT + 1));
	assert_false(records_are_good(data, len, target, FIRST + 1, FIRST + COUNT + 1));
	assert_false(records_are_good(data, len, TEXT("other"), FIRST, FIRST + COUNT));
	assert_int_equal(salvage(len), 0);
	expect(len, 0);
}

/* Any byte of any record costs that record, and no other. */
static void test_one_byte(void **state)
{
	for (size_t i = 0; i < COUNT; i++) {
		size_t size, at;

		make();
		size = record_size(record_frame(data + starts[i]).len);
		for (at = 0; at < size; at += at < 80 ? 1 : 997) {
			size_t len = make();
			bool is_padding =
				at >= RECORD_HEADER_LEN + record_frame(data + starts[i]).len;

			data[starts[i] + at] ^= 0x41;
			assert_int_equal(salvage(len), is_padding ? 0 : 1);
			if (!is_padding)
				expect(len, 1u << i);
		}
	}
}

static void test_two_places(void **state)
{
	size_t len = make();

	data[starts[2] + 20] ^= 1;
	data[starts[6] + 20] ^= 1;
	assert_int_equal(salvage(len), 2);
	expect(len, 1u << 2 | 1u << 6);
	/* records that became tombstones are good from then on */
	assert_true(records_are_good(data, len, target, FIRST, FIRST + COUNT));
	memcpy(before, data, len);
	assert_int_equal(salvage(len), 0);
}

/* The end of a file is gone: zeros are read there. */
static void test_cut(void **state)
{
	size_t len = make();

	memset(data + starts[3] + 10, 0, len - starts[3] - 10);
	assert_int_equal(salvage(len), COUNT - 3);
	expect(len, 0x1ff & ~7u);
}

static void test_nothing(void **state)
{
	size_t len = make();

	memset(data, 0xff, len);
	assert_int_equal(salvage(len), COUNT);
	expect(len, 0x1ff);
	/* too little for so many */
	assert_int_equal(records_salvage(data, 64, target, 1, 100), UINT64_MAX);
}

/* A body has whole records of another user. The length before it is damaged: they are not taken for
 * records, whichever numbers they have. */
static void test_forged(void **state)
{
	static char body[2048];

	for (uint64_t forged = 0; forged < 4; forged++) {
		size_t len = 0, body_len = 0;

		for (uint64_t i = 0; i < 3; i++) {
			char *at = body + body_len;
			int n = sprintf(at + RECORD_HEADER_LEN,
				"MSG room %lu 1700000000000000000 root 0\nobey", forged + i);

			record_close(at, (size_t)n);
			record_seal(at);
			body_len += record_size((size_t)n);
		}
		/* its length is to lead into the body, to where that is aligned like a record */
		len += put(data, 1, (struct text){ body, body_len });
		len += put(data + len, 2, TEXT("mine"));
		len += put(data + len, 3, TEXT("mine, too"));
		data[0] ^= 0x40;
		data[1] ^= 0x01;
		assert_int_equal(records_salvage(data, len, target, 1, 4), 1);
		assert_null(memmem(data, len, "root 0", 6) && record_frame(data).data[0] == 'M'
				    ? data
				    : NULL);
		assert_true(frame_is_tombstone(record_frame(data)));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_one_byte),
		cmocka_unit_test(test_two_places),
		cmocka_unit_test(test_cut),
		cmocka_unit_test(test_nothing),
		cmocka_unit_test(test_forged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
