/* cold.h - segments of a room that are on the disk only, oldest first.
 *
 * What memory can not keep of a stored room is known by its borders, and read back when somebody
 * wants it (cache.h). There may be holes: segments that were damaged.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "broker/log.h"

struct cold {
	struct segment_image *segments; /* without their data */
	size_t n, size;
	uint64_t bytes; /* of them all, used */
};

/* All of IMAGE is in its file. It lies behind those that are there. -ENOMEM. */
int cold_add(struct cold *cold, const struct segment_image *image);

void cold_remove(struct cold *cold, size_t i);
void cold_clear(struct cold *cold);

/* The first that has record SEQ or what is behind it; n when there is none. */
size_t cold_find(const struct cold *cold, uint64_t seq);

/* The last that begins before TIME ns; n when there is none. */
size_t cold_find_time(const struct cold *cold, uint64_t time);

/* The number from which on what is here has at most so many BYTES; that behind it all if the newest
 * segment alone has more, 0 when there is none. */
uint64_t cold_recent(const struct cold *cold, uint64_t bytes);
