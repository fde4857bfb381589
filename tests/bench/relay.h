/* relay.h - the wire format of the relay: header, then COUNT times a u32 length and
 * that many bytes. */
#pragma once

#include <stdint.h>

#define RELAY_PACKET 65536

struct relay_header {
	uint8_t op; /* 'S' subscribe, 'P' publish */
	uint8_t topic;
	uint16_t count;
};
