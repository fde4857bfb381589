/* framing_test.c - packets that can not be trusted: BYE FRAMING, one line in the
 * diagnostics, and nobody else notices. chat-protocol(7), What a bad request gets. */
#include "tests/integration/harness.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "protocol/record.h"

#define RECORD(len, bytes)                                                                         \
	len "\0\0\0"                                                                               \
	    "\0\0\0\0" bytes
#define ROW(bytes)                                                                                 \
	{                                                                                          \
		bytes, sizeof(bytes) - 1                                                           \
	}

/* What follows "BATCH LF". */
static const struct {
	const char *bytes;
	size_t len;
} broken[] = {
	ROW("\x04"),                                 /* not even a header */
	ROW("\x04\0\0\0\0\0\0"),                     /* a byte short of one */
	ROW(RECORD("\x00", "")),                     /* an empty record */
	ROW(RECORD("\x08", "PING")),                 /* longer than the packet */
	ROW(RECORD("\x04", "PING")),                 /* without its padding */
	ROW("\xff\xff\xff\xff\0\0\0\0PING\0\0\0\0"), /* a length that wraps */
	ROW("\xf8\xff\xff\xff\0\0\0\0PING\0\0\0\0"),
	ROW("\x01\0\x01\0\0\0\0\0PING\0\0\0\0"),    /* above the largest packet */
	ROW("\0\0\0\x04\0\0\0\0PING\0\0\0\0"),      /* the wrong byte order */
	ROW(RECORD("\x04", "PING\0\0\0\0") "\x04"), /* one good, then a rest */
	ROW("just some text after the word"),
};

static void expect_framing(struct broker *broker, struct raw *raw, const char *name)
{
	raw_expect(raw, "BYE FRAMING ~");
	raw_expect_close(raw);
	broker_expect(broker, "framing uid=%u pid=%d name=%s reason=~", getuid(), getpid(), name);
}

static void test_broken_batches(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *other = raw_join(broker, "name=other", "r");
	unsigned n_descriptors = broker_descriptors(broker);

	for (size_t i = 0; i < ARRAY_LEN(broken); i++) {
		struct raw *raw = raw_join(broker, "name=t3ster", "r");
		char packet[256] = BATCH_START;

		memcpy(packet + BATCH_START_LEN, broken[i].bytes, broken[i].len);
		raw_send_bytes(raw, packet, BATCH_START_LEN + broken[i].len);
		raw_expect(raw, "BYE FRAMING ~");
		raw_expect_close(raw);
		raw_close(raw);
		raw_expect_quiet(other);
		assert_int_equal(raw_counter(other, "framing"), i + 1);
	}
	/* each has a line, up to what one user may cause */
	assert_int_equal(broker_count(broker, "framing uid="), MIN(ARRAY_LEN(broken), (size_t)10));
	raw_send(other, "#s SAY r\nstill here");
	raw_expect(other, "#s * 1");
	raw_expect(other, "MSG r 1 ~\nstill here");
	assert_int_equal(broker_descriptors(broker), n_descriptors);
	broker_stop(broker);
}

/* What stands before the damage has happened, and is answered before the BYE. */
static void test_good_then_broken(void **state)
{
	static const char packet[] = BATCH_START RECORD("\x10", "#1 SAY r\nbefore!") "\xff";
	struct broker *broker = broker_start(NULL);
	struct raw *other = raw_join(broker, "name=other", "r");
	struct raw *raw = raw_hello(broker, "name=t3ster");

	/* stopped, so that both are there before it sees the first */
	broker_signal(broker, SIGSTOP);
	raw_send_bytes(raw, packet, sizeof packet - 1);
	raw_send(raw, "SAY r\nafter");
	broker_signal(broker, SIGCONT);
	raw_expect(raw, "#1 * 1");
	expect_framing(broker, raw, "t3ster");
	raw_expect(other, "MSG r 1 ~ t3ster ~\nbefore!");
	raw_expect_quiet(other);
	broker_stop(broker);
}

/* Returns 0 or -errno. */
static int send_descriptors(struct raw *raw, const char *packet, size_t n_fds)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(253 * sizeof(int))] = { 0 };
	struct iovec part = { (char *)packet, strlen(packet) };
	struct msghdr msg = { .msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = CMSG_SPACE(n_fds * sizeof(int)) };
	struct cmsghdr *header = CMSG_FIRSTHDR(&msg);

	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
	for (size_t i = 0; i < n_fds; i++)
		((int *)CMSG_DATA(header))[i] = STDERR_FILENO;
	return sendmsg(raw->fd, &msg, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/* A thread closes what was passed. */
static void await_descriptors(struct broker *broker, unsigned n)
{
	uint64_t until = clock_ms() + DEADLINE_MS;

	while (broker_descriptors(broker) != n)
		if (clock_ms() > until)
			fail_msg("%u descriptors", broker_descriptors(broker));
}

static void test_passed_descriptors(void **state)
{
	static const size_t numbers[] = { 1, 2, 253 };
	struct broker *broker = broker_start(NULL);
	struct raw *other = raw_join(broker, "name=other", "r");
	unsigned n_descriptors = broker_descriptors(broker);

	for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
		struct raw *raw = raw_hello(broker, "name=t3ster pub=1 batch");

		raw_send(raw, "FAST");
		raw_expect(raw, "PAGE ~");
		assert_int_equal(send_descriptors(raw, "PING", numbers[i]), 0);
		expect_framing(broker, raw, "t3ster");
		raw_close(raw);
		raw_expect_quiet(other);
		await_descriptors(broker, n_descriptors);
	}
	broker_stop(broker);
}

/* Of a client that may have none: the kernel refuses them, or it is closed. Also one that never
 * said HELLO, or never reads. */
static void test_passed_by_plain_and_gone(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *other = raw_join(broker, "name=other", "lobby"), *raw;
	unsigned n_descriptors = broker_descriptors(broker);

	raw = raw_open(broker);
	if (send_descriptors(raw, "hello", 1) == -EPERM) {
		raw_send(raw, "hello");
		raw_expect(raw, "*");
		raw_expect(other, "MSG lobby 1 ~\nhello");
	} else {
		broker_expect(broker, "framing uid=%u ", getuid());
		raw_expect_close(raw);
	}
	raw_close(raw);
	raw = raw_open(broker);
	if (send_descriptors(raw, "hello", 100) != -EPERM)
		broker_expect(broker, "framing uid=%u ", getuid());
	raw_close(raw);
	raw_expect_quiet(other);
	await_descriptors(broker, n_descriptors);
	broker_stop(broker);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_broken_batches),
		TEST(test_good_then_broken),
		TEST(test_passed_descriptors),
		TEST(test_passed_by_plain_and_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
