/* chat_resume_test.c - libchat when connections are lost, packets are junk, or there is
 * more than it can keep: nothing lost without a word, nothing twice. */
#include "tests/unit/fake.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/session.h"

/* ---- the connection is lost ---- */

static void script_resume(struct fake *fake)
{
	fake_greet(fake);
	fake_join(fake, "a new presence", "* 3 first=1 log=" LOG_A);
	fake_send(fake, "MSG a 3 1 bob 7 p=b:1\nthree");
	fake_expect(fake, "SAY a id=1\none");
	fake_expect(fake, "PING");
	fake_answer(fake, "*");
	fake_expect(fake, "SAY a id=2\ntwo");
	fake_expect(fake, "SAY a id=3\nthree");
	fake_send(fake, "! QUOTA SAY a id=3 no");
	fake_send(fake, "MSG a 4 1 bob 7 p=b:2\nfour"); /* comes, although the end is near */
	fake_send(fake, "BYE STOP back soon");
	fake_hang_up(fake);

	fake_greet(fake);
	fake_expect(fake, "JOIN a since=5 log=" LOG_A " presence");
	fake_send(fake, "MSG a 9 1 bob 7 p=b:9\nbefore the answer: ignored");
	fake_answer(fake, "* 5 first=1 log=" LOG_A);
	fake_send(fake, "MSG a 4 1 bob 7 p=b:2\nfour");
	fake_send(fake, "MSG a 5 1 bob 7 p=b:3\nfive");
	fake_expect(fake, "SAY a id=2\ntwo");
	fake_expect(fake, "PING\n id=3~"); /* the refused one is void */
	fake_expect(fake, "PING");
	fake_send(fake, "! OLD SAY a id=2 too long ago");
	fake_answer(fake, "*");
	fake_expect(fake, "SAY a id=4\nfour");
	fake_hang_up(fake);

	/* another log: what was seen is dropped by publisher and number */
	fake_greet(fake);
	fake_join(fake, "a since=6 log=" LOG_A " presence", "* 1 first=1 log=" LOG_B);
	fake_send(fake, "GAP a 6 0 reset");
	fake_send(fake, "MSG a 1 1 bob 7 p=b:3\nfive");
	fake_send(fake, "MSG a 2 1 bob 7 p=b:4\nsix");
	fake_send(fake, "MSG a 3 1 carol 8 p=b:1\ncarol's");
	fake_expect(fake, "SAY a id=4\nfour");
	fake_expect(fake, "PING");
	fake_answer(fake, "*");
	fake_send(fake, "BYE KICKED out");
	fake_hang_up(fake);
}

static void test_resume(void **state)
{
	struct fake *fake = fake_start(script_resume);
	struct chat *chat = open_chat(fake, false, false);
	struct chat_event event;

	assert_int_equal(chat_join(chat, "a", CHAT_NEW, 0, CHAT_PRESENCE, NULL), 0);
	receive_message(chat, 3, "three");
	assert_int_equal(chat_send(chat, "a", "one", 3, 0), 0);
	assert_int_equal(chat_flush(chat, DEADLINE_MS), 0);
	assert_int_equal(chat_send(chat, "a", "two", 3, 0), 0);
	assert_int_equal(chat_send(chat, "a", "three", 5, 0), 0);
	event = receive(chat, CHAT_REFUSED);
	assert_int_equal(event.id, 3);
	receive_message(chat, 4, "four");
	event = receive(chat, CHAT_DOWN);
	assert_false(event.ended);
	assert_string_equal(event.code, "STOP");
	assert_string_equal(event.text, "back soon");
	assert_false(chat_is_up(chat));
	receive(chat, CHAT_UP);
	receive_message(chat, 5, "five");
	assert_int_equal(chat_flush(chat, DEADLINE_MS), 1); /* the one told above */
	assert_int_equal(chat_send(chat, "a", "four", 4, 0), 0);
	event = receive(chat, CHAT_DOWN);
	assert_string_equal(event.code, "");
	receive(chat, CHAT_UP);
	receive_gap(chat, 6, 0, "reset");
	receive_message(chat, 2, "six");
	receive_message(chat, 3, "carol's");
	assert_int_equal(chat_flush(chat, DEADLINE_MS), 0);
	event = receive(chat, CHAT_DOWN);
	assert_true(event.ended);
	assert_string_equal(event.code, "KICKED");
	assert_int_equal(chat_receive(chat, &event, -1), -ESHUTDOWN);
	assert_int_equal(chat_send(chat, "a", "x", 1, 0), -ESHUTDOWN);
	assert_int_equal(chat_flush(chat, -1), -ESHUTDOWN);
	assert_int_equal(chat_request(chat, "TIME", NULL, 0, -1, NULL, NULL, NULL), -ESHUTDOWN);
	chat_close(chat);
	fake_stop(fake);
}

/* A flush waits through a restart, and what happened then is told afterwards. */
static void script_flush(struct fake *fake)
{
	fake_greet(fake);
	fake_join(fake, "a new", "* 1 first=1 log=" LOG_A);
	fake_expect(fake, "SAY a id=1\nx");
	fake_send(fake, "MSG a 1 1 bob 7\none");
	fake_expect(fake, "PING");
	fake_hang_up(fake);
	fake_greet(fake);
	fake_join(fake, "a since=1 log=" LOG_A, "* 1 first=1 log=" LOG_A);
	fake_send(fake, "MSG a 1 1 bob 7\none");
	fake_expect(fake, "SAY a id=1\nx");
	fake_hang_up(fake);
	fake_greet(fake);
	fake_join(fake, "a since=1 log=" LOG_A, "* 1 first=1 log=" LOG_B);
	fake_send(fake, "GAP a 1 0 reset");
	fake_send(fake, "MSG a 1 1 bob 7\nin the new log");
	fake_expect(fake, "SAY a id=1\nx");
	fake_expect(fake, "PING");
	fake_answer(fake, "*");
	fake_end(fake);
}

static void test_flush_through_restart(void **state)
{
	struct fake *fake = fake_start(script_flush);
	struct chat *chat = open_chat(fake, false, false);

	assert_int_equal(chat_join(chat, "a", CHAT_NEW, 0, 0, NULL), 0);
	assert_int_equal(chat_send(chat, "a", "x", 1, 0), 0);
	assert_int_equal(chat_flush(chat, DEADLINE_MS), 0);
	receive_message(chat, 1, "one");
	receive(chat, CHAT_DOWN);
	receive(chat, CHAT_UP);
	receive(chat, CHAT_DOWN);
	receive(chat, CHAT_UP);
	receive_gap(chat, 2, 0, "reset");
	receive_message(chat, 1, "in the new log");
	receive_nothing(chat);
	chat_close(chat);
	fake_stop(fake);
}

static void script_once(struct fake *fake)
{
	fake_greet(fake);
	fake_join(fake, "a new", "* 1 first=1 log=" LOG_A);
	fake_send(fake, "MSG a 1 1 bob 7\none");
	fake_hang_up(fake);
}

static void test_once(void **state)
{
	struct fake *fake = fake_start(script_once);
	struct chat *chat = open_chat(fake, false, true);
	struct chat_event event;

	assert_int_equal(chat_join(chat, "a", CHAT_NEW, 0, 0, NULL), 0);
	receive_message(chat, 1, "one");
	assert_int_equal(chat_receive(chat, &event, DEADLINE_MS), -ENOTCONN);
	assert_int_equal(chat_flush(chat, -1), -ENOTCONN);
	assert_string_equal(chat_error(chat), "the broker closed the connection");
	chat_close(chat);
	fake_stop(fake);
}

/* A program that says a line now and then and never flushes is acknowledged, too, or
 * it would say its last lines again to the next broker. */
static void script_mark(struct fake *fake)
{
	fake_greet(fake);
	fake_expect(fake, "SAY lobby id=1\none");
	fake_expect(fake, "PING");
	fake_answer(fake, "*");
	fake_expect(fake, "SAY lobby id=2\ntwo");
	fake_expect(fake, "PING");
	fake_answer(fake, "*");
	fake_send(fake, "BYE STOP");
	fake_hang_up(fake);
	fake_greet(fake);
	fake_end(fake);
}

static void test_mark(void **state)
{
	struct fake *fake = fake_start(script_mark);
	struct chat *chat = open_chat(fake, false, false);

	assert_int_equal(chat_send(chat, "lobby", "one", 3, 0), 0);
	assert_int_equal(chat_send(chat, "lobby", "two", 3, 0), 0);
	receive(chat, CHAT_DOWN);
	receive(chat, CHAT_UP);
	assert_int_equal(chat_flush(chat, DEADLINE_MS), 0);
	chat_close(chat);
	fake_stop(fake);
}

/* A nick that is not back yet: its conversation waits, and what was seen is known. */
static void script_parked(struct fake *fake)
{
	fake_greet(fake);
	fake_send(fake, "CURSOR @alice+neo 1 first=1 log=" LOG_A);
	fake_send(fake, "MSG @alice+neo 1 1 neo 7 p=2a:5\nfive");
	fake_hang_up(fake);
	fake_greet(fake);
	fake_join(fake, "@alice+neo since=2 log=" LOG_A, "! NONAME nobody has this name");
	fake_send(fake, "CURSOR @alice+neo 1 first=1 log=" LOG_B);
	fake_send(fake, "MSG @alice+neo 1 2 neo 7 p=2a:5\nfive");
	fake_send(fake, "MSG @alice+neo 2 2 neo 7 p=2a:6\nsix");
	fake_end(fake);
}

static void test_parked(void **state)
{
	struct fake *fake = fake_start(script_parked);
	struct chat *chat = open_chat(fake, true, false);

	receive_message(chat, 1, "five");
	receive(chat, CHAT_DOWN);
	receive(chat, CHAT_UP);
	receive_gap(chat, 2, 0, "reset");
	receive_message(chat, 2, "six");
	receive_nothing(chat);
	chat_close(chat);
	fake_stop(fake);
}

static const struct {
	const char *bytes;
	size_t len;
} junk[] = {
	{ "\1\2\3", 3 },
	{ "MSG a", 5 },
	{ "MSG a x\ny", 9 },
	{ "MSG a 1 1 bob 7", 15 },
	{ "MSG a 1 1 bob 99999999999\n", 26 },
	{ "MSG a 18446744073709551616 1 bob 7\n", 35 },
	{ "MSG  1 1 bob 7\n", 15 },
	{ "GAP a 1 x y", 11 },
	{ "GAP a 9 3 retention", 19 },
	{ "GAP a", 5 },
	{ "CURSOR a 1", 10 },
	{ "JOINED a bob seven", 18 },
	{ "BATCH\n\1\0\0\0", 10 },
	{ "BATCH\n\377\377\377\377\0\0\0\0aaaaaaaa", 22 },
	{ "BATCH\n\0\0\0\0\0\0\0\0", 14 },
	{ "#a1 ! QUOTA", 11 },
	{ "two  spaces", 11 },
};

static size_t junk_index;

static void script_junk(struct fake *fake)
{
	fake_greet(fake);
	fake_join(fake, "a new presence", "* 1 first=1 log=" LOG_A);
	fake_send_bytes(fake, junk[junk_index].bytes, junk[junk_index].len);
	fake_end(fake);
	fake_greet(fake);
	fake_join(fake, "a since=1 log=" LOG_A " presence", "* 1 first=1 log=" LOG_A);
	fake_end(fake);
}

/* Each loses the connection and nothing else. (Not all of them on one chat: that
 * would wait for the back-off.) */
static void test_junk(void **state)
{
	for (junk_index = 0; junk_index < ARRAY_LEN(junk); junk_index++) {
		struct fake *fake = fake_start(script_junk);
		struct chat *chat = open_chat(fake, false, false);

		assert_int_equal(chat_join(chat, "a", CHAT_NEW, 0, CHAT_PRESENCE, NULL), 0);
		receive(chat, CHAT_DOWN);
		receive(chat, CHAT_UP);
		receive_nothing(chat);
		chat_close(chat);
		fake_stop(fake);
	}
}

/* ---- much ---- */

#define FLOOD     20000
#define FLOOD_LEN 1000 /* more than the library stores */

static void flood(struct fake *fake, unsigned first)
{
	char body[FLOOD_LEN + 1];

	memset(body, 'x', FLOOD_LEN);
	body[FLOOD_LEN] = '\0';
	for (unsigned seq = first; seq <= FLOOD; seq++)
		fake_add(fake, "MSG a %u 1 bob 7 p=b:%u\n%s", seq, seq, body);
	fake_flush(fake);
}

static void script_flood(struct fake *fake)
{
	unsigned first;

	fake_greet(fake);
	fake_join(fake, "a new presence", "* 1 first=1 log=" LOG_A);
	fake_join(fake, "b new", "* 1 first=1 log=" LOG_A);
	fake_expect(fake, "SAY a id=1\nx");
	fake_expect(fake, "PING");
	flood(fake, 1);
	fake_send(fake, "! QUOTA SAY a id=1 not lost");
	fake_send(fake, "GAP b 1 0 deleted"); /* nor is this */
	fake_answer(fake, "*");
	fake_expect(fake, "JOIN a since=~");
	first = (unsigned)atoi(strstr(fake->frame, "since=") + 6);
	if (first < 2 || first > FLOOD || !strstr(fake->frame, "log=" LOG_A " presence"))
		fake_fail(fake, "a place in the middle");
	fake_send(fake, "MSG a %d 1 bob 7\nnew, but not yet", FLOOD + 1);
	fake_send(fake, "#%s * %u first=1 log=" LOG_A, fake->tag, first);
	flood(fake, first);
	fake_end(fake);
}

static void test_flood(void **state)
{
	struct fake *fake = fake_start(script_flood);
	struct chat *chat = open_chat(fake, false, false);
	struct chat_event event;
	uint64_t next = 1;
	unsigned n_refused = 0, n_gaps = 0;

	assert_int_equal(chat_join(chat, "a", CHAT_NEW, 0, CHAT_PRESENCE, NULL), 0);
	assert_int_equal(chat_join(chat, "b", CHAT_NEW, 0, 0, NULL), 0);
	assert_int_equal(chat_send(chat, "a", "x", 1, 0), 0);
	assert_int_equal(chat_flush(chat, DEADLINE_MS), 1);
	while (next <= FLOOD) {
		assert_int_equal(chat_receive(chat, &event, DEADLINE_MS), 1);
		if (event.type == CHAT_REFUSED) {
			n_refused++;
		} else if (event.type == CHAT_GAP) {
			assert_string_equal(
				event.text, event.target[0] == 'a' ? "presence" : "deleted");
			n_gaps++;
		} else {
			assert_int_equal(event.type, CHAT_MESSAGE);
			assert_int_equal(event.seq, next++);
		}
	}
	assert_int_equal(n_refused, 1);
	assert_int_equal(n_gaps, 2);
	receive_nothing(chat);
	chat_close(chat);
	fake_stop(fake);
}

/* As long as a line may be. */
#define REFUSED_LEN 900

static void script_full(struct fake *fake)
{
	char text[REFUSED_LEN + 1];

	memset(text, 'x', REFUSED_LEN);
	text[REFUSED_LEN] = '\0';
	fake_greet(fake);
	fake_expect(fake, "TIME");
	flood(fake, 1);
	for (unsigned i = 0; i < INBOX_LEN_MAX / REFUSED_LEN; i++)
		fake_add(fake, "! QUOTA SAY a id=%u %s", i, text);
	for (unsigned i = 0; i < REFUSED_LEN; i++) /* and what is left, but for some bytes */
		fake_add(fake, "! QUOTA SAY a");
	fake_flush(fake);
	fake_send(fake, "RING a bob 7 p=b nonce=1 at=0 seq=1");
	fake_answer(fake, "* 1");
	fake_end(fake);
}

/* Where there is no place for a word more, what the broker waits for is said nevertheless: that
 * a ring was taken. */
static void test_full(void **state)
{
	struct fake *fake = fake_start(script_full);
	struct chat *chat = open_chat(fake, false, false);

	assert_int_equal(chat_request(chat, "TIME", NULL, 0, DEADLINE_MS, NULL, NULL, NULL), 0);
	assert_true(chat->inbox.stored_len > 2 * INBOX_LEN_MAX - 2 * REFUSED_LEN);
	assert_int_equal(chat->fast.n_tooks, 1);
	chat_close(chat);
	fake_stop(fake);
}

#define ROOMS 10000

static void script_rooms(struct fake *fake)
{
	fake_greet(fake);
	for (int i = 0; i < ROOMS; i++) {
		fake_expect(fake, "JOIN room.%d new", i);
		fake_answer(fake, "* 7 first=1 log=" LOG_A);
	}
	fake_hang_up(fake);
	fake_greet(fake);
	for (int i = 0; i < ROOMS; i++) {
		fake_expect(fake, "JOIN room.%d since=7 log=" LOG_A, i);
		fake_add(fake, "#%s * 7 first=1 log=" LOG_A, fake->tag);
	}
	fake_flush(fake);
	for (int i = 0; i < ROOMS; i++)
		fake_add(fake, "MSG room.%d 7 1 bob 7\nx", i);
	fake_flush(fake);
	fake_end(fake);
}

static void test_rooms(void **state)
{
	struct fake *fake = fake_start(script_rooms);
	struct chat *chat = open_chat(fake, false, false);
	char room[32];

	for (int i = 0; i < ROOMS; i++) {
		snprintf(room, sizeof room, "room.%d", i);
		assert_int_equal(chat_join(chat, room, CHAT_NEW, 0, 0, NULL), 0);
	}
	receive(chat, CHAT_DOWN);
	receive(chat, CHAT_UP);
	for (int i = 0; i < ROOMS; i++)
		receive_message(chat, 7, "x");
	receive_nothing(chat);
	chat_close(chat);
	fake_stop(fake);
}

/* ---- rooms are deleted ---- */

static void script_deleted(struct fake *fake)
{
	fake_greet(fake);
	fake_join(fake, "a new", "* 3 first=1 log=" LOG_A);
	fake_join(fake, "b new", "* 1 first=1 log=" LOG_A);
	fake_send(fake, "MSG a 3 1 bob 7\nthree");
	fake_send(fake, "GAP a 4 0 deleted");
	fake_send(fake, "MSG a 1 1 bob 7\nnot for one who has no cursor there");
	fake_expect(fake, "SAY a id=1\nx"); /* another room, in which it is not */
	fake_expect(fake, "PING");
	fake_answer(fake, "*");
	fake_hang_up(fake);
	fake_greet(fake);
	fake_join(fake, "b since=1 log=" LOG_A, "* 1 first=1 log=" LOG_A);
	fake_join(fake, "a new", "* 2 first=1 log=" LOG_B);
	fake_send(fake, "MSG a 2 1 bob 7\ntwo");
	fake_end(fake);
}

/* The program is told, and nothing of it is joined again by itself. */
static void test_deleted(void **state)
{
	struct fake *fake = fake_start(script_deleted);
	struct chat *chat = open_chat(fake, false, false);

	assert_int_equal(chat_join(chat, "a", CHAT_NEW, 0, 0, NULL), 0);
	assert_int_equal(chat_join(chat, "b", CHAT_NEW, 0, 0, NULL), 0);
	receive_message(chat, 3, "three");
	receive_gap(chat, 4, 0, "deleted");
	assert_int_equal(chat_part(chat, "a"), -ENOENT);
	assert_int_equal(chat_seen(chat, "a", 3), -ENOENT);
	assert_int_equal(chat_send(chat, "a", "x", 1, 0), 0);
	assert_int_equal(chat_flush(chat, DEADLINE_MS), 0);
	receive(chat, CHAT_DOWN);
	receive(chat, CHAT_UP);
	assert_int_equal(chat_join(chat, "a", CHAT_NEW, 0, 0, NULL), 0);
	receive_message(chat, 2, "two");
	chat_close(chat);
	fake_stop(fake);
}

static void script_deleted_unheard(struct fake *fake)
{
	fake_greet(fake);
	fake_join(fake, "a new", "* 3 first=1 log=" LOG_A);
	fake_join(fake, "b new", "* 3 first=1 log=" LOG_A);
	fake_expect(fake, "SAY c id=1\nx");
	fake_expect(fake, "PING");
	fake_send(fake, "GAP a 3 0 deleted");
	fake_send(fake, "GAP b 3 0 deleted");
	fake_hang_up(fake); /* while the program waits, and has heard of neither */
	fake_greet(fake);
	fake_expect(fake, "SAY c id=1\nx");
	fake_expect(fake, "PING");
	fake_answer(fake, "*");
	fake_join(fake, "b new", "* 7 first=1 log=" LOG_B);
	fake_send(fake, "MSG b 7 1 bob 7\nseven");
	fake_end(fake);
}

/* The program is told, too, when the connection is lost, or the room is joined, before the program
 * has looked. */
static void test_deleted_unheard(void **state)
{
	struct fake *fake = fake_start(script_deleted_unheard);
	struct chat *chat = open_chat(fake, false, false);

	assert_int_equal(chat_join(chat, "a", CHAT_NEW, 0, 0, NULL), 0);
	assert_int_equal(chat_join(chat, "b", CHAT_NEW, 0, 0, NULL), 0);
	assert_int_equal(chat_send(chat, "c", "x", 1, 0), 0);
	assert_int_equal(chat_flush(chat, DEADLINE_MS), 0);
	assert_int_equal(chat_join(chat, "b", CHAT_NEW, 0, 0, NULL), 0);
	receive_gap(chat, 3, 0, "deleted");
	receive_gap(chat, 3, 0, "deleted");
	receive(chat, CHAT_DOWN);
	receive(chat, CHAT_UP);
	receive_message(chat, 7, "seven");
	assert_int_equal(chat_part(chat, "a"), -ENOENT);
	chat_close(chat);
	fake_stop(fake);
}

static void script_deleted_direct(struct fake *fake)
{
	fake_greet(fake);
	fake_send(fake, "CURSOR @alice+bob 5 first=1 log=" LOG_A);
	fake_send(fake, "MSG @alice+bob 5 1 bob 7\nfive");
	fake_expect(fake, "SAY c id=1\nx");
	fake_expect(fake, "PING");
	for (int i = 1; i <= 2; i++) {
		fake_send(fake, "GAP @alice+bob 6 0 deleted");
		fake_send(fake, "CURSOR @alice+bob %d first=1 log=" LOG_B, i);
		fake_send(fake, "MSG @alice+bob %d 1 bob 7\nagain", i);
	}
	fake_send(fake, "GAP @alice+bob 3 0 deleted");
	fake_answer(fake, "*");
	fake_expect(fake, "SAY c id=2\nx");
	fake_expect(fake, "PING");
	fake_send(fake, "CURSOR @alice+bob 1 first=1 log=" LOG_A);
	fake_send(fake, "MSG @alice+bob 1 1 bob 7\nlast");
	fake_answer(fake, "*");
	fake_end(fake);
}

/* A conversation that is deleted comes again by itself. */
static void test_deleted_direct(void **state)
{
	struct fake *fake = fake_start(script_deleted_direct);
	struct chat *chat = open_chat(fake, true, false);

	receive_message(chat, 5, "five");
	assert_int_equal(chat_send(chat, "c", "x", 1, 0), 0);
	assert_int_equal(chat_flush(chat, DEADLINE_MS), 0);
	for (uint64_t i = 1; i <= 2; i++) {
		receive_gap(chat, 6, 0, "deleted");
		receive_message(chat, i, "again");
	}
	receive_gap(chat, 3, 0, "deleted");
	receive_nothing(chat);
	assert_int_equal(chat_part(chat, "@bob"), -ENOENT);
	assert_int_equal(chat_send(chat, "c", "x", 1, 0), 0);
	assert_int_equal(chat_flush(chat, DEADLINE_MS), 0);
	receive_message(chat, 1, "last");
	chat_close(chat);
	fake_stop(fake);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_resume),
		cmocka_unit_test(test_flush_through_restart),
		cmocka_unit_test(test_once),
		cmocka_unit_test(test_mark),
		cmocka_unit_test(test_parked),
		cmocka_unit_test(test_junk),
		cmocka_unit_test(test_flood),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_rooms),
		cmocka_unit_test(test_deleted),
		cmocka_unit_test(test_deleted_unheard),
		cmocka_unit_test(test_deleted_direct),
	};

	alarm(120);
	unsetenv("CHAT_NAME");
	unsetenv("CHAT_SOCKET");
	unsetenv("CHAT_BROKER_UID");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
