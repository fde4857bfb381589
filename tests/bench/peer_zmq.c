/* peer_zmq.c - ZeroMQ PUB and SUB through zmq_proxy.c: "PUBLISH_ADDRESS
 * SUBSCRIBE_ADDRESS". A message is one frame, the topic's two bytes and the body.
 * ZMQ_HWM in the environment is the high-water mark of both, 0: none. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#include "tests/bench/peer.h"

#define TOPIC_LEN     2
#define TURN_MESSAGES 256
#define MEET_MS       200 /* PUB drops until the subscription has come to it */

struct peer {
	char publish[128], subscribe[128];
	void *publisher, *subscriber;
};

static void *open_socket(int type, int mark_option, const char *address, const char *topic)
{
	static void *context;
	const char *text = getenv("ZMQ_HWM");
	int mark = text ? atoi(text) : 1000;
	void *socket;

	if (!context) {
		context = zmq_ctx_new();
		zmq_ctx_set(context, ZMQ_MAX_SOCKETS, 20000);
	}
	socket = zmq_socket(context, type);
	if (!socket || zmq_setsockopt(socket, mark_option, &mark, sizeof mark) < 0)
		die("socket");
	if (topic && zmq_setsockopt(socket, ZMQ_SUBSCRIBE, topic, TOPIC_LEN) < 0)
		die("subscribe");
	if (zmq_connect(socket, address) < 0)
		die("connect %s", address);
	return socket;
}

struct peer *peer_connect(const char *address)
{
	struct peer *peer = calloc(1, sizeof *peer);

	if (!peer || sscanf(address, "%127s %127s", peer->publish, peer->subscribe) != 2)
		die("address %s", address);
	return peer;
}

void peer_subscribe(struct peer *peer, const char *topic)
{
	int timeout_ms = INPUT_MS;

	peer->subscriber = open_socket(ZMQ_SUB, ZMQ_RCVHWM, peer->subscribe, topic);
	zmq_setsockopt(peer->subscriber, ZMQ_RCVTIMEO, &timeout_ms, sizeof timeout_ms);
}

void peer_await(struct peer *peer)
{
	/* nothing tells */
}

void peer_publish(struct peer *peer, const char *topic, const void *body, size_t len)
{
	zmq_msg_t out;

	if (!peer->publisher) {
		peer->publisher = open_socket(ZMQ_PUB, ZMQ_SNDHWM, peer->publish, NULL);
		pass_ms(MEET_MS);
	}
	zmq_msg_init_size(&out, TOPIC_LEN + len);
	memcpy(zmq_msg_data(&out), topic, TOPIC_LEN);
	memcpy((char *)zmq_msg_data(&out) + TOPIC_LEN, body, len);
	if (zmq_msg_send(&out, peer->publisher, 0) < 0)
		die("send");
}

void peer_flush(struct peer *peer)
{
	/* the library's thread does it */
}

int peer_fd(struct peer *peer)
{
	size_t len = sizeof(int);
	int fd;

	if (zmq_getsockopt(peer->subscriber, ZMQ_FD, &fd, &len) < 0)
		die("fd");
	return fd;
}

void peer_input(struct peer *peer, int timeout_ms, peer_message_fn *message, void *userdata)
{
	int flags = timeout_ms ? 0 : ZMQ_DONTWAIT;
	zmq_msg_t in;

	zmq_msg_init(&in);
	/* the descriptor tells of changes only: without a timeout, take all there is */
	for (int i = 0; !timeout_ms || i < TURN_MESSAGES; i++) {
		if (zmq_msg_recv(&in, peer->subscriber, flags) < 0)
			break;
		message(userdata, (char *)zmq_msg_data(&in) + TOPIC_LEN,
			zmq_msg_size(&in) - TOPIC_LEN);
		flags = ZMQ_DONTWAIT;
	}
	zmq_msg_close(&in);
}
