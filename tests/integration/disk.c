/* disk.c - see disk.h. */
#include "tests/integration/disk.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void stored_spawn(struct broker *broker, const char *option, const char *value)
{
	broker_spawn_here(broker, "--state", broker_path(broker, "state"), option, value);
	broker_wait_ready(broker);
}

struct broker *stored_start(void)
{
	struct broker *broker = broker_new();

	stored_spawn(broker, NULL, NULL);
	return broker;
}

struct broker *shimmed_start(void)
{
	static char disk[128], state[160];
	struct broker *broker = broker_new();

	snprintf(disk, sizeof disk, "CHAT_DISK=%s", broker->dir);
	snprintf(state, sizeof state, "CHAT_DISK_STATE=%s", broker_path(broker, "state"));
	broker->environment[0] = "LD_PRELOAD=" CHAT_DISK_SHIM;
	broker->environment[1] = disk;
	broker->environment[2] = state;
	/* the sanitizer wants to be loaded first, but can do without */
	broker->environment[3] = "ASAN_OPTIONS=verify_asan_link_order=0";
	stored_spawn(broker, NULL, NULL);
	return broker;
}

void disk_heal(const struct broker *broker, const char *trouble)
{
	assert_int_equal(unlink(broker_path(broker, trouble)), 0);
}

void disk_hang(const struct broker *broker)
{
	assert_int_equal(mkfifo(broker_path(broker, "hang"), 0600), 0);
}

void disk_go_on(const struct broker *broker)
{
	int fd = open(broker_path(broker, "hang"), O_RDWR | O_CLOEXEC);

	assert_true(fd >= 0);
	disk_heal(broker, "hang");
	/* left open: who opened it before may not have been woken yet */
}

void restart(struct broker *broker)
{
	broker_kill9(broker);
	raw_close_all();
	stored_spawn(broker, NULL, NULL);
}

const char *find_file(const struct broker *broker, const char *directory, const char *start)
{
	static char path[512];
	DIR *stream = opendir(broker_path(broker, directory));
	char name[256] = "";
	struct dirent *found;

	assert_non_null(stream);
	while ((found = readdir(stream)))
		if (found->d_name[0] != '.' && !strncmp(found->d_name, start, strlen(start)) &&
			strcmp(found->d_name, name) > 0)
			snprintf(name, sizeof name, "%s", found->d_name);
	closedir(stream);
	if (!name[0])
		fail_msg("no file %s in %s", start, directory);
	snprintf(path, sizeof path, "%s/%s", broker_path(broker, directory), name);
	return path;
}

void flip(const char *path, long offset)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	char c;

	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &c, 1, offset), 1);
	c ^= 0x20;
	assert_int_equal(pwrite(fd, &c, 1, offset), 1);
	close(fd);
}
