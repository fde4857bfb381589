/* ring.c - see ring.h. The reasons for each order are in chat-ring(7), section ORDER; each
 * has a mutant in tests/model/mutants.
 */
#include "protocol/ring.h"

#include <errno.h>

#include "protocol/base.h"
#include "protocol/shared.h"

_Static_assert(sizeof(struct ring_header) == RING_HEADER_LEN, "chat-ring(7)");
_Static_assert(offsetof(struct ring_header, magic) == 0, "chat-ring(7)");
_Static_assert(offsetof(struct ring_header, abi) == 8, "chat-ring(7)");
_Static_assert(offsetof(struct ring_header, payload_max) == 12, "chat-ring(7)");
_Static_assert(offsetof(struct ring_header, capacity) == 16, "chat-ring(7)");
_Static_assert(offsetof(struct ring_header, block) == 24, "chat-ring(7)");
_Static_assert(offsetof(struct ring_header, nonce) == 32, "chat-ring(7)");
_Static_assert(offsetof(struct ring_header, horizon) == 128, "chat-ring(7)");
_Static_assert(offsetof(struct ring_header, mark) == 256, "chat-ring(7)");
_Static_assert(offsetof(struct ring_header, state) == 264, "chat-ring(7)");
_Static_assert(sizeof(struct ring_record) == 32, "chat-ring(7)");
_Static_assert(offsetof(struct ring_record, commit) == 0, "chat-ring(7)");
_Static_assert(offsetof(struct ring_record, type) == 4, "chat-ring(7)");
_Static_assert(offsetof(struct ring_record, flags) == 6, "chat-ring(7)");
_Static_assert(offsetof(struct ring_record, seq) == 8, "chat-ring(7)");
_Static_assert(offsetof(struct ring_record, time) == 16, "chat-ring(7)");
_Static_assert(offsetof(struct ring_record, ref) == 24, "chat-ring(7)");
_Static_assert(RING_CAPACITY_MAX <= RING_BYTES_MASK, "a pad has its length in the commit word");

/* The largest record, put where it just does not fit any more, and a block must fit a
 * ring that is empty, or its writer would wait for ever. */
_Static_assert(
	2 * RING_BUFFER_MIN + RING_LINE + RING_CAPACITY_MIN / RING_BLOCKS <= RING_CAPACITY_MIN,
	"every message fits the smallest ring");

#ifdef SHARED_IS_CHECKED
uint32_t shared_fence_word;
#endif

static uint32_t ring_commit(enum ring_kind kind, uint64_t bytes)
{
	return (uint32_t)kind << RING_KIND_SHIFT | (uint32_t)bytes;
}

/* ---- writing ---- */

void ring_writer_init(
	struct ring_writer *ret_writer, void *memory, uint64_t capacity, uint64_t nonce)
{
	struct ring_header *header = memory;

	header->magic = RING_MAGIC;
	header->abi = RING_ABI;
	header->payload_max = BODY_LEN_MAX;
	header->capacity = capacity;
	header->block = capacity / RING_BLOCKS;
	header->nonce = nonce;
	*ret_writer = (struct ring_writer){
		.header = header,
		.data = (char *)memory + RING_HEADER_LEN,
		.capacity = capacity,
		.block = header->block,
		.payload_max = BODY_LEN_MAX,
		.seq = 1,
	};
}

static struct ring_record *ring_slot(const struct ring_writer *writer, uint64_t pos)
{
	return (struct ring_record *)(writer->data + (pos & (writer->capacity - 1)));
}

/* Move the horizon, so that it is at least at END. */
static int ring_extend(struct ring_writer *writer, uint64_t end)
{
	uint64_t horizon = (end + writer->block - 1) & ~(writer->block - 1);
	uint64_t gate = writer->gate ? shared_acquire64(writer->gate) : RING_UNGATED;

	if (gate != RING_UNGATED && horizon > gate + writer->capacity)
		return RING_E_FULL;
	writer->horizon = horizon;
	writer->marks[writer->n_marks % ARRAY_LEN(writer->marks)].pos = writer->pos;
	writer->marks[writer->n_marks++ % ARRAY_LEN(writer->marks)].seq = writer->seq;
	shared_release64(&writer->header->mark, writer->pos);
	shared_set64(&writer->header->horizon, horizon);
	shared_fence_release(); /* before any byte below it is written */
	return 0;
}

int ring_put(
	struct ring_writer *writer, uint64_t time, uint64_t ref, const void *payload, size_t len)
{
	struct ring_record *record = ring_slot(writer, writer->pos);
	uint64_t left = writer->capacity - (writer->pos & (writer->capacity - 1));
	uint64_t need = ring_record_size(len);
	uint64_t pad = need > left ? left : 0;
	int r;

	if (len > writer->payload_max)
		return -EMSGSIZE;
	/* one line more, whose commit word becomes 0 */
	if (writer->pos + pad + need + RING_LINE > writer->horizon) {
		r = ring_extend(writer, writer->pos + pad + need + RING_LINE);
		if (r)
			return r;
	}
	if (pad > 0) {
		shared_set32(&ring_slot(writer, writer->pos + pad)->commit, 0);
		shared_release32(&record->commit, ring_commit(RING_PAD, pad));
		writer->pos += pad;
		record = ring_slot(writer, writer->pos);
	}
	/* or bytes of an old payload could pass for the next record */
	shared_set32(&ring_slot(writer, writer->pos + need)->commit, 0);
	shared_set32((uint32_t *)&record->type, 0); /* and flags */
	shared_set64(&record->seq, writer->seq);
	shared_set64(&record->time, time);
	shared_set64(&record->ref, ref);
	shared_copy_in(record + 1, payload, len);
	shared_release32(&record->commit, ring_commit(RING_DATA, len));
	writer->pos += need;
	writer->seq++;
	return 0;
}

uint64_t ring_oldest(const struct ring_writer *writer, uint64_t *ret_seq)
{
	uint64_t oldest = writer->pos, seq = writer->seq;

	for (unsigned i = 0; i < MIN(writer->n_marks, (unsigned)ARRAY_LEN(writer->marks)); i++)
		if (writer->horizon <= writer->marks[i].pos + writer->capacity &&
			writer->marks[i].pos < oldest) {
			oldest = writer->marks[i].pos;
			seq = writer->marks[i].seq;
		}
	*ret_seq = seq;
	return oldest;
}

void ring_close(struct ring_writer *writer)
{
	shared_release32(&writer->header->state, RING_CLOSED);
}

/* ---- reading ---- */

int ring_reader_init(
	struct ring_reader *ret_reader, const void *memory, size_t len, uint64_t pos, uint64_t seq)
{
	const struct ring_header *header = memory;
	struct ring_reader reader = { .header = header, .pos = pos, .seq = seq };

	if (len < RING_HEADER_LEN || shared_get64(&header->magic) != RING_MAGIC ||
		shared_get32(&header->abi) != RING_ABI)
		return RING_E_BAD;
	reader.data = (const char *)memory + RING_HEADER_LEN;
	reader.capacity = shared_get64(&header->capacity);
	reader.payload_max = shared_get32(&header->payload_max);
	if (reader.capacity != len - RING_HEADER_LEN || reader.capacity < RING_CAPACITY_MIN ||
		reader.capacity > RING_CAPACITY_MAX ||
		(reader.capacity & (reader.capacity - 1)) != 0 ||
		shared_get64(&header->block) != reader.capacity / RING_BLOCKS ||
		reader.payload_max > BODY_LEN_MAX || pos % RING_LINE != 0)
		return RING_E_BAD;
	*ret_reader = reader;
	return 0;
}

int ring_reader_seek(struct ring_reader *reader)
{
	uint64_t mark = shared_acquire64(&reader->header->mark);

	if (mark % RING_LINE != 0)
		return RING_E_BAD;
	reader->pos = mark;
	reader->seq = 0;
	return 0;
}

uint64_t ring_reader_horizon(const struct ring_reader *reader)
{
	return shared_get64(&reader->header->horizon);
}

static bool ring_is_lapped(const struct ring_reader *reader)
{
	shared_fence_acquire(); /* after what was read, before the horizon */
	return shared_get64(&reader->header->horizon) > reader->pos + reader->capacity;
}

/* Nothing that can be used is at the reader's place: OUTCOME, unless it was overtaken,
 * which explains whatever was found. */
static int ring_outcome(const struct ring_reader *reader, int outcome)
{
	return ring_is_lapped(reader) ? RING_E_LAPPED : outcome;
}

static const struct ring_record *ring_at(const struct ring_reader *reader, uint64_t pos)
{
	return (const struct ring_record *)(reader->data + (pos & (reader->capacity - 1)));
}

/* The bytes of a record with this commit word, of which LEFT are there: 0 if it can not
 * be one. */
static uint64_t commit_size(uint32_t commit, uint64_t payload_max, uint64_t left)
{
	uint64_t bytes = commit & RING_BYTES_MASK, size = ring_record_size(bytes);

	if (commit >> RING_KIND_SHIFT != RING_DATA || bytes > payload_max || size > left)
		return 0;
	return size;
}

/* Pass over a pad. */
static int ring_skip_pad(struct ring_reader *reader, uint32_t commit)
{
	uint64_t offset = reader->pos & (reader->capacity - 1), pad = reader->capacity - offset;

	/* at the very start there is always room: two pads never follow each other */
	if ((commit & RING_BYTES_MASK) != pad || offset == 0)
		return ring_outcome(reader, RING_E_BAD);
	if (ring_is_lapped(reader))
		return RING_E_LAPPED;
	reader->pos += pad;
	return 0;
}

/* How many bytes of records lie together from the reader's place on, where COMMIT is the
 * word of the first. */
static int ring_run(const struct ring_reader *reader, uint32_t commit, size_t size, unsigned n_max,
	uint64_t *ret_len)
{
	uint64_t left = reader->capacity - (reader->pos & (reader->capacity - 1)), len = 0;

	for (unsigned n = 0; n < n_max && len < left; n++) {
		uint64_t need;

		if (n > 0)
			commit = shared_acquire32(&ring_at(reader, reader->pos + len)->commit);
		need = commit_size(commit, reader->payload_max, left - len);
		if (need == 0 && len == 0)
			return ring_outcome(reader, commit ? RING_E_BAD : RING_E_EMPTY);
		if (need == 0 || need > size - len || len >= RING_BATCH_LEN)
			break;
		len += need;
	}
	*ret_len = len;
	return 0;
}

/* Is the copy of LEN bytes what a writer that keeps the rules would have put? */
static bool ring_prove(
	const struct ring_reader *reader, const char *copy, uint64_t len, uint64_t *ret_seq)
{
	uint64_t seq = reader->seq;

	for (uint64_t at = 0; at < len;) {
		const struct ring_record *record = (const struct ring_record *)(copy + at);
		uint64_t need = commit_size(record->commit, reader->payload_max, len - at);

		if (need == 0 || record->seq == 0 || (seq != 0 && record->seq != seq))
			return false;
		seq = record->seq + 1;
		at += need;
	}
	*ret_seq = seq;
	return true;
}

int ring_get(struct ring_reader *reader, char *buffer, size_t size, unsigned n_max,
	struct ring_batch *ret_batch)
{
	uint32_t commit = shared_acquire32(&ring_at(reader, reader->pos)->commit);
	uint64_t len, seq;
	int r = 0;

	/* each word is loaded once: it may have become something else since */
	if (commit >> RING_KIND_SHIFT == RING_PAD) {
		r = ring_skip_pad(reader, commit);
		commit = shared_acquire32(&ring_at(reader, reader->pos)->commit);
	}
	if (r == 0)
		r = ring_run(reader, commit, size, n_max, &len);
	if (r)
		return r;
	shared_copy_out(buffer, ring_at(reader, reader->pos), len);
	if (ring_is_lapped(reader))
		return RING_E_LAPPED;
	if (!ring_prove(reader, buffer, len, &seq))
		return RING_E_BAD;
	reader->pos += len;
	reader->seq = seq;
	*ret_batch = (struct ring_batch){ buffer, buffer + len };
	return 0;
}

bool ring_is_ready(const struct ring_reader *reader)
{
	return shared_get32(&ring_at(reader, reader->pos)->commit) != 0 ||
	       shared_get64(&reader->header->horizon) > reader->pos + reader->capacity;
}

bool ring_batch_next(struct ring_batch *batch, struct ring_message *ret_message)
{
	const struct ring_record *record = (const struct ring_record *)batch->at;

	if (batch->at >= batch->end)
		return false;
	*ret_message = (struct ring_message){
		.seq = record->seq,
		.time = record->time,
		.ref = record->ref,
		.payload = batch->at + sizeof *record,
		.len = record->commit & RING_BYTES_MASK,
	};
	batch->at += ring_record_size(ret_message->len);
	return true;
}

bool ring_is_closed(const struct ring_reader *reader)
{
	return shared_acquire32(&reader->header->state) == RING_CLOSED;
}
