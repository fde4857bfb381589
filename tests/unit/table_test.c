/* table_test.c - the hash table against a plain array, and lists. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "broker/list.h"
#include "broker/table.h"

#define ITEMS_MAX 5000

struct item {
	struct table_link link;
	char key[16];
	size_t len;
	bool is_in;
};

static struct item items[ITEMS_MAX];

static void items_init(void)
{
	for (size_t i = 0; i < ITEMS_MAX; i++) {
		items[i] = (struct item){ 0 };
		/* keys with NULs and of many lengths; each is a prefix of others */
		items[i].len = (size_t)sprintf(items[i].key, "%zu", i);
		if (i % 3 == 0)
			items[i].key[items[i].len++] = '\0';
	}
}

static struct text item_key(const struct item *item)
{
	return (struct text){ item->key, item->len };
}

/* How many are met, slot by slot, each in its own. */
static size_t walk(const struct table *table)
{
	size_t n = 0;

	for (size_t i = 0; i < table->n_slots; i++)
		for (struct table_link *link = table_at(table, i); link; link = link->next)
			n++;
	return n;
}

static void expect_items(const struct table *table)
{
	size_t n = 0;

	for (size_t i = 0; i < ITEMS_MAX; i++) {
		struct table_link *link = table_find(table, item_key(&items[i]));

		assert_ptr_equal(link, items[i].is_in ? &items[i].link : NULL);
		n += items[i].is_in;
	}
	assert_int_equal(table->n_links, n);
	assert_int_equal(walk(table), n);
}

static void test_empty(void **state)
{
	struct table table;

	table_init(&table);
	assert_null(table_find(&table, TEXT("")));
	assert_null(table_find(&table, TEXT("a")));
	table_deinit(&table);
	table_deinit(&table);
}

static void test_add_and_remove(void **state)
{
	struct table table;
	uint32_t random = 1;

	items_init();
	table_init(&table);
	for (size_t i = 0; i < ITEMS_MAX; i++) {
		assert_int_equal(table_add(&table, &items[i].link, item_key(&items[i])), 0);
		items[i].is_in = true;
		/* there are slots for all, and no more than need be */
		assert_int_equal(table.n_slots, MAX(i + 1, (size_t)TABLE_SLOTS_MIN));
		if (i < 100 || i == 1023 || i == 1024 || i == 1025)
			expect_items(&table);
	}
	expect_items(&table);
	for (int step = 0; step < 20000; step++) {
		struct item *item;

		random = random * 1664525 + 1013904223;
		item = &items[(random >> 8) % ITEMS_MAX];
		if (item->is_in)
			table_remove(&table, &item->link);
		else
			assert_int_equal(table_add(&table, &item->link, item_key(item)), 0);
		item->is_in = !item->is_in;
	}
	expect_items(&table);
	for (size_t i = 0; i < ITEMS_MAX; i++)
		if (items[i].is_in) {
			table_remove(&table, &items[i].link);
			items[i].is_in = false;
		}
	expect_items(&table);
	table_deinit(&table);
}

static void test_empty_key(void **state)
{
	struct table_link link;
	struct table table;

	table_init(&table);
	assert_int_equal(table_add(&table, &link, TEXT("")), 0);
	assert_ptr_equal(table_find(&table, TEXT("")), &link);
	assert_null(table_find(&table, (struct text){ "", 1 }));
	table_remove(&table, &link);
	assert_null(table_find(&table, TEXT("")));
	table_deinit(&table);
}

static size_t list_len(struct list *list)
{
	size_t n = 0;

	list_for_each (link, list)
		n++;
	return n;
}

static void test_list(void **state)
{
	struct list list, links[5];
	size_t i = 0;

	list_init(&list);
	assert_true(list_is_empty(&list));
	assert_null(list_first(&list));
	for (i = 0; i < ARRAY_LEN(links); i++) {
		list_init(&links[i]);
		assert_false(list_is_linked(&links[i]));
		list_append(&list, &links[i]);
		assert_true(list_is_linked(&links[i]));
	}
	i = 0;
	list_for_each (link, &list)
		assert_ptr_equal(link, &links[i++]);
	assert_int_equal(i, ARRAY_LEN(links));

	list_unlink(&links[2]);
	list_unlink(&links[2]); /* always allowed */
	assert_false(list_is_linked(&links[2]));
	assert_int_equal(list_len(&list), 4);
	assert_ptr_equal(list_first(&list), &links[0]);
	/* the item at hand may go */
	list_for_each (link, &list)
		list_unlink(link);
	assert_true(list_is_empty(&list));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_add_and_remove),
		cmocka_unit_test(test_empty_key),
		cmocka_unit_test(test_list),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
