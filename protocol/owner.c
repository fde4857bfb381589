/* owner.c - see owner.h. */
#include "protocol/owner.h"

#include <linux/limits.h> /* limits.h is protocol/limits.h here */
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "protocol/uid.h"

bool owner_may_make(const char *path)
{
	uid_t user = geteuid();
	char part[PATH_MAX];
	size_t len = strlen(path);
	struct stat statbuf;

	if (len >= sizeof part)
		return false;
	memcpy(part, path, len + 1);
	/* not of the root directory: in a user namespace it may be nobody's */
	for (; len > 1; part[len] = '\0') {
		if (stat(part, &statbuf) == 0) {
			if (!uid_owns_closed(&statbuf) && statbuf.st_uid != 0)
				return false;
			if (user != 0)
				return true;
		}
		while (len > 1 && part[--len] != '/')
			;
	}
	return true;
}
