/* peer_nats.c - NATS through libnats, with a synchronous subscription: a thread reads
 * for it, and one writes; with NATS_SEND_ASAP=1 in the environment natsConnection_Publish
 * writes itself, for round trips. */
#include <nats/nats.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/bench/peer.h"

struct peer {
	natsConnection *connection;
	natsSubscription *subscription;
};

static void check(natsStatus status, const char *what)
{
	if (status != NATS_OK)
		die("%s: %s", what, natsStatus_GetText(status));
}

struct peer *peer_connect(const char *address)
{
	struct peer *peer = calloc(1, sizeof *peer);
	natsOptions *options;
	const char *asap;
	char url[128];

	if (!peer)
		die("no memory");
	snprintf(url, sizeof url, "nats://%s", address);
	check(natsOptions_Create(&options), "options");
	check(natsOptions_SetURL(options, url), "url");
	asap = getenv("NATS_SEND_ASAP");
	if (asap && atoi(asap))
		check(natsOptions_SetSendAsap(options, true), "send asap");
	check(natsConnection_Connect(&peer->connection, options), "connect");
	natsOptions_Destroy(options);
	return peer;
}

void peer_subscribe(struct peer *peer, const char *topic)
{
	check(natsConnection_SubscribeSync(&peer->subscription, peer->connection, topic),
		"subscribe");
	check(natsSubscription_SetPendingLimits(peer->subscription, -1, -1), "limits");
}

void peer_await(struct peer *peer)
{
	check(natsConnection_Flush(peer->connection), "flush");
}

void peer_publish(struct peer *peer, const char *topic, const void *body, size_t len)
{
	check(natsConnection_Publish(peer->connection, topic, body, (int)len), "publish");
}

void peer_flush(struct peer *peer)
{
	/* the library's thread does it */
}

int peer_fd(struct peer *peer)
{
	die("libnats has no descriptor to wait for");
}

void peer_input(struct peer *peer, int timeout_ms, peer_message_fn *message, void *userdata)
{
	natsMsg *received;
	int n_queued = 0;

	if (natsSubscription_NextMsg(&received, peer->subscription, timeout_ms) != NATS_OK)
		return;
	/* asking how many there are takes a lock, so all of those, then again */
	(void)natsSubscription_GetPending(peer->subscription, &n_queued, NULL);
	for (;;) {
		message(userdata, natsMsg_GetData(received),
			(size_t)natsMsg_GetDataLength(received));
		natsMsg_Destroy(received);
		if (n_queued-- <= 0 ||
			natsSubscription_NextMsg(&received, peer->subscription, 1) != NATS_OK)
			return;
	}
}
