/* past_test.c - a broker that sends more rows and pages than it was asked for: requests that go
 * page by page end all the same. */
#include "tests/unit/fake.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "client/ask.h"
#include "client/past.h"

/* More than the time of all pages on a busy machine. */
#define ALL_MS_MAX 10000

static uint64_t begin_ms;

static void begin(void)
{
	begin_ms = ask_now_ms();
}

static void expect_end(void)
{
	assert_in_range(ask_now_ms() - begin_ms, 0, ALL_MS_MAX);
}

static void count_event(void *userdata, const struct chat_event *event)
{
	assert_int_equal(event->type, CHAT_MESSAGE);
	++*(unsigned *)userdata;
}

static void count_row(void *userdata, const char *row, size_t len)
{
	++*(unsigned *)userdata;
}

/* ---- more rows than were asked for ---- */

/* Answer the first request of past_read(): the room has 100 messages. */
static void answer_end(struct fake *fake)
{
	fake_expect(fake, "ROOMS room");
	fake_send(fake, "#%s + room next=101", fake->tag);
	fake_answer(fake, "*");
}

static void script_rows(struct fake *fake)
{
	fake_greet(fake);
	answer_end(fake);
	for (int request = 0; request < 2; request++) {
		fake_expect(fake, request == 0 ? "PAST room to=100 last=2" : "FIND room max=2\nx");
		for (int i = 1; i <= 100; i++)
			fake_add(fake, "#%s + MSG room %d 1 bob 7\nx", fake->tag, i);
		fake_add(fake, "#%s * next=1", fake->tag);
		fake_flush(fake);
	}
	fake_end(fake);
}

static void test_rows(void **state)
{
	const struct past_range range = { .has_last = true, .last = 2 };
	struct fake *fake = fake_start(script_rows);
	struct chat *chat = open_chat(fake, false, true);
	const char *answer;
	unsigned n = 0;

	assert_int_equal(past_read(chat, "room", &range, DEADLINE_MS, count_event, &n, &answer), 0);
	assert_int_equal(n, 2);
	n = 0;
	assert_int_equal(past_find(chat, "room", "x", 2, DEADLINE_MS, count_event, &n, &answer), 0);
	assert_int_equal(n, 2);
	chat_close(chat);
	fake_stop(fake);
}

/* ---- pages that lead nowhere ---- */

static void script_same(struct fake *fake)
{
	fake_greet(fake);
	answer_end(fake);
	for (int i = 0; i < 6; i++) {
		fake_expect(fake, i < 2 ? "PAST room ~" : i < 4 ? "FIND room ~" : "ROOMS~");
		fake_answer(fake, "* next=7");
	}
	fake_end(fake);
}

static void test_same(void **state)
{
	const struct past_range range = { .has_since = true };
	struct fake *fake = fake_start(script_same);
	struct chat *chat = open_chat(fake, false, true);
	const char *answer;
	unsigned n = 0;

	assert_int_equal(past_read(chat, "room", &range, DEADLINE_MS, count_event, &n, &answer), 0);
	assert_int_equal(past_find(chat, "room", "x", 2, DEADLINE_MS, count_event, &n, &answer), 0);
	assert_int_equal(ask_pages(chat, "ROOMS", DEADLINE_MS, count_row, &n, &answer), 0);
	assert_int_equal(n, 0);
	chat_close(chat);
	fake_stop(fake);
}

/* ---- pages without end ---- */

static void script_endless(struct fake *fake)
{
	unsigned long long next = 1;
	char frame[64];

	fake_greet(fake);
	while (fake_next(fake, "a request or the end")) {
		size_t len = strcspn(fake->frame, " ");
		bool is_find = strstr(fake->frame, "FIND");

		if (fake->frame[0] != '#')
			fake_fail(fake, "a request");
		next++;
		snprintf(frame, sizeof frame, "%.*s * next=%llu", (int)len, fake->frame,
			is_find ? UINT64_MAX - next : next);
		(void)send(fake->fd, frame, strlen(frame), MSG_NOSIGNAL); /* it may be gone */
	}
}

static void test_endless(void **state)
{
	const struct past_range range = { .has_since = true };
	struct fake *fake = fake_start(script_endless);
	struct chat *chat = open_chat(fake, false, true);
	const char *answer;
	unsigned n = 0;

	begin();
	(void)past_read(chat, "room", &range, 5, count_event, &n, &answer);
	expect_end();
	begin();
	(void)past_find(chat, "room", "x", 2, 5, count_event, &n, &answer);
	expect_end();
	begin();
	(void)ask_pages(chat, "ROOMS", 300, count_row, &n, &answer);
	expect_end();
	assert_int_equal(n, 0);
	chat_close(chat);
	fake_stop(fake);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_same),
		cmocka_unit_test(test_endless),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
