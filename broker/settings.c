/* settings.c - see settings.h. The defaults are for a shared host of some hundred
 * users: generous to one person with many terminals, small against its memory. */
#include "broker/settings.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "protocol/number.h"

static const struct {
	const char *name;
	uint64_t value;
	uint64_t min, max;
} limits[] = {
	/* systemd's varlink came to 128 for each uid, D-Bus to 256 */
	[QUOTA_CONNECTIONS] = { "connections", 128, 1, 1000000 },
	[QUOTA_CURSORS] = { "cursors", 4096, 1, 10000000 },
	[QUOTA_ROOMS] = { "rooms", 1024, 1, 1000000 },
	[QUOTA_NAMES] = { "names", 8, 1, 1000 },
	/* 128 connections with 64 KiB of answers and 64 KiB of requests each */
	[QUOTA_BYTES] = { "bytes", 32 << 20, 1 << 18, UINT64_C(1) << 40 },
	/* fifteen of the usual size, or one of the largest */
	[QUOTA_RINGS] = { "ring-bytes", (16 << 20) + (64 << 10), 1 << 18, UINT64_C(1) << 40 },
	/* twenty rooms full of them, or thousands of topics */
	[QUOTA_VALUES] = { "value-bytes", 1 << 20, 1 << 12, UINT64_C(1) << 40 },
	/* nobody is slowed unless an administrator says so */
	[LIMIT_RATE] = { "rate", RATE_MAX, 1, RATE_MAX },
	[LIMIT_CONNECTS] = { "connects", RATE_MAX, 1, RATE_MAX },
	/* each message that is said there has the broker look at all of them */
	[LIMIT_ROOM_RINGS] = { "room-rings", 16, 1, 1024 },
	[LIMIT_ROOM_BYTES] = { "room-bytes", 32 << 20, 1 << 18, UINT64_C(1) << 40 },
	[LIMIT_LOG_BYTES] = { "log-bytes", 256 << 20, 1 << 20, UINT64_C(1) << 40 },
	[LIMIT_ROOM_IDLE] = { "room-idle", 24 * 60 * 60, 1, 1000000000 },
	/* the least takes the largest packet; what more is worth: chat-tuning(7) */
	[LIMIT_SEND_BUFFER] = { "send-buffer", 256 << 10, 64 << 10, 1 << 30 },
	/* half a second of a disk, and of a recovery */
	[LIMIT_JOURNAL_BYTES] = { "journal-bytes", 64 << 20, 64 << 10, UINT64_C(1) << 40 },
	/* ten million messages of 64 bytes; a tenth of a small disk */
	[LIMIT_ROOM_DISK_BYTES] = { "room-disk-bytes", UINT64_C(1) << 30, 64 << 10,
		UINT64_C(1) << 50 },
	[LIMIT_ROOM_DISK_AGE] = { "room-disk-age", AGE_FOREVER, 1, AGE_FOREVER },
	[LIMIT_DISK_BYTES] = { "disk-bytes", UINT64_C(4) << 30, 64 << 10, UINT64_C(1) << 50 },
};
_Static_assert(ARRAY_LEN(limits) == LIMIT_COUNT, "every limit has a row");

const char *limit_name(unsigned limit)
{
	return limits[limit].name;
}

void limit_bounds(unsigned limit, uint64_t *ret_min, uint64_t *ret_max)
{
	*ret_min = limits[limit].min;
	*ret_max = limits[limit].max;
}

void settings_init(struct settings *settings)
{
	*settings = (struct settings){ 0 };
	for (unsigned i = 0; i < LIMIT_COUNT; i++)
		settings->limit[i] = limits[i].value;
}

void settings_deinit(struct settings *settings)
{
	free(settings->overrides);
	*settings = (struct settings){ 0 };
}

int settings_copy(struct settings *ret_settings, const struct settings *settings)
{
	struct settings copy = *settings;
	size_t size = settings->n_overrides * sizeof *copy.overrides;

	copy.overrides = NULL;
	if (size > 0) {
		copy.overrides = malloc(size);
		if (!copy.overrides)
			return -ENOMEM;
		memcpy(copy.overrides, settings->overrides, size);
	}
	*ret_settings = copy;
	return 0;
}

const char *settings_strerror(int outcome)
{
	switch (outcome) {
	case SETTINGS_E_SYNTAX:
		return "not of the form [USER:]NAME=VALUE";
	case SETTINGS_E_NAME:
		return "no such limit";
	case SETTINGS_E_VALUE:
		return "not a number within the bounds of this limit, which --help shows";
	case SETTINGS_E_FULL:
		return "too many limits for single users";
	default:
		return strerror(-outcome);
	}
}

static bool value_parse(struct text text, uint64_t *ret_value)
{
	unsigned shift = 0;
	uint64_t value;

	if (text.len > 1) {
		switch (text.data[text.len - 1]) {
		case 'k':
			shift = 10;
			break;
		case 'M':
			shift = 20;
			break;
		case 'G':
			shift = 30;
			break;
		}
		text.len -= shift > 0;
	}
	if (!number_parse(text, &value) || value > UINT64_MAX >> shift)
		return false;
	*ret_value = value << shift;
	return true;
}

static struct text text_trim(struct text text)
{
	while (text.len > 0 && strchr(" \t\r", text.data[0])) {
		text.data++;
		text.len--;
	}
	while (text.len > 0 && strchr(" \t\r", text.data[text.len - 1]))
		text.len--;
	return text;
}

static int settings_override(
	struct settings *settings, struct text user, unsigned limit, uint64_t value)
{
	struct override *grown, *override = NULL;

	if (user.len < 1 || user.len >= sizeof override->user)
		return SETTINGS_E_SYNTAX;
	for (size_t i = 0; i < settings->n_overrides; i++)
		if (settings->overrides[i].limit == limit &&
			text_equal(text_of(settings->overrides[i].user), user))
			override = &settings->overrides[i];
	if (!override) {
		if (settings->n_overrides == OVERRIDES_MAX)
			return SETTINGS_E_FULL;
		grown = reallocarray(settings->overrides, settings->n_overrides + 1, sizeof *grown);
		if (!grown)
			return -ENOMEM;
		settings->overrides = grown;
		override = &grown[settings->n_overrides++];
		*override = (struct override){ .limit = limit };
		memcpy(override->user, user.data, user.len);
	}
	override->value = value;
	return 0;
}

int settings_set(struct settings *settings, struct text line)
{
	const char *equals = memchr(line.data, '=', line.len), *colon;
	struct text name, value, user = { NULL, 0 };
	uint64_t number;

	if (!equals)
		return SETTINGS_E_SYNTAX;
	name = text_trim((struct text){ line.data, (size_t)(equals - line.data) });
	value = text_trim((struct text){ equals + 1, line.len - (size_t)(equals - line.data) - 1 });
	colon = memchr(name.data, ':', name.len);
	if (colon) {
		user = (struct text){ name.data, (size_t)(colon - name.data) };
		name = (struct text){ colon + 1, name.len - user.len - 1 };
	}
	for (unsigned i = 0; i < LIMIT_COUNT; i++) {
		if (!text_equal(name, text_of(limits[i].name)))
			continue;
		if (!value_parse(value, &number) || number < limits[i].min ||
			number > limits[i].max)
			return SETTINGS_E_VALUE;
		if (user.data && i < LIMIT_USER_COUNT)
			return settings_override(settings, user, i, number);
		if (user.data)
			return SETTINGS_E_NAME;
		settings->limit[i] = number;
		return 0;
	}
	return SETTINGS_E_NAME;
}

static int settings_parse(struct settings *settings, struct text file, unsigned *ret_line)
{
	unsigned number = 0;
	int r;

	while (file.len > 0) {
		const char *end = memchr(file.data, '\n', file.len), *hash;
		struct text line = { file.data, end ? (size_t)(end - file.data) : file.len };

		file.data += line.len + (end != NULL);
		file.len -= line.len + (end != NULL);
		number++;
		hash = memchr(line.data, '#', line.len);
		if (hash)
			line.len = (size_t)(hash - line.data);
		line = text_trim(line);
		if (line.len == 0)
			continue;
		r = settings_set(settings, line);
		if (r) {
			*ret_line = number;
			return r;
		}
	}
	return 0;
}

int settings_read(struct settings *settings, const char *path, unsigned *ret_line)
{
	struct text file = { NULL, 0 };
	char *buffer = NULL;
	struct stat st;
	ssize_t n;
	int r, fd;

	*ret_line = 0;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0)
		r = -errno;
	else if (!S_ISREG(st.st_mode))
		r = -EINVAL;
	else if (st.st_size > SETTINGS_LEN_MAX)
		r = -EFBIG;
	else
		r = 0;
	if (!r) {
		buffer = malloc(SETTINGS_LEN_MAX);
		if (!buffer)
			r = -ENOMEM;
	}
	if (!r) {
		do {
			n = read(fd, buffer + file.len, SETTINGS_LEN_MAX - file.len);
			file.len += n > 0 ? (size_t)n : 0;
		} while (n > 0 || (n < 0 && errno == EINTR));
		r = n < 0 ? -errno : 0;
	}
	file.data = buffer;
	if (!r)
		r = settings_parse(settings, file, ret_line);
	free(buffer);
	close(fd);
	return r;
}

uint64_t settings_of_user(
	const struct settings *settings, unsigned limit, uid_t uid, const char *name)
{
	char number[16];

	snprintf(number, sizeof number, "%u", uid);
	for (size_t i = 0; i < settings->n_overrides; i++) {
		const struct override *override = &settings->overrides[i];

		if (override->limit == limit && (!strcmp(override->user, number) ||
							(name[0] && !strcmp(override->user, name))))
			return override->value;
	}
	return settings->limit[limit];
}
