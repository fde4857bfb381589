/* journal.h - the one file that is synced before anybody is answered.
 *
 * The broker appends everything that is to be stored here and syncs it; a checkpoint brings
 * it to its place later. A directory has a chain of such files. Each names the file before it
 * and how much of that is good, so what could not be synced is void once there is a next one.
 *
 *	header | mark entry ... entry | mark entry ... | zeros
 *
 * The CRC of an entry starts from the salt of its file. Each write begins with a mark, which
 * proves that all before it was synced: journal_reader.h. No text of a user can be taken for
 * an entry or a mark. chat-broker(8), section STORAGE.
 *
 * These functions block.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "protocol/text.h"

/* Little-endian, as all of the file. The first sector has it twice, at 0 and at
 * JOURNAL_HEADER_COPY: damage to one leaves the other. */
struct journal_header {
	char magic[8];
	uint64_t generation;          /* counts up over all files; its name */
	uint64_t salt;                /* random */
	uint64_t previous_generation; /* of the file that this one follows; 0: none */
	uint64_t previous_len;        /* how much of it is good */
	uint32_t reserved;
	uint32_t crc; /* of what is before it */
};
#define JOURNAL_HEADER_LEN  512
#define JOURNAL_HEADER_COPY 256

#define JOURNAL_MAGIC_START "chatjr"
#define JOURNAL_MAGIC       JOURNAL_MAGIC_START "02"
/* Without marks, and with one copy of the header; it is still read. */
#define JOURNAL_MAGIC_BEFORE JOURNAL_MAGIC_START "01"

/* "journal-" and the generation as sixteen hexadecimal digits. */
#define JOURNAL_NAME_MAX 32

enum journal_kind {
	JOURNAL_ROOM = 1, /* a room: see stored.h for the payload of each */
	JOURNAL_RECORDS,  /* UID records of a log, from SEQ on */
	JOURNAL_MARK,     /* a user has read a room up to SEQ */
	JOURNAL_GONE,     /* the room is not there any more */
	JOURNAL_NAME,     /* the payload is a name that a user has taken; of (uid_t)-1, nobody's */
	JOURNAL_VALUE,    /* a room has a value under a key, or none */
	JOURNAL_BATCH,    /* the mark before what one write appends; ROOM is journal_mark() */
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

/* Make the file that follows now, in DIR, without keeping it open. Returns 0 or -errno. */
int journal_create(struct journal *journal, int dir);

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

/* ---- the format, for who reads it ---- */

void journal_name(uint64_t generation, char name[static JOURNAL_NAME_MAX]);

/* The generations that have a file, ascending. The caller frees them. Returns 0 or -errno. */
int journal_list(int dir, uint64_t **ret_generations, size_t *ret_n);

uint32_t journal_header_crc(const struct journal_header *header);
uint32_t journal_entry_crc(uint64_t salt, const struct journal_entry *entry, const void *payload);

/* The ROOM of the mark at byte AT of a file: a keyed hash, which only a user who can read the file
 * can compute. */
uint64_t journal_mark(uint64_t generation, uint64_t salt, uint64_t at);

/* The bytes that an entry with LEN bytes of payload takes. */
static inline uint64_t journal_entry_size(uint32_t len)
{
	return sizeof(struct journal_entry) + (((uint64_t)len + 7) & ~UINT64_C(7));
}
