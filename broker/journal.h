/* journal.h - the one file that is synced before anybody is answered.
 *
 * What is to be stored, of all rooms, is appended here and synced; where it belongs it is
 * written later, without haste. A directory has a chain of such files: each names the one
 * that it follows and how much of that is good, so what could not be synced is void once
 * there is a next one. An entry has a CRC that starts from the salt of its file; what is
 * read ends at the first that does not fit, and nothing is looked for behind it: no text
 * that somebody said can be taken for an entry. chat-broker(8), section STORAGE.
 *
 * These functions block; only journal_entry_init() does not.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "protocol/text.h"

/* A file's first sector, little-endian as all of it. */
struct journal_header {
	char magic[8];
	uint64_t generation;          /* counts up over all files; its name */
	uint64_t salt;                /* random */
	uint64_t previous_generation; /* of the file that this one follows; 0: none */
	uint64_t previous_len;        /* how much of it is good */
	uint32_t reserved;
	uint32_t crc; /* of what is before it */
};
#define JOURNAL_HEADER_LEN 512

enum journal_kind {
	JOURNAL_ROOM = 1, /* a room: see stored.h for the payload of each */
	JOURNAL_RECORDS,  /* records of a room's log, from SEQ on */
	JOURNAL_MARK,     /* a user has read a room up to SEQ */
	JOURNAL_GONE,     /* the room is not there any more */
	JOURNAL_NAME,     /* the payload is a name that a user has taken; of (uid_t)-1, nobody's */
	JOURNAL_VALUE,    /* a room has a value under a key, or none */
	JOURNAL_KINDS,
};

/* Before LEN bytes of payload and zeros up to 8. */
struct journal_entry {
	uint32_t len;
	uint32_t crc; /* of the salt, LEN, what follows, and the payload */
	uint32_t kind;
	uint32_t uid;
	uint64_t room; /* the identity of the log */
	uint64_t seq;
};

_Static_assert(sizeof(struct journal_header) == 48, "it is a format");
_Static_assert(sizeof(struct journal_entry) == 32, "it is a format");

/* A payload is not larger; a slice of a log is cut to it. */
#define JOURNAL_ENTRY_MAX (1u << 20)

/* One that is open for writing. Owned by one thread. */
struct journal {
	int dir; /* borrowed */
	int fd;  /* -1: none; the next write makes one */
	uint64_t generation, salt;
	uint64_t len;       /* of what is synced */
	uint64_t max_bytes; /* what is preallocated of each file */
};

/* The file that follows PREVIOUS, of which LEN bytes are good (0, 0: none does); nothing is
 * made yet. DIR is borrowed. */
void journal_init(struct journal *journal, int dir, uint64_t previous, uint64_t len);
void journal_close(struct journal *journal);

/* An entry to be written, with N bytes of payload. */
struct journal_part {
	struct journal_entry entry;
	const void *payload; /* borrowed until it is written */
};

/* Append these entries and sync them, in a new file with IS_NEW, or when there is none. When that
 * fails the file is not trusted any more, and once a new one is tried. Returns 0 or
 * -errno: then none of them is stored, unless the broker dies before the next success. */
int journal_write(struct journal *journal, struct journal_part *parts, size_t n_parts, bool is_new);

/* Remove the files before GENERATION. */
void journal_remove_before(int dir, uint64_t generation);

typedef int journal_replay_fn(
	void *userdata, const struct journal_entry *entry, const char *payload);

struct journal_replayed {
	uint64_t generation, len; /* of the last file, and how much of it is good */
	uint64_t n_entries, n_bytes;
	uint64_t n_files;
};

enum {
	JOURNAL_E_FORMAT = 1, /* a file is of a later version; WHY names it */
	JOURNAL_E_BROKEN,     /* a file of the chain is missing, or damaged before its end */
};

#define JOURNAL_WHY_MAX 256

/* Give the entries of the files from GENERATION on to FUNCTION, in their order. Returns
 * 0, an outcome with WHY filled in, -errno, or what FUNCTION returned other than 0. */
int journal_replay(int dir, uint64_t generation, journal_replay_fn *function, void *userdata,
	struct journal_replayed *ret_replayed, char why[static JOURNAL_WHY_MAX]);
