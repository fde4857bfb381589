/* backup.c - see backup.h.
 *
 * Segment files only grow, and the catalog records how much of each is good. So the backup copies
 * the catalog, then the files that the catalog names, then the journal from the generation that the
 * catalog names. A checkpoint during the copy may remove journal entries that the copied catalog
 * does not have yet. Then the backup copies the catalog again, and of the files only the new part.
 * The copy appears under its name when it is complete.
 *
 * A broker that starts on the copy gives each log another identity, because the copy lacks messages
 * that readers saw after the backup.
 */
#include "broker/backup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "broker/archive.h"
#include "broker/array.h"
#include "broker/catalog.h"
#include "broker/inspect.h"
#include "broker/journal.h"
#include "protocol/base.h"

/* Checkpoints that may come in the way; each time less is left to be copied. */
#define PASSES_MAX 20

#define COPY_BYTES (1u << 20)
/* The header of a journal, or the payload of its last entry, may end with this many zeros. */
#define ZEROS_MAX      (JOURNAL_ENTRY_MAX + JOURNAL_HEADER_LEN)
#define PROGRESS_EVERY 100 /* ms */

struct segment_file {
	uint64_t room;
	uint32_t number;
	uint64_t len; /* with its header */
};

struct backup {
	const char *from, *target;
	char partial[PATH_MAX]; /* where it is made */
	int source, dir;        /* descriptors of both */
	struct catalog_journal journal;
	struct segment_file *files;
	size_t n_files, files_size;
	uint64_t n_bytes, n_total; /* copied, of what is known so far */
	uint64_t told_at;          /* ms */
	char *buffer;
	char why[2 * PATH_MAX]; /* at least CATALOG_WHY_MAX */
};

static int backup_fail(struct backup *backup, const char *what, int error)
{
	snprintf(backup->why, sizeof backup->why, "%s: %s", what, strerror(-error));
	return error;
}

/* ---- progress ---- */

static void backup_tell(struct backup *backup, bool is_end)
{
	struct timespec now;
	uint64_t ms;

	if (!isatty(STDERR_FILENO))
		return;
	clock_gettime(CLOCK_MONOTONIC, &now);
	ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
	if (!is_end && ms - backup->told_at < PROGRESS_EVERY)
		return;
	backup->told_at = ms;
	fprintf(stderr, "\rchat-broker: copied %lu of %lu MiB%s",
		(unsigned long)(backup->n_bytes >> 20),
		(unsigned long)(MAX(backup->n_total, backup->n_bytes) >> 20), is_end ? "\n" : "");
}

/* ---- files ---- */

/* Of backup_copy(): the source has no such file any more. */
enum { COPY_E_GONE = 1 };

static int write_whole(int fd, const char *data, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, data, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -ENOSPC;
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

/* Copy from byte AT of IN to the end of OUT, up to byte END or to the end of the file. */
static int backup_copy_bytes(struct backup *backup, int in, int out, uint64_t at, uint64_t end)
{
	int r = 0;

	while (r == 0 && at < end) {
		ssize_t n =
			pread(in, backup->buffer, MIN(end - at, (uint64_t)COPY_BYTES), (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : 0;
		r = write_whole(out, backup->buffer, (size_t)n);
		at += (uint64_t)n;
		backup->n_bytes += (uint64_t)n;
		backup_tell(backup, false);
	}
	return r;
}

/* The length of the file without the zeros at its end. A broker that writes to it goes on there,
 * and does not change the bytes before. Returns the length or -errno. */
static int64_t used_len(struct backup *backup, int fd)
{
	struct stat statbuf;
	off_t len;

	if (fstat(fd, &statbuf) < 0)
		return -errno;
	for (len = statbuf.st_size; len > 0;) {
		size_t size = MIN((size_t)len, (size_t)COPY_BYTES);
		ssize_t n = pread(fd, backup->buffer, size, len - (off_t)size);

		if (n != (ssize_t)size)
			return n < 0 ? -errno : -EIO;
		while (size > 0 && backup->buffer[size - 1] == 0) {
			size--;
			len--;
		}
		if (size > 0)
			break;
	}
	return len;
}

/* Copy the bytes of NAME from the end of the copy on, up to LEN; UINT64_MAX: up to the zeros at its
 * end. Returns 0, COPY_E_GONE or -errno. */
static int backup_copy(struct backup *backup, const char *name, uint64_t len)
{
	int in = openat(backup->source, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW), out, r = 0;
	int64_t end = (int64_t)MIN(len, (uint64_t)INT64_MAX);
	struct stat statbuf;

	if (in < 0)
		return errno == ENOENT ? COPY_E_GONE : -errno;
	if (len == UINT64_MAX)
		end = used_len(backup, in);
	if (end < 0) {
		close(in);
		return (int)end;
	}
	out = openat(
		backup->dir, name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (out < 0 || fstat(out, &statbuf) < 0)
		r = -errno;
	if (r == 0)
		r = backup_copy_bytes(backup, in, out, (uint64_t)statbuf.st_size, (uint64_t)end);
	/* zeros may belong to the header, or to the last entry: they are not read again, for
	 * somebody may be writing there */
	if (r == 0 && len == UINT64_MAX && ftruncate(out, end + ZEROS_MAX) < 0)
		r = -errno;
	close(in);
	if (out >= 0 && close(out) < 0 && r == 0)
		r = -errno;
	return r;
}

static void segment_name(const struct segment_file *file, char name[static ARCHIVE_NAME_MAX])
{
	snprintf(name, ARCHIVE_NAME_MAX, ARCHIVE_DIR "/%016lx-%08x", (unsigned long)file->room,
		file->number);
}

/* One that is not there is damaged in the source, too, or retention took it: the next pass tells.
 */
static int backup_copy_segments(struct backup *backup)
{
	char name[ARCHIVE_NAME_MAX];
	int r = 0;

	for (size_t i = 0; i < backup->n_files && r == 0; i++) {
		segment_name(&backup->files[i], name);
		r = backup_copy(backup, name, backup->files[i].len);
		if (r == COPY_E_GONE)
			r = 0;
		if (r < 0)
			return backup_fail(backup, name, r);
	}
	return r;
}

static int backup_copy_journal(struct backup *backup)
{
	char name[JOURNAL_NAME_MAX];
	uint64_t *list = NULL;
	size_t n = 0;
	int r = journal_list(backup->source, &list, &n);

	for (size_t i = 0; i < n && r == 0; i++) {
		if (list[i] < backup->journal.generation)
			continue;
		journal_name(list[i], name);
		(void)unlinkat(backup->dir, name, 0);
		r = backup_copy(backup, name, UINT64_MAX);
		if (r == COPY_E_GONE) /* a checkpoint removed it, and the next pass tells */
			r = 0;
		if (r < 0)
			backup_fail(backup, name, r);
	}
	free(list);
	return r;
}

/* ---- the catalog ---- */

static int take_segment(void *userdata, uint64_t room, const struct segment_image *image)
{
	struct backup *backup = userdata;
	struct segment_file *files =
		array_more(backup->files, backup->n_files, &backup->files_size, sizeof *files);

	if (!files)
		return -ENOMEM;
	backup->files = files;
	files[backup->n_files++] =
		(struct segment_file){ room, image->number, ARCHIVE_HEADER_LEN + image->used };
	backup->n_total += ARCHIVE_HEADER_LEN + image->used;
	return 0;
}

static const struct catalog_reader reader = { .segment = take_segment };

/* Returns 0, an outcome of the catalog with WHY filled in, or -errno. */
static int backup_copy_catalog(struct backup *backup)
{
	struct catalog catalog;
	int r;

	(void)unlinkat(backup->dir, CATALOG_NAME, 0);
	backup->n_files = 0;
	backup->n_total = 0;
	r = catalog_copy_to(backup->from, backup->partial, backup->why);
	if (r == 0)
		r = catalog_open(&catalog, backup->partial, CATALOG_WRITE, backup->why);
	if (r)
		return r;
	r = catalog_read_journal(&catalog, &backup->journal, backup->why);
	if (r == 0)
		r = catalog_read(&catalog, &reader, backup, backup->why);
	if (r == 0) {
		struct catalog_journal other = backup->journal;

		randombytes_buf(&other.incarnation, sizeof other.incarnation);
		r = catalog_set_journal(&catalog, &other);
		if (r)
			snprintf(backup->why, sizeof backup->why, CATALOG_NAME ": %s",
				catalog_error(&catalog));
	}
	catalog_close(&catalog);
	(void)unlinkat(backup->dir, CATALOG_NAME "-journal", 0);
	return r;
}

/* Has the source another catalog now? Returns as above. */
static int backup_is_old(struct backup *backup, bool *ret_is_old)
{
	struct catalog_journal journal;
	struct catalog catalog;
	int r = catalog_open(&catalog, backup->from, CATALOG_INSPECT, backup->why);

	if (r)
		return r;
	r = catalog_read_journal(&catalog, &journal, backup->why);
	catalog_close(&catalog);
	*ret_is_old = r == 0 && journal.generation != backup->journal.generation;
	return r;
}

/* ---- all of it ---- */

static int backup_make(struct backup *backup)
{
	bool is_old = true;
	int r = 0;

	for (int pass = 0; pass < PASSES_MAX && r == 0 && is_old; pass++) {
		r = backup_copy_catalog(backup);
		if (r == 0)
			r = backup_copy_segments(backup);
		if (r == 0)
			r = backup_copy_journal(backup);
		if (r == 0)
			r = backup_is_old(backup, &is_old);
	}
	backup_tell(backup, true);
	if (r == 0 && is_old) {
		snprintf(backup->why, sizeof backup->why,
			"checkpoints came faster than it was copied; try again");
		return CATALOG_E_SQLITE;
	}
	if (r == 0 && syncfs(backup->dir) < 0)
		r = backup_fail(backup, "cannot sync", -errno);
	return r;
}

/* Returns 0 or an exit status, with WHY filled in. */
static int backup_open(struct backup *backup)
{
	struct stat statbuf;

	backup->source = open(backup->from, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (backup->source < 0 || fstat(backup->source, &statbuf) < 0) {
		(void)backup_fail(backup, backup->from, -errno);
		return EX_NOINPUT;
	}
	if (lstat(backup->target, &statbuf) == 0) {
		snprintf(backup->why, sizeof backup->why, "%s exists; choose another name",
			backup->target);
		return EX_CANTCREAT;
	}
	if (snprintf(backup->partial, sizeof backup->partial, "%s.partial", backup->target) >=
		(int)sizeof backup->partial) {
		(void)backup_fail(backup, backup->target, -ENAMETOOLONG);
		return EX_CANTCREAT;
	}
	if (mkdir(backup->partial, 0700) < 0) {
		snprintf(backup->why, sizeof backup->why, "%s: %s%s", backup->partial,
			strerror(errno),
			errno == EEXIST ? "; a backup was cut off: remove it" : "");
		return EX_CANTCREAT;
	}
	backup->dir = open(backup->partial, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	backup->buffer = malloc(COPY_BYTES);
	if (backup->dir < 0 || !backup->buffer || mkdirat(backup->dir, ARCHIVE_DIR, 0700) < 0) {
		(void)backup_fail(backup, backup->partial, backup->buffer ? -errno : -ENOMEM);
		return EX_CANTCREAT;
	}
	return 0;
}

static int backup_run(struct backup *backup)
{
	int status = backup_open(backup), r;

	if (status)
		return status;
	r = backup_make(backup);
	if (r > 0)
		return r == CATALOG_E_FULL ? EX_IOERR : EX_DATAERR;
	if (r < 0) {
		if (!backup->why[0])
			(void)backup_fail(backup, backup->from, r);
		return EX_IOERR;
	}
	if (rename(backup->partial, backup->target) < 0 || syncfs(backup->dir) < 0) {
		(void)backup_fail(backup, backup->target, -errno);
		return EX_CANTCREAT;
	}
	return 0;
}

int backup(const char *directory, const char *target)
{
	struct backup backup = { .from = directory, .target = target, .source = -1, .dir = -1 };
	int status = backup_run(&backup);

	if (backup.source >= 0)
		close(backup.source);
	if (backup.dir >= 0)
		close(backup.dir);
	free(backup.files);
	free(backup.buffer);
	if (status) {
		fprintf(stderr, "chat-broker: cannot back up: %s\n", backup.why);
		return status;
	}
	/* damage in the source is in the copy, too: the exit status then reports the damage */
	return inspect_verify(target);
}
