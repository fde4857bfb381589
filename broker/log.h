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

struct log;
struct segment;

/* A segment as it is stored: its first USED bytes, its borders, and where it belongs. */
struct segment_image {
	uint32_t number;
	uint32_t size; /* that it may grow to */
	uint32_t used;
	uint64_t first, next; /* of its records */
	uint64_t time;        /* of the first */
	uint64_t last; /* when the last was said, by the clock of ages; 0: that is not known */
	const char *data;
	struct segment *segment;
	struct entry
		*entry; /* of a segment that is not in memory: what it was read back to; cache.c */
};

/* A segment grows to so many bytes at the most, unless it is one record. */
#define LOG_SEGMENT_MAX (16u << 20)
/* And that of a log that is stored: so much is read back at once. */
#define LOG_SEGMENT_STORED_MAX (1u << 20)

/* A position before record SEQ. The rest is a hint that log_read() checks: it may
 * point into a segment that is gone. */
struct log_cursor {
	uint64_t seq;
	struct segment *segment;
	uint32_t segment_number;
	uint32_t offset;
};

struct log {
	uint64_t first; /* number of the oldest record kept; next when there is none */
	uint64_t next;  /* number that the next record gets */
	uint64_t last_time;
	bool is_held; /* readers have what is before END only: the rest is not stored yet */
	struct log_cursor end;
	uint64_t bytes; /* allocated: what the caller accounts for */
	uint64_t taken; /* bytes that retention took, ever */
	struct list segments;
	struct segment *newest;
	uint32_t segment_number; /* of the newest */
	uint32_t oldest_number;
	/* Of one that is stored: segments from KEEP_FROM on are nowhere else, so they are not
	 * taken; LEAVES is told of those that are, while they are there. */
	uint32_t keep_from;
	void (*leaves)(struct log *log, const struct segment_image *image);
};

/* What readers may have is before this number. */
static inline uint64_t log_end(const struct log *log)
{
	return log->is_held ? log->end.seq : log->next;
}

void log_init(struct log *log);
void log_deinit(struct log *log);

/* Make room for a record whose frame has at most FRAME_LEN bytes, keeping the log
 * within MAX_BYTES by taking old segments, never the newest. Returns 0 with the
 * place for the frame, or -ENOMEM. */
int log_reserve(struct log *log, size_t frame_len, uint64_t max_bytes, char **ret_frame);

/* The frame is in place and FRAME_LEN bytes long (not longer than reserved): it
 * is record log->next, at TIME, and is said at AGE by the clock of ages (age.h). */
void log_commit(struct log *log, size_t frame_len, uint64_t time, uint64_t age);

/* Free the oldest segment. Returns its bytes, 0 when there is none left to take
 * (the last one goes too: the log is then empty). */
uint64_t log_take_oldest(struct log *log);

/* Place a cursor before record SEQ; first <= SEQ <= next. */
void log_seek(const struct log *log, uint64_t seq, struct log_cursor *ret_cursor);

/* The number of the first record at or after TIME ns; next when there is none. */
uint64_t log_find_time(const struct log *log, uint64_t time);

/* The records at the cursor, before log_end(): whole ones that lie together, at least one, and as
 * many as fit MAX bytes or some KiB less, for it is cut where the index knows a border. Borrowed
 * until the log changes. Returns their bytes, 0 at the end of the log. The cursor must not
 * be before first. *ret_next is the cursor behind them. They have their CRC from now on,
 * if they had not. */
size_t log_read(const struct log *log, struct log_cursor *cursor, size_t max,
	const char **ret_records, struct log_cursor *ret_next);

/* The same for exactly one record, also one behind log_end(). */
size_t log_read_one(const struct log *log, struct log_cursor *cursor, struct text *ret_frame,
	struct log_cursor *ret_next);

/* The records that end with number SEQ, which the log has, as many as lie together and fit MAX
 * bytes, from a border that the index knows; at least those from the last one before SEQ, which are
 * some KiB or one record. Borrowed until the log changes, or as long as *ret_segment is pinned:
 * then to be read by any thread. Returns their bytes, and the number of the first. */
size_t log_read_back(const struct log *log, uint64_t seq, size_t max, struct segment **ret_segment,
	const char **ret_records, uint64_t *ret_first);

/* What comes next begins a new segment. */
void log_close(struct log *log);

/* By the clock of ages, when the newest segment began, when its last record was said, and when the
 * last one of the oldest was; 0 when there is none. */
uint64_t log_newest_began(const struct log *log);
uint64_t log_newest_last(const struct log *log);
uint64_t log_oldest_last(const struct log *log);

/* Bytes of the records that it has. */
uint64_t log_used(const struct log *log);

/* Has it one segment, or none? */
static inline bool log_is_single(const struct log *log)
{
	return log->segments.next == log->segments.prev;
}

/* ---- a log that is stored, too ---- */

/* Readers have nothing from now on but what log_release() lets them have. */
void log_hold(struct log *log);

/* It is not stored any more: readers have all there is. Nothing is held now. */
void log_let_go(struct log *log);

/* The records that are to be stored: those from CURSOR on that lie together, whole ones of
 * MAX bytes at the most, but at least one; like log_read(), but up to next. */
size_t log_read_held(const struct log *log, struct log_cursor *cursor, size_t max,
	const char **ret_records, struct log_cursor *ret_next);

/* Those before TO are stored. */
void log_release(struct log *log, const struct log_cursor *to);

/* Those from log_end() on can not be: they were never there. */
void log_truncate(struct log *log);

/* The oldest segment is nowhere else yet: it is not to be taken. False when there is none. */
bool log_oldest_is_kept(const struct log *log);

/* The memory of a segment stays, whatever retention does, while it is pinned. */
struct segment *segment_pin(struct segment *segment);
void segment_unpin(struct segment *segment);

/* The segment NUMBER, or the next one there is, with the records that are before
 * log_end(), each with its CRC. False when there is none. */
bool log_image(const struct log *log, uint32_t number, struct segment_image *ret_image);

/* Take up a segment as it was stored, behind those that are there: RET_DATA is the place
 * for its USED bytes. -ENOMEM. */
int log_restore(struct log *log, const struct segment_image *image, char **ret_data);

/* Its bytes are in place: are they its records, each as it was written? Returns 0 or
 * RECORD_E_BROKEN. */
int log_restored(struct log *log, const struct segment_image *image);

/* All that is there is gone; the next record is NEXT. */
void log_lose(struct log *log, uint64_t next);
