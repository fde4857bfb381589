/* packet_test.c - whole packets over a SOCK_SEQPACKET socket: unix(7). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "protocol/base.h"
#include "protocol/limits.h"
#include "protocol/packet.h"
#include "tests/unit/exact.h"

struct pair {
	int a, b;
};

static struct pair pair_open(void)
{
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
	return (struct pair){ fds[0], fds[1] };
}

static void pair_close(struct pair *pair)
{
	if (pair->a >= 0)
		close(pair->a);
	if (pair->b >= 0)
		close(pair->b);
}

static int send_bytes(int fd, const void *data, size_t len)
{
	struct iovec part = { (void *)data, len };

	return packet_send(fd, &part, 1);
}

static int open_descriptors(void)
{
	int n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void test_address(void **state)
{
	char name[120];
	static const struct {
		char first;
		size_t len;
		int result;
	} table[] = {
		{ '/', 0, -EINVAL },
		{ '/', 1, 0 },
		{ '/', 106, 0 },
		{ '/', 107, 0 },
		{ '/', 108, -ENAMETOOLONG },
		{ '/', 119, -ENAMETOOLONG },
		{ '@', 1, -EINVAL },
		{ '@', 2, 0 },
		{ '@', 107, 0 },
		{ '@', 108, 0 }, /* not terminated, so one more */
		{ '@', 109, -ENAMETOOLONG },
	};

	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		struct sockaddr_un address;
		socklen_t len = 1234;
		bool is_path = table[i].first == '/';

		memset(name, 'x', sizeof name);
		name[0] = table[i].first;
		name[table[i].len] = '\0';
		EXACT(path, ((struct text){ name, table[i].len + 1 }));
		if (packet_address(path.data, &address, &len) != table[i].result)
			fail_msg("row %zu: not %d", i, table[i].result);
		if (table[i].result) {
			assert_int_equal(len, 1234);
			continue;
		}
		assert_int_equal(address.sun_family, AF_UNIX);
		assert_int_equal(
			len, offsetof(struct sockaddr_un, sun_path) + table[i].len + is_path);
		assert_int_equal(address.sun_path[0], is_path ? '/' : '\0');
		assert_memory_equal(address.sun_path + 1, name + 1, table[i].len - 1);
		if (is_path)
			assert_int_equal(address.sun_path[table[i].len], '\0');
	}
}

/* Two real sockets find each other by an address, and see who the other is. */
static void test_connect_and_peer(void **state)
{
	struct sockaddr_un address;
	socklen_t len;
	char name[64];
	int listener = packet_socket(), client = packet_socket(), server;
	uid_t uid = 0x5555;
	gid_t gid = 0x5555;
	pid_t pid = 0x5555;

	snprintf(name, sizeof name, "@packet-test-%ld", (long)getpid());
	assert_true(listener >= 0 && client >= 0);
	assert_true(fcntl(client, F_GETFD) & FD_CLOEXEC);
	assert_true(fcntl(client, F_GETFL) & O_NONBLOCK);
	assert_int_equal(packet_address(name, &address, &len), 0);
	assert_int_equal(connect(client, (struct sockaddr *)&address, len), -1);
	assert_int_equal(errno, ECONNREFUSED);
	assert_int_equal(bind(listener, (struct sockaddr *)&address, len), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(connect(client, (struct sockaddr *)&address, len), 0);
	server = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	assert_true(server >= 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(packet_peer(i ? server : client, &uid, &gid, &pid), 0);
		assert_int_equal(uid, geteuid());
		assert_int_equal(gid, getegid());
		assert_int_equal(pid, getpid());
	}
	close(server);
	close(client);
	close(listener);
	assert_int_equal(packet_peer(listener, &uid, &gid, &pid), -EBADF);
}

/* One send, one receive, borders kept, parts joined. */
static void test_packets_keep_their_borders(void **state)
{
	_cleanup_(pair_close) struct pair pair = pair_open();
	const struct iovec parts[] = { { (char[]){ "#1" }, 2 }, { (char[]){ "" }, 0 },
		{ (char[]){ " * " }, 3 }, { (char[]){ "7" }, 1 } };
	char buffer[64];
	size_t len = 77;

	assert_int_equal(packet_receive(pair.b, buffer, sizeof buffer, &len), -EAGAIN);
	assert_int_equal(len, 77);
	assert_int_equal(packet_send(pair.a, parts, ARRAY_LEN(parts)), 0);
	assert_int_equal(send_bytes(pair.a, "PING", 4), 0);
	assert_int_equal(packet_receive(pair.b, buffer, sizeof buffer, &len), 0);
	assert_int_equal(len, 6);
	assert_memory_equal(buffer, "#1 * 7", 6);
	assert_int_equal(packet_receive(pair.b, buffer, sizeof buffer, &len), 0);
	assert_int_equal(len, 4);
	assert_memory_equal(buffer, "PING", 4);
	assert_int_equal(packet_receive(pair.b, buffer, sizeof buffer, &len), -EAGAIN);
}

/* A packet that was peeked at is there until it is dropped; then the next one is. */
static void test_peek(void **state)
{
	_cleanup_(pair_close) struct pair pair = pair_open();
	char buffer[4];
	size_t len;

	assert_int_equal(packet_peek(pair.b, buffer, sizeof buffer, &len), -EAGAIN);
	assert_int_equal(send_bytes(pair.a, "one", 3), 0);
	assert_int_equal(send_bytes(pair.a, "longer", 6), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(packet_peek(pair.b, buffer, sizeof buffer, &len), 0);
		assert_int_equal(len, 3);
		assert_memory_equal(buffer, "one", 3);
	}
	packet_drop(pair.b);
	assert_int_equal(packet_peek(pair.b, buffer, sizeof buffer, &len), PACKET_E_TRUNCATED);
	assert_memory_equal(buffer, "long", 4);
	packet_drop(pair.b);
	assert_int_equal(packet_receive(pair.b, buffer, sizeof buffer, &len), -EAGAIN);
	/* a reset in between drops nothing else */
	assert_int_equal(send_bytes(pair.a, "one", 3), 0);
	assert_int_equal(send_bytes(pair.a, "two", 3), 0);
	assert_int_equal(send_bytes(pair.b, "unread", 6), 0);
	assert_int_equal(packet_peek(pair.b, buffer, sizeof buffer, &len), 0);
	close(pair.a);
	pair.a = -1;
	packet_drop(pair.b);
	assert_int_equal(packet_peek(pair.b, buffer, sizeof buffer, &len), 0);
	assert_memory_equal(buffer, "two", 3);
	packet_drop(pair.b);
	assert_int_equal(packet_peek(pair.b, buffer, sizeof buffer, &len), PACKET_E_CLOSED);
}

static void test_largest(void **state)
{
	_cleanup_(pair_close) struct pair pair = pair_open();
	_cleanup_(exact_freep) char *out = malloc(PACKET_LEN_MAX), *in = malloc(PACKET_LEN_MAX);
	size_t len;

	memset(out, 'x', PACKET_LEN_MAX);
	assert_int_equal(send_bytes(pair.a, out, PACKET_LEN_MAX), 0);
	assert_int_equal(packet_receive(pair.b, in, PACKET_LEN_MAX, &len), 0);
	assert_int_equal(len, PACKET_LEN_MAX);
	assert_memory_equal(in, out, PACKET_LEN_MAX);
}

/* Too long for the buffer: the start is there, the rest is gone, the next is whole. */
static void test_truncated(void **state)
{
	_cleanup_(pair_close) struct pair pair = pair_open();
	_cleanup_(exact_freep) char *buffer = malloc(4);
	size_t len = 0;

	assert_int_equal(send_bytes(pair.a, "01234", 5), 0);
	assert_int_equal(send_bytes(pair.a, "abcd", 4), 0);
	assert_int_equal(packet_receive(pair.b, buffer, 4, &len), PACKET_E_TRUNCATED);
	assert_int_equal(len, 4);
	assert_memory_equal(buffer, "0123", 4);
	assert_int_equal(packet_receive(pair.b, buffer, 4, &len), 0);
	assert_int_equal(len, 4);
	assert_memory_equal(buffer, "abcd", 4);
}

static void test_closed(void **state)
{
	_cleanup_(pair_close) struct pair pair = pair_open();
	char buffer[8];
	size_t len;

	assert_int_equal(send_bytes(pair.a, "last", 4), 0);
	close(pair.a);
	pair.a = -1;
	assert_int_equal(packet_receive(pair.b, buffer, sizeof buffer, &len), 0);
	assert_int_equal(len, 4);
	assert_int_equal(packet_receive(pair.b, buffer, sizeof buffer, &len), PACKET_E_CLOSED);
	assert_int_equal(packet_receive(pair.b, buffer, sizeof buffer, &len), PACKET_E_CLOSED);
	/* no SIGPIPE: this process would be gone */
	assert_int_equal(send_bytes(pair.b, "x", 1), -EPIPE);
}

/* An empty packet can not be told from the end, so it is one. */
static void test_empty_packet(void **state)
{
	_cleanup_(pair_close) struct pair pair = pair_open();
	char buffer[8];
	size_t len;

	assert_int_equal(send(pair.a, "", 0, 0), 0);
	assert_int_equal(packet_receive(pair.b, buffer, sizeof buffer, &len), PACKET_E_CLOSED);
}

/* A peer that leaves without having read everything resets the connection; what
 * it had sent before is not lost with it. */
static void test_reset_loses_nothing(void **state)
{
	_cleanup_(pair_close) struct pair pair = pair_open();
	char buffer[8];
	size_t len;

	assert_int_equal(send_bytes(pair.b, "unread", 6), 0);
	assert_int_equal(send_bytes(pair.a, "one", 3), 0);
	assert_int_equal(send_bytes(pair.a, "two", 3), 0);
	close(pair.a);
	pair.a = -1;
	assert_int_equal(packet_receive(pair.b, buffer, sizeof buffer, &len), 0);
	assert_memory_equal(buffer, "one", 3);
	assert_int_equal(packet_receive(pair.b, buffer, sizeof buffer, &len), 0);
	assert_memory_equal(buffer, "two", 3);
	assert_int_equal(packet_receive(pair.b, buffer, sizeof buffer, &len), PACKET_E_CLOSED);
}

/* A full socket says so, takes no part of a packet, and goes on later. */
static void test_full(void **state)
{
	_cleanup_(pair_close) struct pair pair = pair_open();
	char out[1000], in[1000];
	size_t n_sent = 0, n_received = 0, len;
	int r;

	memset(out, 'x', sizeof out);
	while ((r = send_bytes(pair.a, out, sizeof out)) == 0)
		assert_true(++n_sent < 100000);
	assert_int_equal(r, -EAGAIN);
	assert_true(n_sent > 0);
	while ((r = packet_receive(pair.b, in, sizeof in, &len)) == 0) {
		assert_int_equal(len, sizeof in);
		n_received++;
	}
	assert_int_equal(r, -EAGAIN);
	assert_int_equal(n_received, n_sent);
	assert_int_equal(send_bytes(pair.a, out, sizeof out), 0);
}

/* Above the send buffer it never will go, and must not be tried for ever. */
static void test_never_fits(void **state)
{
	_cleanup_(pair_close) struct pair pair = pair_open();
	size_t size = 64u << 20;
	_cleanup_(exact_freep) char *out = calloc(1, size);

	assert_non_null(out);
	assert_int_equal(send_bytes(pair.a, out, size), -EMSGSIZE);
}

static void test_buffer(void **state)
{
	_cleanup_(pair_close) struct pair pair = pair_open();
	int size;
	socklen_t len = sizeof size;

	packet_set_buffer(pair.a, 32768);
	assert_int_equal(getsockopt(pair.a, SOL_SOCKET, SO_SNDBUF, &size, &len), 0);
	assert_int_equal(size, 65536); /* the kernel doubles it, socket(7) */
	packet_set_buffer(pair.a, 1 << 30);
	assert_int_equal(getsockopt(pair.a, SOL_SOCKET, SO_SNDBUF, &size, &len), 0);
	assert_true(size >= 65536);
	packet_set_buffer(-1, 1); /* nothing to say */
}

static ssize_t try_send_descriptors(int fd, size_t n, const char *data)
{
	union {
		char bytes[CMSG_SPACE(8 * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec part = { (void *)data, strlen(data) };
	struct msghdr msg = { .msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = CMSG_SPACE(n * sizeof(int)) };
	struct cmsghdr *cmsg;
	int fds[8] = { 0 };

	assert_true(n <= ARRAY_LEN(fds));
	memset(&control, 0, sizeof control);
	cmsg = CMSG_FIRSTHDR(&msg);
	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(n * sizeof(int));
	memcpy(CMSG_DATA(cmsg), fds, n * sizeof(int));
	return sendmsg(fd, &msg, MSG_NOSIGNAL);
}

static void send_descriptors(int fd, size_t n, const char *data)
{
	assert_int_equal(try_send_descriptors(fd, n, data), strlen(data));
}

/* Descriptors that nobody asked for are told, and never installed. */
static void test_descriptors_are_refused(void **state)
{
	static const size_t counts[] = { 1, 2, 8 };
	_cleanup_(pair_close) struct pair pair = pair_open();
	char buffer[8];
	size_t len;

	for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
		int before = open_descriptors();

		send_descriptors(pair.a, counts[i], "PING");
		assert_int_equal(
			packet_receive(pair.b, buffer, sizeof buffer, &len), PACKET_E_DESCRIPTOR);
		assert_int_equal(open_descriptors(), before);
	}
	assert_int_equal(send_bytes(pair.a, "PING", 4), 0);
	assert_int_equal(packet_receive(pair.b, buffer, sizeof buffer, &len), 0);
	assert_int_equal(len, 4);
}

/* All that a packet carries is the caller's, also of one without bytes. */
static void test_rights(void **state)
{
	static const struct {
		size_t n;
		bool is_tight;
		const char *data;
		int outcome;
		size_t n_received;
		bool stays;
	} table[] = {
		{ 0, false, "PING", 0, 0, false },
		{ 8, false, "PING", 0, 8, false },
		{ 8, false, "longer than that", PACKET_E_TRUNCATED, 8, false },
		{ 8, false, "", PACKET_E_CLOSED, 8, false },
		{ 0, true, "PING", 0, 0, false },
		{ 2, true, "PING", 0, 2, false },
		{ 2, true, "", PACKET_E_CLOSED, 2, false },
		{ 8, true, "PING", PACKET_E_DESCRIPTOR, 2, true },
	};
	char buffer[8];
	size_t len, n;

	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		_cleanup_(pair_close) struct pair pair = pair_open();
		int before = open_descriptors(), fds[PACKET_RIGHTS_MAX];

		if (table[i].n > 0)
			send_descriptors(pair.a, table[i].n, table[i].data);
		else
			send_bytes(pair.a, table[i].data, strlen(table[i].data));
		assert_int_equal(packet_receive_rights(pair.b, buffer, sizeof buffer,
					 table[i].is_tight, &len, fds, &n),
			table[i].outcome);
		assert_int_equal(n, table[i].n_received);
		assert_int_equal(open_descriptors(), before + (int)n);
		while (n > 0)
			close(fds[--n]);
		assert_int_equal(packet_receive(pair.b, buffer, sizeof buffer, &len),
			table[i].stays ? PACKET_E_DESCRIPTOR : -EAGAIN);
	}
}

static void test_drain(void **state)
{
	static const struct {
		const char *data[3];
		size_t n, n_descriptors; /* of the last one */
		int outcome;
	} table[] = {
		{ { NULL }, 0, 0, 0 },
		{ { "one", "two" }, 2, 0, 0 },
		{ { "one", "two", "three" }, 3, 0, -EAGAIN },
		{ { "" }, 1, 0, 0 },
		{ { "", "two" }, 2, 1, PACKET_E_DESCRIPTOR },
		{ { "one", "" }, 2, 1, PACKET_E_DESCRIPTOR },
	};

	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		_cleanup_(pair_close) struct pair pair = pair_open();
		int before;

		for (size_t k = 0; k < table[i].n; k++)
			if (k + 1 == table[i].n && table[i].n_descriptors > 0)
				send_descriptors(pair.a, table[i].n_descriptors, table[i].data[k]);
			else
				send_bytes(pair.a, table[i].data[k], strlen(table[i].data[k]));
		assert_int_equal(shutdown(pair.b, SHUT_RD), 0);
		before = open_descriptors();
		assert_int_equal(packet_drain(pair.b, 2), table[i].outcome);
		assert_int_equal(packet_drain(pair.b, 2),
			table[i].n_descriptors > 0 ? PACKET_E_DESCRIPTOR : 0);
		assert_int_equal(open_descriptors(), before);
		assert_int_equal(send_bytes(pair.a, "more", 4), -EPIPE);
	}
}

/* Where the kernel can refuse descriptors, their sender is told. */
static void test_rights_are_refused(void **state)
{
	_cleanup_(pair_close) struct pair pair = pair_open();

	if (packet_allow_rights(pair.b, false) < 0)
		skip(); /* Linux before 6.16 */
	errno = 0;
	assert_int_equal(try_send_descriptors(pair.a, 1, "PING"), -1);
	assert_int_equal(errno, EPERM);
	assert_int_equal(packet_allow_rights(pair.b, true), 0);
	send_descriptors(pair.a, 1, "PING");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_address),
		cmocka_unit_test(test_connect_and_peer),
		cmocka_unit_test(test_packets_keep_their_borders),
		cmocka_unit_test(test_peek),
		cmocka_unit_test(test_largest),
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_closed),
		cmocka_unit_test(test_empty_packet),
		cmocka_unit_test(test_reset_loses_nothing),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_never_fits),
		cmocka_unit_test(test_buffer),
		cmocka_unit_test(test_descriptors_are_refused),
		cmocka_unit_test(test_rights),
		cmocka_unit_test(test_drain),
		cmocka_unit_test(test_rights_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
