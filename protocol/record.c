/* record.c - see record.h. The CRC uses the processor's own instruction where
 * there is one: a record is written once per message, on the hot path. */
#include "protocol/record.h"

#include <endian.h>
#include <stdbool.h>

#if __BYTE_ORDER != __LITTLE_ENDIAN
#error "records are little-endian and copied as they are: this machine is not"
#endif

/* The reflected polynomial of CRC-32C, four bits at a time. */
static uint32_t crc_portable(uint32_t crc, const unsigned char *p, size_t len)
{
	static const uint32_t table[16] = {
		0x00000000,
		0x105ec76f,
		0x20bd8ede,
		0x30e349b1,
		0x417b1dbc,
		0x5125dad3,
		0x61c69362,
		0x7198540d,
		0x82f63b78,
		0x92a8fc17,
		0xa24bb5a6,
		0xb21572c9,
		0xc38d26c4,
		0xd3d3e1ab,
		0xe330a81a,
		0xf36e6f75,
	};

	for (size_t i = 0; i < len; i++) {
		crc ^= p[i];
		crc = crc >> 4 ^ table[crc & 15];
		crc = crc >> 4 ^ table[crc & 15];
	}
	return crc;
}

#if defined(__x86_64__)
#include <immintrin.h>

/* The instruction takes three cycles and one can start in each, so long data goes
 * through three lanes side by side. crc_shift() takes a lane's CRC over the bytes of
 * the lanes behind it: a product modulo the polynomial, reduced by the instruction
 * itself. The constants are x^(64 (words - 1)), which is what the instruction makes of
 * 1 and so many words less one of zeros; see Gopal and others, "Fast CRC Computation for
 * iSCSI Polynomial Using CRC32 Instruction", Intel, 2011. */
#define CRC_TARGET __attribute__((target("sse4.2,pclmul")))

/* Words of a lane: three of the short ones are a short message, three of the long ones
 * make what it costs to join them small. */
#define CRC_LANE_SHORT 5
#define CRC_LANE_LONG  32

struct crc_lane {
	size_t words;
	uint32_t over_one, over_two; /* over one lane, and over two */
};

static const struct crc_lane crc_short = { CRC_LANE_SHORT, 0x3da6d0cb, 0x39d3b296 };
static const struct crc_lane crc_long = { CRC_LANE_LONG, 0xb9e02b86, 0xdd7e3b0c };

CRC_TARGET static inline uint64_t crc_word(uint64_t crc, const unsigned char *p)
{
	uint64_t word;

	memcpy(&word, p, sizeof word);
	return __builtin_ia32_crc32di(crc, word);
}

CRC_TARGET static inline uint64_t crc_shift(uint64_t crc, uint32_t over)
{
	__m128i product = _mm_clmulepi64_si128(
		_mm_cvtsi64_si128((long long)crc), _mm_cvtsi32_si128((int)over), 0);

	return __builtin_ia32_crc32di(0, (unsigned long long)_mm_cvtsi128_si64(product));
}

CRC_TARGET static inline uint64_t crc_lanes(
	uint64_t crc, const unsigned char *p, const struct crc_lane *lane)
{
	const unsigned char *one = p + lane->words * 8, *two = p + lane->words * 16;
	uint64_t crc_one = 0, crc_two = 0;

	for (size_t i = 0; i < lane->words * 8; i += 8) {
		crc = crc_word(crc, p + i);
		crc_one = crc_word(crc_one, one + i);
		crc_two = crc_word(crc_two, two + i);
	}
	return crc_shift(crc, lane->over_two) ^ crc_shift(crc_one, lane->over_one) ^ crc_two;
}

CRC_TARGET static uint32_t crc_machine(uint32_t crc, const unsigned char *p, size_t len)
{
	uint64_t wide = crc;
	uint32_t rest, word;
	uint16_t half;

	for (; len >= CRC_LANE_LONG * 24; p += CRC_LANE_LONG * 24, len -= CRC_LANE_LONG * 24)
		wide = crc_lanes(wide, p, &crc_long);
	for (; len >= CRC_LANE_SHORT * 24; p += CRC_LANE_SHORT * 24, len -= CRC_LANE_SHORT * 24)
		wide = crc_lanes(wide, p, &crc_short);
	for (; len >= 8; p += 8, len -= 8)
		wide = crc_word(wide, p);
	rest = (uint32_t)wide;
	if (len & 4) {
		memcpy(&word, p, 4);
		rest = __builtin_ia32_crc32si(rest, word);
		p += 4;
	}
	if (len & 2) {
		memcpy(&half, p, 2);
		rest = __builtin_ia32_crc32hi(rest, half);
		p += 2;
	}
	if (len & 1)
		rest = __builtin_ia32_crc32qi(rest, *p);
	return rest;
}

static bool crc_has_machine(void)
{
	return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul");
}
#elif defined(__ARM_FEATURE_CRC32)
#include <arm_acle.h>

static uint32_t crc_machine(uint32_t crc, const unsigned char *p, size_t len)
{
	uint64_t word;

	for (; len >= 8; p += 8, len -= 8) {
		memcpy(&word, p, 8);
		crc = __crc32cd(crc, word);
	}
	for (; len > 0; p++, len--)
		crc = __crc32cb(crc, *p);
	return crc;
}

static bool crc_has_machine(void)
{
	return true;
}
#else
#define crc_machine crc_portable

static bool crc_has_machine(void)
{
	return false;
}
#endif

uint32_t record_crc32c(uint32_t crc, const void *data, size_t len)
{
	return ~(crc_has_machine() ? crc_machine : crc_portable)(~crc, data, len);
}

/* 0 means "not computed", so a CRC that happens to be 0 is written as 1. */
static uint32_t record_crc(const char *record, uint32_t len)
{
	uint32_t crc = record_crc32c(0, &len, sizeof len);

	crc = record_crc32c(crc, record + RECORD_HEADER_LEN, len);
	return crc ? crc : 1;
}

void record_close(char *record, size_t frame_len)
{
	uint64_t header = frame_len; /* and a CRC of 0 */
	char *end = record + RECORD_HEADER_LEN + frame_len;
	unsigned n_zeros = -(unsigned)frame_len % 8;

	memcpy(record, &header, sizeof header);
	/* in stores of known size, and nothing is read: what was just written in pieces
	 * would be waited for */
	if (n_zeros & 4) {
		memset(end, 0, 4);
		end += 4;
	}
	if (n_zeros & 2) {
		memset(end, 0, 2);
		end += 2;
	}
	if (n_zeros & 1)
		*end = 0;
}

void record_seal(char *record)
{
	uint32_t crc = record_crc(record, (uint32_t)record_frame(record).len);

	memcpy(record + 4, &crc, sizeof crc);
}

int record_next(const char **at, const char *end, struct text *ret_frame)
{
	const char *record = *at;
	size_t left = (size_t)(end - record), size;
	uint32_t len;

	if (left == 0)
		return RECORD_E_END;
	if (left < RECORD_HEADER_LEN)
		return RECORD_E_BROKEN;
	memcpy(&len, record, sizeof len);
	if (len == 0 || len > PACKET_LEN_MAX)
		return RECORD_E_BROKEN;
	size = record_size(len);
	if (size > left)
		return RECORD_E_BROKEN;
	*ret_frame = (struct text){ record + RECORD_HEADER_LEN, len };
	*at = record + size;
	return 0;
}

int record_check(const char *record)
{
	struct text frame = record_frame(record);
	uint32_t crc;

	memcpy(&crc, record + 4, sizeof crc);
	return crc == 0 || crc == record_crc(record, (uint32_t)frame.len) ? 0 : RECORD_E_BROKEN;
}
