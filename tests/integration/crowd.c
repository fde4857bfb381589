/* crowd.c - see crowd.h. */
#include "tests/integration/crowd.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "protocol/packet.h"

#define CROWDS_MAX 8

static struct crowd *crowds[CROWDS_MAX];

void crowd_need(unsigned n)
{
	struct rlimit limit;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	if (limit.rlim_max < n) {
		print_message("skipped: RLIMIT_NOFILE is %lu, %u are needed\n",
			(unsigned long)limit.rlim_max, n);
		skip();
	}
	limit.rlim_cur = limit.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

static struct crowd *crowd_new(unsigned n)
{
	struct crowd *crowd = calloc(1, sizeof *crowd);

	assert_non_null(crowd);
	crowd->fds = malloc(n * sizeof *crowd->fds);
	assert_non_null(crowd->fds);
	for (size_t i = 0; i < CROWDS_MAX; i++)
		if (!crowds[i]) {
			crowds[i] = crowd;
			return crowd;
		}
	fail_msg("too many crowds");
	return NULL;
}

static struct crowd *crowd_connect(const struct broker *broker, unsigned n, int flags)
{
	struct timeval deadline = { .tv_sec = DEADLINE_MS / 1000 };
	struct crowd *crowd = crowd_new(n);
	struct sockaddr_un address;
	socklen_t len;

	assert_int_equal(packet_address(broker->socket, &address, &len), 0);
	while (crowd->n < n) {
		int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | flags, 0);

		if (fd < 0)
			fail_msg("socket: %s", strerror(errno));
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &deadline, sizeof deadline);
		if (connect(fd, (struct sockaddr *)&address, len) < 0) {
			close(fd);
			if (flags && errno == EAGAIN)
				return crowd;
			fail_msg("connection %u: %s", crowd->n, strerror(errno));
		}
		crowd->fds[crowd->n++] = fd;
	}
	return crowd;
}

struct crowd *crowd_open(const struct broker *broker, unsigned n)
{
	return crowd_connect(broker, n, 0);
}

struct crowd *crowd_try_open(const struct broker *broker, unsigned n)
{
	return crowd_connect(broker, n, SOCK_NONBLOCK);
}

void crowd_leave(struct crowd *crowd, unsigned i)
{
	if (crowd->fds[i] >= 0)
		close(crowd->fds[i]);
	crowd->fds[i] = -1;
}

void crowd_close(struct crowd *crowd)
{
	for (size_t i = 0; i < CROWDS_MAX; i++)
		if (crowds[i] == crowd)
			crowds[i] = NULL;
	for (unsigned i = 0; i < crowd->n; i++)
		crowd_leave(crowd, i);
	free(crowd->fds);
	free(crowd);
}

void crowd_close_all(void)
{
	for (size_t i = 0; i < CROWDS_MAX; i++)
		if (crowds[i])
			crowd_close(crowds[i]);
}

void crowd_send(struct crowd *crowd, const char *packet)
{
	size_t len = strlen(packet);

	for (unsigned i = 0; i < crowd->n; i++)
		if (crowd->fds[i] >= 0 &&
			send(crowd->fds[i], packet, len, MSG_NOSIGNAL) != (ssize_t)len &&
			errno != EPIPE) /* turned away: it is told when it receives */
			fail_msg("connection %u: send: %s", i, strerror(errno));
}

struct text crowd_next(struct crowd *crowd, unsigned i)
{
	static char packet[PACKET_LEN_MAX];
	ssize_t n;

	if (!wait_fd(crowd->fds[i], POLLIN, clock_ms() + DEADLINE_MS))
		fail_msg("connection %u: nothing comes", i);
	n = recv(crowd->fds[i], packet, sizeof packet, MSG_DONTWAIT);
	if (n < 0)
		fail_msg("connection %u: recv: %s", i, strerror(errno));
	return (struct text){ n > 0 ? packet : NULL, n > 0 ? (size_t)n : 0 };
}

void crowd_await(struct crowd *crowd, const char *pattern)
{
	for (unsigned i = 0; i < crowd->n; i++) {
		struct text packet;

		if (crowd->fds[i] < 0)
			continue;
		do {
			packet = crowd_next(crowd, i);
			if (!packet.data)
				fail_msg("connection %u: closed; expected: %s", i, pattern);
		} while (!pattern_matches(pattern, packet));
	}
}
