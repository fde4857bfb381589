/* record_test.c - records, batches of them, and their CRC.
 *
 * The source is included, not linked: the portable CRC is not reachable on a
 * machine that has an instruction for it, and must give the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "protocol/base.h"
#include "protocol/record.c"
#include "tests/unit/exact.h"

#define A(literal)                                                                                 \
	{                                                                                          \
		(literal), sizeof(literal) - 1                                                     \
	}

static uint32_t portable(uint32_t crc, const void *data, size_t len)
{
	return ~crc_portable(~crc, data, len);
}

/* The definition, one bit at a time: what the others are held against. */
static uint32_t bitwise(uint32_t crc, const void *data, size_t len)
{
	const unsigned char *p = data;

	crc = ~crc;
	for (size_t i = 0; i < len; i++) {
		crc ^= p[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc & 1 ? crc >> 1 ^ 0x82f63b78 : crc >> 1;
	}
	return ~crc;
}

static void test_crc_vectors(void **state)
{
	/* RFC 3720, appendix B.4; its bytes are little-endian */
	static const unsigned char read_pdu[48] = { 0x01, 0xc0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
		0, 0, 0x14, 0, 0, 0, 0, 0, 0x04, 0, 0, 0, 0, 0x14, 0, 0, 0, 0x18, 0x28, 0, 0, 0, 0,
		0, 0, 0, 0x02, 0, 0, 0, 0, 0, 0, 0 };
	unsigned char zeros[32], ones[32], up[32], down[32];
	const struct {
		const void *data;
		size_t len;
		uint32_t crc;
	} table[] = {
		{ "", 0, 0 },
		{ "a", 1, 0xc1d04330 },
		{ "123456789", 9, 0xe3069283 },
		{ zeros, 32, 0x8a9136aa },
		{ ones, 32, 0x62a8ab43 },
		{ up, 32, 0x46dd794e },
		{ down, 32, 0x113fdb5c },
		{ read_pdu, 48, 0xd9963a56 },
	};

	for (size_t i = 0; i < 32; i++) {
		zeros[i] = 0;
		ones[i] = 0xff;
		up[i] = (unsigned char)i;
		down[i] = (unsigned char)(31 - i);
	}
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		assert_int_equal(record_crc32c(0, table[i].data, table[i].len), table[i].crc);
		assert_int_equal(portable(0, table[i].data, table[i].len), table[i].crc);
		assert_int_equal(bitwise(0, table[i].data, table[i].len), table[i].crc);
	}
}

/* Every length and alignment around the word size, and every place to stop and
 * go on from. */
static void test_crc_implementations_agree(void **state)
{
	/* long enough for two turns of the long lanes and what is left */
	static unsigned char bytes[1700];
	uint32_t random = 1;

	for (size_t i = 0; i < sizeof bytes; i++) {
		random = random * 1664525 + 1013904223;
		bytes[i] = (unsigned char)(random >> 24);
	}
	for (size_t start = 0; start < 9; start += 4) {
		for (size_t len = 0; start + len <= sizeof bytes; len++) {
			uint32_t want = bitwise(0, bytes + start, len);

			assert_int_equal(record_crc32c(0, bytes + start, len), want);
			assert_int_equal(portable(0, bytes + start, len), want);
		}
	}
	for (size_t cut = 0; cut <= sizeof bytes; cut++) {
		uint32_t crc = record_crc32c(0, bytes, cut);

		crc = record_crc32c(crc, bytes + cut, sizeof bytes - cut);
		assert_int_equal(crc, bitwise(0, bytes, sizeof bytes));
	}
}

static void test_size(void **state)
{
	static const struct {
		size_t frame, record;
	} table[] = {
		{ 1, 16 },
		{ 7, 16 },
		{ 8, 16 },
		{ 9, 24 },
		{ 16, 24 },
		{ 17, 32 },
		{ BATCH_LEN_MAX - RECORD_HEADER_LEN - 2, BATCH_LEN_MAX - 2 },
	};

	for (size_t i = 0; i < ARRAY_LEN(table); i++)
		assert_int_equal(record_size(table[i].frame), table[i].record);
	/* the largest message, its record and the batch around it are one packet */
	assert_true(BATCH_START_LEN + record_size(400 + 1 + BODY_LEN_MAX) <= PACKET_LEN_MAX);
	assert_int_equal(strlen(BATCH_START), BATCH_START_LEN);
}

/* A record on the wire, byte for byte. */
static void test_layout(void **state)
{
	static const unsigned char want_closed[24] = { 9, 0, 0, 0, 0, 0, 0, 0, '1', '2', '3', '4',
		'5', '6', '7', '8', '9', 0, 0, 0, 0, 0, 0, 0 };
	unsigned char record[24], want_sealed[24];
	uint32_t crc = bitwise(0,
		"\x09\0\0\0"
		"123456789",
		13);

	memset(record, 0xee, sizeof record);
	memcpy(record + RECORD_HEADER_LEN, "123456789", 9);
	record_close((char *)record, 9);
	assert_memory_equal(record, want_closed, sizeof record);
	assert_int_equal(record_check((char *)record), 0);

	memcpy(want_sealed, want_closed, sizeof record);
	for (int i = 0; i < 4; i++)
		want_sealed[4 + i] = (unsigned char)(crc >> 8 * i);
	record_seal((char *)record);
	assert_memory_equal(record, want_sealed, sizeof record);
	assert_int_equal(record_check((char *)record), 0);
}

/* No byte beyond record_size() is written, and any bit that flips is noticed. */
static void test_seal_and_check(void **state)
{
	for (size_t len = 1; len <= 40; len++) {
		size_t size = record_size(len);
		_cleanup_(exact_freep) char *record = malloc(size);
		struct text frame = TEXT("");
		const char *at = record;

		memset(record, 'x', size);
		record_close(record, len);
		record_seal(record);
		assert_int_equal(record_check(record), 0);
		assert_int_equal(record_next(&at, record + size, &frame), 0);
		assert_ptr_equal(at, record + size);
		assert_ptr_equal(frame.data, record + RECORD_HEADER_LEN);
		assert_int_equal(frame.len, len);
		assert_true(text_equal(record_frame(record), frame));
		for (size_t bit = 32; bit < (RECORD_HEADER_LEN + len) * 8; bit++) {
			record[bit / 8] = (char)(record[bit / 8] ^ 1 << bit % 8);
			assert_int_equal(record_check(record), RECORD_E_BROKEN);
			record[bit / 8] = (char)(record[bit / 8] ^ 1 << bit % 8);
		}
	}
}

/* A length that is wrong but fits is caught by the CRC over it: the frame may
 * be a prefix of the one that was sealed. */
static void test_check_covers_length(void **state)
{
	char record[32];

	memset(record, 0, sizeof record);
	memcpy(record + RECORD_HEADER_LEN, "0123456789abcde", 15);
	record_close(record, 15);
	record_seal(record);
	for (uint32_t len = 1; len <= 24; len++) {
		memcpy(record, &len, sizeof len);
		assert_int_equal(record_check(record), len == 15 ? 0 : RECORD_E_BROKEN);
	}
}

/* There are frames whose CRC is 0, which would say "not computed": found by
 * trying, 2^32 of them is too many, so the CRC is worked backwards. */
static void test_crc_of_zero(void **state)
{
	char record[16];
	uint32_t len = 4, start, crc, found = 0;

	/* the four bytes that take the CRC from START to 0: run the register
	 * back from its end, 32 bits; they are its difference to the start */
	start = ~bitwise(0, &len, sizeof len);
	crc = ~0u;
	for (int bit = 0; bit < 32; bit++)
		crc = crc & 0x80000000 ? (crc ^ 0x82f63b78) << 1 | 1 : crc << 1;
	found = crc ^ start;
	memcpy(record + RECORD_HEADER_LEN, &found, sizeof found);
	assert_int_equal(bitwise(bitwise(0, &len, 4), record + RECORD_HEADER_LEN, 4), 0);

	record_close(record, 4);
	record_seal(record);
	memcpy(&crc, record + 4, sizeof crc);
	assert_int_not_equal(crc, 0);
	assert_int_equal(record_check(record), 0);
	record[RECORD_HEADER_LEN] ^= 1;
	assert_int_equal(record_check(record), RECORD_E_BROKEN);
}

/* Three records walked; the same bytes cut at every place are the records that
 * are whole, and then an end on a border or something broken. */
static void test_walk_and_truncate(void **state)
{
	static const struct text frames[] = { A("PING"), A("SAY lobby\nhello, all"), A("QUIT") };
	char batch[128];
	size_t size = 0, borders[ARRAY_LEN(frames) + 1] = { 0 };

	for (size_t i = 0; i < ARRAY_LEN(frames); i++) {
		memcpy(batch + size + RECORD_HEADER_LEN, frames[i].data, frames[i].len);
		record_close(batch + size, frames[i].len);
		size += record_size(frames[i].len);
		borders[i + 1] = size;
	}
	for (size_t cut = 0; cut <= size; cut++) {
		EXACT(copy, ((struct text){ batch, cut }));
		const char *at = copy.data, *end = copy.data + copy.len, *before;
		struct text frame = TEXT("");
		size_t n = 0;
		int r;

		for (;;) {
			before = at;
			r = record_next(&at, end, &frame);
			if (r)
				break;
			assert_true(n < ARRAY_LEN(frames));
			assert_true(text_equal(frame, frames[n]));
			n++;
		}
		assert_ptr_equal(at, before);
		assert_true(borders[n] <= cut);
		assert_true(n == ARRAY_LEN(frames) || borders[n + 1] > cut);
		assert_int_equal(r, cut == borders[n] ? RECORD_E_END : RECORD_E_BROKEN);
	}
}

static void test_malformed(void **state)
{
	static const uint32_t lengths[] = { 0, 9, 16, 0xff, PACKET_LEN_MAX, PACKET_LEN_MAX + 1,
		0x7fffffff, 0x80000000, 0xfffffff0, 0xfffffff8, 0xffffffff };
	char bytes[16] = { 0 };

	for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
		struct text frame = TEXT("untouched");
		const char *at;

		memcpy(bytes, &lengths[i], sizeof lengths[i]);
		EXACT(copy, ((struct text){ bytes, sizeof bytes }));
		at = copy.data;
		assert_int_equal(record_next(&at, copy.data + copy.len, &frame), RECORD_E_BROKEN);
		assert_ptr_equal(at, copy.data);
		assert_true(text_equal(frame, TEXT("untouched")));
	}
}

/* The largest record there may be, and one byte more. */
static void test_largest(void **state)
{
	size_t size = record_size(PACKET_LEN_MAX + 1);
	_cleanup_(exact_freep) char *record = calloc(1, size);
	const char *at = record;
	struct text frame = TEXT("");

	record_close(record, PACKET_LEN_MAX);
	record_seal(record);
	assert_int_equal(record_next(&at, record + size, &frame), 0);
	assert_int_equal(frame.len, PACKET_LEN_MAX);
	at = record;
	record_close(record, PACKET_LEN_MAX + 1);
	assert_int_equal(record_next(&at, record + size, &frame), RECORD_E_BROKEN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_crc_vectors),
		cmocka_unit_test(test_crc_implementations_agree),
		cmocka_unit_test(test_size),
		cmocka_unit_test(test_layout),
		cmocka_unit_test(test_seal_and_check),
		cmocka_unit_test(test_check_covers_length),
		cmocka_unit_test(test_crc_of_zero),
		cmocka_unit_test(test_walk_and_truncate),
		cmocka_unit_test(test_malformed),
		cmocka_unit_test(test_largest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
