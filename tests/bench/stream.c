/* stream.c - see stream.h. */
#include "tests/bench/stream.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "tests/bench/peer.h"

void stream_open(struct stream *stream, const char *host_port)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	struct timeval timeout = { 0, INPUT_MS * 1000 };
	const char *colon = strrchr(host_port, ':');
	char host[INET_ADDRSTRLEN] = "";
	int yes = 1;

	if (!colon || (size_t)(colon - host_port) >= sizeof host)
		die("%s: not host:port", host_port);
	memcpy(host, host_port, (size_t)(colon - host_port));
	address.sin_port = htons((uint16_t)atoi(colon + 1));
	stream->in = malloc(STREAM_BUFFER);
	stream->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (!stream->in || stream->fd < 0 || inet_pton(AF_INET, host, &address.sin_addr) != 1 ||
		connect(stream->fd, (void *)&address, sizeof address) < 0)
		die("connect %s", host_port);
	setsockopt(stream->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
	setsockopt(stream->fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
}

void stream_flush(struct stream *stream)
{
	size_t at = 0;

	while (at < stream->n_out) {
		ssize_t n = send(stream->fd, stream->out + at, stream->n_out - at, MSG_NOSIGNAL);

		if (n <= 0)
			die("send");
		at += (size_t)n;
	}
	stream->n_out = 0;
}

void stream_put(struct stream *stream, const void *data, size_t len)
{
	if (!stream->out && !(stream->out = malloc(STREAM_BUFFER)))
		die("no memory");
	if (stream->n_out + len > STREAM_BUFFER)
		stream_flush(stream);
	memcpy(stream->out + stream->n_out, data, len);
	stream->n_out += len;
}

void stream_put_text(struct stream *stream, const char *text)
{
	stream_put(stream, text, strlen(text));
}

bool stream_receive(struct stream *stream, bool waits)
{
	ssize_t n = recv(stream->fd, stream->in + stream->n_in, STREAM_BUFFER - stream->n_in,
		waits ? 0 : MSG_DONTWAIT);
	int yes = 1;

	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		die("receive");
	if (n < 0)
		return false;
	if (stream->acknowledges_at_once)
		setsockopt(stream->fd, IPPROTO_TCP, TCP_QUICKACK, &yes, sizeof yes);
	stream->n_in += (size_t)n;
	return true;
}

void stream_await(struct stream *stream, const char *word)
{
	uint64_t deadline = now_ns() + 5 * NS_PER_S;

	stream_flush(stream);
	while (!memmem(stream->in, stream->n_in, word, strlen(word))) {
		if (now_ns() > deadline || stream->n_in == STREAM_BUFFER)
			die("no %s: %.*s", word, (int)stream->n_in, stream->in);
		stream_receive(stream, true);
	}
	stream->n_in = 0;
}

void stream_drop(struct stream *stream, size_t n)
{
	stream->n_in -= n;
	memmove(stream->in, stream->in + n, stream->n_in);
}
