/* packet.c - see packet.h. */
#include "protocol/packet.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83 /* unix(7); headers older than Linux 6.16 do not have it */
#endif

int packet_address(const char *path, struct sockaddr_un *ret_address, socklen_t *ret_len)
{
	size_t len = strlen(path);
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	if (len == 0 || (len == 1 && path[0] == '@'))
		return -EINVAL;
	/* an abstract name is not terminated, a path is */
	if (len > sizeof address.sun_path - (path[0] == '@' ? 0 : 1))
		return -ENAMETOOLONG;
	memcpy(address.sun_path, path, len);
	if (path[0] == '@')
		address.sun_path[0] = '\0';
	*ret_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len +
			       (path[0] == '@' ? 0 : 1));
	*ret_address = address;
	return 0;
}

int packet_socket(void)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	return fd < 0 ? -errno : fd;
}

int packet_peer(int fd, uid_t *ret_uid, gid_t *ret_gid, pid_t *ret_pid)
{
	struct ucred cred;
	socklen_t len = sizeof cred;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return -errno;
	*ret_uid = cred.uid;
	*ret_gid = cred.gid;
	*ret_pid = cred.pid;
	return 0;
}

/* Room for the descriptors of one packet, aligned as the kernel wants it. */
union packet_control {
	struct cmsghdr header;
	char bytes[CMSG_SPACE(PACKET_FDS_MAX * sizeof(int))];
};

static int packet_write(int fd, const struct msghdr *msg)
{
	while (sendmsg(fd, msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
		if (errno == EINTR)
			continue;
		/* no memory for the packet now is a full socket, too */
		if (errno == EAGAIN || errno == ENOBUFS || errno == ENOMEM)
			return -EAGAIN;
		return -errno;
	}
	return 0;
}

int packet_send(int fd, const struct iovec *parts, size_t n_parts)
{
	struct msghdr msg = { .msg_iov = (struct iovec *)parts, .msg_iovlen = n_parts };

	return packet_write(fd, &msg);
}

int packet_send_fds(int fd, const struct iovec *parts, size_t n_parts, const int *fds, size_t n_fds)
{
	union packet_control control = { 0 };
	struct msghdr msg = {
		.msg_iov = (struct iovec *)parts,
		.msg_iovlen = n_parts,
		.msg_control = control.bytes,
		.msg_controllen = CMSG_SPACE(n_fds * sizeof(int)),
	};

	if (n_fds == 0 || n_fds > PACKET_FDS_MAX)
		return -EINVAL;
	control.header.cmsg_level = SOL_SOCKET;
	control.header.cmsg_type = SCM_RIGHTS;
	control.header.cmsg_len = CMSG_LEN(n_fds * sizeof(int));
	memcpy(CMSG_DATA(&control.header), fds, n_fds * sizeof(int));
	return packet_write(fd, &msg);
}

static int packet_read(
	int fd, char *buffer, size_t size, int flags, struct msghdr *msg, size_t *ret_len)
{
	struct iovec part = { buffer, size };
	ssize_t n;

	msg->msg_iov = &part;
	msg->msg_iovlen = 1;
	do
		n = recvmsg(fd, msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC | flags);
	while (n < 0 && (errno == EINTR || errno == ECONNRESET));
	if (n < 0)
		return -errno;
	*ret_len = (size_t)n;
	return 0;
}

static int packet_outcome(const struct msghdr *msg, size_t len)
{
	if (len == 0)
		return PACKET_E_CLOSED;
	return msg->msg_flags & MSG_TRUNC ? PACKET_E_TRUNCATED : 0;
}

/* Without a control buffer the kernel drops descriptors itself. */
static int packet_read_plain(int fd, char *buffer, size_t size, int flags, size_t *ret_len)
{
	struct msghdr msg = { 0 };
	size_t len = 0;
	int r = packet_read(fd, buffer, size, flags, &msg, &len);

	if (r < 0)
		return r;
	if (msg.msg_flags & MSG_CTRUNC)
		return PACKET_E_DESCRIPTOR;
	r = packet_outcome(&msg, len);
	if (r != PACKET_E_CLOSED)
		*ret_len = len;
	return r;
}

int packet_allow_rights(int fd, bool are_allowed)
{
	int value = are_allowed;

	return setsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, &value, sizeof value) < 0 ? -errno : 0;
}

int packet_receive_rights(int fd, char *buffer, size_t size, bool is_tight, size_t *ret_len,
	int ret_fds[static PACKET_RIGHTS_MAX], size_t *ret_n_fds)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(PACKET_RIGHTS_MAX * sizeof(int))];
	} control;
	struct msghdr msg = { .msg_control = control.bytes,
		.msg_controllen =
			is_tight ? CMSG_SPACE(PACKET_FDS_MAX * sizeof(int)) : sizeof control };
	struct cmsghdr *header;
	size_t n = 0, len = 0;
	int r = packet_read(fd, buffer, size, is_tight ? MSG_PEEK : 0, &msg, &len);

	if (r < 0)
		return r;
	header = CMSG_FIRSTHDR(&msg);
	if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS) {
		n = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		memcpy(ret_fds, CMSG_DATA(header), n * sizeof(int));
	}
	*ret_n_fds = n;
	if (msg.msg_flags & MSG_CTRUNC)
		return PACKET_E_DESCRIPTOR;
	/* this process has copies, so the kernel releases no last descriptor of a file now */
	if (is_tight)
		packet_drop(fd);
	r = packet_outcome(&msg, len);
	if (r != PACKET_E_CLOSED)
		*ret_len = len;
	return r;
}

/* Is there a packet, and may it be thrown away? Credentials come with each, so one of length 0 is
 * not taken for the end. Returns 0, PACKET_E_CLOSED when there is none, PACKET_E_DESCRIPTOR,
 * or -errno. */
static int packet_probe(int fd)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(struct ucred))];
	} control;
	struct msghdr msg = { .msg_control = control.bytes, .msg_controllen = sizeof control };
	size_t len;
	int r = packet_read(fd, NULL, 0, MSG_PEEK, &msg, &len);

	if (r < 0)
		return r;
	if (msg.msg_flags & MSG_CTRUNC)
		return PACKET_E_DESCRIPTOR;
	return CMSG_FIRSTHDR(&msg) ? 0 : PACKET_E_CLOSED;
}

int packet_drain(int fd, unsigned n_max)
{
	const int on = 1;
	int r;

	if (setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof on) < 0)
		return -errno;
	for (;;) {
		r = packet_probe(fd);
		if (r == PACKET_E_CLOSED)
			return 0;
		if (r)
			return r;
		if (n_max-- == 0)
			return -EAGAIN;
		packet_drop(fd);
	}
}

int packet_receive(int fd, char *buffer, size_t size, size_t *ret_len)
{
	return packet_read_plain(fd, buffer, size, 0, ret_len);
}

int packet_peek(int fd, char *buffer, size_t size, size_t *ret_len)
{
	return packet_read_plain(fd, buffer, size, MSG_PEEK, ret_len);
}

void packet_drop(int fd)
{
	size_t len;

	(void)packet_read_plain(fd, NULL, 0, 0, &len);
}

void packet_set_buffer(int fd, int size)
{
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
}
