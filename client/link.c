/* link.c - see link.h. */
#include "client/link.h"

#include <errno.h>
#include <limits.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S  1000000000u
#define NS_PER_MS 1000000u

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

uint64_t link_time(void)
{
	return clock_ns(CLOCK_REALTIME);
}

uint64_t link_now(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

int link_watch(struct link *link, int fd)
{
	struct epoll_event event = { .events = EPOLLIN, .data.fd = fd };

	return epoll_ctl(link->epoll, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

int link_init(struct link *link, uint64_t look_us, int send_buffer)
{
	int r;

	*link = (struct link){ .epoll = -1, .timer = -1, .wake = -1, .socket = -1 };
	link->send_buffer = send_buffer;
	look_init(&link->look, look_us);
	link->epoll = epoll_create1(EPOLL_CLOEXEC);
	link->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	link->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (link->epoll < 0 || link->timer < 0 || link->wake < 0)
		return -errno;
	r = link_watch(link, link->timer);
	return r ? r : link_watch(link, link->wake);
}

static void descriptor_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void link_deinit(struct link *link)
{
	link_drop_fds(link);
	descriptor_close(&link->socket);
	descriptor_close(&link->wake);
	descriptor_close(&link->timer);
	descriptor_close(&link->epoll);
}

int link_connect(struct link *link, const char *path, uid_t *ret_uid)
{
	struct sockaddr_un address;
	socklen_t len;
	gid_t gid;
	pid_t pid;
	int fd, r;

	r = packet_address(path, &address, &len);
	if (r)
		return r;
	fd = packet_socket();
	if (fd < 0)
		return fd;
	packet_set_buffer(fd, link->send_buffer);
	if (connect(fd, (const struct sockaddr *)&address, len) < 0)
		r = -errno;
	if (!r)
		r = packet_peer(fd, ret_uid, &gid, &pid);
	if (!r)
		r = link_watch(link, fd);
	if (r) {
		close(fd);
		return r;
	}
	link->socket = fd;
	link->is_blocked = false;
	link->is_deaf = false;
	return 0;
}

void link_close(struct link *link)
{
	descriptor_close(&link->socket); /* which takes it out of the epoll set */
	link->has_peeked = false;
	link->is_blocked = false;
	link->is_deaf = false;
}

static void link_set_blocked(struct link *link, bool blocked)
{
	struct epoll_event event = { .events = EPOLLIN, .data.fd = link->socket };

	if (link->is_blocked == blocked)
		return;
	if (blocked)
		event.events |= EPOLLOUT;
	if (epoll_ctl(link->epoll, EPOLL_CTL_MOD, link->socket, &event) == 0)
		link->is_blocked = blocked;
}

/* What became of a packet: see link_send(). */
static int link_sent(struct link *link, int r)
{
	if (r == -EPIPE || r == -ECONNRESET) {
		link->is_deaf = true;
		link_set_blocked(link, false); /* or EPOLLOUT would never be quiet */
		return -EAGAIN;
	}
	if (!r || r == -EAGAIN)
		link_set_blocked(link, r == -EAGAIN);
	return r;
}

int link_send(struct link *link, const struct iovec *parts, size_t n_parts)
{
	if (link->is_deaf)
		return -EAGAIN;
	return link_sent(link, packet_send(link->socket, parts, n_parts));
}

int link_send_fds(
	struct link *link, const struct iovec *parts, size_t n_parts, const int *fds, size_t n_fds)
{
	if (link->is_deaf)
		return -EAGAIN;
	return link_sent(link, packet_send_fds(link->socket, parts, n_parts, fds, n_fds));
}

static int link_outcome(const struct link *link, int r)
{
	switch (r) {
	case PACKET_E_CLOSED:
		return LINK_E_CLOSED;
	case PACKET_E_TRUNCATED:
	case PACKET_E_DESCRIPTOR:
		return LINK_E_JUNK;
	case -EAGAIN:
		return link->is_deaf ? LINK_E_CLOSED : -EAGAIN;
	default:
		return r;
	}
}

static void link_drop_peeked(struct link *link)
{
	if (link->has_peeked)
		packet_drop(link->socket);
	link->has_peeked = false;
}

void link_drop_fds(struct link *link)
{
	while (link->n_fds > 0)
		close(link->fds[--link->n_fds]);
}

int link_receive(struct link *link, char *buffer, size_t size, size_t *ret_len)
{
	link_drop_peeked(link);
	link_drop_fds(link);
	if (!link->takes_fds)
		return link_outcome(link, packet_receive(link->socket, buffer, size, ret_len));
	return link_outcome(link,
		packet_receive_fds(link->socket, buffer, size, ret_len, link->fds, &link->n_fds));
}

int link_peek(struct link *link, char *buffer, size_t size, size_t *ret_len)
{
	int r;

	link_drop_peeked(link);
	link_drop_fds(link);
	/* a packet that is dropped later takes other descriptors along than those peeked at */
	r = link->takes_fds
		    ? packet_peek_fds(link->socket, buffer, size, ret_len, link->fds, &link->n_fds)
		    : packet_peek(link->socket, buffer, size, ret_len);
	link->has_peeked = r == 0;
	return link_outcome(link, r);
}

void link_set_timer(struct link *link, uint64_t when_ns)
{
	struct itimerspec when = {
		.it_value.tv_sec = (time_t)(when_ns / NS_PER_S),
		.it_value.tv_nsec = (long)(when_ns % NS_PER_S),
	};

	(void)timerfd_settime(link->timer, TFD_TIMER_ABSTIME, &when, NULL);
}

void link_set_awake(struct link *link, bool awake)
{
	uint64_t value = 1;
	ssize_t n;

	if (link->is_awake == awake)
		return;
	n = awake ? write(link->wake, &value, sizeof value)
		  : read(link->wake, &value, sizeof value);
	(void)n; /* neither can fail: the counter is 0 or 1 and this the only user */
	link->is_awake = awake;
}

int link_wait(struct link *link, uint64_t deadline_ns)
{
	struct epoll_event event;
	uint64_t now, left;
	int timeout = -1;

	link_set_awake(link, false); /* the caller knows what it has */
	if (deadline_ns != UINT64_MAX) {
		now = link_now();
		left = deadline_ns > now ? (deadline_ns - now + NS_PER_MS - 1) / NS_PER_MS : 0;
		timeout = left > INT_MAX ? INT_MAX : (int)left;
	}
	return look_wait(&link->look, link->epoll, &event, 1, timeout) < 0 && errno == EINTR
		       ? -EINTR
		       : 0;
}
