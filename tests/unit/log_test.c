/* log_test.c - a log against what it should be: an array of all that was ever appended.
 *
 * The model keeps the size and time of each record; its bytes follow from its number.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "broker/log.h"
#include "protocol/base.h"
#include "protocol/record.h"

#define RECORDS_MAX 20000

struct model {
	struct log log;
	size_t len[RECORDS_MAX + 1]; /* of the frame of record N */
	uint64_t time[RECORDS_MAX + 1];
};

static struct model *model_new(void)
{
	struct model *model = calloc(1, sizeof *model);

	assert_non_null(model);
	log_init(&model->log);
	return model;
}

static void model_freep(struct model **model)
{
	if (!*model)
		return;
	log_deinit(&(*model)->log);
	assert_int_equal((*model)->log.bytes, 0);
	free(*model);
}

#define MODEL(name) _cleanup_(model_freep) struct model *name = model_new()

/* The frame of record SEQ, as it must be read: a MSG line, then letters. */
static size_t frame_make(char *dst, uint64_t seq, uint64_t time, size_t body_len)
{
	int n = sprintf(dst, "MSG r %lu %lu n 1\n", (unsigned long)seq, (unsigned long)time);

	for (size_t i = 0; i < body_len; i++)
		dst[(size_t)n + i] = (char)('a' + (seq + i) % 26);
	return (size_t)n + body_len;
}

/* RESERVED: how much more than needed is reserved, as room_append() does. */
static void model_append(
	struct model *model, size_t body_len, uint64_t time, uint64_t max_bytes, size_t reserved)
{
	uint64_t seq = model->log.next;
	char *frame;

	assert_true(seq <= RECORDS_MAX);
	assert_int_equal(log_reserve(&model->log, 64 + body_len + reserved, max_bytes, &frame), 0);
	model->len[seq] = frame_make(frame, seq, time, body_len);
	model->time[seq] = time;
	log_commit(&model->log, model->len[seq], time, time);
	assert_int_equal(model->log.next, seq + 1);
	assert_int_equal(model->log.last_time, time);
	assert_true(model->log.first <= seq);
}

static void expect_frame(struct model *model, struct text frame, uint64_t seq)
{
	static char want[70000];
	size_t head = (size_t)snprintf(want, sizeof want, "MSG r %lu %lu n 1\n", (unsigned long)seq,
		(unsigned long)model->time[seq]);

	assert_int_equal(frame.len, model->len[seq]);
	frame_make(want, seq, model->time[seq], frame.len - head);
	assert_memory_equal(frame.data, want, frame.len);
}

/* A slice is whole records, those of the numbers from the cursor's on. Returns its bytes. */
static size_t expect_slice(struct model *model, struct log_cursor *cursor, size_t max)
{
	struct log_cursor next, aside = *cursor;
	const char *records = NULL, *at;
	struct text frame = { NULL, 0 };
	uint64_t seq = cursor->seq;
	size_t size = log_read(&model->log, cursor, max, &records, &next);
	uint32_t crc;

	if (cursor->seq == model->log.next) {
		assert_int_equal(size, 0);
		return 0;
	}
	assert_true(size > 0 && size <= max);
	at = records;
	while (at < records + size) {
		memcpy(&crc, at + 4, sizeof crc);
		assert_int_not_equal(crc, 0); /* "not computed" */
		assert_int_equal(record_check(at), 0);
		assert_int_equal(record_next(&at, records + size, &frame), 0);
		expect_frame(model, frame, seq++);
	}
	assert_ptr_equal(at, records + size);
	assert_int_equal(next.seq, seq);

	/* one record, read alone, is the first of the slice */
	assert_int_equal(log_read_one(&model->log, &aside, &frame, &next),
		record_size(model->len[cursor->seq]));
	expect_frame(model, frame, cursor->seq);
	assert_int_equal(next.seq, cursor->seq + 1);
	return size;
}

/* From CURSOR to the end in slices of MAX bytes; the slices are as long as they can be,
 * to within a stride of the index. */
static void expect_rest(struct model *model, struct log_cursor cursor, size_t max)
{
	struct log_cursor next;
	const char *records;
	size_t size, n = 0;

	while ((size = expect_slice(model, &cursor, max)) > 0) {
		assert_int_equal(log_read(&model->log, &cursor, max, &records, &next), size);
		cursor = next;
		n++;
	}
	assert_int_equal(cursor.seq, model->log.next);
	assert_true(n <= model->log.next);
}

static uint32_t random_next(uint32_t *state)
{
	*state = *state * 1664525 + 1013904223;
	return *state >> 8;
}

static void test_empty(void **state)
{
	struct log_cursor cursor, next;
	const char *records;
	struct text frame;
	MODEL(model);

	assert_int_equal(model->log.first, 1);
	assert_int_equal(model->log.next, 1);
	assert_int_equal(model->log.bytes, 0);
	assert_int_equal(log_find_time(&model->log, 0), 1);
	assert_int_equal(log_find_time(&model->log, UINT64_MAX), 1);
	log_seek(&model->log, 1, &cursor);
	assert_int_equal(log_read(&model->log, &cursor, 65530, &records, &next), 0);
	assert_int_equal(log_read_one(&model->log, &cursor, &frame, &next), 0);
	assert_int_equal(log_take_oldest(&model->log), 0);

	/* a cursor from before there was anything reads what comes */
	model_append(model, 5, 7, 1 << 20, 0);
	assert_true(expect_slice(model, &cursor, 65530) > 0);
}

/* Each size of record, alone and among others: every slice ends at a border. */
static void test_sizes(void **state)
{
	static const size_t sizes[] = { 0, 1, 7, 8, 9, 15, 16, 17, 100, 1000, 4000, 4047, 4048,
		4049, 4096, 4097, 8191, 8192, 8193, 16384, 32000, 63999, 64000 };

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		MODEL(model);
		struct log_cursor cursor;

		for (int n = 0; n < 40; n++) {
			model_append(model, sizes[i], 100, 64 << 20, 0);
			if (n % 3 == 0)
				model_append(model, 1, 100, 64 << 20, 300);
		}
		for (uint64_t seq = 1; seq <= model->log.next; seq += 7) {
			log_seek(&model->log, seq, &cursor);
			assert_int_equal(cursor.seq, seq);
			expect_rest(model, cursor, 65530);
		}
		log_seek(&model->log, 1, &cursor);
		expect_rest(model, cursor, record_size(64 + sizes[i]));
		/* all of it lies in few slices */
		assert_int_equal(model->log.first, 1);
	}
}

/* A slice is cut at the last border of the index within MAX: it is not needlessly short. */
static void test_slices_are_long(void **state)
{
	MODEL(model);
	struct log_cursor cursor, next;
	const char *records;
	uint64_t n_slices = 0, bytes = 0;
	size_t size;

	for (int i = 0; i < 15000; i++)
		model_append(model, 60, 1, 64 << 20, 0);
	log_seek(&model->log, 1, &cursor);
	while ((size = log_read(&model->log, &cursor, 65530, &records, &next)) > 0) {
		bytes += size;
		n_slices++;
		cursor = next;
	}
	assert_int_equal(cursor.seq, 15001);
	/* eight segments of 4 KiB, then four of each size up to 32 KiB cost a cut each */
	assert_true(n_slices <= bytes / (65530 - 2 * 4096) + 8 + 3 * 4);
}

/* Segments grow, so that a quiet room is small; retention keeps most of the bound. */
static void test_retention(void **state)
{
	static const uint64_t bounds[] = { 16 << 10, 256 << 10, 1 << 20, 4 << 20 };

	for (size_t i = 0; i < ARRAY_LEN(bounds); i++) {
		uint64_t first = 1, n_full = 0, kept = 0;
		MODEL(model);

		model_append(model, 10, 1, bounds[i], 0);
		assert_true(model->log.bytes < 5000);
		while (model->log.next < RECORDS_MAX) {
			uint64_t before = model->log.bytes;

			model_append(model, 700, 1, bounds[i], 0);
			/* what is new, and empty, is a quarter of what was there: at a ceiling
			 * over all logs, it makes others give theirs */
			assert_true(
				model->log.bytes <= MAX(before + 4500, before + before / 4 + 200));
			assert_true(model->log.bytes <= bounds[i]);
			assert_true(model->log.first >= first);
			if (model->log.first > 1 && bounds[i] >= 256 << 10) {
				kept += (model->log.next - model->log.first) * record_size(724);
				n_full++;
			}
			first = model->log.first;
		}
		assert_true(first > 1);
		if (n_full > 0)
			assert_true(kept / n_full > bounds[i] / 3);
	}
}

/* The largest record within the smallest bound there is: something is always kept. */
static void test_large_in_small_bound(void **state)
{
	MODEL(model);
	struct log_cursor cursor;

	for (int i = 0; i < 50; i++) {
		model_append(model, 64000, 1, 256 << 10, 200);
		assert_true(model->log.bytes <= 256 << 10);
		assert_true(model->log.next - model->log.first >= (i < 3 ? i + 1u : 3u));
		log_seek(&model->log, model->log.first, &cursor);
		expect_rest(model, cursor, 65530);
	}
}

/* A cursor whose segment went, or was used again for newer records, finds its place. */
static void test_stale_cursors(void **state)
{
	struct log_cursor cursors[200], now;
	MODEL(model);

	for (size_t i = 0; i < ARRAY_LEN(cursors); i++) {
		log_seek(&model->log, model->log.next, &cursors[i]);
		for (int k = 0; k < 40; k++)
			model_append(model, 500, i, 256 << 10, 0);
	}
	for (size_t i = 0; i < ARRAY_LEN(cursors); i++) {
		if (cursors[i].seq >= model->log.first) {
			expect_rest(model, cursors[i], 65530);
			continue;
		}
		/* passed by retention: the caller moves it, and tells of the gap */
		log_seek(&model->log, model->log.first, &now);
		expect_rest(model, now, 65530);
	}
	assert_true(cursors[150].seq < model->log.first);
	assert_true(cursors[199].seq > model->log.first);

	/* everything went, then new came: the number goes on */
	log_seek(&model->log, model->log.next, &now);
	while (log_take_oldest(&model->log) > 0)
		;
	assert_int_equal(model->log.first, model->log.next);
	assert_int_equal(model->log.next, ARRAY_LEN(cursors) * 40 + 1);
	assert_int_equal(log_find_time(&model->log, 0), model->log.next);
	model_append(model, 5, 1000, 256 << 10, 0);
	expect_rest(model, now, 65530);
	log_seek(&model->log, model->log.first, &now);
	expect_rest(model, now, 65530);
}

static uint64_t model_find_time(const struct model *model, uint64_t time)
{
	uint64_t seq = model->log.first;

	while (seq < model->log.next && model->time[seq] < time)
		seq++;
	return seq;
}

/* Times that repeat, over many segments and index entries. */
static void test_find_time(void **state)
{
	static const unsigned steps[] = { 0, 1, 0, 0, 3, 0, 0, 0, 0, 1000 };
	uint64_t time = 1000;
	MODEL(model);

	for (int i = 0; i < 6000; i++) {
		model_append(model, (size_t)i % 300, time, 512 << 10, 0);
		time += i % 50 < 40 ? 0 : steps[i % ARRAY_LEN(steps)];
	}
	assert_true(model->log.first > 1);
	for (uint64_t t = model->time[model->log.first] - 2; t <= time + 2; t += 1 + t % 7)
		assert_int_equal(log_find_time(&model->log, t), model_find_time(model, t));
	for (uint64_t seq = model->log.first; seq < model->log.next; seq += 13)
		for (int d = -1; d <= 1; d++)
			assert_int_equal(log_find_time(&model->log, model->time[seq] + (uint64_t)d),
				model_find_time(model, model->time[seq] + (uint64_t)d));
	assert_int_equal(log_find_time(&model->log, 0), model->log.first);
	assert_int_equal(log_find_time(&model->log, UINT64_MAX), model->log.next);
}

/* Who reads where nobody read before has each record's CRC computed, and whoever comes
 * there next has not: one that was put in its place stays. */
static void test_sealed_once(void **state)
{
	MODEL(model);
	struct log_cursor cursor, next;
	const char *records;
	uint32_t crc = 0x5ea1ed;

	for (int i = 0; i < 20; i++)
		model_append(model, 20, 1000, 1 << 20, 0);
	log_seek(&model->log, 11, &cursor);
	expect_slice(model, &cursor, 4096);
	assert_true(log_read(&model->log, &cursor, 4096, &records, &next) > 0);
	memcpy((char *)records + 4, &crc, sizeof crc);
	assert_true(log_read(&model->log, &cursor, 4096, &records, &next) > 0);
	assert_memory_equal(records + 4, &crc, sizeof crc);
	record_seal((char *)records);
	log_seek(&model->log, 1, &cursor);
	expect_rest(model, cursor, 4096);
}

/* What log_reserve() says is a promise: memory for the whole of it, up to its last byte. */
static void test_reserve_is_not_commit(void **state)
{
	MODEL(model);
	char *frame, *again;

	assert_int_equal(log_reserve(&model->log, 3000, 1 << 20, &frame), 0);
	memset(frame, 'x', 3000);
	assert_int_equal(log_reserve(&model->log, 3000, 1 << 20, &again), 0);
	assert_ptr_equal(frame, again);
	assert_int_equal(model->log.next, 1);
	model_append(model, 10, 1, 1 << 20, 0);
	model_append(model, 4096, 1, 1 << 20, 0);
	assert_int_equal(model->log.next, 3);
}

/* Anything, in any order. */
static void test_random(void **state)
{
	for (uint32_t seed = 1; seed <= 12; seed++) {
		struct log_cursor cursors[8] = { { .seq = 1 } };
		uint64_t bound = (uint64_t)16384 << seed % 6, time = 1;
		uint32_t random = seed;
		MODEL(model);

		for (size_t i = 0; i < ARRAY_LEN(cursors); i++)
			log_seek(&model->log, 1, &cursors[i]);
		while (model->log.next < 4000) {
			struct log_cursor *cursor =
				&cursors[random_next(&random) % ARRAY_LEN(cursors)];
			struct log_cursor next;
			const char *records;
			size_t shift = random_next(&random) % 15;
			size_t max = record_size(70 + 16384) + random_next(&random) % 60000;

			time += random_next(&random) % 3;
			switch (random_next(&random) % 16) {
			default:
				model_append(model, random_next(&random) % (2u << shift) % 16384,
					time, MAX(bound, (uint64_t)128 << 10),
					random_next(&random) % 300);
				break;
			case 0:
				if (random_next(&random) % 8 == 0)
					log_take_oldest(&model->log);
				break;
			case 1:
				log_seek(&model->log,
					model->log.first +
						random_next(&random) %
							(model->log.next - model->log.first + 1),
					cursor);
				break;
			case 2:
				assert_int_equal(
					log_find_time(&model->log, time - MIN(time, shift)),
					model_find_time(model, time - MIN(time, shift)));
				break;
			case 3 ... 6:
				if (cursor->seq < model->log.first)
					log_seek(&model->log, model->log.first, cursor);
				if (expect_slice(model, cursor, max) > 0 &&
					log_read(&model->log, cursor, max, &records, &next) > 0)
					*cursor = next;
				break;
			}
		}
	}
}

/* The cursor must read exactly the records from its place to END, in slices. */
static void expect_held(struct model *model, uint64_t from, uint64_t end)
{
	struct log_cursor cursor, next;
	const char *records;

	log_seek(&model->log, from, &cursor);
	while (cursor.seq < end) {
		assert_true(log_read(&model->log, &cursor, 3000, &records, &next) > 0);
		assert_true(next.seq <= end);
		cursor = next;
	}
	assert_int_equal(log_read(&model->log, &cursor, 3000, &records, &next), 0);
}

/* Readers have what was released, the disk has all; what is taken back was never there. */
static void test_held(void **state)
{
	MODEL(model);
	struct log_cursor at, next;
	const char *records;
	uint64_t released = 1;

	log_hold(&model->log);
	at = model->log.end;
	for (unsigned round = 0; round < 200; round++) {
		unsigned n = (round * 7) % 40;

		for (unsigned i = 0; i < n; i++)
			model_append(model, (round * i) % 700, round + 1, UINT64_MAX, 0);
		expect_held(model, 1, released);
		while (log_read_held(&model->log, &at, 2000, &records, &next) > 0) {
			at = next;
			if (round % 3 == 0 && at.seq % 2 == 0)
				break;
		}
		if (round % 5 == 4) {
			log_truncate(&model->log);
			assert_int_equal(model->log.next, released);
			at = model->log.end;
		} else {
			log_release(&model->log, &at);
			released = at.seq;
		}
		assert_int_equal(log_end(&model->log), released);
		expect_held(model, 1, released);
	}
	assert_true(released > 1000);
}

/* All of it goes, also what was not in the first segment. */
static void test_truncated_to_nothing(void **state)
{
	MODEL(model);

	log_hold(&model->log);
	for (unsigned i = 0; i < 100; i++)
		model_append(model, 600, 1, UINT64_MAX, 0);
	log_truncate(&model->log);
	assert_int_equal(model->log.next, 1);
	assert_int_equal(model->log.first, 1);
	assert_int_equal(model->log.bytes, 0);
	model_append(model, 600, 1, UINT64_MAX, 0);
	expect_held(model, 1, 1);
}

/* A segment that is pinned stays readable when the log has taken it, and is not used again. */
static void test_pinned(void **state)
{
	MODEL(model);
	struct log_cursor cursor, next;
	struct segment *segment;
	const char *records;
	char before[64];
	size_t len;

	/* at its bound, where the oldest memory is used again */
	for (unsigned i = 0; i < 1000; i++)
		model_append(model, 500, 1, 64 << 10, 0);
	log_seek(&model->log, model->log.first, &cursor);
	len = log_read(&model->log, &cursor, 4096, &records, &next);
	assert_true(len > sizeof before);
	memcpy(before, records, sizeof before);
	segment = segment_pin(cursor.segment);
	for (unsigned i = 0; i < 1000; i++)
		model_append(model, 500, 1, 64 << 10, 0);
	assert_true(model->log.first > 1500);
	assert_memory_equal(records, before, sizeof before);
	segment_unpin(segment);
}

/* Images are what is released; a log made of them is the same. */
static void test_images(void **state)
{
	MODEL(model);
	MODEL(copy);
	struct segment_image image;
	uint32_t number = 0;
	unsigned n = 0;
	char *data;

	log_hold(&model->log);
	for (unsigned i = 0; i < 300; i++)
		model_append(model, (i * 37) % 900, 5 + i, UINT64_MAX, 0);
	assert_false(log_image(&model->log, 0, &image));
	log_seek(&model->log, 251, &model->log.end);
	for (; log_image(&model->log, number, &image); number = image.number + 1, n++) {
		assert_int_equal(log_restore(&copy->log, &image, &data), 0);
		memcpy(data, image.data, image.used);
		assert_int_equal(log_restored(&copy->log, &image), 0);
	}
	assert_true(n > 3);
	assert_int_equal(copy->log.first, 1);
	assert_int_equal(copy->log.next, 251);
	assert_int_equal(copy->log.last_time, 254);
	memcpy(copy->len, model->len, sizeof copy->len);
	memcpy(copy->time, model->time, sizeof copy->time);
	expect_held(copy, 1, 251);
	/* it is written on, in the segment that was not full */
	model_append(copy, 10, 300, UINT64_MAX, 0);
	expect_held(copy, 240, 252);
}

/* One flipped bit, wherever it is, is seen. */
static void test_damaged_image(void **state)
{
	MODEL(model);
	struct segment_image image;
	char *data;

	log_hold(&model->log);
	for (unsigned i = 0; i < 3; i++)
		model_append(model, 20, 5, UINT64_MAX, 0);
	log_seek(&model->log, 4, &model->log.end);
	assert_true(log_image(&model->log, 0, &image));
	for (uint32_t at = 0; at < image.used; at++) {
		MODEL(copy);

		assert_int_equal(log_restore(&copy->log, &image, &data), 0);
		memcpy(data, image.data, image.used);
		data[at] ^= 1;
		/* but for the padding, which says nothing */
		if (log_restored(&copy->log, &image) == 0)
			assert_int_equal(data[at], 1);
		log_lose(&copy->log, image.next);
		assert_int_equal(copy->log.first, 4);
		assert_int_equal(copy->log.next, 4);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_slices_are_long),
		cmocka_unit_test(test_retention),
		cmocka_unit_test(test_large_in_small_bound),
		cmocka_unit_test(test_stale_cursors),
		cmocka_unit_test(test_find_time),
		cmocka_unit_test(test_sealed_once),
		cmocka_unit_test(test_reserve_is_not_commit),
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_held),
		cmocka_unit_test(test_truncated_to_nothing),
		cmocka_unit_test(test_pinned),
		cmocka_unit_test(test_images),
		cmocka_unit_test(test_damaged_image),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
