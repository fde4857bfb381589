/* origin.h - is this still the process that opened the chat?
 *
 * A child of fork(2) has a copy of the chat, and shares its socket, its epoll set and its
 * shared memory with the parent: used by both, the numbers of one would be taken for those
 * of the other. libchat(3), section Forking.
 *
 * The mark is a page that the kernel replaces with zeros in a child, so the question costs
 * one load. Where the kernel has no such pages (before Linux 4.14) getpid(2) answers it.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

struct origin {
	const volatile char *mark; /* owned; NULL: there is none */
	pid_t pid;
};

void origin_init(struct origin *origin);
void origin_deinit(struct origin *origin);

bool origin_is_pid(const struct origin *origin);

/* False in a child. */
static inline bool origin_is_here(const struct origin *origin)
{
	return origin->mark ? *origin->mark != 0 : origin_is_pid(origin);
}
