/* peer_mosquitto.c - MQTT, QoS 0, through libmosquitto on a Unix socket (port 0 and a
 * path). poll(2) and loop_read, as mosquitto_loop() uses select(2). */
#include <mosquitto.h>
#include <poll.h>
#include <stdlib.h>

#include "tests/bench/peer.h"

struct peer {
	struct mosquitto *client;
	bool is_answered;
	peer_message_fn *message;
	void *userdata;
};

static void check(int r, const char *what)
{
	if (r)
		die("%s: %s", what, mosquitto_strerror(r));
}

static void take_message(
	struct mosquitto *client, void *object, const struct mosquitto_message *received)
{
	struct peer *peer = object;

	if (peer->message)
		peer->message(peer->userdata, received->payload, (size_t)received->payloadlen);
}

static void take_subscribed(
	struct mosquitto *client, void *object, int mid, int n, const int *granted)
{
	((struct peer *)object)->is_answered = true;
}

static void take_connected(struct mosquitto *client, void *object, int r)
{
	check(r, "connect");
	((struct peer *)object)->is_answered = true;
}

static void input(struct peer *peer, int timeout_ms)
{
	struct pollfd pollfd = { mosquitto_socket(peer->client), POLLIN, 0 };

	if (poll(&pollfd, 1, timeout_ms) > 0)
		check(mosquitto_loop_read(peer->client, 100), "read");
}

void peer_await(struct peer *peer)
{
	while (!peer->is_answered)
		input(peer, INPUT_MS);
	peer->is_answered = false;
}

struct peer *peer_connect(const char *address)
{
	struct peer *peer = calloc(1, sizeof *peer);

	mosquitto_lib_init();
	if (!peer || !(peer->client = mosquitto_new(NULL, true, peer)))
		die("no memory");
	mosquitto_connect_callback_set(peer->client, take_connected);
	mosquitto_message_callback_set(peer->client, take_message);
	mosquitto_subscribe_callback_set(peer->client, take_subscribed);
	check(mosquitto_connect(peer->client, address, 0, 600), "connect");
	peer_await(peer);
	return peer;
}

void peer_subscribe(struct peer *peer, const char *topic)
{
	check(mosquitto_subscribe(peer->client, NULL, topic, 0), "subscribe");
}

void peer_publish(struct peer *peer, const char *topic, const void *body, size_t len)
{
	check(mosquitto_publish(peer->client, NULL, topic, (int)len, body, 0, false), "publish");
}

void peer_flush(struct peer *peer)
{
	while (mosquitto_want_write(peer->client)) {
		struct pollfd pollfd = { mosquitto_socket(peer->client), POLLOUT, 0 };

		poll(&pollfd, 1, INPUT_MS);
		check(mosquitto_loop_write(peer->client, 1), "write");
	}
}

int peer_fd(struct peer *peer)
{
	return mosquitto_socket(peer->client);
}

void peer_input(struct peer *peer, int timeout_ms, peer_message_fn *message, void *userdata)
{
	peer->message = message;
	peer->userdata = userdata;
	input(peer, timeout_ms);
}
