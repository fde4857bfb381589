/* guard.c - see guard.h. */
#include "broker/guard.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "broker/trace.h"

/* The last link of a file that is still open goes with IN_ATTRIB only. */
#define NODE_EVENTS (IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF)

/* Not IN_ATTRIB: others change the times of /tmp. */
#define DIRECTORY_EVENTS (IN_DELETE_SELF | IN_MOVE_SELF)

static bool is_mapped(const int *watches, unsigned n, int watch)
{
	for (unsigned i = 0; i < n; i++)
		if (watches[i] == watch)
			return true;
	return false;
}

/* Say once why paths are looked at. EACCES is usual: inotify wants to read a directory. */
static void guard_warn(struct guard *guard, int error)
{
	if (guard->has_warned || error == EACCES)
		return;
	guard->has_warned = true;
	trace(TRACE_WARNING,
		"inotify does not watch the paths: %s; the broker looks at them every second",
		strerror(error));
}

static void guard_watch(struct guard *guard, const char *path, uint32_t events)
{
	int watch = inotify_add_watch(guard->watch.fd, path, events);

	if (watch < 0 && (errno == ENOENT || errno == ENOTDIR))
		return; /* the look finds that out */
	if (watch >= 0 && is_mapped(guard->watches, guard->n_watches, watch))
		return;
	if (watch < 0 || guard->n_watches == GUARD_WATCHES_MAX) {
		guard_warn(guard, watch < 0 ? errno : ENAMETOOLONG);
		guard->is_blind = true;
		if (watch >= 0)
			inotify_rm_watch(guard->watch.fd, watch);
		return;
	}
	guard->watches[guard->n_watches++] = watch;
}

/* FULL is an absolute path. Every directory above it is watched, and the link, where one
 * of them is reached by a link. */
static void guard_watch_path(struct guard *guard, char *full)
{
	size_t len = strlen(full);

	guard_watch(guard, full, NODE_EVENTS | IN_DONT_FOLLOW);
	memcpy(full + len, ".lock", sizeof ".lock");
	guard_watch(guard, full, NODE_EVENTS | IN_DONT_FOLLOW);
	for (char *slash = strchr(full + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		guard_watch(guard, full, DIRECTORY_EVENTS);
		guard_watch(guard, full, DIRECTORY_EVENTS | IN_DONT_FOLLOW);
		*slash = '/';
	}
}

static int guard_open(struct guard *guard, struct loop *loop)
{
	int r;

	if (guard->watch.fd >= 0)
		return 0;
	guard->watch.fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (guard->watch.fd < 0)
		return -errno;
	r = loop_add(loop, &guard->watch, EPOLLIN);
	if (r < 0) {
		close(guard->watch.fd);
		guard->watch.fd = -1;
	}
	return r;
}

void guard_arm(struct guard *guard, struct loop *loop, const char *const paths[], unsigned n)
{
	int before[GUARD_WATCHES_MAX], r = guard_open(guard, loop);
	unsigned n_before = guard->n_watches;

	guard->is_blind = r < 0;
	if (r < 0) {
		guard_warn(guard, -r);
		return;
	}
	memcpy(before, guard->watches, sizeof before);
	guard->n_watches = 0;
	for (unsigned i = 0; i < n; i++) {
		bool is_relative = paths[i] && paths[i][0] != '/';
		char full[2 * PATH_MAX + sizeof ".lock"];
		int len;

		if (!paths[i])
			continue;
		len = snprintf(full, 2 * PATH_MAX, "%s%s%s",
			is_relative && guard->directory ? guard->directory : "",
			is_relative && guard->directory ? "/" : "", paths[i]);
		if (len < 2 * PATH_MAX)
			guard_watch_path(guard, full);
	}
	for (unsigned i = 0; i < n_before; i++)
		if (!is_mapped(guard->watches, guard->n_watches, before[i]))
			inotify_rm_watch(guard->watch.fd, before[i]);
}

void guard_follow(struct guard *guard)
{
	struct stat here, there;

	guard->is_away = false;
	if (!guard->may_follow || !guard->directory)
		return;
	if (stat(guard->directory, &there) < 0) {
		guard->is_away = true;
		return;
	}
	if (stat(".", &here) == 0 && here.st_dev == there.st_dev && here.st_ino == there.st_ino)
		return;
	if (chdir(guard->directory) < 0) {
		guard->is_away = true;
		trace(TRACE_DEBUG, "directory path=%s reason=\"%s\"", guard->directory,
			strerror(errno));
	}
}

void guard_drain(struct guard *guard)
{
	char buffer[4096];

	while (guard->watch.fd >= 0 && read(guard->watch.fd, buffer, sizeof buffer) > 0)
		;
}

int guard_init(struct guard *guard, struct loop *loop, void (*ready)(struct watch *, uint32_t),
	bool may_follow)
{
	/* nothing is watched yet */
	*guard = (struct guard){ .watch.fd = -1, .watch.ready = ready, .may_follow = may_follow };
	guard->is_blind = true;
	guard->directory = getcwd(NULL, 0);
	if (!guard->directory && errno == ENOMEM)
		return -ENOMEM;
	return 0;
}

void guard_deinit(struct guard *guard)
{
	if (guard->watch.fd >= 0)
		close(guard->watch.fd);
	guard->watch.fd = -1;
	free(guard->directory);
	guard->directory = NULL;
}
