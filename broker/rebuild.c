/* rebuild.c - see rebuild.h.
 *
 * The files say which records a room has, and since format 02 whose it is. The old catalog, if it
 * can be read, adds what only it knows: read marks, properties and names. The journal is not
 * looked at: the next start replays it over the new catalog as over any other.
 */
#include "broker/rebuild.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "broker/archive.h"
#include "broker/array.h"
#include "broker/catalog.h"
#include "broker/journal.h"
#include "broker/state_lock.h"
#include "protocol/text.h"

#define NEW_NAME CATALOG_NAME ".new"

/* A file, by the identity of its room and then by its number. */
struct file {
	uint64_t room;
	uint32_t number;
	bool is_used;
	struct archive_survey survey; /* without its data */
};

/* A room, as the old catalog records it. */
struct known {
	uint64_t id;
	uid_t owner, party[2];
	uint64_t next;
	char key[TARGET_LEN_MAX + 24];
	size_t key_len, target_len;
};

/* A file that is put aside when the new catalog has its place. */
struct aside {
	uint64_t room;
	uint32_t number;
};

struct rebuild {
	const char *path;
	struct state_lock lock;
	struct catalog catalog; /* the new one */
	struct file *files;
	size_t n_files, files_size;
	struct known *known;
	size_t n_known, known_size;
	uint64_t *dropped;
	size_t n_dropped, dropped_size;
	struct aside *asides;
	size_t n_asides, asides_size;
	int error;          /* of writing: an outcome of the catalog, or -errno */
	struct span *spans; /* rooms with files, the one that was spoken in last first */
	uint64_t n_rooms, n_segments, n_records;
};

/* ---- the old catalog ---- */

/* Keep the first error of writing the new catalog: the old catalog is not to blame for it. */
static int rebuild_note(struct rebuild *rebuild, int r)
{
	rebuild->error = rebuild->error ? rebuild->error : r;
	return r;
}

static const struct known *rebuild_known(const struct rebuild *rebuild, uint64_t id)
{
	for (size_t i = 0; i < rebuild->n_known; i++)
		if (rebuild->known[i].id == id)
			return &rebuild->known[i];
	return NULL;
}

static int take_room(void *userdata, const struct catalog_room *row)
{
	struct rebuild *rebuild = userdata;
	struct known *known =
		array_more(rebuild->known, rebuild->n_known, &rebuild->known_size, sizeof *known);

	if (!known)
		return -ENOMEM;
	rebuild->known = known;
	if (row->key.len > sizeof known->key || row->target_len > row->key.len)
		return 0;
	known = &known[rebuild->n_known++];
	*known = (struct known){ .id = row->id,
		.owner = row->owner,
		.party = { row->party[0], row->party[1] },
		.next = row->next,
		.key_len = row->key.len,
		.target_len = row->target_len };
	memcpy(known->key, row->key.data, row->key.len);
	return rebuild_note(rebuild, catalog_put_room(&rebuild->catalog, row));
}

static int take_publisher(void *userdata, uint64_t room, const struct catalog_publisher *row)
{
	struct rebuild *rebuild = userdata;

	if (!rebuild_known(rebuild, room))
		return 0;
	return rebuild_note(rebuild, catalog_put_publisher(&rebuild->catalog, room, row));
}

static int take_mark(void *userdata, uint64_t room, uid_t uid, uint64_t seq)
{
	struct rebuild *rebuild = userdata;

	if (!rebuild_known(rebuild, room))
		return 0;
	return rebuild_note(rebuild, catalog_put_mark(&rebuild->catalog, room, uid, seq));
}

static int take_value(void *userdata, uint64_t room, const struct catalog_value *row)
{
	struct rebuild *rebuild = userdata;

	if (!rebuild_known(rebuild, room))
		return 0;
	return rebuild_note(rebuild, catalog_put_value(&rebuild->catalog, room, row));
}

static int take_name(void *userdata, struct text name, uid_t uid, uint64_t used_at)
{
	struct rebuild *rebuild = userdata;

	return rebuild_note(rebuild, catalog_put_name(&rebuild->catalog, name, uid, used_at));
}

/* Names were used by this clock. */
static int take_clock(void *userdata, uint64_t age, uint64_t wall)
{
	return catalog_set_clock(&((struct rebuild *)userdata)->catalog, age, wall);
}

static int take_dropped(void *userdata, uint64_t room)
{
	struct rebuild *rebuild = userdata;
	uint64_t *dropped = array_more(
		rebuild->dropped, rebuild->n_dropped, &rebuild->dropped_size, sizeof *dropped);

	if (!dropped)
		return -ENOMEM;
	rebuild->dropped = dropped;
	dropped[rebuild->n_dropped++] = room;
	return rebuild_note(rebuild, catalog_drop_room(&rebuild->catalog, room));
}

/* The files say which segments there are. */
static const struct catalog_reader reader = {
	.clock = take_clock,
	.room = take_room,
	.publisher = take_publisher,
	.mark = take_mark,
	.value = take_value,
	.name = take_name,
	.dropped = take_dropped,
};

/* Take what can be read of it, and say that the rest is lost. One of a later version is no damage.
 * Returns 0, or an outcome with WHY filled in. */
static int rebuild_read_old(struct rebuild *rebuild, char why[static CATALOG_WHY_MAX])
{
	char broken[CATALOG_WHY_MAX] = CATALOG_NAME ": its rows do not fit together";
	struct catalog old;
	int r = catalog_open(&old, rebuild->path, CATALOG_INSPECT, broken);

	if (r == CATALOG_E_FORMAT && strstr(broken, "another version")) {
		snprintf(why, CATALOG_WHY_MAX, "%s", broken);
		return r;
	}
	if (r == 0) {
		r = catalog_check(&old, broken);
		if (r == 0)
			r = catalog_read(&old, &reader, rebuild, broken);
		catalog_close(&old);
	}
	if (rebuild->error)
		return rebuild->error;
	if (r)
		printf("%s: read positions, properties and names that only it had are lost\n",
			r > 0 ? broken : strerror(-r));
	return 0;
}

/* ---- the files ---- */

static bool is_dropped(const struct rebuild *rebuild, uint64_t room)
{
	for (size_t i = 0; i < rebuild->n_dropped; i++)
		if (rebuild->dropped[i] == room)
			return true;
	return false;
}

/* Without memory the file stays where it is, and the next start says that nothing names it. */
static void file_put_aside(struct rebuild *rebuild, const struct file *file, const char *why)
{
	struct aside *asides = array_more(
		rebuild->asides, rebuild->n_asides, &rebuild->asides_size, sizeof *asides);

	printf(ARCHIVE_DIR "/%016lx-%08x: %s; put into " ARCHIVE_DAMAGED "\n",
		(unsigned long)file->room, file->number, why);
	if (!asides)
		return;
	rebuild->asides = asides;
	asides[rebuild->n_asides++] = (struct aside){ file->room, file->number };
}

/* Survey the file, whose data is not kept: there may be gigabytes. */
static int file_found(void *userdata, uint64_t room, uint32_t number)
{
	struct rebuild *rebuild = userdata;
	struct file *files =
		array_more(rebuild->files, rebuild->n_files, &rebuild->files_size, sizeof *files);
	struct file file = { .room = room, .number = number };
	int r;

	if (!files)
		return -ENOMEM;
	rebuild->files = files;
	if (is_dropped(rebuild, room))
		return 0; /* the next start removes it */
	r = archive_survey(rebuild->lock.dir, room, number, &file.survey);
	if (r < 0)
		return r;
	if (r == 0)
		free(file.survey.data);
	file.survey.data = NULL;
	file.survey.image.data = NULL;
	if (r == ARCHIVE_E_FORMAT)
		return r;
	if (r == ARCHIVE_E_BROKEN || file.survey.len == 0)
		file_put_aside(rebuild, &file, r ? "it has no header" : "it has no records");
	else
		files[rebuild->n_files++] = file;
	return 0;
}

static int file_compare(const void *a, const void *b)
{
	const struct file *x = a, *y = b;

	if (x->room != y->room)
		return x->room < y->room ? -1 : 1;
	return x->number < y->number ? -1 : x->number > y->number;
}

/* ---- rooms ---- */

/* The files of one room, of which the last that is used is the newest. */
struct span {
	struct file *files;
	size_t n;
	struct file *newest;
	const struct known *known;
	bool is_put;
	char target[TARGET_LEN_MAX + 1];
	char key[TARGET_LEN_MAX + 32];
	size_t key_len;
};

/* A segment has all of the numbers up to the next segment; the newest has the numbers that its
 * records have. Damage in a segment is found, and reported, when the segment is read. */
static void file_settle(struct file *file, const struct file *after)
{
	struct archive_survey *survey = &file->survey;
	struct segment_image *image = &survey->image;

	if (image->used == survey->len)
		return;
	if (after && after->survey.image.first > image->next) {
		image->used = survey->len;
		image->next = after->survey.image.first;
	} else if (!after && survey->walked_next > 0) {
		image->used = survey->len;
		image->next = survey->walked_next;
	}
}

/* Find the target of its records, in the first file whose first record is good, or else in the old
 * catalog. */
static void span_find_target(struct span *span)
{
	for (size_t i = 0; i < span->n && !span->target[0]; i++)
		strcpy(span->target, span->files[i].survey.target);
	if (!span->target[0] && span->known && span->known->target_len <= TARGET_LEN_MAX)
		memcpy(span->target, span->known->key, span->known->target_len);
}

/* Which files follow each other: a checkpoint that was cut off leaves some that others replaced. */
static void span_settle(struct rebuild *rebuild, struct span *span)
{
	span_find_target(span);
	for (size_t i = 0; i < span->n; i++) {
		struct file *file = &span->files[i], *before = span->newest;
		const char *target = file->survey.target;

		if (target[0] && strcmp(target, span->target) != 0) {
			file_put_aside(rebuild, file, "of another room");
			continue;
		}
		if (before && file->survey.image.first < before->survey.image.next) {
			file_put_aside(rebuild, file, "another file has its records");
			continue;
		}
		if (before)
			file_settle(before, file);
		file->is_used = true;
		span->newest = file;
	}
	if (span->newest)
		file_settle(span->newest, NULL);
	for (size_t i = 0; i < span->n; i++) {
		struct file *file = &span->files[i];

		if (!file->is_used || file->survey.image.used > 0)
			continue;
		file_put_aside(rebuild, file, "nobody knows how many records it had");
		file->is_used = false;
	}
	/* the newest of those that are left */
	span->newest = NULL;
	for (size_t i = 0; i < span->n; i++)
		if (span->files[i].is_used)
			span->newest = &span->files[i];
}

/* Whose it is, and its key. False: nobody knows who the two of a conversation are. */
static bool span_name(struct span *span, struct catalog_room *row)
{
	const struct archive_survey *survey = &span->newest->survey;
	const struct archive_people *people = &survey->people;
	int n;

	row->target_len = strlen(span->target);
	row->owner = survey->has_people ? people->owner : geteuid();
	memcpy(row->party, people->party, sizeof row->party);
	if (span->known) {
		memcpy(span->key, span->known->key, span->known->key_len);
		span->key_len = span->known->key_len;
		row->owner = span->known->owner;
		memcpy(row->party, span->known->party, sizeof row->party);
	} else if (!span->target[0] || (span->target[0] == '@' && !survey->has_people)) {
		return false;
	} else {
		n = snprintf(span->key, sizeof span->key,
			span->target[0] == '@' ? "%s:%u:%u" : "%s", span->target, people->party[0],
			people->party[1]);
		span->key_len = (size_t)n;
	}
	row->key = (struct text){ span->key, span->key_len };
	return true;
}

static void span_put_aside(struct rebuild *rebuild, const struct span *span, const char *why)
{
	for (size_t i = 0; i < span->n; i++)
		if (span->files[i].is_used)
			file_put_aside(rebuild, &span->files[i], why);
}

/* Has a room that was spoken in later this one's name? */
static bool rebuild_has_later(const struct rebuild *rebuild, const struct span *span)
{
	for (const struct span *later = rebuild->spans; later < span; later++)
		if (later->is_put && text_equal((struct text){ later->key, later->key_len },
					     (struct text){ span->key, span->key_len }))
			return true;
	return false;
}

static int span_put_segments(struct rebuild *rebuild, const struct span *span)
{
	int r = 0;

	for (size_t i = 0; i < span->n && r == 0; i++) {
		const struct segment_image *image = &span->files[i].survey.image;

		if (!span->files[i].is_used)
			continue;
		r = catalog_put_segment(&rebuild->catalog, span->newest->room, image);
		rebuild->n_segments++;
		rebuild->n_records += image->next - image->first;
	}
	return r;
}

static int span_put(struct rebuild *rebuild, struct span *span)
{
	const struct segment_image *newest = &span->newest->survey.image;
	struct catalog_room row = { .id = span->newest->room,
		.next = newest->next,
		.last_time = newest->last,
		.number = newest->number };
	int r;

	if (!span_name(span, &row) || rebuild_has_later(rebuild, span)) {
		span_put_aside(rebuild, span,
			row.key.data ? "a later room has its name"
				     : "nobody knows whose conversation it is");
		return 0;
	}
	row.next = MAX(row.next, span->known ? span->known->next : 0);
	/* the old catalog may know an earlier room of this name */
	r = catalog_put_room(&rebuild->catalog, &row);
	if (r)
		r = catalog_drop_key(&rebuild->catalog, row.key);
	if (r == 0)
		r = catalog_put_room(&rebuild->catalog, &row);
	if (r)
		return r;
	span->is_put = true;
	rebuild->n_rooms++;
	printf("%s next=%lu\n", span->target, (unsigned long)row.next);
	return span_put_segments(rebuild, span);
}

static int span_compare(const void *a, const void *b)
{
	const struct span *x = a, *y = b;
	uint64_t time_x = x->newest ? x->newest->survey.image.last : 0;
	uint64_t time_y = y->newest ? y->newest->survey.image.last : 0;

	return time_x > time_y ? -1 : time_x < time_y;
}

static int rebuild_put_rooms(struct rebuild *rebuild)
{
	struct span *spans = calloc(rebuild->n_files + 1, sizeof *spans);
	size_t n = 0;
	int r = 0;

	if (!spans)
		return -ENOMEM;
	rebuild->spans = spans;
	if (rebuild->n_files > 0)
		qsort(rebuild->files, rebuild->n_files, sizeof *rebuild->files, file_compare);
	for (size_t i = 0; i < rebuild->n_files; i++) {
		struct file *file = &rebuild->files[i];

		if (i == 0 || file->room != file[-1].room)
			spans[n++] = (struct span){ .files = file,
				.known = rebuild_known(rebuild, file->room) };
		spans[n - 1].n++;
	}
	for (size_t i = 0; i < n; i++)
		span_settle(rebuild, &spans[i]);
	if (n > 0)
		qsort(spans, n, sizeof *spans, span_compare);
	for (size_t i = 0; i < n && r == 0; i++)
		if (spans[i].newest)
			r = span_put(rebuild, &spans[i]);
	return r;
}

/* ---- all of it ---- */

static int rebuild_put_journal(struct rebuild *rebuild)
{
	struct catalog_journal journal = { 1, CATALOG_JOURNAL_REBUILT, 0 };
	uint64_t *list = NULL;
	size_t n = 0;
	int r = journal_list(rebuild->lock.dir, &list, &n);

	if (r < 0)
		return r;
	if (n > 0)
		journal.generation = list[0];
	else
		journal.state = CATALOG_JOURNAL_CLOSED;
	free(list);
	/* nobody can tell which numbers readers have seen */
	randombytes_buf(&journal.incarnation, sizeof journal.incarnation);
	return catalog_set_journal(&rebuild->catalog, &journal);
}

static int rebuild_make(struct rebuild *rebuild, char why[static CATALOG_WHY_MAX])
{
	int r;

	(void)unlinkat(rebuild->lock.dir, NEW_NAME, 0);
	(void)unlinkat(rebuild->lock.dir, NEW_NAME "-journal", 0);
	r = catalog_open_as(&rebuild->catalog, rebuild->path, NEW_NAME, CATALOG_CREATE, why);
	if (r)
		return r;
	r = catalog_begin(&rebuild->catalog);
	if (r == 0)
		r = rebuild_read_old(rebuild, why);
	if (r == 0)
		r = archive_each(rebuild->lock.dir, file_found, rebuild);
	if (r == ARCHIVE_E_FORMAT && !why[0]) {
		snprintf(why, CATALOG_WHY_MAX, "a file in " ARCHIVE_DIR " is of another version");
		r = CATALOG_E_FORMAT;
	}
	if (r == 0)
		r = rebuild_put_rooms(rebuild);
	if (r == 0)
		r = rebuild_put_journal(rebuild);
	if (r == 0)
		r = catalog_commit(&rebuild->catalog);
	if (r > 0 && !why[0])
		snprintf(why, CATALOG_WHY_MAX, NEW_NAME ": %s", catalog_error(&rebuild->catalog));
	catalog_close(&rebuild->catalog);
	return r;
}

/* The new one takes the old one's place. Returns 0 or -errno. */
static int rebuild_install(const struct rebuild *rebuild)
{
	static const char *const old[] = { CATALOG_NAME, CATALOG_NAME "-journal" };
	int dir = rebuild->lock.dir, r;
	struct stat statbuf;

	for (size_t i = 0; i < ARRAY_LEN(old); i++) {
		if (fstatat(dir, old[i], &statbuf, AT_SYMLINK_NOFOLLOW) == 0 &&
			statbuf.st_size == 0)
			(void)unlinkat(dir, old[i], 0);
		r = archive_keep_damaged(dir, old[i], false);
		if (r < 0 && r != -ENOENT)
			return r;
	}
	(void)unlinkat(dir, NEW_NAME "-journal", 0);
	if (renameat(dir, NEW_NAME, dir, CATALOG_NAME) < 0 || fsync(dir) < 0)
		return -errno;
	for (size_t i = 0; i < rebuild->n_asides; i++)
		archive_put_aside(dir, rebuild->asides[i].room, rebuild->asides[i].number);
	return 0;
}

static int rebuild_fail(const char *directory, const char *why, int status)
{
	fprintf(stderr, "chat-broker: cannot rebuild %s: %s\n", directory, why);
	return status;
}

int rebuild(const char *directory)
{
	struct rebuild rebuild = { .path = directory };
	char why[STATE_LOCK_WHY_MAX] = "";
	int r;

	if (access(directory, F_OK) < 0)
		return rebuild_fail(directory, strerror(errno), EX_NOINPUT);
	r = state_lock_take(&rebuild.lock, directory, false, why);
	if (r) {
		state_lock_release(&rebuild.lock);
		return rebuild_fail(directory, why,
			r == STATE_LOCK_E_HELD      ? EX_TEMPFAIL
			: r == STATE_LOCK_E_FOREIGN ? EX_CANTCREAT
						    : EX_OSERR);
	}
	r = rebuild_make(&rebuild, why);
	if (r == 0)
		r = rebuild_install(&rebuild);
	free(rebuild.spans);
	free(rebuild.asides);
	free(rebuild.files);
	free(rebuild.known);
	free(rebuild.dropped);
	state_lock_release(&rebuild.lock);
	if (r)
		return rebuild_fail(directory, r > 0 ? why : strerror(-r), EX_IOERR);
	printf("rebuilt: rooms=%lu segments=%lu records=%lu aside=%lu; the next start adds what "
	       "the "
	       "journal has\n",
		(unsigned long)rebuild.n_rooms, (unsigned long)rebuild.n_segments,
		(unsigned long)rebuild.n_records, (unsigned long)rebuild.n_asides);
	return 0;
}
