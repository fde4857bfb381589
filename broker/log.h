/* log.h - a log of records in memory, and cursors into it.
 *
 * A log is a chain of segments that start small and grow with it, so that ten thousand
 * quiet rooms cost little, a busy one has few borders, and the oldest one is never more
 * than a part of what is kept. Records lie in a segment exactly as they go over the socket
 * (protocol/record.h); retention frees whole segments from the front. DESIGN: everything
 * is a log.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker/list.h"
#include "protocol/text.h"

struct segment;

struct log {
	uint64_t first; /* number of the oldest record kept; next when there is none */
	uint64_t next;  /* number that the next record gets */
	uint64_t last_time;
	uint64_t bytes; /* allocated: what the caller accounts for */
	uint64_t taken; /* bytes that retention took, ever */
	struct list segments;
	struct segment *newest;
	uint32_t segment_number; /* of the newest */
	uint32_t oldest_number;
};

/* A position before record SEQ. The rest is a hint that log_read() checks: it may
 * point into a segment that is gone. */
struct log_cursor {
	uint64_t seq;
	struct segment *segment;
	uint32_t segment_number;
	uint32_t offset;
};

void log_init(struct log *log);
void log_deinit(struct log *log);

/* Make room for a record whose frame has at most FRAME_LEN bytes, keeping the log
 * within MAX_BYTES by taking old segments, never the newest. Returns 0 with the
 * place for the frame, or -ENOMEM. */
int log_reserve(struct log *log, size_t frame_len, uint64_t max_bytes, char **ret_frame);

/* The frame is in place and FRAME_LEN bytes long (not longer than reserved): it
 * is record log->next, at TIME. */
void log_commit(struct log *log, size_t frame_len, uint64_t time);

/* Free the oldest segment. Returns its bytes, 0 when there is none left to take
 * (the last one goes too: the log is then empty). */
uint64_t log_take_oldest(struct log *log);

/* Place a cursor before record SEQ; first <= SEQ <= next. */
void log_seek(const struct log *log, uint64_t seq, struct log_cursor *ret_cursor);

/* The number of the first record at or after TIME ns; next when there is none. */
uint64_t log_find_time(const struct log *log, uint64_t time);

/* The records at the cursor: whole ones that lie together, at least one, and as many as
 * fit MAX bytes or some KiB less, for it is cut where the index knows a border. Borrowed
 * until the log changes. Returns their bytes, 0 at the end of the log. The cursor must not
 * be before first. *ret_next is the cursor behind them. They have their CRC from now on,
 * if they had not. */
size_t log_read(const struct log *log, struct log_cursor *cursor, size_t max,
	const char **ret_records, struct log_cursor *ret_next);

/* The same for exactly one record. */
size_t log_read_one(const struct log *log, struct log_cursor *cursor, struct text *ret_frame,
	struct log_cursor *ret_next);

/* The records that end with number SEQ, which the log has, from a border that the index
 * knows: some KiB, or one that is larger. Borrowed until the log changes. Returns their
 * bytes, and the number of the first. */
size_t log_read_back(
	const struct log *log, uint64_t seq, const char **ret_records, uint64_t *ret_first);
