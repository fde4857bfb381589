/* trouble_shim.c - loaded in front of a broker with LD_PRELOAD: makes memory run out, the
 * user data base fail or hang, or the kernel refuse, while a file is there.
 *
 * CHAT_TROUBLE names a directory; the files in it are "memory" (allocations of as many bytes as it
 * says, or more, fail), "memory-at" (the allocation fails that is so many after the file was made,
 * and the file goes), "fail" (getpw*_r fail with EIO), "hang", a FIFO (they wait until somebody
 * opens it for writing), "hungry" (they need some descriptors at a time, as those that ask a server
 * do), "accept" and "watch" (accept4 and adding to an epoll fail with the errno that it says).
 * Functions of the kernel fail the same way: "inotify", "inotify-watch", "memfd", "semaphore",
 * "eventfd", "close-range", "priority" and "rights" (SO_PASSRIGHTS). "hang-close" is a FIFO:
 * closing a pipe waits until somebody opens it for writing, as closing a file of FUSE waits for its
 * owner.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif

/* The descriptors that a hungry data base needs at a time. */
#define HUNGER 4

#define EXPORT __attribute__((__visibility__("default")))

static bool trouble_path(const char *name, char path[static 256])
{
	const char *dir = getenv("CHAT_TROUBLE");

	if (!dir || strlen(dir) + strlen(name) + 2 > 256)
		return false;
	strcpy(path, dir);
	strcat(path, "/");
	strcat(path, name);
	return true;
}

/* Open the file; -1 without that trouble. */
static int trouble_open(const char *name)
{
	char path[256];

	return trouble_path(name, path) ? open(path, O_RDONLY | O_CLOEXEC) : -1;
}

static void trouble_remove(const char *name)
{
	char path[256];

	if (trouble_path(name, path))
		(void)unlink(path);
}

/* The number in it. False without that trouble. */
static bool trouble_number(const char *name, unsigned long *ret_number)
{
	int fd = trouble_open(name);
	char text[16] = "";
	ssize_t n;

	if (fd < 0)
		return false;
	n = read(fd, text, sizeof text - 1);
	close(fd);
	*ret_number = strtoul(text, NULL, 10);
	return n > 0;
}

/* Is it the one of all threads' allocations that is to fail? */
static bool is_the_one(void)
{
	static atomic_ulong n_seen;
	unsigned long at;

	if (!trouble_number("memory-at", &at)) {
		atomic_store(&n_seen, 0);
		return false;
	}
	if (atomic_fetch_add(&n_seen, 1) + 1 != at)
		return false;
	trouble_remove("memory-at");
	return true;
}

static bool is_out_of_memory(size_t size)
{
	unsigned long least;
	int saved = errno;
	bool is = (trouble_number("memory", &least) && size >= least) || is_the_one();

	errno = is ? ENOMEM : saved;
	return is;
}

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *pointer, size_t size);

EXPORT void *malloc(size_t size)
{
	return is_out_of_memory(size) ? NULL : __libc_malloc(size);
}

EXPORT void *calloc(size_t n, size_t size)
{
	size_t total;

	if (!__builtin_mul_overflow(n, size, &total) && is_out_of_memory(total))
		return NULL;
	return __libc_calloc(n, size);
}

EXPORT void *realloc(void *pointer, size_t size)
{
	return is_out_of_memory(size) ? NULL : __libc_realloc(pointer, size);
}

EXPORT int accept4(int fd, __SOCKADDR_ARG address, socklen_t *len, int flags)
{
	int (*next)(int, __SOCKADDR_ARG, socklen_t *, int) = dlsym(RTLD_NEXT, "accept4");
	unsigned long error;

	if (!trouble_number("accept", &error))
		return next(fd, address, len, flags);
	errno = (int)error;
	return -1;
}

EXPORT int epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event)
{
	int (*next)(int, int, int, struct epoll_event *) = dlsym(RTLD_NEXT, "epoll_ctl");
	unsigned long error;

	if (operation != EPOLL_CTL_ADD || !trouble_number("watch", &error))
		return next(epoll, operation, fd, event);
	errno = (int)error;
	return -1;
}

/* ---- what the kernel offers ---- */

/* Does it fail? Then errno says how. */
static bool is_refused(const char *name)
{
	int saved = errno;
	unsigned long error;
	bool is = trouble_number(name, &error);

	errno = is ? (int)error : saved;
	return is;
}

EXPORT int inotify_init1(int flags)
{
	int (*next)(int) = dlsym(RTLD_NEXT, "inotify_init1");

	return is_refused("inotify") ? -1 : next(flags);
}

EXPORT int inotify_add_watch(int fd, const char *path, uint32_t events)
{
	int (*next)(int, const char *, uint32_t) = dlsym(RTLD_NEXT, "inotify_add_watch");

	return is_refused("inotify-watch") ? -1 : next(fd, path, events);
}

EXPORT int memfd_create(const char *name, unsigned flags)
{
	int (*next)(const char *, unsigned) = dlsym(RTLD_NEXT, "memfd_create");

	return is_refused("memfd") ? -1 : next(name, flags);
}

EXPORT int eventfd(unsigned value, int flags)
{
	int (*next)(unsigned, int) = dlsym(RTLD_NEXT, "eventfd");

	return is_refused("eventfd") ? -1 : next(value, flags);
}

EXPORT int close_range(unsigned first, unsigned last, int flags)
{
	int (*next)(unsigned, unsigned, int) = dlsym(RTLD_NEXT, "close_range");

	return is_refused("close-range") ? -1 : next(first, last, flags);
}

EXPORT int setpriority(__priority_which_t which, id_t who, int priority)
{
	int (*next)(__priority_which_t, id_t, int) = dlsym(RTLD_NEXT, "setpriority");

	return is_refused("priority") ? -1 : next(which, who, priority);
}

EXPORT sem_t *sem_open(const char *name, int flags, ...)
{
	sem_t *(*next)(const char *, int, ...) = dlsym(RTLD_NEXT, "sem_open");
	unsigned value;
	mode_t mode;
	va_list ap;

	if (is_refused("semaphore"))
		return SEM_FAILED;
	if (!(flags & O_CREAT))
		return next(name, flags);
	va_start(ap, flags);
	mode = va_arg(ap, mode_t);
	value = va_arg(ap, unsigned);
	va_end(ap);
	return next(name, flags, mode, value);
}

EXPORT int setsockopt(int fd, int level, int option, const void *value, socklen_t len)
{
	int (*next)(int, int, int, const void *, socklen_t) = dlsym(RTLD_NEXT, "setsockopt");

	if (level == SOL_SOCKET && option == SO_PASSRIGHTS && is_refused("rights"))
		return -1;
	return next(fd, level, option, value, len);
}

static int plain_close(int fd)
{
	return (int)syscall(SYS_close, fd);
}

EXPORT int close(int fd)
{
	struct stat statbuf;
	char path[32], link[6] = "";
	int saved = errno, wait = -1;

	(void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	if (fstat(fd, &statbuf) == 0 && S_ISFIFO(statbuf.st_mode) &&
		readlink(path, link, sizeof link - 1) == 5 && strcmp(link, "pipe:") == 0)
		wait = trouble_open("hang-close");
	if (wait >= 0)
		plain_close(wait);
	errno = saved;
	return plain_close(fd);
}

/* ---- the user database ---- */

static int open_some(void)
{
	int fds[HUNGER], n = 0, r = 0;

	while (n < HUNGER && (fds[n] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0)
		n++;
	if (n < HUNGER)
		r = errno;
	while (n > 0)
		close(fds[--n]);
	return r;
}

static int data_base_trouble(void)
{
	int fd = trouble_open("hang");

	if (fd >= 0)
		close(fd);
	fd = trouble_open("hungry");
	if (fd >= 0) {
		close(fd);
		return open_some();
	}
	if (errno == EMFILE)
		return EMFILE;
	fd = trouble_open("fail");
	if (fd < 0)
		return 0;
	close(fd);
	return EIO;
}

EXPORT int getpwnam_r(
	const char *name, struct passwd *pw, char *buffer, size_t size, struct passwd **ret)
{
	int (*next)(const char *, struct passwd *, char *, size_t, struct passwd **) =
		dlsym(RTLD_NEXT, "getpwnam_r");
	int r = data_base_trouble();

	*ret = NULL;
	return r ? r : next(name, pw, buffer, size, ret);
}

EXPORT int getpwuid_r(uid_t uid, struct passwd *pw, char *buffer, size_t size, struct passwd **ret)
{
	int (*next)(uid_t, struct passwd *, char *, size_t, struct passwd **) =
		dlsym(RTLD_NEXT, "getpwuid_r");
	int r = data_base_trouble();

	*ret = NULL;
	return r ? r : next(uid, pw, buffer, size, ret);
}
