/* peer_chat.c - chat-broker, driven through libchat as any program would. */
#include <poll.h>
#include <stdlib.h>

#include "client/chat.h"
#include "client/session.h"
#include "tests/bench/peer.h"

/* The last message waits until we know whether more follows, as it does in a program
 * that takes its work from a queue. */
struct peer {
	struct chat *chat;
	const char *topic; /* of the last message, or NULL */
	const void *body;
	size_t len;
};

struct peer *peer_connect(const char *path)
{
	struct peer *peer = calloc(1, sizeof *peer);
	struct chat_config config = { .socket = path, .once = true };

	if (!peer || chat_open(&peer->chat, &config) < 0)
		die("open: %s", peer ? chat_error(peer->chat) : "no memory");
	return peer;
}

void peer_subscribe(struct peer *peer, const char *topic)
{
	if (chat_join(peer->chat, topic, CHAT_NEW, 0, 0, NULL) < 0)
		die("join: %s", chat_error(peer->chat));
}

void peer_await(struct peer *peer)
{
	/* chat_join() has waited */
}

static void send_last(struct peer *peer, unsigned flags)
{
	if (peer->topic && chat_send(peer->chat, peer->topic, peer->body, peer->len, flags) < 0)
		die("send: %s", chat_error(peer->chat));
	peer->topic = NULL;
}

void peer_publish(struct peer *peer, const char *topic, const void *body, size_t len)
{
	send_last(peer, CHAT_MORE);
	peer->topic = topic;
	peer->body = body;
	peer->len = len;
}

static void unexpected(struct peer *peer, const struct chat_event *event)
{
	if (event->type == CHAT_GAP)
		die("gap from %lu to %lu", (unsigned long)event->from, (unsigned long)event->to);
	if (event->type == CHAT_REFUSED)
		die("refused: %s %s", event->code, event->text);
}

void peer_flush(struct peer *peer)
{
	struct pollfd pollfd = { .events = POLLIN };
	struct chat_event event;

	send_last(peer, 0);
	/* A program has its loop, with chat_fd() in it; a publisher here sleeps on the
	 * window instead, so what a full socket did not take goes first. */
	while (peer->chat->link.is_blocked) {
		pollfd.fd = chat_fd(peer->chat);
		poll(&pollfd, 1, INPUT_MS);
		if (chat_receive(peer->chat, &event, 0) > 0)
			unexpected(peer, &event);
	}
}

int peer_fd(struct peer *peer)
{
	return chat_fd(peer->chat);
}

void peer_input(struct peer *peer, int timeout_ms, peer_message_fn *message, void *userdata)
{
	struct chat_event event;
	int r;

	while ((r = chat_receive(peer->chat, &event, timeout_ms)) > 0) {
		if (event.type == CHAT_MESSAGE)
			message(userdata, event.body, event.len);
		else
			unexpected(peer, &event);
		timeout_ms = 0;
	}
	if (r < 0)
		die("receive: %s", chat_error(peer->chat));
}
