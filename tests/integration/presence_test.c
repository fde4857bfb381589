/* presence_test.c - who is there: chat-protocol(7), JOINED, PARTED, GAP presence. */
#include "tests/integration/harness.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void request(struct raw *raw, const char *words)
{
	raw_send(raw, "#r %s", words);
	raw_await(raw, "#r *~");
}

static void test_first_and_last_terminal(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *watcher = raw_join(broker, "name=watcher", "room presence");
	struct raw *alice[3], *bob = raw_hello(broker, "name=b0b batch");

	alice[0] = raw_join(broker, "name=al1ce", "room");
	raw_expect(watcher, "JOINED room al1ce %u~", getuid());
	alice[1] = raw_join(broker, "name=al1ce", "room");
	alice[2] = raw_join(broker, "name=al1ce", "elsewhere");
	raw_expect_quiet(watcher);
	request(bob, "JOIN room presence");
	raw_expect(watcher, "JOINED room b0b %u~", getuid());
	request(alice[0], "PART room");
	raw_expect_quiet(watcher);
	raw_expect_quiet(bob);
	/* the last one: by leaving the room, the broker, or this world */
	raw_close(alice[1]);
	raw_expect(watcher, "PARTED room al1ce %u~", getuid());
	raw_expect(bob, "PARTED room al1ce %u~", getuid());
	request(alice[0], "JOIN room");
	raw_expect(watcher, "JOINED room al1ce ~");
	raw_expect(bob, "JOINED room al1ce ~");
	raw_send(alice[0], "QUIT");
	raw_expect(watcher, "PARTED room al1ce ~");
	raw_expect(bob, "PARTED room al1ce ~");
	request(bob, "PART room");
	raw_expect(watcher, "PARTED room b0b ~");
	request(bob, "JOIN room");
	raw_expect(watcher, "JOINED room b0b ~");
	raw_expect_quiet(watcher);
	/* bob did not ask this time */
	request(alice[2], "JOIN room");
	raw_expect(watcher, "JOINED room al1ce ~");
	raw_expect_quiet(bob);
	broker_stop(broker);
}

/* Only where it was asked for, only in that room. */
static void test_who_did_not_ask(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *reader = raw_join(broker, "name=reader", "room");
	struct raw *watcher = raw_join(broker, "name=watcher", "other presence"), *raw;

	for (int i = 0; i < 10; i++) {
		raw = raw_join(broker, "name=gu3st", "room");
		request(raw, "JOIN other");
		request(raw, "PART room");
		request(raw, "PART other");
		raw_expect(watcher, "JOINED other gu3st ~");
		raw_expect(watcher, "PARTED other gu3st ~");
		raw_close(raw);
	}
	raw_expect_quiet(reader);
	raw_expect_quiet(watcher);
	/* asked for later, with the cursor that is there */
	request(reader, "JOIN room presence");
	raw = raw_join(broker, "name=gu3st", "room");
	raw_expect(reader, "JOINED room gu3st ~");
	raw_expect_quiet(reader);
	broker_stop(broker);
}

/* A reader that does not read for long misses some, and is told so; it can ask WHO. */
static void test_a_reader_that_lags(void **state)
{
	static const char *const features[] = { "name=watcher", "name=watcher batch" };

	for (size_t i = 0; i < ARRAY_LEN(features); i++) {
		struct broker *broker = broker_start(NULL);
		struct raw *watcher = raw_join(broker, features[i], "room presence");
		struct raw *guest = raw_hello(broker, "name=gu3st");
		unsigned n_gaps = 0;
		bool is_there = false;
		struct text frame;

		for (int k = 0; k < 60000; k++)
			raw_send(guest, k % 2 ? "PART room" : "JOIN room");
		raw_expect_quiet(guest);
		raw_send(guest, "JOIN room");
		raw_expect_quiet(guest);
		raw_send(guest, "SAY room\nthe end");
		/* coming and going take turns, but where something is missing */
		for (;;) {
			frame = raw_next(watcher);
			if (pattern_matches("MSG ~", frame))
				break;
			if (pattern_matches("GAP room 0 0 presence", frame)) {
				n_gaps++;
				continue;
			}
			if (!pattern_matches("JOINED room gu3st ~", frame) &&
				!pattern_matches("PARTED room gu3st ~", frame))
				fail_msg("%.*s", (int)frame.len, frame.data);
			assert_true(n_gaps > 0 || is_there == (frame.data[0] == 'P'));
			is_there = frame.data[0] == 'J';
		}
		assert_true(n_gaps > 0);
		raw_send(watcher, "#w WHO room");
		raw_await(watcher, "#w + gu3st ~");
		raw_await(watcher, "#w * 2");
		broker_stop(broker);
		harness_teardown(state);
	}
}

/* Beyond 256 readers it is noise: a GAP says that it ends. Below, it goes on. */
static void test_too_many_readers(void **state)
{
	struct broker *broker = broker_start("--limit", "connections=1000");
	struct raw *watcher = raw_join(broker, "name=watcher", "room presence"), *raws[300];

	for (size_t i = 0; i < ARRAY_LEN(raws); i++) {
		char words[32];

		snprintf(words, sizeof words, "name=u%u batch", getuid());
		raws[i] = raw_join(broker, words, "room");
	}
	raw_expect(watcher, "JOINED room u%u %u~", getuid(), getuid());
	raw_expect(watcher, "GAP room 0 0 presence");
	raw_expect_quiet(watcher);
	raw_send(raws[0], "SAY room\nstill a room");
	for (size_t i = 0; i < ARRAY_LEN(raws); i++)
		raw_expect(raws[i], "MSG room 1 ~");
	raw_expect(watcher, "MSG room 1 ~");
	/* WHO has pages of 256 */
	raw_send(watcher, "#w WHO room");
	for (int i = 0; i < 256; i++)
		raw_expect(watcher, "#w + ~");
	{
		unsigned long next;

		assert_int_equal(
			sscanf(raw_expect(watcher, "#w * 256 next=~"), "#w * 256 next=%lu", &next),
			1);
		raw_send(watcher, "#w WHO room after=%lu", next);
	}
	for (int i = 0; i < 45; i++)
		raw_expect(watcher, "#w + ~");
	raw_expect(watcher, "#w * 45");
	for (size_t i = 0; i < 200; i++) {
		request(raws[i], "PART room");
		raw_close(raws[i]);
	}
	raw_expect_quiet(watcher);
	request(raws[250], "PART room");
	raw_expect_quiet(watcher); /* the same person reads from other terminals */
	raws[0] = raw_join(broker, "name=gu3st", "room");
	raw_expect(watcher, "JOINED room gu3st ~");
	raw_close(raws[0]);
	raw_expect(watcher, "PARTED room gu3st ~");
	broker_stop(broker);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_first_and_last_terminal),
		TEST(test_who_did_not_ask),
		TEST(test_a_reader_that_lags),
		TEST(test_too_many_readers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
