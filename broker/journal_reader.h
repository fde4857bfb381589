/* journal_reader.h - what the journal has, after a kill, a power cut, or damage.
 *
 * The last write may be torn: the broker told nobody that it was stored, so the reader passes
 * over it. A mark proves that everything before it was synced. So what does not fit and has a
 * mark after it is damage: the reader reports it, and goes on with the next entry that fits.
 * chat-broker(8), section STORAGE.
 *
 * These functions block.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker/journal.h"

/* Bytes of a file that do not fit. */
struct journal_damage {
	uint64_t generation;
	uint64_t at, len; /* the whole file: 0, and its length */
};

/* Each returns 0, or what the reading is to end with. PAYLOAD is borrowed for the call. */
struct journal_reader {
	int (*entry)(void *userdata, const struct journal_entry *entry, const char *payload);
	/* One entry that does not fit, but has its place: its header may be wrong as well. */
	int (*damaged_entry)(
		void *userdata, const struct journal_entry *entry, const char *payload);
	/* Told before what is left of it. */
	int (*damage)(void *userdata, const struct journal_damage *damage);
};

struct journal_replayed {
	uint64_t generation, len; /* of the last file, and how much of it is good */
	uint64_t n_entries, n_bytes;
	uint64_t n_files;
	uint64_t torn_len; /* of the last write, which was not finished */
};

enum {
	JOURNAL_E_FORMAT = 1, /* a file is of a later version; WHY names it */
	JOURNAL_E_MISSING,    /* a file of the chain is not there; WHY names it */
};

#define JOURNAL_WHY_MAX 256

enum journal_expect {
	JOURNAL_ANY,      /* there may be no file; if there are some, the first is one of them */
	JOURNAL_SOME,     /* the first file is there, and was finished */
	JOURNAL_WHATEVER, /* a file that is not there is damage */
};

/* Give the entries of the files from GENERATION on to READER, in their order. Nothing is changed.
 * Returns 0, an outcome with WHY filled in, -errno, or what READER returned other than 0. */
int journal_read(int dir, uint64_t generation, enum journal_expect expect,
	const struct journal_reader *reader, void *userdata, struct journal_replayed *ret_replayed,
	char why[static JOURNAL_WHY_MAX]);
