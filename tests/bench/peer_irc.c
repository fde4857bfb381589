/* peer_irc.c - IRC: PRIVMSG to a channel. A publisher need not join it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/bench/peer.h"
#include "tests/bench/stream.h"

#define LINE_MAX_LEN 400 /* of the 512 bytes that a line may have with all around it */

struct peer {
	struct stream stream;
};

struct peer *peer_connect(const char *address)
{
	static unsigned n;
	struct peer *peer = calloc(1, sizeof *peer);
	char line[128];

	if (!peer)
		die("no memory");
	/* ngircd leaves Nagle's algorithm on: an acknowledgement that we delay holds
	 * back its next small write */
	peer->stream.acknowledges_at_once = true;
	stream_open(&peer->stream, address);
	snprintf(line, sizeof line, "NICK n%d_%u\r\nUSER u 0 * :x\r\n", getpid(), n++);
	stream_put_text(&peer->stream, line);
	stream_await(&peer->stream, " 376 "); /* end of the message of the day */
	return peer;
}

void peer_subscribe(struct peer *peer, const char *topic)
{
	stream_put_text(&peer->stream, "JOIN #");
	stream_put_text(&peer->stream, topic);
	stream_put_text(&peer->stream, "\r\n");
	stream_flush(&peer->stream);
}

void peer_await(struct peer *peer)
{
	stream_await(&peer->stream, " 366 "); /* end of the names */
}

void peer_publish(struct peer *peer, const char *topic, const void *body, size_t len)
{
	if (len > LINE_MAX_LEN)
		die("%zu bytes are more than a line", len);
	stream_put(&peer->stream, "PRIVMSG #", 9);
	stream_put_text(&peer->stream, topic);
	stream_put(&peer->stream, " :", 2);
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

/* :nick!user@host PRIVMSG #channel :body */
static void take_line(struct peer *peer, const char *p, const char *line_end,
	peer_message_fn *message, void *userdata)
{
	const char *verb = memchr(p, ' ', (size_t)(line_end - p)), *body;

	if (verb && strncmp(verb, " PRIVMSG ", 9) == 0) {
		body = memchr(verb, ':', (size_t)(line_end - verb));
		if (body)
			message(userdata, body + 1, (size_t)(line_end - body - 2));
	} else if (strncmp(p, "PING ", 5) == 0) {
		stream_put_text(&peer->stream, "PONG x\r\n");
		stream_flush(&peer->stream);
	} else if (strncmp(p, "ERROR", 5) == 0) {
		die("%.*s", (int)(line_end - p), p);
	}
}

void peer_input(struct peer *peer, int timeout_ms, peer_message_fn *message, void *userdata)
{
	struct stream *stream = &peer->stream;
	const char *p, *end, *line_end;

	if (!stream_receive(stream, timeout_ms > 0))
		return;
	p = stream->in;
	end = p + stream->n_in;
	for (; (line_end = memchr(p, '\n', (size_t)(end - p))); p = line_end + 1)
		take_line(peer, p, line_end, message, userdata);
	stream_drop(stream, (size_t)(p - stream->in));
}
