/* exact.h - bytes at the very end of their memory, so that a sanitizer sees a read beyond them. */
#pragma once

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/base.h"
#include "protocol/text.h"

static inline void exact_freep(char **data)
{
	free(*data);
}

/* A copy of TEXT in memory of exactly its size. The caller frees it. */
static inline char *exact_copy(struct text text)
{
	char *data = malloc(text.len);

	assert(data || text.len == 0);
	if (text.len > 0)
		memcpy(data, text.data, text.len);
	return data;
}

/* Declare COPY, those bytes as a text, for the rest of the block. */
#define EXACT(copy, original)                                                                      \
	_cleanup_(exact_freep) char *copy##_data = exact_copy(original);                           \
	struct text copy = { copy##_data, (original).len }
