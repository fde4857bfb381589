/* table.h - an intrusive hash table, keyed by bytes.
 *
 * Keys come from outside, so they are hashed with SipHash under a secret of the
 * process: nobody can choose keys that collide. The owner of an object embeds a
 * struct table_link and keeps the key bytes alive.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/base.h"
#include "protocol/text.h"

/* There are many: 24 bytes. */
struct table_link {
	struct table_link *next;
	const char *key; /* borrowed */
	uint32_t key_len;
	uint32_t hash; /* enough for TABLE_SLOTS_MIN << TABLE_BLOCKS_MAX slots and one bit more */
};

static inline struct text table_key(const struct table_link *link)
{
	return (struct text){ link->key, link->key_len };
}

/* Slots are allocated in blocks, each as large as all before it together, and never move. */
#define TABLE_SLOTS_MIN  8
#define TABLE_BLOCKS_MAX 28

struct table {
	struct table_link **blocks[TABLE_BLOCKS_MAX];
	size_t n_slots;
	size_t n_links;
};

/* Start empty; allocates nothing. */
static inline void table_init(struct table *table)
{
	*table = (struct table){ 0 };
}

/* Free the slots. The table must be empty. */
void table_deinit(struct table *table);

/* The link with this key, or NULL. */
struct table_link *table_find(const struct table *table, struct text key);

/* Add a link under KEY, which is not in the table. KEY is borrowed until the link
 * is removed. Returns 0 or -ENOMEM. */
int table_add(struct table *table, struct table_link *link, struct text key);

/* Remove a link that is in the table. */
void table_remove(struct table *table, struct table_link *link);

/* The first link in slot SLOT, of n_slots; table_link.next leads to the others. To walk a
 * table that does not grow meanwhile. */
struct table_link *table_at(const struct table *table, size_t slot);
