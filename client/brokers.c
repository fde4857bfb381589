/* brokers.c - see brokers.h. */
#include "client/brokers.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "protocol/base.h"
#include "protocol/owner.h"
#include "protocol/text.h"
#include "protocol/uid.h"

#define FILE_NAME "chat-client/brokers"

static void freep(void *pointer)
{
	free(*(void **)pointer);
}

static void fclosep(FILE **file)
{
	if (*file)
		fclose(*file);
}

/* A directory that the environment names, which can be that of another user. The XDG base
 * directory specification: a relative path is ignored. */
static const char *environment(const char *name)
{
	const char *value = getenv(name);

	return value && value[0] == '/' && owner_may_make(value) ? value : NULL;
}

static int state_path(char **ret_path)
{
	const char *state = environment("XDG_STATE_HOME");
	const char *home = environment("HOME");
	struct passwd *user;

	if (state)
		return asprintf(ret_path, "%s/%s", state, FILE_NAME) < 0 ? -ENOMEM : 0;
	if (!home) {
		user = getpwuid(geteuid());
		if (!user)
			return -ENOENT;
		home = user->pw_dir;
	}
	return asprintf(ret_path, "%s/.local/state/%s", home, FILE_NAME) < 0 ? -ENOMEM : 0;
}

/* One line for one broker. The escaping is reversible, so lines are equal only
 * for the same socket; a path is taken to its real place, so that "./sock" means
 * one file only. */
static int line_of(const char *path, uid_t uid, char **ret_line)
{
	_cleanup_(freep) char *real = path[0] == '@' ? NULL : realpath(path, NULL);
	_cleanup_(freep) char *shown = NULL;
	struct text text = text_of(real ? real : path);

	shown = malloc(TEXT_ESCAPED_MAX(text.len) + 1);
	if (!shown)
		return -ENOMEM;
	shown[text_escape(shown, text)] = '\0';
	return asprintf(ret_line, "%lu %s\n", (unsigned long)uid, shown) < 0 ? -ENOMEM : 0;
}

static FILE *brokers_open(const char *path)
{
	int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct stat st;
	FILE *file;

	if (fd < 0)
		return NULL;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || !uid_owns(fd, &st) ||
		(st.st_mode & (S_IWGRP | S_IWOTH))) {
		close(fd);
		return NULL;
	}
	file = fdopen(fd, "r");
	if (!file)
		close(fd);
	return file;
}

bool brokers_is_known(const char *path, uid_t uid)
{
	_cleanup_(freep) char *place = NULL, *wanted = NULL, *line = NULL;
	_cleanup_(fclosep) FILE *file = NULL;
	size_t size = 0;

	if (state_path(&place) < 0 || line_of(path, uid, &wanted) < 0)
		return false;
	file = brokers_open(place);
	while (file && getline(&line, &size, file) >= 0)
		if (strcmp(line, wanted) == 0)
			return true;
	return false;
}

/* Make what is missing of the directories above the last part of PATH, 0700 as
 * the XDG specification asks. PATH is put back as it was. */
static int make_parents(char *path)
{
	for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		int r;

		*slash = '\0';
		r = mkdir(path, 0700) < 0 && errno != EEXIST ? -errno : 0;
		*slash = '/';
		if (r)
			return r;
	}
	return 0;
}

int brokers_remember(const char *path, uid_t uid)
{
	_cleanup_(freep) char *place = NULL, *line = NULL;
	ssize_t n;
	int fd, r;

	r = state_path(&place);
	if (r)
		return r;
	r = line_of(path, uid, &line);
	if (r)
		return r;
	r = make_parents(place);
	if (r)
		return r;
	fd = open(place, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	n = write(fd, line, strlen(line));
	r = n < 0 ? -errno : (size_t)n < strlen(line) ? -ENOSPC : 0;
	if (close(fd) < 0 && !r)
		r = -errno;
	return r;
}
