/* table.c - see table.h. Chained; the slots double when there are more links. */
#include "broker/table.h"

#include <assert.h>
#include <errno.h>
#include <sodium.h>
#include <stdlib.h>

static uint64_t table_hash(struct text key)
{
	static unsigned char secret[crypto_shorthash_KEYBYTES];
	static bool has_secret;
	uint64_t hash;

	if (!has_secret) {
		crypto_shorthash_keygen(secret);
		has_secret = true;
	}
	crypto_shorthash((unsigned char *)&hash, (const unsigned char *)key.data, key.len, secret);
	return hash;
}

void table_deinit(struct table *table)
{
	assert(table->n_links == 0);
	free(table->slots);
	table_init(table);
}

static struct table_link **table_slot(const struct table *table, uint64_t hash)
{
	return &table->slots[hash & (table->n_slots - 1)];
}

struct table_link *table_find(const struct table *table, struct text key)
{
	uint64_t hash;

	if (table->n_links == 0)
		return NULL;
	hash = table_hash(key);
	for (struct table_link *link = *table_slot(table, hash); link; link = link->next)
		if (link->hash == hash && text_equal(link->key, key))
			return link;
	return NULL;
}

static void table_insert(struct table *table, struct table_link *link)
{
	struct table_link **slot = table_slot(table, link->hash);

	link->next = *slot;
	*slot = link;
}

static int table_grow(struct table *table)
{
	struct table wider = { .n_slots = table->n_slots ? table->n_slots * 2 : 8 };

	wider.slots = calloc(wider.n_slots, sizeof *wider.slots);
	if (!wider.slots)
		return -ENOMEM;
	for (size_t i = 0; i < table->n_slots; i++) {
		struct table_link *link = table->slots[i];

		while (link) {
			struct table_link *next = link->next;

			table_insert(&wider, link);
			link = next;
		}
	}
	wider.n_links = table->n_links;
	free(table->slots);
	*table = wider;
	return 0;
}

int table_add(struct table *table, struct table_link *link, struct text key)
{
	/* a table that can not grow still works, only slower */
	if (table->n_links == table->n_slots && table_grow(table) < 0 && table->n_slots == 0)
		return -ENOMEM;
	link->key = key;
	link->hash = table_hash(key);
	table_insert(table, link);
	table->n_links++;
	return 0;
}

void table_remove(struct table *table, struct table_link *link)
{
	struct table_link **at = table_slot(table, link->hash);

	while (*at != link)
		at = &(*at)->next;
	*at = link->next;
	table->n_links--;
}
