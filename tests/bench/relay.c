/* relay.c - the physical limit: a broker that forwards whole packets and checks
 * nothing, keeps nothing, knows no names, and waits for whoever does not read.
 *
 *	relay PATH SEND_BUFFER LOOK
 *
 * SEND_BUFFER is given to SO_SNDBUF, 0 leaves the kernel's. LOOK is how many
 * microseconds it looks for packets, yielding, before it sleeps.
 */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "protocol/base.h"
#include "protocol/packet.h"
#include "tests/bench/relay.h"

#define SUBSCRIBERS_MAX 16384
#define TURN_PACKETS    64

static struct {
	int n, fd[SUBSCRIBERS_MAX];
} topics[256];

static void forget(int fd)
{
	for (size_t t = 0; t < ARRAY_LEN(topics); t++)
		for (int i = 0; i < topics[t].n; i++)
			if (topics[t].fd[i] == fd)
				topics[t].fd[i--] = topics[t].fd[--topics[t].n];
	close(fd);
}

static void subscribe(int topic, int fd)
{
	char done = 'S';

	if (topics[topic].n < SUBSCRIBERS_MAX)
		topics[topic].fd[topics[topic].n++] = fd;
	(void)!send(fd, &done, sizeof done, MSG_NOSIGNAL);
}

static void serve(int fd)
{
	static char buffer[RELAY_PACKET];
	const struct relay_header *header = (const void *)buffer;

	for (int k = 0; k < TURN_PACKETS; k++) {
		ssize_t n = recv(fd, buffer, sizeof buffer, MSG_DONTWAIT);

		if (n <= 0) {
			if (n == 0 || errno != EAGAIN)
				forget(fd);
			return;
		}
		if (header->op == 'S') {
			subscribe(header->topic, fd);
			continue;
		}
		for (int i = 0; i < topics[header->topic].n; i++)
			(void)!send(topics[header->topic].fd[i], buffer, (size_t)n, MSG_NOSIGNAL);
	}
}

static uint64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

/* Wait for events, after a look. */
static int wait_events(int ep, struct epoll_event *events, int max, uint64_t look_us)
{
	uint64_t until = look_us ? now_us() + look_us : 0;
	int n = 0;

	while (look_us && (n = epoll_wait(ep, events, max, 0)) == 0 && now_us() < until)
		sched_yield();
	return n > 0 ? n : epoll_wait(ep, events, max, -1);
}

static void let_in(int ep, int listener, int send_buffer)
{
	struct epoll_event event = { .events = EPOLLIN };

	event.data.fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (event.data.fd < 0)
		return;
	if (send_buffer)
		packet_set_buffer(event.data.fd, send_buffer);
	epoll_ctl(ep, EPOLL_CTL_ADD, event.data.fd, &event);
}

int main(int argc, char **argv)
{
	struct epoll_event events[256], event = { .events = EPOLLIN };
	struct sockaddr_un address;
	socklen_t len;
	uint64_t look_us;
	int listener, ep;

	if (argc != 4 || packet_address(argv[1], &address, &len) < 0)
		return 64;
	look_us = strtoull(argv[3], NULL, 10);
	listener = packet_socket();
	ep = epoll_create1(EPOLL_CLOEXEC);
	if (listener < 0 || ep < 0 || bind(listener, (void *)&address, len) < 0 ||
		listen(listener, SOMAXCONN) < 0) {
		perror("relay");
		return 71;
	}
	event.data.fd = listener;
	epoll_ctl(ep, EPOLL_CTL_ADD, listener, &event);
	fprintf(stderr, "ready\n");
	for (;;) {
		int n = wait_events(ep, events, ARRAY_LEN(events), look_us);

		for (int i = 0; i < n; i++) {
			if (events[i].data.fd == listener)
				let_in(ep, listener, atoi(argv[2]));
			else
				serve(events[i].data.fd);
		}
	}
}
