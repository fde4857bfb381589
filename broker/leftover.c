/* leftover.c - files that the catalog does not name: recovery.h.
 *
 * A checkpoint that was cut off leaves files whose records are all in the journal. A room that was
 * dropped leaves some if the broker was killed before it removed them; the catalog says which. A
 * file with other records is one that the catalog should know: then it is the catalog that is
 * wrong, lost or older, and its silence is no order to remove anything.
 */
#include "broker/recovery.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "broker/archive.h"
#include "broker/journal.h"
#include "broker/trace.h"

struct leftovers {
	struct recovery *recovery;
	bool is_judged;     /* the catalog knows all that it should: other files may go */
	uint64_t n_format;  /* of another version */
	uint64_t n_unknown; /* files that the catalog should know */
	char example[ARCHIVE_NAME_MAX];
};

static void file_remove(struct leftovers *leftovers, uint64_t room, uint32_t number)
{
	if (leftovers->is_judged)
		archive_remove(leftovers->recovery->dir, room, number, number);
}

/* Nobody can tell what it was. */
static void file_put_aside(struct leftovers *leftovers, uint64_t room, uint32_t number)
{
	if (!leftovers->is_judged)
		return;
	trace(TRACE_WARNING, "a file that nothing names: segment=%u id=%016lx: put aside", number,
		(unsigned long)room);
	archive_put_aside(leftovers->recovery->dir, room, number);
}

static void file_note_unknown(struct leftovers *leftovers, uint64_t room, uint32_t number)
{
	if (leftovers->n_unknown++ == 0)
		snprintf(leftovers->example, sizeof leftovers->example, ARCHIVE_DIR "/%016lx-%08x",
			(unsigned long)room, number);
}

/* Is all of it in ROOM's log, as it was brought back? */
static bool survey_is_known(const struct archive_survey *survey, const struct restored *restored)
{
	return restored && survey->image.first >= room_first(restored->room) &&
	       survey->image.next <= restored->room->log.next;
}

/* A file that was not dropped. */
static int file_judge(
	struct leftovers *leftovers, struct restored *restored, uint64_t room, uint32_t number)
{
	struct archive_survey survey;
	int r = archive_survey(leftovers->recovery->dir, room, number, &survey);

	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return r;
	if (r == ARCHIVE_E_FORMAT)
		leftovers->n_format++;
	else if (survey.is_empty)
		file_remove(leftovers, room, number);
	else if (r > 0 || survey.image.next == survey.image.first)
		file_put_aside(leftovers, room, number);
	else if (survey_is_known(&survey, restored))
		file_remove(leftovers, room, number);
	else if (restored && survey.image.next <= restored->room->log.next)
		file_put_aside(leftovers, room, number); /* retention, or damage, took its place */
	else if (!restored && leftovers->recovery->format < CATALOG_FORMAT_DROPPED)
		file_put_aside(leftovers, room, number); /* it may have been dropped */
	else
		file_note_unknown(leftovers, room, number);
	if (r == 0)
		free(survey.data);
	return 0;
}

/* The newest file that the catalog names may be longer than the catalog says, because a checkpoint
 * that was interrupted wrote to the file. */
static int file_check_end(
	struct leftovers *leftovers, const struct restored *restored, uint32_t number)
{
	struct archive_survey survey;
	int r;

	if (archive_len(leftovers->recovery->dir, restored->id, number) <=
		(int64_t)restored->stored->file_used)
		return 0;
	r = archive_survey(leftovers->recovery->dir, restored->id, number, &survey);
	if (r)
		return MIN(r, 0); /* damage is found when it is read */
	if (!survey_is_known(&survey, restored))
		file_note_unknown(leftovers, restored->id, number);
	free(survey.data);
	return 0;
}

static int file_check(void *userdata, uint64_t room, uint32_t number)
{
	struct leftovers *leftovers = userdata;
	struct recovery *recovery = leftovers->recovery;
	struct restored *restored = recovery_find(recovery, room);
	const struct stored *stored = restored ? restored->stored : NULL;
	const struct dropped *dropped = recovery_find_dropped(recovery, room);

	/* the next checkpoint removes them, after the catalog knows it */
	if (dropped && !dropped->is_committed)
		return 0;
	if (stored && stored->file_used > 0 && number >= stored->oldest_file &&
		number <= stored->file_number)
		return number == stored->file_number ? file_check_end(leftovers, restored, number)
						     : 0;
	/* retention takes the oldest first */
	if (dropped || (stored && stored->file_used > 0 && number < stored->oldest_file)) {
		file_remove(leftovers, room, number);
		return 0;
	}
	return file_judge(leftovers, restored, room, number);
}

int recovery_check_files(struct recovery *recovery)
{
	struct leftovers leftovers = { .recovery = recovery };
	int r = archive_each(recovery->dir, file_check, &leftovers);

	if (r == -ENOENT && recovery->store->is_inspected)
		r = 0;
	if (r < 0)
		return r;
	if (leftovers.n_format > 0) {
		trace(TRACE_ERROR,
			"cannot use the state in %s: %lu files in " ARCHIVE_DIR
			" are of another version of chat-broker",
			recovery->store->path, (unsigned long)leftovers.n_format);
		return STORE_E_STATE;
	}
	if (leftovers.n_unknown == 0) {
		leftovers.is_judged = true;
		return recovery->store->is_inspected
			       ? 0
			       : archive_each(recovery->dir, file_check, &leftovers);
	}
	trace(TRACE_ERROR,
		"cannot use the state in %s: " CATALOG_NAME
		" does not know %lu of the files in " ARCHIVE_DIR
		", as %s: it is older than they are, or another's%s%s",
		recovery->store->path, (unsigned long)leftovers.n_unknown, leftovers.example,
		RECOVERY_REMEDY, recovery->store->path);
	return STORE_E_STATE;
}

static int file_found(void *userdata, uint64_t room, uint32_t number)
{
	return 1;
}

int recovery_has_files(const struct recovery *recovery)
{
	uint64_t *list = NULL;
	size_t n = 0;
	int r = archive_each(recovery->dir, file_found, NULL);

	if (r == -ENOENT)
		r = 0;
	if (r == 0) {
		r = journal_list(recovery->dir, &list, &n);
		r = r < 0 ? r : n > 0;
		free(list);
	}
	return r;
}

int recovery_check_mount(const struct recovery *recovery)
{
	int r = recovery->n_segments > 0 ? archive_each(recovery->dir, file_found, NULL) : 1;

	if (r == -ENOENT)
		r = 0;
	if (r != 0)
		return MIN(r, 0);
	trace(TRACE_ERROR,
		"cannot use the state in %s: " ARCHIVE_DIR
		" has none of the %lu files that " CATALOG_NAME
		" names; put them back, or mount what has them%s%s",
		recovery->store->path, (unsigned long)recovery->n_segments, RECOVERY_REMEDY,
		recovery->store->path);
	return STORE_E_STATE;
}
