/* trouble_shim.c - loaded in front of a broker with LD_PRELOAD: makes memory run out, or
 * the user data base fail or hang, while a file is there.
 *
 * CHAT_TROUBLE names a directory; the files in it are "memory" (allocations of as many
 * bytes as it says, or more, fail), "fail" (getpw*_r fail with EIO) and "hang", a FIFO
 * (they wait until somebody opens it for writing).
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EXPORT __attribute__((__visibility__("default")))

/* Open the file; -1 without that trouble. */
static int trouble_open(const char *name)
{
	const char *dir = getenv("CHAT_TROUBLE");
	char path[256];

	if (!dir || strlen(dir) + strlen(name) + 2 > sizeof path)
		return -1;
	strcpy(path, dir);
	strcat(path, "/");
	strcat(path, name);
	return open(path, O_RDONLY | O_CLOEXEC);
}

static bool is_out_of_memory(size_t size)
{
	int saved = errno, fd = trouble_open("memory");
	char text[16] = "";
	bool is = false;

	if (fd >= 0) {
		is = read(fd, text, sizeof text - 1) > 0 && size >= strtoul(text, NULL, 10);
		close(fd);
	}
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

static int data_base_trouble(void)
{
	int fd = trouble_open("hang");

	if (fd >= 0)
		close(fd);
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
