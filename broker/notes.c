/* notes.c - see notes.h. */
#include "broker/notes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/base.h"

static size_t entry_size(size_t payload_len)
{
	return sizeof(struct journal_entry) + ((payload_len + 7) & ~(size_t)7);
}

/* -ENOMEM, and they are as they were. */
static int notes_make_room(struct notes *notes, size_t len)
{
	size_t size = MAX(notes->size * 2, notes->len + len + 1024);
	char *data;

	if (notes->size - notes->len >= len)
		return 0;
	data = realloc(notes->data, size);
	if (!data)
		return -ENOMEM;
	notes->data = data;
	notes->size = size;
	return 0;
}

int notes_add(
	struct notes *notes, struct journal_entry entry, struct text payload, struct text rest)
{
	size_t size = entry_size(payload.len + rest.len);
	char *at;

	if (notes_make_room(notes, size) < 0)
		return -ENOMEM;
	entry.len = (uint32_t)(payload.len + rest.len);
	at = notes->data + notes->len;
	memcpy(at, &entry, sizeof entry);
	memcpy(at + sizeof entry, payload.data, payload.len);
	memcpy(at + sizeof entry + payload.len, rest.data, rest.len);
	notes->len += size;
	return 0;
}

bool notes_next(const struct notes *notes, size_t *at, struct journal_entry *ret_entry,
	const char **ret_payload)
{
	if (*at == notes->len)
		return false;
	memcpy(ret_entry, notes->data + *at, sizeof *ret_entry);
	*ret_payload = notes->data + *at + sizeof *ret_entry;
	*at += entry_size(ret_entry->len);
	return true;
}

int notes_join(struct notes *notes, struct notes *more)
{
	if (notes->len == 0) {
		notes_clear(notes);
		*notes = *more;
		*more = (struct notes){ NULL, 0, 0 };
		return 0;
	}
	if (notes_make_room(notes, more->len) < 0)
		return -ENOMEM;
	if (more->len > 0)
		memcpy(notes->data + notes->len, more->data, more->len);
	notes->len += more->len;
	notes_clear(more);
	return 0;
}

void notes_keep(struct notes *notes, unsigned kinds)
{
	struct journal_entry entry;
	const char *payload;
	size_t at = 0, before = 0, kept = 0;

	while (notes_next(notes, &at, &entry, &payload)) {
		if (kinds & 1u << entry.kind) {
			memmove(notes->data + kept, notes->data + before, at - before);
			kept += at - before;
		}
		before = at;
	}
	notes->len = kept;
}

void notes_drop(struct notes *notes, enum journal_kind kind, uint64_t room)
{
	struct journal_entry entry;
	const char *payload;
	size_t at = 0, before = 0, kept = 0;

	while (notes_next(notes, &at, &entry, &payload)) {
		if (entry.kind != kind || entry.room != room) {
			memmove(notes->data + kept, notes->data + before, at - before);
			kept += at - before;
		}
		before = at;
	}
	notes->len = kept;
}

void notes_clear(struct notes *notes)
{
	free(notes->data);
	*notes = (struct notes){ NULL, 0, 0 };
}
