/* turns_test.c - what a session may do and is sent in one turn, and what waits: a whole
 * broker in this process, a clock that goes by looks, and a reader that takes a packet
 * when the test says so.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "protocol/base.h"
#include "protocol/packet.h"
#include "protocol/record.h"
#include "tests/fuzz/rig.h"

static struct rig rig;

static void send_text(int fd, const char *text, size_t len)
{
	struct iovec part = { (char *)text, len };

	assert_int_equal(packet_send(fd, &part, 1), 0);
	rig_settle(&rig);
}

static int connect_as(unsigned user, const char *hello)
{
	int fd = rig_connect(&rig, user);

	assert_true(fd >= 0);
	send_text(fd, hello, strlen(hello));
	return fd;
}

/* Messages of LEN bytes in ROOM. */
static void say(int fd, const char *room, unsigned n, size_t len)
{
	char packet[8192];
	size_t start = (size_t)sprintf(packet, "SAY %s\n", room);

	assert_true(start + len <= sizeof packet);
	memset(packet + start, 'm', len);
	while (n-- > 0)
		send_text(fd, packet, start + len);
}

/* One packet of N frames, each with a number below MODULUS; it is not read yet. */
static void send_batch(int fd, int n, const char *format, int modulus)
{
	static char batch[PACKET_LEN_MAX];
	size_t len = BATCH_START_LEN;

	memcpy(batch, BATCH_START, BATCH_START_LEN);
	for (int i = 0; i < n; i++) {
		size_t size = (size_t)snprintf(batch + len + RECORD_HEADER_LEN,
			sizeof batch - len - RECORD_HEADER_LEN - 8, format, i % modulus);

		record_close(batch + len, size);
		len += record_size(size);
	}
	assert_int_equal(packet_send(fd, &(struct iovec){ batch, len }, 1), 0);
}

/* Take one packet. Returns the number of the last message of ROOM in it, 0 when there is
 * none, or -1 when there is no packet. */
static int take_packet(int fd, const char *room)
{
	static char packet[PACKET_LEN_MAX];
	const char *at = packet + BATCH_START_LEN;
	char start[64];
	size_t len, start_len = (size_t)sprintf(start, "MSG %s ", room);
	struct text frame;
	int last = 0;

	rig_settle(&rig);
	if (packet_receive(fd, packet, sizeof packet, &len))
		return -1;
	if (len < BATCH_START_LEN || memcmp(packet, BATCH_START, BATCH_START_LEN) != 0)
		return 0;
	while (record_next(&at, packet + len, &frame) == 0)
		if (frame.len > start_len && memcmp(frame.data, start, start_len) == 0)
			last = atoi(frame.data + start_len);
	return last;
}

/* A reader that is behind in two rooms, and very much so in one, gets its share of the
 * other all the same: slices that do not fit whole have packets of their own. */
static void test_rooms_take_turns(void **state)
{
	int reader, speaker, last = 0;
	unsigned n_packets = 0;

	assert_int_equal(rig_init(&rig, false), 0);
	speaker = connect_as(2, "#1 HELLO 1");
	reader = connect_as(1, "#1 HELLO 1 batch");
	/* a long log has long segments, of which each slice is a full packet */
	say(speaker, "busy", 4000, 4936);
	send_text(reader, "JOIN busy", strlen("JOIN busy"));
	send_text(reader, "JOIN calm", strlen("JOIN calm"));
	say(speaker, "busy", 2000, 4936);
	say(speaker, "calm", 100, 100);
	while (last < 100) {
		int n = take_packet(reader, "calm");

		assert_int_not_equal(n, -1);
		last = n > 0 ? n : last;
		n_packets += last > 0;
	}
	/* the short log has short segments, and a slice of one is at most a whole one */
	assert_in_range(n_packets, 3, 20);
	close(reader);
	close(speaker);
	rig_deinit(&rig);
}

/* A reader that takes no batches is sent a part of what it is owed in each turn, however
 * many rooms that is in. */
static void test_turns_are_short(void **state)
{
	int reader, speaker;
	uint64_t n, n_most = 0;
	char join[32];

	assert_int_equal(rig_init(&rig, false), 0);
	reader = connect_as(1, "#1 HELLO 1");
	for (int i = 0; i < 20; i++)
		send_text(reader, join, (size_t)sprintf(join, "JOIN room%d", i));
	speaker = connect_as(2, "#1 HELLO 1 batch");
	send_batch(speaker, 240, "SAY room%d\nx", 20);
	while (rig.broker.n_delivered < 240) {
		n = rig.broker.n_delivered;
		broker_round(&rig.broker, 0);
		n_most = MAX(n_most, rig.broker.n_delivered - n);
	}
	/* 64, and what is left of the slice that has the last of them */
	assert_in_range(n_most, 64, 64 + 12);
	close(reader);
	close(speaker);
	rig_deinit(&rig);
}

static struct session *only_session(void)
{
	struct list *link = list_first(&rig.broker.sessions);

	assert_non_null(link);
	assert_int_equal(rig.broker.n_sessions, 1);
	return container_of(link, struct session, sessions_link);
}

/* A packet of many requests is put aside when its turn is over: of messages the clock is
 * asked now and then, of what may cost more each time. Here 20 us pass with each look. */
static void test_long_packets_wait(void **state)
{
	struct session *session;
	int fd;

	assert_int_equal(rig_init(&rig, false), 0);
	fd = connect_as(1, "#1 HELLO 1 batch");
	session = only_session();
	send_batch(fd, 200, "SAY room%d\nx", 1);
	broker_round(&rig.broker, 0);
	assert_null(session->held);
	assert_int_equal(session->said.total, 200);
	send_batch(fd, 100, "WHO after=%d", 100);
	broker_round(&rig.broker, 0);
	assert_non_null(session->held);
	assert_in_range(session->held->len, 60 * 24, 80 * 24);
	rig_settle(&rig);
	assert_null(session->held);
	close(fd);
	rig_deinit(&rig);
}

/* Where its user has no memory left to put it, its session is closed: others do not wait for
 * all of it. */
static void test_long_packets_need_room(void **state)
{
	int fd;

	assert_int_equal(rig_init(&rig, false), 0);
	fd = connect_as(1, "#1 HELLO 1 batch");
	only_session()->user->account->max[QUOTA_BYTES] = 1000;
	send_batch(fd, 2000, "SAY room%d\nx", 1);
	rig_settle(&rig);
	assert_int_equal(rig.broker.n_sessions, 0);
	assert_in_range(rig.broker.rooms.n_records, 100, 1000);
	close(fd);
	rig_deinit(&rig);
}

/* The CPU time of a batch of these requests, which nobody is answered. */
static clock_t cost_of(int fd, const char *request)
{
	clock_t start = clock();

	for (int i = 0; i < 4; i++) {
		send_batch(fd, 500, request, 1);
		rig_settle(&rig);
	}
	return clock() - start;
}

/* Without a tag the answer would go nowhere, so nothing is looked up: the request costs what it
 * takes to read it. One that is wrong is refused. */
static void test_rows_need_a_tag(void **state)
{
	static const char *const wrong[] = { "WHO nowhere", "ROOMS nowhere", "ROOMS after=x",
		"STATS nothing", "PAST room from=x", "FIND room max=0\nx" };
	static const char *const right[] = { "WHO", "WHO room", "ROOMS", "STATS", "STATS sessions",
		"STATS users", "PAST room", "FIND room\nx", "GET room" };
	char packet[PACKET_LEN_MAX];
	struct session *session;
	int fd, batcher;
	clock_t cost;
	size_t len;

	assert_int_equal(rig_init(&rig, false), 0);
	fd = connect_as(1, "HELLO 1");
	session = only_session();
	say(fd, "room", 200, 100);
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		send_text(fd, wrong[i], strlen(wrong[i]));
		assert_int_equal(packet_receive(fd, packet, sizeof packet, &len), 0);
		assert_int_equal(memcmp(packet, "! ", 2), 0);
	}
	for (int i = 0; i < 300; i++)
		send_text(fd, packet, (size_t)sprintf(packet, "SAY room%d\nx", i));
	batcher = connect_as(1, "HELLO 1 batch");
	cost = cost_of(batcher, "PING");
	for (size_t i = 0; i < ARRAY_LEN(right); i++) {
		assert_in_range(cost_of(batcher, right[i]), 0, 10 * cost + CLOCKS_PER_SEC / 100);
		assert_int_equal(
			packet_send(fd, &(struct iovec){ (char *)right[i], strlen(right[i]) }, 1),
			0);
		broker_round(&rig.broker, 0);
		broker_round(&rig.broker, 0);
		assert_false(session->is_waiting);
		assert_int_equal(packet_receive(fd, packet, sizeof packet, &len), -EAGAIN);
	}
	close(batcher);
	close(fd);
	rig_deinit(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_long_packets_wait),
		cmocka_unit_test(test_long_packets_need_room),
		cmocka_unit_test(test_rows_need_a_tag),
		cmocka_unit_test(test_turns_are_short),
		cmocka_unit_test(test_rooms_take_turns),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
