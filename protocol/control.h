/* control.h - the page by which the broker tells one connection how its rings stand.
 *
 * chat-ring(7), section CONTROL PAGE. One writer: the broker. Every publisher and reader
 * of rings has one, sealed like a ring; what it says is a hint to look at the socket, or
 * a bound. Lines apart are written at different times.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Rings that one connection may publish, and rings that it may read: who reads them looks
 * at each for every message. */
#define RINGS_MAX 16

/* Readers that a publisher wakes itself; the broker wakes the others. */
#define SLEEPERS_MAX 16

struct control_slot {
	uint64_t gate;  /* up to this position the ring may be overwritten; RING_UNGATED */
	uint32_t error; /* errno: why the gate does not move; EPIPE: the ring is revoked */
	char reserved[52];
};

struct control_page {
	uint32_t packets; /* sent to this connection's socket, modulo 2^32 */
	char reserved0[60];
	uint32_t bell; /* changes when the broker wants a BELL at the next record */
	char reserved1[60];
	struct control_slot slots[RINGS_MAX];
	char reserved2[4096 - 128 - RINGS_MAX * 64];
};

_Static_assert(offsetof(struct control_page, bell) == 64, "chat-ring(7)");
_Static_assert(offsetof(struct control_page, slots) == 128, "chat-ring(7)");
_Static_assert(sizeof(struct control_slot) == 64, "chat-ring(7)");
_Static_assert(sizeof(struct control_page) == 4096, "chat-ring(7)");
