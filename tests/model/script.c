/* script.c - see script.h. */
#include "tests/model/script.h"

#include <string.h>

#include "protocol/base.h"
#include "protocol/shared.h"

struct script_state script;
struct script_memory script_memory __attribute__((__aligned__(4096)));

/* Lengths of payloads, over and over: lines 1 2 1 2 1, a pad of one line, 2 1 2 1 2 up to
 * the end, and on. */
static const size_t lens[] = { 8, 64, 5, 40, 12, 64, 32, 33, 0, 96 };

/* By its place: what was put there, and which store into its commit word that was. */
static struct {
	uint64_t seq;
	uint64_t next; /* where the next record begins */
	unsigned store;
} put_at[SCRIPT_LINES];

/* No horizon was further. */
static uint64_t horizon_max;

/* After so many the ring is closed. */
static uint64_t n_wanted;

void script_init(bool is_gated, uint64_t n_messages)
{
	const struct ring_header *header = &script_memory.header;
	const void *singles[] = { &header->horizon, &header->mark, &header->state,
		&script_memory.gate, &header->magic, &header->abi, &header->payload_max,
		&header->capacity, &header->block };

	memset(&script, 0, sizeof script);
	memset(put_at, 0, sizeof put_at);
	horizon_max = 0;
	n_wanted = n_messages;
	model_init(script_memory.data, singles, ARRAY_LEN(singles));
	script.writer.header = &script_memory.header;
	script.writer.data = script_memory.data;
	script.writer.capacity = MODEL_DATA_LEN;
	script.writer.block = SCRIPT_BLOCK;
	script.writer.payload_max = SCRIPT_PAYLOAD_MAX;
	script.writer.seq = 1;
	script.writer.gate = is_gated ? &script_memory.gate : NULL;
	for (unsigned i = 1; i < MODEL_THREADS; i++) {
		script.readers[i].header = &script_memory.header;
		script.readers[i].data = script_memory.data;
		script.readers[i].capacity = MODEL_DATA_LEN;
		script.readers[i].payload_max = SCRIPT_PAYLOAD_MAX;
		script.readers[i].seq = 1;
	}
}

static size_t script_len(uint64_t seq)
{
	return lens[(seq - 1) % ARRAY_LEN(lens)];
}

/* Where message SEQ begins: the rule of ring_put(), once more. */
static uint64_t script_place(uint64_t seq)
{
	uint64_t pos = 0;

	for (uint64_t i = 1;; i++) {
		uint64_t left = MODEL_DATA_LEN - pos % MODEL_DATA_LEN;
		uint64_t need = ring_record_size(script_len(i));

		pos += need > left ? left : 0;
		if (i == seq)
			return pos;
		pos += need;
	}
}

/* Its second line could begin a record of the right length and a number that comes soon,
 * or be a pad of the right length. */
static void script_payload(uint64_t seq, char *ret_payload)
{
	uint64_t left = MODEL_DATA_LEN - (script_place(seq) + RING_LINE) % MODEL_DATA_LEN;

	for (uint32_t i = 0; i < SCRIPT_PAYLOAD_MAX / 4; i++) {
		uint32_t word = (uint32_t)(seq << 8 | i);

		if (i == 8 && seq % 4 == 2)
			word = (uint32_t)RING_PAD << RING_KIND_SHIFT | (uint32_t)left;
		else if (i % 8 == 0)
			word = (uint32_t)RING_DATA << RING_KIND_SHIFT | (seq % 2 ? 8 : 40);
		else if (i % 8 == 2)
			word = (uint32_t)seq + 4;
		else if (i % 8 == 3)
			word = 0;
		memcpy(ret_payload + 4 * i, &word, 4);
	}
}

static uint64_t script_time(uint64_t seq)
{
	return 0x7000000070 + seq;
}

static uint64_t script_ref(uint64_t seq)
{
	return 0x9000000090 + seq * 3;
}

/* ---- writing ---- */

bool script_is_at_border(void)
{
	uint64_t left = MODEL_DATA_LEN - script.writer.pos % MODEL_DATA_LEN;
	uint64_t need = ring_record_size(script_len(script.n_put + 1));

	return script.writer.pos + (need > left ? left : 0) + need + RING_LINE >
	       script.writer.horizon;
}

/* It is the beginning of a record with the number told, and is not overwritten. */
static void check_oldest(void)
{
	uint64_t seq, oldest = ring_oldest(&script.writer, &seq), place = oldest;

	if (oldest < script.writer.pos && oldest / RING_LINE < SCRIPT_LINES &&
		put_at[oldest / RING_LINE].seq == 0)
		place = put_at[oldest / RING_LINE].next; /* behind a pad */
	if (place != script_place(seq) && oldest != script.writer.pos)
		model_fail("message %lu does not begin at the oldest, %lu", (unsigned long)seq,
			(unsigned long)oldest);
	if (script.writer.horizon > oldest + MODEL_DATA_LEN)
		model_fail("the oldest, %lu, may be overwritten", (unsigned long)oldest);
}

int script_put(void)
{
	char payload[SCRIPT_PAYLOAD_MAX];
	uint64_t seq = script.n_put + 1, before = script.writer.pos, start;
	uint64_t horizon = script.writer.horizon;
	size_t len = script_len(seq), need = ring_record_size(len);
	bool is_at_border = script_is_at_border();
	int r;

	model_running = 0;
	model_has_stored = false;
	script_payload(seq, payload);
	r = ring_put(&script.writer, script_time(seq), script_ref(seq), payload, len);
	if ((r == RING_E_FULL || script.writer.horizon != horizon) && !is_at_border)
		model_fail("the gate is looked at where this model does not expect it");
	if (r == RING_E_FULL)
		return r;
	if (r)
		model_fail("ring_put() of message %lu: %d", (unsigned long)seq, r);
	if (++script.n_put == n_wanted)
		ring_close(&script.writer);
	start = script.writer.pos - need;
	if (start / RING_LINE >= SCRIPT_LINES)
		model_fail("the script has more lines than it can remember");
	if (start != before)
		put_at[before / RING_LINE].next = start;
	put_at[start / RING_LINE].seq = seq;
	put_at[start / RING_LINE].next = script.writer.pos;
	put_at[start / RING_LINE].store =
		model_n_stores(script_memory.data + start % MODEL_DATA_LEN) - 1;
	if (start != script_place(seq))
		model_fail("message %lu is not where it should be", (unsigned long)seq);
	horizon_max = MAX(horizon_max, script.writer.horizon);
	check_oldest();
	return 0;
}

/* ---- reading ---- */

static void check_message(unsigned thread, uint64_t pos, const struct ring_message *message)
{
	char payload[SCRIPT_PAYLOAD_MAX];
	uint64_t seq = pos / RING_LINE < SCRIPT_LINES ? put_at[pos / RING_LINE].seq : 0;

	if (seq == 0 || message->seq != seq)
		model_fail("at %lu: message %lu, but %lu was put there", (unsigned long)pos,
			(unsigned long)message->seq, (unsigned long)seq);
	if (seq <= script.last[thread])
		model_fail("message %lu after %lu", (unsigned long)seq,
			(unsigned long)script.last[thread]);
	script_payload(seq, payload);
	if (message->time != script_time(seq) || message->ref != script_ref(seq) ||
		message->len != script_len(seq) ||
		memcmp(message->payload, payload, message->len) != 0)
		model_fail("message %lu is not what was put", (unsigned long)seq);
	script.last[thread] = seq;
}

static void check_batch(unsigned thread, struct ring_batch batch)
{
	uint64_t pos = script.readers[thread].pos - (uint64_t)(batch.end - batch.at);
	struct ring_message message;

	if (batch.at == batch.end)
		model_fail("a batch of nothing");
	while (ring_batch_next(&batch, &message)) {
		check_message(thread, pos, &message);
		pos += ring_record_size(message.len);
	}
}

/* EMPTY is a lie if the reader has to know that the record at its place was put. */
static void check_empty(unsigned thread, bool is_closed)
{
	uint64_t pos = script.readers[thread].pos;

	if (pos / RING_LINE < SCRIPT_LINES && put_at[pos / RING_LINE].seq != 0 &&
		model_has_seen(thread, script_memory.data + pos % MODEL_DATA_LEN,
			put_at[pos / RING_LINE].store))
		model_fail("EMPTY at %lu, where message %lu was seen to begin", (unsigned long)pos,
			(unsigned long)put_at[pos / RING_LINE].seq);
	if (is_closed && pos != script.writer.pos)
		model_fail("EMPTY at %lu, but it was closed at %lu", (unsigned long)pos,
			(unsigned long)script.writer.pos);
}

static void script_seek(unsigned thread)
{
	struct ring_reader *reader = &script.readers[thread];

	if (horizon_max <= reader->pos + MODEL_DATA_LEN)
		model_fail("LAPPED at %lu, below which nothing may be written",
			(unsigned long)reader->pos);
	script.is_lapped[thread] = 0;
	if (ring_reader_seek(reader))
		model_fail("the mark is BAD");
	if (reader->pos / RING_LINE >= SCRIPT_LINES ||
		(reader->pos > 0 && put_at[reader->pos / RING_LINE].next == 0))
		model_fail("no record begins at the mark, %lu", (unsigned long)reader->pos);
}

int script_get(unsigned thread, unsigned n_max)
{
	static _Alignas(64) char buffers[MODEL_THREADS][3 * RING_LINE];
	struct ring_reader *reader = &script.readers[thread];
	struct ring_batch batch;
	bool is_closed;
	int r;

	model_running = thread;
	if (script.is_lapped[thread]) {
		script_seek(thread);
		return RING_E_LAPPED;
	}
	script.has_begun[thread] = 1;
	is_closed = ring_is_closed(reader);
	r = ring_get(reader, buffers[thread], sizeof buffers[thread], n_max, &batch);
	if (r == 0)
		check_batch(thread, batch);
	else if (r == RING_E_EMPTY)
		check_empty(thread, is_closed);
	else if (r == RING_E_LAPPED && thread != model_guarded)
		script.is_lapped[thread] = 1;
	else
		model_fail("thread %u at %lu: ring_get() returned %d", thread,
			(unsigned long)reader->pos, r);
	return r;
}

void script_set_gate(unsigned thread)
{
	model_running = thread;
	model_tick();
	shared_release64(&script_memory.gate, script.readers[thread].pos);
}

void script_finish(unsigned thread)
{
	bool is_ready;
	int r;

	model_join(thread, 0);
	for (unsigned n = 0; n <= 4 * SCRIPT_MESSAGES; n++) {
		model_running = thread;
		is_ready = ring_is_ready(&script.readers[thread]);
		r = script_get(thread, 8);
		if (is_ready != (r != RING_E_EMPTY))
			model_fail("ring_is_ready() is wrong at %lu",
				(unsigned long)script.readers[thread].pos);
		if (r == RING_E_EMPTY)
			break;
		if (r == 0 && thread == model_guarded)
			script_set_gate(thread);
	}
	if (script.readers[thread].pos != script.writer.pos || script.last[thread] != script.n_put)
		model_fail("thread %u ends at %lu with message %lu, but %lu were put up to %lu",
			thread, (unsigned long)script.readers[thread].pos,
			(unsigned long)script.last[thread], (unsigned long)script.n_put,
			(unsigned long)script.writer.pos);
}

/* ---- a writer that does what it likes ---- */

void script_be_hostile(unsigned thread, uint64_t seq)
{
	static const uint32_t commits[] = {
		(uint32_t)RING_DATA << RING_KIND_SHIFT | 8,
		0,
		(uint32_t)RING_DATA << RING_KIND_SHIFT | SCRIPT_PAYLOAD_MAX,
		(uint32_t)RING_DATA << RING_KIND_SHIFT | (SCRIPT_PAYLOAD_MAX + 1),
		(uint32_t)RING_PAD << RING_KIND_SHIFT | MODEL_DATA_LEN,
	};

	model_running = 0;
	script.readers[thread].seq = seq;
	for (size_t i = 0; i < ARRAY_LEN(commits); i++) {
		for (uint64_t line = 0; line < 3; line++) {
			struct ring_record *record =
				(struct ring_record *)(script_memory.data + line * RING_LINE);

			if (i < 2) /* for a reader that takes any, one behind which there is none */
				shared_set64(&record->seq, seq ? seq + line + i : UINT64_MAX);
			shared_set32(&record->commit, commits[i]);
		}
		if (i == 0)
			model_join(thread, 0);
	}
}

void script_get_hostile(unsigned thread, unsigned n_max)
{
	static _Alignas(64) char buffer[3 * RING_LINE];
	struct ring_reader *reader = &script.readers[thread];
	struct ring_message message;
	struct ring_batch batch;
	int r;

	model_running = thread;
	r = ring_get(reader, buffer, sizeof buffer, n_max, &batch);
	if (r != 0 && r != RING_E_EMPTY && r != RING_E_BAD)
		model_fail("ring_get() returned %d", r);
	while (r == 0 && ring_batch_next(&batch, &message))
		if (message.len > SCRIPT_PAYLOAD_MAX || batch.at > batch.end ||
			message.payload + message.len > batch.end || message.seq == 0)
			model_fail("a record that is not one was taken");
}

void script_check_headers(unsigned thread)
{
	static const struct {
		uint64_t capacity;
		int outcome;
	} rings[] = {
		{ RING_CAPACITY_MIN, 0 },
		{ RING_CAPACITY_MAX, 0 },
		{ RING_CAPACITY_MIN / 2, RING_E_BAD },
		{ RING_CAPACITY_MAX * 2, RING_E_BAD },
		{ RING_CAPACITY_MIN / 2 * 3, RING_E_BAD },
	};
	struct ring_header *header = &script_memory.header;
	uint64_t n_before;

	for (size_t i = 0; i < ARRAY_LEN(rings); i++) {
		uint64_t capacity = rings[i].capacity;

		model_running = 0;
		shared_set64(&header->magic, RING_MAGIC);
		shared_set32(&header->abi, RING_ABI);
		shared_set32(&header->payload_max, SCRIPT_PAYLOAD_MAX);
		shared_set64(&header->capacity, capacity);
		shared_set64(&header->block, capacity / RING_BLOCKS);
		model_join(thread, 0);
		model_running = thread;
		if (ring_reader_init(&script.readers[thread], header, RING_HEADER_LEN + capacity, 0,
			    1) != rings[i].outcome)
			model_fail("a ring of %lu bytes is taken, or not", (unsigned long)capacity);
	}
	n_before = model_n_steps;
	if (ring_reader_init(&script.readers[thread], header, RING_HEADER_LEN - 1, 0, 1) !=
			RING_E_BAD ||
		model_n_steps != n_before)
		model_fail("a header is looked at that is not there");
}
