/* journal.c - see journal.h. */
#include "broker/journal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "protocol/base.h"
#include "protocol/number.h"
#include "protocol/record.h"

#define NAME_START "journal-"
#define NAME_LEN   (strlen(NAME_START) + NUMBER_HEX_LEN)

static const char zeros[8];

/* ---- the format ---- */

void journal_name(uint64_t generation, char name[static JOURNAL_NAME_MAX])
{
	snprintf(name, JOURNAL_NAME_MAX, NAME_START "%016lx", (unsigned long)generation);
}

static bool name_parse(const char *name, uint64_t *ret_generation)
{
	return strlen(name) == NAME_LEN && memcmp(name, NAME_START, strlen(NAME_START)) == 0 &&
	       number_parse_hex(text_of(name + strlen(NAME_START)), ret_generation);
}

static size_t padding(size_t len)
{
	return -len & 7;
}

uint32_t journal_entry_crc(uint64_t salt, const struct journal_entry *entry, const void *payload)
{
	uint32_t crc = record_crc32c(0, &salt, sizeof salt);

	crc = record_crc32c(crc, &entry->len, sizeof entry->len);
	crc = record_crc32c(
		crc, &entry->kind, sizeof *entry - offsetof(struct journal_entry, kind));
	return record_crc32c(crc, payload, entry->len);
}

uint32_t journal_header_crc(const struct journal_header *header)
{
	return record_crc32c(0, header, offsetof(struct journal_header, crc));
}

uint64_t journal_mark(uint64_t generation, uint64_t salt, uint64_t at)
{
	const uint64_t key[] = { salt, generation };
	uint64_t mark;

	_Static_assert(sizeof key == crypto_shorthash_KEYBYTES, "the key of SipHash");
	crypto_shorthash((unsigned char *)&mark, (const unsigned char *)&at, sizeof at,
		(const unsigned char *)key);
	return mark;
}

/* ---- writing ---- */

void journal_init(struct journal *journal, int dir, uint64_t previous, uint64_t len)
{
	*journal = (struct journal){ .dir = dir, .fd = -1, .generation = previous, .len = len };
}

void journal_close(struct journal *journal)
{
	if (journal->fd < 0)
		return;
	/* what was set aside for more is given back; if not, it is at the next checkpoint */
	(void)!ftruncate(journal->fd, (off_t)journal->len);
	close(journal->fd);
	journal->fd = -1;
}

static int write_all(int fd, struct iovec *parts, size_t n_parts, uint64_t at)
{
	while (n_parts > 0) {
		ssize_t n = pwritev(fd, parts, (int)MIN(n_parts, (size_t)IOV_MAX), (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		at += (uint64_t)n;
		for (; n_parts > 0 && (size_t)n >= parts->iov_len; parts++, n_parts--)
			n -= (ssize_t)parts->iov_len;
		if (n_parts > 0) {
			parts->iov_base = (char *)parts->iov_base + n;
			parts->iov_len -= (size_t)n;
		}
	}
	return 0;
}

/* Make the file that follows the one in hand. It is there, with its header, when what is
 * written to it first is synced. */
static int journal_open_next(struct journal *journal)
{
	uint64_t generation = journal->generation + 1;
	struct journal_header header = { .magic = JOURNAL_MAGIC, .generation = generation };
	char sector[JOURNAL_HEADER_LEN] = { 0 }, name[JOURNAL_NAME_MAX];
	struct iovec part = { sector, sizeof sector };
	int fd, r;

	header.previous_generation = journal->generation;
	header.previous_len = journal->len;
	randombytes_buf(&header.salt, sizeof header.salt);
	header.crc = journal_header_crc(&header);
	memcpy(sector, &header, sizeof header);
	memcpy(sector + JOURNAL_HEADER_COPY, &header, sizeof header);
	journal_name(generation, name);
	(void)unlinkat(journal->dir, name, 0); /* of one that could not be finished */
	fd = openat(journal->dir, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	/* a file that has its blocks is synced without its inode; without them it works, too */
	if (journal->max_bytes > 0)
		(void)posix_fallocate(fd, 0, (off_t)journal->max_bytes);
	r = write_all(fd, &part, 1, 0);
	/* and so that it is found again */
	if (r == 0 && (fdatasync(fd) < 0 || fsync(journal->dir) < 0))
		r = -errno;
	if (r < 0) {
		close(fd);
		(void)unlinkat(journal->dir, name, 0);
		return r;
	}
	if (journal->fd >= 0)
		close(journal->fd);
	journal->fd = fd;
	journal->generation = generation;
	journal->salt = header.salt;
	journal->len = JOURNAL_HEADER_LEN;
	return 0;
}

int journal_create(struct journal *journal, int dir)
{
	struct journal made = { .dir = dir, .fd = -1 };
	int r;

	made.generation = journal->generation;
	made.len = journal->len;
	r = journal_open_next(&made);
	if (r < 0)
		return r;
	close(made.fd);
	journal->generation = made.generation;
	journal->len = made.len;
	return 0;
}

static int journal_append(struct journal *journal, struct journal_part *parts, size_t n_parts)
{
	struct iovec *vector = malloc((1 + n_parts * 3) * sizeof *vector);
	struct journal_entry mark = { .kind = JOURNAL_BATCH };
	uint64_t len = sizeof mark;
	size_t n = 0;
	int r;

	if (!vector)
		return -ENOMEM;
	mark.room = journal_mark(journal->generation, journal->salt, journal->len);
	mark.crc = journal_entry_crc(journal->salt, &mark, NULL);
	vector[n++] = (struct iovec){ &mark, sizeof mark };
	for (size_t i = 0; i < n_parts; i++) {
		struct journal_entry *entry = &parts[i].entry;

		entry->crc = journal_entry_crc(journal->salt, entry, parts[i].payload);
		vector[n++] = (struct iovec){ entry, sizeof *entry };
		vector[n++] = (struct iovec){ (void *)parts[i].payload, entry->len };
		len += sizeof *entry + entry->len + padding(entry->len);
		if (padding(entry->len) > 0)
			vector[n++] = (struct iovec){ (void *)zeros, padding(entry->len) };
	}
	r = write_all(journal->fd, vector, n, journal->len);
	free(vector);
	if (r == 0 && fdatasync(journal->fd) < 0)
		r = -errno;
	if (r == 0)
		journal->len += len;
	return r;
}

/* The file in hand is not trusted any more, whatever a later sync says. One that was made
 * for this is not needed; of one that held more before, that is still good. */
static void journal_abandon(struct journal *journal, uint64_t previous, uint64_t previous_len)
{
	char name[JOURNAL_NAME_MAX];

	close(journal->fd);
	journal->fd = -1;
	if (journal->generation == previous)
		return;
	journal_name(journal->generation, name);
	(void)unlinkat(journal->dir, name, 0);
	journal->generation = previous;
	journal->len = previous_len;
}

int journal_write(struct journal *journal, struct journal_part *parts, size_t n_parts, bool is_new)
{
	int r = 0;

	for (int try = 0; try < 2; try++) {
		uint64_t previous = journal->generation, len = journal->len;

		r = is_new || journal->fd < 0 ? journal_open_next(journal) : 0;
		if (r < 0)
			continue;
		r = journal_append(journal, parts, n_parts);
		if (r == 0)
			return 0;
		journal_abandon(journal, previous, len);
	}
	return r;
}

/* ---- which files there are ---- */

static int generation_compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

int journal_list(int dir, uint64_t **ret_generations, size_t *ret_n)
{
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *stream = fd < 0 ? NULL : fdopendir(fd);
	uint64_t *list = NULL, generation;
	struct dirent *found;
	size_t n = 0;

	if (!stream) {
		int r = -errno;

		if (fd >= 0)
			close(fd);
		return r;
	}
	while ((found = readdir(stream))) {
		uint64_t *more;

		if (!name_parse(found->d_name, &generation))
			continue;
		more = realloc(list, (n + 1) * sizeof *list);
		if (!more) {
			free(list);
			closedir(stream);
			return -ENOMEM;
		}
		list = more;
		list[n++] = generation;
	}
	closedir(stream);
	if (n > 0)
		qsort(list, n, sizeof *list, generation_compare);
	*ret_generations = list;
	*ret_n = n;
	return 0;
}

void journal_remove_before(int dir, uint64_t generation)
{
	uint64_t *list = NULL;
	char name[JOURNAL_NAME_MAX];
	size_t n = 0;

	if (journal_list(dir, &list, &n) < 0)
		return;
	for (size_t i = 0; i < n && list[i] < generation; i++) {
		journal_name(list[i], name);
		(void)unlinkat(dir, name, 0);
	}
	free(list);
}
