/* state_lock.c - see state_lock.h. */
#include "broker/state_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "broker/archive.h"
#include "broker/catalog.h"
#include "protocol/base.h"
#include "protocol/uid.h"

/* Of statfs(2); linux/magic.h has not all of them. */
static const struct {
	unsigned long type;
	const char *name;
} networks[] = {
	{ NFS_SUPER_MAGIC, "NFS" },
	{ SMB_SUPER_MAGIC, "SMB" },
	{ 0xFE534D42, "SMB" },
	{ 0xFF534D42, "CIFS" },
	{ CODA_SUPER_MAGIC, "Coda" },
	{ AFS_SUPER_MAGIC, "AFS" },
	{ 0x6B414653, "AFS" },
	{ V9FS_MAGIC, "9P" },
	{ 0x00C36400, "Ceph" },
	{ 0x01161970, "GFS2" },
	{ OCFS2_SUPER_MAGIC, "OCFS2" },
	{ 0x65735546, "FUSE" },
};

const char *state_lock_network(const struct state_lock *lock)
{
	struct statfs statbuf;

	if (fstatfs(lock->dir, &statbuf) < 0)
		return NULL;
	for (size_t i = 0; i < ARRAY_LEN(networks); i++)
		if (((unsigned long)statbuf.f_type & 0xFFFFFFFF) == networks[i].type)
			return networks[i].name;
	return NULL;
}

/* Locking failed with ERROR, an -errno, which does not show whether another broker runs. */
static int lock_fail(const struct state_lock *lock, const char *what, int error,
	char why[static STATE_LOCK_WHY_MAX])
{
	const char *network = state_lock_network(lock);

	snprintf(why, STATE_LOCK_WHY_MAX, "cannot lock %s: %s%s%s", what, strerror(-error),
		network ? "; it is on a network file system, " : "", network ? network : "");
	return error;
}

/* Another broker has it: the file says which. */
static int lock_held(const struct state_lock *lock, char why[static STATE_LOCK_WHY_MAX])
{
	char text[256] = "", host[129] = "", pid[16] = "";

	if (lock->file >= 0 && pread(lock->file, text, sizeof text - 1, 0) > 0 &&
		sscanf(text, "%128s %15[0-9]", host, pid) == 2)
		snprintf(why, STATE_LOCK_WHY_MAX, "the broker with pid %s on host %s", pid, host);
	else
		snprintf(why, STATE_LOCK_WHY_MAX, "another broker");
	strcat(why, " uses it; stop that one, or choose another directory");
	return STATE_LOCK_E_HELD;
}

/* Nothing can be written there now: the lock of the directory has to do, on this host. */
static bool error_is_no_space(const struct state_lock *lock, int error)
{
	return error == EROFS ||
	       ((error == ENOSPC || error == EDQUOT) && !state_lock_network(lock));
}

static int lock_file(
	struct state_lock *lock, bool is_inspected, char why[static STATE_LOCK_WHY_MAX])
{
	struct flock flock = { .l_type = is_inspected ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET };
	int flags = is_inspected ? O_RDONLY : O_RDWR | O_CREAT;

	lock->file = openat(
		lock->dir, STATE_LOCK_NAME, flags | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
	if (lock->file < 0 && (is_inspected ? errno == ENOENT : error_is_no_space(lock, errno)))
		return 0;
	if (lock->file < 0)
		return lock_fail(lock, STATE_LOCK_NAME, -errno, why);
	if (fcntl(lock->file, F_OFD_SETLK, &flock) == 0)
		return 0;
	return errno == EAGAIN || errno == EACCES ? lock_held(lock, why)
						  : lock_fail(lock, STATE_LOCK_NAME, -errno, why);
}

/* A system without flock(2) of directories has the file's lock. */
static int lock_dir(struct state_lock *lock, bool is_inspected, char why[static STATE_LOCK_WHY_MAX])
{
	if (flock(lock->dir, (is_inspected ? LOCK_SH : LOCK_EX) | LOCK_NB) == 0 ||
		errno != EWOULDBLOCK)
		return 0;
	return lock_held(lock, why);
}

static int lock_check_owner(
	const struct state_lock *lock, bool is_inspected, char why[static STATE_LOCK_WHY_MAX])
{
	struct stat statbuf;

	if (fstat(lock->dir, &statbuf) < 0)
		return lock_fail(lock, "the directory", -errno, why);
	if (!uid_owns(lock->dir, &statbuf)) {
		snprintf(why, STATE_LOCK_WHY_MAX, "it belongs to uid %u%s", statbuf.st_uid,
			uid_is_unmapped(statbuf.st_uid) ? ", which may be anybody here" : "");
		return STATE_LOCK_E_FOREIGN;
	}
	if (statbuf.st_mode & 022) {
		snprintf(why, STATE_LOCK_WHY_MAX, "others may write to it, mode %04o; chmod 700",
			statbuf.st_mode & 07777);
		return STATE_LOCK_E_FOREIGN;
	}
	/* made with another umask, or opened up for somebody */
	if (!is_inspected && (statbuf.st_mode & 07777) != 0700 && fchmod(lock->dir, 0700) < 0 &&
		errno != EROFS)
		return lock_fail(lock, "the directory", -errno, why);
	return 0;
}

/* Write the host and the pid of this broker, for brokers that start later. A full disk does not
 * matter. */
static void lock_sign(const struct state_lock *lock)
{
	char host[65] = "?", text[128];
	int n;

	if (lock->file < 0)
		return;
	(void)gethostname(host, sizeof host - 1);
	n = snprintf(text, sizeof text, "%s %d\n", host, getpid());
	if (ftruncate(lock->file, 0) == 0)
		(void)!pwrite(lock->file, text, (size_t)n, 0);
	(void)fchmod(lock->file, 0600);
}

static int lock_make_rooms(const struct state_lock *lock, char why[static STATE_LOCK_WHY_MAX])
{
	if (mkdirat(lock->dir, ARCHIVE_DIR, 0700) < 0 && errno != EEXIST)
		return lock_fail(lock, ARCHIVE_DIR, -errno, why);
	/* made with another umask; if they are not there, that is right as well */
	(void)fchmodat(lock->dir, ARCHIVE_DIR, 0700, 0);
	(void)fchmodat(lock->dir, CATALOG_NAME, 0600, 0);
	return 0;
}

int state_lock_take(struct state_lock *lock, const char *path, bool is_inspected,
	char why[static STATE_LOCK_WHY_MAX])
{
	int r;

	*lock = (struct state_lock){ -1, -1 };
	if (!is_inspected && mkdir(path, 0700) < 0 && errno != EEXIST) {
		r = -errno;
		snprintf(why, STATE_LOCK_WHY_MAX, "%s", strerror(-r));
		return r;
	}
	lock->dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (lock->dir < 0) {
		r = -errno;
		snprintf(why, STATE_LOCK_WHY_MAX, "%s", strerror(-r));
		return r;
	}
	r = lock_check_owner(lock, is_inspected, why);
	if (r == 0)
		r = lock_file(lock, is_inspected, why);
	if (r == 0)
		r = lock_dir(lock, is_inspected, why);
	if (r || is_inspected)
		return r;
	lock_sign(lock);
	return lock_make_rooms(lock, why);
}

void state_lock_release(struct state_lock *lock)
{
	if (lock->file >= 0)
		close(lock->file);
	if (lock->dir >= 0)
		close(lock->dir);
	*lock = (struct state_lock){ -1, -1 };
}
