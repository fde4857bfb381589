/* peer_dbus.c - signals on a private bus through sd-bus: the same client for
 * dbus-daemon and dbus-broker. A topic is an interface, a body is an array of bytes. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <systemd/sd-bus.h>

#include "tests/bench/peer.h"

#define TURN_MESSAGES 256

struct peer {
	sd_bus *bus;
	peer_message_fn *message;
	void *userdata;
};

static int check(int r, const char *what)
{
	if (r < 0) {
		errno = -r;
		die("%s", what);
	}
	return r;
}

static int take_signal(sd_bus_message *received, void *userdata, sd_bus_error *error)
{
	struct peer *peer = userdata;
	const void *body;
	size_t len;

	check(sd_bus_message_read_array(received, 'y', &body, &len), "read");
	if (peer->message)
		peer->message(peer->userdata, body, len);
	return 0;
}

struct peer *peer_connect(const char *address)
{
	struct peer *peer = calloc(1, sizeof *peer);
	const char *name;

	if (!peer)
		die("no memory");
	check(sd_bus_new(&peer->bus), "bus");
	check(sd_bus_set_address(peer->bus, address), "address");
	check(sd_bus_set_bus_client(peer->bus, 1), "client");
	check(sd_bus_start(peer->bus), "start");
	check(sd_bus_get_unique_name(peer->bus, &name), "hello"); /* waits for it */
	return peer;
}

void peer_subscribe(struct peer *peer, const char *topic)
{
	char match[128];

	snprintf(match, sizeof match, "type='signal',interface='bench.%s',member='m'", topic);
	check(sd_bus_add_match(peer->bus, NULL, match, take_signal, peer), "match");
}

void peer_await(struct peer *peer)
{
	/* sd_bus_add_match() has waited */
}

void peer_publish(struct peer *peer, const char *topic, const void *body, size_t len)
{
	sd_bus_message *signal;
	char interface[32];

	snprintf(interface, sizeof interface, "bench.%s", topic);
	check(sd_bus_message_new_signal(peer->bus, &signal, "/bench", interface, "m"), "signal");
	check(sd_bus_message_append_array(signal, 'y', body, len), "append");
	check(sd_bus_send(peer->bus, signal, NULL), "send");
	sd_bus_message_unref(signal);
}

void peer_flush(struct peer *peer)
{
	check(sd_bus_flush(peer->bus), "flush");
}

int peer_fd(struct peer *peer)
{
	return check(sd_bus_get_fd(peer->bus), "fd");
}

void peer_input(struct peer *peer, int timeout_ms, peer_message_fn *message, void *userdata)
{
	peer->message = message;
	peer->userdata = userdata;
	if (timeout_ms && check(sd_bus_process(peer->bus, NULL), "process") == 0)
		check(sd_bus_wait(peer->bus, (uint64_t)timeout_ms * 1000), "wait");
	for (int i = 0; i < TURN_MESSAGES; i++)
		if (check(sd_bus_process(peer->bus, NULL), "process") == 0)
			break;
}
