/* durable.c - messages that are answered when they are stored.
 *
 *	bench-durable ADDRESS BROKER_PID PUBLISHERS ROOMS WINDOW
 *
 * PUBLISHERS connections, spread over ROOMS rooms, have WINDOW messages of 64 bytes each on their
 * way and say the next one when one is answered. DURABLE in the environment says to whom: chat,
 * redis (XADD to a stream), jetstream (a stream for each room), or disk: no broker, the file
 * ADDRESS is written and synced for each message. All by their protocols, on plain sockets, by one
 * process: what is measured is the server.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "protocol/record.h"
#include "tests/bench/harness.h"
#include "tests/bench/stream.h"

#define BODY_LEN       64
#define PUBLISHERS_MAX 256
#define SAMPLES_MAX    4000000

struct publisher {
	unsigned room, number;
	uint64_t n_said, n_answered;
	uint64_t *said_at; /* a ring of WINDOW */
	int fd;
	struct stream stream;
};

struct kind {
	const char *name;
	void (*open)(struct publisher *publisher);
	void (*say)(struct publisher *publisher);
	/* Take what has come: how many are answered. */
	unsigned (*take)(struct publisher *publisher);
};

static uint64_t window;
static uint64_t *samples;
static size_t n_samples;

/* ---- chat-broker: packets ---- */

static int unix_open(int type)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	strncpy(address.sun_path, harness_address, sizeof address.sun_path - 1);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
		die("connect: %s", strerror(errno));
	return fd;
}

static void chat_open(struct publisher *publisher)
{
	char line[64], answer[1024];
	int n;

	publisher->fd = unix_open(SOCK_SEQPACKET);
	n = snprintf(line, sizeof line, "#h HELLO 1 batch pub=%x", publisher->number + 1);
	if (send(publisher->fd, line, (size_t)n, 0) != n ||
		recv(publisher->fd, answer, sizeof answer, 0) < 5 || memcmp(answer, "#h *", 4) != 0)
		die("HELLO was refused");
}

static void chat_say(struct publisher *publisher)
{
	char frame[256];
	int n = snprintf(frame, sizeof frame, "#1 SAY r%u id=%lu\n%.*s", publisher->room,
		(unsigned long)publisher->n_said + 1, BODY_LEN, harness_body);

	if (send(publisher->fd, frame, (size_t)n, 0) != n)
		die("send: %s", strerror(errno));
}

static void chat_expect(const char *frame, size_t len)
{
	if (len < 4 || memcmp(frame, "#1 *", 4) != 0)
		die("refused: %.*s", (int)len, frame);
}

static unsigned chat_take(struct publisher *publisher)
{
	static char packet[PACKET_LEN_MAX];
	const char *at, *end;
	struct text frame;
	unsigned n = 0;
	ssize_t len;

	len = recv(publisher->fd, packet, sizeof packet, 0);
	if (len <= 0)
		die("the broker is gone");
	if (len < BATCH_START_LEN || memcmp(packet, BATCH_START, BATCH_START_LEN) != 0) {
		chat_expect(packet, (size_t)len);
		return 1;
	}
	at = packet + BATCH_START_LEN;
	end = packet + len;
	for (; record_next(&at, end, &frame) == 0; n++)
		chat_expect(frame.data, frame.len);
	return n;
}

/* ---- redis ---- */

static void redis_open(struct publisher *publisher)
{
	publisher->fd = unix_open(SOCK_STREAM);
}

static void redis_say(struct publisher *publisher)
{
	char command[256];
	int n;

	n = snprintf(command, sizeof command,
		"*5\r\n$4\r\nXADD\r\n$4\r\nr%03u\r\n$1\r\n*\r\n$1\r\nb\r\n$%d\r\n%.*s\r\n",
		publisher->room, BODY_LEN, BODY_LEN, harness_body);
	if (send(publisher->fd, command, (size_t)n, 0) != n)
		die("send: %s", strerror(errno));
}

/* How many of the lines that have come start with START. */
static unsigned take_lines(struct publisher *publisher, const char *start)
{
	static char rest[PUBLISHERS_MAX][4096];
	static size_t rest_len[PUBLISHERS_MAX];
	static char buffer[1 << 16];
	char *line = buffer, *end, *lf;
	size_t *held = &rest_len[publisher->number];
	unsigned n = 0;
	ssize_t len;

	memcpy(buffer, rest[publisher->number], *held);
	len = recv(publisher->fd, buffer + *held, sizeof buffer - *held, 0);
	if (len <= 0)
		die("the server is gone");
	end = buffer + *held + len;
	for (; (lf = memchr(line, '\n', (size_t)(end - line))); line = lf + 1) {
		if (strncmp(line, start, strlen(start)) == 0)
			n++;
		else if (line[0] == '-')
			die("refused: %.*s", (int)(lf - line), line);
	}
	*held = (size_t)(end - line);
	if (*held > sizeof rest[0])
		die("a line is too long");
	memcpy(rest[publisher->number], line, *held);
	return n;
}

/* "$15", and then the number of the entry */
static unsigned redis_take(struct publisher *publisher)
{
	return take_lines(publisher, "$");
}

/* ---- NATS JetStream ---- */

static void jetstream_open(struct publisher *publisher)
{
	char text[512], json[256];
	int n;

	stream_open(&publisher->stream, harness_address);
	publisher->fd = publisher->stream.fd;
	stream_put_text(&publisher->stream,
		"CONNECT {\"verbose\":false,\"pedantic\":false,\"lang\":\"c\",\"version\":\"1\","
		"\"protocol\":1}\r\nPING\r\n");
	stream_await(&publisher->stream, "PONG");
	n = snprintf(json, sizeof json,
		"{\"name\":\"r%u\",\"subjects\":[\"r%u\"],\"storage\":\"file\",\"retention\":"
		"\"limits\",\"num_replicas\":1}",
		publisher->room, publisher->room);
	snprintf(text, sizeof text,
		"SUB _INBOX.%u 1\r\nPUB $JS.API.STREAM.CREATE.r%u _INBOX.%u %d\r\n%s\r\n",
		publisher->number, publisher->room, publisher->number, n, json);
	stream_put_text(&publisher->stream, text);
	stream_flush(&publisher->stream);
	stream_await(&publisher->stream, "stream_create_response");
}

static void jetstream_say(struct publisher *publisher)
{
	char text[256];

	snprintf(text, sizeof text, "PUB r%u _INBOX.%u %d\r\n%.*s\r\n", publisher->room,
		publisher->number, BODY_LEN, BODY_LEN, harness_body);
	stream_put_text(&publisher->stream, text);
	stream_flush(&publisher->stream);
}

static unsigned jetstream_take(struct publisher *publisher)
{
	return take_lines(publisher, "{\"stream\"");
}

/* ---- no broker ---- */

static void disk_open(struct publisher *publisher)
{
	publisher->fd = open(harness_address, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (publisher->fd < 0)
		die("%s: %s", harness_address, strerror(errno));
	if (posix_fallocate(publisher->fd, 0, 64 << 20) != 0)
		die("%s: no space", harness_address);
}

static void disk_say(struct publisher *publisher)
{
	off_t at = (off_t)(publisher->n_said * 128 % (64 << 20));

	if (pwrite(publisher->fd, harness_body, 128, at) != 128 || fdatasync(publisher->fd) < 0)
		die("%s: %s", harness_address, strerror(errno));
}

static const struct kind kinds[] = {
	{ "chat", chat_open, chat_say, chat_take },
	{ "redis", redis_open, redis_say, redis_take },
	{ "jetstream", jetstream_open, jetstream_say, jetstream_take },
	{ "disk", disk_open, disk_say, NULL },
};

/* ---- the work ---- */

static void say(const struct kind *kind, struct publisher *publisher, uint64_t now)
{
	publisher->said_at[publisher->n_said % window] = now;
	kind->say(publisher);
	publisher->n_said++;
}

static void answered(struct publisher *publisher, unsigned n, uint64_t now, bool is_measured)
{
	for (; n > 0; n--) {
		uint64_t at = publisher->said_at[publisher->n_answered++ % window];

		if (is_measured && n_samples < SAMPLES_MAX)
			samples[n_samples++] = now - at;
	}
}

static void turn(const struct kind *kind, struct publisher *publishers, unsigned n,
	struct pollfd *fds, bool is_measured)
{
	uint64_t now;

	if (poll(fds, n, 10000) <= 0)
		die("nothing was answered for ten seconds");
	now = now_ns();
	for (unsigned i = 0; i < n; i++) {
		unsigned k;

		if (!(fds[i].revents & POLLIN))
			continue;
		k = kind->take(&publishers[i]);
		answered(&publishers[i], k, now, is_measured);
		for (; k > 0; k--)
			say(kind, &publishers[i], now);
	}
}

static void turn_disk(const struct kind *kind, struct publisher *publisher, bool is_measured)
{
	uint64_t start = now_ns();

	say(kind, publisher, start);
	answered(publisher, 1, now_ns(), is_measured);
}

int main(int argc, char **argv)
{
	static struct publisher publishers[PUBLISHERS_MAX];
	static struct pollfd fds[PUBLISHERS_MAX];
	const char *name = getenv("DURABLE");
	const struct kind *kind = NULL;
	unsigned n, n_rooms;
	uint64_t start, end = 0;

	if (argc != 6)
		die("usage: %s ADDRESS BROKER_PID PUBLISHERS ROOMS WINDOW", argv[0]);
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		if (name && strcmp(kinds[i].name, name) == 0)
			kind = &kinds[i];
	if (!kind)
		die("DURABLE names none of chat, redis, jetstream, disk");
	harness_address = argv[1];
	memset(harness_body, 'x', sizeof harness_body);
	n = (unsigned)number_of(argv[3], 1, PUBLISHERS_MAX);
	n_rooms = (unsigned)number_of(argv[4], 1, PUBLISHERS_MAX);
	window = number_of(argv[5], 1, 4096);
	samples = malloc(SAMPLES_MAX * sizeof *samples);
	for (unsigned i = 0; i < n; i++) {
		publishers[i].number = i;
		publishers[i].room = i % n_rooms;
		publishers[i].said_at = calloc(window, sizeof(uint64_t));
		if (!publishers[i].said_at || !samples)
			die("no memory");
		kind->open(&publishers[i]);
		fds[i] = (struct pollfd){ publishers[i].fd, POLLIN, 0 };
	}
	for (unsigned i = 0; i < n && kind->take; i++)
		for (uint64_t k = 0; k < window; k++)
			say(kind, &publishers[i], now_ns());
	start = now_ns() + WARM_NS;
	do {
		bool is_measured = now_ns() >= start;

		if (kind->take)
			turn(kind, publishers, n, fds, is_measured);
		else
			turn_disk(kind, publishers, is_measured);
		end = now_ns();
	} while (end < start + RUN_NS);
	sort_ns(samples, n_samples);
	printf("stored_s %f\n", (double)n_samples / ((double)(end - start) / 1e9));
	printf("p50_us %f\n", percentile_us(samples, n_samples, 0.5));
	printf("p99_us %f\n", percentile_us(samples, n_samples, 0.99));
	return 0;
}
