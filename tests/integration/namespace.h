/* namespace.h - processes in a user namespace of their own: user_namespaces(7). */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

/* Become UID, in a new user namespace with this uid_map: "" for none. False when the kernel
 * refuses. */
bool namespace_enter(uid_t uid, const char *uid_map);

/* May users other than root have one here? Asked of a child, as UID. */
bool namespace_is_allowed(uid_t uid);
