/* peer_qb.c - client of qb_broker.c. QB_BUFFER in the environment is the size of its
 * rings; the server's is taken when that is larger. */
#include <errno.h>
#include <qb/qbdefs.h>
#include <qb/qbipcc.h>
#include <sched.h>
#include <stdlib.h>

#include "tests/bench/peer.h"
#include "tests/bench/qb.h"

#define TURN_MESSAGES 64

struct peer {
	qb_ipcc_connection_t *connection;
};

static char *input; /* one is enough for a process */
static size_t input_size;

struct peer *peer_connect(const char *address)
{
	struct peer *peer = calloc(1, sizeof *peer);
	const char *text = getenv("QB_BUFFER");
	size_t size = text ? strtoull(text, NULL, 10) : 1 << 20;

	if (!peer)
		die("no memory");
	peer->connection = qb_ipcc_connect(address, size);
	if (!peer->connection)
		die("connect %s", address);
	if (!input) {
		input_size = MAX(size, (size_t)qb_ipcc_get_buffer_size(peer->connection));
		input = malloc(input_size);
	}
	if (!input)
		die("no memory");
	return peer;
}

static void request(struct peer *peer, char op, const char *topic, const void *body, size_t len)
{
	struct qb_request header = {
		.header = { .id = QB_IPC_MSG_USER_START, .size = (int32_t)(sizeof header + len) },
		.op = op,
		.topic = topic[1],
	};
	struct iovec parts[] = { { &header, sizeof header }, { (void *)body, len } };
	ssize_t n;

	while ((n = qb_ipcc_sendv(peer->connection, parts, len ? 2 : 1)) == -EAGAIN)
		sched_yield();
	if (n < 0) {
		errno = (int)-n;
		die("send");
	}
}

void peer_subscribe(struct peer *peer, const char *topic)
{
	request(peer, 'S', topic, NULL, 0);
}

void peer_await(struct peer *peer)
{
	struct qb_ipc_response_header header;

	if (qb_ipcc_recv(peer->connection, &header, sizeof header, 5000) < 0)
		die("subscribe");
}

void peer_publish(struct peer *peer, const char *topic, const void *body, size_t len)
{
	request(peer, 'P', topic, body, len);
}

void peer_flush(struct peer *peer)
{
	/* it is in the ring */
}

int peer_fd(struct peer *peer)
{
	int fd;

	if (qb_ipcc_fd_get(peer->connection, &fd) < 0)
		die("fd");
	return fd;
}

void peer_input(struct peer *peer, int timeout_ms, peer_message_fn *message, void *userdata)
{
	const size_t skip = sizeof(struct qb_ipc_response_header);

	for (int i = 0; i < TURN_MESSAGES; i++) {
		ssize_t n = qb_ipcc_event_recv(peer->connection, input, input_size, timeout_ms);

		if (n == -EAGAIN || n == -ETIMEDOUT)
			return;
		if (n < 0) {
			errno = (int)-n;
			die("receive");
		}
		message(userdata, input + skip, (size_t)n - skip);
		timeout_ms = 0;
	}
}
