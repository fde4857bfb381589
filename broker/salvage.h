/* salvage.h - records that are not as they were written.
 *
 * A damaged record of a log is replaced by a tombstone of the same number and size: a record whose
 * frame is "GAP target N N damaged", which is what readers get in its place. So one bad byte costs
 * one message, and everything around it stays readable. chat-broker(8), section STORAGE.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "protocol/limits.h"
#include "protocol/text.h"

/* The frame of a tombstone has at least this place, unless its number has over 16 digits. */
#define TOMBSTONE_FRAME_MAX (TARGET_LEN_MAX + 80)

static inline bool frame_is_tombstone(struct text frame)
{
	return frame.len > 4 && memcmp(frame.data, "GAP ", 4) == 0;
}

/* The frame of the tombstone for number SEQ, into FRAME, which holds TOMBSTONE_FRAME_MAX bytes.
 * Returns its length. */
size_t tombstone_compose(char *frame, struct text target, uint64_t seq);

/* Are the LEN bytes at DATA the records FIRST to NEXT - 1 of TARGET, each as it was written? */
bool records_are_good(
	const char *data, size_t len, struct text target, uint64_t first, uint64_t next);

/* Bytes of the records from FIRST on that are good, up to the first that is not; *ret_next is the
 * number after the last of them. */
size_t records_good_len(
	const char *data, size_t len, struct text target, uint64_t first, uint64_t *ret_next);

/* Make DATA, which should be the records FIRST to NEXT - 1 of TARGET, well-formed again. A
 * record after a damaged one is kept if all from there to the end fit: no text that a user put
 * into a message can pass for one. Returns how many became tombstones; all of them when nothing
 * fits, UINT64_MAX when LEN bytes are too few or too many for so many records. */
uint64_t records_salvage(char *data, size_t len, struct text target, uint64_t first, uint64_t next);
