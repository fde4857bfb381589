/* list.h - intrusive doubly linked lists. A link is in at most one list; a link
 * that is in none points at itself, so unlinking is always allowed. */
#pragma once

#include <stdbool.h>

#include "protocol/base.h"

struct list {
	struct list *prev, *next;
};

static inline void list_init(struct list *list)
{
	list->prev = list->next = list;
}

static inline bool list_is_empty(const struct list *list)
{
	return list->next == list;
}

static inline bool list_is_linked(const struct list *link)
{
	return link->next != link;
}

static inline void list_append(struct list *list, struct list *link)
{
	link->prev = list->prev;
	link->next = list;
	list->prev->next = link;
	list->prev = link;
}

static inline void list_unlink(struct list *link)
{
	link->prev->next = link->next;
	link->next->prev = link->prev;
	list_init(link);
}

static inline struct list *list_first(const struct list *list)
{
	return list->next == list ? NULL : list->next;
}

/* Take all items of FROM over; LIST is empty before, FROM is afterwards. */
static inline void list_take(struct list *list, struct list *from)
{
	list_append(from, list); /* between the last and the head, which then leaves */
	list_unlink(from);
}

/* The current item may be unlinked and freed inside the loop. */
#define list_for_each(item, head)                                                                  \
	for (struct list *item = (head)->next, *item##_next = item->next; item != (head);          \
		item = item##_next, item##_next = item->next)
