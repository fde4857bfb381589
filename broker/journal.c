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

#define MAGIC_START "chatjr"
#define MAGIC       MAGIC_START "01"
#define NAME_START  "journal-"
#define NAME_LEN    (strlen(NAME_START) + NUMBER_HEX_LEN)

static const char zeros[8];

static void journal_name(uint64_t generation, char name[static 32])
{
	snprintf(name, 32, NAME_START "%016lx", (unsigned long)generation);
}

static bool name_parse(const char *name, uint64_t *ret_generation)
{
	return strlen(name) == NAME_LEN && memcmp(name, NAME_START, strlen(NAME_START)) == 0 &&
	       number_parse_hex(text_of(name + strlen(NAME_START)), ret_generation);
}

/* ---- writing ---- */

static size_t padding(size_t len)
{
	return -len & 7;
}

static uint32_t entry_crc(uint64_t salt, const struct journal_entry *entry, const void *payload)
{
	uint32_t crc = record_crc32c(0, &salt, sizeof salt);

	crc = record_crc32c(crc, &entry->len, sizeof entry->len);
	crc = record_crc32c(
		crc, &entry->kind, sizeof *entry - offsetof(struct journal_entry, kind));
	return record_crc32c(crc, payload, entry->len);
}

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
	struct journal_header header = { .magic = MAGIC, .generation = generation };
	char sector[JOURNAL_HEADER_LEN] = { 0 }, name[32];
	struct iovec part = { sector, sizeof sector };
	int fd, r;

	header.previous_generation = journal->generation;
	header.previous_len = journal->len;
	randombytes_buf(&header.salt, sizeof header.salt);
	header.crc = record_crc32c(0, &header, offsetof(struct journal_header, crc));
	memcpy(sector, &header, sizeof header);
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

static int journal_append(struct journal *journal, struct journal_part *parts, size_t n_parts)
{
	struct iovec *vector = malloc(n_parts * 3 * sizeof *vector);
	uint64_t len = 0;
	size_t n = 0;
	int r;

	if (!vector)
		return -ENOMEM;
	for (size_t i = 0; i < n_parts; i++) {
		struct journal_entry *entry = &parts[i].entry;

		entry->crc = entry_crc(journal->salt, entry, parts[i].payload);
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
	char name[32];

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

/* ---- reading ---- */

static int generation_compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* The generations that have a file, ascending; the caller frees them. */
static int journal_list(int dir, uint64_t **ret_generations, size_t *ret_n)
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
	char name[32];
	size_t n = 0;

	if (journal_list(dir, &list, &n) < 0)
		return;
	for (size_t i = 0; i < n && list[i] < generation; i++) {
		journal_name(list[i], name);
		(void)unlinkat(dir, name, 0);
	}
	free(list);
}

/* All of a file, to be freed. */
static int read_file(int dir, uint64_t generation, char **ret_data, size_t *ret_len)
{
	struct stat statbuf;
	char name[32], *data;
	size_t len = 0;
	int fd;

	journal_name(generation, name);
	fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &statbuf) < 0 || !(data = malloc((size_t)statbuf.st_size + 1))) {
		close(fd);
		return -ENOMEM;
	}
	while (len < (size_t)statbuf.st_size) {
		ssize_t n = pread(fd, data + len, (size_t)statbuf.st_size - len, (off_t)len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			int r = -errno;

			free(data);
			close(fd);
			return r;
		}
		if (n == 0)
			break;
		len += (size_t)n;
	}
	close(fd);
	*ret_data = data;
	*ret_len = len;
	return 0;
}

enum {
	HEADER_E_NONE = 1, /* the file was being made */
	HEADER_E_FORMAT,
};

static int header_read(
	const char *data, size_t len, uint64_t generation, struct journal_header *ret)
{
	if (len < JOURNAL_HEADER_LEN || memcmp(data, MAGIC_START, strlen(MAGIC_START)) != 0)
		return HEADER_E_NONE;
	memcpy(ret, data, sizeof *ret);
	if (memcmp(ret->magic, MAGIC, strlen(MAGIC)) != 0)
		return HEADER_E_FORMAT;
	if (ret->crc != record_crc32c(0, ret, offsetof(struct journal_header, crc)) ||
		ret->generation != generation)
		return HEADER_E_NONE;
	return 0;
}

/* Read the header of file GENERATION only. */
static int header_of(int dir, uint64_t generation, struct journal_header *ret_header)
{
	char sector[JOURNAL_HEADER_LEN], name[32];
	ssize_t n;
	int fd;

	journal_name(generation, name);
	fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return -errno;
	n = pread(fd, sector, sizeof sector, 0);
	close(fd);
	return n < 0 ? -errno : header_read(sector, (size_t)n, generation, ret_header);
}

/* Give the entries in DATA, of which LEN bytes may be good, to FUNCTION. */
static int replay_entries(const char *data, size_t len, const struct journal_header *header,
	journal_replay_fn *function, void *userdata, struct journal_replayed *replayed)
{
	size_t at = JOURNAL_HEADER_LEN;

	while (len - at >= sizeof(struct journal_entry)) {
		struct journal_entry entry;
		const char *payload = data + at + sizeof entry;
		int r;

		memcpy(&entry, data + at, sizeof entry);
		if (entry.len > JOURNAL_ENTRY_MAX ||
			entry.len + padding(entry.len) > len - at - sizeof entry ||
			entry.kind == 0 || entry.kind >= JOURNAL_KINDS ||
			entry.crc != entry_crc(header->salt, &entry, payload))
			break;
		r = function(userdata, &entry, payload);
		if (r)
			return r;
		at += sizeof entry + entry.len + padding(entry.len);
		replayed->n_entries++;
	}
	replayed->generation = header->generation;
	replayed->len = at;
	replayed->n_bytes += at - JOURNAL_HEADER_LEN;
	replayed->n_files++;
	return 0;
}

/* One file of the chain; IS_LAST or it is good up to LEN. */
static int replay_file(int dir, uint64_t generation, uint64_t good_len, bool is_last,
	journal_replay_fn *function, void *userdata, struct journal_replayed *replayed,
	char why[static JOURNAL_WHY_MAX])
{
	struct journal_header header;
	char *data = NULL;
	size_t len = 0;
	int r;

	r = read_file(dir, generation, &data, &len);
	if (r == 0 && header_read(data, len, generation, &header) != 0)
		r = JOURNAL_E_BROKEN;
	if (r == 0)
		r = replay_entries(data, is_last ? len : MIN(len, good_len), &header, function,
			userdata, replayed);
	free(data);
	if (r == -ENOENT)
		r = JOURNAL_E_BROKEN;
	if (r == 0 && !is_last && replayed->len != good_len)
		r = JOURNAL_E_BROKEN;
	if (r == JOURNAL_E_BROKEN)
		snprintf(why, JOURNAL_WHY_MAX, NAME_START "%016lx is missing or damaged",
			(unsigned long)generation);
	return r;
}

/* The chain, from its last file back. Returns how many, or -errno or an outcome. */
struct chain {
	struct {
		uint64_t generation, good_len;
	} * files; /* the last one first; owned */
	size_t n;
};

static int chain_find(int dir, uint64_t first, const uint64_t *list, size_t n, struct chain *chain,
	char why[static JOURNAL_WHY_MAX])
{
	struct journal_header header;
	uint64_t good_len = 0;
	int r = HEADER_E_NONE;

	chain->files = calloc(n + 1, sizeof *chain->files);
	if (!chain->files)
		return -ENOMEM;
	/* the last one may have been in the making */
	while (n > 0 && list[n - 1] >= first &&
		(r = header_of(dir, list[n - 1], &header)) == HEADER_E_NONE)
		n--;
	while (n > 0 && list[n - 1] >= first) {
		if (r == HEADER_E_FORMAT)
			snprintf(why, JOURNAL_WHY_MAX,
				NAME_START "%016lx is of another version of chat-broker",
				(unsigned long)list[n - 1]);
		if (r)
			return r == HEADER_E_FORMAT ? JOURNAL_E_FORMAT : r;
		chain->files[chain->n].generation = header.generation;
		chain->files[chain->n++].good_len = good_len;
		good_len = header.previous_len;
		if (header.previous_generation < first || header.previous_generation == 0)
			return 0;
		while (n > 0 && list[n - 1] > header.previous_generation)
			n--;
		r = n > 0 && list[n - 1] == header.previous_generation
			    ? header_of(dir, list[n - 1], &header)
			    : HEADER_E_NONE;
		if (r == HEADER_E_NONE) {
			snprintf(why, JOURNAL_WHY_MAX, NAME_START "%016lx is missing or damaged",
				(unsigned long)header.previous_generation);
			return JOURNAL_E_BROKEN;
		}
	}
	return 0;
}

int journal_replay(int dir, uint64_t generation, journal_replay_fn *function, void *userdata,
	struct journal_replayed *ret_replayed, char why[static JOURNAL_WHY_MAX])
{
	struct chain chain = { NULL, 0 };
	uint64_t *list = NULL;
	size_t n = 0;
	int r;

	*ret_replayed = (struct journal_replayed){ 0 };
	r = journal_list(dir, &list, &n);
	if (r == 0)
		r = chain_find(dir, generation, list, n, &chain, why);
	for (size_t i = chain.n; r == 0 && i > 0; i--)
		r = replay_file(dir, chain.files[i - 1].generation, chain.files[i - 1].good_len,
			i == 1, function, userdata, ret_replayed, why);
	free(chain.files);
	free(list);
	return r;
}
