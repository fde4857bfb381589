/* rights_test.c - descriptors that clients pass, and that take long to close: nobody else waits
 * for that, and the broker stops in time. chat-protocol(7), FAST, and chat-broker(8), Descriptors.
 *
 * The last close of a TCP socket with SO_LINGER and unsent data waits; so does that of a pipe while
 * trouble_shim.c wants it, as of a file of FUSE. Without SO_PASSRIGHTS, which older kernels do
 * not have, every client can pass descriptors.
 */
#include "tests/integration/harness.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "protocol/packet.h"

#define STRANGER 65534

/* How long the socket lingers, s, and what an answer and a stop may take, ms. */
#define LINGER_S      30
#define ANSWER_MS_MAX 1000
#define STOP_MS_MAX   2500

enum way {
	WAY_PLAIN,   /* to a session that said nothing */
	WAY_QUEUED,  /* in a packet that the broker does not receive any more */
	WAY_EMPTY,   /* the same, behind one of length 0 */
	WAY_AWAY,    /* to a session that is not let in */
	WAY_BACKLOG, /* to one that is not accepted any more */
	WAY_FAST,    /* where one is expected */
	WAY_MANY,    /* the same, more of them than the broker has room for */
};

static struct broker *troubled_start(bool has_refusal, unsigned n_descriptors)
{
	static char directory[128];
	struct broker *broker = broker_new();

	if (!has_refusal) {
		if (HARNESS_HAS_ASAN)
			SKIP("the sanitizer wants to be loaded first");
		snprintf(directory, sizeof directory, "CHAT_TROUBLE=%s", broker->dir);
		broker->environment[0] = "LD_PRELOAD=" CHAT_TROUBLE_SHIM;
		broker->environment[1] = directory;
		file_write(broker_path(broker, "rights"), "92"); /* ENOPROTOOPT */
	}
	broker->n_descriptors_max = n_descriptors;
	broker_spawn_here(broker, "--limit", "nobody:connections=1");
	broker_wait_ready(broker);
	return broker;
}

/* Can the kernel refuse descriptors? */
static bool kernel_has_refusal(void)
{
	int fd = packet_socket(), r;

	assert_true(fd >= 0);
	r = packet_allow_rights(fd, false);
	close(fd);
	return r == 0;
}

/* A connected TCP socket whose buffers are full, and the other end in *RET_PEER. */
static int lingering_open(int *ret_peer)
{
	const struct linger linger = { .l_onoff = 1, .l_linger = LINGER_S };
	struct sockaddr_in address = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof address;
	static const char data[65536];
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(listener >= 0 && fd >= 0);
	assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof address), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &len), 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
	*ret_peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	assert_true(*ret_peer >= 0);
	close(listener);
	while (send(fd, data, sizeof data, MSG_DONTWAIT) > 0)
		;
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger), 0);
	return fd;
}

/* Send PACKET with N descriptors, of which the last is FD. Returns 0 or -errno. */
static int pass(struct raw *raw, const char *packet, int fd, size_t n)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(PACKET_RIGHTS_MAX * sizeof(int))] = { 0 };
	struct iovec part = { (char *)packet, strlen(packet) };
	struct msghdr msg = { .msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = CMSG_SPACE(n * sizeof(int)) };
	struct cmsghdr *header = CMSG_FIRSTHDR(&msg);

	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(n * sizeof(int));
	for (size_t i = 0; i < n; i++)
		((int *)CMSG_DATA(header))[i] = i + 1 < n ? STDERR_FILENO : fd;
	return sendmsg(raw->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}

static struct raw *fast_open(const struct broker *broker, uid_t uid)
{
	struct raw *raw = raw_open_as(broker, uid);

	raw_send(raw, "#1 HELLO 1 pub=%x batch", 1);
	raw_expect(raw, "#1 * 1 ~");
	raw_send(raw, "#2 FAST");
	raw_expect(raw, "#2 *");
	raw_expect(raw, "PAGE ~");
	return raw;
}

/* Close what was passed, with R; if it was not, this process has the last one. */
static void forget(int fd, int r)
{
	const struct linger none = { 0 };

	if (r < 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
	close(fd);
}

/* Pass FD (consumed) to the broker in this way, so that the broker has the last one. Returns 0, or
 * -EPERM when the kernel refuses it. */
static int pass_in(struct broker *broker, enum way way, int fd)
{
	const char *packet = way >= WAY_FAST ? "#3 RING lobby nonce=1" : "hello";
	struct raw *raw = NULL;
	int r;

	if (way >= WAY_FAST)
		raw = fast_open(broker, geteuid());
	else if (way == WAY_AWAY)
		raw_expect_quiet(raw_hello_as(broker, STRANGER, ""));
	else if (way != WAY_BACKLOG)
		raw = raw_open(broker);
	broker_signal(broker, SIGSTOP);
	if (!raw)
		raw = way == WAY_AWAY ? raw_open_as(broker, STRANGER) : raw_open(broker);
	if (way == WAY_QUEUED || way == WAY_EMPTY)
		raw_send(raw, "QUIT");
	if (way == WAY_EMPTY)
		raw_send_bytes(raw, "", 0);
	r = pass(raw, packet, fd, way == WAY_MANY ? 200 : 1);
	forget(fd, r);
	if (way == WAY_BACKLOG)
		broker_signal(broker, SIGTERM);
	broker_signal(broker, SIGCONT);
	if (way == WAY_AWAY)
		raw_expect(raw, "BYE QUOTA connections: ~");
	return r;
}

static void expect_quick(struct raw *raw)
{
	uint64_t start = clock_ms();

	raw_send(raw, "#p PING");
	raw_expect(raw, "#p *");
	assert_in_range(clock_ms() - start, 0, ANSWER_MS_MAX);
}

/* After what was passed was released, if it is ever to be. */
static void expect_quick_twice(struct broker *broker, struct raw *raw)
{
	expect_quick(raw);
	raw_close(raw_hello(broker, "name=newcomer"));
	expect_quick(raw);
}

static void stop_in_time(struct broker *broker)
{
	uint64_t start = clock_ms();

	broker_stop(broker);
	assert_in_range(clock_ms() - start, 0, STOP_MS_MAX);
}

static void try_way(enum way way, bool has_refusal)
{
	bool is_refused = has_refusal && way < WAY_FAST;
	struct broker *broker = troubled_start(has_refusal, way == WAY_MANY ? 96 : 0);
	struct raw *other = raw_hello(broker, "name=other");
	int peer, fd = lingering_open(&peer), r = pass_in(broker, way, fd);

	if (way != WAY_BACKLOG)
		expect_quick_twice(broker, other);
	assert_int_equal(r, is_refused ? -EPERM : 0);
	stop_in_time(broker);
	raw_close_all();
	close(peer);
}

static void test_where_the_kernel_refuses(void **state)
{
	if (!kernel_has_refusal())
		SKIP("this kernel cannot refuse descriptors");
	for (enum way way = WAY_PLAIN; way <= WAY_MANY; way++)
		if (way != WAY_AWAY || geteuid() == 0)
			try_way(way, true);
}

static void test_where_it_cannot(void **state)
{
	for (enum way way = WAY_PLAIN; way <= WAY_MANY; way++)
		if (way != WAY_AWAY || geteuid() == 0)
			try_way(way, false);
}

/* Closing what CHEAT passes hangs. */
static void pass_pipe(struct raw *cheat)
{
	int fds[2];

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	assert_int_equal(pass(cheat, "#3 RING lobby nonce=1", fds[0], 1), 0);
	close(fds[0]);
	close(fds[1]);
}

/* Is it granted, or refused with QUOTA? */
static bool fast_is_granted(const struct broker *broker, uid_t uid)
{
	struct raw *raw = raw_open_as(broker, uid);
	struct text answer;
	bool is_granted;

	raw_send(raw, "#1 HELLO 1 pub=2 batch");
	raw_expect(raw, "#1 * 1 ~");
	raw_send(raw, "#2 FAST");
	answer = raw_next(raw);
	is_granted = pattern_matches("#2 *", answer);
	assert_true(is_granted || pattern_matches("#2 ! QUOTA descriptors: ~", answer));
	raw_close(raw);
	return is_granted;
}

static void await_granted(const struct broker *broker, bool is_granted)
{
	uint64_t until = clock_ms() + DEADLINE_MS;

	while (fast_is_granted(broker, geteuid()) != is_granted)
		if (clock_ms() > until)
			fail_msg("FAST is %s still", is_granted ? "refused" : "granted");
}

/* A close that never ends costs its user: no more is taken from it. */
static void test_stuck(void **state)
{
	struct broker *broker = troubled_start(false, 0);
	const char *hang = broker_path(broker, "hang-close");
	struct raw *other = raw_hello(broker, "name=other"), *cheat;
	unsigned n_open = broker_descriptors(broker);
	int fd;

	assert_int_equal(mkfifo(hang, 0644), 0);
	cheat = fast_open(broker, geteuid());
	raw_send(cheat, "#t TOOK");
	raw_expect(cheat, "#t *");
	pass_pipe(cheat);
	raw_expect(cheat, "#3 ! RING ~");
	await_granted(broker, false);
	expect_quick_twice(broker, other);
	if (geteuid() == 0)
		assert_true(fast_is_granted(broker, STRANGER));
	pass_pipe(cheat);
	raw_expect(cheat, "#3 ! QUOTA descriptors: ~");
	raw_expect(cheat, "BYE QUOTA descriptors: ~");
	raw_close(cheat);
	expect_quick_twice(broker, other);

	/* its owner lets go: it is as before */
	fd = open(hang, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	unlink(hang);
	await_granted(broker, true);
	raw_await_counter(other, "sessions", 1);
	while (broker_descriptors(broker) > n_open)
		expect_quick(other);
	close(fd);
	stop_in_time(broker);
}

/* At the end nothing waits for it. */
static void test_stop_with_stuck(void **state)
{
	struct broker *broker = troubled_start(false, 0);
	struct raw *cheat = fast_open(broker, geteuid());

	assert_int_equal(mkfifo(broker_path(broker, "hang-close"), 0644), 0);
	pass_pipe(cheat);
	await_granted(broker, false);
	stop_in_time(broker);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_where_the_kernel_refuses),
		TEST(test_where_it_cannot),
		TEST(test_stuck),
		TEST(test_stop_with_stuck),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
