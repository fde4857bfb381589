/* node.c - see node.h. */
#include "broker/node.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "protocol/uid.h"

static const char *type_name(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFDIR:
		return "a directory";
	case S_IFLNK:
		return "a symbolic link";
	case S_IFIFO:
		return "a FIFO";
	case S_IFSOCK:
		return "a socket";
	case S_IFREG:
		return "a regular file";
	default:
		return "a device";
	}
}

/* Names of users are asked for at the start only: the data base may take seconds, and
 * then everybody would wait for somebody's file. */
static bool has_started;

void node_set_started(void)
{
	has_started = true;
}

static void node_describe(const char *path, const struct stat *st, char why[static NODE_WHY_MAX])
{
	const struct passwd *pw = has_started ? NULL : getpwuid(st->st_uid);

	snprintf(why, NODE_WHY_MAX, "%s is %s of %s (uid %u%s)%s", path, type_name(st->st_mode),
		pw            ? pw->pw_name
		: has_started ? "a user"
			      : "an unknown user",
		st->st_uid, uid_is_unmapped(st->st_uid) ? ", which may be anybody here" : "",
		S_ISREG(st->st_mode) && st->st_nlink > 1 ? " with more than one name" : "");
}

int node_check(const char *path, mode_t type, char why[static NODE_WHY_MAX])
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? NODE_E_ABSENT : -errno;
	if ((st.st_mode & S_IFMT) != type || !uid_owns_closed(&st) || st.st_nlink > 1) {
		node_describe(path, &st, why);
		return NODE_E_FOREIGN;
	}
	return 0;
}

bool node_is_same(const char *path, const struct stat *statbuf)
{
	struct stat st;

	return lstat(path, &st) == 0 && st.st_dev == statbuf->st_dev &&
	       st.st_ino == statbuf->st_ino;
}

static int lock_file(int fd, const char *path, char why[static NODE_WHY_MAX])
{
	char pid[16] = "";

	if (flock(fd, LOCK_EX | LOCK_NB) == 0)
		return 0;
	if (errno != EWOULDBLOCK)
		return -errno;
	if (pread(fd, pid, sizeof pid - 1, 0) < 0)
		pid[0] = '\0';
	pid[strcspn(pid, "\n")] = '\0';
	snprintf(why, NODE_WHY_MAX, "another broker%s%s%s has %s", pid[0] ? ", pid " : "", pid,
		pid[0] ? "," : "", path);
	return NODE_E_HELD;
}

/* Make and lock the file once. -EAGAIN when it was replaced meanwhile, or when it was
 * left by a broker that is gone and is now removed: it may be a link that was put there
 * behind our look, so only a file that was made here is ever written to. */
static int lock_try(const char *path, int *ret_fd, char why[static NODE_WHY_MAX])
{
	struct stat st;
	bool is_new;
	int r, fd;

	r = node_check(path, S_IFREG, why);
	if (r < 0 || r == NODE_E_FOREIGN)
		return r;
	is_new = r == NODE_E_ABSENT;
	fd = open(path,
		(is_new ? O_RDWR | O_CREAT | O_EXCL : O_RDONLY) | O_NOFOLLOW | O_NONBLOCK |
			O_CLOEXEC,
		0600);
	if (fd < 0) {
		if (errno == EEXIST || (errno == ENOENT && !is_new))
			return -EAGAIN;
		if (errno == ELOOP && node_check(path, S_IFREG, why) == NODE_E_FOREIGN)
			return NODE_E_FOREIGN;
		return -errno;
	}
	if (fstat(fd, &st) < 0) {
		r = -errno;
	} else if (!S_ISREG(st.st_mode) || !uid_owns(fd, &st)) {
		node_describe(path, &st, why);
		r = NODE_E_FOREIGN;
	} else {
		r = lock_file(fd, path, why);
		if (r == 0 && !node_is_same(path, &st))
			r = -EAGAIN;
		if (r == 0 && !is_new)
			r = unlink(path) < 0 && errno != ENOENT ? -errno : -EAGAIN;
	}
	if (r) {
		close(fd);
		return r;
	}
	*ret_fd = fd;
	return 0;
}

int node_lock(struct node_lock *ret_lock, const char *path, char why[static NODE_WHY_MAX])
{
	char *lock_path;
	int r, fd = -1;

	if (asprintf(&lock_path, "%s.lock", path) < 0)
		return -ENOMEM;
	/* a broker that ends removes its file: the next one is ours to make */
	for (int i = 0; i < 100; i++) {
		r = lock_try(lock_path, &fd, why);
		if (r != -EAGAIN)
			break;
	}
	if (r) {
		free(lock_path);
		return r;
	}
	if (dprintf(fd, "%d\n", getpid()) < 0) {
		/* only a hint for whoever looks: a full disk does not matter */
	}
	ret_lock->fd = fd;
	ret_lock->path = lock_path;
	return 0;
}

bool node_lock_is_there(const struct node_lock *lock)
{
	struct stat st;

	return fstat(lock->fd, &st) == 0 && node_is_same(lock->path, &st);
}

int node_lock_again(struct node_lock *lock, const char *path, char why[static NODE_WHY_MAX])
{
	struct node_lock again;
	int r;

	if (node_lock_is_there(lock))
		return 0;
	r = node_lock(&again, path, why);
	if (r)
		return r;
	close(lock->fd);
	free(lock->path);
	*lock = again;
	return 0;
}

void node_unlock(struct node_lock *lock)
{
	if (lock->fd < 0)
		return;
	/* if somebody removed it, the one that is there now may be another broker's */
	if (node_lock_is_there(lock))
		unlink(lock->path);
	close(lock->fd);
	free(lock->path);
	*lock = (struct node_lock){ .fd = -1 };
}
