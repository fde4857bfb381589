/* ring_test.c - the ring of one publisher, in a plain array: chat-ring(7). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/base.h"
#include "protocol/ring.h"

#define CAPACITY RING_CAPACITY_MIN
#define BLOCK    (CAPACITY / RING_BLOCKS)
#define LEN      (RING_HEADER_LEN + CAPACITY)

struct fixture {
	char *memory;
	struct ring_header *header;
	struct ring_writer writer;
	struct ring_reader reader;
	uint64_t gate;
	char *buffer;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);

	f->memory = aligned_alloc(4096, LEN);
	memset(f->memory, 0, LEN);
	f->header = (struct ring_header *)f->memory;
	f->buffer = aligned_alloc(64, RING_BUFFER_MIN);
	ring_writer_init(&f->writer, f->memory, CAPACITY, 7);
	assert_int_equal(ring_reader_init(&f->reader, f->memory, LEN, 0, 1), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	free(f->memory);
	free(f->buffer);
	free(f);
	return 0;
}

static char pattern(uint64_t seq, size_t i)
{
	return (char)(seq * 31 + i * 7 + 1);
}

/* Message SEQ of LEN bytes, all of which tell which one it is. */
static int put(struct fixture *f, size_t len)
{
	static char payload[BODY_LEN_MAX + 1];
	uint64_t seq = f->writer.seq;

	for (size_t i = 0; i < len; i++)
		payload[i] = pattern(seq, i);
	return ring_put(&f->writer, 1000 + seq, 5000 + seq, payload, len);
}

static struct ring_record *record_at(struct fixture *f, uint64_t pos)
{
	return (struct ring_record *)(f->memory + RING_HEADER_LEN + pos % CAPACITY);
}

static int get(struct fixture *f, unsigned n_max, struct ring_batch *ret_batch)
{
	return ring_get(&f->reader, f->buffer, RING_BUFFER_MIN, n_max, ret_batch);
}

static void assert_message(const struct ring_message *message, uint64_t seq, size_t len)
{
	assert_int_equal(message->seq, seq);
	assert_int_equal(message->time, 1000 + seq);
	assert_int_equal(message->ref, 5000 + seq);
	assert_int_equal(message->len, len);
	for (size_t i = 0; i < len; i++)
		assert_int_equal(message->payload[i], pattern(seq, i));
}

static void expect(struct fixture *f, uint64_t seq, size_t len)
{
	struct ring_message message;
	struct ring_batch batch;

	assert_int_equal(get(f, 1, &batch), 0);
	assert_true(ring_batch_next(&batch, &message));
	assert_message(&message, seq, len);
	assert_false(ring_batch_next(&batch, &message));
}

static void test_one_by_one(void **state)
{
	static const size_t lens[] = { 0, 1, 31, 32, 33, 64, 95, 96, 97, 1000, BODY_LEN_MAX };
	struct fixture *f = *state;
	struct ring_batch batch;

	assert_int_equal(get(f, 1, &batch), RING_E_EMPTY);
	for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
		assert_int_equal(put(f, lens[i]), 0);
		assert_true(ring_is_ready(&f->reader));
		expect(f, i + 1, lens[i]);
		assert_int_equal(get(f, 1, &batch), RING_E_EMPTY);
		assert_false(ring_is_ready(&f->reader));
		assert_int_equal(f->reader.pos, f->writer.pos);
	}
	assert_int_equal(put(f, BODY_LEN_MAX + 1), -EMSGSIZE);
}

/* A message of 32 bytes is one line: the header and the payload arrive together. */
static void test_one_line(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(put(f, 32), 0);
	assert_int_equal(f->writer.pos, RING_LINE);
	assert_int_equal(put(f, 33), 0);
	assert_int_equal(f->writer.pos, 3 * RING_LINE);
}

/* All sizes, many times around, the reader right behind: pads of every length. */
static void test_around(void **state)
{
	struct fixture *f = *state;
	uint64_t n = 0;

	while (f->writer.pos < 20 * (uint64_t)CAPACITY) {
		size_t len = n % 97 == 0 ? BODY_LEN_MAX - n % 1000 : n * 13 % 3000;

		assert_int_equal(put(f, len), 0);
		expect(f, ++n, len);
	}
	assert_true(n > 1000);
}

static void test_batches(void **state)
{
	struct fixture *f = *state;
	struct ring_message message;
	struct ring_batch batch;
	uint64_t seq = 1;

	for (int i = 0; i < 100; i++)
		assert_int_equal(put(f, 40), 0);
	assert_int_equal(get(f, 7, &batch), 0);
	while (ring_batch_next(&batch, &message))
		assert_message(&message, seq++, 40);
	assert_int_equal(seq, 8);
	while (get(f, 1000, &batch) == 0)
		while (ring_batch_next(&batch, &message))
			assert_message(&message, seq++, 40);
	assert_int_equal(seq, 101);
	/* what does not fit the buffer as a whole waits for the next one */
	assert_int_equal(put(f, BODY_LEN_MAX), 0);
	assert_int_equal(put(f, 40), 0);
	expect(f, 101, BODY_LEN_MAX);
	expect(f, 102, 40);
}

/* The writer waits for nobody, and who falls behind knows. */
static void test_lapped(void **state)
{
	struct fixture *f = *state;
	struct ring_reader at_end;
	struct ring_batch batch;

	assert_int_equal(put(f, 32), 0);
	expect(f, 1, 32);
	at_end = f->reader;
	/* as long as nothing above the horizon can be what it is at, it reads on */
	while (f->writer.horizon <= CAPACITY)
		assert_int_equal(put(f, 32), 0);
	f->reader = at_end;
	assert_int_equal(f->writer.horizon, CAPACITY + BLOCK);
	assert_int_equal(get(f, 1, &batch), RING_E_LAPPED);
	assert_true(ring_is_ready(&f->reader));
	assert_int_equal(f->reader.pos, at_end.pos);
	/* one that stands just above what may be overwritten is not */
	f->reader.pos = BLOCK;
	f->reader.seq = BLOCK / RING_LINE + 1;
	expect(f, BLOCK / RING_LINE + 1, 32);
	/* at the mark everybody can begin again */
	f->reader = at_end;
	assert_int_equal(ring_reader_seek(&f->reader), 0);
	assert_true(f->reader.pos >= f->writer.pos - BLOCK && f->reader.pos <= f->writer.pos);
	while (get(f, 64, &batch) == 0)
		;
	assert_int_equal(f->reader.pos, f->writer.pos);
	assert_int_equal(f->reader.seq, f->writer.seq);
}

/* The mark, the horizon and the end are never far from each other. */
static void test_mark(void **state)
{
	struct fixture *f = *state;

	for (uint64_t n = 0; f->writer.pos < 4 * (uint64_t)CAPACITY; n++) {
		struct ring_reader fresh = f->reader;
		struct ring_batch batch;
		int r;

		assert_int_equal(put(f, n * 17 % 5000), 0);
		assert_int_equal(ring_reader_seek(&fresh), 0);
		while ((r = ring_get(&fresh, f->buffer, RING_BUFFER_MIN, 64, &batch)) == 0)
			;
		assert_int_equal(r, RING_E_EMPTY);
		assert_int_equal(fresh.pos, f->writer.pos);
		assert_int_equal(fresh.seq, f->writer.seq);
		assert_int_equal(f->header->horizon % BLOCK, 0);
		assert_true(f->header->horizon >= f->writer.pos + RING_LINE);
	}
}

static void test_gate(void **state)
{
	struct fixture *f = *state;
	struct ring_batch batch;
	uint64_t n = 0;

	f->gate = 0;
	f->writer.gate = &f->gate;
	while (put(f, 32) == 0)
		n++;
	/* everything that is still wanted is there */
	assert_int_equal(put(f, 32), RING_E_FULL);
	assert_true(f->writer.horizon <= CAPACITY);
	assert_true(n >= (CAPACITY - BLOCK) / RING_LINE - 1);
	for (uint64_t seq = 1; seq <= n; seq++)
		expect(f, seq, 32);
	assert_int_equal(get(f, 1, &batch), RING_E_EMPTY);
	assert_int_equal(put(f, 32), RING_E_FULL);
	f->gate = BLOCK - RING_LINE;
	assert_int_equal(put(f, 32), RING_E_FULL);
	f->gate = BLOCK;
	assert_int_equal(put(f, 32), 0);
	expect(f, n + 1, 32);
	f->gate = RING_UNGATED;
	for (uint64_t i = 0; i < 3 * CAPACITY / RING_LINE; i++)
		assert_int_equal(put(f, 32), 0);
}

/* An empty ring takes any message, wherever it stands: nobody waits for ever. */
static void test_gate_and_largest(void **state)
{
	struct fixture *f = *state;

	f->writer.gate = &f->gate;
	for (uint64_t start = 0; start < CAPACITY / RING_LINE; start += 7) {
		for (unsigned i = 0; i < 7; i++) {
			assert_int_equal(put(f, 32), 0);
			expect(f, f->writer.seq - 1, 32);
			f->gate = f->reader.pos;
		}
		assert_int_equal(put(f, BODY_LEN_MAX), 0);
		expect(f, f->writer.seq - 1, BODY_LEN_MAX);
		f->gate = f->reader.pos;
	}
}

static void test_close(void **state)
{
	struct fixture *f = *state;
	struct ring_batch batch;

	assert_int_equal(put(f, 5), 0);
	assert_false(ring_is_closed(&f->reader));
	ring_close(&f->writer);
	assert_true(ring_is_closed(&f->reader));
	expect(f, 1, 5);
	assert_int_equal(get(f, 1, &batch), RING_E_EMPTY);
}

/* What a payload holds is never taken for a record, whatever it looks like: the commit
 * word behind the last record is 0. */
static void test_forged_payload(void **state)
{
	struct fixture *f = *state;
	static struct ring_record forged[BLOCK / sizeof(struct ring_record)];
	struct ring_batch batch;
	uint64_t seq = 1;

	for (size_t i = 0; i < ARRAY_LEN(forged); i++)
		forged[i] = (struct ring_record){
			.commit = (uint32_t)RING_DATA << RING_KIND_SHIFT | 32,
			.seq = seq + i,
		};
	/* once around, full of lines that look like records */
	while (f->writer.pos < 2 * (uint64_t)CAPACITY) {
		size_t len = f->writer.seq % 3 ? BLOCK - 100 : 3000;

		assert_int_equal(ring_put(&f->writer, 0, 0, forged, len), 0);
		assert_int_equal(get(f, 1, &batch), 0);
		assert_int_equal(get(f, 1, &batch), RING_E_EMPTY);
	}
}

struct lie {
	const char *what;
	void (*tell)(struct fixture *f);
	int outcome;
};

static void lie_kind(struct fixture *f)
{
	record_at(f, 0)->commit = 3u << RING_KIND_SHIFT | 32;
}

static void lie_long(struct fixture *f)
{
	record_at(f, 0)->commit = (uint32_t)RING_DATA << RING_KIND_SHIFT | (BODY_LEN_MAX + 1);
}

static void lie_longest(struct fixture *f)
{
	record_at(f, 0)->commit = (uint32_t)RING_DATA << RING_KIND_SHIFT | RING_BYTES_MASK;
}

static void lie_seq(struct fixture *f)
{
	record_at(f, 0)->seq = 2;
}

static void lie_no_seq(struct fixture *f)
{
	record_at(f, 0)->seq = 0;
	f->reader.seq = 0;
}

static void lie_pad(struct fixture *f)
{
	record_at(f, 0)->commit = (uint32_t)RING_PAD << RING_KIND_SHIFT | 64;
}

static void lie_whole_pad(struct fixture *f)
{
	record_at(f, 0)->commit = (uint32_t)RING_PAD << RING_KIND_SHIFT | CAPACITY;
}

static void lie_beyond_end(struct fixture *f)
{
	f->reader.pos = CAPACITY - RING_LINE;
	record_at(f, f->reader.pos)->commit = (uint32_t)RING_DATA << RING_KIND_SHIFT | 33;
}

static void lie_pad_beyond_end(struct fixture *f)
{
	f->reader.pos = CAPACITY - RING_LINE;
	record_at(f, f->reader.pos)->commit = (uint32_t)RING_PAD << RING_KIND_SHIFT | 65;
}

/* The same while it has been overtaken says nothing against the writer. */
static void lie_and_lap(struct fixture *f)
{
	lie_longest(f);
	f->header->horizon = f->reader.pos + CAPACITY + BLOCK;
}

static void lie_and_lap_pad(struct fixture *f)
{
	lie_pad(f);
	f->header->horizon = f->reader.pos + CAPACITY + BLOCK;
}

static void test_lies(void **state)
{
	static const struct lie lies[] = {
		{ "kind", lie_kind, RING_E_BAD },
		{ "long", lie_long, RING_E_BAD },
		{ "longest", lie_longest, RING_E_BAD },
		{ "seq", lie_seq, RING_E_BAD },
		{ "no seq", lie_no_seq, RING_E_BAD },
		{ "pad", lie_pad, RING_E_BAD },
		{ "whole pad", lie_whole_pad, RING_E_BAD },
		{ "beyond the end", lie_beyond_end, RING_E_BAD },
		{ "pad beyond the end", lie_pad_beyond_end, RING_E_BAD },
		{ "lapped", lie_and_lap, RING_E_LAPPED },
		{ "lapped at a pad", lie_and_lap_pad, RING_E_LAPPED },
	};

	for (size_t i = 0; i < ARRAY_LEN(lies); i++) {
		struct ring_reader before;
		struct ring_batch batch;
		void *fresh;
		int r;

		setup(&fresh);
		assert_int_equal(put(fresh, 32), 0);
		lies[i].tell(fresh);
		before = ((struct fixture *)fresh)->reader;
		r = get(fresh, 8, &batch);
		if (r != lies[i].outcome)
			print_error("%s: %d\n", lies[i].what, r);
		assert_int_equal(r, lies[i].outcome);
		assert_int_equal(((struct fixture *)fresh)->reader.pos, before.pos);
		teardown(&fresh);
	}
	(void)state;
}

static void test_header_lies(void **state)
{
	struct fixture *f = *state;
	const struct ring_header good = *f->header;
	struct ring_reader reader;
	struct {
		uint64_t value;
		size_t offset, len;
	} lies[] = {
		{ RING_MAGIC + 1, offsetof(struct ring_header, magic), 8 },
		{ RING_ABI + 1, offsetof(struct ring_header, abi), 4 },
		{ CAPACITY * 2, offsetof(struct ring_header, capacity), 8 },
		{ CAPACITY - 64, offsetof(struct ring_header, capacity), 8 },
		{ 0, offsetof(struct ring_header, capacity), 8 },
		{ BLOCK / 2, offsetof(struct ring_header, block), 8 },
		{ BODY_LEN_MAX + 1, offsetof(struct ring_header, payload_max), 4 },
	};

	for (size_t i = 0; i < ARRAY_LEN(lies); i++) {
		*f->header = good;
		memcpy(f->memory + lies[i].offset, &lies[i].value, lies[i].len);
		assert_int_equal(ring_reader_init(&reader, f->memory, LEN, 0, 1), RING_E_BAD);
	}
	*f->header = good;
	assert_int_equal(ring_reader_init(&reader, f->memory, LEN, 0, 1), 0);
	assert_int_equal(ring_reader_init(&reader, f->memory, LEN, 32, 1), RING_E_BAD);
	assert_int_equal(ring_reader_init(&reader, f->memory, LEN - 1, 0, 1), RING_E_BAD);
	assert_int_equal(
		ring_reader_init(&reader, f->memory, RING_HEADER_LEN - 1, 0, 1), RING_E_BAD);
	f->header->mark = 3;
	assert_int_equal(ring_reader_seek(&reader), RING_E_BAD);
}

/* A writer that changes a record between the look at its length and the copy. */
static void test_batch_is_proved_from_the_copy(void **state)
{
	struct fixture *f = *state;
	struct ring_batch batch;

	assert_int_equal(put(f, 32), 0);
	assert_int_equal(put(f, 32), 0);
	record_at(f, RING_LINE)->seq = 9;
	assert_int_equal(get(f, 2, &batch), RING_E_BAD);
	assert_int_equal(get(f, 1, &batch), 0);
	assert_int_equal(get(f, 1, &batch), RING_E_BAD);
}

int main(void)
{
#define TEST_OF(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST_OF(test_one_by_one),
		TEST_OF(test_one_line),
		TEST_OF(test_around),
		TEST_OF(test_batches),
		TEST_OF(test_lapped),
		TEST_OF(test_mark),
		TEST_OF(test_gate),
		TEST_OF(test_gate_and_largest),
		TEST_OF(test_close),
		TEST_OF(test_forged_payload),
		TEST_OF(test_lies),
		TEST_OF(test_header_lies),
		TEST_OF(test_batch_is_proved_from_the_copy),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
