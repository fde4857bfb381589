/* line.c - see line.h. */
#include "broker/line.h"

#include <string.h>

#include "protocol/base.h"

/* The bytes before a line's end. Returns 1 when the line is dropped. */
static unsigned line_add(struct line_reader *reader, const char *data, size_t len)
{
	if (reader->is_skipping)
		return 0;
	if (len > sizeof reader->buffer - reader->len) {
		reader->is_skipping = true;
		reader->len = 0;
		return 1;
	}
	memcpy(reader->buffer + reader->len, data, len);
	reader->len += len;
	return 0;
}

unsigned line_feed(
	struct line_reader *reader, const char *data, size_t len, line_fn *fn, void *userdata)
{
	unsigned n_dropped = 0;

	while (len > 0) {
		const char *end = memchr(data, '\n', len);
		size_t n = end ? (size_t)(end - data) : len;

		n_dropped += line_add(reader, data, n);
		if (end && !reader->is_skipping) {
			struct text line = { reader->buffer, reader->len };

			if (line.len > 0 && line.data[line.len - 1] == '\r')
				line.len--;
			fn(userdata, line);
		}
		if (end)
			line_drop(reader);
		n += end != NULL;
		data += n;
		len -= n;
	}
	return n_dropped;
}

bool line_is_partial(const struct line_reader *reader)
{
	return reader->len > 0 || reader->is_skipping;
}

void line_drop(struct line_reader *reader)
{
	reader->len = 0;
	reader->is_skipping = false;
}
