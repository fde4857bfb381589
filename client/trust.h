/* trust.h - whether the broker behind a socket may be spoken to.
 *
 * Anybody can listen in /tmp: a client gives its words only to a broker of its own
 * user, of root, of $CHAT_BROKER_UID, or one that the program agrees to.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Never to a uid that may be anybody's, see protocol/uid.h. */
bool trust_is_given(uid_t uid);

/* One line for the user: whose broker it is, and what would trust it. */
void trust_explain(char *dst, size_t size, const char *path, uid_t uid);
