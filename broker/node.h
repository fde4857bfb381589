/* node.h - the files the broker keeps in a directory that others write, too.
 *
 * What is not ours is never followed, opened, changed or removed: it is described,
 * with its owner. chat-broker(8), section FILES.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/types.h>

#define NODE_WHY_MAX 512

enum {
	NODE_E_ABSENT = 1,
	NODE_E_FOREIGN, /* another user's, or of another type; WHY says it */
	NODE_E_HELD,    /* another process has the lock; WHY says it */
};

/* The loop runs from now on: users are described by number only. */
void node_set_started(void);

/* Is PATH a file of type TYPE (S_IFSOCK, ...) that belongs to this process's user?
 * Returns 0, NODE_E_ABSENT, NODE_E_FOREIGN with WHY filled in, or -errno. */
int node_check(const char *path, mode_t type, char why[static NODE_WHY_MAX]);

/* Is PATH the very file that STATBUF described? */
bool node_is_same(const char *path, const struct stat *statbuf);

/* PATH.lock, held: nobody else serves PATH. */
struct node_lock {
	int fd; /* -1 when not held */
	char *path;
};

/* Take the lock of PATH. Returns 0, NODE_E_FOREIGN or NODE_E_HELD with WHY filled
 * in, or -errno. */
int node_lock(struct node_lock *ret_lock, const char *path, char why[static NODE_WHY_MAX]);

/* Is PATH.lock still the file that is locked? */
bool node_lock_is_there(const struct node_lock *lock);

/* Take the lock of PATH again when its file has vanished. Returns what node_lock() does; the
 * lock stays as it was unless that is 0. */
int node_lock_again(struct node_lock *lock, const char *path, char why[static NODE_WHY_MAX]);

/* Unlink, then release. Takes a lock that is not held. */
void node_unlock(struct node_lock *lock);
