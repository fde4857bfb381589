/* cold.c - see cold.h. */
#include "broker/cold.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "broker/array.h"

int cold_add(struct cold *cold, const struct segment_image *image)
{
	struct segment_image *segments =
		array_more(cold->segments, cold->n, &cold->size, sizeof *segments);

	if (!segments)
		return -ENOMEM;
	cold->segments = segments;
	segments[cold->n] = *image;
	segments[cold->n].data = NULL;
	segments[cold->n].segment = NULL;
	segments[cold->n].entry = NULL;
	cold->n++;
	cold->bytes += image->used;
	return 0;
}

void cold_remove(struct cold *cold, size_t i)
{
	cold->bytes -= cold->segments[i].used;
	cold->n--;
	memmove(cold->segments + i, cold->segments + i + 1, (cold->n - i) * sizeof *cold->segments);
}

void cold_clear(struct cold *cold)
{
	free(cold->segments);
	*cold = (struct cold){ 0 };
}

size_t cold_find(const struct cold *cold, uint64_t seq)
{
	size_t low = 0, high = cold->n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (cold->segments[middle].next > seq)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

size_t cold_find_time(const struct cold *cold, uint64_t time)
{
	size_t low = 0, high = cold->n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (cold->segments[middle].time < time)
			low = middle + 1;
		else
			high = middle;
	}
	return low > 0 ? low - 1 : cold->n;
}

uint64_t cold_recent(const struct cold *cold, uint64_t bytes)
{
	uint64_t from = cold->n > 0 ? cold->segments[cold->n - 1].next : 0;

	for (size_t i = cold->n; i > 0 && cold->segments[i - 1].used <= bytes; i--) {
		bytes -= cold->segments[i - 1].used;
		from = cold->segments[i - 1].first;
	}
	return from;
}
