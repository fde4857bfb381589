/* raw.c - the clients of harness.h: packets, byte for byte. */
#include "tests/integration/harness.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "protocol/packet.h"
#include "protocol/record.h"

#define RAWS_MAX 4096

static struct raw *raws[RAWS_MAX];
static size_t n_raws;

bool pattern_matches(const char *pattern, struct text text)
{
	while (*pattern != '~') {
		if (!*pattern)
			return text.len == 0;
		if (text.len == 0 || *pattern != text.data[0])
			return false;
		pattern++;
		text.data++;
		text.len--;
	}
	while (*pattern == '~')
		pattern++;
	for (size_t i = 0; i <= text.len; i++)
		if (pattern_matches(pattern, (struct text){ text.data + i, text.len - i }))
			return true;
	return false;
}

struct raw *raw_open_path(const char *path)
{
	struct timeval deadline = { .tv_sec = DEADLINE_MS / 1000 };
	struct sockaddr_un address;
	struct raw *raw;
	socklen_t len;
	int fd;

	assert_int_equal(packet_address(path, &address, &len), 0);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		fail_msg("socket: %s", strerror(errno));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &deadline, sizeof deadline);
	if (connect(fd, (struct sockaddr *)&address, len) < 0) {
		close(fd);
		return NULL;
	}
	raw = calloc(1, sizeof *raw);
	if (!raw || n_raws == RAWS_MAX)
		fail_msg("too many clients");
	raw->packet = malloc(PACKET_LEN_MAX + 1);
	assert_non_null(raw->packet);
	raw->fd = fd;
	raws[n_raws++] = raw;
	return raw;
}

struct raw *raw_open(const struct broker *broker)
{
	struct raw *raw = raw_open_path(broker->socket);

	if (!raw)
		fail_msg("connect %s: %s", broker->socket, strerror(errno));
	return raw;
}

struct raw *raw_open_as(const struct broker *broker, uid_t uid)
{
	uid_t own = geteuid();
	struct raw *raw;
	int error;

	/* the kernel notes the effective user at connect(2) */
	assert_int_equal(seteuid(uid), 0);
	raw = raw_open_path(broker->socket);
	error = errno;
	assert_int_equal(seteuid(own), 0);
	if (!raw)
		fail_msg("connect %s as %u: %s", broker->socket, uid, strerror(error));
	return raw;
}

static struct raw *raw_greet(struct raw *raw, const char *words)
{
	raw_send(raw, "#h HELLO 1%s%s", words[0] ? " " : "", words);
	raw_expect(raw, "#h * 1 name=~ uid=~ broker=~ max=65536~");
	return raw;
}

struct raw *raw_hello(const struct broker *broker, const char *words)
{
	return raw_greet(raw_open(broker), words);
}

struct raw *raw_hello_as(const struct broker *broker, uid_t uid, const char *words)
{
	return raw_greet(raw_open_as(broker, uid), words);
}

struct raw *raw_join(const struct broker *broker, const char *words, const char *target)
{
	struct raw *raw = raw_hello(broker, words);

	raw_send(raw, "#j JOIN %s", target);
	raw_expect(raw, "#j * ~ first=~ log=~");
	return raw;
}

void raw_close(struct raw *raw)
{
	for (size_t i = 0; i < n_raws; i++)
		if (raws[i] == raw)
			raws[i] = raws[--n_raws];
	close(raw->fd);
	while (raw->n_fds > 0)
		close(raw->fds[--raw->n_fds]);
	free(raw->packet);
	free(raw);
}

void raw_close_all(void)
{
	while (n_raws > 0)
		raw_close(raws[n_raws - 1]);
}

bool raw_try_send(struct raw *raw, const void *bytes, size_t len)
{
	if (send(raw->fd, bytes, len, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)len)
		return true;
	if (errno != EAGAIN)
		fail_msg("send: %s", strerror(errno));
	return false;
}

void raw_send_bytes(struct raw *raw, const void *bytes, size_t len)
{
	if (send(raw->fd, bytes, len, MSG_NOSIGNAL) != (ssize_t)len)
		fail_msg("send: %s", strerror(errno));
}

void raw_send(struct raw *raw, const char *format, ...)
{
	char frame[8192];
	va_list ap;
	int n;

	va_start(ap, format);
	n = vsnprintf(frame, sizeof frame, format, ap);
	va_end(ap);
	assert_true((size_t)n < sizeof frame);
	raw_send_bytes(raw, frame, (size_t)n);
}

void raw_send_fds(struct raw *raw, const int *fds, size_t n_fds, const char *format, ...)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(8 * sizeof(int))] = { 0 };
	char frame[1024];
	struct iovec part = { frame, 0 };
	struct msghdr msg = {
		.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = CMSG_SPACE(n_fds * sizeof(int)),
	};
	struct cmsghdr *header = CMSG_FIRSTHDR(&msg);
	va_list ap;

	va_start(ap, format);
	part.iov_len = (size_t)vsnprintf(frame, sizeof frame, format, ap);
	va_end(ap);
	assert_true(n_fds > 0 && n_fds <= 8 && part.iov_len < sizeof frame);
	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
	memcpy(CMSG_DATA(header), fds, n_fds * sizeof(int));
	if (sendmsg(raw->fd, &msg, MSG_NOSIGNAL) < 0)
		fail_msg("sendmsg: %s", strerror(errno));
}

void raw_send_batch_of(struct raw *raw, const char *const frames[])
{
	static _Alignas(8) char packet[PACKET_LEN_MAX];
	char *at = packet + BATCH_START_LEN;

	memcpy(packet, BATCH_START, BATCH_START_LEN);
	for (size_t i = 0; frames[i]; i++) {
		size_t len = strlen(frames[i]);

		assert_true(at + record_size(len) <= packet + sizeof packet);
		memcpy(at + RECORD_HEADER_LEN, frames[i], len);
		record_close(at, len);
		at += record_size(len);
	}
	raw_send_bytes(raw, packet, (size_t)(at - packet));
}

static void raw_drop_fds(struct raw *raw)
{
	while (raw->n_fds > 0)
		close(raw->fds[--raw->n_fds]);
}

/* Receive a packet. Returns its length, 0 at the end, -1 when none came. */
static ssize_t raw_receive(struct raw *raw, int timeout_ms)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof raw->fds)];
	struct iovec part = { raw->packet, PACKET_LEN_MAX };
	struct msghdr msg = {
		.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof control,
	};
	struct cmsghdr *header;
	ssize_t n;

	if (!wait_fd(raw->fd, POLLIN, clock_ms() + (uint64_t)timeout_ms))
		return -1;
	raw_drop_fds(raw);
	n = recvmsg(raw->fd, &msg, MSG_DONTWAIT | MSG_TRUNC | MSG_CMSG_CLOEXEC);
	if (n > PACKET_LEN_MAX)
		fail_msg("a packet of %zd bytes", n);
	if (n < 0 && errno != ECONNRESET)
		fail_msg("recv: %s", strerror(errno));
	header = n > 0 ? CMSG_FIRSTHDR(&msg) : NULL;
	if (header) {
		raw->n_fds = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		memcpy(raw->fds, CMSG_DATA(header), raw->n_fds * sizeof(int));
	}
	return n < 0 ? 0 : n;
}

struct text raw_next_within(struct raw *raw, int timeout_ms)
{
	struct text frame = { NULL, 0 };
	ssize_t n;

	if (raw->at == raw->end) {
		n = raw_receive(raw, timeout_ms);
		if (n < 0)
			return (struct text){ NULL, 0 };
		if (n == 0)
			fail_msg("the broker closed the connection");
		if (n < BATCH_START_LEN || memcmp(raw->packet, BATCH_START, BATCH_START_LEN) != 0)
			return (struct text){ raw->packet, (size_t)n };
		raw->at = raw->packet + BATCH_START_LEN;
		raw->end = raw->packet + n;
	}
	if (record_check(raw->at) || record_next(&raw->at, raw->end, &frame))
		fail_msg("a broken batch");
	return frame;
}

struct text raw_next(struct raw *raw)
{
	struct text frame = raw_next_within(raw, DEADLINE_MS);

	if (!frame.data)
		fail_msg("nothing comes");
	return frame;
}

static const char *terminated(struct text frame)
{
	static char copy[PACKET_LEN_MAX + 1];

	memcpy(copy, frame.data, frame.len);
	copy[frame.len] = '\0';
	return copy;
}

const char *raw_expect(struct raw *raw, const char *pattern, ...)
{
	char wanted[8192];
	struct text frame;
	va_list ap;

	va_start(ap, pattern);
	vsnprintf(wanted, sizeof wanted, pattern, ap);
	va_end(ap);
	frame = raw_next_within(raw, DEADLINE_MS);
	if (!frame.data)
		fail_msg("nothing comes; expected: %s", wanted);
	if (!pattern_matches(wanted, frame))
		fail_msg("expected: %s\n     got: %.*s", wanted, (int)MIN(frame.len, (size_t)2000),
			frame.data);
	return terminated(frame);
}

const char *raw_await(struct raw *raw, const char *pattern, ...)
{
	uint64_t until = clock_ms() + DEADLINE_MS;
	char wanted[8192];
	va_list ap;

	va_start(ap, pattern);
	vsnprintf(wanted, sizeof wanted, pattern, ap);
	va_end(ap);
	for (;;) {
		uint64_t now = clock_ms();
		struct text frame = raw_next_within(raw, until > now ? (int)(until - now) : 0);

		if (!frame.data)
			fail_msg("does not come: %s", wanted);
		if (pattern_matches(wanted, frame))
			return terminated(frame);
	}
}

void raw_expect_quiet(struct raw *raw)
{
	raw_send(raw, "#quiet PING");
	raw_expect(raw, "#quiet *");
}

void raw_expect_silence(struct raw *raw, int ms)
{
	struct text frame = raw_next_within(raw, ms);

	if (frame.data)
		fail_msg("expected nothing\n     got: %.*s", (int)MIN(frame.len, (size_t)2000),
			frame.data);
}

void raw_expect_close(struct raw *raw)
{
	ssize_t n;

	if (raw->at != raw->end)
		fail_msg("a frame instead of the end");
	n = raw_receive(raw, DEADLINE_MS);
	if (n < 0)
		fail_msg("not closed");
	if (n > 0)
		fail_msg("instead of the end: %.*s", (int)n, raw->packet);
}

uint64_t raw_counter(struct raw *raw, const char *name)
{
	uint64_t value = UINT64_MAX;
	const char *row;

	raw_send(raw, "#stats STATS");
	do {
		char format[64];
		unsigned long found;

		row = raw_expect(raw, "#stats ~");
		snprintf(format, sizeof format, "#stats + %s %%lu", name);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		if (sscanf(row, format, &found) == 1)
			value = found;
#pragma GCC diagnostic pop
	} while (strncmp(row, "#stats * ", 9) != 0);
	if (value == UINT64_MAX)
		fail_msg("no counter %s", name);
	return value;
}

void raw_await_counter(struct raw *raw, const char *name, uint64_t value)
{
	uint64_t until = clock_ms() + DEADLINE_MS, found;

	while ((found = raw_counter(raw, name)) != value)
		if (clock_ms() > until)
			fail_msg("%s is %lu, not %lu", name, (unsigned long)found,
				(unsigned long)value);
}
