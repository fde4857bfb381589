/* seen.c - see seen.h. An array of publishers, chained into buckets by index, so
 * that growing is a copy and forgetting is an unlink. */
#include "client/seen.h"

#include <stdlib.h>

#include "protocol/base.h"

#define SEEN_SIZE_MIN 4

void seen_deinit(struct seen *seen)
{
	free(seen->publishers);
	free(seen->buckets);
	*seen = (struct seen){ 0 };
}

static uint16_t *seen_bucket(struct seen *seen, uid_t uid, uint64_t label)
{
	uint64_t hash = (label ^ uid) * 0x9e3779b97f4a7c15u;

	return &seen->buckets[hash >> 40 & (seen->size - 1)];
}

static struct seen_publisher *seen_find(struct seen *seen, uid_t uid, uint64_t label)
{
	struct seen_publisher *publisher;

	if (seen->n_publishers == 0)
		return NULL;
	publisher = &seen->publishers[seen->last];
	if (publisher->label == label && publisher->uid == uid)
		return publisher;
	for (uint32_t i = *seen_bucket(seen, uid, label); i > 0; i = publisher->chain) {
		publisher = &seen->publishers[i - 1];
		if (publisher->label == label && publisher->uid == uid) {
			seen->last = i - 1;
			return publisher;
		}
	}
	return NULL;
}

static void seen_link(struct seen *seen, uint32_t index)
{
	struct seen_publisher *publisher = &seen->publishers[index];
	uint16_t *bucket = seen_bucket(seen, publisher->uid, publisher->label);

	publisher->chain = *bucket;
	*bucket = (uint16_t)(index + 1);
}

static void seen_unlink(struct seen *seen, uint32_t index)
{
	struct seen_publisher *publisher = &seen->publishers[index];
	uint16_t *at = seen_bucket(seen, publisher->uid, publisher->label);

	while (*at != index + 1)
		at = &seen->publishers[*at - 1].chain;
	*at = publisher->chain;
}

static bool seen_grow(struct seen *seen)
{
	uint32_t size = seen->size ? seen->size * 4 : SEEN_SIZE_MIN;
	struct seen_publisher *publishers;
	uint16_t *buckets;

	if (size > PUBLISHERS_MAX)
		return false;
	publishers = realloc(seen->publishers, size * sizeof *publishers);
	if (!publishers)
		return false;
	seen->publishers = publishers;
	buckets = calloc(size, sizeof *buckets);
	if (!buckets)
		return false;
	free(seen->buckets);
	seen->buckets = buckets;
	seen->size = size;
	for (uint32_t i = 0; i < seen->n_publishers; i++)
		seen_link(seen, i);
	return true;
}

/* A free index, by growing or by forgetting. False when there is no memory at all. */
static bool seen_place(struct seen *seen, uint32_t *ret_index)
{
	if (seen->n_publishers < seen->size || seen_grow(seen)) {
		*ret_index = seen->n_publishers++;
		return true;
	}
	if (seen->size == 0)
		return false;
	while (seen->publishers[seen->hand].is_recent) {
		seen->publishers[seen->hand].is_recent = false;
		seen->hand = (seen->hand + 1) % seen->size;
	}
	seen_unlink(seen, seen->hand);
	*ret_index = seen->hand;
	seen->hand = (seen->hand + 1) % seen->size;
	return true;
}

bool seen_has(struct seen *seen, uid_t uid, uint64_t label, uint64_t n)
{
	const struct seen_publisher *publisher = seen_find(seen, uid, label);

	return publisher && n <= publisher->n;
}

uint64_t seen_highest(struct seen *seen, uid_t uid, uint64_t label)
{
	const struct seen_publisher *publisher = seen_find(seen, uid, label);

	return publisher ? publisher->n : 0;
}

void seen_add(struct seen *seen, uid_t uid, uint64_t label, uint64_t n)
{
	struct seen_publisher *publisher = seen_find(seen, uid, label);
	uint32_t index;

	if (!publisher) {
		if (!seen_place(seen, &index))
			return;
		publisher = &seen->publishers[index];
		*publisher = (struct seen_publisher){ .label = label, .uid = uid, .n = n };
		seen_link(seen, index);
		seen->last = index;
	}
	publisher->n = MAX(publisher->n, n);
	publisher->is_recent = true;
}
