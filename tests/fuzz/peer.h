/* peer.h - the client's end of a connection, which believes nothing it receives.
 *
 * chat-protocol(7), WHAT THE BROKER SENDS: each packet is checked against the page.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/text.h"

/* Targets whose numbers one peer follows; what comes beyond is not followed. */
#define PEER_TARGETS_MAX 8

struct peer_target {
	char name[TARGET_LEN_MAX + 1];
	uint64_t next; /* number of its next message; 0: any */
	uint64_t time;
};

struct peer {
	int fd;        /* -1: not connected */
	bool is_full;  /* not plain any more: it was sent a frame */
	bool is_over;  /* the broker closed, or said BYE */
	bool is_lost;  /* it closed without BYE */
	bool is_loose; /* asked for cursors without a tag: it can not know where they are */
	struct peer_target targets[PEER_TARGETS_MAX];
	size_t n_targets;
};

/* Take over FD. */
void peer_open(struct peer *peer, int fd);
void peer_close(struct peer *peer);

/* Send one packet, if it fits the socket now. */
void peer_send(struct peer *peer, struct text packet);

/* Send it with a descriptor. */
void peer_send_descriptor(struct peer *peer, struct text packet);

/* Receive and check N_PACKETS at most, or what is there. Returns how many. */
unsigned peer_receive(struct peer *peer, unsigned n_packets);
