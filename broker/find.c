/* find.c - see find.h. */
#include "broker/find.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "broker/answer.h"
#include "broker/archive.h"
#include "broker/broker.h"
#include "broker/cache.h"
#include "broker/salvage.h"
#include "broker/store.h"
#include "protocol/record.h"

/* What one request looks through: two milliseconds, so that others have their turn; and in how
 * many pieces. */
#define FIND_BYTES (4u << 20)
#define PIECES_MAX 64

/* Hits of one piece that are remembered, the newest: one more than an answer has. */
#define HITS_MAX (ANSWER_ROWS_MAX + 1)

/* Records that lie together: in memory, where they are pinned, or in a file. */
struct piece {
	struct segment *segment; /* NULL: it is the file IMAGE */
	const char *records;
	size_t len;
	uint64_t first, last; /* of the records that are looked at */
	struct segment_image image;
	bool is_hole; /* no record of the file is good */
	struct archive_damage damage;
};

struct hit {
	struct text frame;
	uint64_t seq;
};

struct find {
	struct errand errand;
	struct broker *broker;
	struct list waiters;           /* the session that asked, unless it has gone */
	const struct session *session; /* the same, when it was done */
	struct search search;
	uint64_t from, max;
	struct stored *stored; /* a reference; NULL: it is in memory only */
	struct piece pieces[PIECES_MAX];
	size_t n_pieces;
	int result;    /* 0 or -errno */
	bool is_full;  /* NEXT was found, and did not fit */
	uint64_t next; /* it is to go on with this number; 0: that is all */
	char *rows;    /* the frames that were found, one behind the other */
	size_t len, size, n_rows;
	uint32_t row_len[ANSWER_ROWS_MAX];
	size_t key_len, target_len;
	char key[]; /* of the room; it begins with its target */
};

/* ---- on the thread ---- */

static int find_keep(struct find *find, struct text frame)
{
	size_t size = MAX(find->size * 2, find->len + frame.len + 4096);

	if (find->size - find->len < frame.len) {
		char *rows = realloc(find->rows, size);

		if (!rows)
			return -ENOMEM;
		find->rows = rows;
		find->size = size;
	}
	memcpy(find->rows + find->len, frame.data, frame.len);
	find->len += frame.len;
	find->row_len[find->n_rows++] = (uint32_t)frame.len;
	return 0;
}

/* Those hits, newest first, as far as there is room. */
static void find_take(struct find *find, const struct hit *hits, size_t n_hits)
{
	for (size_t i = 0; i < MIN(n_hits, (size_t)HITS_MAX) && !find->is_full; i++) {
		const struct hit *hit = &hits[(n_hits - 1 - i) % HITS_MAX];

		if (find->n_rows == find->max ||
			(find->n_rows > 0 && find->len + hit->frame.len > ANSWER_LEN_MAX)) {
			find->is_full = true;
			find->next = hit->seq;
			return;
		}
		find->result = find_keep(find, hit->frame);
		if (find->result < 0)
			return;
	}
}

/* The records are of numbers FIRST and so on, up to LAST at the most. */
static void find_scan(
	struct find *find, const char *records, size_t len, uint64_t first, uint64_t last)
{
	struct hit hits[HITS_MAX];
	size_t n_hits = 0;

	for (size_t at = 0; at < len && first <= last; first++) {
		struct text frame = record_frame(records + at);
		const char *lf = memchr(frame.data, '\n', frame.len);
		size_t line_len = lf ? (size_t)(lf + 1 - frame.data) : frame.len;

		if (!frame_is_tombstone(frame) &&
			search_finds(&find->search,
				(struct text){ frame.data + line_len, frame.len - line_len }))
			hits[n_hits++ % HITS_MAX] = (struct hit){ frame, first };
		at += record_size(frame.len);
	}
	find_take(find, hits, n_hits);
}

/* Returns 0 or -errno. */
static int find_read(struct find *find, struct piece *piece)
{
	const struct segment_image *image = &piece->image;
	struct segment *segment;
	const char *records;
	struct log log;
	uint64_t first;
	size_t len;
	int r;

	log_init(&log);
	r = segment_read_back(find->broker->store.path, find->stored->id,
		(struct text){ find->key, find->target_len }, image, &log, &piece->damage);
	if (r == 0) {
		len = log_read_back(&log, image->next - 1, SIZE_MAX, &segment, &records, &first);
		find_scan(find, records, len, first, piece->last);
	}
	log_deinit(&log);
	piece->is_hole = r == ARCHIVE_E_BROKEN;
	return MIN(r, 0);
}

/* What comes before the records that could not be read was looked through. */
static void find_stop(struct find *find, const struct piece *piece, int error)
{
	if (find->n_rows == 0 && piece == find->pieces)
		find->result = error;
	find->is_full = true;
	find->next = piece->last;
}

static void find_work(struct job *job)
{
	struct find *find = container_of(job, struct find, errand.job);

	for (size_t i = 0; i < find->n_pieces && find->result == 0 && !find->is_full; i++) {
		struct piece *piece = &find->pieces[i];
		int r = 0;

		if (piece->segment)
			find_scan(find, piece->records, piece->len, piece->first, piece->last);
		else
			r = find_read(find, piece);
		if (r < 0)
			find_stop(find, piece, r);
	}
}

/* ---- in the loop ---- */

struct find *find_free(struct find *find)
{
	if (!find)
		return NULL;
	if (find->stored)
		stored_put(find->stored);
	free(find->rows);
	free(find);
	return NULL;
}

/* What has record SEQ, and so much before it that it is MAX bytes. Returns its bytes; 0 and
 * *ret_seq where to go on when there is nothing. */
static size_t piece_make(
	struct find *find, struct room *room, struct piece *piece, size_t max, uint64_t *seq)
{
	struct hole hole;
	struct log *log;
	size_t len;
	int r;

	r = room_log_at(room, *seq, &log, &hole);
	piece->last = *seq;
	if (r == CACHE_E_HOLE) {
		*seq = hole.first - 1;
		return 0;
	}
	if (r == 0) {
		len = piece->len = log_read_back(
			log, *seq, max, &piece->segment, &piece->records, &piece->first);
		segment_pin(piece->segment);
	} else { /* one that could not be read is tried again here */
		const struct cold *cold = &room->stored->cold;

		piece->segment = NULL;
		piece->image = cold->segments[cold_find(cold, *seq)];
		piece->first = piece->image.first;
		len = piece->image.used;
	}
	*seq = piece->first - 1;
	find->n_pieces++;
	return len;
}

/* What is to be looked through, as it is now. */
static void find_begin(struct errand *errand)
{
	struct find *find = container_of(errand, struct find, errand);
	struct room *room =
		rooms_find(&find->broker->rooms, (struct text){ find->key, find->key_len });
	uint64_t seq, first;
	size_t len = 0;

	if (!room || list_is_empty(&find->waiters))
		return;
	if (room->stored)
		find->stored = stored_ref(room->stored);
	first = room_first(room);
	seq = MIN(find->from, log_end(&room->log) - 1);
	while (seq >= first && seq > 0 && len < FIND_BYTES && find->n_pieces < PIECES_MAX)
		len += piece_make(
			find, room, &find->pieces[find->n_pieces], FIND_BYTES - len, &seq);
	find->next = seq >= first ? seq : 0;
}

/* What is wrong with a file is known from now on, and what was looked at may go. */
static void find_let_go(struct find *find)
{
	struct user *user = find->errand.user; /* NULL: the broker ends, and was not waited for */

	for (size_t i = 0; i < find->n_pieces; i++) {
		struct piece *piece = &find->pieces[i];

		if (piece->segment)
			segment_unpin(piece->segment);
		if (user && (piece->is_hole || piece->damage.is_any))
			stored_note_damage(find->stored, &piece->image, user, piece->is_hole,
				piece->damage.n_lost);
	}
}

static void find_end(struct errand *errand)
{
	struct find *find = container_of(errand, struct find, errand);
	struct list *link = list_first(&find->waiters);

	find_let_go(find);
	if (!link || !errand->is_done) {
		find_free(find);
		return;
	}
	find->session = container_of(link, struct session, wait_link);
	list_unlink(link);
	list_append(&find->broker->found, &errand->link);
	session_wake(link);
}

struct find *find_take_found(const struct session *session)
{
	list_for_each (link, &session->broker->found) {
		struct find *find = container_of(link, struct find, errand.link);

		if (find->session == session) {
			list_unlink(link);
			return find;
		}
	}
	return NULL;
}

int find_start(struct session *session, struct room *room, const struct search *search,
	uint64_t from, uint64_t max)
{
	struct text key = table_key(&room->link);
	struct find *find = calloc(1, sizeof *find + key.len);

	if (!find)
		return -ENOMEM;
	find->errand.job.work = find_work;
	find->errand.begin = find_begin;
	find->errand.end = find_end;
	find->broker = session->broker;
	find->search = *search;
	find->from = from;
	find->max = MIN(max, (uint64_t)ANSWER_ROWS_MAX);
	find->key_len = key.len;
	find->target_len = room->target_len;
	memcpy(find->key, key.data, key.len);
	list_init(&find->waiters);
	list_append(&find->waiters, &session->wait_link);
	session->is_waiting = session->is_storing = true;
	errands_add(&session->broker->errands, &find->errand, session->user);
	return 0;
}

void find_answer(const struct find *find, struct session *session, const struct frame *frame)
{
	const char *row = find->rows;

	if (find->result < 0) {
		answer_error(session, frame, find->result);
		return;
	}
	for (size_t i = 0; i < find->n_rows; i++) {
		answer_row(session, frame, (struct text){ row, find->row_len[i] });
		row += find->row_len[i];
	}
	if (find->next > 0)
		answer_done(
			session, frame, "%zu next=%lu", find->n_rows, (unsigned long)find->next);
	else
		answer_done(session, frame, "%zu", find->n_rows);
}
