/* sealed.h - memory that one process writes and others map to read.
 *
 * A memfd that is there as a whole, can neither shrink nor grow, and that nobody but the
 * mapping of who made it can write to, not even through the descriptor that is passed on:
 * chat-ring(7), section DESCRIPTORS. So no store or load on it can fail.
 */
#pragma once

#include <stddef.h>
#include <sys/types.h>

struct sealed {
	void *at; /* NULL: nothing is mapped. Read-only, unless it was made here */
	size_t len;
	int fd; /* opened for reading only; -1 when there is none */
};

#define SEALED_NONE ((struct sealed){ .fd = -1 })

/* Make LEN bytes of zeros, that this process alone can write. NAME is for people, see
 * memfd_create(2). Errors: -ENOTSUP the kernel is older than Linux 5.1; -EFBIG the process may
 * not have a file of this size, see setrlimit(2); -ENOMEM, -EMFILE and others of memfd_create(2),
 * fallocate(2), mmap(2) and open(2) of /proc/self/fd. */
int sealed_create(struct sealed *ret_sealed, const char *name, size_t len);

/* Map what was passed by another process, after a look at it. FD is consumed on success.
 * Errors: -EPERM it is not sealed like this, or can be written to; -EOWNERDEAD it does not
 * belong to OWNER; -EFBIG it has not between LEN_MIN and LEN_MAX bytes, or holds more memory than
 * that; -ENODATA not all of it is there; others of fstat(2) and mmap(2). */
int sealed_map(struct sealed *ret_sealed, int fd, uid_t owner, size_t len_min, size_t len_max);

/* Have all of its pages mapped before they are needed, where the kernel can (Linux 5.14). */
void sealed_populate(const struct sealed *sealed);

/* Unmap and close. Takes SEALED_NONE. */
void sealed_close(struct sealed *sealed);

/* Close the descriptor only: nobody else is to have it. */
void sealed_close_fd(struct sealed *sealed);
