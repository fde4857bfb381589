/* journal_reader.c - see journal_reader.h. */
#include "broker/journal_reader.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "protocol/base.h"
#include "protocol/record.h"

/* ---- one file ---- */

enum header_state {
	HEADER_GOOD,
	HEADER_MAKING, /* the file was being made: nothing was written to it */
	HEADER_DAMAGED,
	HEADER_FORMAT, /* of a later version */
};

/* A file that was read. */
struct file {
	uint64_t generation;
	enum header_state state;
	struct journal_header header;
	char *data; /* owned */
	uint64_t len;
};

static bool is_zero(const char *data, uint64_t len)
{
	return len == 0 || (data[0] == 0 && memcmp(data, data + 1, len - 1) == 0);
}

/* Take the copy of the header at DATA. False if it does not fit. */
static bool header_take(
	const char *data, const char *magic, uint64_t generation, struct journal_header *ret_header)
{
	struct journal_header header;

	memcpy(&header, data, sizeof header);
	if (memcmp(header.magic, magic, sizeof header.magic) != 0 ||
		header.crc != journal_header_crc(&header) || header.generation != generation)
		return false;
	*ret_header = header;
	return true;
}

static enum header_state file_state(struct file *file)
{
	const char *data = file->data;
	bool has_magic;

	if (file->len < JOURNAL_HEADER_LEN)
		return is_zero(data, file->len) ? HEADER_MAKING : HEADER_DAMAGED;
	if (header_take(data, JOURNAL_MAGIC, file->generation, &file->header) ||
		header_take(data + JOURNAL_HEADER_COPY, JOURNAL_MAGIC, file->generation,
			&file->header) ||
		header_take(data, JOURNAL_MAGIC_BEFORE, file->generation, &file->header))
		return HEADER_GOOD;
	has_magic = memcmp(data, JOURNAL_MAGIC_START, strlen(JOURNAL_MAGIC_START)) == 0;
	if (has_magic && memcmp(data, JOURNAL_MAGIC, strlen(JOURNAL_MAGIC)) != 0 &&
		memcmp(data, JOURNAL_MAGIC_BEFORE, strlen(JOURNAL_MAGIC_BEFORE)) != 0)
		return HEADER_FORMAT;
	/* the header is synced before anything is written after it */
	return is_zero(data + JOURNAL_HEADER_LEN, file->len - JOURNAL_HEADER_LEN) ? HEADER_MAKING
										  : HEADER_DAMAGED;
}

static int read_whole(int fd, char **ret_data, uint64_t *ret_len)
{
	struct stat statbuf;
	uint64_t len = 0;
	char *data;

	if (fstat(fd, &statbuf) < 0)
		return -errno;
	data = malloc((size_t)statbuf.st_size + 1);
	if (!data)
		return -ENOMEM;
	while (len < (uint64_t)statbuf.st_size) {
		ssize_t n = pread(fd, data + len, (size_t)statbuf.st_size - len, (off_t)len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			int r = -errno;

			free(data);
			return r;
		}
		if (n == 0)
			break;
		len += (uint64_t)n;
	}
	*ret_data = data;
	*ret_len = len;
	return 0;
}

/* To be freed by file_close(). */
static int file_open(int dir, uint64_t generation, struct file *ret_file)
{
	char name[JOURNAL_NAME_MAX];
	int fd, r;

	*ret_file = (struct file){ .generation = generation };
	journal_name(generation, name);
	fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return -errno;
	r = read_whole(fd, &ret_file->data, &ret_file->len);
	close(fd);
	if (r == 0)
		ret_file->state = file_state(ret_file);
	return r;
}

static void file_close(struct file *file)
{
	free(file->data);
	file->data = NULL;
}

/* The size of the entry at byte AT, if it fits and ends before END; else 0. */
static uint64_t file_entry(
	const struct file *file, uint64_t at, uint64_t end, struct journal_entry *ret_entry)
{
	uint64_t size;

	if (end - at < sizeof *ret_entry)
		return 0;
	memcpy(ret_entry, file->data + at, sizeof *ret_entry);
	if (ret_entry->len > JOURNAL_ENTRY_MAX)
		return 0;
	size = journal_entry_size(ret_entry->len);
	if (size > end - at || ret_entry->kind == 0 || ret_entry->kind >= JOURNAL_KINDS ||
		ret_entry->crc != journal_entry_crc(file->header.salt, ret_entry,
					  file->data + at + sizeof *ret_entry))
		return 0;
	if (ret_entry->kind == JOURNAL_BATCH &&
		ret_entry->room != journal_mark(file->header.generation, file->header.salt, at))
		return 0;
	return size;
}

/* Where the first mark after byte AT is, before END; else 0. */
static uint64_t file_find_mark(const struct file *file, uint64_t at, uint64_t end)
{
	struct journal_entry entry;

	for (at += 8; at + sizeof entry <= end; at += 8) {
		memcpy(&entry, file->data + at, sizeof entry);
		if (entry.kind == JOURNAL_BATCH && entry.len == 0 &&
			file_entry(file, at, end, &entry) > 0)
			return at;
	}
	return 0;
}

/* ---- replaying ---- */

struct replay {
	const struct journal_reader *reader;
	void *userdata;
	struct journal_replayed *replayed;
};

static int replay_damage(struct replay *replay, uint64_t generation, uint64_t at, uint64_t len)
{
	struct journal_damage damage = { .generation = generation, .at = at, .len = len };

	return replay->reader->damage(replay->userdata, &damage);
}

/* Where the entry after the one at byte AT is, which does not fit: behind it, if its length leads
 * to one that fits or to END; or after a mark, which has no length. END if there is none. */
static uint64_t file_next_entry(
	const struct file *file, uint64_t at, uint64_t end, bool *ret_has_len)
{
	struct journal_entry entry, after;
	uint64_t next = end;

	*ret_has_len = false;
	if (end - at < sizeof entry)
		return end;
	memcpy(&entry, file->data + at, sizeof entry);
	if (entry.len <= JOURNAL_ENTRY_MAX && journal_entry_size(entry.len) <= end - at)
		next = at + journal_entry_size(entry.len);
	*ret_has_len = next < end ? file_entry(file, next, end, &after) > 0
				  : next == at + journal_entry_size(entry.len);
	if (*ret_has_len)
		return next;
	next = at + sizeof entry;
	return file_entry(file, next, end, &after) > 0 ? next : end;
}

/* The entry at byte AT does not fit, and everything before byte END was synced. */
static int replay_damaged(
	struct replay *replay, const struct file *file, uint64_t end, uint64_t *at)
{
	struct journal_entry entry;
	uint64_t from = *at;
	bool has_len;
	int r;

	*at = file_next_entry(file, from, end, &has_len);
	r = replay_damage(replay, file->generation, from, *at - from);
	if (r || !has_len)
		return r;
	memcpy(&entry, file->data + from, sizeof entry);
	return replay->reader->damaged_entry(
		replay->userdata, &entry, file->data + from + sizeof entry);
}

/* The entries of FILE up to byte END; with MAY_BE_TORN the last write may not be whole. */
static int replay_entries(
	struct replay *replay, const struct file *file, uint64_t end, bool may_be_torn)
{
	struct journal_replayed *replayed = replay->replayed;
	uint64_t at = MIN((uint64_t)JOURNAL_HEADER_LEN, end), mark;
	struct journal_entry entry;
	int r = 0;

	while (at < end && r == 0) {
		uint64_t size = file_entry(file, at, end, &entry);

		if (size == 0) {
			mark = file_find_mark(file, at, end);
			if (mark == 0 && may_be_torn)
				break;
			r = replay_damaged(replay, file, mark > 0 ? mark : end, &at);
			continue;
		}
		if (entry.kind != JOURNAL_BATCH) {
			r = replay->reader->entry(
				replay->userdata, &entry, file->data + at + sizeof entry);
			replayed->n_entries++;
		}
		at += size;
	}
	while (end > at && file->data[end - 1] == 0)
		end--;
	replayed->generation = file->generation;
	replayed->len = at;
	replayed->n_bytes += at - JOURNAL_HEADER_LEN;
	replayed->torn_len = end - at;
	replayed->n_files++;
	return r;
}

/* One file of the chain, of which GOOD_LEN bytes are good; UINT64_MAX: that is not known. */
static int replay_file(struct replay *replay, const struct file *file, uint64_t good_len)
{
	uint64_t end = MIN(file->len, good_len);
	int r;

	if (file->state != HEADER_GOOD) {
		replay->replayed->generation = file->generation;
		replay->replayed->len = 0;
		return replay_damage(replay, file->generation, 0, file->len);
	}
	r = replay_entries(replay, file, end, good_len == UINT64_MAX);
	if (r == 0 && good_len != UINT64_MAX && good_len > file->len)
		r = replay_damage(replay, file->generation, end, good_len - end);
	return r;
}

/* ---- the chain ---- */

/* How much of FILE is good, as AFTER says, the file after it or NULL. */
static uint64_t good_len_of(const struct file *file, const struct file *after)
{
	return after && after->state == HEADER_GOOD &&
			       after->header.previous_generation == file->generation
		       ? after->header.previous_len
		       : UINT64_MAX;
}

/* Files from EXPECTED on and before GENERATION are not there. */
static int replay_missing(struct replay *replay, uint64_t expected, uint64_t generation,
	enum journal_expect expect, char why[static JOURNAL_WHY_MAX])
{
	char name[JOURNAL_NAME_MAX];

	if (expected >= generation)
		return 0;
	if (expect == JOURNAL_WHATEVER)
		return replay_damage(replay, expected, 0, 0);
	journal_name(expected, name);
	snprintf(why, JOURNAL_WHY_MAX, "%s is missing", name);
	return JOURNAL_E_MISSING;
}

static int file_refuse(const struct file *file, char why[static JOURNAL_WHY_MAX])
{
	char name[JOURNAL_NAME_MAX];

	journal_name(file->generation, name);
	snprintf(why, JOURNAL_WHY_MAX, "%s is of another version of chat-broker", name);
	return JOURNAL_E_FORMAT;
}

/* FILE, and AFTER, which may be NULL. IS_MADE: somebody saw that it was whole. */
static int replay_link(struct replay *replay, const struct file *file, const struct file *after,
	bool is_made, char why[static JOURNAL_WHY_MAX])
{
	if (file->state == HEADER_FORMAT)
		return file_refuse(file, why);
	if (file->state == HEADER_MAKING && !after && !is_made)
		return 0;
	return replay_file(replay, file, good_len_of(file, after));
}

/* The N files of LIST, of which EXPECTED should be the first. */
static int replay_chain(struct replay *replay, int dir, const uint64_t *list, size_t n,
	uint64_t expected, enum journal_expect expect, char why[static JOURNAL_WHY_MAX])
{
	struct file file = { .data = NULL }, after = { .data = NULL };
	bool is_made = expect == JOURNAL_SOME;
	int r;

	if (n == 0)
		return expect == JOURNAL_ANY
			       ? 0
			       : replay_missing(replay, expected, expected + 1, expect, why);
	r = file_open(dir, list[0], &file);
	for (size_t i = 0; i < n && r == 0; i++) {
		r = replay_missing(replay, expected, list[i], expect, why);
		if (r == 0 && i + 1 < n)
			r = file_open(dir, list[i + 1], &after);
		if (r == 0)
			r = replay_link(replay, &file, i + 1 < n ? &after : NULL, is_made, why);
		file_close(&file);
		file = after;
		after.data = NULL;
		is_made = false;
		expected = list[i] + 1;
	}
	file_close(&file);
	file_close(&after);
	return r;
}

int journal_read(int dir, uint64_t generation, enum journal_expect expect,
	const struct journal_reader *reader, void *userdata, struct journal_replayed *ret_replayed,
	char why[static JOURNAL_WHY_MAX])
{
	struct replay replay = { reader, userdata, ret_replayed };
	uint64_t *list = NULL;
	size_t n = 0, i = 0;
	int r;

	*ret_replayed = (struct journal_replayed){ 0 };
	r = journal_list(dir, &list, &n);
	if (r < 0)
		return r;
	while (i < n && list[i] < generation)
		i++;
	r = replay_chain(&replay, dir, i < n ? list + i : NULL, n - i, generation, expect, why);
	free(list);
	return r;
}
