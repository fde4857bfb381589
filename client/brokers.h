/* brokers.h - brokers of other users that the user has said yes to, once.
 *
 * A text file, ${XDG_STATE_HOME:-~/.local/state}/chat-client/brokers, 0600 in a
 * directory 0700: one "UID PATH" a line, the path as text_escape() shows it. It
 * is read only if it belongs to this user and nobody else can write it.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

/* Is the broker of user UID at the socket PATH remembered? No, when in doubt. */
bool brokers_is_known(const char *path, uid_t uid);

/* Remember it. Errors: -ENOENT there is no home; those of mkdir(2), open(2),
 * write(2). */
int brokers_remember(const char *path, uid_t uid);
