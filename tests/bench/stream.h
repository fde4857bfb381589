/* stream.h - a TCP connection of lines and bytes, buffered both ways: for the peers
 * whose protocol is text. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define STREAM_BUFFER 65536

struct stream {
	int fd;
	bool acknowledges_at_once; /* what is received, see TCP_QUICKACK in tcp(7) */
	size_t n_out, n_in;
	char *out, *in; /* of STREAM_BUFFER each; what was received is in */
};

/* Connect to "host:port", an IPv4 address, with TCP_NODELAY. */
void stream_open(struct stream *stream, const char *host_port);

void stream_put(struct stream *stream, const void *data, size_t len);
void stream_put_text(struct stream *stream, const char *text);
void stream_flush(struct stream *stream);

/* Receive until WORD has come, and drop it with all before and behind it. */
void stream_await(struct stream *stream, const char *word);

/* Receive what is there, waiting for it if WAITS. False when there is nothing. */
bool stream_receive(struct stream *stream, bool waits);

/* The first N bytes of what was received have been used. */
void stream_drop(struct stream *stream, size_t n);
