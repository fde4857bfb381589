/* peer_relay.c - client of relay.c: up to 64 KiB of messages in one packet.
 *
 * RELAY_SEND_BUFFER and RELAY_LOOK in the environment are as the relay's own.
 */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "protocol/packet.h"
#include "tests/bench/peer.h"
#include "tests/bench/relay.h"

struct peer {
	int fd;
	size_t used;
	char *out; /* of RELAY_PACKET */
};

static uint64_t look_ns;
static char input[RELAY_PACKET]; /* one is enough for a process */

struct peer *peer_connect(const char *path)
{
	const char *look = getenv("RELAY_LOOK"), *send_buffer = getenv("RELAY_SEND_BUFFER");
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
	if (send_buffer)
		packet_set_buffer(peer->fd, atoi(send_buffer));
	if (look)
		look_ns = strtoull(look, NULL, 10) * 1000;
	return peer;
}

void peer_subscribe(struct peer *peer, const char *topic)
{
	struct relay_header header = { 'S', (uint8_t)topic[1], 0 };

	if (send(peer->fd, &header, sizeof header, 0) < 0)
		die("subscribe");
}

void peer_await(struct peer *peer)
{
	ssize_t n;
	char done;

	do
		n = recv(peer->fd, &done, sizeof done, 0);
	while (n < 0 && errno == EAGAIN);
	if (n != 1)
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
	struct relay_header *header;
	uint32_t n = (uint32_t)len;

	if (!peer->out && !(peer->out = malloc(RELAY_PACKET)))
		die("no memory");
	if (peer->used + sizeof n + len > RELAY_PACKET)
		peer_flush(peer);
	header = (void *)peer->out;
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

static ssize_t receive(struct peer *peer, int timeout_ms)
{
	uint64_t until = look_ns && timeout_ms ? now_ns() + look_ns : 0;
	ssize_t n;

	while (until) {
		n = recv(peer->fd, input, sizeof input, MSG_DONTWAIT);
		if (n >= 0 || now_ns() > until)
			break;
		sched_yield();
	}
	if (until && n >= 0)
		return n;
	return recv(peer->fd, input, sizeof input, timeout_ms ? 0 : MSG_DONTWAIT);
}

void peer_input(struct peer *peer, int timeout_ms, peer_message_fn *message, void *userdata)
{
	const char *p = input + sizeof(struct relay_header);
	ssize_t n = receive(peer, timeout_ms);

	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		die("recv");
	while (n > 0 && p < input + n) {
		uint32_t len;

		memcpy(&len, p, sizeof len);
		message(userdata, p + sizeof len, len);
		p += sizeof len + len;
	}
}
