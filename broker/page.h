/* page.h - a request that is answered in rows, page by page: WHO, ROOMS, STATS.
 *
 * chat-protocol(7): after=N in the request, next=N in the answer when there is more. N is
 * the number of an object that counts up, so what comes and goes meanwhile shifts
 * nothing. The rows come in order of number.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/frame.h"

struct session;

struct page {
	struct session *session;
	const struct frame *frame;
	struct text what; /* the first word that is no key=value; NULL data: there is none */
	uint64_t after;   /* number of the last row, here or on the page before */
	unsigned n_rows;
	size_t len;
	bool is_full; /* a row did not fit */
};

/* Begin to answer. False when that is all: after= was malformed, and refused, or the request names
 * nothing that could be wrong and has no tag. */
bool page_open(struct page *page, struct session *session, const struct frame *frame);

/* Put the row of the object NUMBER, which is above page->after. False, with nothing put,
 * when the page is full: put no more. */
bool page_put(struct page *page, uint64_t number, struct text row);

/* The answer. */
void page_close(const struct page *page);
