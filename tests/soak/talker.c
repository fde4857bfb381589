/* talker.c - see soak.h: people who talk to each other while the machines roar. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "protocol/packet.h"
#include "tests/soak/soak.h"

#define PATIENCE_MS 20000

static struct chat *open_direct(const char *name)
{
	struct chat_config config = { .socket = soak_socket, .name = name, .direct = true };
	struct chat *chat;

	if (chat_open(&chat, &config) < 0)
		die("%s: open: %s", name, chat_error(chat));
	return chat;
}

/* The next event must be of TYPE, in TARGET, by NAME. */
static struct chat_event expect(
	struct chat *chat, enum chat_type type, const char *target, const char *name)
{
	struct chat_event event;
	int r = chat_receive(chat, &event, PATIENCE_MS);

	if (r < 0)
		die("%s", chat_error(chat));
	if (r == 0)
		die("nothing comes, expected event %d of %s by %s", type, target, name);
	if (event.type != type || strcmp(event.target, target) != 0 ||
		strcmp(event.name, name) != 0)
		die("event %d of %s by %s, expected %d of %s by %s", event.type,
			event.target ? event.target : "-", event.name ? event.name : "-", type,
			target, name);
	return event;
}

static void expect_text(struct chat *chat, const char *target, const char *name, const char *text)
{
	struct chat_event event = expect(chat, CHAT_MESSAGE, target, name);

	if (event.len != strlen(text) || memcmp(event.body, text, event.len) != 0)
		die("%.*s, expected %s", (int)event.len, event.body, text);
}

/* From A to B and back, each told both. */
static void converse(struct chat *a, struct chat *b, uint64_t n)
{
	uint64_t start = clock_us(), took;
	char text[32];

	snprintf(text, sizeof text, "%lu", (unsigned long)n);
	if (chat_send(a, "@soak.b", text, strlen(text), 0) < 0)
		die("%s", chat_error(a));
	expect_text(b, "@soak.a", "soak.a", text);
	if (chat_send(b, "@soak.a", text, strlen(text), 0) < 0)
		die("%s", chat_error(b));
	expect_text(a, "@soak.b", "soak.a", text);
	expect_text(a, "@soak.b", "soak.b", text);
	took = clock_us() - start;
	expect_text(b, "@soak.a", "soak.b", text);
	shared->n_echoes++;
	if (took > shared->worst_echo_us)
		shared->worst_echo_us = took;
}

/* As much as is kept: from here on the log of the conversation does not grow. */
static void fill(struct chat *a, struct chat *b)
{
	static char body[60000];

	for (unsigned i = 0; i < 150; i++) {
		if (chat_send(a, "@soak.b", body, sizeof body, 0) < 0)
			die("%s", chat_error(a));
		expect(a, CHAT_MESSAGE, "@soak.b", "soak.a");
		expect(b, CHAT_MESSAGE, "@soak.a", "soak.a");
	}
}

static void count_row(void *userdata, const char *row, size_t len)
{
	(*(unsigned *)userdata)++;
}

static void ask(struct chat *chat, const char *request, unsigned n_rows_min)
{
	unsigned n_rows = 0;
	const char *answer;

	if (chat_request(chat, request, NULL, 0, PATIENCE_MS, count_row, &n_rows, &answer) != 0)
		die("%s: %s", request, chat_error(chat));
	if (n_rows < n_rows_min && !shared->is_over)
		die("%s: %u rows", request, n_rows);
	shared->n_requests++;
}

static void come_and_go(struct chat *chat)
{
	struct chat *guest = open_direct("soak.guest");

	if (chat_join(guest, "soak.lounge", CHAT_NEW, 0, 0, NULL) < 0)
		die("%s", chat_error(guest));
	expect(chat, CHAT_JOINED, "soak.lounge", "soak.guest");
	chat_close(guest);
	expect(chat, CHAT_PARTED, "soak.lounge", "soak.guest");
}

static void exchange(int fd, const char *packet, const char *expected)
{
	struct pollfd item = { .fd = fd, .events = POLLIN };
	char answer[16] = "";

	if (send(fd, packet, strlen(packet), MSG_NOSIGNAL) < 0 ||
		poll(&item, 1, PATIENCE_MS) != 1 || recv(fd, answer, sizeof answer - 1, 0) < 0)
		die("plain: %s: %s", packet, strerror(errno));
	if (strcmp(answer, expected) != 0)
		die("plain: %s: %s", packet, answer);
}

static void be_plain(void)
{
	struct sockaddr_un address;
	socklen_t len;
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	if (packet_address(soak_socket, &address, &len) < 0 ||
		connect(fd, (struct sockaddr *)&address, len) < 0)
		die("plain: %s", strerror(errno));
	exchange(fd, "hello, everybody", "*");
	exchange(fd, "QUIT", "*");
	close(fd);
	shared->n_plain++;
}

void play_talker(int stood)
{
	struct chat *a = open_direct("soak.a"), *b = open_direct("soak.b");
	char past[64];

	if (chat_join(a, "soak.lounge", CHAT_NEW, 0, CHAT_PRESENCE, NULL) < 0)
		die("%s", chat_error(a));
	fill(a, b);
	soak_stand(stood);
	for (uint64_t n = 0; !shared->is_over; n++) {
		converse(a, b, n);
		ask(a, "PING", 0);
		ask(b, "TIME", 0);
		ask(a, "STATS", 10);
		ask(b, "ROOMS", N_ROOMS);
		snprintf(past, sizeof past, "WHO %s", room_name((unsigned)n % N_ROOMS));
		ask(a, past, N_VERIFIERS);
		snprintf(past, sizeof past, "PAST @soak.%c from=%lu", 'a', (unsigned long)n + 1);
		ask(b, past, 1);
		come_and_go(a);
		be_plain();
	}
	chat_close(a);
	chat_close(b);
}
