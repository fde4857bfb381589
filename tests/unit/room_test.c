/* room_test.c - appending once, the ceiling over all rooms, presence, rooms that go. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "broker/cursor.h"
#include "broker/mark.h"
#include "broker/retain.h"
#include "broker/value.h"
#include "protocol/frame.h"

struct house {
	struct settings settings;
	struct users users;
	struct rooms rooms;
	struct user *user[4]; /* uid 1000 and on, each with a reference */
};

static int house_setup(void **state)
{
	struct house *house = calloc(1, sizeof *house);

	assert_non_null(house);
	settings_init(&house->settings);
	assert_int_equal(users_init(&house->users, &house->settings), 0);
	house->users.self = 500;
	rooms_init(&house->rooms, &house->users, &house->settings);
	for (size_t i = 0; i < ARRAY_LEN(house->user); i++)
		assert_int_equal(users_get(&house->users, (uid_t)(1000 + i), &house->user[i]), 0);
	*state = house;
	return 0;
}

/* Every account is full again, or quota_deinit() says so. */
static int house_teardown(void **state)
{
	struct house *house = *state;

	rooms_deinit(&house->rooms);
	for (size_t i = 0; i < ARRAY_LEN(house->user); i++)
		users_put(&house->users, house->user[i]);
	assert_int_equal(users_deinit(&house->users), 0);
	settings_deinit(&house->settings);
	free(house);
	return 0;
}

static struct room *house_room(struct house *house, const char *name, unsigned user)
{
	struct room *room = NULL;

	assert_int_equal(rooms_get(&house->rooms, text_of(name), house->user[user], &room), 0);
	return room;
}

static struct author author_of(unsigned user, uint64_t label)
{
	static char names[4][16];
	struct author author = {
		.uid = (uid_t)(1000 + user), .has_publisher = label > 0, .label = label
	};

	snprintf(names[user], sizeof names[user], "n%u %u", user, 1000 + user);
	author.name = text_of(names[user]);
	return author;
}

/* Say ID, 0 for none. Returns the outcome. */
static int say(struct house *house, struct room *room, struct author *author, uint64_t id,
	struct text body, uint64_t *ret_seq)
{
	char text[24];
	int n = snprintf(text, sizeof text, "%lu", (unsigned long)id);

	rooms_take_up(&house->rooms, 1);
	return room_append(&house->rooms, room, author,
		(struct text){ text, id > 0 ? (size_t)n : 0 }, id, body, ret_seq);
}

static void expect_said(
	struct house *house, struct room *room, struct author *author, uint64_t id, uint64_t want)
{
	uint64_t seq = 0;

	assert_int_equal(say(house, room, author, id, TEXT("x"), &seq), 0);
	assert_int_equal(seq, want);
}

static void expect_duplicate(
	struct house *house, struct room *room, struct author *author, uint64_t id, uint64_t want)
{
	uint64_t seq = 0;

	assert_int_equal(say(house, room, author, id, TEXT("x"), &seq), ROOM_E_DUPLICATE);
	assert_int_equal(seq, want);
}

static void expect_old(struct house *house, struct room *room, struct author *author, uint64_t id)
{
	uint64_t seq = 4711;

	assert_int_equal(say(house, room, author, id, TEXT("x"), &seq), ROOM_E_OLD);
	assert_int_equal(seq, 4711);
}

static void test_record(void **state)
{
	struct house *house = *state;
	struct room *room = house_room(house, "r", 0);
	struct author author = author_of(0, 0xab), plain = author_of(1, 0);
	struct log_cursor cursor, next;
	struct text frame;
	uint64_t seq;

	rooms_take_up(&house->rooms, 50);
	assert_int_equal(
		room_append(&house->rooms, room, &author, TEXT("007"), 7, TEXT("a\nb"), &seq), 0);
	rooms_take_up(&house->rooms, 40);
	assert_int_equal(room_append(&house->rooms, room, &plain, TEXT(""), 0, TEXT(""), &seq), 0);
	log_seek(&room->log, 1, &cursor);
	assert_true(log_read_one(&room->log, &cursor, &frame, &next) > 0);
	/* the number as it is, however it was written */
	assert_true(text_equal(frame, TEXT("MSG r 1 50 n0 1000 p=00000000000000ab:7\na\nb")));
	/* time does not go back */
	assert_true(log_read_one(&room->log, &next, &frame, &cursor) > 0);
	assert_true(text_equal(frame, TEXT("MSG r 2 50 n1 1001\n")));
	expect_duplicate(house, room, &author, 7, 1);
}

/* The records of one packet share most of their line: what they do not share is right,
 * whoever speaks where in it. */
static void test_packet(void **state)
{
	struct house *house = *state;
	struct room *rooms[2] = { house_room(house, "r", 0), house_room(house, "rr", 0) };
	struct author authors[2] = { author_of(0, 0xab), author_of(1, 0) };
	uint64_t n_said[2] = { 0 }, seq;

	/* one author, and numbers that follow one another by chance: in another room */
	rooms_take_up(&house->rooms, 50);
	for (unsigned i = 0; i < 3; i++) {
		struct log_cursor cursor, next;
		struct room *room = rooms[i != 1];
		struct text frame;

		assert_int_equal(
			room_append(&house->rooms, room, &authors[1], TEXT(""), 0, TEXT("b"), &seq),
			0);
		assert_int_equal(seq, ++n_said[i != 1]);
		log_seek(&room->log, seq, &cursor);
		assert_true(log_read_one(&room->log, &cursor, &frame, &next) > 0);
		assert_true(text_equal(frame, i == 0   ? TEXT("MSG rr 1 50 n1 1001\nb")
					      : i == 1 ? TEXT("MSG r 1 50 n1 1001\nb")
						       : TEXT("MSG rr 2 50 n1 1001\nb")));
	}
	rooms_take_up(&house->rooms, 50);
	/* across 9 and 99; runs of one author in one room, and changes of each */
	for (uint64_t i = 1; i <= 240; i++) {
		unsigned at = i / 7 % 2, who = i / 11 % 2;
		struct log_cursor cursor, next;
		char id[24], want[96];
		struct text frame;
		int n = snprintf(id, sizeof id, "%s%lu", i % 5 ? "" : "00", (unsigned long)i);

		assert_int_equal(
			room_append(&house->rooms, rooms[at], &authors[who],
				(struct text){ id, who ? 0 : (size_t)n }, i, TEXT("b"), &seq),
			0);
		assert_int_equal(seq, ++n_said[at]);
		log_seek(&rooms[at]->log, seq, &cursor);
		assert_true(log_read_one(&rooms[at]->log, &cursor, &frame, &next) > 0);
		if (who)
			n = snprintf(want, sizeof want, "MSG %s %lu 50 n1 1001\nb", rooms[at]->key,
				(unsigned long)seq);
		else
			n = snprintf(want, sizeof want,
				"MSG %s %lu 50 n0 1000 p=00000000000000ab:%lu\nb", rooms[at]->key,
				(unsigned long)seq, (unsigned long)i);
		assert_true(text_equal(frame, (struct text){ want, (size_t)n }));
	}
}

static void test_once(void **state)
{
	struct house *house = *state;
	struct room *room = house_room(house, "r", 0), *other = house_room(house, "s", 0);
	struct author alice = author_of(0, 1), label = author_of(0, 2), bob = author_of(1, 1);

	expect_said(house, room, &alice, 5, 1);
	expect_duplicate(house, room, &alice, 5, 1);
	expect_old(house, room, &alice, 4); /* never said, but below */
	expect_said(house, room, &alice, 6, 2);
	expect_said(house, room, &alice, 9, 3);
	expect_duplicate(house, room, &alice, 5, 1);
	expect_duplicate(house, room, &alice, 6, 2);
	expect_duplicate(house, room, &alice, 9, 3);
	expect_old(house, room, &alice, 8);
	/* others are not touched: another label, another user with the same, another room */
	expect_said(house, room, &label, 5, 4);
	expect_said(house, room, &bob, 5, 5);
	expect_said(house, other, &alice, 5, 1);
	expect_said(house, room, &alice, UINT64_MAX, 6);
	expect_duplicate(house, room, &bob, 5, 5);
	expect_duplicate(house, room, &label, 5, 4);
	expect_duplicate(house, room, &alice, UINT64_MAX, 6);
	expect_duplicate(house, room, &alice, 9, 3);
	/* what another user said under the same label and number is not it */
	expect_said(house, other, &bob, 7, 2);
	expect_said(house, other, &alice, 10, 3);
	expect_old(house, other, &alice, 7);
	/* without id= it is always new */
	expect_said(house, room, &alice, 0, 7);
	expect_said(house, room, &alice, 0, 8);
}

/* A message of a body that looks like another's label is not taken for it, and neither
 * is one further back than what one repeated request may cost. */
static void test_once_far_back(void **state)
{
	struct house *house = *state;
	struct room *room = house_room(house, "r", 0);
	struct author alice = author_of(0, 1), bob = author_of(1, 1), none = author_of(2, 0);

	expect_said(house, room, &alice, 1, 1);
	for (uint64_t i = 0; i < PUBLISHERS_MAX - 2; i++)
		expect_said(house, room, &none, 0, 2 + i);
	expect_said(house, room, &alice, 2, PUBLISHERS_MAX);
	expect_duplicate(house, room, &alice, 1, 1);
	expect_said(house, room, &alice, 3, PUBLISHERS_MAX + 1);
	expect_old(house, room, &alice, 1);
	expect_duplicate(house, room, &alice, 2, PUBLISHERS_MAX);
	/* bob's 1 is his own */
	expect_said(house, room, &bob, 1, PUBLISHERS_MAX + 2);
	expect_old(house, room, &alice, 1);
}

/* What retention took is OLD; the highest is remembered even then. */
static void test_once_after_retention(void **state)
{
	struct house *house = *state;
	struct room *room = house_room(house, "r", 0);
	struct author alice = author_of(0, 1);

	expect_said(house, room, &alice, 1, 1);
	expect_said(house, room, &alice, 2, 2);
	while (log_take_oldest(&room->log) > 0)
		;
	/* the books, which only the module itself keeps */
	house->rooms.log_bytes = house->user[0]->account->log_bytes = 0;
	expect_old(house, room, &alice, 1);
	expect_duplicate(house, room, &alice, 2, 2);
	expect_said(house, room, &alice, 3, 3);
	expect_old(house, room, &alice, 1);
	expect_duplicate(house, room, &alice, 3, 3);
}

/* A quarter of the publishers is what one user holds, then its own oldest goes. */
static void test_publishers_of_one_user(void **state)
{
	struct house *house = *state;
	struct room *room = house_room(house, "r", 0);
	struct author bob = author_of(1, 77);
	uint64_t seq = 1;

	expect_said(house, room, &bob, 1, seq);
	for (uint64_t label = 1; label <= 2000; label++) {
		struct author alice = author_of(0, label);

		expect_said(house, room, &alice, 10, ++seq);
		expect_duplicate(house, room, &alice, 10, seq);
	}
	assert_int_equal(room->n_publishers, 1 + PUBLISHERS_MAX / 4);
	/* bob's is older than all of them and still there */
	expect_duplicate(house, room, &bob, 1, 1);
	for (uint64_t label = 2000 - PUBLISHERS_MAX / 4 + 1; label <= 2000; label++) {
		struct author alice = author_of(0, label);

		expect_duplicate(house, room, &alice, 10, label + 1);
	}
	/* one that was pushed out begins anew */
	struct author alice = author_of(0, 1);

	expect_said(house, room, &alice, 10, seq + 1);
}

/* Of all, 1024 are remembered; whoever spoke least recently goes. */
static void test_publishers_of_all(void **state)
{
	struct house *house = *state;
	struct room *room = house_room(house, "r", 0);
	uint64_t seq = 0, share = PUBLISHERS_MAX / 4;
	struct author first = author_of(0, 1), second = author_of(0, 2), fifth = author_of(0, 3);

	for (unsigned user = 0; user < 4; user++)
		for (uint64_t label = 1; label <= share; label++) {
			struct author author = author_of(user, label);

			expect_said(house, room, &author, 10, ++seq);
		}
	assert_int_equal(room->n_publishers, PUBLISHERS_MAX);
	expect_said(house, room, &first, 11, ++seq); /* recent now */
	fifth.uid = 2000;
	expect_said(house, room, &fifth, 1, ++seq);
	assert_int_equal(room->n_publishers, PUBLISHERS_MAX);
	expect_duplicate(house, room, &first, 11, seq - 1);
	expect_said(house, room, &second, 10, seq + 1); /* was forgotten */
}

/* Many uids that share an account share what it may hold: nobody else is forgotten for them. */
static void test_publishers_of_strangers(void **state)
{
	struct house *house = *state;
	struct room *room = house_room(house, "r", 0);
	struct author alice = author_of(0, 1), stranger = author_of(1, 1);
	struct user *strangers[16];
	uint64_t seq = 1;

	expect_said(house, room, &alice, 1, seq);
	for (unsigned i = 0; i < ARRAY_LEN(strangers); i++) {
		assert_int_equal(users_get(&house->users, 3000 + i, &strangers[i]), 0);
		strangers[i]->account = &house->users.strangers;
		stranger.uid = 3000 + i;
		for (stranger.label = 1; stranger.label <= 200; stranger.label++)
			expect_said(house, room, &stranger, 1, ++seq);
	}
	assert_int_equal(room->n_publishers, 1 + PUBLISHERS_MAX / 4);
	expect_duplicate(house, room, &alice, 1, 1);
	for (unsigned i = 0; i < ARRAY_LEN(strangers); i++)
		users_put(&house->users, strangers[i]);
}

/* When the room is full, the one who holds most of it gives, however recent that is. */
static void test_publishers_of_the_largest(void **state)
{
	struct house *house = *state;
	struct room *room = house_room(house, "r", 0);
	struct author alice = author_of(0, 1);
	uint64_t seq = 1;

	expect_said(house, room, &alice, 1, seq);
	for (unsigned i = 0; i < 8; i++) {
		struct author other = author_of(1, 1);

		other.uid = 3000 + i; /* each with an account of its own */
		for (other.label = 1; other.label <= 200; other.label++)
			expect_said(house, room, &other, 1, ++seq);
	}
	assert_int_equal(room->n_publishers, PUBLISHERS_MAX);
	expect_duplicate(house, room, &alice, 1, 1);
}

static void fill(struct house *house, struct room *room, unsigned user, uint64_t bytes)
{
	static char body[8000];
	struct author author = author_of(user, 0);
	uint64_t seq;

	memset(body, 'b', sizeof body);
	for (uint64_t n = 0; n < bytes; n += sizeof body)
		assert_int_equal(
			say(house, room, &author, 0, (struct text){ body, sizeof body }, &seq), 0);
}

static uint64_t sum_of_rooms(struct house *house)
{
	uint64_t sum = 0;

	list_for_each (link, &house->rooms.all)
		sum += container_of(link, struct room, rooms_link)->log.bytes;
	return sum;
}

/* The ceiling takes from whoever holds most, from its largest room. */
static void test_ceiling(void **state)
{
	struct house *house = *state;
	struct room *small, *greedy, *modest;

	house->settings.limit[LIMIT_LOG_BYTES] = 4 << 20;
	house->settings.limit[LIMIT_ROOM_BYTES] = 64 << 20;
	small = house_room(house, "small", 1);
	fill(house, small, 1, 100000);
	greedy = house_room(house, "greedy", 0);
	fill(house, greedy, 0, 3 << 20);
	modest = house_room(house, "modest", 0);
	fill(house, modest, 0, 100000);
	for (int i = 0; i < 10; i++) {
		fill(house, greedy, 1, 1 << 20); /* it is the owner that counts */
		assert_true(house->rooms.log_bytes <= 4 << 20);
		assert_int_equal(sum_of_rooms(house), house->rooms.log_bytes);
	}
	assert_int_equal(small->log.first, 1);
	assert_int_equal(modest->log.first, 1);
	assert_true(greedy->log.first > 1);
	assert_int_equal(house->user[0]->account->log_bytes, greedy->log.bytes + modest->log.bytes);
	assert_int_equal(house->user[1]->account->log_bytes, small->log.bytes);

	/* another user comes up to the first one's level: it gives way, and no further */
	fill(house, small, 1, 8 << 20);
	assert_true(house->rooms.log_bytes <= 4 << 20);
	assert_true(greedy->log.first < greedy->log.next);
	assert_true(small->log.first > 1);
	assert_int_equal(modest->log.first, 1);
}

/* A room that loses its last record to the ceiling, and has no reader, goes. */
static void test_ceiling_empties(void **state)
{
	struct house *house = *state;
	char name[16];

	house->settings.limit[LIMIT_LOG_BYTES] = 1 << 20;
	for (int i = 0; i < 200; i++) {
		sprintf(name, "r%d", i);
		fill(house, house_room(house, name, 0), 0, 24000);
		assert_true(house->rooms.log_bytes <= 1 << 20);
		assert_int_equal(sum_of_rooms(house), house->rooms.log_bytes);
	}
	assert_null(rooms_find(&house->rooms, TEXT("r0")));
	assert_non_null(rooms_find(&house->rooms, TEXT("r199")));
	assert_int_equal(house->user[0]->account->used[QUOTA_ROOMS], house->rooms.by_key.n_links);
}

/* Lowered limits are enforced in turns when the broker looks at rooms, even if nobody speaks. */
static void test_lower_limits(void **state)
{
	struct house *house = *state;
	struct room *large = house_room(house, "large", 0), *small = house_room(house, "small", 1);
	uint64_t *limit = house->settings.limit;
	unsigned n_turns = 1;

	fill(house, large, 0, 8 << 20);
	fill(house, small, 1, 900000);
	assert_int_equal(rooms_retain(&house->rooms, 1), UINT64_MAX);
	assert_int_equal(large->log.first, 1);
	limit[LIMIT_ROOM_BYTES] = 4 << 20;
	rooms_check_all(&house->rooms);
	while (rooms_retain(&house->rooms, 1) == 0)
		n_turns++;
	assert_in_range(large->log.bytes, 1 << 20, 4 << 20);
	assert_int_equal(small->log.first, 1);
	limit[LIMIT_LOG_BYTES] = 2 << 20;
	limit[LIMIT_ROOM_BYTES] = 64 << 20;
	rooms_check_all(&house->rooms);
	while (rooms_retain(&house->rooms, 1) == 0)
		n_turns++;
	assert_in_range(house->rooms.log_bytes, 1 << 20, 2 << 20);
	assert_int_equal(sum_of_rooms(house), house->rooms.log_bytes);
	assert_int_equal(small->log.first, 1);
	assert_true(n_turns < 100);
}

static void test_owners(void **state)
{
	struct house *house = *state;
	struct room *room;

	house->user[0]->account->max[QUOTA_ROOMS] = 2;
	assert_int_equal(house_room(house, "a", 0)->owner->uid, 1000);
	assert_ptr_equal(house_room(house, "a", 1), house_room(house, "a", 0));
	house_room(house, "b", 0);
	assert_int_equal(rooms_get(&house->rooms, TEXT("c"), house->user[0], &room), ROOM_E_QUOTA);
	assert_null(rooms_find(&house->rooms, TEXT("c")));
	/* whoever comes first, these are the broker's */
	assert_int_equal(house_room(house, "lobby", 0)->owner->uid, 500);
	assert_int_equal(house_room(house, "wall", 0)->owner->uid, 500);
	rooms_release(&house->rooms, rooms_find(&house->rooms, TEXT("b")));
	assert_null(rooms_find(&house->rooms, TEXT("b")));
	house_room(house, "c", 0);
}

/* One log for both, whoever asks; none for another uid under the same name. */
static void test_conversations(void **state)
{
	struct house *house = *state;
	struct rooms *rooms = &house->rooms;
	struct room *room, *again;

	assert_int_equal(rooms_get_conversation(rooms, TEXT("bob"), 2, TEXT("al"), 1,
				 house->user[0], false, &room),
		ROOM_E_NONE);
	assert_int_equal(rooms_get_conversation(
				 rooms, TEXT("bob"), 2, TEXT("al"), 1, house->user[0], true, &room),
		0);
	assert_true(text_equal(room_target(room), TEXT("@al+bob")));
	assert_int_equal(room->party[0], 1);
	assert_int_equal(room->party[1], 2);
	assert_true(room_is_conversation(room));
	assert_int_equal(rooms_get_conversation(rooms, TEXT("al"), 1, TEXT("bob"), 2,
				 house->user[1], true, &again),
		0);
	assert_ptr_equal(room, again);
	assert_int_equal(rooms_get_conversation(rooms, TEXT("al"), 3, TEXT("bob"), 2,
				 house->user[1], false, &again),
		ROOM_E_NONE);
	assert_int_equal(rooms_get_conversation(rooms, TEXT("al"), 2, TEXT("bob"), 1,
				 house->user[1], false, &again),
		ROOM_E_NONE);
	assert_true(room_has_party(room, TEXT("al"), 1) && room_has_party(room, TEXT("bob"), 2));
	assert_false(room_has_party(room, TEXT("al"), 2) || room_has_party(room, TEXT("bob"), 1));

	/* a prefix sorts first; with oneself, and with one's own name of another user */
	assert_int_equal(rooms_get_conversation(rooms, TEXT("bobby"), 1, TEXT("bob"), 2,
				 house->user[0], true, &room),
		0);
	assert_true(text_equal(room_target(room), TEXT("@bob+bobby")));
	assert_int_equal(rooms_get_conversation(
				 rooms, TEXT("n"), 9, TEXT("n"), 4, house->user[0], true, &room),
		0);
	assert_int_equal(room->party[0], 4);
	assert_int_equal(rooms_get_conversation(
				 rooms, TEXT("n"), 4, TEXT("n"), 9, house->user[0], false, &again),
		0);
	assert_ptr_equal(room, again);
	assert_non_null(memchr(room->key, ':', sizeof "@n+n:"));
}

/* Its records alone keep a room, for so long. */
static void test_expire(void **state)
{
	struct house *house = *state;
	uint64_t second = 1000000000, idle = house->settings.limit[LIMIT_ROOM_IDLE] * second;
	struct author author = author_of(0, 0);

	assert_int_equal(rooms_expire(&house->rooms, 5), UINT64_MAX);
	house->users.now = 100 * second;
	expect_said(house, house_room(house, "a", 0), &author, 0, 1);
	house->users.now = 160 * second;
	expect_said(house, house_room(house, "b", 0), &author, 0, 1);
	assert_int_equal(rooms_expire(&house->rooms, 160 * second), idle - 60 * second);
	house->users.now = 170 * second;
	expect_said(house, house_room(house, "a", 0), &author, 0, 2); /* is young again */
	assert_int_equal(rooms_expire(&house->rooms, 160 * second + idle - 1), 1);
	assert_non_null(rooms_find(&house->rooms, TEXT("b")));
	assert_int_equal(rooms_expire(&house->rooms, 160 * second + idle), 10 * second);
	assert_null(rooms_find(&house->rooms, TEXT("b")));
	assert_int_equal(rooms_expire(&house->rooms, UINT64_MAX / 2), UINT64_MAX);
	assert_null(rooms_find(&house->rooms, TEXT("a")));
}

static void test_presence(void **state)
{
	struct house *house = *state;
	struct room *room = house_room(house, "r", 0);
	struct cursor *cursors[PRESENCE_READERS_MAX + 1];
	struct log_cursor next;
	struct text frame;

	room_tell_presence(&house->rooms, room, "JOINED", TEXT("n 1"));
	assert_null(room->presence); /* nobody asked */
	for (size_t i = 0; i < ARRAY_LEN(cursors) - 1; i++) {
		cursors[i] = cursor_new(&house->rooms, room, NULL, i + 1);
		assert_non_null(cursors[i]);
		assert_ptr_equal(rooms_find_cursor(&house->rooms, i + 1, room), cursors[i]);
	}
	assert_int_equal(cursor_ask_presence(cursors[0]), 0);
	assert_int_equal(cursor_ask_presence(cursors[0]), 0);
	assert_int_equal(cursor_ask_presence(cursors[1]), 0);
	assert_int_equal(room->n_presence, 2);
	assert_false(cursor_is_behind(cursors[0]));
	room_tell_presence(&house->rooms, room, "JOINED", TEXT("n 1 of=m"));
	assert_true(cursor_is_behind(cursors[0]) && !cursor_is_behind(cursors[2]));
	assert_true(log_read_one(room->presence, &cursors[0]->presence->at, &frame, &next) > 0);
	assert_true(text_equal(frame, TEXT("JOINED r n 1 of=m")));
	cursors[0]->presence->at = next;
	assert_false(cursor_is_behind(cursors[0]));

	/* it is small, whatever happens */
	for (int i = 0; i < 5000; i++)
		room_tell_presence(&house->rooms, room, "PARTED", TEXT("n 1"));
	assert_true(room->presence->bytes <= 16 * 1024);
	assert_true(room->presence->first > next.seq);

	/* one reader too many: all who asked are told that they are not told */
	cursors[0]->presence->at.seq = cursors[1]->presence->at.seq = room->presence->next;
	cursors[PRESENCE_READERS_MAX] = cursor_new(&house->rooms, room, NULL, 9999);
	assert_true(cursors[0]->presence->is_lost && cursors[1]->presence->is_lost);
	assert_null(cursors[2]->presence);
	assert_true(cursor_is_behind(cursors[0]) && !cursor_is_behind(cursors[2]));
	next.seq = room->presence->next;
	room_tell_presence(&house->rooms, room, "PARTED", TEXT("n 1"));
	assert_int_equal(room->presence->next, next.seq);

	for (size_t i = ARRAY_LEN(cursors); i-- > 1;)
		cursor_free(&house->rooms, cursors[i]);
	assert_int_equal(room->n_presence, 1);
	assert_non_null(room->presence);
	cursor_free(&house->rooms, cursors[0]);
	/* empty, unread: gone */
	assert_null(rooms_find(&house->rooms, TEXT("r")));
	assert_int_equal(house->rooms.cursors.n_links, 0);
}

/* Of one user so many marks are kept: the one that was not moved for longest goes. */
static void test_marks(void **state)
{
	struct house *house = *state;
	struct user *user = house->user[0];
	struct room *first = NULL, *second = NULL;
	char name[16];

	user->account->max[QUOTA_ROOMS] = 2 * MARKS_OF_ACCOUNT;
	for (unsigned i = 0; i < MARKS_OF_ACCOUNT + 1; i++) {
		struct room *room;

		snprintf(name, sizeof name, "r%u", i);
		assert_int_equal(rooms_get(&house->rooms, text_of(name), user, &room), 0);
		assert_int_equal(room_move_mark(&house->rooms, room, user, i + 1), 1);
		first = i == 0 ? room : first;
		second = i == 1 ? room : second;
		/* the first one is moved again, before there is one too many */
		if (i == MARKS_OF_ACCOUNT - 1) {
			assert_int_equal(room_move_mark(&house->rooms, first, user, 1), 0);
			assert_int_equal(room_move_mark(&house->rooms, first, user, 9), 1);
		}
	}
	assert_int_equal(user->account->n_marks, MARKS_OF_ACCOUNT);
	assert_int_equal(room_mark(&house->rooms, first, user->uid), 9);
	assert_int_equal(room_mark(&house->rooms, second, user->uid), 0);
	assert_int_equal(room_mark(&house->rooms, first, house->user[1]->uid), 0);
}

/* ---- what its owner wants to be kept ---- */

static void set(struct house *house, struct room *room, const char *key, const char *text)
{
	struct value *value;

	assert_int_equal(value_new(room, house->user[0], TEXT("n0 1000"), text_of(key),
				 text_of(text), room->values_version + 1, false, &value),
		0);
	value_land(&house->rooms, value);
}

/* Say something that is so many seconds old. */
static void say_ago(struct house *house, struct room *room, uint64_t seconds)
{
	struct author author = author_of(0, 0);
	uint64_t *now = &house->users.age.now;

	rooms_take_up(&house->rooms, 1); /* whatever the wall clock says */
	*now -= seconds * 1000000000;
	assert_int_equal(
		room_append(&house->rooms, room, &author, TEXT(""), 0, TEXT("x"), NULL), 0);
	*now += seconds * 1000000000;
}

static void test_retain_age(void **state)
{
	const uint64_t minute = UINT64_C(60) * 1000000000;
	struct house *house = *state;
	struct room *room = house_room(house, "room", 0), *other = house_room(house, "other", 0);
	uint64_t now = 10 * minute;

	say_ago(house, other, 100000);
	assert_int_equal(rooms_retain(&house->rooms, now), UINT64_MAX); /* for ever */
	set(house, room, KEY_RETAIN_AGE, "80");
	assert_int_equal(house->rooms.n_aged, 1);
	say_ago(house, room, 100);
	say_ago(house, room, 99); /* in one segment, which is as old as this */
	say_ago(house, room, 70);
	say_ago(house, room, 69);
	assert_int_equal(rooms_retain(&house->rooms, now), minute);
	assert_int_equal(room->log.first, 3);
	say_ago(house, room, 50);
	assert_int_equal(rooms_retain(&house->rooms, now + minute / 2), minute / 2);
	assert_int_equal(rooms_retain(&house->rooms, now + minute), minute);
	assert_int_equal(room->log.first, 3);
	say_ago(house, room, 1);
	set(house, room, KEY_RETAIN_AGE, "60");
	assert_int_equal(rooms_retain(&house->rooms, now + minute), minute); /* at once */
	assert_int_equal(room->log.first, 5);
	assert_int_equal(room->log.next, 7);
	/* where nothing is said any more all of it goes, too */
	set(house, room, KEY_RETAIN_AGE, "");
	assert_int_equal(house->rooms.n_aged, 0);
	set(house, other, KEY_RETAIN_AGE, "60");
	(void)rooms_retain(&house->rooms, now);
	assert_int_equal(other->log.bytes, 0);
	set(house, other, KEY_RETAIN_AGE, "");
	(void)rooms_retain(&house->rooms, now);
	assert_null(rooms_find(&house->rooms, TEXT("other")));
	assert_int_equal(rooms_retain(&house->rooms, now), UINT64_MAX);
	/* and a room that goes takes its age with it */
	set(house, room, KEY_RETAIN_AGE, "60");
	rooms_expire(&house->rooms, UINT64_MAX / 2);
	assert_int_equal(house->rooms.n_aged, 0);
}

int main(void)
{
	static const struct {
		const char *name;
		void (*test)(void **state);
	} tests[] = {
		{ "record", test_record },
		{ "packet", test_packet },
		{ "once", test_once },
		{ "once far back", test_once_far_back },
		{ "once after retention", test_once_after_retention },
		{ "publishers of one user", test_publishers_of_one_user },
		{ "publishers of all", test_publishers_of_all },
		{ "publishers of strangers", test_publishers_of_strangers },
		{ "publishers of the largest", test_publishers_of_the_largest },
		{ "ceiling", test_ceiling },
		{ "ceiling empties", test_ceiling_empties },
		{ "lower limits", test_lower_limits },
		{ "owners", test_owners },
		{ "conversations", test_conversations },
		{ "marks", test_marks },
		{ "expire", test_expire },
		{ "presence", test_presence },
		{ "retain age", test_retain_age },
	};
	struct CMUnitTest units[ARRAY_LEN(tests)];

	for (size_t i = 0; i < ARRAY_LEN(tests); i++)
		units[i] = (struct CMUnitTest){ tests[i].name, tests[i].test, house_setup,
			house_teardown, NULL };
	return cmocka_run_group_tests(units, NULL, NULL);
}
