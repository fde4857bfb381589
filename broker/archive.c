/* archive.c - see archive.h. */
#include "broker/archive.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "protocol/number.h"
#include "protocol/record.h"

#define MAGIC_START "chatsg"
#define MAGIC       MAGIC_START "01"

/* Little-endian. */
struct archive_header {
	char magic[8];
	uint64_t room;
	uint64_t first;
	uint32_t number;
	uint32_t size;
	char reserved[ARCHIVE_HEADER_LEN - 8 - 16 - 8 - 4];
	uint32_t crc; /* of what is before it */
};
_Static_assert(sizeof(struct archive_header) == ARCHIVE_HEADER_LEN, "it is a format");

#define NAME_MAX_LEN 64

static void archive_name(const char *directory, uint64_t room, uint32_t number, char *name)
{
	snprintf(name, NAME_MAX_LEN, "%s/%016lx-%08x", directory, (unsigned long)room, number);
}

static void header_make(
	struct archive_header *header, uint64_t room, const struct segment_image *image)
{
	*header = (struct archive_header){ .magic = MAGIC, .room = room };
	header->first = image->first;
	header->number = image->number;
	header->size = image->size;
	header->crc = record_crc32c(0, header, offsetof(struct archive_header, crc));
}

int archive_write(int dir, uint64_t room, const struct segment_image *image, uint32_t from)
{
	struct archive_header header;
	uint64_t at = from == 0 ? 0 : ARCHIVE_HEADER_LEN + from;
	struct iovec parts[2] = { { &header, from == 0 ? sizeof header : 0 },
		{ (char *)image->data + from, image->used - from } };
	size_t left = parts[0].iov_len + parts[1].iov_len;
	char name[NAME_MAX_LEN];
	int fd, r = 0;

	header_make(&header, room, image);
	archive_name(ARCHIVE_DIR, room, image->number, name);
	fd = openat(dir, name,
		O_WRONLY | O_CLOEXEC | O_NOFOLLOW | (from == 0 ? O_CREAT | O_TRUNC : 0), 0600);
	if (fd < 0)
		return -errno;
	while (left > 0) {
		ssize_t n = pwritev(fd, parts, 2, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			r = n < 0 ? -errno : -EIO;
			break;
		}
		at += (uint64_t)n;
		left -= (size_t)n;
		for (int i = 0; i < 2; i++) {
			size_t part = MIN((size_t)n, parts[i].iov_len);

			parts[i].iov_base = (char *)parts[i].iov_base + part;
			parts[i].iov_len -= part;
			n -= (ssize_t)part;
		}
	}
	if (close(fd) < 0 && r == 0)
		r = -errno;
	return r;
}

static int read_all(int fd, void *buffer, size_t len, uint64_t at)
{
	char *data = buffer;

	while (len > 0) {
		ssize_t n = pread(fd, data, len, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return ARCHIVE_E_BROKEN;
		data += n;
		at += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

int archive_read(int dir, uint64_t room, const struct segment_image *image, char *data)
{
	struct archive_header header, wanted;
	char name[NAME_MAX_LEN];
	int fd, r;

	archive_name(ARCHIVE_DIR, room, image->number, name);
	fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return errno == ENOENT ? ARCHIVE_E_BROKEN : -errno;
	header_make(&wanted, room, image);
	r = read_all(fd, &header, sizeof header, 0);
	if (r == 0 && memcmp(&header, &wanted, sizeof header) != 0)
		r = memcmp(header.magic, MAGIC_START, strlen(MAGIC_START)) == 0 &&
				    memcmp(header.magic, MAGIC, strlen(MAGIC)) != 0
			    ? ARCHIVE_E_FORMAT
			    : ARCHIVE_E_BROKEN;
	if (r == 0)
		r = read_all(fd, data, image->used, ARCHIVE_HEADER_LEN);
	close(fd);
	return r;
}

int archive_restore(int dir, uint64_t room, const struct segment_image *image, struct log *log)
{
	char *data;
	int r;

	r = log_restore(log, image, &data);
	if (r == 0)
		r = archive_read(dir, room, image, data);
	if (r == 0 && log_restored(log, image))
		r = ARCHIVE_E_BROKEN;
	if (r)
		log_deinit(log);
	return r;
}

void archive_remove(int dir, uint64_t room, uint32_t from, uint32_t to)
{
	char name[NAME_MAX_LEN];

	for (; from <= to; from++) {
		archive_name(ARCHIVE_DIR, room, from, name);
		(void)unlinkat(dir, name, 0);
	}
}

void archive_put_aside(int dir, uint64_t room, uint32_t number)
{
	char from[NAME_MAX_LEN], to[NAME_MAX_LEN];

	archive_name(ARCHIVE_DIR, room, number, from);
	if (faccessat(dir, from, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
		return; /* retention was faster */
	(void)mkdirat(dir, ARCHIVE_DAMAGED, 0700);
	archive_name(ARCHIVE_DAMAGED, room, number, to);
	(void)renameat(dir, from, dir, to);
}

/* "ID-NUMBER" */
static bool name_parse(const char *name, uint64_t *ret_room, uint64_t *ret_number)
{
	return strlen(name) == NUMBER_HEX_LEN + 1 + 8 && name[NUMBER_HEX_LEN] == '-' &&
	       number_parse_hex((struct text){ name, NUMBER_HEX_LEN }, ret_room) &&
	       number_parse_hex(text_of(name + NUMBER_HEX_LEN + 1), ret_number);
}

int archive_clean(int dir, archive_is_known_fn *is_known, void *userdata)
{
	int fd = openat(dir, ARCHIVE_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC), n = 0;
	DIR *stream = fd < 0 ? NULL : fdopendir(fd);
	uint64_t room, number;
	struct dirent *found;

	if (!stream) {
		int r = -errno;

		if (fd >= 0)
			close(fd);
		return r;
	}
	while ((found = readdir(stream)))
		if (name_parse(found->d_name, &room, &number) &&
			!is_known(userdata, room, (uint32_t)number) &&
			unlinkat(fd, found->d_name, 0) == 0)
			n++;
	closedir(stream);
	return n;
}
