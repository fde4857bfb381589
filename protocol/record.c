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
__attribute__((target("sse4.2"))) static uint32_t crc_machine(
	uint32_t crc, const unsigned char *p, size_t len)
{
	uint64_t wide = crc, word;
	uint32_t rest;

	for (; len >= 8; p += 8, len -= 8) {
		memcpy(&word, p, 8);
		wide = __builtin_ia32_crc32di(wide, word);
	}
	rest = (uint32_t)wide;
	for (; len > 0; p++, len--)
		rest = __builtin_ia32_crc32qi(rest, *p);
	return rest;
}

static bool crc_has_machine(void)
{
	return __builtin_cpu_supports("sse4.2");
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

static void record_put(char *record, size_t frame_len, uint32_t crc)
{
	uint32_t len = (uint32_t)frame_len;

	memcpy(record, &len, 4);
	memcpy(record + 4, &crc, 4);
	memset(record + RECORD_HEADER_LEN + frame_len, 0,
		record_size(frame_len) - RECORD_HEADER_LEN - frame_len);
}

void record_seal(char *record, size_t frame_len)
{
	record_put(record, frame_len, record_crc(record, (uint32_t)frame_len));
}

void record_close(char *record, size_t frame_len)
{
	record_put(record, frame_len, 0);
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
