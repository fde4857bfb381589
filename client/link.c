/* link.c - see link.h. */
#include "client/link.h"

#include <errno.h>
#include <limits.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "client/passed.h"

/* Packets that are thrown away one by one when the connection is closed. */
#define DRAIN_MAX 16384

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

/* Closing a socket releases what is still queued in it, descriptors included: where there may be
 * descriptors, the socket is shut down and its queue is read first. */
static void close_socket(int fd, bool may_get_fds)
{
	if (may_get_fds && (shutdown(fd, SHUT_RDWR) < 0 || packet_drain(fd, DRAIN_MAX)))
		passed_close_any(&fd, 1);
	else
		close(fd);
}

int link_connect(struct link *link, const char *path, uid_t *ret_uid)
{
	struct sockaddr_un address;
	socklen_t len;
	gid_t gid;
	pid_t pid;
	bool may_get_fds;
	int fd, r;

	r = packet_address(path, &address, &len);
	if (r)
		return r;
	fd = packet_socket();
	if (fd < 0)
		return fd;
	may_get_fds = packet_allow_rights(fd, false) < 0;
	packet_set_buffer(fd, link->send_buffer);
	if (connect(fd, (const struct sockaddr *)&address, len) < 0)
		r = -errno;
	if (!r)
		r = packet_peer(fd, ret_uid, &gid, &pid);
	if (!r)
		r = link_watch(link, fd);
	if (r) {
		close_socket(fd, may_get_fds);
		return r;
	}
	link->socket = fd;
	link->may_get_fds = may_get_fds;
	link->is_blocked = false;
	link->is_deaf = false;
	return 0;
}

void link_close(struct link *link)
{
	if (!link_is_open(link))
		return;
	/* the thread that may close it would leave it in the set for a while */
	(void)epoll_ctl(link->epoll, EPOLL_CTL_DEL, link->socket, NULL);
	close_socket(link->socket, link->may_get_fds);
	link->socket = -1;
	link->takes_fds = link->may_get_fds = false;
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
		return LINK_E_JUNK;
	case PACKET_E_DESCRIPTOR:
		return LINK_E_PASSED;
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
		passed_close(link->fds[--link->n_fds]);
}

void link_take_fds(struct link *link)
{
	(void)packet_allow_rights(
		link->socket, true); /* where there is nothing to allow, they come */
	link->takes_fds = link->may_get_fds = true;
}

/* Of another kind than the protocol has: it is as if the descriptor had not come. Returns
 * false when it could not be closed. */
static bool link_keep_fd(struct link *link, int fd)
{
	bool is_expected = passed_is_expected(fd);

	link->fds[link->n_fds++] = is_expected ? fd : -1;
	return is_expected || passed_close_any(&fd, 1);
}

/* A packet that may come with descriptors. All of them are taken before the packet goes: the
 * kernel releases what it cannot hand over, on this thread. */
static int link_receive_fds(struct link *link, char *buffer, size_t size, size_t *ret_len)
{
	int fds[PACKET_RIGHTS_MAX], r;
	size_t n_fds = 0;

	r = packet_receive_rights(link->socket, buffer, size, true, ret_len, fds, &n_fds);
	if (r == PACKET_E_DESCRIPTOR || (n_fds > 0 && !link->takes_fds)) {
		(void)passed_close_any(fds, n_fds);
		/* so many were copied as a packet may have: it had more */
		return link->takes_fds && n_fds < PACKET_FDS_MAX ? LINK_E_NO_FDS : LINK_E_PASSED;
	}
	for (size_t i = 0; i < n_fds; i++)
		if (!link_keep_fd(link, fds[i])) {
			(void)passed_close_any(fds + i + 1, n_fds - i - 1);
			return LINK_E_PASSED;
		}
	return link_outcome(link, r);
}

int link_receive(struct link *link, char *buffer, size_t size, size_t *ret_len)
{
	link_drop_peeked(link);
	link_drop_fds(link);
	if (link->may_get_fds)
		return link_receive_fds(link, buffer, size, ret_len);
	return link_outcome(link, packet_receive(link->socket, buffer, size, ret_len));
}

int link_peek(struct link *link, char *buffer, size_t size, size_t *ret_len)
{
	int r;

	link_drop_peeked(link);
	link_drop_fds(link);
	r = packet_peek(link->socket, buffer, size, ret_len);
	if (r == PACKET_E_DESCRIPTOR)
		return link_receive_fds(link, buffer, size, ret_len);
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
