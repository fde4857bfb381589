/* uid.h - whether a user id stands for one user.
 *
 * The kernel shows a user that has no id in a process's user namespace as the overflow id,
 * 65534 by default: user_namespaces(7). Where some users have no id, that one may be
 * anybody's, so it owns nothing, administers nothing and is not trusted. Where all have one,
 * as outside of containers, it is an account like others: "nobody".
 */
#pragma once

#include <stdbool.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "protocol/text.h"

enum {
	UID_E_UNMAPPED = 1,
};

/* Does UID stand for one user, as SO_PEERCRED, geteuid(2) or fstat(2) gave it to this process?
 * Returns 0, UID_E_UNMAPPED, or -errno: it cannot be known, because /proc cannot be read. */
int uid_check(uid_t uid);

/* Read what it takes to know that, now. Each thread that has no descriptors left later, and shall
 * know, calls this first. */
void uid_learn(void);

/* Is it, as far as is known, anybody's? */
bool uid_is_unmapped(uid_t uid);

/* Is the uid that this process runs as, as far as is known, anybody's? */
bool uid_self_is_unmapped(void);

/* Does the file that FD is open on, which STATBUF describes, belong to this process's user? Where
 * the id may be anybody's the kernel is asked, which knows. */
bool uid_owns(int fd, const struct stat *statbuf);

/* Does a file that is not open, which STATBUF describes, belong to this process's user? Where the
 * id may be anybody's, the answer is no. */
bool uid_owns_closed(const struct stat *statbuf);

/* Why UID, which is unmapped, may be anybody's, for its user to read. */
#define UID_WHY_MAX 160
void uid_why(uid_t uid, char why[static UID_WHY_MAX]);

/* Has no user an id in this process's namespace? Then the map may be written still. */
bool uid_map_is_empty(void);

/* Do the lines of a uid_map give an id to each user that there can be? */
bool uid_map_is_whole(struct text map);
