/* peer_relay.c - client of relay.c: up to 64 KiB of messages in one packet. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "protocol/packet.h"
#include "tests/bench/peer.h"
#include "tests/bench/relay.h"

struct peer {
	int fd;
	size_t used;
	char out[RELAY_PACKET];
};

static char input[RELAY_PACKET]; /* one is enough for a process */

struct peer *peer_connect(const char *path)
{
	struct peer *peer = calloc(1, sizeof *peer);
	struct sockaddr_un address;
	socklen_t len;

	if (!peer || packet_address(path, &address, &len) < 0)
		die("path %s", path);
	peer->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (peer->fd < 0 || connect(peer->fd, (void *)&address, len) < 0)
		die("connect %s", path);
	packet_set_buffer(peer->fd, 8 << 20);
	return peer;
}

void peer_subscribe(struct peer *peer, const char *topic)
{
	struct relay_header header = { 'S', (uint8_t)topic[1], 0 };

	if (send(peer->fd, &header, sizeof header, 0) < 0 ||
		recv(peer->fd, &header, sizeof header, 0) != sizeof header)
		die("subscribe");
}

void peer_flush(struct peer *peer)
{
	if (peer->used && send(peer->fd, peer->out, peer->used, MSG_NOSIGNAL) < 0)
		die("send");
	peer->used = 0;
}

void peer_publish(struct peer *peer, const char *topic, const void *body, size_t len)
{
	struct relay_header *header = (void *)peer->out;
	uint32_t n = (uint32_t)len;

	if (peer->used + sizeof n + len > sizeof peer->out)
		peer_flush(peer);
	if (peer->used == 0) {
		*header = (struct relay_header){ 'P', (uint8_t)topic[1], 0 };
		peer->used = sizeof *header;
	}
	header->count++;
	memcpy(peer->out + peer->used, &n, sizeof n);
	memcpy(peer->out + peer->used + sizeof n, body, len);
	peer->used += sizeof n + len;
}

int peer_fd(struct peer *peer)
{
	return peer->fd;
}

void peer_input(struct peer *peer, int timeout_ms, peer_message_fn *message, void *userdata)
{
	struct pollfd pollfd = { .fd = peer->fd, .events = POLLIN };
	const char *p = input + sizeof(struct relay_header);
	ssize_t n;

	n = recv(peer->fd, input, sizeof input, MSG_DONTWAIT);
	if (n < 0 && errno == EAGAIN && poll(&pollfd, 1, timeout_ms) > 0)
		n = recv(peer->fd, input, sizeof input, MSG_DONTWAIT);
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		die("recv");
	while (n > 0 && p < input + n) {
		uint32_t len;

		memcpy(&len, p, sizeof len);
		message(userdata, p + sizeof len, len);
		p += sizeof len + len;
	}
}
