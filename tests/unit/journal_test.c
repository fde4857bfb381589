/* journal_test.c - what was written comes back in its order, up to the first byte that is not as
 * it was, and nothing else ever does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "broker/journal.h"
#include "broker/journal_reader.h"
#include "protocol/base.h"

/* A directory, and what was replayed of it. */
struct house {
	char path[64];
	int dir;
	struct journal journal;
	struct journal_replayed replayed;
	char why[JOURNAL_WHY_MAX];
	unsigned n;
	uint64_t seqs[16];
	unsigned n_damaged, n_damaged_entries;
	struct journal_damage damage; /* the last */
};

static int setup(void **state)
{
	struct house *house = calloc(1, sizeof *house);

	assert_non_null(house);
	strcpy(house->path, "/tmp/journal-test.XXXXXX");
	assert_non_null(mkdtemp(house->path));
	house->dir = open(house->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(house->dir >= 0);
	journal_init(&house->journal, house->dir, 0, 0);
	*state = house;
	return 0;
}

static int teardown(void **state)
{
	struct house *house = *state;

	journal_close(&house->journal);
	journal_remove_before(house->dir, UINT64_MAX);
	close(house->dir);
	assert_int_equal(rmdir(house->path), 0);
	free(house);
	return 0;
}

/* Entries from FIRST to LAST; each has as many bytes as its number, times 10. */
static void put(struct house *house, uint64_t first, uint64_t last, bool is_new)
{
	static const char payload[1000] = "entry";
	struct journal_part parts[16];
	size_t n = 0;

	for (uint64_t seq = first; seq <= last; seq++) {
		parts[n].entry = (struct journal_entry){
			.kind = JOURNAL_RECORDS, .len = (uint32_t)seq * 10, .room = 7, .seq = seq
		};
		parts[n++].payload = payload;
	}
	assert_int_equal(journal_write(&house->journal, parts, n, is_new), 0);
}

static int note(void *userdata, const struct journal_entry *entry, const char *payload)
{
	struct house *house = userdata;

	assert_int_equal(entry->len, entry->seq * 10);
	assert_int_equal(entry->room, 7);
	assert_memory_equal(payload, "entry", MIN(entry->len, 5u));
	assert_true(house->n < ARRAY_LEN(house->seqs));
	house->seqs[house->n++] = entry->seq;
	return 0;
}

static int note_damaged(void *userdata, const struct journal_entry *entry, const char *payload)
{
	struct house *house = userdata;

	house->n_damaged_entries++;
	return 0;
}

static int note_damage(void *userdata, const struct journal_damage *damage)
{
	struct house *house = userdata;

	house->n_damaged++;
	house->damage = *damage;
	return 0;
}

static int replay_when(struct house *house, uint64_t generation, enum journal_expect expect)
{
	static const struct journal_reader reader = { note, note_damaged, note_damage };

	house->n = house->n_damaged = house->n_damaged_entries = 0;
	return journal_read(
		house->dir, generation, expect, &reader, house, &house->replayed, house->why);
}

static int replay(struct house *house, uint64_t generation)
{
	return replay_when(house, generation, JOURNAL_ANY);
}

/* It must bring the entries 1 to N. */
static void expect(struct house *house, unsigned n)
{
	if (replay(house, 1) != 0)
		fail_msg("%s", house->why);
	assert_int_equal(house->n, n);
	assert_int_equal(house->n_damaged, 0);
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(house->seqs[i], i + 1);
}

/* The replay must give the entries of WANTED, and report one damaged place. */
static void expect_damage(struct house *house, const char *wanted)
{
	char found[64] = "";

	if (replay(house, 1) != 0)
		fail_msg("%s", house->why);
	for (unsigned i = 0; i < house->n; i++)
		sprintf(found + strlen(found), "%s%lu", i > 0 ? " " : "",
			(unsigned long)house->seqs[i]);
	assert_string_equal(found, wanted);
	assert_int_equal(house->n_damaged, 1);
}

static int file_open(struct house *house, uint64_t generation)
{
	char name[32];
	int fd;

	snprintf(name, sizeof name, "journal-%016lx", (unsigned long)generation);
	fd = openat(house->dir, name, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

static void file_remove(struct house *house, uint64_t generation)
{
	char name[32];

	snprintf(name, sizeof name, "journal-%016lx", (unsigned long)generation);
	assert_int_equal(unlinkat(house->dir, name, 0), 0);
}

static void flip(int fd, off_t at)
{
	char c;

	assert_int_equal(pread(fd, &c, 1, at), 1);
	c ^= 1;
	assert_int_equal(pwrite(fd, &c, 1, at), 1);
}

static void test_empty(void **state)
{
	struct house *house = *state;

	expect(house, 0);
	assert_int_equal(house->replayed.n_files, 0);
	put(house, 1, 0, false); /* nothing is a batch, too */
	expect(house, 0);
	assert_int_equal(house->replayed.n_files, 1);
}

static void test_in_order(void **state)
{
	struct house *house = *state;

	put(house, 1, 3, false);
	put(house, 4, 4, false);
	put(house, 5, 6, true);
	put(house, 7, 7, false);
	expect(house, 7);
	assert_int_equal(house->replayed.n_files, 2);
	assert_int_equal(house->replayed.generation, 2);
	assert_int_equal(house->replayed.len, house->journal.len);
	journal_remove_before(house->dir, 2);
	assert_int_equal(replay(house, 2), 0);
	assert_int_equal(house->n, 3);
	assert_int_equal(house->seqs[0], 5);
}

/* The last entry is void whichever of its bytes is not there, or not as it was. */
static void test_torn(void **state)
{
	struct house *house = *state;
	uint64_t before;
	int fd;

	put(house, 1, 2, false);
	before = house->journal.len;
	put(house, 3, 3, false);
	fd = file_open(house, 1);
	for (uint64_t at = before; at < before + 32 + 32 + 30; at++) {
		flip(fd, (off_t)at);
		expect(house, 2);
		/* the mark is no entry, and may be good */
		assert_in_range(house->replayed.len, before, before + 32);
		assert_true(house->replayed.torn_len > 0);
		flip(fd, (off_t)at);
	}
	expect(house, 3);
	assert_int_equal(house->replayed.torn_len, 0);
	for (uint64_t len = house->journal.len - 1; len >= before; len--) {
		assert_int_equal(ftruncate(fd, (off_t)len), 0);
		expect(house, 2);
	}
	close(fd);
}

/* What a file has behind what the next one says of it is void, however good it looks. */
static void test_superseded(void **state)
{
	struct house *house = *state;
	uint64_t len;

	put(house, 1, 1, false);
	len = house->journal.len;
	put(house, 3, 3, false); /* as if its sync had failed */
	journal_close(&house->journal);
	journal_init(&house->journal, house->dir, 1, len);
	put(house, 2, 2, false);
	expect(house, 2);
}

/* One that was being made is as if it were not; the next takes its name. */
static void test_in_the_making(void **state)
{
	static const char zeros[JOURNAL_HEADER_LEN];
	struct house *house = *state;
	int fd;

	put(house, 1, 1, false);
	put(house, 2, 2, true);
	fd = file_open(house, 2);
	assert_int_equal(ftruncate(fd, sizeof zeros), 0);
	assert_int_equal(pwrite(fd, zeros, sizeof zeros, 0), sizeof zeros);
	expect(house, 1);
	assert_int_equal(ftruncate(fd, 100), 0);
	expect(house, 1);
	assert_int_equal(ftruncate(fd, 0), 0);
	close(fd);
	expect(house, 1);
	journal_close(&house->journal);
	journal_init(&house->journal, house->dir, house->replayed.generation, house->replayed.len);
	put(house, 2, 2, false);
	expect(house, 2);
}

/* One copy of the header is enough; without both, what the file has is damaged, not torn. */
static void test_header(void **state)
{
	struct house *house = *state;
	int fd;

	put(house, 1, 1, false);
	put(house, 2, 2, true);
	fd = file_open(house, 2);
	for (off_t at = 0; at < (off_t)sizeof(struct journal_header); at++) {
		flip(fd, at);
		expect(house, 2);
		flip(fd, at);
		flip(fd, JOURNAL_HEADER_COPY + at);
		expect(house, 2);
		flip(fd, JOURNAL_HEADER_COPY + at);
	}
	flip(fd, 20);
	flip(fd, JOURNAL_HEADER_COPY + 20);
	expect_damage(house, "1");
	assert_int_equal(house->damage.generation, 2);
	assert_int_equal(house->damage.at, 0);
	assert_int_equal(house->replayed.generation, 2); /* so its name is not taken again */
	close(fd);
}

/* A changed byte in a write that was synced before another one is damage. The other entries are
 * there. */
static void test_damaged(void **state)
{
	struct house *house = *state;
	uint64_t before, after;
	int fd;

	put(house, 1, 1, false);
	before = house->journal.len;
	put(house, 2, 3, false);
	after = house->journal.len;
	put(house, 4, 4, false);
	fd = file_open(house, 1);
	for (uint64_t at = before; at < after; at++) {
		uint64_t in = at - before;

		flip(fd, (off_t)at);
		if (in < 32) /* the mark */
			expect_damage(house, "1 2 3 4");
		else if (in < 36) /* a length: it may lead nowhere */
			assert_int_equal(replay(house, 1), 0);
		else if (in < 32 + 32 + 20)
			expect_damage(house, "1 3 4");
		else if (in >= 32 + 32 + 24 && in < 32 + 32 + 24 + 4)
			assert_int_equal(replay(house, 1), 0);
		else if (in >= 32 + 32 + 24 && in < 32 + 32 + 24 + 32 + 30)
			expect_damage(house, "1 2 4");
		else if (in < 32 + 32 + 24)
			expect(house, 4); /* padding */
		assert_true(house->n > 0 && house->seqs[house->n - 1] == 4);
		flip(fd, (off_t)at);
	}
	expect(house, 4);
	close(fd);
}

/* A body that looks like a mark and an entry is none: it cannot have the keyed hash. */
static void test_forged_mark(void **state)
{
	struct house *house = *state;
	struct journal_entry forged = { .kind = JOURNAL_BATCH };
	struct journal_part part;
	uint64_t at;
	int fd;

	put(house, 1, 1, false);
	at = house->journal.len + 2 * sizeof forged;
	/* as if the salt were known, and not how the hash is made */
	forged.room = 4711;
	forged.crc = journal_entry_crc(house->journal.salt, &forged, NULL);
	part.entry = (struct journal_entry){
		.kind = JOURNAL_RECORDS, .len = sizeof forged, .room = 7, .seq = 2
	};
	part.payload = &forged;
	assert_int_equal(journal_write(&house->journal, &part, 1, false), 0);
	fd = file_open(house, 1);
	flip(fd, (off_t)(at - sizeof forged + 8)); /* the kind of the last entry */
	close(fd);
	expect(house, 1);
	assert_true(house->replayed.torn_len > 0);
}

/* A file that is cut off before its end, as the next one knows it. */
static void test_cut(void **state)
{
	struct house *house = *state;
	int fd;

	put(house, 1, 2, false);
	put(house, 3, 3, true);
	fd = file_open(house, 1);
	assert_int_equal(ftruncate(fd, JOURNAL_HEADER_LEN + 32 + 32 + 16), 0);
	close(fd);
	expect_damage(house, "1 3");
}

static void test_missing(void **state)
{
	struct house *house = *state;
	int fd;

	assert_int_equal(replay_when(house, 1, JOURNAL_ANY), 0);
	assert_int_equal(replay_when(house, 1, JOURNAL_SOME), JOURNAL_E_MISSING);
	put(house, 1, 1, false);
	put(house, 2, 2, true);
	put(house, 3, 3, true);
	fd = file_open(house, 2);
	flip(fd, 6);
	flip(fd, JOURNAL_HEADER_COPY + 6);
	assert_int_equal(replay(house, 1), JOURNAL_E_FORMAT);
	assert_non_null(strstr(house->why, "journal-0000000000000002"));
	close(fd);
	file_remove(house, 2);
	assert_int_equal(replay(house, 1), JOURNAL_E_MISSING);
	assert_non_null(strstr(house->why, "journal-0000000000000002"));
	assert_int_equal(replay_when(house, 1, JOURNAL_WHATEVER), 0);
	assert_int_equal(house->n, 2);
	assert_int_equal(house->n_damaged, 1);
	/* from behind it on it is not missed */
	assert_int_equal(replay(house, 3), 0);
	assert_int_equal(house->n, 1);
	file_remove(house, 3);
	file_remove(house, 1);
	assert_int_equal(replay_when(house, 1, JOURNAL_SOME), JOURNAL_E_MISSING);
}

/* Another file's entries do not fit, though they are the same bytes at the same place. */
static void test_salt(void **state)
{
	struct house *house = *state;
	char entries[256];
	ssize_t n;
	int fd;

	put(house, 1, 2, false);
	fd = file_open(house, 1);
	n = pread(fd, entries, sizeof entries, JOURNAL_HEADER_LEN);
	close(fd);
	assert_true(n > 64);
	put(house, 3, 2, true);
	fd = file_open(house, 2);
	assert_int_equal(pwrite(fd, entries, (size_t)n, JOURNAL_HEADER_LEN), n);
	close(fd);
	expect(house, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_empty, setup, teardown),
		cmocka_unit_test_setup_teardown(test_in_order, setup, teardown),
		cmocka_unit_test_setup_teardown(test_torn, setup, teardown),
		cmocka_unit_test_setup_teardown(test_superseded, setup, teardown),
		cmocka_unit_test_setup_teardown(test_in_the_making, setup, teardown),
		cmocka_unit_test_setup_teardown(test_header, setup, teardown),
		cmocka_unit_test_setup_teardown(test_damaged, setup, teardown),
		cmocka_unit_test_setup_teardown(test_forged_mark, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cut, setup, teardown),
		cmocka_unit_test_setup_teardown(test_missing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_salt, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
