/* passed.h - descriptors that the broker passed, and how they are closed.
 *
 * The last close of a file can wait in the kernel for as long as its owner chose: of a TCP
 * socket with SO_LINGER and unsent data, of a file on FUSE or NFS. A program must not wait
 * for that. Only an eventfd and sealed memory are closed at once, which cannot wait; every
 * other kind is of no use here and goes to a detached thread, which ends with the close.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Is FD of a kind that the protocol passes: an eventfd, or a memfd? Asks nothing of the
 * file's owner. */
bool passed_is_expected(int fd);

/* Close FD without waiting for anybody. Takes -1. */
void passed_close(int fd);

/* Close N_FDS descriptors of any kind, on a thread. Returns false when no thread can be made, or
 * too many threads still wait. Then the descriptors stay open, because a lost descriptor does less
 * harm than a program that stands still. */
bool passed_close_any(const int *fds, size_t n_fds);
