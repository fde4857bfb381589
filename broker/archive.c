/* archive.c - see archive.h. */
#include "broker/archive.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "broker/salvage.h"
#include "protocol/frame.h"
#include "protocol/number.h"
#include "protocol/record.h"

#define MAGIC_START "chatsg"
#define MAGIC       MAGIC_START "02"
/* Files of this version do not name the owner of the room; the broker still reads them. */
#define MAGIC_BEFORE MAGIC_START "01"

/* Little-endian. */
struct archive_header {
	char magic[8];
	uint64_t room;
	uint64_t first;
	uint32_t number;
	uint32_t size;
	uint32_t has_people;
	uint32_t owner, party[2];
	char reserved[ARCHIVE_HEADER_LEN - 8 - 16 - 8 - 16 - 4];
	uint32_t crc; /* of what is before it */
};
_Static_assert(sizeof(struct archive_header) == ARCHIVE_HEADER_LEN, "it is a format");

static void archive_name(const char *directory, uint64_t room, uint32_t number, char *name)
{
	snprintf(name, ARCHIVE_NAME_MAX, "%s/%016lx-%08x", directory, (unsigned long)room, number);
}

static void header_make(struct archive_header *header, uint64_t room,
	const struct archive_people *people, const struct segment_image *image)
{
	*header = (struct archive_header){ .magic = MAGIC, .room = room };
	header->first = image->first;
	header->number = image->number;
	header->size = image->size;
	if (people) {
		header->has_people = 1;
		header->owner = people->owner;
		header->party[0] = people->party[0];
		header->party[1] = people->party[1];
	}
	header->crc = record_crc32c(0, header, offsetof(struct archive_header, crc));
}

/* Is it a header, of ROOM and NUMBER? Returns 0 or an outcome. */
static int header_check(const struct archive_header *header, uint64_t room, uint32_t number)
{
	bool is_ours = memcmp(header->magic, MAGIC, sizeof header->magic) == 0 ||
		       memcmp(header->magic, MAGIC_BEFORE, sizeof header->magic) == 0;

	if (!is_ours && memcmp(header->magic, MAGIC_START, strlen(MAGIC_START)) == 0 &&
		header->crc == record_crc32c(0, header, offsetof(struct archive_header, crc)))
		return ARCHIVE_E_FORMAT;
	return is_ours &&
			       header->crc == record_crc32c(0, header,
						      offsetof(struct archive_header, crc)) &&
			       header->room == room && header->number == number
		       ? 0
		       : ARCHIVE_E_BROKEN;
}

/* ---- writing ---- */

static int write_parts(int fd, struct iovec parts[static 2], uint64_t at)
{
	size_t left = parts[0].iov_len + parts[1].iov_len;

	while (left > 0) {
		ssize_t n = pwritev(fd, parts, 2, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		at += (uint64_t)n;
		left -= (size_t)n;
		for (int i = 0; i < 2; i++) {
			size_t part = MIN((size_t)n, parts[i].iov_len);

			parts[i].iov_base = (char *)parts[i].iov_base + part;
			parts[i].iov_len -= part;
			n -= (ssize_t)part;
		}
	}
	return 0;
}

int archive_write(int dir, uint64_t room, const struct archive_people *people,
	const struct segment_image *image, uint32_t from)
{
	struct archive_header header;
	uint64_t at = from == 0 ? 0 : ARCHIVE_HEADER_LEN + from;
	struct iovec parts[2] = { { &header, from == 0 ? sizeof header : 0 },
		{ (char *)image->data + from, image->used - from } };
	char name[ARCHIVE_NAME_MAX];
	int fd, r;

	header_make(&header, room, people, image);
	archive_name(ARCHIVE_DIR, room, image->number, name);
	fd = openat(dir, name,
		O_WRONLY | O_CLOEXEC | O_NOFOLLOW | (from == 0 ? O_CREAT | O_TRUNC : 0), 0600);
	if (fd < 0)
		return -errno;
	r = write_parts(fd, parts, at);
	if (close(fd) < 0 && r == 0)
		r = -errno;
	return r;
}

/* ---- reading ---- */

/* Read LEN bytes, or as many as the file has. Returns how many, or -errno. */
static ssize_t read_up_to(int fd, void *buffer, size_t len, uint64_t at)
{
	char *data = buffer;
	size_t done = 0;

	while (done < len) {
		ssize_t n = pread(fd, data + done, len - done, (off_t)(at + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

/* A file that is not there is broken; another error may go away. */
static int archive_open(int dir, uint64_t room, uint32_t number)
{
	char name[ARCHIVE_NAME_MAX];
	int fd;

	archive_name(ARCHIVE_DIR, room, number, name);
	fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	return fd >= 0 ? fd : -errno;
}

/* Of archive_read(): something of the file is not as it was written. */
enum { READ_E_DAMAGED = ARCHIVE_E_FORMAT + 1 };

/* Read the USED bytes of IMAGE to DATA; those that are not there are zeros. Returns 0, an outcome
 * or -errno. */
static int archive_read(int dir, uint64_t room, const struct segment_image *image, char *data)
{
	struct archive_header header = { 0 };
	int fd = archive_open(dir, room, image->number), r;
	ssize_t n, n_header;

	if (fd < 0)
		return fd == -ENOENT ? ARCHIVE_E_BROKEN : fd;
	n_header = read_up_to(fd, &header, sizeof header, 0);
	n = n_header < 0 ? n_header : read_up_to(fd, data, image->used, ARCHIVE_HEADER_LEN);
	close(fd);
	if (n < 0)
		return (int)n;
	memset(data + n, 0, image->used - (size_t)n);
	r = header_check(&header, room, image->number);
	if (r == ARCHIVE_E_FORMAT)
		return r;
	return r || header.first != image->first || header.size != image->size ||
			       (size_t)n < image->used
		       ? READ_E_DAMAGED
		       : 0;
}

/* Read a segment as archive_read() does, and turn damaged records into tombstones. */
static int archive_salvage(int dir, uint64_t room, struct text target,
	const struct segment_image *image, char *data, uint64_t *ret_n_lost)
{
	uint64_t n = image->next - image->first;
	int r = archive_read(dir, room, image, data);

	if (r && r != READ_E_DAMAGED)
		return r;
	*ret_n_lost = records_salvage(data, image->used, target, image->first, image->next);
	return *ret_n_lost >= n ? ARCHIVE_E_BROKEN : 0;
}

int archive_restore(int dir, uint64_t room, struct text target, const struct segment_image *image,
	struct log *log, struct archive_damage *ret_damage)
{
	char *data;
	int r;

	*ret_damage = (struct archive_damage){ .is_any = false };
	r = log_restore(log, image, &data);
	if (r == 0)
		r = archive_read(dir, room, image, data);
	if (r == 0 && log_restored(log, image))
		r = READ_E_DAMAGED;
	if (r == READ_E_DAMAGED) {
		ret_damage->is_any = true;
		log_deinit(log);
		r = log_restore(log, image, &data);
		if (r == 0)
			r = archive_salvage(dir, room, target, image, data, &ret_damage->n_lost);
		if (r == 0 && log_restored(log, image))
			r = ARCHIVE_E_BROKEN;
	}
	if (r)
		log_deinit(log);
	ret_damage->is_any |= r == ARCHIVE_E_BROKEN;
	return r;
}

/* ---- files that are not as they were ---- */

int archive_keep_damaged(int dir, const char *path, bool is_kept)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	char to[ARCHIVE_NAME_MAX * 2];

	if (mkdirat(dir, ARCHIVE_DAMAGED, 0700) < 0 && errno != EEXIST)
		return -errno;
	for (int i = 0; i < 1000; i++) {
		snprintf(to, sizeof to, i == 0 ? ARCHIVE_DAMAGED "/%s" : ARCHIVE_DAMAGED "/%s.%d",
			name, i);
		if (linkat(dir, path, dir, to, 0) == 0)
			return is_kept || unlinkat(dir, path, 0) == 0 ? 0 : -errno;
		if (errno != EEXIST)
			break;
	}
	/* a file system without links: it can only be moved */
	if (is_kept || (errno != EPERM && errno != EOPNOTSUPP))
		return -errno;
	return renameat(dir, path, dir, to) < 0 ? -errno : 0;
}

void archive_put_aside(int dir, uint64_t room, uint32_t number)
{
	char name[ARCHIVE_NAME_MAX];

	/* if it is not there, retention was faster */
	archive_name(ARCHIVE_DIR, room, number, name);
	(void)archive_keep_damaged(dir, name, false);
}

/* The people that the header of a file names. False: none. */
static bool archive_read_people(
	int dir, uint64_t room, uint32_t number, struct archive_people *ret_people)
{
	struct archive_header header = { 0 };
	int fd = archive_open(dir, room, number);
	ssize_t n;

	if (fd < 0)
		return false;
	n = read_up_to(fd, &header, sizeof header, 0);
	close(fd);
	if (n != sizeof header || header_check(&header, room, number) || !header.has_people)
		return false;
	*ret_people = (struct archive_people){ header.owner, { header.party[0], header.party[1] } };
	return true;
}

int archive_repair(int dir, uint64_t room, const struct segment_image *image)
{
	char name[ARCHIVE_NAME_MAX], repaired[ARCHIVE_NAME_MAX + 8];
	struct archive_header header;
	struct archive_people people;
	bool has_people = archive_read_people(dir, room, image->number, &people);
	struct iovec parts[2] = { { &header, sizeof header },
		{ (char *)image->data, image->used } };
	int fd, r;

	header_make(&header, room, has_people ? &people : NULL, image);
	archive_name(ARCHIVE_DIR, room, image->number, name);
	snprintf(repaired, sizeof repaired, "%s.new", name);
	fd = openat(dir, repaired, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	r = write_parts(fd, parts, 0);
	if (r == 0 && fsync(fd) < 0)
		r = -errno;
	if (close(fd) < 0 && r == 0)
		r = -errno;
	if (r == 0)
		r = archive_keep_damaged(dir, name, true);
	if (r == 0 && renameat(dir, repaired, dir, name) < 0)
		r = -errno;
	if (r < 0)
		(void)unlinkat(dir, repaired, 0);
	return r;
}

int64_t archive_len(int dir, uint64_t room, uint32_t number)
{
	char name[ARCHIVE_NAME_MAX];
	struct stat statbuf;

	archive_name(ARCHIVE_DIR, room, number, name);
	if (fstatat(dir, name, &statbuf, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	return statbuf.st_size - MIN(statbuf.st_size, (off_t)ARCHIVE_HEADER_LEN);
}

/* The number of the first record, if that is good. */
static bool survey_first(const char *data, size_t len, uint64_t *ret_first)
{
	const char *at = data;
	struct text line;
	struct frame frame;

	return record_next(&at, data + len, &line) == 0 && record_is_sealed(data) &&
	       record_check(data) == 0 && frame_parse(&frame, line) == 0 && frame.n_words > 2 &&
	       number_parse(frame.word[2], ret_first);
}

/* Find the good records at the start of the file, and the target that they are about. */
static void survey_records(struct archive_survey *survey, size_t len)
{
	struct segment_image *image = &survey->image;
	const char *at = survey->data, *end = survey->data + len;
	struct text line, target;
	struct frame frame;

	survey->len = (uint32_t)len;
	survey->walked_next = image->first;
	while (record_next(&at, end, &line) == 0)
		survey->walked_next++;
	if (at != end)
		survey->walked_next = 0;
	at = survey->data;
	if (record_next(&at, end, &line) || frame_parse(&frame, line) || frame.n_words < 5 ||
		frame.word[1].len > TARGET_LEN_MAX)
		return;
	memcpy(survey->target, frame.word[1].data, frame.word[1].len);
	target = text_of(survey->target);
	image->used =
		(uint32_t)records_good_len(survey->data, len, target, image->first, &image->next);
	at = survey->data;
	end = at + image->used;
	while (record_next(&at, end, &line) == 0) {
		uint64_t time;

		if (frame_is_tombstone(line) || frame_parse(&frame, line) || frame.n_words < 4 ||
			!number_parse(frame.word[3], &time))
			continue;
		image->time = image->time > 0 ? image->time : time;
		image->last = time;
	}
}

int archive_survey(int dir, uint64_t room, uint32_t number, struct archive_survey *ret_survey)
{
	struct archive_header header = { 0 };
	struct archive_survey survey = { .is_empty = true };
	int fd = archive_open(dir, room, number), r;
	struct stat statbuf;
	ssize_t n;

	if (fd < 0)
		return fd;
	r = fstat(fd, &statbuf) < 0 ? -errno : 0;
	survey.data = r == 0 ? malloc((size_t)statbuf.st_size + 1) : NULL;
	n = survey.data ? read_up_to(fd, survey.data, (size_t)statbuf.st_size, 0) : r;
	close(fd);
	if (!survey.data || n < 0) {
		free(survey.data);
		return survey.data ? (int)n : r == 0 ? -ENOMEM : r;
	}
	for (ssize_t i = ARCHIVE_HEADER_LEN; i < n && survey.is_empty; i++)
		survey.is_empty = survey.data[i] == 0;
	memcpy(&header, survey.data, MIN((size_t)n, sizeof header));
	r = header_check(&header, room, number);
	n -= MIN(n, (ssize_t)sizeof header);
	memmove(survey.data, survey.data + sizeof header, (size_t)n);
	if (r == ARCHIVE_E_BROKEN && survey_first(survey.data, (size_t)n, &header.first)) {
		/* only the header is damaged: the file's name and the first record say the rest */
		header.size = (uint32_t)MIN((size_t)n + 7, (size_t)LOG_SEGMENT_MAX) & ~7u;
		header.has_people = 0;
		r = 0;
	}
	if (r) {
		free(survey.data);
		survey.data = NULL;
		*ret_survey = survey;
		return r;
	}
	survey.image = (struct segment_image){ .number = number,
		.size = header.size,
		.first = header.first,
		.next = header.first,
		.data = survey.data };
	survey.has_people = header.has_people;
	if (header.has_people)
		survey.people = (struct archive_people){ header.owner,
			{ header.party[0], header.party[1] } };
	survey_records(&survey, MIN((size_t)n, (size_t)header.size));
	*ret_survey = survey;
	return 0;
}

void archive_remove(int dir, uint64_t room, uint32_t from, uint32_t to)
{
	char name[ARCHIVE_NAME_MAX];

	for (; from <= to; from++) {
		archive_name(ARCHIVE_DIR, room, from, name);
		(void)unlinkat(dir, name, 0);
	}
}

/* "ID-NUMBER" */
static bool name_parse(const char *name, uint64_t *ret_room, uint64_t *ret_number)
{
	return strlen(name) == NUMBER_HEX_LEN + 1 + 8 && name[NUMBER_HEX_LEN] == '-' &&
	       number_parse_hex((struct text){ name, NUMBER_HEX_LEN }, ret_room) &&
	       number_parse_hex(text_of(name + NUMBER_HEX_LEN + 1), ret_number);
}

int archive_each(int dir, archive_file_fn *function, void *userdata)
{
	int fd = openat(dir, ARCHIVE_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
	DIR *stream = fd < 0 ? NULL : fdopendir(fd);
	uint64_t room, number;
	struct dirent *found;

	if (!stream) {
		r = -errno;
		if (fd >= 0)
			close(fd);
		return r;
	}
	while (r == 0 && (found = readdir(stream)))
		if (name_parse(found->d_name, &room, &number))
			r = function(userdata, room, (uint32_t)number);
	closedir(stream);
	return r;
}
