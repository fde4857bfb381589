/* inbox.c - see inbox.h. */
#include "client/inbox.h"

#include <errno.h>
#include <stdlib.h>

#include "client/passed.h"
#include "protocol/base.h"
#include "protocol/record.h"

#define INBOX_ITEMS_MIN 16

int inbox_init(struct inbox *inbox)
{
	inbox->buffer = malloc(PACKET_LEN_MAX + 1);
	return inbox->buffer ? 0 : -ENOMEM;
}

static void item_free(struct item *item)
{
	while (item->n_fds > 0)
		passed_close(item->fds[--item->n_fds]);
	free(item->data);
	*item = (struct item){ 0 };
}

void inbox_deinit(struct inbox *inbox)
{
	while (inbox_take(inbox))
		;
	item_free(&inbox->held);
	free(inbox->items);
	free(inbox->buffer);
	*inbox = (struct inbox){ 0 };
}

void inbox_walk(struct inbox *inbox, const char *packet, size_t len)
{
	inbox->is_single =
		len < BATCH_START_LEN || memcmp(packet, BATCH_START, BATCH_START_LEN) != 0;
	inbox->at = packet + (inbox->is_single ? 0 : BATCH_START_LEN);
	inbox->before = inbox->at;
	inbox->end = packet + len;
}

void inbox_start(struct inbox *inbox, size_t len)
{
	inbox->has_arrived = false;
	inbox_walk(inbox, inbox->buffer, len);
}

int inbox_next(struct inbox *inbox, struct text *ret_frame)
{
	int r;

	inbox->before = inbox->at;
	if (inbox->at >= inbox->end)
		return INBOX_E_END;
	if (inbox->is_single) {
		*ret_frame = (struct text){ inbox->at, (size_t)(inbox->end - inbox->at) };
		inbox->at = inbox->end;
		return 0;
	}
	r = record_next(&inbox->at, inbox->end, ret_frame);
	return r ? INBOX_E_BROKEN : 0;
}

void inbox_again(struct inbox *inbox)
{
	inbox->at = inbox->before;
}

void inbox_discard(struct inbox *inbox)
{
	inbox->at = inbox->before = inbox->end;
}

static struct item *inbox_item(struct inbox *inbox, size_t index)
{
	return &inbox->items[(inbox->first + index) & (inbox->size - 1)];
}

/* The item that is BACK from the newest; NULL when there are not so many. */
static struct item *inbox_newest(struct inbox *inbox, size_t back)
{
	return inbox->n_items > back ? inbox_item(inbox, inbox->n_items - 1 - back) : NULL;
}

static int inbox_grow(struct inbox *inbox)
{
	size_t size = inbox->size ? inbox->size * 2 : INBOX_ITEMS_MIN;
	struct item *items = malloc(size * sizeof *items);

	if (!items)
		return -ENOMEM;
	for (size_t i = 0; i < inbox->n_items; i++)
		items[i] = *inbox_item(inbox, i);
	free(inbox->items);
	inbox->items = items;
	inbox->first = 0;
	inbox->size = size;
	return 0;
}

/* A new item with LEN bytes of data to be filled in. */
static int inbox_add(struct inbox *inbox, enum item_kind kind, size_t len, struct item **ret_item)
{
	struct item *item;
	char *data;
	int r;

	if (inbox->n_items == inbox->size) {
		r = inbox_grow(inbox);
		if (r)
			return r;
	}
	data = malloc(len + 1);
	if (!data)
		return -ENOMEM;
	item = inbox_item(inbox, inbox->n_items++);
	*item = (struct item){ .kind = kind, .len = len, .data = data };
	inbox->stored_len += len + sizeof *item;
	*ret_item = item;
	return 0;
}

int inbox_store_beyond(struct inbox *inbox, const char *packet, size_t len)
{
	struct item *item;
	int r;

	if (inbox->stored_len + len > 2 * INBOX_LEN_MAX)
		return INBOX_E_DROPPED;
	r = inbox_add(inbox, ITEM_PACKET, len, &item);
	if (r)
		return r;
	memcpy(item->data, packet, len);
	return 0;
}

void inbox_hold_fds(struct inbox *inbox, const int *fds, size_t n_fds)
{
	item_free(&inbox->held);
	memcpy(inbox->held.fds, fds, n_fds * sizeof *fds);
	inbox->held.n_fds = n_fds;
}

void inbox_attach(struct inbox *inbox, const int *fds, size_t n_fds)
{
	struct item *item = inbox_newest(inbox, 0);

	if (inbox->n_fds + n_fds > INBOX_FDS_MAX) {
		for (size_t i = 0; i < n_fds; i++)
			passed_close(fds[i]);
		return;
	}
	memcpy(item->fds, fds, n_fds * sizeof *fds);
	item->n_fds = n_fds;
	inbox->n_fds += n_fds;
}

int inbox_store(struct inbox *inbox, const char *packet, size_t len)
{
	int r;

	if (inbox->stored_len + len > INBOX_LEN_MAX)
		inbox->is_dropping = true;
	if (inbox->is_dropping)
		return INBOX_E_DROPPED;
	r = inbox_store_beyond(inbox, packet, len);
	if (r)
		inbox->is_dropping = true;
	return r;
}

/* A connection that came and went again while nobody looked is not told, but it
 * stays as a mark: the cursors have to be resumed there. A broker that flaps adds
 * no items of this kind without end. */
static bool inbox_fold_up(struct inbox *inbox)
{
	struct item *newest = inbox_newest(inbox, 0), *before = inbox_newest(inbox, 1);

	if (!newest || newest->kind != ITEM_UP)
		return false;
	if (before && before->kind == ITEM_DOWN) {
		inbox->stored_len -= newest->len + sizeof *newest;
		free(newest->data);
		inbox->n_items--;
	} else {
		newest->kind = ITEM_DOWN;
		newest->is_quiet = true;
		inbox->n_downs++;
	}
	return true;
}

int inbox_store_down(struct inbox *inbox, const char *code, const char *text, bool is_ended)
{
	size_t code_len = strlen(code), text_len = strlen(text);
	struct item *item;
	int r;

	if (inbox_fold_up(inbox) && !is_ended)
		return 0;
	r = inbox_add(inbox, ITEM_DOWN, code_len + text_len + 2, &item);
	if (r)
		return r;
	inbox->n_downs++;
	item->code_len = code_len;
	item->is_ended = is_ended;
	memcpy(item->data, code, code_len + 1);
	memcpy(item->data + code_len + 1, text, text_len + 1);
	return 0;
}

int inbox_store_up(struct inbox *inbox)
{
	struct item *item;

	return inbox_add(inbox, ITEM_UP, 0, &item);
}

bool inbox_take(struct inbox *inbox)
{
	item_free(&inbox->held);
	if (inbox->n_items == 0)
		return false;
	inbox->held = *inbox_item(inbox, 0);
	inbox->first = (inbox->first + 1) & (inbox->size - 1);
	inbox->n_items--;
	inbox->stored_len -= inbox->held.len + sizeof(struct item);
	inbox->n_downs -= inbox->held.kind == ITEM_DOWN;
	inbox->n_fds -= inbox->held.n_fds;
	if (inbox->held.kind == ITEM_PACKET) {
		inbox->has_arrived = true;
		inbox_walk(inbox, inbox->held.data, inbox->held.len);
	}
	return true;
}
