/* search.c - see search.h. The choices of model_choose() are made here. */
#include "tests/model/search.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/model/memory.h"

static struct search *current;
uint64_t search_n_states;

static uint64_t *table;
static size_t n_slots;

void search_begin(struct search *search)
{
	*search = (struct search){ .outer = current };
	search->picked = malloc(2 * SEARCH_DEPTH_MAX);
	if (!search->picked)
		abort();
	search->of = search->picked + SEARCH_DEPTH_MAX;
	current = search;
}

bool search_next(struct search *search)
{
	/* the last choice that has another way; those behind it begin again */
	for (search->n = search->at; search->n > 0; search->n--) {
		if (++search->picked[search->n - 1] < search->of[search->n - 1]) {
			search->at = 0;
			return true;
		}
	}
	current = search->outer;
	free(search->picked);
	return false;
}

unsigned model_choose(unsigned n)
{
	struct search *search = current;
	unsigned at;

	if (n <= 1)
		return 0;
	if (!search || search->at == SEARCH_DEPTH_MAX)
		model_fail("there are more choices than the search is made for");
	at = search->at++;
	if (at == search->n) {
		search->picked[at] = 0;
		search->of[at] = (uint8_t)n;
		search->n++;
	} else if (search->of[at] != n) {
		model_fail("a step does not repeat itself: the model is wrong");
	}
	return search->picked[at];
}

void model_fail(const char *format, ...)
{
	va_list arguments;

	printf("FAIL  ");
	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	printf("\n");
	fflush(stdout);
	_exit(1);
}

/* ---- states ---- */

uint64_t search_hash(uint64_t hash, const void *data, size_t len)
{
	const char *bytes = data;

	for (size_t at = 0; at < len; at += 8) {
		uint64_t word = 0;

		memcpy(&word, bytes + at, len - at < 8 ? len - at : 8);
		hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
		hash ^= hash >> 32;
	}
	return hash;
}

static bool table_add(uint64_t hash)
{
	size_t at = hash & (n_slots - 1);

	while (table[at] != 0 && table[at] != hash)
		at = (at + 1) & (n_slots - 1);
	if (table[at] == hash)
		return false;
	table[at] = hash;
	return true;
}

static void table_grow(void)
{
	uint64_t *old = table;
	size_t n_old = n_slots;

	n_slots = n_old ? 2 * n_old : 1u << 16;
	table = calloc(n_slots, sizeof *table);
	if (!table)
		abort();
	for (size_t i = 0; i < n_old; i++)
		if (old[i] != 0)
			(void)table_add(old[i]);
	free(old);
}

bool search_is_new(uint64_t hash)
{
	if (2 * (search_n_states + 1) > n_slots)
		table_grow();
	if (!table_add(hash | 1))
		return false;
	search_n_states++;
	return true;
}

void search_forget(void)
{
	free(table);
	table = NULL;
	n_slots = 0;
	search_n_states = 0;
}
