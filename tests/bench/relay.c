/* relay.c - the physical limit: a broker that forwards whole packets and checks
 * nothing, keeps nothing, knows no names and loses what a full socket refuses.
 *
 *	relay PATH
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "protocol/packet.h"
#include "tests/bench/relay.h"

#define SUBSCRIBERS_MAX 4096
#define TURN_PACKETS    64

static struct {
	int n, fd[SUBSCRIBERS_MAX];
} topics[256];

static void forget(int fd)
{
	for (int t = 0; t < 256; t++)
		for (int i = 0; i < topics[t].n; i++)
			if (topics[t].fd[i] == fd)
				topics[t].fd[i--] = topics[t].fd[--topics[t].n];
	close(fd);
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
			if (topics[header->topic].n < SUBSCRIBERS_MAX)
				topics[header->topic].fd[topics[header->topic].n++] = fd;
			(void)!send(fd, buffer, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL);
			continue;
		}
		for (int i = 0; i < topics[header->topic].n; i++)
			(void)!send(topics[header->topic].fd[i], buffer, (size_t)n,
				MSG_DONTWAIT | MSG_NOSIGNAL);
	}
}

int main(int argc, char **argv)
{
	struct epoll_event events[256], event = { .events = EPOLLIN };
	struct sockaddr_un address;
	socklen_t len;
	int listener, ep;

	if (argc != 2 || packet_address(argv[1], &address, &len) < 0)
		return 64;
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
		int n = epoll_wait(ep, events, 256, -1);

		for (int i = 0; i < n; i++) {
			if (events[i].data.fd != listener) {
				serve(events[i].data.fd);
				continue;
			}
			event.data.fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
			if (event.data.fd < 0)
				continue;
			packet_set_buffer(event.data.fd, 8 << 20);
			epoll_ctl(ep, EPOLL_CTL_ADD, event.data.fd, &event);
		}
	}
}
