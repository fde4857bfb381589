/* guard.h - notices that a path of the broker may have vanished: the file itself, its lock,
 * or a directory above them, which can be removed, renamed or replaced.
 *
 * inotify(7) tells, so that an idle broker sleeps. Where the kernel has no inotify, or no
 * watch left, the guard looks every second. The guard only says when to look: the listener
 * and the admin channel look themselves. chat-broker(8), section FILES.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "broker/loop.h"

/* How long until the next look, ns, while a path is lost or cannot be watched. */
#define GUARD_LOOK_NS (UINT64_C(1000000000))

/* A broker that is awake anyway looks after this time, ns: some changes cause no event, such
 * as a mount. */
#define GUARD_IDLE_NS (UINT64_C(5000000000))

/* Watches of one broker, at most; deeper paths are looked at every second. */
#define GUARD_WATCHES_MAX 64

struct guard {
	struct watch watch; /* inotify; fd -1: there is none */
	int watches[GUARD_WATCHES_MAX];
	unsigned n_watches;
	char *directory;  /* the current directory at the start; owned; NULL: unknown */
	bool is_blind;    /* a path is not watched */
	bool has_warned;  /* of that */
	bool is_away;     /* its path leads nowhere now: nothing tells when it does again */
	bool may_follow;  /* see guard_follow() */
	uint64_t look_at; /* ns of CLOCK_MONOTONIC */
};

/* READY is called when something happened. MAY_FOLLOW: see guard_follow(). A kernel without
 * inotify is no error. Returns 0 or -errno. */
int guard_init(struct guard *guard, struct loop *loop, void (*ready)(struct watch *, uint32_t),
	bool may_follow);

/* Takes a guard that was never initialised, with watch.fd -1. */
void guard_deinit(struct guard *guard);

/* Forget the events that came. */
void guard_drain(struct guard *guard);

/* When the path of the current directory leads to another directory now, go there, so that
 * relative paths mean what they meant. Not when the state directory is named by a relative
 * path: the state stays where it is. */
void guard_follow(struct guard *guard);

/* Watch each of PATHS, N of them, its lock, and every directory above it; NULL is passed
 * over. Watches of before that are of no use any more end. */
void guard_arm(struct guard *guard, struct loop *loop, const char *const paths[], unsigned n);
