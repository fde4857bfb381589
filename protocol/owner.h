/* owner.h - whose directories a path leads through.
 *
 * The environment may be another user's: sudo(8) keeps HOME on some systems, and sudo -E keeps all
 * of it. A directory that root makes in the home of a user locks that user out.
 */
#pragma once

#include <stdbool.h>

/* May this process's user make files below PATH, which is absolute? Root: if every directory on
 * the way is root's, as far as it is there. Any other user: if the last one that is there is
 * its own or root's. */
bool owner_may_make(const char *path);
