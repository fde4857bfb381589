/* table.c - see table.h.
 *
 * Chained, and grown by linear hashing: each link that is added splits one slot, so no
 * addition ever has to move more than a few links. To double the slots of a million links
 * at once would hold the loop up for 50 ms.
 *
 * There are as many slots as links were at the most. Where M is the power of two with
 * M <= n_slots < 2M, slots 0 to n_slots - M, not included, were split already: their links
 * are told apart by one more bit of the hash, and lie M slots further where it is set.
 */
#include "broker/table.h"

#include <assert.h>
#include <errno.h>
#include <sodium.h>
#include <stdlib.h>

static uint32_t table_hash(struct text key)
{
	static unsigned char secret[crypto_shorthash_KEYBYTES];
	static bool has_secret;
	uint64_t hash;

	if (!has_secret) {
		crypto_shorthash_keygen(secret);
		has_secret = true;
	}
	crypto_shorthash((unsigned char *)&hash, (const unsigned char *)key.data, key.len, secret);
	return (uint32_t)hash;
}

/* The highest bit that is set. */
static unsigned log2_of(size_t n)
{
	return 63 - (unsigned)__builtin_clzl(n);
}

static unsigned block_of(size_t slot)
{
	return slot < TABLE_SLOTS_MIN ? 0 : log2_of(slot) - log2_of(TABLE_SLOTS_MIN) + 1;
}

static struct table_link **table_slot(const struct table *table, size_t slot)
{
	unsigned block = block_of(slot);

	return &table->blocks[block][block == 0 ? slot : slot - ((size_t)1 << log2_of(slot))];
}

struct table_link *table_at(const struct table *table, size_t slot)
{
	return *table_slot(table, slot);
}

/* Where links with this hash are. */
static struct table_link **table_slot_of(const struct table *table, uint32_t hash)
{
	size_t half = (size_t)1 << log2_of(table->n_slots), slot = hash & (2 * half - 1);

	return table_slot(table, slot < table->n_slots ? slot : slot - half);
}

void table_deinit(struct table *table)
{
	assert(table->n_links == 0);
	for (size_t i = 0; i < TABLE_BLOCKS_MAX; i++)
		free(table->blocks[i]);
	table_init(table);
}

struct table_link *table_find(const struct table *table, struct text key)
{
	uint32_t hash;

	if (table->n_links == 0)
		return NULL;
	hash = table_hash(key);
	for (struct table_link *link = *table_slot_of(table, hash); link; link = link->next)
		if (link->hash == hash && text_equal(table_key(link), key))
			return link;
	return NULL;
}

static void slot_insert(struct table_link **slot, struct table_link *link)
{
	link->next = *slot;
	*slot = link;
}

/* Is there memory for slot n_slots? */
static bool table_has_block(struct table *table)
{
	unsigned block = block_of(table->n_slots);

	if (block == TABLE_BLOCKS_MAX)
		return false;
	if (!table->blocks[block])
		table->blocks[block] = calloc(
			MAX(table->n_slots, (size_t)TABLE_SLOTS_MIN), sizeof **table->blocks);
	return table->blocks[block];
}

/* One slot more, for the half of those links in another that belong there from now on. */
static void table_split(struct table *table)
{
	size_t half = (size_t)1 << log2_of(table->n_slots);
	struct table_link **slot = table_slot(table, table->n_slots - half), *link = *slot;

	*slot = NULL;
	table->n_slots++;
	while (link) {
		struct table_link *next = link->next;

		slot_insert(table_slot_of(table, link->hash), link);
		link = next;
	}
}

static int table_grow(struct table *table)
{
	if (!table_has_block(table))
		return -ENOMEM;
	if (table->n_slots == 0)
		table->n_slots = TABLE_SLOTS_MIN;
	else
		table_split(table);
	return 0;
}

int table_add(struct table *table, struct table_link *link, struct text key)
{
	/* a table that can not grow still works, only slower */
	if (table->n_links >= table->n_slots && table_grow(table) < 0 && table->n_slots == 0)
		return -ENOMEM;
	link->key = key.data;
	link->key_len = (uint32_t)key.len;
	link->hash = table_hash(key);
	slot_insert(table_slot_of(table, link->hash), link);
	table->n_links++;
	return 0;
}

void table_remove(struct table *table, struct table_link *link)
{
	struct table_link **at = table_slot_of(table, link->hash);

	while (*at != link)
		at = &(*at)->next;
	*at = link->next;
	table->n_links--;
}
