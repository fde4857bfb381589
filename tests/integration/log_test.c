/* log_test.c - cursors and what is lost from under them: chat-protocol(7), JOIN, GAP,
 * Log identity; chat-broker(8), LIMITS. */
#include "tests/integration/harness.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STRANGER 65534

/* The smallest there is: so retention comes soon. */
#define ROOM_BYTES 262144

static void say(struct raw *raw, const char *room, unsigned number, size_t len)
{
	static char frame[PACKET_LEN_MAX];
	int n = snprintf(frame, sizeof frame, "#s SAY %s\n%u ", room, number);

	memset(frame + n, 'x', len);
	raw_send_bytes(raw, frame, (size_t)n + len);
	raw_expect(raw, "#s * ~");
}

/* The words of "#j * NEXT first=A log=ID". */
struct joined {
	uint64_t next, first;
	char log[17];
};

static struct joined join(struct raw *raw, const char *words)
{
	struct joined joined;

	raw_send(raw, "#j JOIN %s", words);
	if (sscanf(raw_await(raw, "#j * ~"), "#j * %" SCNu64 " first=%" SCNu64 " log=%16s",
		    &joined.next, &joined.first, joined.log) != 3)
		fail_msg("not an answer to JOIN");
	assert_int_equal(strspn(joined.log, "0123456789abcdef"), 16);
	return joined;
}

static void expect_messages(struct raw *raw, const char *room, uint64_t from, uint64_t to)
{
	for (uint64_t seq = from; seq <= to; seq++)
		raw_expect(raw, "MSG %s %" PRIu64 " ~", room, seq);
}

/* The times of the first N messages of room. */
static void get_times(struct raw *raw, const char *room, uint64_t *times, unsigned n)
{
	raw_send(raw, "#t PAST %s to=%u", room, n);
	for (unsigned i = 0; i < n; i++)
		if (sscanf(raw_expect(raw, "#t + ~"), "#t + MSG %*s %*s %" SCNu64, &times[i]) != 1)
			fail_msg("no time");
	raw_expect(raw, "#t * %u", n);
}

static void test_where_a_cursor_starts(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *speaker = raw_hello(broker, "name=speaker");
	struct raw *mover = raw_hello(broker, "name=mover batch"), *raw;
	uint64_t times[10], expected;
	char words[128];

	for (unsigned i = 1; i <= 10; i++)
		say(speaker, "room", i, 10);
	get_times(speaker, "room", times, 10);
	for (int row = 0; row < 14; row++) {
		static const struct {
			const char *word;
			uint64_t next;
		} table[] = {
			{ "", 11 },
			{ "new", 11 },
			{ "last=0", 11 },
			{ "last=1", 10 },
			{ "last=3", 8 },
			{ "last=10", 1 },
			{ "last=11", 1 },
			{ "since=1", 1 },
			{ "since=4", 4 },
			{ "since=10", 10 },
			{ "since=11", 11 },
			{ "since=@0", 1 },
			{ "since=@18446744073709551615", 11 },
		};

		if (row < (int)ARRAY_LEN(table)) {
			snprintf(words, sizeof words, "room%s%s", table[row].word[0] ? " " : "",
				table[row].word);
			expected = table[row].next;
		} else {
			snprintf(words, sizeof words, "room since=@%" PRIu64, times[4] + 1);
			for (expected = 1; expected <= 10 && times[expected - 1] <= times[4];
				expected++)
				;
		}
		raw = raw_hello(broker, "name=reader");
		for (int i = 0; i < 2; i++) {
			struct raw *reader = i ? mover : raw;
			struct joined joined = join(reader, words);

			if (joined.next != expected || joined.first != 1)
				fail_msg("%s: next %" PRIu64 " first %" PRIu64, words, joined.next,
					joined.first);
			expect_messages(reader, "room", expected, 10);
			raw_expect_quiet(reader);
		}
		raw_close(raw);
	}
	/* inclusive: the time of a message is that message, or one at the same time */
	snprintf(words, sizeof words, "room since=@%" PRIu64, times[6]);
	for (expected = 1; times[expected - 1] < times[6]; expected++)
		;
	assert_int_equal(join(mover, words).next, expected);
	broker_stop(broker);
}

static void test_resume_and_reset(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *speaker = raw_hello(broker, "name=speaker");
	struct raw *reader = raw_hello(broker, "name=reader");
	struct joined joined;
	char words[128];

	for (unsigned i = 1; i <= 10; i++)
		say(speaker, "room", i, 10);
	joined = join(reader, "room");
	raw_close(reader);
	for (unsigned i = 11; i <= 20; i++)
		say(speaker, "room", i, 10);

	/* with the right identity: exactly there, also at the very end */
	reader = raw_hello(broker, "name=reader");
	snprintf(words, sizeof words, "room since=%" PRIu64 " log=%s", joined.next, joined.log);
	join(reader, words);
	expect_messages(reader, "room", 11, 20);
	raw_expect_quiet(reader);
	snprintf(words, sizeof words, "room log=%s since=21", joined.log);
	assert_int_equal(join(reader, words).next, 21);
	raw_expect_quiet(reader);

	/* another log, or a number that this one has not reached: all of it */
	join(reader, "room since=11 log=0123456789abcdef");
	raw_expect(reader, "GAP room 11 0 reset");
	expect_messages(reader, "room", 1, 20);
	snprintf(words, sizeof words, "room since=22 log=%s", joined.log);
	join(reader, words);
	raw_expect(reader, "GAP room 22 0 reset");
	expect_messages(reader, "room", 1, 20);
	join(reader, "room since=4000000000");
	raw_expect(reader, "GAP room 4000000000 0 reset");
	expect_messages(reader, "room", 1, 20);
	raw_expect_quiet(reader);

	/* a new broker is a new log */
	broker_kill9(broker);
	broker_spawn_here(broker, NULL);
	broker_wait_ready(broker);
	reader = raw_hello(broker, "name=reader");
	snprintf(words, sizeof words, "room since=21 log=%s", joined.log);
	assert_string_not_equal(join(reader, words).log, joined.log);
	raw_expect(reader, "GAP room 21 0 reset");
	raw_expect_quiet(reader);
	broker_stop(broker);
}

/* Read on to message LAST: nothing is missing but what a GAP names, and each only once.
 * Returns how many were in gaps. */
static uint64_t read_with_gaps(struct raw *raw, uint64_t next, uint64_t last)
{
	uint64_t n_lost = 0;

	while (next <= last) {
		struct text frame = raw_next(raw);
		char start[128];
		uint64_t from, to;

		snprintf(start, sizeof start, "%.*s", (int)MIN(frame.len, sizeof start - 1),
			frame.data);
		if (sscanf(start, "GAP room %" SCNu64 " %" SCNu64 " retention", &from, &to) == 2) {
			assert_int_equal(from, next);
			assert_true(to >= from);
			n_lost += to - from + 1;
			next = to + 1;
		} else if (sscanf(start, "MSG room %" SCNu64, &from) == 1) {
			assert_int_equal(from, next);
			next++;
		} else {
			fail_msg("%s", start);
		}
	}
	return n_lost;
}

static void test_retention(void **state)
{
	static const char *const features[] = { "name=slow", "name=slow batch" };
	static const size_t lengths[] = { 500, 3000, BODY_LEN_MAX - 20 };

	for (size_t i = 0; i < ARRAY_LEN(features) * ARRAY_LEN(lengths); i++) {
		size_t len = lengths[i / ARRAY_LEN(features)];
		unsigned n = (unsigned)(20 * ROOM_BYTES / (len + 100));
		struct broker *broker = broker_start("--limit", "room-bytes=256k");
		struct raw *slow = raw_join(broker, features[i % ARRAY_LEN(features)], "room");
		struct raw *speaker = raw_hello(broker, "name=speaker"), *late;
		struct joined joined;

		/* room-bytes bounds the log, the socket's buffer is in front of it */
		for (unsigned k = 1; k <= n; k++)
			say(speaker, "room", k, len);
		assert_true(raw_counter(speaker, "log_bytes") <= ROOM_BYTES);
		/* it counts what it took, and what it used again */
		assert_true(raw_counter(speaker, "retention_bytes") > 10 * ROOM_BYTES);
		assert_true(read_with_gaps(slow, 1, n) > 0);
		raw_expect_quiet(slow);
		late = raw_hello(broker, "name=late");
		joined = join(late, "room since=1");
		assert_true(joined.first > 1 && joined.first <= n);
		raw_expect(late, "GAP room 1 %" PRIu64 " retention", joined.first - 1);
		expect_messages(late, "room", joined.first, n);
		/* a cursor that never looked back has lost nothing */
		joined = join(late, "room last=1000000");
		assert_int_equal(joined.next, joined.first);
		expect_messages(late, "room", joined.first, n);
		raw_expect_quiet(late);
		broker_stop(broker);
		harness_teardown(state);
	}
}

#define SPEAKERS 20
#define LINES    1000
#define READERS  4

static uint64_t hash(struct text text)
{
	uint64_t h = 14695981039346656037u;

	for (size_t i = 0; i < text.len; i++)
		h = (h ^ (unsigned char)text.data[i]) * 1099511628211u;
	return h;
}

/* All of twenty speakers' lines, in one order, the same for every reader; what one
 * speaker says keeps its order; time never decreases. */
static void test_one_order_for_all(void **state)
{
	static uint64_t hashes[SPEAKERS * LINES];
	struct broker *broker = broker_start(NULL);
	struct raw *readers[READERS], *speakers[SPEAKERS];

	readers[0] = raw_join(broker, "name=r0", "room");
	readers[1] = raw_join(broker, "name=r1 batch", "room");
	for (int i = 0; i < SPEAKERS; i++)
		speakers[i] = raw_hello(broker, "name=speaker");
	for (int line = 0; line < LINES; line++) {
		for (int i = 0; i < SPEAKERS; i++)
			raw_send(speakers[i], "SAY room\n%d %d", i, line);
		if (line == LINES / 2)
			readers[2] = raw_join(broker, "name=r2 batch", "room since=1");
	}
	for (int i = 0; i < SPEAKERS; i++)
		raw_expect_quiet(speakers[i]);
	readers[3] = raw_join(broker, "name=r3", "room since=1");
	for (int r = 0; r < READERS; r++) {
		unsigned next_line[SPEAKERS] = { 0 };
		uint64_t last_time = 0;

		for (uint64_t seq = 1; seq <= SPEAKERS * LINES; seq++) {
			struct text frame = raw_next(readers[r]);
			uint64_t got, time;
			unsigned speaker = SPEAKERS, line = 0;
			char copy[128];

			snprintf(copy, sizeof copy, "%.*s", (int)MIN(frame.len, sizeof copy - 1),
				frame.data);
			if (sscanf(copy, "MSG room %" SCNu64 " %" SCNu64, &got, &time) != 2 ||
				sscanf(strchr(copy, '\n'), "%u %u", &speaker, &line) != 2)
				fail_msg("%s", copy);
			assert_int_equal(got, seq);
			assert_true(time >= last_time);
			last_time = time;
			assert_true(speaker < SPEAKERS);
			assert_int_equal(line, next_line[speaker]++);
			if (r == 0)
				hashes[seq - 1] = hash(frame);
			else
				assert_int_equal(hash(frame), hashes[seq - 1]);
		}
		raw_expect_quiet(readers[r]);
	}
	broker_stop(broker);
}

static void test_a_room_vanishes(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *raw = raw_hello(broker, "name=t3ster"), *other;
	struct joined before, after;

	before = join(raw, "room");
	other = raw_join(broker, "name=other", "room");
	raw_send(raw, "#p PART room");
	raw_expect(raw, "#p *");
	/* somebody reads it */
	raw_send(raw, "#r ROOMS");
	raw_expect(raw, "#r + room readers=1 ~");
	raw_expect(raw, "#r * 1");
	raw_close(other);
	while (raw_counter(raw, "rooms") > 0)
		;
	raw_send(raw, "#w WHO room");
	raw_expect(raw, "#w ! NOROOM ~");
	after = join(raw, "room");
	assert_string_not_equal(before.log, after.log);
	/* with a record it stays */
	say(raw, "room", 1, 10);
	raw_expect(raw, "MSG room 1 ~");
	raw_send(raw, "#p PART room");
	raw_expect(raw, "#p *");
	assert_string_equal(join(raw, "room last=5").log, after.log);
	expect_messages(raw, "room", 1, 1);
	broker_stop(broker);
}

/* A room that nobody reads and nobody speaks in is forgotten; others stay. */
static void test_idle_rooms_are_forgotten(void **state)
{
	struct broker *broker = broker_start("--limit", "room-idle=1");
	struct raw *raw = raw_hello(broker, "name=t3ster");
	struct raw *reader = raw_join(broker, "name=reader", "read");
	uint64_t start = clock_ms();

	say(raw, "read", 1, 10);
	raw_expect(reader, "MSG read 1 ~");
	say(raw, "idle", 1, 10);
	while (raw_counter(raw, "rooms") > 1)
		assert_true(clock_ms() - start < DEADLINE_MS);
	assert_true(clock_ms() - start >= 1000);
	raw_send(raw, "#r ROOMS");
	raw_expect(raw, "#r + read readers=1 ~");
	raw_expect(raw, "#r * 1");
	broker_stop(broker);
}

/* Above log-bytes, it is taken from the user that holds most; the others lose nothing. */
static void test_ceiling_of_all_logs(void **state)
{
	struct broker *broker;
	struct raw *modest, *greedy, *reader;

	if (geteuid() != 0)
		SKIP("only root has two users");
	broker = broker_start("--limit", "log-bytes=1M", "--limit", "room-bytes=512k");
	modest = raw_hello(broker, "name=modest");
	greedy = raw_hello_as(broker, STRANGER, "name=greedy");
	for (unsigned i = 1; i <= 50; i++)
		say(modest, "modest", i, 1000);
	for (unsigned i = 1; i <= 4000; i++) {
		char room[32];

		snprintf(room, sizeof room, "greedy.%u", i % 7);
		say(greedy, room, i, 1000);
		assert_true(i % 100 || raw_counter(modest, "log_bytes") <= 1 << 20);
	}
	reader = raw_hello(broker, "name=reader");
	assert_int_equal(join(reader, "modest since=1").first, 1);
	expect_messages(reader, "modest", 1, 50);
	assert_true(join(reader, "greedy.1").first > 1);
	/* one's own room can be the largest: the newest record is always there */
	say(greedy, "greedy.1", 1, BODY_LEN_MAX - 20);
	assert_true(raw_counter(modest, "log_bytes") <= 1 << 20);
	broker_stop(broker);
}

/* log-bytes holds also where it is smaller than room-bytes. */
static void test_ceiling_below_one_room(void **state)
{
	struct broker *broker = broker_start("--limit", "log-bytes=1M");
	struct raw *raw = raw_hello(broker, "name=t3ster");

	for (unsigned i = 1; i <= 400; i++) {
		say(raw, "room", i, 20000);
		assert_true(i % 20 || raw_counter(raw, "log_bytes") <= 1 << 20);
	}
	assert_true(join(raw, "room").first < 400);
	broker_stop(broker);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_where_a_cursor_starts),
		TEST(test_resume_and_reset),
		TEST(test_retention),
		TEST(test_one_order_for_all),
		TEST(test_a_room_vanishes),
		TEST(test_idle_rooms_are_forgotten),
		TEST(test_ceiling_of_all_logs),
		TEST(test_ceiling_below_one_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
