/* namespace.c - see namespace.h. */
#include "tests/integration/namespace.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "tests/integration/harness.h"

bool namespace_enter(uid_t uid, const char *uid_map)
{
	size_t len = strlen(uid_map);
	bool is_written;
	int fd;

	if (setresuid(uid, uid, uid) < 0)
		return false;
	/* the change of user took this, and with it the files in /proc, away */
	prctl(PR_SET_DUMPABLE, 1);
	if (unshare(CLONE_NEWUSER) < 0)
		return false;
	if (len == 0)
		return true;
	fd = open("/proc/self/uid_map", O_WRONLY | O_CLOEXEC);
	is_written = fd >= 0 && write(fd, uid_map, len) == (ssize_t)len;
	if (fd >= 0)
		close(fd);
	return is_written;
}

bool namespace_is_allowed(uid_t uid)
{
	pid_t pid = child_fork();
	char map[32];

	if (pid > 0)
		return child_end(pid) == 0;
	snprintf(map, sizeof map, "0 %u 1\n", uid);
	_exit(!namespace_enter(uid, map));
}
