/* descriptors_test.c - the last descriptors: who gets one, and who goes for another. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "broker/descriptors.h"
#include "protocol/packet.h"
#include "tests/fuzz/rig.h"

#define SECOND UINT64_C(1000000000)

static void test_share(void **state)
{
	static const struct {
		uint64_t n_held, n_left;
		bool may;
	} table[] = {
		{ 0, 0, true }, /* whoever has none gets the last */
		{ 1, 0, false },
		{ 1, 1, true },
		{ 8, 1, true },
		{ 9, 1, false },
		{ 9, 2, true },
		{ 128, 16, true },
		{ 128, 15, false },
		{ 129, 16, false },
		{ 1, UINT64_MAX, true },
		{ 1000000, 125000, true },
		{ 1000001, 125000, false },
	};

	for (size_t i = 0; i < ARRAY_LEN(table); i++)
		assert_int_equal(
			descriptors_are_shared(table[i].n_held, table[i].n_left), table[i].may);
}

/* ---- the stuck ---- */

static void tell(struct rig *rig, int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), 0), strlen(text));
	rig_settle(rig);
}

/* The next packet must begin so. */
static void expect(int fd, const char *start)
{
	char packet[PACKET_LEN_MAX];
	ssize_t n = recv(fd, packet, sizeof packet, MSG_DONTWAIT);

	assert_true(n >= (ssize_t)strlen(start));
	assert_memory_equal(packet, start, strlen(start));
}

static int connect_reader(struct rig *rig, unsigned user)
{
	int fd = rig_connect(rig, user);

	assert_true(fd >= 0);
	tell(rig, fd, "#1 HELLO 1");
	expect(fd, "#1 * 1 ");
	tell(rig, fd, "#2 JOIN lobby");
	expect(fd, "#2 * ");
	return fd;
}

/* As many messages as make a reader's socket full. */
static void fill(struct rig *rig, int speaker)
{
	for (int i = 0; i < 600; i++)
		tell(rig, speaker, "SAY lobby\nwords that somebody does not read");
}

static unsigned count_blocked(const struct rig *rig)
{
	unsigned n = 0;

	list_for_each (link, &rig->broker.sessions)
		n += session_blocked_ns(container_of(link, struct session, sessions_link)) > 0;
	return n;
}

/* From now on there is no descriptor left. */
static void exhaust(void)
{
	struct rlimit limit;
	int fd = dup(STDERR_FILENO);

	if (fd < 0)
		return; /* it is so already */
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = (rlim_t)fd; /* the lowest that is free */
	close(fd);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

struct house {
	struct rig rig;
	int slow, slower, speaker; /* the second has been stuck longer */
	int newcomers[3];
	struct sockaddr_un address;
	socklen_t len;
};

static void house_open(struct house *house)
{
	char why[NODE_WHY_MAX], path[64];

	assert_int_equal(rig_init(&house->rig, false), 0);
	snprintf(path, sizeof path, "@descriptors-test.%d", getpid());
	assert_int_equal(packet_address(path, &house->address, &house->len), 0);
	assert_int_equal(listener_open(&house->rig.broker.listener, &house->rig.broker,
				 strdup(path), 0600, (gid_t)-1, why),
		0);
	for (size_t i = 0; i < ARRAY_LEN(house->newcomers); i++)
		house->newcomers[i] = packet_socket();
	house->slower = connect_reader(&house->rig, 1);
	house->speaker = rig_connect(&house->rig, 3);
	tell(&house->rig, house->speaker, "HELLO 1");
	fill(&house->rig, house->speaker);
	rig_add_time(2 * SECOND);
	house->slow = connect_reader(&house->rig, 1);
	fill(&house->rig, house->speaker);
	rig_settle(&house->rig);
	assert_int_equal(count_blocked(&house->rig), 2);
}

static void house_close(struct house *house)
{
	const char *path = house->rig.broker.listener.path;

	for (size_t i = 0; i < ARRAY_LEN(house->newcomers); i++)
		close(house->newcomers[i]);
	close(house->slow);
	close(house->slower);
	close(house->speaker);
	rig_deinit(&house->rig);
	free((char *)path);
}

/* Read all there is. True when the broker has closed behind it. */
static bool is_closed(int fd)
{
	char packet[PACKET_LEN_MAX];
	ssize_t n;

	while ((n = recv(fd, packet, sizeof packet, MSG_DONTWAIT)) > 0)
		;
	return n == 0;
}

static void knock(struct house *house, int i)
{
	assert_int_equal(
		connect(house->newcomers[i], (struct sockaddr *)&house->address, house->len), 0);
	rig_settle(&house->rig);
}

static void test_longest_stuck_goes(void **state)
{
	struct house house;
	struct rlimit before;

	getrlimit(RLIMIT_NOFILE, &before);
	house_open(&house);
	exhaust();
	/* nobody has been stuck for long */
	knock(&house, 0);
	expect(house.newcomers[0], "BYE AGAIN ");
	assert_int_equal(house.rig.broker.n_turned_away, 1);
	assert_int_equal(house.rig.broker.n_cut, 0);
	/* two have: the one that has been for longer goes, for one that comes */
	rig_add_time(DESCRIPTORS_STUCK_NS);
	rig_settle(&house.rig);
	knock(&house, 1);
	assert_int_equal(house.rig.broker.n_cut, 1);
	assert_int_equal(count_blocked(&house.rig), 1);
	rig_audit(&house.rig);
	assert_true(is_closed(house.slower));
	assert_false(is_closed(house.slow));
	if (geteuid() == 0) { /* a user that has no other connection */
		tell(&house.rig, house.newcomers[1], "hello");
		expect(house.newcomers[1], "*");
	}
	/* who reads again is not stuck, however long it was */
	rig_add_time(DESCRIPTORS_STUCK_NS * 100);
	rig_settle(&house.rig);
	assert_false(is_closed(house.slow));
	exhaust();
	knock(&house, 2);
	expect(house.newcomers[2], "BYE ");
	assert_int_equal(house.rig.broker.n_cut, 1);
	setrlimit(RLIMIT_NOFILE, &before);
	house_close(&house);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_share),
		cmocka_unit_test(test_longest_stuck_goes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
