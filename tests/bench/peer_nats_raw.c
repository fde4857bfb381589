/* peer_nats_raw.c - NATS by its text protocol on a plain socket, no threads: what the
 * server can do with the leanest client. */
#include <stdlib.h>
#include <string.h>

#include "tests/bench/peer.h"
#include "tests/bench/stream.h"

struct peer {
	struct stream stream;
};

struct peer *peer_connect(const char *address)
{
	struct peer *peer = calloc(1, sizeof *peer);

	if (!peer)
		die("no memory");
	stream_open(&peer->stream, address);
	stream_put_text(&peer->stream,
		"CONNECT {\"verbose\":false,\"pedantic\":false,\"lang\":\"c\","
		"\"version\":\"1\",\"protocol\":1}\r\nPING\r\n");
	stream_await(&peer->stream, "PONG");
	return peer;
}

void peer_subscribe(struct peer *peer, const char *topic)
{
	stream_put_text(&peer->stream, "SUB ");
	stream_put_text(&peer->stream, topic);
	stream_put_text(&peer->stream, " 1\r\nPING\r\n");
	stream_flush(&peer->stream);
}

void peer_await(struct peer *peer)
{
	stream_await(&peer->stream, "PONG");
}

void peer_publish(struct peer *peer, const char *topic, const void *body, size_t len)
{
	char digits[24], *p = digits + sizeof digits;
	size_t value = len;

	do
		*--p = (char)('0' + value % 10);
	while (value /= 10);
	/* one piece, whatever fits the buffer: a burst is a few writes */
	if (peer->stream.n_out + len + 64 > STREAM_BUFFER)
		stream_flush(&peer->stream);
	stream_put(&peer->stream, "PUB ", 4);
	stream_put_text(&peer->stream, topic);
	stream_put(&peer->stream, " ", 1);
	stream_put(&peer->stream, p, (size_t)(digits + sizeof digits - p));
	stream_put(&peer->stream, "\r\n", 2);
	stream_put(&peer->stream, body, len);
	stream_put(&peer->stream, "\r\n", 2);
}

void peer_flush(struct peer *peer)
{
	stream_flush(&peer->stream);
}

int peer_fd(struct peer *peer)
{
	return peer->stream.fd;
}

/* The last word of the line from P to END: how long the message is. */
static size_t message_len(const char *p, const char *end)
{
	size_t len = 0;

	while (end > p && end[-1] != ' ')
		end--;
	for (; *end >= '0' && *end <= '9'; end++)
		len = len * 10 + (size_t)(*end - '0');
	return len;
}

void peer_input(struct peer *peer, int timeout_ms, peer_message_fn *message, void *userdata)
{
	struct stream *stream = &peer->stream;
	const char *p, *end, *line_end;

	if (!stream_receive(stream, timeout_ms > 0))
		return;
	p = stream->in;
	end = p + stream->n_in;
	while ((line_end = memchr(p, '\n', (size_t)(end - p)))) {
		if (p[0] == 'M') { /* MSG subject sid size */
			size_t len = message_len(p, line_end - 1);

			if ((size_t)(end - line_end - 1) < len + 2)
				break;
			message(userdata, line_end + 1, len);
			p = line_end + 1 + len + 2;
			continue;
		}
		if (p[0] == '-')
			die("%.*s", (int)(line_end - p), p);
		if (p[0] == 'P' && p[1] == 'I') {
			stream_put_text(stream, "PONG\r\n");
			stream_flush(stream);
		}
		p = line_end + 1;
	}
	stream_drop(stream, (size_t)(p - stream->in));
}
