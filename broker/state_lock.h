/* state_lock.h - one broker at a time uses a state directory, on whichever host it runs.
 *
 * An OFD lock (fcntl(2)) on the file "lock" in the directory, which is kept open: a network file
 * system hands it to its server, so it excludes other hosts. A flock(2) of a directory does not
 * leave its host. The directory is locked, too: that holds where somebody removes the file.
 * chat-broker(8), section STORAGE.
 */
#pragma once

#include <stdbool.h>

struct state_lock {
	int dir;  /* the directory; -1: it is not open */
	int file; /* -1: there is none */
};

#define STATE_LOCK_NAME    "lock"
#define STATE_LOCK_WHY_MAX 512

enum {
	STATE_LOCK_E_HELD = 1, /* a broker has it */
	STATE_LOCK_E_FOREIGN,  /* the directory is another user's, or others may write to it */
};

/* Make the directory PATH if need be, have it and what is in it with modes 0700 and 0600, and lock
 * it. IS_INSPECTED: nothing is made or changed, and others may inspect it as well. Returns 0, an
 * outcome or -errno, both with WHY filled in. state_lock_release() is due in any case. */
int state_lock_take(struct state_lock *lock, const char *path, bool is_inspected,
	char why[static STATE_LOCK_WHY_MAX]);
void state_lock_release(struct state_lock *lock);

/* "NFS", if the directory is on a network file system of that name; or NULL. */
const char *state_lock_network(const struct state_lock *lock);
