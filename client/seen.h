/* seen.h - which publishers a room was heard from, and up to which number.
 *
 * After a reset of the log the messages that publishers sent again are known by
 * it; chat-protocol(7), Once and only once. Bounded: of more than PUBLISHERS_MAX
 * the one not heard for the longest (by the clock method) is forgotten.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "protocol/limits.h"

struct seen_publisher {
	uint64_t label;
	uint64_t n; /* the highest number */
	uid_t uid;
	uint16_t chain; /* index + 1 of the next in the bucket */
	bool is_recent;
};

struct seen {
	struct seen_publisher *publishers;
	uint16_t *buckets; /* as many as publishers; index + 1 */
	uint32_t n_publishers, size;
	uint32_t hand; /* of the clock */
	uint32_t last; /* the one found last */
};

void seen_deinit(struct seen *seen);

/* Was message N of this publisher received before? */
bool seen_has(struct seen *seen, uid_t uid, uint64_t label, uint64_t n);

/* The highest number that was received; 0: none. */
uint64_t seen_highest(struct seen *seen, uid_t uid, uint64_t label);

/* Remember it. Without memory for one more, an older one is forgotten. */
void seen_add(struct seen *seen, uid_t uid, uint64_t label, uint64_t n);
