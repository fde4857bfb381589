/* hostile.c - see hostile.h. Its steps, of which the first byte says what it is:
 *
 *	>TEXT NUL       a packet; byte 1 in it is the oldest tag that awaits its answer
 *	rTEXT NUL       the same, and that tag is answered then
 *	{TEXT NUL       a batch of the frames between bytes 30
 *	=LOW HIGH ...   so many bytes as a packet
 *	~N TEXT NUL     the packet again and again, N * 64 times, as fast as it is read
 *	^KIND TEXT NUL  the packet, with what descriptor_make() makes of KIND
 *	wWHICH AT LOW HIGH BYTES NUL  into memory that was passed
 *	x, h            close, or shut down for writing
 *	m               leave it to the script to answer, or not any more
 *	b               refuse connections, or stop that
 */
#include "tests/fuzz/hostile.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "protocol/base.h"
#include "protocol/control.h"
#include "protocol/frame.h"
#include "protocol/packet.h"
#include "protocol/record.h"
#include "protocol/ring.h"
#include "protocol/sealed.h"
#include "protocol/waker.h"
#include "tests/fuzz/fuzz.h"

#define NS_PER_MS 1000000u
#define NS_PER_S  1000000000u
#define START_NS  (UINT64_C(1700000000) * NS_PER_S)

#define TAGS_MAX   64
#define MEMORY_MAX 4

/* Waits without end in which nothing happens, after which the broker goes for good. */
#define IDLE_MAX 8

#define RING_LEN (RING_HEADER_LEN + RING_CAPACITY_MIN)

static struct {
	struct script *script;
	int fd; /* -1: nobody is connected */
	bool is_deaf, is_helpful, is_closed, is_gone;
	uint64_t now;
	unsigned n_idle;
	char tags[TAGS_MAX][TAG_LEN_MAX + 1]; /* a ring */
	char verbs[TAGS_MAX][12];
	unsigned first_tag, n_tags;
	char packet[PACKET_LEN_MAX];
	char stream[PACKET_LEN_MAX]; /* of ~ */
	size_t stream_len;
	unsigned n_stream;
	struct sealed memory[MEMORY_MAX];
	struct ring_writer writer;
	uint64_t random;
} hostile;

/* ---- the script ---- */

unsigned script_byte(struct script *script)
{
	return script->at < script->end ? *script->at++ : 0;
}

struct text script_text(struct script *script, char *dst, size_t size)
{
	size_t left = (size_t)(script->end - script->at), len;
	const uint8_t *end = left > 0 ? memchr(script->at, 0, left) : NULL;

	len = end ? (size_t)(end - script->at) : left;
	if (len > 0)
		memcpy(dst, script->at, MIN(len, size - 1));
	dst[MIN(len, size - 1)] = '\0';
	script->at += len + (end != NULL);
	return (struct text){ dst, MIN(len, size - 1) };
}

/* ---- what is received ---- */

static void note_frame(struct text text)
{
	struct frame frame;
	unsigned at;

	EXPECT(frame_parse(&frame, text) == 0); /* libchat speaks well whatever it hears */
	if (frame.tag.len == 0 || hostile.n_tags == TAGS_MAX)
		return;
	at = (hostile.first_tag + hostile.n_tags++) % TAGS_MAX;
	snprintf(hostile.tags[at], sizeof hostile.tags[at], "%.*s", (int)frame.tag.len,
		frame.tag.data);
	snprintf(hostile.verbs[at], sizeof hostile.verbs[at], "%.*s", (int)frame.word[0].len,
		frame.word[0].data);
}

static void note_packet(struct text packet)
{
	const char *at = packet.data + BATCH_START_LEN, *end = packet.data + packet.len;
	struct text frame;

	if (packet.len < BATCH_START_LEN ||
		memcmp(packet.data, BATCH_START, BATCH_START_LEN) != 0) {
		note_frame(packet);
		return;
	}
	while (record_next(&at, end, &frame) == 0)
		note_frame(frame);
	EXPECT(at == end);
}

/* Take what the library sent, its descriptors included. */
static void hostile_listen(void)
{
	int fds[PACKET_RIGHTS_MAX];
	size_t len, n_fds;

	while (hostile.fd >= 0 && !hostile.is_deaf &&
		packet_receive_rights(hostile.fd, hostile.packet, sizeof hostile.packet, false,
			&len, fds, &n_fds) == 0) {
		while (n_fds > 0)
			close(fds[--n_fds]);
		note_packet((struct text){ hostile.packet, len });
	}
}

/* ---- sending ---- */

static const char *oldest_tag(void)
{
	return hostile.n_tags > 0 ? hostile.tags[hostile.first_tag] : "h";
}

static void drop_tag(void)
{
	if (hostile.n_tags == 0)
		return;
	hostile.first_tag = (hostile.first_tag + 1) % TAGS_MAX;
	hostile.n_tags--;
}

/* TEXT with the tag in place of each byte 1. */
static struct text with_tag(struct text text, char *dst, size_t size)
{
	const char *tag = oldest_tag();
	size_t len = 0, tag_len = strlen(tag);

	for (size_t i = 0; i < text.len && len + tag_len < size; i++) {
		if (text.data[i] == 1) {
			memcpy(dst + len, tag, tag_len);
			len += tag_len;
		} else {
			dst[len++] = text.data[i];
		}
	}
	return (struct text){ dst, len };
}

static bool hostile_send(struct text packet)
{
	struct iovec part = { (char *)packet.data, packet.len };

	return hostile.fd >= 0 && packet_send(hostile.fd, &part, 1) == 0;
}

static void send_text(bool is_answer)
{
	char raw[4096], text[8192];
	struct text packet;

	packet = with_tag(script_text(hostile.script, raw, sizeof raw), text, sizeof text);
	(void)hostile_send(packet);
	if (is_answer)
		drop_tag();
}

static void send_batch(void)
{
	char raw[8192], text[16384];
	struct text frames;
	size_t len = BATCH_START_LEN;

	frames = with_tag(script_text(hostile.script, raw, sizeof raw), text, sizeof text);
	memcpy(hostile.packet, BATCH_START, BATCH_START_LEN);
	while (frames.len > 0) {
		const char *cut = memchr(frames.data, 30, frames.len);
		size_t n = cut ? (size_t)(cut - frames.data) : frames.len;

		memcpy(hostile.packet + len + RECORD_HEADER_LEN, frames.data, n);
		record_close(hostile.packet + len, n);
		len += record_size(n);
		frames.data += n + (cut != NULL);
		frames.len -= n + (cut != NULL);
	}
	(void)hostile_send((struct text){ hostile.packet, len });
}

static void send_bytes(void)
{
	size_t len = script_byte(hostile.script), left;

	len += (size_t)script_byte(hostile.script) << 8;
	left = (size_t)(hostile.script->end - hostile.script->at);
	len = MIN(len, left);
	(void)hostile_send((struct text){ (const char *)hostile.script->at, len });
	hostile.script->at += len;
}

static void begin_stream(void)
{
	char raw[4096];
	struct text text;

	hostile.n_stream = script_byte(hostile.script) * 64;
	text = with_tag(script_text(hostile.script, raw, sizeof raw), hostile.stream,
		sizeof hostile.stream);
	hostile.stream_len = text.len;
}

static void continue_stream(void)
{
	while (hostile.n_stream > 0 &&
		hostile_send((struct text){ hostile.stream, hostile.stream_len }))
		hostile.n_stream--;
}

/* ---- descriptors ---- */

static struct sealed *memory_place(void)
{
	for (unsigned i = 0; i < MEMORY_MAX; i++)
		if (!hostile.memory[i].at)
			return &hostile.memory[i];
	sealed_close(&hostile.memory[0]);
	return &hostile.memory[0];
}

static int memory_make(size_t len, bool is_ring)
{
	struct sealed *memory = memory_place();

	if (sealed_create(memory, "hostile", len) < 0) {
		*memory = SEALED_NONE;
		return -1;
	}
	if (is_ring) {
		ring_writer_init(&hostile.writer, memory->at, RING_CAPACITY_MIN, 11);
		hostile.writer.gate = NULL;
	}
	return dup(memory->fd);
}

/* A ring with two messages in it, or more. */
static int ring_make(unsigned n)
{
	static const uint64_t ungated = RING_UNGATED;
	int fd = memory_make(RING_LEN, true);

	if (fd < 0)
		return fd;
	hostile.writer.gate = &ungated;
	for (unsigned i = 1; i <= n; i++)
		(void)ring_put(&hostile.writer, hostile.now, i, "ring", 4);
	return fd;
}

static int memfd_open(size_t len)
{
	int fd = memfd_create("open", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd >= 0 && ftruncate(fd, (off_t)len) < 0)
		abort();
	return fd;
}

/* Descriptors of KIND, at most 3. Returns how many. */
static size_t descriptor_make(unsigned kind, int *fds)
{
	switch (kind) {
	case 'p':
		fds[0] = memory_make(sizeof(struct control_page), false);
		return 1;
	case 'r':
		fds[0] = ring_make(2);
		return 1;
	case 'R':
		fds[0] = ring_make(64);
		return 1;
	case 's':
		fds[0] = eventfd(0, EFD_CLOEXEC);
		fds[1] = memory_make(sizeof(struct sleep_page), false);
		return 2;
	case 'u':
		fds[0] = memfd_open(RING_LEN);
		return 1;
	case 'e':
		fds[0] = eventfd(1, EFD_CLOEXEC);
		return 1;
	case 'f':
		fds[0] = open("/dev/null", O_RDWR | O_CLOEXEC);
		return 1;
	case 'S':
		fds[0] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		return 1;
	default:
		for (size_t i = 0; i < 3; i++)
			fds[i] = eventfd(0, EFD_CLOEXEC);
		return 3;
	}
}

static void pass(struct text packet, const int *fds, size_t n_fds)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(3 * sizeof(int))];
	} control = { 0 };
	struct iovec part = { (char *)packet.data, packet.len };
	struct msghdr msg = { .msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = CMSG_SPACE(n_fds * sizeof(int)) };

	control.header.cmsg_level = SOL_SOCKET;
	control.header.cmsg_type = SCM_RIGHTS;
	control.header.cmsg_len = CMSG_LEN(n_fds * sizeof(int));
	memcpy(CMSG_DATA(&control.header), fds, n_fds * sizeof(int));
	if (hostile.fd >= 0)
		(void)!sendmsg(hostile.fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void send_descriptors(void)
{
	unsigned kind = script_byte(hostile.script);
	char raw[4096], text[8192];
	int fds[3] = { -1, -1, -1 };
	struct text packet;
	size_t n;

	packet = with_tag(script_text(hostile.script, raw, sizeof raw), text, sizeof text);
	n = descriptor_make(kind, fds);
	for (size_t i = 0; i < n; i++)
		EXPECT(fds[i] >= 0);
	pass(packet, fds, n);
	for (size_t i = 0; i < n; i++)
		close(fds[i]);
}

static void write_memory(void)
{
	struct sealed *memory = &hostile.memory[script_byte(hostile.script) % MEMORY_MAX];
	size_t at = script_byte(hostile.script);
	char bytes[256];
	struct text text;

	at += (size_t)script_byte(hostile.script) << 8;
	text = script_text(hostile.script, bytes, sizeof bytes);
	if (!memory->at)
		return;
	at %= memory->len;
	memcpy((char *)memory->at + at, text.data, MIN(text.len, memory->len - at));
}

/* ---- steps ---- */

static void hostile_close(void)
{
	if (hostile.fd >= 0)
		close(hostile.fd);
	hostile.fd = -1;
	hostile.n_tags = hostile.n_stream = 0;
}

/* Answer the oldest request, more or less as a broker would. */
static bool help(void)
{
	char text[256];
	const char *verb;

	hostile_listen();
	if (!hostile.is_helpful || hostile.n_tags == 0)
		return false;
	verb = hostile.verbs[hostile.first_tag];
	if (strcmp(verb, "HELLO") == 0)
		snprintf(text, sizeof text,
			"#%s * 1 name=alice uid=%u broker=0 max=65536 batch direct", oldest_tag(),
			(unsigned)geteuid());
	else if (strcmp(verb, "JOIN") == 0)
		snprintf(text, sizeof text, "#%s * 1 first=1 log=00000000000000aa mode=ephemeral",
			oldest_tag());
	else if (strcmp(verb, "RING") == 0)
		snprintf(text, sizeof text, "#%s * slot=0", oldest_tag());
	else
		snprintf(text, sizeof text, "#%s *", oldest_tag());
	(void)hostile_send(text_of(text));
	drop_tag();
	return true;
}

bool hostile_step(void)
{
	struct script *script = hostile.script;

	if (script->at == script->end || !strchr(">r{=~^wxhmb", *script->at) || !*script->at)
		return false;
	hostile_listen();
	switch (script_byte(script)) {
	case '>':
		send_text(false);
		break;
	case 'r':
		send_text(true);
		break;
	case '{':
		send_batch();
		break;
	case '=':
		send_bytes();
		break;
	case '~':
		begin_stream();
		break;
	case '^':
		send_descriptors();
		break;
	case 'w':
		write_memory();
		break;
	case 'x':
		hostile_close();
		break;
	case 'h':
		if (hostile.fd >= 0)
			shutdown(hostile.fd, SHUT_WR);
		break;
	case 'm':
		hostile.is_helpful = !hostile.is_helpful;
		break;
	case 'b':
		hostile.is_closed = !hostile.is_closed;
		break;
	}
	return true;
}

void hostile_init(struct script *script)
{
	hostile_close();
	hostile.script = script;
	hostile.is_helpful = true;
	hostile.is_closed = hostile.is_gone = hostile.is_deaf = false;
	hostile.now = START_NS;
	hostile.n_idle = hostile.n_tags = hostile.n_stream = 0;
	hostile.random = 1;
	for (unsigned i = 0; i < MEMORY_MAX; i++)
		hostile.memory[i] = SEALED_NONE;
}

void hostile_deinit(void)
{
	hostile_close();
	for (unsigned i = 0; i < MEMORY_MAX; i++)
		sealed_close(&hostile.memory[i]);
	hostile.script = NULL;
}

uint64_t hostile_now(void)
{
	return hostile.now - START_NS;
}

void hostile_add_time(uint64_t ns)
{
	hostile.now += ns;
}

/* ---- in the place of the kernel ---- */

int __real_epoll_wait(int epoll, struct epoll_event *events, int n_max, int timeout_ms);
int __wrap_epoll_wait(int epoll, struct epoll_event *events, int n_max, int timeout_ms);
int __real_poll(struct pollfd *fds, nfds_t n_fds, int timeout_ms);
int __wrap_poll(struct pollfd *fds, nfds_t n_fds, int timeout_ms);
int __real_clock_gettime(clockid_t clock, struct timespec *ret_time);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ret_time);
int __wrap_packet_socket(void);
int __wrap_connect(int fd, const struct sockaddr *address, socklen_t len);
sem_t *__wrap_sem_open(const char *name, int flags, ...);
void __wrap_randombytes_buf(void *buffer, size_t len);
uint32_t __wrap_randombytes_uniform(uint32_t limit);

/* The library waits: the broker goes on, if it has anything to do. Otherwise the time goes.
 * Somebody who waits without end is sent away in the end. */
static void happen(int timeout_ms)
{
	continue_stream();
	if (help() || hostile_step())
		return;
	if (hostile.n_stream > 0) {
		hostile.now += 10 * NS_PER_MS;
		return;
	}
	if (timeout_ms >= 0) {
		hostile.now += (uint64_t)timeout_ms * NS_PER_MS;
		return;
	}
	hostile.now += NS_PER_S;
	if (++hostile.n_idle < IDLE_MAX)
		return;
	hostile.is_gone = true;
	hostile.is_closed = false;
	(void)hostile_send(TEXT("BYE KICKED enough"));
	hostile_close();
}

int __wrap_epoll_wait(int epoll, struct epoll_event *events, int n_max, int timeout_ms)
{
	int n = __real_epoll_wait(epoll, events, n_max, 0);

	if (n != 0 || timeout_ms == 0)
		return n;
	happen(timeout_ms);
	return __real_epoll_wait(epoll, events, n_max, 0);
}

int __wrap_poll(struct pollfd *fds, nfds_t n_fds, int timeout_ms)
{
	int n = __real_poll(fds, n_fds, 0);

	if (n != 0 || timeout_ms == 0)
		return n;
	happen(timeout_ms);
	return __real_poll(fds, n_fds, 0);
}

int __wrap_clock_gettime(clockid_t clock, struct timespec *ret_time)
{
	if (!hostile.script) /* the fuzzer asks for itself */
		return __real_clock_gettime(clock, ret_time);
	hostile.now += 1000;
	ret_time->tv_sec = (time_t)(hostile.now / NS_PER_S);
	ret_time->tv_nsec = (long)(hostile.now % NS_PER_S);
	return 0;
}

int __wrap_packet_socket(void)
{
	int ends[2];

	hostile_close();
	if (hostile.is_closed)
		return -ECONNREFUSED;
	EXPECT(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0);
	hostile.fd = ends[1];
	if (hostile.is_gone)
		(void)hostile_send(TEXT("BYE KICKED enough"));
	return ends[0];
}

int __wrap_connect(int fd, const struct sockaddr *address, socklen_t len)
{
	return 0;
}

/* Nobody else's semaphore is opened here. */
sem_t *__wrap_sem_open(const char *name, int flags, ...)
{
	errno = ENOENT;
	return SEM_FAILED;
}

void __wrap_randombytes_buf(void *buffer, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		hostile.random = hostile.random * 6364136223846793005u + 1442695040888963407u;
		((uint8_t *)buffer)[i] = (uint8_t)(hostile.random >> 56);
	}
}

uint32_t __wrap_randombytes_uniform(uint32_t limit)
{
	uint32_t number;

	__wrap_randombytes_buf(&number, sizeof number);
	return limit > 0 ? number % limit : 0;
}
