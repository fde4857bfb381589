/* cursor.c - see cursor.h. Found by target through chained buckets and by tag
 * through a slot that stays its own, so ten thousand cost no more than one. */
#include "client/cursor.h"

#include <errno.h>
#include <stdlib.h>

#include "protocol/base.h"
#include "protocol/number.h"

#define CURSORS_SIZE_MIN 16
#define CURSORS_MAX      (1u << 20) /* a tag has 24 bits for the slot */
#define SERIAL_BITS      36

static void cursor_free(struct cursor *cursor)
{
	seen_deinit(&cursor->seen);
	free(cursor);
}

void cursors_deinit(struct cursors *cursors)
{
	struct cursor *cursor;

	for (uint32_t at = 0; (cursor = cursors_next(cursors, &at));)
		cursor_free(cursor);
	free(cursors->slots);
	free(cursors->buckets);
	*cursors = (struct cursors){ 0 };
}

static struct cursor **cursors_bucket(const struct cursors *cursors, struct text target)
{
	uint32_t hash = 2166136261u; /* FNV-1a: the names are chosen by this program */

	for (size_t i = 0; i < target.len; i++)
		hash = (hash ^ (unsigned char)target.data[i]) * 16777619u;
	return &cursors->buckets[(hash ^ hash >> 16) & (cursors->size - 1)];
}

static bool cursor_is(const struct cursor *cursor, struct text target)
{
	return cursor->target_len == target.len &&
	       memcmp(cursor->target, target.data, target.len) == 0;
}

struct cursor *cursors_find(struct cursors *cursors, struct text target)
{
	struct cursor *cursor = cursors->last;

	if (cursor && cursor_is(cursor, target))
		return cursor;
	if (cursors->n_cursors == 0)
		return NULL;
	for (cursor = *cursors_bucket(cursors, target); cursor; cursor = cursor->chain) {
		if (cursor_is(cursor, target)) {
			cursors->last = cursor;
			return cursor;
		}
	}
	return NULL;
}

static void cursors_link(struct cursors *cursors, struct cursor *cursor)
{
	struct cursor **bucket =
		cursors_bucket(cursors, (struct text){ cursor->target, cursor->target_len });

	cursor->chain = *bucket;
	*bucket = cursor;
}

static int cursors_grow(struct cursors *cursors)
{
	uint32_t size = cursors->size ? cursors->size * 2 : CURSORS_SIZE_MIN;
	struct cursor_slot *slots;
	struct cursor **buckets, *cursor;

	if (size > CURSORS_MAX)
		return -ENOSPC;
	slots = realloc(cursors->slots, size * sizeof *slots);
	if (!slots)
		return -ENOMEM;
	cursors->slots = slots;
	buckets = calloc(size, sizeof(struct cursor *));
	if (!buckets)
		return -ENOMEM;
	free(cursors->buckets);
	cursors->buckets = buckets;
	cursors->size = size;
	for (uint32_t at = 0; (cursor = cursors_next(cursors, &at));)
		cursors_link(cursors, cursor);
	return 0;
}

int cursors_add(
	struct cursors *cursors, struct text target, struct text shown, struct cursor **ret_cursor)
{
	struct cursor *cursor;
	uint32_t slot;
	int r;

	if (cursors->free_first == 0 && cursors->n_slots == cursors->size) {
		r = cursors_grow(cursors);
		if (r)
			return r;
	}
	cursor = calloc(1, sizeof *cursor);
	if (!cursor)
		return -ENOMEM;
	memcpy(cursor->target, target.data, target.len);
	cursor->target_len = target.len;
	memcpy(cursor->shown, shown.data, shown.len);
	if (cursors->free_first) {
		slot = cursors->free_first - 1;
		cursors->free_first = cursors->slots[slot].next_free;
	} else {
		slot = cursors->n_slots++;
	}
	cursors->slots[slot].cursor = cursor;
	cursor->slot = slot;
	cursors_link(cursors, cursor);
	cursors->n_cursors++;
	*ret_cursor = cursor;
	return 0;
}

void cursors_remove(struct cursors *cursors, struct cursor *cursor)
{
	struct cursor **at =
		cursors_bucket(cursors, (struct text){ cursor->target, cursor->target_len });

	while (*at != cursor)
		at = &(*at)->chain;
	*at = cursor->chain;
	cursors->slots[cursor->slot] = (struct cursor_slot){ .next_free = cursors->free_first };
	cursors->free_first = cursor->slot + 1;
	cursors->n_cursors--;
	if (cursors->last == cursor)
		cursors->last = NULL;
	cursor_free(cursor);
}

struct cursor *cursors_next(const struct cursors *cursors, uint32_t *at)
{
	while (*at < cursors->n_slots) {
		struct cursor *cursor = cursors->slots[(*at)++].cursor;

		if (cursor)
			return cursor;
	}
	return NULL;
}

/* "j" and 15 hexadecimal digits: 24 bits of slot, 36 bits of serial. */
void cursor_put_tag(const struct cursor *cursor, uint64_t serial, char *dst)
{
	number_put_hex(dst, (uint64_t)cursor->slot << SERIAL_BITS | serial);
	dst[0] = 'j';
}

struct cursor *cursors_find_tag(
	const struct cursors *cursors, struct text tag, uint64_t *ret_serial)
{
	struct cursor *cursor;
	uint64_t value, slot, serial;

	if (tag.len != CURSOR_TAG_LEN || tag.data[0] != 'j' ||
		!number_parse_hex((struct text){ tag.data + 1, tag.len - 1 }, &value))
		return NULL;
	slot = value >> SERIAL_BITS;
	serial = value & (((uint64_t)1 << SERIAL_BITS) - 1);
	if (slot >= cursors->n_slots)
		return NULL;
	cursor = cursors->slots[slot].cursor;
	if (!cursor || serial < cursor->serial_first || serial > cursor->serial_last)
		return NULL;
	*ret_serial = serial;
	return cursor;
}

void cursor_arrive(struct cursor *cursor, uint64_t next, uint64_t log)
{
	cursor->arrived_next = next;
	cursor->arrived_log = log;
	cursor->n_arrived++;
	cursor->is_deleted = false;
	if (!cursor->awaits_join)
		cursor->has_moved = true;
	if (cursor->state == CURSOR_ASKED)
		cursor->state = CURSOR_PLANNED;
}

void cursor_settle(struct cursor *cursor, bool all)
{
	if (all)
		cursor->n_arrived = cursor->n_unparked = 0;
	else if (cursor->n_arrived > 0)
		cursor->n_arrived--;
	if (cursor->n_arrived == 0)
		cursor->has_moved = false;
}

void cursor_resume_point(const struct cursor *cursor, uint64_t *ret_next, uint64_t *ret_log)
{
	bool arrived = cursor->n_arrived > 0;

	*ret_next = arrived ? cursor->arrived_next : cursor->next;
	*ret_log = arrived ? cursor->arrived_log : cursor->log;
}
