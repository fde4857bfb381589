/* rejoin_test.c - a reader of rings that comes back to the same broker: libchat(3), The fast
 * path; chat-ring(7), HAND-OVER.
 */
#include "tests/integration/fast.h"
#include "tests/integration/talk.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client/session.h"

#define ROOM "room"

static char body[1000];

/* Put messages FIRST to LAST, and have them all. */
static void put_and_read(
	struct publisher *publisher, struct chat *reader, unsigned first, unsigned last)
{
	for (unsigned i = first; i <= last; i++)
		assert_int_equal(ring_put(&publisher->writer, 1, i, body, sizeof body), 0);
	raw_send(publisher->raw, "#b BELL");
	raw_await(publisher->raw, "#b *");
	for (unsigned i = first; i <= last; i++) {
		struct chat_event event = next_event(reader);

		if (event.type != CHAT_MESSAGE)
			fail_msg("event %d, %s, before message %u", (int)event.type, event.text, i);
	}
}

/* Of what retention took meanwhile it had everything: it is told of no gap. */
static void test_nothing_is_missed(void **state)
{
	struct broker *broker = broker_start("--limit", "room-bytes=256k");
	struct chat *reader = open_named(broker, "r3ader");
	struct publisher publisher;

	if (chat_join(reader, ROOM, CHAT_NEW, 0, CHAT_FAST, NULL) != 0)
		fail_msg("%s", chat_error(reader));
	publisher_open(&publisher, broker, ROOM);
	for (unsigned i = 0; i < 20; i++)
		put_and_read(&publisher, reader, 50 * i + 1, 50 * i + 50);
	for (unsigned cut = 0; cut < 3; cut++) {
		shutdown(reader->link.socket, SHUT_RDWR);
		assert_int_equal(next_event(reader).type, CHAT_DOWN);
		assert_int_equal(next_event(reader).type, CHAT_UP);
		put_and_read(&publisher, reader, 1001 + 50 * cut, 1050 + 50 * cut);
	}
	publisher_close(&publisher);
	chat_close(reader);
	broker_stop(broker);
}

/* What retention took is told, once, and what it kept comes. */
static void test_something_is_missed(void **state)
{
	struct broker *broker = broker_start("--limit", "room-bytes=256k");
	struct chat *reader = open_named(broker, "r3ader");
	struct publisher publisher;
	struct chat_event event;
	unsigned n = 0, n_missed = 0;

	if (chat_join(reader, ROOM, CHAT_NEW, 0, CHAT_FAST, NULL) != 0)
		fail_msg("%s", chat_error(reader));
	publisher_open(&publisher, broker, ROOM);
	put_and_read(&publisher, reader, 1, 50);
	/* more than the log keeps, and than the ring */
	for (unsigned i = 51; i <= 2000; i++) {
		if (i % 50 == 0) {
			raw_send(publisher.raw, "#b BELL");
			raw_await(publisher.raw, "#b *");
		}
		assert_int_equal(ring_put(&publisher.writer, 1, i, body, sizeof body), 0);
	}
	raw_send(publisher.raw, "#b BELL");
	raw_await(publisher.raw, "#b *");
	while (n + n_missed < 1950) {
		event = next_event(reader);
		if (event.type == CHAT_GAP)
			n_missed += (unsigned)(event.to - event.from + 1);
		n += event.type == CHAT_MESSAGE;
	}
	assert_int_equal(n + n_missed, 1950);
	assert_true(n_missed > 0 && n > 0);
	publisher_close(&publisher);
	chat_close(reader);
	broker_stop(broker);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_nothing_is_missed),
		TEST(test_something_is_missed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
