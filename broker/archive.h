/* archive.h - the segments of rooms' logs as files, one for one.
 *
 * "rooms/ID-NUMBER" is a header and then the bytes of a segment as they lie in memory
 * (log.h), of which the catalog says how many are good. They are written without a sync of
 * their own: the checkpoint syncs all, and then the catalog names them. These functions block.
 */
#pragma once

#include <stdint.h>

#include "broker/log.h"

#define ARCHIVE_DIR        "rooms"
#define ARCHIVE_DAMAGED    "damaged"
#define ARCHIVE_HEADER_LEN 64

/* Write what SEGMENT of room ROOM has from byte FROM on. DIR is the state directory. Returns 0 or
 * -errno. */
int archive_write(int dir, uint64_t room, const struct segment_image *image, uint32_t from);

enum {
	ARCHIVE_E_BROKEN = 1, /* missing, short, or not the file of this segment */
	ARCHIVE_E_FORMAT,     /* of another version */
};

/* Read its USED bytes to DATA. Returns 0, an outcome or -errno. */
int archive_read(int dir, uint64_t room, const struct segment_image *image, char *data);

/* Have the segment back, each record as it was written, in LOG, which is empty and stays so unless
 * this returns 0. As archive_read(), or -ENOMEM. */
int archive_restore(int dir, uint64_t room, const struct segment_image *image, struct log *log);

/* Remove the files of the segments from number FROM to number TO. */
void archive_remove(int dir, uint64_t room, uint32_t from, uint32_t to);

/* Put a file that can not be read aside, into "damaged": somebody may want what is in it. */
void archive_put_aside(int dir, uint64_t room, uint32_t number);

typedef bool archive_is_known_fn(void *userdata, uint64_t room, uint32_t number);

/* Remove the files that IS_KNOWN does not know: those of a checkpoint that was not finished.
 * Returns how many, or -errno. */
int archive_clean(int dir, archive_is_known_fn *is_known, void *userdata);
