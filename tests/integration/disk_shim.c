/* disk_shim.c - loaded in front of a broker with LD_PRELOAD: a disk that fails, is slow, or
 * remembers in which order it was told what.
 *
 * CHAT_DISK names a directory. The files in it are "sync", "write" and "create" (syncing, writing,
 * and making files fail with the errno that it says; with "ERRNO 1" once, for the file then goes),
 * "read" (the same, of segments), "hang" and "hang-read", FIFOs (to sync, and to read a segment,
 * waits until somebody opens it for writing), and "slow" (syncfs() takes so many ms longer).
 * Operations on files below CHAT_DISK_STATE are appended to "log", if that file is there:
 *
 *	u32 operation, u32 length of the path, u64 offset, u64 length, path, data
 *
 * With large files, as everything here is built, pwrite() is pwrite64(), and so on.
 *
 * A write is there before it is done. A sync is there twice, before it begins and when it is
 * done: what was written before the former is on the disk after the latter.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
#include <sys/uio.h>
#include <unistd.h>

#define EXPORT __attribute__((__visibility__("default")))

enum operation {
	OPERATION_WRITE = 1,
	OPERATION_TRUNCATE, /* to OFFSET bytes */
	OPERATION_CREATE,
	OPERATION_REMOVE,
	OPERATION_SYNC_BEGIN, /* of a file or a directory */
	OPERATION_SYNC_END,
	OPERATION_SYNC_ALL_BEGIN,
	OPERATION_SYNC_ALL_END,
};

struct entry {
	uint32_t operation, path_len;
	uint64_t offset, len;
};

static void *next(const char *name)
{
	return dlsym(RTLD_NEXT, name);
}

static int plain_open(const char *path, int flags)
{
	int (*function)(int, const char *, int, ...) = next("openat64");

	return function(AT_FDCWD, path, flags | O_CLOEXEC, 0);
}

static int disk_open(const char *name, int flags)
{
	const char *dir = getenv("CHAT_DISK");
	char path[PATH_MAX];

	if (!dir)
		return -1;
	snprintf(path, sizeof path, "%s/%s", dir, name);
	return plain_open(path, flags);
}

/* Is there this trouble? Then errno is what it says. */
static bool disk_fails(const char *name)
{
	int fd = disk_open(name, O_RDONLY), saved = errno;
	char text[16] = "", path[PATH_MAX], *end;
	ssize_t n;

	if (fd < 0)
		return false;
	n = read(fd, text, sizeof text - 1);
	close(fd);
	errno = saved;
	if (n <= 0)
		return false;
	errno = (int)strtoul(text, &end, 10);
	if (*end == ' ') {
		saved = errno;
		snprintf(path, sizeof path, "%s/%s", getenv("CHAT_DISK"), name);
		(void)unlink(path);
		errno = saved;
	}
	return true;
}

/* Where FD is, below the state directory: NULL when it is not. */
static const char *path_of(int fd, char path[static PATH_MAX])
{
	const char *state = getenv("CHAT_DISK_STATE");
	char link[64];
	ssize_t n;

	if (!state)
		return NULL;
	snprintf(link, sizeof link, "/proc/thread-self/fd/%d", fd);
	n = readlink(link, path, PATH_MAX - 1);
	if (n < 0)
		return NULL;
	path[n] = '\0';
	if (strncmp(path, state, strlen(state)) != 0)
		return NULL;
	path += strlen(state);
	return *path == '/' ? path + 1 : path;
}

static void record(enum operation operation, const char *path, uint64_t offset,
	const struct iovec *data, int n_data)
{
	struct entry entry = { operation, path ? (uint32_t)strlen(path) : 0, offset, 0 };
	struct iovec *parts;
	int saved = errno, fd;

	fd = path ? disk_open("log", O_WRONLY | O_APPEND) : -1;
	parts = fd < 0 ? NULL : malloc((size_t)(n_data + 2) * sizeof *parts);
	if (parts) {
		parts[0] = (struct iovec){ &entry, sizeof entry };
		parts[1] = (struct iovec){ (char *)path, entry.path_len };
		for (int i = 0; i < n_data; i++) {
			parts[i + 2] = data[i];
			entry.len += data[i].iov_len;
		}
		/* one call: it is there as a whole, before or behind another thread's */
		if (writev(fd, parts, n_data + 2) < 0)
			abort();
		free(parts);
	}
	if (fd >= 0)
		close(fd);
	errno = saved;
}

static void record_fd(
	enum operation operation, int fd, uint64_t offset, const struct iovec *data, int n_data)
{
	char path[PATH_MAX];

	record(operation, path_of(fd, path), offset, data, n_data);
}

static bool is_ours(int fd)
{
	char path[PATH_MAX];

	return path_of(fd, path) != NULL;
}

/* Wait until somebody opens that FIFO. */
static void disk_wait(const char *name)
{
	int saved = errno, fd = disk_open(name, O_RDONLY);

	if (fd >= 0)
		close(fd);
	errno = saved;
}

/* Take the ms that a file says: this disk is slow. */
static void disk_linger(const char *name)
{
	int saved = errno, fd = disk_open(name, O_RDONLY);
	char text[16] = "";
	struct timeval delay = { 0 };

	if (fd >= 0 && read(fd, text, sizeof text - 1) > 0) {
		delay.tv_usec = 1000 * (suseconds_t)strtoul(text, NULL, 10); /* below a second */
		(void)select(0, NULL, NULL, NULL, &delay);
	}
	if (fd >= 0)
		close(fd);
	errno = saved;
}

EXPORT ssize_t pwritev(int fd, const struct iovec *parts, int n, off_t at)
{
	ssize_t (*function)(int, const struct iovec *, int, off_t) = next("pwritev64");

	if (is_ours(fd) && disk_fails("write"))
		return -1;
	record_fd(OPERATION_WRITE, fd, (uint64_t)at, parts, n > 1000 ? 1000 : n);
	return function(fd, parts, n > 1000 ? 1000 : n, at);
}

EXPORT ssize_t pwrite(int fd, const void *data, size_t len, off_t at)
{
	ssize_t (*function)(int, const void *, size_t, off_t) = next("pwrite64");
	struct iovec part = { (void *)data, len };

	if (is_ours(fd) && disk_fails("write"))
		return -1;
	record_fd(OPERATION_WRITE, fd, (uint64_t)at, &part, 1);
	return function(fd, data, len, at);
}

EXPORT ssize_t pread(int fd, void *data, size_t len, off_t at)
{
	ssize_t (*function)(int, void *, size_t, off_t) = next("pread64");
	char path[PATH_MAX];
	const char *in = path_of(fd, path);

	if (in && strncmp(in, "rooms/", strlen("rooms/")) == 0) {
		disk_wait("hang-read");
		if (disk_fails("read"))
			return -1;
	}
	return function(fd, data, len, at);
}

EXPORT int ftruncate(int fd, off_t len)
{
	int (*function)(int, off_t) = next("ftruncate64");

	record_fd(OPERATION_TRUNCATE, fd, (uint64_t)len, NULL, 0);
	return function(fd, len);
}

EXPORT int posix_fallocate(int fd, off_t at, off_t len)
{
	int (*function)(int, off_t, off_t) = next("posix_fallocate64");

	if (is_ours(fd) && disk_fails("write"))
		return errno;
	record_fd(OPERATION_TRUNCATE, fd, (uint64_t)(at + len), NULL, 0);
	return function(fd, at, len);
}

static int sync_with(int fd, const char *name, enum operation begin, enum operation end)
{
	int (*function)(int) = next(name), r;
	bool is = is_ours(fd);

	if (is)
		disk_wait("hang");
	record_fd(begin, fd, 0, NULL, 0);
	if (is && disk_fails("sync"))
		return -1;
	r = function(fd);
	if (r == 0)
		record_fd(end, fd, 0, NULL, 0);
	return r;
}

EXPORT int fdatasync(int fd)
{
	return sync_with(fd, "fdatasync", OPERATION_SYNC_BEGIN, OPERATION_SYNC_END);
}

EXPORT int fsync(int fd)
{
	return sync_with(fd, "fsync", OPERATION_SYNC_BEGIN, OPERATION_SYNC_END);
}

EXPORT int syncfs(int fd)
{
	if (is_ours(fd))
		disk_linger("slow");
	return sync_with(fd, "syncfs", OPERATION_SYNC_ALL_BEGIN, OPERATION_SYNC_ALL_END);
}

static int open_with(int dir, const char *path, int flags, mode_t mode)
{
	int (*function)(int, const char *, int, ...) = next("openat64");
	int fd;

	if (flags & O_CREAT) {
		int saved = errno;

		if (getenv("CHAT_DISK_STATE") &&
			(dir != AT_FDCWD || strncmp(path, getenv("CHAT_DISK_STATE"),
						    strlen(getenv("CHAT_DISK_STATE"))) == 0) &&
			disk_fails("create"))
			return -1;
		errno = saved;
	}
	fd = function(dir, path, flags, mode);
	if (fd >= 0 && flags & O_CREAT)
		record_fd(OPERATION_CREATE, fd, 0, NULL, 0);
	if (fd >= 0 && flags & O_TRUNC)
		record_fd(OPERATION_TRUNCATE, fd, 0, NULL, 0);
	return fd;
}

/* The last argument, where there is one. */
static mode_t mode_in(va_list ap, int flags)
{
	return flags & O_CREAT ? va_arg(ap, mode_t) : 0;
}

EXPORT int openat(int dir, const char *path, int flags, ...)
{
	va_list ap;
	int fd;

	va_start(ap, flags);
	fd = open_with(dir, path, flags, mode_in(ap, flags));
	va_end(ap);
	return fd;
}

EXPORT int open(const char *path, int flags, ...)
{
	va_list ap;
	int fd;

	va_start(ap, flags);
	fd = open_with(AT_FDCWD, path, flags, mode_in(ap, flags));
	va_end(ap);
	return fd;
}

EXPORT int unlinkat(int dir, const char *path, int flags)
{
	int (*function)(int, const char *, int) = next("unlinkat");
	char directory[PATH_MAX], whole[2 * PATH_MAX];
	const char *at = path_of(dir, directory);
	int r = function(dir, path, flags);

	snprintf(whole, sizeof whole, "%s%s%s", at ? at : "", at && *at ? "/" : "", path);
	if (r == 0 && at)
		record(OPERATION_REMOVE, whole, 0, NULL, 0);
	return r;
}

EXPORT int unlink(const char *path)
{
	int (*function)(const char *) = next("unlink");
	const char *state = getenv("CHAT_DISK_STATE");
	int r = function(path);

	if (r == 0 && state && strncmp(path, state, strlen(state)) == 0)
		record(OPERATION_REMOVE, path + strlen(state) + 1, 0, NULL, 0);
	return r;
}
