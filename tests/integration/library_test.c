/* library_test.c - libchat with the real broker, which is killed, stopped and kept short
 * of memory under it: libchat(3). */
#include "tests/integration/harness.h"

#include <errno.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/chat.h"
#include "tests/integration/talk.h"

#define N_ROOMS 10000

static void restart(struct broker *broker, const char *const options[])
{
	broker_kill9(broker);
	broker_spawn_with(broker, options);
	broker_wait_ready(broker);
}

static const char *const no_options[] = { NULL };

/* ---- the broker is killed ---- */

static void test_resume(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct chat *alice = open_named(broker, "al1ce"), *bob = open_named(broker, "b0b");
	struct chat_event event;

	join(alice, "room");
	say_numbers(bob, "room", 1, 100);
	assert_int_equal(chat_flush(bob, 5000), 0);
	expect_numbers(alice, "room", 1, 100);
	for (unsigned n = 100; n <= 500; n += 200) {
		broker_kill9(broker);
		say_numbers(bob, "room", n + 1, n + 100);
		assert_false(chat_is_up(bob));
		assert_int_equal(chat_flush(bob, 10), -ETIMEDOUT);
		event = next_event(alice);
		assert_int_equal(event.type, CHAT_DOWN);
		assert_false(event.ended);
		broker_spawn_here(broker, NULL);
		broker_wait_ready(broker);
		assert_int_equal(chat_flush(bob, DEADLINE_MS), 0);
		event = await_event(alice, CHAT_GAP);
		assert_string_equal(event.text, "reset");
		assert_int_equal(event.to, 0);
		expect_numbers(alice, "room", n + 1, n + 100);
		say_numbers(bob, "room", n + 101, n + 200);
		assert_int_equal(chat_flush(bob, 5000), 0);
		expect_numbers(alice, "room", n + 101, n + 200);
		expect_nothing(alice);
	}
	chat_close(alice);
	chat_close(bob);
	broker_stop(broker);
}

/* Killed while much is on its way: what was said and not lost comes once, in order. */
static void test_killed_in_the_middle(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct chat *alice = open_named(broker, "al1ce"), *bob = open_named(broker, "b0b");
	unsigned last = 0, n_holes = 0, n;
	char body[16];

	join(alice, "room");
	say_numbers(bob, "room", 1, 5000);
	restart(broker, no_options);
	say_numbers(bob, "room", 5001, 10000);
	assert_int_equal(chat_flush(bob, DEADLINE_MS), 0);
	while (last < 10000) {
		struct chat_event event = next_event(alice);

		if (event.type != CHAT_MESSAGE)
			continue;
		snprintf(body, sizeof body, "%.*s", (int)event.len, event.body);
		n = (unsigned)atoi(body);
		if (n <= last)
			fail_msg("%u again, after %u", n, last);
		n_holes += n != last + 1;
		last = n;
	}
	assert_true(n_holes <= 1);
	expect_nothing(alice);
	chat_close(alice);
	chat_close(bob);
	broker_stop(broker);
}

static void test_many_rooms(void **state)
{
	static const char *const options[] = { "--limit", "cursors=20000", "--limit", "rooms=20000",
		NULL };
	struct broker *broker = broker_start_with(options);
	struct chat *alice = open_named(broker, "al1ce"), *bob = open_named(broker, "b0b");
	char room[32];

	for (unsigned i = 0; i < N_ROOMS; i++) {
		snprintf(room, sizeof room, "room.%u", i);
		join(alice, room);
	}
	restart(broker, options);
	await_event(alice, CHAT_UP);
	for (unsigned i = 0; i < N_ROOMS; i += 7) {
		snprintf(room, sizeof room, "room.%u", i);
		say(bob, room, room);
	}
	assert_int_equal(chat_flush(bob, DEADLINE_MS), 0);
	/* rooms have no order among each other */
	for (unsigned i = 0; i < N_ROOMS; i += 7) {
		struct chat_event event = await_event(alice, CHAT_MESSAGE);

		assert_int_equal(event.seq, 1);
		assert_int_equal(event.len, strlen(event.target));
		assert_memory_equal(event.body, event.target, event.len);
	}
	expect_nothing(alice);
	chat_close(alice);
	chat_close(bob);
	broker_stop(broker);
}

/* A conversation that began before this program had come back. */
static void test_direct_while_down(void **state)
{
	const struct passwd *user = getpwuid(geteuid());
	struct broker *broker = broker_start(NULL);
	struct chat *own;
	struct raw *bob;
	char target[64];

	if (!user || !text_is_name(text_of(user->pw_name)))
		SKIP("the user running this has no name for a chat");
	snprintf(target, sizeof target, "@%s", user->pw_name);
	own = open_as(broker, &(struct chat_config){ .name = user->pw_name, .direct = true });
	restart(broker, no_options);
	bob = raw_hello(broker, "name=b0b");
	raw_send(bob, "#1 SAY %s\nwhile you were away", target);
	raw_expect(bob, "#1 * 1");
	raw_send(bob, "#2 SAY %s\nand again", target);
	raw_expect(bob, "#2 * 2");
	expect_message(own, "@b0b", "while you were away");
	expect_message(own, "@b0b", "and again");
	raw_send(bob, "#3 SAY %s\nlive", target);
	raw_expect(bob, "#3 * 3");
	expect_message(own, "@b0b", "live");
	expect_nothing(own);
	chat_close(own);
	broker_stop(broker);
}

static void test_once(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct chat *alice =
		open_as(broker, &(struct chat_config){ .name = "al1ce", .once = true });
	struct chat_event event;

	join(alice, "room");
	say(alice, "room", "last words");
	assert_int_equal(chat_flush(alice, 5000), 0);
	/* answers go out before messages: with this one it has been sent */
	assert_int_equal(chat_request(alice, "PING", NULL, 0, 5000, NULL, NULL, NULL), 0);
	broker_kill9(broker);
	event = next_event(alice);
	assert_int_equal(event.type, CHAT_MESSAGE);
	assert_true(event.own);
	assert_int_equal(chat_receive(alice, &event, 5000), -ENOTCONN);
	assert_int_equal(chat_send(alice, "room", "x", 1, 0), -ENOTCONN);
	assert_int_equal(chat_flush(alice, 100), -ENOTCONN);
	chat_close(alice);
}

/* ---- speaking ---- */

static void test_refusals(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct chat *alice = open_named(broker, "al1ce");

	say(alice, "room", "one");
	say(alice, "@nobody.there", "two");
	say(alice, "@nobody.there", "three");
	say(alice, "room", "four");
	assert_int_equal(chat_flush(alice, 5000), 2);
	assert_int_equal(chat_flush(alice, 5000), 0);
	for (unsigned id = 2; id <= 3; id++) {
		struct chat_event event = next_event(alice);

		assert_int_equal(event.type, CHAT_REFUSED);
		assert_int_equal(event.id, id);
		assert_string_equal(event.code, "NONAME");
		assert_string_equal(event.target, "@nobody.there");
	}
	expect_nothing(alice);
	assert_int_equal(chat_send(alice, "no room", "x", 1, 0), -EINVAL);
	assert_int_equal(chat_join(alice, "@nobody.there", CHAT_NEW, 0, 0, NULL), -EACCES);
	chat_close(alice);
	broker_stop(broker);
}

static void test_nonblocking(void **state)
{
	static char body[10000];
	struct broker *broker = broker_start(NULL);
	struct chat *alice = open_named(broker, "al1ce"), *bob = open_named(broker, "b0b");
	unsigned n = 0, n_received = 0;
	int r;

	join(bob, "room");
	broker_signal(broker, SIGSTOP);
	child_expect_stopped(broker->pid);
	while ((r = chat_send(alice, "room", body, sizeof body, CHAT_NONBLOCK)) == 0)
		n++;
	assert_int_equal(r, -EAGAIN);
	/* 1 MiB is not acknowledged, headers and all */
	assert_in_range(n, 100, 105);
	assert_int_equal(chat_flush(alice, 10), -ETIMEDOUT);
	broker_signal(broker, SIGCONT);
	/* this one waits until there is room */
	assert_int_equal(chat_send(alice, "room", body, sizeof body, 0), 0);
	assert_int_equal(chat_flush(alice, DEADLINE_MS), 0);
	for (; n_received < n + 1; n_received++) {
		struct chat_event event = await_event(bob, CHAT_MESSAGE);

		assert_int_equal(event.seq, n_received + 1);
		assert_int_equal(event.len, sizeof body);
	}
	expect_nothing(bob);
	chat_close(alice);
	chat_close(bob);
	broker_stop(broker);
}

static void test_bodies(void **state)
{
	static const size_t lens[] = { 0, 1, 7, 8, 9, 1000, 32768, 63999, 64000 };
	static char body[64001];
	struct broker *broker = broker_start(NULL);
	struct chat *alice = open_named(broker, "al1ce"), *bob = open_named(broker, "b0b");

	for (size_t i = 0; i < sizeof body; i++)
		body[i] = (char)(i * 2654435761u >> 24);
	join(bob, "room");
	for (unsigned more = 0; more < 2; more++)
		for (size_t i = 0; i < ARRAY_LEN(lens); i++)
			assert_int_equal(chat_send(alice, "room", body + lens[i] % 2, lens[i],
						 more ? CHAT_MORE : 0),
				0);
	assert_int_equal(chat_send(alice, "room", body, sizeof body, 0), -EMSGSIZE);
	assert_int_equal(chat_flush(alice, 5000), 0);
	for (size_t i = 0; i < 2 * ARRAY_LEN(lens); i++) {
		size_t len = lens[i % ARRAY_LEN(lens)];
		struct chat_event event = await_event(bob, CHAT_MESSAGE);

		assert_int_equal(event.len, len);
		assert_memory_equal(event.body, body + len % 2, len);
	}
	expect_nothing(bob);
	chat_close(alice);
	chat_close(bob);
	broker_stop(broker);
}

/* ---- listening ---- */

/* A reader that comes too late is told exactly what it missed. */
static void test_gap(void **state)
{
	struct broker *broker = broker_start("--limit", "room-bytes=1M");
	struct chat *alice = open_named(broker, "al1ce"), *bob = open_named(broker, "b0b");
	static char body[1000];
	uint64_t next = 1, n_missed = 0;

	join(alice, "room");
	for (int i = 0; i < 20000; i++)
		assert_int_equal(chat_send(bob, "room", body, sizeof body, CHAT_MORE), 0);
	assert_int_equal(chat_flush(bob, DEADLINE_MS), 0);
	while (next <= 20000) {
		struct chat_event event = next_event(alice);

		if (event.type == CHAT_GAP) {
			assert_string_equal(event.text, "retention");
			assert_int_equal(event.from, next);
			assert_true(event.to >= event.from);
			n_missed += event.to - event.from + 1;
			next = event.to + 1;
		} else {
			assert_int_equal(event.type, CHAT_MESSAGE);
			assert_int_equal(event.seq, next);
			next++;
		}
	}
	assert_true(n_missed > 10000);
	expect_nothing(alice);
	chat_close(alice);
	chat_close(bob);
	broker_stop(broker);
}

/* More than the library keeps, while a call waits for something else: all of it comes. */
static void test_kept(void **state)
{
	static char body[30000];
	struct broker *broker = broker_start("--limit", "room-bytes=64M");
	struct chat *alice = open_named(broker, "al1ce"), *bob = open_named(broker, "b0b");

	join(alice, "room");
	for (int i = 0; i < 1000; i++) {
		assert_int_equal(chat_send(bob, "room", body, sizeof body, CHAT_MORE), 0);
		if (i % 10 == 9)
			assert_int_equal(
				chat_request(alice, "PING", NULL, 0, 5000, NULL, NULL, NULL), 0);
	}
	assert_int_equal(chat_flush(bob, DEADLINE_MS), 0);
	for (uint64_t seq = 1; seq <= 1000; seq++) {
		struct chat_event event = next_event(alice);

		assert_int_equal(event.type, CHAT_MESSAGE);
		assert_int_equal(event.seq, seq);
		assert_int_equal(event.len, sizeof body);
	}
	expect_nothing(alice);
	chat_close(alice);
	chat_close(bob);
	broker_stop(broker);
}

/* The way of event loops: poll, then receive until 0, or once; also across a restart. */
static void test_polled(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct chat *alice = open_named(broker, "al1ce"), *bob = open_named(broker, "b0b");
	int fd = chat_fd(alice);
	unsigned n = 0;

	join(alice, "room");
	for (unsigned round = 1; round <= 3; round++) {
		say_numbers(bob, "room", 1, 1000);
		assert_int_equal(chat_flush(bob, DEADLINE_MS), 0);
		while (n < round * 1000) {
			struct chat_event event;
			int r;

			if (!wait_fd(fd, POLLIN, clock_ms() + DEADLINE_MS))
				fail_msg("not readable, after %u messages", n);
			while ((r = chat_receive(alice, &event, 0)) == 1) {
				n += event.type == CHAT_MESSAGE;
				if (round == 2) /* one each time will do as well */
					break;
			}
			assert_true(r == 0 || round == 2);
		}
		assert_int_equal(n, round * 1000);
		assert_int_equal(chat_fd(alice), fd);
		restart(broker, no_options);
	}
	chat_close(alice);
	chat_close(bob);
	broker_stop(broker);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_resume),
		TEST(test_killed_in_the_middle),
		TEST(test_many_rooms),
		TEST(test_direct_while_down),
		TEST(test_once),
		TEST(test_refusals),
		TEST(test_nonblocking),
		TEST(test_bodies),
		TEST(test_gap),
		TEST(test_kept),
		TEST(test_polled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
