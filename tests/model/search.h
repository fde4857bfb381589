/* search.h - every way through a step that chooses, and the states that were met.
 *
 *	struct search search;
 *	search_begin(&search);
 *	do {
 *		... go back to where it began, and make the step ...
 *	} while (search_next(&search));
 *
 * A search may run within a step of another one: each has its own choices.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SEARCH_DEPTH_MAX 4096

struct search {
	struct search *outer;
	unsigned n, at; /* choices known, choices made in this pass */
	uint8_t *picked, *of;
};

void search_begin(struct search *search);

/* Another way is left: begin again. Else the search is over. */
bool search_next(struct search *search);

/* Was this state not met before? It is kept as a hash of 64 bits: of a million states,
 * one is overlooked with a probability of about one in thirty million. */
bool search_is_new(uint64_t hash);

/* Forget all states. */
void search_forget(void);

/* Hash of LEN bytes, a multiple of 8. */
uint64_t search_hash(uint64_t hash, const void *data, size_t len);

extern uint64_t search_n_states;
