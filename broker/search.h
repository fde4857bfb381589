/* search.h - is a text in what somebody said? Literally, but that letters of ASCII are the
 * same in either case.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "protocol/text.h"

/* What is looked for, at most: words, not books. */
#define SEARCH_LEN_MAX 256

struct search {
	unsigned char text[SEARCH_LEN_MAX]; /* in lower case */
	unsigned char fold[SEARCH_LEN_MAX]; /* 0x20 where either case will do, else 0 */
	/* How many of the first bytes are the last before byte I as well: where to go on there. */
	unsigned char back[SEARCH_LEN_MAX];
	size_t len;
};

/* NEEDLE has 1 to SEARCH_LEN_MAX bytes. False when it has not. */
bool search_init(struct search *search, struct text needle);

/* Is it in TEXT? */
bool search_finds(const struct search *search, struct text text);
