/* clock_shim.c - loaded in front of a program with LD_PRELOAD: clocks that are somewhere else.
 *
 * CHAT_CLOCK names a directory. The files "wall", "monotonic" and "boot" in it say how many seconds
 * each of these clocks is ahead.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define EXPORT __attribute__((__visibility__("default")))

static const char *clock_name(clockid_t clock)
{
	switch (clock) {
	case CLOCK_REALTIME:
		return "wall";
	case CLOCK_MONOTONIC:
		return "monotonic";
	case CLOCK_BOOTTIME:
		return "boot";
	default:
		return NULL;
	}
}

static long clock_shift(clockid_t clock)
{
	const char *dir = getenv("CHAT_CLOCK"), *name = clock_name(clock);
	char path[256], text[24] = "";
	ssize_t n;
	int fd;

	if (!dir || !name)
		return 0;
	snprintf(path, sizeof path, "%s/%s", dir, name);
	fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
	if (fd < 0)
		return 0;
	n = read(fd, text, sizeof text - 1);
	close(fd);
	return n > 0 ? strtol(text, NULL, 10) : 0;
}

EXPORT int clock_gettime(clockid_t clock, struct timespec *ret_ts)
{
	int r = (int)syscall(SYS_clock_gettime, clock, ret_ts);

	if (r == 0)
		ret_ts->tv_sec += clock_shift(clock);
	return r;
}

EXPORT time_t time(time_t *ret_time)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	if (ret_time)
		*ret_time = now.tv_sec;
	return now.tv_sec;
}
