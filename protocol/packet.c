/* packet.c - see packet.h. */
#include "protocol/packet.h"

#include <errno.h>
#include <string.h>

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

int packet_send(int fd, const struct iovec *parts, size_t n_parts)
{
	struct msghdr msg = { .msg_iov = (struct iovec *)parts, .msg_iovlen = n_parts };

	while (sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
		if (errno == EINTR)
			continue;
		/* no memory for the packet now is a full socket, too */
		if (errno == EAGAIN || errno == ENOBUFS || errno == ENOMEM)
			return -EAGAIN;
		return -errno;
	}
	return 0;
}

static int packet_read(int fd, char *buffer, size_t size, int flags, size_t *ret_len)
{
	struct iovec part = { buffer, size };
	struct msghdr msg = { .msg_iov = &part, .msg_iovlen = 1 };
	ssize_t n;

	do {
		/* without a control buffer the kernel drops descriptors itself */
		n = recvmsg(fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC | flags);
	} while (n < 0 && (errno == EINTR || errno == ECONNRESET));
	if (n < 0)
		return -errno;
	if (msg.msg_flags & MSG_CTRUNC)
		return PACKET_E_DESCRIPTOR;
	if (n == 0)
		return PACKET_E_CLOSED;
	*ret_len = (size_t)n;
	return msg.msg_flags & MSG_TRUNC ? PACKET_E_TRUNCATED : 0;
}

int packet_receive(int fd, char *buffer, size_t size, size_t *ret_len)
{
	return packet_read(fd, buffer, size, 0, ret_len);
}

int packet_peek(int fd, char *buffer, size_t size, size_t *ret_len)
{
	return packet_read(fd, buffer, size, MSG_PEEK, ret_len);
}

void packet_drop(int fd)
{
	size_t len;

	(void)packet_read(fd, NULL, 0, 0, &len);
}

void packet_set_buffer(int fd, int size)
{
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
}
