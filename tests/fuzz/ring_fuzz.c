/* ring_fuzz.c - a writer that does whatever it likes to its ring: whoever reads it ends in
 * RING_E_BAD, RING_E_LAPPED or RING_E_EMPTY, or has messages that lie within its own buffer,
 * after so many steps as there are calls. Input: operations, one byte and what it takes.
 */
#include <string.h>

#include "protocol/base.h"
#include "protocol/ring.h"
#include "tests/fuzz/fuzz.h"

#define LEN (RING_HEADER_LEN + RING_CAPACITY_MIN)

struct input {
	const uint8_t *data;
	size_t len;
};

/* N little-endian bytes; zeros when there are no more. */
static uint64_t take(struct input *input, unsigned n)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < n && input->len > 0; i++, input->data++, input->len--)
		value |= (uint64_t)*input->data << 8 * i;
	return value;
}

static void read_some(struct ring_reader *reader, unsigned n_max)
{
	static _Alignas(64) char buffer[RING_BUFFER_MIN];
	uint64_t before = reader->pos, seq = reader->seq, n = 0;
	struct ring_message message;
	struct ring_batch batch;
	int r = ring_get(reader, buffer, sizeof buffer, n_max, &batch);

	EXPECT(r == 0 || r == RING_E_EMPTY || r == RING_E_LAPPED || r == RING_E_BAD);
	EXPECT(reader->pos % RING_LINE == 0);
	EXPECT(reader->pos - before <= 2 * reader->capacity);
	(void)ring_is_ready(reader);
	if (r)
		return;
	while (ring_batch_next(&batch, &message)) {
		EXPECT(message.payload >= buffer &&
			message.payload + message.len <= buffer + sizeof buffer);
		EXPECT(message.len <= BODY_LEN_MAX);
		EXPECT(seq == 0 || message.seq == seq);
		seq = message.seq + 1;
		EXPECT(++n <= n_max);
	}
	EXPECT(n > 0 && reader->seq == seq);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const char payload[BODY_LEN_MAX];
	struct input input = { data, len };
	struct ring_writer writer;
	struct ring_reader reader;
	char *memory = calloc(1, LEN);
	struct ring_header *header = (struct ring_header *)memory;
	bool is_open;

	EXPECT(memory);
	ring_writer_init(&writer, memory, RING_CAPACITY_MIN, 1);
	is_open = ring_reader_init(&reader, memory, LEN, 0, take(&input, 1) & 1) == 0;
	EXPECT(is_open);
	while (input.len > 0) {
		unsigned op = (unsigned)take(&input, 1);
		uint64_t at, value;

		switch (op % 8) {
		case 0:
			(void)ring_put(&writer, 0, 1, payload, take(&input, 2));
			break;
		case 1: /* any word of it */
			at = take(&input, 3) % (LEN / 4);
			value = take(&input, 4);
			memcpy(memory + at * 4, &value, 4);
			break;
		case 2: /* a word of what is read next */
			at = (reader.pos % RING_CAPACITY_MIN + take(&input, 1) * 4) %
			     RING_CAPACITY_MIN;
			value = take(&input, 4);
			memcpy(memory + RING_HEADER_LEN + at, &value, 4);
			break;
		case 3:
			header->horizon = take(&input, 8);
			break;
		case 4:
			header->mark = take(&input, 8);
			break;
		case 5:
			(void)ring_reader_seek(&reader);
			break;
		case 6: /* somebody new, who is told where to begin */
			if (ring_reader_init(&reader, memory, LEN, take(&input, 4), 0))
				goto out;
			break;
		default:
			read_some(&reader, 1 + (unsigned)take(&input, 1));
			break;
		}
	}
out:
	free(memory);
	return 0;
}
