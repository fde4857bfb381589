/* ipc.c - see ipc.h. */
#include "broker/ipc.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <sodium.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "protocol/uid.h"

/* Where the C library keeps semaphores, sem_overview(7), and what it puts before names. */
#define IPC_DIR    "/dev/shm"
#define IPC_PREFIX "sem."

/* "/chat.UID.INSTANCE." */
static int ipc_put_start(const char *socket, char ret_start[static WAKER_NAME_MAX])
{
	unsigned char hash[crypto_generichash_BYTES_MIN];

	crypto_generichash(
		hash, sizeof hash, (const unsigned char *)socket, strlen(socket), NULL, 0);
	return snprintf(ret_start, WAKER_NAME_MAX, "/chat.%u.%02x%02x%02x%02x.", geteuid(), hash[0],
		hash[1], hash[2], hash[3]);
}

void ipc_put_name(const char *socket, char ret_name[static WAKER_NAME_MAX])
{
	uint64_t random;
	int n = ipc_put_start(socket, ret_name);

	randombytes_buf(&random, sizeof random);
	snprintf(ret_name + n, WAKER_NAME_MAX - (size_t)n, "%016lx", (unsigned long)random);
}

/* Open the file of a semaphore, NAME without its slash, and lock it. Returns a descriptor,
 * -EWOULDBLOCK when another process holds it, or another -errno. */
static int ipc_lock(const char *name)
{
	char path[sizeof IPC_DIR "/" IPC_PREFIX + NAME_MAX];
	struct stat statbuf;
	int fd, r = 0;

	snprintf(path, sizeof path, IPC_DIR "/" IPC_PREFIX "%s", name);
	fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (flock(fd, LOCK_EX | LOCK_NB) < 0 || fstat(fd, &statbuf) < 0)
		r = -errno;
	else if (statbuf.st_nlink == 0) /* it was removed before it was locked */
		r = -ENOENT;
	if (r < 0)
		close(fd);
	return r < 0 ? r : fd;
}

int ipc_hold(const char *name)
{
	return ipc_lock(name + 1);
}

/* Is NAME, in the directory, a semaphore of ours? */
static bool ipc_is_own(int dir, const char *name)
{
	char start[WAKER_NAME_MAX];
	struct stat statbuf;
	int n = snprintf(start, sizeof start, IPC_PREFIX "chat.%u.", geteuid());

	return strncmp(name, start, (size_t)n) == 0 &&
	       fstatat(dir, name, &statbuf, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(statbuf.st_mode) &&
	       uid_owns_closed(&statbuf);
}

int ipc_list(const char *socket, ipc_found_fn *found, void *userdata)
{
	char start[WAKER_NAME_MAX];
	int n_start = ipc_put_start(socket, start), n = 0;
	struct dirent *entry;
	DIR *dir = opendir(IPC_DIR);

	if (!dir)
		return -errno;
	while ((entry = readdir(dir))) {
		const char *name = entry->d_name + strlen(IPC_PREFIX);

		if (!ipc_is_own(dirfd(dir), entry->d_name))
			continue;
		found(userdata, name, strncmp(name, start + 1, (size_t)n_start - 1) == 0);
		n++;
	}
	closedir(dir);
	return n;
}

static void ipc_remove(void *userdata, const char *name, bool is_of_socket)
{
	char full[NAME_MAX + 2];
	int *n_removed = userdata, fd;

	if (!is_of_socket)
		return;
	fd = ipc_lock(name);
	if (fd < 0)
		return;
	snprintf(full, sizeof full, "/%s", name);
	if (sem_unlink(full) == 0)
		(*n_removed)++;
	close(fd);
}

int ipc_clean(const char *socket)
{
	int n_removed = 0;

	(void)ipc_list(socket, ipc_remove, &n_removed);
	return n_removed;
}
