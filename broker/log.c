/* log.c - see log.h.
 *
 * Each segment has a sparse index: for every INDEX_STRIDE bytes, the first record
 * that starts there or later. It finds a number or a time without walking the
 * segment, and cuts a slice at a record border without walking the slice.
 *
 * A record's CRC is computed when it is first read as part of a slice: what is said is
 * written in pieces, and to read it back at once would wait for each of them. Slices
 * are mostly read from where the last one ended, so a mark tells what is done; beyond it,
 * where readers stand that came later, each record tells.
 *
 * A cursor holds a pointer to its segment. The segment's number says whether the
 * pointer is still good: segments go from the front only, so a number at or above
 * the oldest one's is alive.
 */
#include "broker/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "broker/salvage.h"
#include "protocol/frame.h"
#include "protocol/number.h"
#include "protocol/record.h"

#define SEGMENT_MIN  4096u
#define SEGMENT_MAX  LOG_SEGMENT_MAX
#define INDEX_STRIDE 4096u

struct index_entry {
	uint32_t offset;
	uint32_t seq; /* above the segment's first */
};

struct segment {
	struct list link;
	uint64_t first; /* number of its first record */
	uint64_t next;  /* number behind its last record */
	uint32_t number;
	uint32_t used;
	uint32_t sealed; /* up to here every record has its CRC */
	uint32_t size;
	uint32_t n_pins;
	bool is_orphan; /* not of the log any more: to be freed with the last pin */
	bool is_closed; /* what comes next goes to another */
	uint32_t n_index;
	uint64_t time;             /* of its first record */
	uint64_t began, last;      /* when that and its last were said, by the clock of ages */
	struct index_entry *index; /* behind the data, in the same allocation */
	_Alignas(8) char data[];
};

static size_t segment_bytes(uint32_t size)
{
	return sizeof(struct segment) + size +
	       (size_t)(size / INDEX_STRIDE + 1) * sizeof(struct index_entry);
}

void log_init(struct log *log)
{
	*log = (struct log){ .first = 1, .next = 1, .oldest_number = 1, .keep_from = UINT32_MAX };
	list_init(&log->segments);
}

static struct segment *log_oldest(const struct log *log)
{
	struct list *link = list_first(&log->segments);

	return link ? container_of(link, struct segment, link) : NULL;
}

static struct segment *segment_after(const struct log *log, const struct segment *segment)
{
	return segment->link.next == &log->segments
		       ? NULL
		       : container_of(segment->link.next, struct segment, link);
}

/* TIME is the fourth word of each frame that a log of messages holds; a tombstone has none, and
 * stands for the next record before END. 0: there is none. */
static uint64_t record_time(const char *record, const char *end)
{
	struct frame frame;
	uint64_t time;

	while (record < end && frame_is_tombstone(record_frame(record)))
		record += record_size(record_frame(record).len);
	if (record == end || frame_parse(&frame, record_frame(record)) || frame.n_words < 4 ||
		!number_parse(frame.word[3], &time))
		return 0;
	return time;
}

static uint64_t segment_time(const struct segment *segment, uint32_t offset)
{
	return record_time(segment->data + offset, segment->data + segment->used);
}

static struct segment_image segment_image(const struct segment *segment)
{
	return (struct segment_image){
		.number = segment->number,
		.size = segment->size,
		.used = segment->used,
		.first = segment->first,
		.next = segment->next,
		.time = segment->time,
		.last = segment->last,
		.data = segment->data,
		.segment = (struct segment *)segment,
	};
}

/* Unlink the oldest segment and hand it over, still allocated and charged. */
static struct segment *log_unlink_oldest(struct log *log)
{
	struct segment *segment = log_oldest(log), *after;

	if (!segment)
		return NULL;
	if (log->leaves) {
		struct segment_image image = segment_image(segment);

		log->leaves(log, &image);
	}
	after = segment_after(log, segment);
	log->first = segment->next;
	log->oldest_number = segment->number + 1;
	log->taken += segment_bytes(segment->size);
	if (!after)
		log->newest = NULL;
	list_unlink(&segment->link);
	return segment;
}

/* As soon as nobody has it pinned. */
static void segment_free(struct segment *segment)
{
	segment->is_orphan = true;
	if (segment->n_pins == 0)
		free(segment);
}

uint64_t log_take_oldest(struct log *log)
{
	struct segment *segment = log_unlink_oldest(log);
	uint64_t bytes;

	if (!segment)
		return 0;
	bytes = segment_bytes(segment->size);
	log->bytes -= bytes;
	segment_free(segment);
	return bytes;
}

void log_deinit(struct log *log)
{
	while (log_take_oldest(log) > 0)
		;
}

static uint32_t log_next_size(const struct log *log, size_t need, uint64_t max_bytes)
{
	uint64_t size = SEGMENT_MIN;

	/* a quarter of what is there: retention takes whole segments, and the new one,
	 * still empty, counts */
	while (size * 8 <= log->bytes)
		size *= 2;
	if (log->newest && log->newest->is_closed) /* as little may come again */
		size = MIN(size, MAX((uint64_t)SEGMENT_MIN, 2 * (uint64_t)log->newest->used));
	size = MIN(size, log->is_held ? LOG_SEGMENT_STORED_MAX : SEGMENT_MAX);
	size = MIN(size, max_bytes / 4);
	size = MAX(size, (uint64_t)need);
	return (uint32_t)(size + 7) & ~7u;
}

/* A new segment, or the memory of REUSED, which is one, of SIZE bytes for what comes next. */
static struct segment *log_add(struct log *log, struct segment *reused, uint32_t size)
{
	struct segment *segment = reused ? reused : malloc(segment_bytes(size));

	if (!segment)
		return NULL;
	if (!reused)
		log->bytes += segment_bytes(size);
	*segment = (struct segment){ .size = size, .first = log->next, .next = log->next };
	segment->number = ++log->segment_number;
	segment->index = (struct index_entry *)(segment->data + size);
	list_init(&segment->link);
	list_append(&log->segments, &segment->link);
	if (!log->newest)
		log->oldest_number = segment->number;
	log->newest = segment;
	return segment;
}

static int log_add_segment(struct log *log, size_t need, uint64_t max_bytes)
{
	uint32_t size = log_next_size(log, need, max_bytes);
	struct segment *segment = NULL;

	while (log->newest && log->bytes + segment_bytes(size) > max_bytes) {
		struct segment *oldest = log_oldest(log);

		if (oldest->number >= log->keep_from)
			break;

		/* a busy log at its bound uses its oldest memory again: no page is
		 * given back and faulted in anew */
		if (oldest->size == size && log->bytes <= max_bytes && oldest->n_pins == 0) {
			segment = log_unlink_oldest(log);
			break;
		}
		log_take_oldest(log);
	}
	return log_add(log, segment, size) ? 0 : -ENOMEM;
}

int log_reserve(struct log *log, size_t frame_len, uint64_t max_bytes, char **ret_frame)
{
	size_t need = record_size(frame_len);
	int r;

	if (!log->newest || log->newest->size - log->newest->used < need ||
		log->newest->is_closed) {
		r = log_add_segment(log, need, max_bytes);
		if (r < 0)
			return r;
	}
	*ret_frame = log->newest->data + log->newest->used + RECORD_HEADER_LEN;
	return 0;
}

/* The record behind the last one is there, and has a frame of FRAME_LEN bytes. */
static void segment_count(struct segment *segment, size_t frame_len)
{
	while (segment->n_index * INDEX_STRIDE <= segment->used)
		segment->index[segment->n_index++] = (struct index_entry){
			.offset = segment->used,
			.seq = (uint32_t)(segment->next - segment->first),
		};
	segment->used += (uint32_t)record_size(frame_len);
	segment->next++;
}

void log_commit(struct log *log, size_t frame_len, uint64_t time, uint64_t age)
{
	struct segment *segment = log->newest;

	if (segment->used == 0) {
		segment->time = time;
		segment->began = age;
	}
	segment->last = age;
	record_close(segment->data + segment->used, frame_len);
	segment_count(segment, frame_len);
	log->next++;
	log->last_time = time;
}

/* The index entry to start walking from: the last one for which BEFORE holds. */
static const struct index_entry *segment_index(const struct segment *segment, uint64_t key,
	bool (*before)(
		const struct segment *segment, const struct index_entry *entry, uint64_t key))
{
	uint32_t low = 0, high = segment->n_index;

	while (high - low > 1) {
		uint32_t middle = low + (high - low) / 2;

		if (before(segment, &segment->index[middle], key))
			low = middle;
		else
			high = middle;
	}
	return &segment->index[low];
}

static bool is_at_or_before_seq(
	const struct segment *segment, const struct index_entry *entry, uint64_t seq)
{
	return segment->first + entry->seq <= seq;
}

void log_seek(const struct log *log, uint64_t seq, struct log_cursor *ret_cursor)
{
	struct log_cursor cursor = { .seq = seq };
	struct segment *segment = log->newest;
	const struct index_entry *entry;
	uint64_t at;

	while (segment && segment->first > seq && segment->link.prev != &log->segments)
		segment = container_of(segment->link.prev, struct segment, link);
	if (segment) {
		cursor.segment = segment;
		cursor.segment_number = segment->number;
		if (seq >= segment->next) {
			cursor.offset = segment->used;
		} else {
			entry = segment_index(segment, seq, is_at_or_before_seq);
			cursor.offset = entry->offset;
			for (at = segment->first + entry->seq; at < seq; at++)
				cursor.offset += (uint32_t)record_size(
					record_frame(segment->data + cursor.offset).len);
		}
	}
	*ret_cursor = cursor;
}

static bool is_before_time(
	const struct segment *segment, const struct index_entry *entry, uint64_t time)
{
	return segment_time(segment, entry->offset) < time;
}

uint64_t log_find_time(const struct log *log, uint64_t time)
{
	struct segment *segment = log->newest;
	const struct index_entry *entry;
	uint32_t offset;
	uint64_t seq;

	if (!segment || log->last_time < time)
		return log->next;
	while (segment->link.prev != &log->segments && segment_time(segment, 0) >= time)
		segment = container_of(segment->link.prev, struct segment, link);
	entry = segment_index(segment, time, is_before_time);
	offset = entry->offset;
	seq = segment->first + entry->seq;
	while (offset < segment->used && segment_time(segment, offset) < time) {
		offset += (uint32_t)record_size(record_frame(segment->data + offset).len);
		seq++;
	}
	return seq;
}

/* Make the cursor's hint good. False at END. */
static bool log_resolve(const struct log *log, struct log_cursor *cursor, uint64_t end)
{
	if (cursor->seq >= end)
		return false;
	if (!cursor->segment || cursor->segment_number < log->oldest_number)
		log_seek(log, cursor->seq, cursor);
	if (cursor->offset == cursor->segment->used) {
		cursor->segment = segment_after(log, cursor->segment);
		cursor->segment_number = cursor->segment->number;
		cursor->offset = 0;
	}
	return true;
}

size_t log_read_one(const struct log *log, struct log_cursor *cursor, struct text *ret_frame,
	struct log_cursor *ret_next)
{
	struct text frame;

	if (!log_resolve(log, cursor, log->next))
		return 0;
	frame = record_frame(cursor->segment->data + cursor->offset);
	*ret_next = *cursor;
	ret_next->seq++;
	ret_next->offset += (uint32_t)record_size(frame.len);
	*ret_frame = frame;
	return record_size(frame.len);
}

/* Move CURSOR to the last border of the index that is not behind LIMIT, if there is one
 * behind it. */
static void segment_cut(const struct segment *segment, uint32_t limit, struct log_cursor *cursor)
{
	uint32_t i = MIN(limit / INDEX_STRIDE, segment->n_index - 1);

	for (; segment->index[i].offset > cursor->offset; i--)
		if (segment->index[i].offset <= limit) {
			cursor->offset = segment->index[i].offset;
			cursor->seq = segment->first + segment->index[i].seq;
			return;
		}
}

/* Give the records from FROM to TO their CRC, those that have none. */
static void segment_seal(struct segment *segment, uint32_t from, uint32_t to)
{
	uint32_t at = MIN(MAX(from, segment->sealed), to);

	if (from <= segment->sealed)
		segment->sealed = MAX(to, segment->sealed);
	while (at < to) {
		char *record = segment->data + at;

		if (!record_is_sealed(record))
			record_seal(record);
		at += (uint32_t)record_size(record_frame(record).len);
	}
}

/* What lies together from CURSOR on, whose hint is good, up to LIMIT at the most. */
static size_t segment_read(struct log_cursor *cursor, const struct log_cursor *limit, size_t max,
	const char **ret_records, struct log_cursor *ret_next)
{
	struct segment *segment = cursor->segment;

	*ret_records = segment->data + cursor->offset;
	*ret_next = *cursor;
	if (limit->offset - cursor->offset <= max) {
		ret_next->offset = limit->offset;
		ret_next->seq = limit->seq;
	} else {
		segment_cut(segment, cursor->offset + (uint32_t)max, ret_next);
		if (ret_next->offset == cursor->offset) {
			ret_next->offset += (uint32_t)record_size(
				record_frame(segment->data + cursor->offset).len);
			ret_next->seq++;
		}
	}
	segment_seal(segment, cursor->offset, ret_next->offset);
	return ret_next->offset - cursor->offset;
}

static struct log_cursor segment_end(const struct segment *segment)
{
	return (struct log_cursor){ .seq = segment->next, .offset = segment->used };
}

size_t log_read(const struct log *log, struct log_cursor *cursor, size_t max,
	const char **ret_records, struct log_cursor *ret_next)
{
	struct log_cursor limit;

	if (!log_resolve(log, cursor, log_end(log)))
		return 0;
	limit = log->is_held && cursor->segment_number == log->end.segment_number
			? log->end
			: segment_end(cursor->segment);
	return segment_read(cursor, &limit, max, ret_records, ret_next);
}

size_t log_read_held(const struct log *log, struct log_cursor *cursor, size_t max,
	const char **ret_records, struct log_cursor *ret_next)
{
	struct log_cursor limit;

	if (!log_resolve(log, cursor, log->next))
		return 0;
	limit = segment_end(cursor->segment);
	return segment_read(cursor, &limit, max, ret_records, ret_next);
}

size_t log_read_back(const struct log *log, uint64_t seq, size_t max, struct segment **ret_segment,
	const char **ret_records, uint64_t *ret_first)
{
	const struct index_entry *entry;
	struct segment *segment;
	struct log_cursor cursor;
	uint32_t end;

	log_seek(log, seq, &cursor);
	segment = cursor.segment;
	end = cursor.offset +
	      (uint32_t)record_size(record_frame(segment->data + cursor.offset).len);
	entry = segment_index(segment, seq, is_at_or_before_seq);
	while (entry > segment->index && end - entry[-1].offset <= max)
		entry--;
	*ret_records = segment->data + entry->offset;
	*ret_first = segment->first + entry->seq;
	*ret_segment = segment;
	return end - entry->offset;
}

void log_close(struct log *log)
{
	if (log->newest)
		log->newest->is_closed = true;
}

uint64_t log_newest_began(const struct log *log)
{
	return log->newest ? log->newest->began : 0;
}

uint64_t log_newest_last(const struct log *log)
{
	return log->newest ? log->newest->last : 0;
}

uint64_t log_oldest_last(const struct log *log)
{
	const struct segment *oldest = log_oldest(log);

	return oldest ? oldest->last : 0;
}

uint64_t log_used(const struct log *log)
{
	uint64_t used = 0;

	list_for_each (link, &log->segments)
		used += container_of(link, struct segment, link)->used;
	return used;
}

/* ---- a log that is stored, too ---- */

void log_hold(struct log *log)
{
	log->is_held = true;
	log_seek(log, log->next, &log->end);
}

void log_let_go(struct log *log)
{
	log->is_held = false;
	log->leaves = NULL;
	log->keep_from = UINT32_MAX;
}

void log_release(struct log *log, const struct log_cursor *to)
{
	log->end = *to;
}

bool log_oldest_is_kept(const struct log *log)
{
	const struct segment *oldest = log_oldest(log);

	return oldest && oldest->number >= log->keep_from;
}

/* As if it had never been. */
static void log_drop_newest(struct log *log)
{
	struct segment *segment = log->newest;

	log->bytes -= segment_bytes(segment->size);
	log->newest = list_first(&log->segments) == &segment->link
			      ? NULL
			      : container_of(segment->link.prev, struct segment, link);
	list_unlink(&segment->link);
	segment_free(segment);
}

/* What is behind END was never there. */
static void segment_truncate(struct segment *segment, const struct log_cursor *end)
{
	segment->used = end->offset;
	segment->next = end->seq;
	segment->sealed = MIN(segment->sealed, segment->used);
	while (segment->n_index > 0 && segment->index[segment->n_index - 1].offset >= segment->used)
		segment->n_index--;
}

void log_truncate(struct log *log)
{
	while (log->newest && log->newest->next > log->end.seq) {
		struct segment *segment = log->newest;

		if (segment->number == log->end.segment_number && log->end.offset > 0) {
			segment_truncate(segment, &log->end);
			break;
		}
		log_drop_newest(log);
	}
	log->next = log->end.seq;
	log->first = MIN(log->first, log->next);
	log_hold(log);
}

struct segment *segment_pin(struct segment *segment)
{
	segment->n_pins++;
	return segment;
}

void segment_unpin(struct segment *segment)
{
	if (--segment->n_pins == 0 && segment->is_orphan)
		free(segment);
}

bool log_image(const struct log *log, uint32_t number, struct segment_image *ret_image)
{
	list_for_each (link, &log->segments) {
		struct segment *segment = container_of(link, struct segment, link);
		struct log_cursor end = segment_end(segment);

		if (segment->number < number)
			continue;
		if (segment->next > log_end(log)) {
			if (segment->number != log->end.segment_number)
				return false;
			end = log->end;
		}
		segment_seal(segment, segment->sealed, end.offset);
		*ret_image = segment_image(segment);
		ret_image->used = end.offset;
		ret_image->next = end.seq;
		return true;
	}
	return false;
}

int log_restore(struct log *log, const struct segment_image *image, char **ret_data)
{
	struct segment *segment;

	if (!log->newest)
		log->first = image->first;
	log->next = image->first;
	log->segment_number = image->number - 1;
	segment = log_add(log, NULL, image->size);
	if (!segment)
		return -ENOMEM;
	*ret_data = segment->data;
	return 0;
}

int log_restored(struct log *log, const struct segment_image *image)
{
	struct segment *segment = log->newest;
	const char *at = segment->data, *end = at + image->used, *newest = NULL;
	struct text frame;
	uint64_t time;
	int r;

	while ((r = record_next(&at, end, &frame)) == 0) {
		const char *record = frame.data - RECORD_HEADER_LEN;

		if (!record_is_sealed(record) || record_check(record) != 0)
			break;
		newest = frame_is_tombstone(frame) ? newest : record;
		segment_count(segment, frame.len);
	}
	log->next = segment->next;
	segment->sealed = segment->used;
	segment->time = image->time;
	if (r != RECORD_E_END || segment->next != image->next)
		return RECORD_E_BROKEN;
	time = newest ? record_time(newest, end) : image->time;
	log->last_time = MAX(log->last_time, time);
	segment->last = image->last > 0 ? image->last : time;
	segment->began = MIN(image->time, segment->last);
	return 0;
}

void log_lose(struct log *log, uint64_t next)
{
	while (log_take_oldest(log) > 0)
		;
	log->first = log->next = next;
}
