/* output_test.c - what a session is owed, in which order and in how many packets: a whole
 * broker in this process, and a reader that takes a packet when the test says so.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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
	static char batch[PACKET_LEN_MAX];
	size_t len = BATCH_START_LEN;
	int reader, speaker;
	uint64_t n, n_most = 0;
	char join[32];

	assert_int_equal(rig_init(&rig, false), 0);
	reader = connect_as(1, "#1 HELLO 1");
	for (int i = 0; i < 20; i++)
		send_text(reader, join, (size_t)sprintf(join, "JOIN room%d", i));
	speaker = connect_as(2, "#1 HELLO 1 batch");
	memcpy(batch, BATCH_START, BATCH_START_LEN);
	for (int i = 0; i < 240; i++) {
		size_t n_chars =
			(size_t)sprintf(batch + len + RECORD_HEADER_LEN, "SAY room%d\nx", i % 20);

		record_close(batch + len, n_chars);
		len += record_size(n_chars);
	}
	assert_int_equal(packet_send(speaker, &(struct iovec){ batch, len }, 1), 0);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_turns_are_short),
		cmocka_unit_test(test_rooms_take_turns),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
