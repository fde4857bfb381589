/* passed_test.c - a hostile broker passes descriptors whose last close waits: no call of
 * libchat waits with it. libchat(3), SECURITY CONSIDERATIONS. */
#include "tests/unit/fake.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "client/passed.h"
#include "protocol/packet.h"
#include "protocol/sealed.h"

#define LINGER_S    20
#define CALL_MS_MAX 1000
#define PASSED_MAX  253

#define RING_FRAME "RING room bob 7 p=000000000000000a nonce=000000000000000b at=0 seq=1"

/* ---- what the kernel is ---- */

static bool is_old_kernel;

int __real_packet_allow_rights(int fd, bool are_allowed);
int __wrap_packet_allow_rights(int fd, bool are_allowed);

/* Linux before 6.16. */
int __wrap_packet_allow_rights(int fd, bool are_allowed)
{
	return is_old_kernel ? -ENOPROTOOPT : __real_packet_allow_rights(fd, are_allowed);
}

static bool kernel_can_refuse(void)
{
	int fd = packet_socket();
	bool can = fd >= 0 && __real_packet_allow_rights(fd, false) == 0;

	close(fd);
	return can;
}

/* ---- what is passed ---- */

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* A TCP socket with data that nobody reads: its last close waits for LINGER_S. The other ends
 * stay open until the test is over. */
static int lingering(void)
{
	static const char bytes[65536];
	const struct linger linger = { 1, LINGER_S };
	struct sockaddr_in address = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof address;
	int size = 4096, listener, fd;

	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(listener >= 0);
	assert_int_equal(setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &size, sizeof size), 0);
	assert_int_equal(bind(listener, (struct sockaddr *)&address, len), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &len), 0);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, len), 0);
	while (send(fd, bytes, sizeof bytes, MSG_DONTWAIT) > 0)
		;
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger), 0);
	return fd;
}

/* Send TEXT with N descriptors. Returns false when the kernel refuses them. */
static bool pass(struct fake *fake, const char *text, const int *fds, size_t n)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(PASSED_MAX * sizeof(int))];
	} control = { 0 };
	struct iovec part = { (char *)text, strlen(text) };
	struct msghdr msg = { .msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = CMSG_SPACE(n * sizeof(int)) };

	control.header.cmsg_level = SOL_SOCKET;
	control.header.cmsg_type = SCM_RIGHTS;
	control.header.cmsg_len = CMSG_LEN(n * sizeof(int));
	memcpy(CMSG_DATA(&control.header), fds, n * sizeof(int));
	if (sendmsg(fake->fd, &msg, MSG_NOSIGNAL) >= 0)
		return true;
	if (errno != EPERM)
		fake_fail(fake, "to pass descriptors");
	return false;
}

/* Send TEXT with N lingering sockets; the client has the last reference then. */
static bool pass_lingering(struct fake *fake, const char *text, size_t n)
{
	int fds[PASSED_MAX], fd = lingering();
	bool r;

	for (size_t i = 0; i < n; i++)
		fds[i] = fd; /* one file, passed often */
	r = pass(fake, text, fds, n);
	if (r)
		close(fd);
	return r;
}

/* ---- the script and the test, in turns ---- */

static sem_t is_passed, is_called;

static void tell(sem_t *semaphore)
{
	sem_post(semaphore);
}

static void await(sem_t *semaphore)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += DEADLINE_MS / 1000;
	if (sem_timedwait(semaphore, &until) < 0)
		abort();
}

static void start(struct fake **ret_fake, void (*script)(struct fake *fake))
{
	sem_init(&is_passed, 0, 0);
	sem_init(&is_called, 0, 0);
	*ret_fake = fake_start(script);
}

static struct chat *open_fast(const struct fake *fake)
{
	struct chat *chat = open_chat(fake, false, false);

	assert_int_equal(chat_join(chat, "room", CHAT_NEW, 0, CHAT_FAST, NULL), 0);
	return chat;
}

static void greet_fast(struct fake *fake)
{
	fake_greet(fake);
	fake_expect(fake, "FAST");
	fake_answer(fake, "*");
	fake_join(fake, "room new ring", "* 1 first=1 log=" LOG_A " mode=ephemeral");
}

/* ---- before anybody asks for the fast path ---- */

static void script_not_asked(struct fake *fake)
{
	fake_greet(fake);
	if (pass_lingering(fake, "MSG room 1 1 bob 7\nx", 1))
		fake_send(fake, "BYE NEVER reached");
	tell(&is_passed);
	await(&is_called);
}

static void check_not_asked(bool is_polled)
{
	struct chat_event event;
	struct fake *fake;
	struct chat *chat;
	uint64_t begin;
	int r;

	start(&fake, script_not_asked);
	chat = open_chat(fake, false, false);
	if (is_polled)
		assert_true(chat_fd(chat) >= 0);
	await(&is_passed);
	begin = now_ms();
	do
		r = chat_receive(chat, &event, 100);
	while (r == 1 && event.type != CHAT_DOWN);
	if (is_old_kernel || !kernel_can_refuse()) {
		/* not tried again: it would be passed again */
		assert_int_equal(r, 1);
		assert_true(event.ended);
		assert_non_null(strstr(event.text, "nobody asked for"));
		assert_int_equal(chat_receive(chat, &event, 0), -ESHUTDOWN);
	} else {
		assert_int_equal(r, 0); /* the kernel did not let it pass */
		assert_true(chat_is_up(chat));
	}
	chat_close(chat);
	assert_in_range(now_ms() - begin, 0, CALL_MS_MAX);
	tell(&is_called);
	fake_stop(fake);
}

static void test_not_asked(void **state)
{
	check_not_asked(false);
	check_not_asked(true);
}

static void test_not_asked_old(void **state)
{
	is_old_kernel = true;
	check_not_asked(false);
	check_not_asked(true);
	is_old_kernel = false;
}

/* Queued behind what was read, and behind a packet of length 0: closed with the socket. */
static void script_queued(struct fake *fake)
{
	greet_fast(fake);
	fake_send(fake, "MSG room 1 1 bob 7\nx");
	fake_send_bytes(fake, "", 0);
	(void)pass_lingering(fake, "MSG room 2 1 bob 7\nx", 1);
	fake_hang_up(fake);
	tell(&is_passed);
}

static void check_queued(bool is_read, bool is_polled)
{
	struct fake *fake;
	struct chat *chat;
	uint64_t begin;

	start(&fake, script_queued);
	chat = open_fast(fake);
	if (is_polled)
		assert_true(chat_fd(chat) >= 0);
	await(&is_passed);
	begin = now_ms();
	if (is_read)
		receive_message(chat, 1, "x");
	if (is_read)
		(void)receive(chat, CHAT_DOWN);
	chat_close(chat);
	assert_in_range(now_ms() - begin, 0, CALL_MS_MAX);
	fake_stop(fake);
}

static void test_queued(void **state)
{
	for (int i = 0; i < 4; i++)
		check_queued(i & 1, i & 2);
}

/* ---- instead of the expected descriptors ---- */

static void script_in_place(struct fake *fake)
{
	greet_fast(fake);
	if (!pass_lingering(fake, "PAGE wake=/chat.none", 1))
		fake_fail(fake, "the descriptor to pass");
	tell(&is_passed);
	fake_expect(fake, "TOOK no");
	await(&is_called);
	if (!pass_lingering(fake, RING_FRAME, 1))
		fake_fail(fake, "the descriptor to pass");
	tell(&is_passed);
	fake_expect(fake, "TOOK no");
	await(&is_called);
	/* with a frame that has none, and stored when the chat is closed */
	if (!pass_lingering(fake, "MSG room 1 1 bob 7\nx", 2) ||
		!pass_lingering(fake, RING_FRAME, 2))
		fake_fail(fake, "the descriptors to pass");
	tell(&is_passed);
	fake_expect(fake, "PING");
	fake_answer(fake, "*");
	fake_end(fake);
}

static void check_in_place(bool is_polled)
{
	struct chat_event event;
	struct fake *fake;
	struct chat *chat;
	uint64_t begin;

	start(&fake, script_in_place);
	chat = open_fast(fake);
	if (is_polled)
		assert_true(chat_fd(chat) >= 0);
	for (int i = 0; i < 2; i++) {
		await(&is_passed);
		begin = now_ms();
		assert_int_equal(chat_receive(chat, &event, 0), 0);
		assert_int_equal(chat_receive(chat, &event, 0), 0);
		assert_in_range(now_ms() - begin, 0, CALL_MS_MAX);
		tell(&is_called);
	}
	await(&is_passed);
	begin = now_ms();
	assert_int_equal(chat_request(chat, "PING", NULL, 0, DEADLINE_MS, NULL, NULL, NULL), 0);
	assert_true(chat_is_up(chat));
	receive_message(chat, 1, "x");
	chat_close(chat);
	assert_in_range(now_ms() - begin, 0, CALL_MS_MAX);
	fake_stop(fake);
}

static void test_in_place(void **state)
{
	check_in_place(false);
	check_in_place(true);
}

/* More than any packet of the protocol has. */
static void script_many(struct fake *fake)
{
	greet_fast(fake);
	if (!pass_lingering(fake, "MSG room 1 1 bob 7\nx", PASSED_MAX))
		fake_fail(fake, "the descriptors to pass");
	tell(&is_passed);
	await(&is_called);
}

static unsigned n_descriptors(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void test_many(void **state)
{
	uint64_t until = now_ms() + DEADLINE_MS, begin;
	struct chat_event event;
	struct fake *fake;
	struct chat *chat;

	start(&fake, script_many);
	chat = open_fast(fake);
	await(&is_passed);
	begin = now_ms();
	event = receive(chat, CHAT_DOWN);
	assert_true(event.ended);
	chat_close(chat);
	assert_in_range(now_ms() - begin, 0, CALL_MS_MAX);
	while (n_descriptors() > PASSED_MAX) /* the thread makes them harmless, and closes them */
		assert_true(now_ms() < until);
	tell(&is_called);
	fake_stop(fake);
}

/* The process has no number left for what comes: the kernel would release it at once. */
static void script_no_number(struct fake *fake)
{
	greet_fast(fake);
	if (!pass_lingering(fake, "PAGE wake=/chat.none", 1))
		fake_fail(fake, "the descriptor to pass");
	tell(&is_passed);
	await(&is_called);
	fake_hang_up(fake);
	fake_greet(fake); /* without FAST now */
	fake_join(fake, "room since=1 log=" LOG_A " ring", "* 1 first=1 log=" LOG_A);
	fake_send(fake, "MSG room 1 1 bob 7\nx");
	fake_end(fake);
}

static void test_no_number(void **state)
{
	struct rlimit before, none;
	struct chat_event event;
	struct fake *fake;
	struct chat *chat;
	uint64_t begin;

	start(&fake, script_no_number);
	chat = open_fast(fake);
	await(&is_passed);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = (struct rlimit){ 3, before.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	begin = now_ms();
	event = receive(chat, CHAT_DOWN);
	assert_in_range(now_ms() - begin, 0, CALL_MS_MAX);
	assert_false(event.ended);
	assert_non_null(strstr(event.text, "no descriptor is left"));
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	tell(&is_called);
	(void)receive(chat, CHAT_UP);
	receive_message(chat, 1, "x");
	chat_close(chat);
	fake_stop(fake);
}

/* ---- kinds ---- */

static void test_kinds(void **state)
{
	struct sealed sealed;
	uint64_t begin;
	int fds[3], large, slow = lingering();

	fds[0] = eventfd(0, EFD_CLOEXEC);
	fds[1] = memfd_create("open", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	assert_int_equal(sealed_create(&sealed, "sealed", 4096), 0);
	fds[2] = dup(sealed.fd);
	sealed_close(&sealed);
	large = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);
	assert_false(passed_is_expected(large));
	assert_false(passed_is_expected(slow));
	begin = now_ms();
	for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
		assert_true(passed_is_expected(fds[i]));
		passed_close(fds[i]);
	}
	passed_close(-1);
	passed_close(large);
	passed_close(slow);
	assert_in_range(now_ms() - begin, 0, CALL_MS_MAX);
	while (fcntl(slow, F_GETFD) >= 0)
		assert_in_range(now_ms() - begin, 0, DEADLINE_MS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kinds),
		cmocka_unit_test(test_not_asked),
		cmocka_unit_test(test_not_asked_old),
		cmocka_unit_test(test_queued),
		cmocka_unit_test(test_in_place),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_no_number),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
