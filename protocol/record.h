/* record.h - a record of a log, and the batch of them that is one packet.
 *
 *	u32 length | u32 crc32c of length and frame | frame | zeros to 8
 *
 * Little-endian; chat-protocol(7), section Frames. A log in memory is these
 * bytes, and a batch is a slice of them, so delivering is sending.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/text.h"

#define RECORD_HEADER_LEN 8
#define BATCH_START       "BATCH\n"
#define BATCH_START_LEN   6

/* Bytes of records in one batch packet, at the most. */
#define BATCH_LEN_MAX (PACKET_LEN_MAX - BATCH_START_LEN)

enum {
	RECORD_E_END = 1, /* no more records */
	RECORD_E_BROKEN,  /* the bytes do not add up to records */
};

/* The bytes a record takes whose frame has FRAME_LEN bytes. */
static inline size_t record_size(size_t frame_len)
{
	return (RECORD_HEADER_LEN + frame_len + 7) & ~(size_t)7;
}

/* The frame is in place at RECORD + RECORD_HEADER_LEN: write the header before it,
 * with a CRC of 0, "not computed", and the zeros after it. RECORD holds
 * record_size() bytes. */
void record_close(char *record, size_t frame_len);

/* Give a closed record its CRC: what goes to readers, and stays. */
void record_seal(char *record);

/* Has it one? */
static inline bool record_is_sealed(const char *record)
{
	uint32_t crc;

	memcpy(&crc, record + 4, sizeof crc);
	return crc != 0;
}

/* Read the record at *AT, move *AT behind it. END bounds it.
 * Returns 0, RECORD_E_END or RECORD_E_BROKEN. */
int record_next(const char **at, const char *end, struct text *ret_frame);

/* The same for bytes that this process wrote itself: not checked. */
static inline struct text record_frame(const char *record)
{
	uint32_t len;

	memcpy(&len, record, sizeof len);
	return (struct text){ record + RECORD_HEADER_LEN, len };
}

/* Check the CRC of the record at RECORD, which record_next() found well-formed.
 * Returns 0 or RECORD_E_BROKEN; a CRC of 0 is not checked. */
int record_check(const char *record);

/* CRC-32C (RFC 3720, appendix B.4), continued from CRC; start with 0. */
uint32_t record_crc32c(uint32_t crc, const void *data, size_t len);
