/* link.h - the descriptors of a chat: one connection to the broker at a time, the
 * timer of the next attempt, and the one epoll descriptor that holds them all.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "protocol/look.h"
#include "protocol/packet.h"

struct link {
	int epoll; /* owned, as are the others; -1 when not open */
	int timer; /* readable from the time of the next attempt on */
	int wake;  /* eventfd, readable while is_awake */
	int socket;
	int send_buffer;
	struct look look;
	bool has_peeked; /* the packet at the head of the socket was received */
	bool is_awake;
	bool is_blocked;         /* the socket was full; EPOLLOUT is asked for */
	bool is_deaf;            /* the other end does not read any more */
	bool takes_fds;          /* descriptors were asked for */
	bool may_get_fds;        /* or cannot be prevented: Linux before 6.16 */
	int fds[PACKET_FDS_MAX]; /* that came with the last packet; owned until it takes them;
				    -1: one that was of no use */
	size_t n_fds;
};

/* Nanoseconds since the epoch, CLOCK_REALTIME: what the broker stamps messages with. */
uint64_t link_time(void);

/* Nanoseconds of CLOCK_MONOTONIC. */
uint64_t link_now(void);

/* What the kernel may hold of what was sent: fewer wake-ups. Bytes, of which it gives
 * twice as many, but not above net.core.wmem_max. */
#define LINK_SEND_BUFFER_DEFAULT (1 << 20)
#define LINK_SEND_BUFFER_MAX     (1 << 30)

/* Make LINK ready for link_deinit(), then open all but the socket. LOOK_US: see
 * protocol/look.h. 0 or -errno. */
int link_init(struct link *link, uint64_t look_us, int send_buffer);
void link_deinit(struct link *link);

/* Connect to PATH, at once or not at all. On success RET_UID is the broker's user.
 * Errors: -ECONNREFUSED, -ENOENT nobody there; -EAGAIN its backlog is full; others. */
int link_connect(struct link *link, const char *path, uid_t *ret_uid);
/* Never waits for what the broker passed. Not in a child of fork(2): it shuts down. */
void link_close(struct link *link);

static inline bool link_is_open(const struct link *link)
{
	return link->socket >= 0;
}

/* Send one packet. Returns 0, -EAGAIN (EPOLLOUT is then asked for), or an error
 * after which the connection is of no use. When the other end is gone it says
 * -EAGAIN too: link_receive() will tell after the last packet. */
int link_send(struct link *link, const struct iovec *parts, size_t n_parts);

enum {
	LINK_E_CLOSED = 1,
	LINK_E_JUNK,   /* too long */
	LINK_E_PASSED, /* with descriptors that nobody asked for */
	LINK_E_NO_FDS, /* with descriptors for which this process has no numbers left */
};

/* Let descriptors come on this connection: before they are asked for. */
void link_take_fds(struct link *link);

/* Receive one packet of at most SIZE bytes.
 * Returns 0, -EAGAIN, an outcome above, or another error. */
int link_receive(struct link *link, char *buffer, size_t size, size_t *ret_len);

/* Receive one packet as link_receive() does. Unless the packet came with descriptors, the epoll
 * descriptor stays readable until the next packet is asked for. So a program that polls that
 * descriptor comes back for the rest of this packet. The function is cheaper than
 * link_set_awake(). */
int link_peek(struct link *link, char *buffer, size_t size, size_t *ret_len);

/* Close the descriptors that came and were not taken. */
void link_drop_fds(struct link *link);

/* The same as link_send(), with descriptors, which stay the caller's. */
int link_send_fds(
	struct link *link, const struct iovec *parts, size_t n_parts, const int *fds, size_t n_fds);

/* Let the epoll descriptor be readable with FD, too. 0 or -errno. */
int link_watch(struct link *link, int fd);

/* Make the timer readable at WHEN_NS; 0: never. */
void link_set_timer(struct link *link, uint64_t when_ns);

/* Make the epoll descriptor readable, or not, whatever the socket says. */
void link_set_awake(struct link *link, bool awake);

/* Sleep until something happens or DEADLINE_NS (UINT64_MAX: none).
 * Returns 0, or -EINTR. */
int link_wait(struct link *link, uint64_t deadline_ns);
