/* array.h - an array that grows. */
#pragma once

#include <stddef.h>
#include <stdlib.h>

#include "protocol/base.h"

/* ITEMS of ITEM_SIZE bytes, N of them in use, with room for one more: there are *SIZE places.
 * NULL without memory: then ITEMS are as they were. */
static inline void *array_more(void *items, size_t n, size_t *size, size_t item_size)
{
	size_t more = MAX((size_t)64, *size * 2);

	if (n < *size)
		return items;
	items = realloc(items, more * item_size);
	if (items)
		*size = more;
	return items;
}
