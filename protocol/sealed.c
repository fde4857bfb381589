/* sealed.c - see sealed.h. */
#include "protocol/sealed.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "protocol/uid.h"

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL)

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

#ifndef TMPFS_MAGIC
#define TMPFS_MAGIC 0x01021994 /* statfs(2) */
#endif

/* A file can have a huge page, which is larger than it. */
#define SLACK_LEN (4 << 20)

/* What the kernel calls "no executable memory", and old ones do not know. */
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

/* A file beyond RLIMIT_FSIZE has the kernel send SIGXFSZ, which ends a program that did not ask
 * for a library's signal. */
static bool is_allowed(size_t len)
{
	struct rlimit limit;

	return getrlimit(RLIMIT_FSIZE, &limit) < 0 || len <= limit.rlim_cur;
}

static int sealed_open(const char *name)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);

	if (fd < 0 && errno == EINVAL)
		fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	return fd < 0 ? -errno : fd;
}

/* The same file, through a descriptor that is for reading only. */
static int sealed_reopen(int fd)
{
	char path[32];
	int again;

	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	again = open(path, O_RDONLY | O_CLOEXEC);
	return again < 0 ? -errno : again;
}

/* Between here and sealing, only this process has the file. */
static int sealed_fill(struct sealed *sealed, int fd)
{
	if (fchmod(fd, 0600) < 0)
		return -errno;
	/* a hole would be filled when it is written to, and that could fail */
	if (ftruncate(fd, (off_t)sealed->len) < 0 || fallocate(fd, 0, 0, (off_t)sealed->len) < 0)
		return -errno;
	sealed->at =
		mmap(NULL, sealed->len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
	if (sealed->at == MAP_FAILED) {
		sealed->at = NULL;
		return -errno;
	}
	/* a child would be a second writer */
	if (madvise(sealed->at, sealed->len, MADV_DONTFORK) < 0)
		return -errno;
	if (fcntl(fd, F_ADD_SEALS, SEALS) < 0)
		return errno == EINVAL ? -ENOTSUP : -errno;
	sealed->fd = sealed_reopen(fd);
	return sealed->fd < 0 ? sealed->fd : 0;
}

int sealed_create(struct sealed *ret_sealed, const char *name, size_t len)
{
	struct sealed sealed = { .len = len, .fd = -1 };
	int fd, r;

	if (!is_allowed(len))
		return -EFBIG;
	fd = sealed_open(name);
	if (fd < 0)
		return fd;
	r = sealed_fill(&sealed, fd);
	close(fd);
	if (r < 0) {
		sealed_close(&sealed);
		return r;
	}
	*ret_sealed = sealed;
	return 0;
}

/* Is every byte there? A hole is filled when it is read, too, and that could fail. Where
 * pages are huge, holes can not be told, and there may be none to fill them. */
static bool sealed_is_whole(int fd, off_t len)
{
	struct statfs statfs;

	return fstatfs(fd, &statfs) == 0 && statfs.f_type == TMPFS_MAGIC &&
	       lseek(fd, 0, SEEK_HOLE) == len;
}

int sealed_map(struct sealed *ret_sealed, int fd, uid_t owner, size_t len_min, size_t len_max)
{
	struct sealed sealed = { .fd = fd };
	int flags = fcntl(fd, F_GETFL), seals = fcntl(fd, F_GET_SEALS);
	struct stat statbuf;

	/* what is no memfd has no seals to get */
	if (flags < 0 || seals < 0 || (seals & SEALS) != SEALS || (flags & O_ACCMODE) != O_RDONLY)
		return -EPERM;
	if (fstat(fd, &statbuf) < 0)
		return -errno;
	if (statbuf.st_uid != owner || uid_is_unmapped(owner))
		return -EOWNERDEAD;
	if (statbuf.st_size < (off_t)len_min || statbuf.st_size > (off_t)len_max)
		return -EFBIG;
	/* the last process that releases the file would also have to free pages behind its end */
	if (statbuf.st_blocks * 512 > statbuf.st_size + SLACK_LEN)
		return -EFBIG;
	if (!sealed_is_whole(fd, statbuf.st_size))
		return -ENODATA;
	sealed.len = (size_t)statbuf.st_size;
	sealed.at = mmap(NULL, sealed.len, PROT_READ, MAP_SHARED, fd, 0);
	if (sealed.at == MAP_FAILED)
		return -errno;
	*ret_sealed = sealed;
	return 0;
}

void sealed_populate(const struct sealed *sealed)
{
	(void)madvise(sealed->at, sealed->len, MADV_POPULATE_READ);
}

void sealed_close_fd(struct sealed *sealed)
{
	if (sealed->fd >= 0)
		close(sealed->fd);
	sealed->fd = -1;
}

void sealed_close(struct sealed *sealed)
{
	if (sealed->at)
		munmap(sealed->at, sealed->len);
	sealed->at = NULL;
	sealed_close_fd(sealed);
}
