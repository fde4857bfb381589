/* home.c - see home.h. */
#include "broker/home.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "broker/trace.h"
#include "protocol/owner.h"

/* A directory that the environment names. A program that became another user's, by its mode
 * or by sudo(8), has no use for that of the user who called it. */
static const char *environment(const char *name)
{
	const char *value = secure_getenv(name);

	if (!value || value[0] != '/')
		return NULL;
	if (owner_may_make(value))
		return value;
	trace(TRACE_WARNING, "%s=%s belongs to another user; the broker makes nothing there", name,
		value);
	return NULL;
}

static const char *own_home(void)
{
	const char *home = environment("HOME");
	const struct passwd *passwd;

	if (home)
		return home;
	passwd = getpwuid(geteuid());
	return passwd && passwd->pw_dir && passwd->pw_dir[0] == '/' ? passwd->pw_dir : NULL;
}

/* All directories above PATH. */
static int make_parents(char *path)
{
	for (char *at = strchr(path + 1, '/'); at; at = strchr(at + 1, '/')) {
		int r;

		*at = '\0';
		r = mkdir(path, 0700) < 0 && errno != EEXIST ? -errno : 0;
		*at = '/';
		if (r < 0)
			return r;
	}
	return 0;
}

int home_find(char path[static PATH_MAX], char why[static HOME_WHY_MAX])
{
	const char *state = environment("XDG_STATE_HOME"), *rest = "";
	int n, r;

	if (!state && geteuid() == 0) {
		state = "/var/lib";
	} else if (!state) {
		state = own_home();
		rest = "/.local/state";
	}
	if (!state) {
		snprintf(why, HOME_WHY_MAX, "this user has no home directory");
		return HOME_E_NONE;
	}
	n = snprintf(path, PATH_MAX, "%s%s/chat-broker", state, rest);
	r = n < PATH_MAX ? make_parents(path) : -ENAMETOOLONG;
	if (r < 0) {
		snprintf(why, HOME_WHY_MAX, "can not store in %s%s/chat-broker: %s", state, rest,
			strerror(-r));
		return HOME_E_NONE;
	}
	return 0;
}
