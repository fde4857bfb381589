/* salvage.c - see salvage.h. */
#include "broker/salvage.h"

#include <stdio.h>

#include "protocol/base.h"
#include "protocol/frame.h"
#include "protocol/number.h"
#include "protocol/record.h"

/* ---- tombstones ---- */

/* A word " x=---" and then a body fill the rest of a tombstone's place. A body alone may be too
 * short to fill the largest record, whose line was longer. */
#define FILL_WORD 200

size_t tombstone_compose(char *frame, struct text target, uint64_t seq)
{
	return (size_t)snprintf(frame, TOMBSTONE_FRAME_MAX, "GAP %.*s %lu %lu damaged",
		(int)target.len, target.data, (unsigned long)seq, (unsigned long)seq);
}

/* A tombstone of SIZE bytes for number SEQ at RECORD. */
static void tombstone_put(char *record, size_t size, struct text target, uint64_t seq)
{
	char *frame = record + RECORD_HEADER_LEN, line[TOMBSTONE_FRAME_MAX];
	size_t len = tombstone_compose(line, target, seq), frame_len = size - RECORD_HEADER_LEN;

	memcpy(frame, line, MIN(len, frame_len));
	if (frame_len > len) {
		size_t n = MIN(frame_len - len, (size_t)FILL_WORD);

		if (n > strlen(" x=")) {
			memcpy(frame + len, " x=", strlen(" x="));
			memset(frame + len + strlen(" x="), '-', n - strlen(" x="));
			len += n;
		}
	}
	if (frame_len > len) {
		frame[len] = '\n';
		memset(frame + len + 1, 0, frame_len - len - 1);
	}
	record_close(record, frame_len);
	record_seal(record);
}

static size_t tombstone_size(struct text target, uint64_t seq)
{
	char line[TOMBSTONE_FRAME_MAX];

	return record_size(tombstone_compose(line, target, seq));
}

/* Fill LEN bytes at DATA with tombstones FIRST to NEXT - 1. False if that does not go, and
 * nothing is written. */
static bool tombstones_fill(
	char *data, size_t len, struct text target, uint64_t first, uint64_t next)
{
	/* digits only grow: the last one is the largest */
	uint64_t n = next - first, least = tombstone_size(target, next - 1);
	uint64_t most = record_size(BODY_LEN_MAX + FILL_WORD);

	if (n == 0)
		return len == 0;
	if (len / least < n || len > n * most)
		return false;
	for (uint64_t seq = first; seq < next; seq++) {
		uint64_t after = (next - 1 - seq) * most;
		size_t size = (size_t)MAX(least, len > after ? len - after : 0);

		if (seq == next - 1)
			size = len;
		tombstone_put(data, size, target, seq);
		data += size;
		len -= size;
	}
	return true;
}

/* ---- what is good ---- */

/* The size of the record at DATA, if it is number SEQ of TARGET as it was written; else 0. */
static size_t record_good_size(const char *data, size_t len, struct text target, uint64_t seq)
{
	const char *at = data;
	struct text line;
	struct frame frame;
	uint64_t number;

	if (record_next(&at, data + len, &line) || !record_is_sealed(data) || record_check(data) ||
		frame_parse(&frame, line) || frame.n_words < 3 ||
		!text_equal(frame.word[1], target) || !number_parse(frame.word[2], &number) ||
		number != seq)
		return 0;
	return (size_t)(at - data);
}

size_t records_good_len(
	const char *data, size_t len, struct text target, uint64_t first, uint64_t *ret_next)
{
	size_t at = 0, size;

	while (at < len && (size = record_good_size(data + at, len - at, target, first)) > 0) {
		at += size;
		first++;
	}
	*ret_next = first;
	return at;
}

bool records_are_good(
	const char *data, size_t len, struct text target, uint64_t first, uint64_t next)
{
	uint64_t end;

	return records_good_len(data, len, target, first, &end) == len && end == next;
}

/* The number that the record at DATA says it has; 0: that is none. */
static uint64_t record_seq(const char *data, size_t len)
{
	const char *at = data;
	struct text line;
	struct frame frame;
	uint64_t seq;

	if (record_next(&at, data + len, &line) || frame_parse(&frame, line) || frame.n_words < 3 ||
		!number_parse(frame.word[2], &seq))
		return 0;
	return seq;
}

/* ---- damage ---- */

/* Do the records lead to the end by their lengths, so many of them? Then each that is not as it
 * was written becomes a tombstone, and *ret_n is how many. */
static bool salvage_in_place(
	char *data, size_t len, struct text target, uint64_t first, uint64_t next, uint64_t *ret_n)
{
	const char *at = data, *end = data + len;
	uint64_t seq = first, n = 0;
	struct text line;

	while (record_next(&at, end, &line) == 0)
		seq++;
	if (at != end || seq != next)
		return false;
	for (seq = first; seq < next; seq++) {
		size_t size = record_size(record_frame(data).len);

		if (record_good_size(data, size, target, seq) == 0) {
			if (size < tombstone_size(target, seq))
				return false;
			tombstone_put(data, size, target, seq);
			n++;
		}
		data += size;
	}
	*ret_n = n;
	return true;
}

/* Where the records go on after the first one of DATA, which is number SEQ and damaged: from there
 * all are good to the end. LEN when they do not. */
static size_t salvage_find_rest(const char *data, size_t len, struct text target, uint64_t seq,
	uint64_t next, uint64_t *ret_seq)
{
	for (size_t at = 8; at < len; at += 8) {
		uint64_t found = record_seq(data + at, len - at);

		if (found > seq && found < next &&
			records_are_good(data + at, len - at, target, found, next)) {
			*ret_seq = found;
			return at;
		}
	}
	*ret_seq = next;
	return len;
}

uint64_t records_salvage(char *data, size_t len, struct text target, uint64_t first, uint64_t next)
{
	uint64_t seq, rest, n;
	size_t good = records_good_len(data, len, target, first, &seq), at;

	if (good == len && seq == next)
		return 0;
	if (seq >= next)
		return UINT64_MAX;
	data += good;
	len -= good;
	if (salvage_in_place(data, len, target, seq, next, &n))
		return n;
	at = salvage_find_rest(data, len, target, seq, next, &rest);
	return tombstones_fill(data, at, target, seq, rest) ? rest - seq : UINT64_MAX;
}
