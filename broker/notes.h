/* notes.h - what goes to the journal beside records: entries, one behind the other. */
#pragma once

#include <stddef.h>

#include "broker/journal.h"

struct notes {
	char *data; /* owned */
	size_t len, size;
};

/* One more, with a payload of two pieces. -ENOMEM. */
int notes_add(
	struct notes *notes, struct journal_entry entry, struct text payload, struct text rest);

/* The entry at *AT, which moves behind it; *ret_payload is borrowed. False at the end. */
bool notes_next(const struct notes *notes, size_t *at, struct journal_entry *ret_entry,
	const char **ret_payload);

/* Put MORE behind them; then MORE has none. -ENOMEM. */
int notes_join(struct notes *notes, struct notes *more);

/* Only those stay whose kind is one of KINDS, a bit for each enum journal_kind. */
void notes_keep(struct notes *notes, unsigned kinds);

/* Remove the notes of KIND that are about ROOM. */
void notes_drop(struct notes *notes, enum journal_kind kind, uint64_t room);

void notes_clear(struct notes *notes);
