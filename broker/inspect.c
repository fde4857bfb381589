/* inspect.c - see inspect.h. What a broker would bring back is brought back, but nothing is
 * changed, and nothing is too much. */
#include "broker/inspect.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#include "broker/archive.h"
#include "broker/cache.h"
#include "broker/recover.h"
#include "broker/room.h"
#include "broker/salvage.h"
#include "broker/store.h"
#include "broker/value.h"

struct inspection {
	struct settings settings;
	struct users users;
	struct rooms rooms;
	struct store store;
};

static int inspection_open(struct inspection *inspection, const char *directory)
{
	uint64_t min;
	int r;

	settings_init(&inspection->settings);
	limit_bounds(LIMIT_ROOM_BYTES, &min, &inspection->settings.limit[LIMIT_ROOM_BYTES]);
	limit_bounds(LIMIT_LOG_BYTES, &min, &inspection->settings.limit[LIMIT_LOG_BYTES]);
	rooms_init(&inspection->rooms, &inspection->users, &inspection->settings);
	r = users_init(&inspection->users, &inspection->settings);
	if (r == 0)
		r = store_inspect(&inspection->store, &inspection->rooms, directory);
	if (r == 0 || r == STORE_E_DAMAGED)
		return r;
	switch (r) {
	case STORE_E_HELD:
		return EX_TEMPFAIL;
	case STORE_E_FOREIGN:
		return EX_CANTCREAT;
	case -ENOENT:
	case -ENOTDIR:
		return EX_NOINPUT;
	default:
		return r < 0 ? EX_OSERR : EX_DATAERR;
	}
}

static void inspection_close(struct inspection *inspection)
{
	store_deinit(&inspection->store);
	rooms_deinit(&inspection->rooms);
	(void)users_deinit(&inspection->users);
	settings_deinit(&inspection->settings);
}

static uint64_t n_holes; /* records of files that cannot be read at all */

typedef void log_fn(const struct log *log);

/* Each part of ROOM that can be read, in order. Returns how many files are damaged. */
static unsigned room_each_log(
	struct inspection *inspection, const struct room *room, log_fn *function)
{
	const struct cold *cold = &room->stored->cold;
	unsigned n_damaged = 0;

	for (size_t i = 0; i < cold->n; i++) {
		const struct segment_image *image = &cold->segments[i];
		struct archive_damage damage;
		struct log log;

		log_init(&log);
		if (archive_restore(inspection->store.lock.dir, room->stored->id, room_target(room),
			    image, &log, &damage) == 0)
			function(&log);
		else
			n_holes += image->next - image->first;
		n_damaged += damage.is_any;
		log_deinit(&log);
	}
	function(&room->log);
	return n_damaged;
}

static uint64_t n_records, n_tombstones;

static void count_records(const struct log *log)
{
	struct log_cursor cursor, next;
	struct text frame;

	log_seek(log, log->first, &cursor);
	while (log_read_one(log, &cursor, &frame, &next) > 0) {
		n_tombstones += frame_is_tombstone(frame);
		n_records += !frame_is_tombstone(frame);
		cursor = next;
	}
}

/* Returns how many files are damaged. */
static unsigned verify_rooms(struct inspection *inspection)
{
	unsigned n_damaged = 0;

	list_for_each (link, &inspection->rooms.all) {
		const struct room *room = container_of(link, struct room, rooms_link);
		struct text target = room_target(room);

		printf("%.*s first=%lu next=%lu bytes=%lu owner=%u\n", (int)target.len, target.data,
			(unsigned long)room_first(room), (unsigned long)room->log.next,
			(unsigned long)(room->stored->cold.bytes + room->log.bytes),
			room->owner->uid);
		n_damaged += room_each_log(inspection, room, count_records);
	}
	return n_damaged;
}

int inspect_verify(const char *directory)
{
	static struct inspection inspection;
	int r;

	r = inspection_open(&inspection, directory);
	if (r == 0 || r == STORE_E_DAMAGED) {
		if (verify_rooms(&inspection) > 0)
			r = STORE_E_DAMAGED;
		printf("%s: rooms=%lu records=%lu", r ? "DAMAGED" : "good",
			(unsigned long)inspection.rooms.by_key.n_links, (unsigned long)n_records);
		if (n_tombstones + n_holes > 0)
			printf(" lost=%lu", (unsigned long)(n_tombstones + n_holes));
		putchar('\n');
		r = r ? EX_DATAERR : 0;
	}
	inspection_close(&inspection);
	return r;
}

/* A line, whatever is in it. */
static void print_body(struct text body)
{
	for (size_t i = 0; i < body.len; i++) {
		unsigned char c = (unsigned char)body.data[i];

		if (c == '\\')
			fputs("\\\\", stdout);
		else if (c == '\n')
			fputs("\\n", stdout);
		else if (c < ' ' || c == 0x7f)
			printf("\\x%02x", c);
		else
			putchar(c);
	}
	putchar('\n');
}

static void dump_records(const struct log *log)
{
	struct log_cursor cursor, next;
	struct text frame;

	log_seek(log, log->first, &cursor);
	while (log_read_one(log, &cursor, &frame, &next) > 0) {
		const char *lf = memchr(frame.data, '\n', frame.len);
		size_t line_len = lf ? (size_t)(lf - frame.data) : frame.len;

		printf("%.*s\t", (int)line_len, frame.data);
		if (lf)
			print_body((struct text){ lf + 1, frame.len - line_len - 1 });
		else
			putchar('\n');
		cursor = next;
	}
}

static void dump_values(const struct room *room)
{
	struct text target = room_target(room);

	list_for_each (link, &room->values) {
		const struct value *value = container_of(link, struct value, link);
		struct text author = value_author(value), key = value_key(value);

		printf("SET %.*s %.*s key=%.*s version=%lu\t", (int)target.len, target.data,
			(int)author.len, author.data, (int)key.len, key.data,
			(unsigned long)value->version);
		print_body(value_text(value));
	}
}

int inspect_dump(const char *directory, const char *name)
{
	static struct inspection inspection;
	unsigned n = 0;
	int r;

	r = inspection_open(&inspection, directory);
	if (r == 0 || r == STORE_E_DAMAGED) {
		list_for_each (link, &inspection.rooms.all) {
			const struct room *room = container_of(link, struct room, rooms_link);

			if (!text_equal(room_target(room), text_of(name)))
				continue;
			dump_values(room);
			if (room_each_log(&inspection, room, dump_records) > 0)
				r = STORE_E_DAMAGED;
			n++;
		}
		r = r ? EX_DATAERR : 0;
		if (n == 0) {
			fprintf(stderr, "chat-broker: %s has no room %s; --verify lists them\n",
				directory, name);
			r = EX_NOINPUT;
		}
	}
	inspection_close(&inspection);
	return r;
}
