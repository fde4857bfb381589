/* packet.h - whole packets over one SOCK_SEQPACKET socket, and who is behind it.
 *
 * Nothing here blocks: unix(7), and the lessons of chat-protocol(7): a zero-length
 * packet is a close, a truncated one is told, no descriptor is taken but where it is
 * asked for.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/un.h>

/* Fill in the address of PATH; "@name" is an abstract one.
 * Errors: -EINVAL empty, -ENAMETOOLONG. */
int packet_address(const char *path, struct sockaddr_un *ret_address, socklen_t *ret_len);

/* A new socket, close-on-exec and non-blocking. Returns it or -errno. */
int packet_socket(void);

/* The user at the other end, as the kernel saw it at connect() or listen().
 * Errors: -errno of getsockopt(2). */
int packet_peer(int fd, uid_t *ret_uid, gid_t *ret_gid, pid_t *ret_pid);

/* Send the N parts as one packet. Returns 0 when it went, -EAGAIN when the
 * socket is full, another -errno when it never will. */
int packet_send(int fd, const struct iovec *parts, size_t n_parts);

enum {
	PACKET_E_CLOSED = 1, /* the other end closed, or sent a packet of length 0 */
	PACKET_E_TRUNCATED,  /* longer than SIZE: the start is there, *ret_len is SIZE */
	PACKET_E_DESCRIPTOR, /* it carried a descriptor, which was not taken */
};

/* Receive one packet of at most SIZE bytes. Returns 0, an outcome above,
 * -EAGAIN when there is none, or another -errno. A reset is passed over: what
 * was sent before it is still delivered. */
int packet_receive(int fd, char *buffer, size_t size, size_t *ret_len);

/* The most descriptors that a packet of the protocol has. */
#define PACKET_FDS_MAX 2

/* Send as packet_send() does, with N_FDS descriptors, which stay the caller's. Also fails with
 * -ETOOMANYREFS: too many are on their way. */
int packet_send_fds(
	int fd, const struct iovec *parts, size_t n_parts, const int *fds, size_t n_fds);

/* The most descriptors that the kernel lets one packet carry. */
#define PACKET_RIGHTS_MAX 253

/* Let packets with descriptors come to FD, or not: then their sender gets -EPERM. A listener hands
 * this on to the sockets that it accepts. Returns 0, or -errno: Linux before 6.16 lets them
 * come always. */
int packet_allow_rights(int fd, bool are_allowed);

/* Receive a packet of a stranger, and every descriptor of it, whatever the outcome: the kernel
 * would release what does not fit, and that can block. RET_FDS become the caller's, close-on-exec.
 * With IS_TIGHT this process has no room for so many: of more than PACKET_FDS_MAX, or of more than
 * are left, some are copied, the outcome is PACKET_E_DESCRIPTOR, and the packet stays in the
 * socket. */
int packet_receive_rights(int fd, char *buffer, size_t size, bool is_tight, size_t *ret_len,
	int ret_fds[static PACKET_RIGHTS_MAX], size_t *ret_n_fds);

/* Throw away up to N_MAX packets that wait in FD, which was shut down for reading. Returns 0 when
 * it is empty, -EAGAIN when more wait, PACKET_E_DESCRIPTOR when the next one has
 * descriptors. */
int packet_drain(int fd, unsigned n_max);

/* The same as packet_receive(), but the packet stays in the socket, which so stays readable, until
 * packet_drop() takes it. */
int packet_peek(int fd, char *buffer, size_t size, size_t *ret_len);
void packet_drop(int fd);

/* Ask for a send buffer of SIZE bytes, or as much as net.core.wmem_max allows. On
 * AF_UNIX the sender's buffer bounds both directions; there is no other. */
void packet_set_buffer(int fd, int size);
