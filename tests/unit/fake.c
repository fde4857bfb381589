/* fake.c - see fake.h. */
#include "tests/unit/fake.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "protocol/record.h"

_Noreturn void fake_fail(const struct fake *fake, const char *wanted)
{
	fprintf(stderr, "script: wanted \"%s\", last frame \"%.200s\"\n", wanted, fake->frame);
	abort();
}

static void fake_wait(struct fake *fake, int fd, const char *wanted)
{
	struct pollfd watch = { fd, POLLIN, 0 };

	if (poll(&watch, 1, DEADLINE_MS) != 1)
		fake_fail(fake, wanted);
}

bool fake_next(struct fake *fake, const char *wanted)
{
	struct text text;
	ssize_t n;

	if (fake->at == fake->end) {
		fake_wait(fake, fake->fd, wanted);
		n = recv(fake->fd, fake->packet, sizeof fake->packet, 0);
		if (n <= 0)
			return false;
		fake->end = fake->packet + n;
		fake->at = fake->packet;
		if (n < BATCH_START_LEN || memcmp(fake->packet, BATCH_START, BATCH_START_LEN)) {
			text = (struct text){ fake->packet, (size_t)n };
			fake->at = fake->end;
			goto found;
		}
		fake->at += BATCH_START_LEN;
	}
	if (record_next(&fake->at, fake->end, &text))
		fake_fail(fake, "records that add up");
found:
	memcpy(fake->frame, text.data, text.len);
	fake->frame[text.len] = '\0';
	return true;
}

/* The library asks for an acknowledgement when it sees fit: "#aN PING". */
static bool is_barrier(const char *frame)
{
	return strncmp(frame, "#a", 2) == 0 && strlen(frame) > 5 &&
	       strcmp(frame + strlen(frame) - 5, " PING") == 0;
}

void fake_expect(struct fake *fake, const char *format, ...)
{
	char wanted[512];
	const char *frame = fake->frame;
	va_list arguments;
	size_t len;

	va_start(arguments, format);
	vsnprintf(wanted, sizeof wanted, format, arguments);
	va_end(arguments);
	do {
		if (!fake_next(fake, wanted))
			fake_fail(fake, wanted);
	} while (is_barrier(frame) && strncmp(wanted, "PING", 4) != 0);
	fake->tag[0] = '\0';
	if (frame[0] == '#') {
		len = strcspn(frame, " ");
		snprintf(fake->tag, sizeof fake->tag, "%.*s", (int)len - 1, frame + 1);
		frame += len + 1;
	}
	len = strlen(wanted);
	if (wanted[len - 1] == '~' ? strncmp(frame, wanted, len - 1) : strcmp(frame, wanted))
		fake_fail(fake, wanted);
}

void fake_send_bytes(struct fake *fake, const void *data, size_t len)
{
	if (send(fake->fd, data, len, MSG_NOSIGNAL) != (ssize_t)len)
		fake_fail(fake, "to send");
}

void fake_send(struct fake *fake, const char *format, ...)
{
	char frame[2048];
	va_list arguments;
	int len;

	va_start(arguments, format);
	len = vsnprintf(frame, sizeof frame, format, arguments);
	va_end(arguments);
	fake_send_bytes(fake, frame, (size_t)len);
}

void fake_flush(struct fake *fake)
{
	if (fake->batch_len > BATCH_START_LEN)
		fake_send_bytes(fake, fake->batch, fake->batch_len);
	fake->batch_len = 0;
}

void fake_add(struct fake *fake, const char *format, ...)
{
	char frame[2048];
	va_list arguments;
	int len;

	va_start(arguments, format);
	len = vsnprintf(frame, sizeof frame, format, arguments);
	va_end(arguments);
	if (fake->batch_len + record_size((size_t)len) > PACKET_LEN_MAX)
		fake_flush(fake);
	if (fake->batch_len == 0) {
		memcpy(fake->batch, BATCH_START, BATCH_START_LEN);
		fake->batch_len = BATCH_START_LEN;
	}
	memcpy(fake->batch + fake->batch_len + RECORD_HEADER_LEN, frame, (size_t)len);
	record_close(fake->batch + fake->batch_len, (size_t)len);
	record_seal(fake->batch + fake->batch_len);
	fake->batch_len += record_size((size_t)len);
}

void fake_accept(struct fake *fake)
{
	fake_wait(fake, fake->listener, "a connection");
	fake->fd = accept4(fake->listener, NULL, NULL, SOCK_CLOEXEC);
	if (fake->fd < 0)
		fake_fail(fake, "to accept");
	fake->at = fake->end = NULL;
}

void fake_greet(struct fake *fake)
{
	fake_accept(fake);
	fake_expect(fake, "HELLO 1 pub=~");
	snprintf(fake->name, sizeof fake->name, "%.16s", strstr(fake->frame, "pub=") + 4);
	fake_send(fake, "#h * 1 name=alice uid=%u broker=0 max=65536 batch direct",
		(unsigned)geteuid());
}

void fake_answer(struct fake *fake, const char *words)
{
	fake_send(fake, "#%s %s", fake->tag, words);
}

void fake_join(struct fake *fake, const char *request, const char *answer)
{
	fake_expect(fake, "JOIN %s", request);
	fake_answer(fake, answer);
}

void fake_hang_up(struct fake *fake)
{
	close(fake->fd);
	fake->fd = -1;
}

void fake_end(struct fake *fake)
{
	while (fake_next(fake, "the end"))
		if (!is_barrier(fake->frame))
			fake_fail(fake, "the end");
	fake_hang_up(fake);
}

void *fake_main(void *argument)
{
	struct fake *fake = argument;

	fake->script(fake);
	return NULL;
}

struct fake *fake_start(void (*script)(struct fake *fake))
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct fake *fake = calloc(1, sizeof *fake);

	assert_non_null(fake);
	fake->fd = -1;
	fake->script = script;
	strcpy(fake->directory, "/tmp/chat-test-XXXXXX");
	assert_non_null(mkdtemp(fake->directory));
	snprintf(fake->path, sizeof fake->path, "%s/s", fake->directory);
	strcpy(address.sun_path, fake->path);
	fake->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	assert_true(fake->listener >= 0);
	assert_int_equal(bind(fake->listener, (struct sockaddr *)&address, sizeof address), 0);
	assert_int_equal(listen(fake->listener, 8), 0);
	if (script)
		assert_int_equal(pthread_create(&fake->thread, NULL, fake_main, fake), 0);
	return fake;
}

void fake_stop(struct fake *fake)
{
	if (fake->script)
		pthread_join(fake->thread, NULL);
	if (fake->fd >= 0)
		close(fake->fd);
	close(fake->listener);
	unlink(fake->path);
	rmdir(fake->directory);
	free(fake);
}

struct chat *open_chat(const struct fake *fake, bool direct, bool once)
{
	struct chat_config config = { .socket = fake->path, .direct = direct, .once = once };
	struct chat *chat;

	if (chat_open(&chat, &config))
		fail_msg("chat_open: %s", chat_error(chat));
	assert_string_equal(chat_name(chat), "alice");
	assert_true(chat_is_up(chat));
	return chat;
}

struct chat_event receive(struct chat *chat, enum chat_type type)
{
	struct chat_event event;
	int r = chat_receive(chat, &event, DEADLINE_MS);

	if (r != 1)
		fail_msg("no event of type %d: %d %s", (int)type, r, chat_error(chat));
	assert_int_equal(event.type, type);
	return event;
}

void receive_message(struct chat *chat, uint64_t seq, const char *body)
{
	struct chat_event event = receive(chat, CHAT_MESSAGE);

	assert_int_equal(event.seq, seq);
	assert_int_equal(event.len, strlen(body));
	assert_memory_equal(event.body, body, event.len);
}

void receive_nothing(struct chat *chat)
{
	struct chat_event event;

	assert_int_equal(chat_receive(chat, &event, 0), 0);
}

void receive_gap(struct chat *chat, uint64_t from, uint64_t to, const char *reason)
{
	struct chat_event event = receive(chat, CHAT_GAP);

	assert_int_equal(event.from, from);
	assert_int_equal(event.to, to);
	assert_string_equal(event.text, reason);
}
