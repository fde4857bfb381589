/* peer_chat_raw.c - chat-broker by its protocol on a plain socket, see
 * chat-protocol(7): what the broker can do with the leanest client. It waits for no
 * answer before it asks the next, and acknowledges and repeats nothing. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "protocol/packet.h"
#include "protocol/record.h"
#include "tests/bench/peer.h"

#define AWAITED_MAX 256 /* the broker does not read whoever leaves too many answers */

struct peer {
	int fd;
	unsigned n_awaited; /* answers */
	size_t used;
	char *out; /* of PACKET_LEN_MAX */
};

static char input[PACKET_LEN_MAX]; /* one is enough for a process */

static void ask(struct peer *peer, const char *request, const char *target)
{
	char line[LINE_LEN_MAX];
	int len = snprintf(line, sizeof line, request, target);

	if (send(peer->fd, line, (size_t)len, MSG_NOSIGNAL) < 0)
		die("%s", line);
	peer->n_awaited++;
}

struct peer *peer_connect(const char *path)
{
	struct timeval timeout = { 0, INPUT_MS * 1000 };
	struct peer *peer = calloc(1, sizeof *peer);
	struct sockaddr_un address;
	socklen_t len;

	if (!peer || packet_address(path, &address, &len) < 0)
		die("path %s", path);
	peer->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (peer->fd < 0 || connect(peer->fd, (void *)&address, len) < 0)
		die("connect %s", path);
	setsockopt(peer->fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
	ask(peer, "#h HELLO 1 batch%s", "");
	return peer;
}

void peer_subscribe(struct peer *peer, const char *topic)
{
	if (peer->n_awaited >= AWAITED_MAX)
		peer_await(peer);
	ask(peer, "#j JOIN %s new", topic);
}

void peer_await(struct peer *peer)
{
	while (peer->n_awaited > 0)
		peer_input(peer, INPUT_MS, NULL, NULL);
}

void peer_flush(struct peer *peer)
{
	if (peer->used && send(peer->fd, peer->out, peer->used, MSG_NOSIGNAL) < 0)
		die("send");
	peer->used = 0;
}

void peer_publish(struct peer *peer, const char *topic, const void *body, size_t len)
{
	size_t topic_len = strlen(topic), frame_len = 4 + topic_len + 1 + len;
	char *record, *p;

	if (!peer->out && !(peer->out = malloc(PACKET_LEN_MAX)))
		die("no memory");
	if (peer->used + record_size(frame_len) > PACKET_LEN_MAX)
		peer_flush(peer);
	if (peer->used == 0) {
		memcpy(peer->out, BATCH_START, BATCH_START_LEN);
		peer->used = BATCH_START_LEN;
	}
	record = peer->out + peer->used;
	p = mempcpy(record + RECORD_HEADER_LEN, "SAY ", 4);
	p = mempcpy(p, topic, topic_len);
	*p++ = '\n';
	memcpy(p, body, len);
	record_close(record, frame_len);
	peer->used += record_size(frame_len);
}

int peer_fd(struct peer *peer)
{
	return peer->fd;
}

/* MSG ... LF body, or the answer "#tag * ...". */
static void take_frame(
	struct peer *peer, struct text frame, peer_message_fn *message, void *userdata)
{
	const char *end = frame.data + frame.len, *p;

	if (frame.len > 4 && memcmp(frame.data, "MSG ", 4) == 0) {
		p = memchr(frame.data, '\n', frame.len);
		p = p ? p + 1 : end;
		if (message)
			message(userdata, p, (size_t)(end - p));
	} else if (frame.len > 4 && frame.data[0] == '#' && frame.data[3] == '*') {
		peer->n_awaited--;
	} else {
		die("%.*s", (int)frame.len, frame.data);
	}
}

void peer_input(struct peer *peer, int timeout_ms, peer_message_fn *message, void *userdata)
{
	ssize_t n = recv(peer->fd, input, sizeof input, timeout_ms ? 0 : MSG_DONTWAIT);
	const char *at = input + BATCH_START_LEN, *end = input + n;
	struct text frame;

	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		die("receive");
	if (n <= 0)
		return;
	if (n < BATCH_START_LEN || memcmp(input, BATCH_START, BATCH_START_LEN) != 0) {
		take_frame(peer, (struct text){ input, (size_t)n }, message, userdata);
		return;
	}
	while (record_next(&at, end, &frame) == 0)
		take_frame(peer, frame, message, userdata);
}
