/* line_fuzz.c - however a stream of commands is cut into reads, the lines are the same.
 *
 * The first byte says how it is cut: into pieces that grow from it, wrapping around.
 */
#include <string.h>

#include "broker/line.h"
#include "protocol/base.h"
#include "tests/fuzz/fuzz.h"

/* What the lines were, one after the other, each with a LF behind it. */
struct lines {
	char *data; /* owned */
	size_t len, size;
	unsigned n_dropped;
};

static void lines_add(void *userdata, struct text line)
{
	struct lines *lines = userdata;

	EXPECT(line.len <= LINE_CAP && lines->len + line.len + 1 <= lines->size);
	memcpy(lines->data + lines->len, line.data, line.len);
	lines->len += line.len;
	lines->data[lines->len++] = '\n';
}

static void lines_init(struct lines *lines, size_t size)
{
	*lines = (struct lines){ .data = malloc(size + 1), .size = size };
	EXPECT(lines->data);
}

/* The definition: what stands before each LF, if it is not too long. Returns whether
 * something is left. */
static bool lines_split(struct lines *lines, struct text stream)
{
	const char *end;

	while ((end = memchr(stream.data, '\n', stream.len))) {
		struct text line = { stream.data, (size_t)(end - stream.data) };

		stream.data += line.len + 1;
		stream.len -= line.len + 1;
		if (line.len > LINE_CAP) {
			lines->n_dropped++;
			continue;
		}
		if (line.len > 0 && line.data[line.len - 1] == '\r')
			line.len--;
		lines_add(lines, line);
	}
	lines->n_dropped += stream.len > LINE_CAP;
	return stream.len > 0;
}

static bool lines_feed(struct lines *lines, struct text stream, size_t piece)
{
	struct line_reader reader = { 0 };

	while (stream.len > 0) {
		size_t n = MIN(piece, stream.len);
		char *copy = malloc(n);

		EXPECT(copy);
		memcpy(copy, stream.data, n);
		lines->n_dropped += line_feed(&reader, copy, n, lines_add, lines);
		free(copy);
		EXPECT(reader.len <= LINE_CAP);
		stream.data += n;
		stream.len -= n;
		piece = piece % 5000 + 1;
	}
	return line_is_partial(&reader);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct text stream = { (const char *)data + 1, len - 1 };
	struct lines want, got;

	if (len < 1)
		return 0;
	lines_init(&want, len);
	lines_init(&got, len);
	EXPECT(lines_split(&want, stream) == lines_feed(&got, stream, data[0] * 20u + 1));
	EXPECT(want.n_dropped == got.n_dropped && want.len == got.len);
	EXPECT(memcmp(want.data, got.data, want.len) == 0);
	free(want.data);
	free(got.data);
	return 0;
}
