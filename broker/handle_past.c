/* handle_past.c - PAST, FIND: what was said. */
#include "broker/broker.h"
#include "broker/cache.h"
#include "broker/dispatch.h"
#include "broker/find.h"
#include "broker/position.h"
#include "broker/salvage.h"
#include "protocol/number.h"
#include "protocol/record.h"

/* ---- PAST ---- */

/* Answer with the records from SEQ to TO: as many as one answer holds and are at hand. Returns 0,
 * or when the first is not: DISPATCH_E_WAIT or -errno. */
static int past_rows(struct session *session, const struct frame *frame, struct room *room,
	uint64_t seq, uint64_t to)
{
	struct log_cursor cursor = { .seq = seq }, next;
	struct log *log = &room->log, *before = NULL;
	unsigned n_rows = 0;
	struct text record;
	struct hole hole;
	size_t len = 0;
	int r;

	while (cursor.seq <= to && n_rows < ANSWER_ROWS_MAX) {
		size_t size;

		r = room_log_at(room, cursor.seq, &log, &hole);
		if (r == CACHE_E_HOLE) {
			cursor = (struct log_cursor){ .seq = hole.next };
			continue;
		}
		if (r && n_rows > 0)
			break;
		if (r)
			return r == CACHE_E_WAIT ? position_await(session, room, cursor.seq) : r;
		if (log != before)
			cursor = (struct log_cursor){ .seq = cursor.seq };
		before = log;
		size = log_read_one(log, &cursor, &record, &next);
		if (size == 0 || (n_rows > 0 && len + size > ANSWER_LEN_MAX))
			break;
		if (!frame_is_tombstone(record)) {
			answer_row(session, frame, record);
			len += size;
			n_rows++;
		}
		cursor = next;
	}
	if (cursor.seq <= to)
		answer_done(session, frame, "%u next=%lu", n_rows, (unsigned long)cursor.seq);
	else
		answer_done(session, frame, "%u", n_rows);
	return 0;
}

int handle_past(struct session *session, const struct frame *frame)
{
	struct text from = frame_get(frame, 2, "from"), to = frame_get(frame, 2, "to");
	struct text last_word = frame_get(frame, 2, "last");
	uint64_t first, last, n = UINT64_MAX;
	struct room *room;
	int r;

	r = handle_target_room(session, frame, frame->word[1], false, &room);
	if (r || !room)
		return r;
	first = room_first(room);
	last = log_end(&room->log) - 1;
	r = position_parse(session, room, from, false, &first);
	if (r == 0)
		r = position_parse(session, room, to, true, &last);
	if (r == 0 && last_word.data && !number_parse(last_word, &n))
		r = POSITION_E_WORD;
	if (r == 0) {
		last = MIN(last, log_end(&room->log) - 1);
		if (n <= last)
			first = MAX(first, last + 1 - n);
		first = MIN(MAX(first, room_first(room)), log_end(&room->log));
		if (answer_has_rows(frame))
			r = past_rows(session, frame, room, first, last);
	}
	return r ? position_refuse(session, frame, r, "from=, to= or last= is malformed") : 0;
}

/* ---- FIND ---- */

int handle_find(struct session *session, const struct frame *frame)
{
	struct text from = frame_get(frame, 2, "from"), max_word = frame_get(frame, 2, "max");
	struct find *found = find_take_found(session);
	uint64_t seq, max = ANSWER_ROWS_MAX;
	struct search search;
	struct room *room;
	int r;

	if (found) {
		find_answer(found, session, frame);
		find_free(found);
		return 0;
	}
	r = handle_target_room(session, frame, frame->word[1], false, &room);
	if (r || !room)
		return r;
	seq = log_end(&room->log) - 1;
	r = position_parse(session, room, from, true, &seq);
	if (r == 0 && max_word.data && (!number_parse(max_word, &max) || max == 0))
		r = POSITION_E_WORD;
	if (r)
		return position_refuse(session, frame, r, "from= or max= is malformed");
	if (!search_init(&search, frame->body)) {
		answer_refuse(session, frame, CODE_ARGS, "the text is not of 1 to %d bytes",
			SEARCH_LEN_MAX);
		return 0;
	}
	/* one that has gone may have left thousands of them behind */
	if (!answer_has_rows(frame) || session_is_left(session))
		return 0;
	r = find_start(session, room, &search, seq, max);
	if (r == 0)
		return DISPATCH_E_WAIT;
	answer_error(session, frame, r);
	return 0;
}
