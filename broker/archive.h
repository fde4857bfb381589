/* archive.h - the segments of rooms' logs as files, one for one.
 *
 * "rooms/ID-NUMBER" is a header and then the bytes of a segment as they lie in memory
 * (log.h), of which the catalog says how many are good. They are written without a sync of
 * their own: the checkpoint syncs all, and then the catalog names them. A file that is damaged
 * is kept in "damaged". These functions block.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "broker/log.h"
#include "protocol/limits.h"

#define ARCHIVE_DIR        "rooms"
#define ARCHIVE_DAMAGED    "damaged"
#define ARCHIVE_HEADER_LEN 64
#define ARCHIVE_NAME_MAX   64

/* Whose a room is, for a catalog that has to be made from the files. */
struct archive_people {
	uid_t owner, party[2];
};

/* Write what IMAGE of room ROOM has from byte FROM on. DIR is the state directory. Returns 0 or
 * -errno. */
int archive_write(int dir, uint64_t room, const struct archive_people *people,
	const struct segment_image *image, uint32_t from);

enum {
	ARCHIVE_E_BROKEN = 1, /* missing, or not one record of it is good */
	ARCHIVE_E_FORMAT,     /* of another version */
};

struct archive_damage {
	bool is_any;     /* something of the file is not as it was written */
	uint64_t n_lost; /* records, which are tombstones now (salvage.h) */
};

/* Have the segment back in LOG, which is empty and stays so unless this returns 0. Its records are
 * of TARGET. Returns 0, an outcome or -errno. */
int archive_restore(int dir, uint64_t room, struct text target, const struct segment_image *image,
	struct log *log, struct archive_damage *ret_damage);

/* Replace a damaged file by IMAGE with its data, and keep the damaged file in "damaged". Returns 0,
 * or -errno and all is as it was. */
int archive_repair(int dir, uint64_t room, const struct segment_image *image);

/* Remove the files of the segments from number FROM to number TO. */
void archive_remove(int dir, uint64_t room, uint32_t from, uint32_t to);

/* Put the file of a segment aside. */
void archive_put_aside(int dir, uint64_t room, uint32_t number);

/* Have the file PATH of the state directory in "damaged", under its own name or with a number
 * behind it: somebody may want what is in it. IS_KEPT: it stays where it is, too. Returns 0 or
 * -errno. */
int archive_keep_damaged(int dir, const char *path, bool is_kept);

typedef int archive_file_fn(void *userdata, uint64_t room, uint32_t number);

/* Call FUNCTION for each file of a segment, in no order. Returns 0, -errno, or what it returned
 * other than 0. */
int archive_each(int dir, archive_file_fn *function, void *userdata);

/* The bytes of records that the file of a segment may have, or -errno. */
int64_t archive_len(int dir, uint64_t room, uint32_t number);

/* The contents of a segment file, without the catalog. */
struct archive_survey {
	struct segment_image image; /* of its good records from the start; next == first: none */
	bool has_people;
	struct archive_people people;
	char target[TARGET_LEN_MAX + 1]; /* of its records */
	char *data;                      /* of the image, owned; to be freed */
	uint32_t len;                    /* of all that the file has, good or not */
	uint64_t walked_next; /* number after the last record, if lengths lead to LEN; else 0 */
	bool is_empty;        /* no record was ever written to it */
};

/* Look at a file that the catalog does not know. Returns 0, ARCHIVE_E_BROKEN or ARCHIVE_E_FORMAT
 * with only is_empty filled in, or -errno. */
int archive_survey(int dir, uint64_t room, uint32_t number, struct archive_survey *ret_survey);
