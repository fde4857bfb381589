/* peer_chat.c - chat-broker, driven through libchat as any program would. */
#include <stdlib.h>
#include <string.h>

#include "client/chat.h"
#include "tests/bench/peer.h"

/* The last message is kept until we know whether more follows: as a program does
 * that takes work from a queue. */
struct peer {
	struct chat *chat;
	bool has_last;
	const char *topic;
	size_t len;
	char last[64000];
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

static void send_last(struct peer *peer, unsigned flags)
{
	if (peer->has_last && chat_send(peer->chat, peer->topic, peer->last, peer->len, flags) < 0)
		die("send: %s", chat_error(peer->chat));
	peer->has_last = false;
}

void peer_publish(struct peer *peer, const char *topic, const void *body, size_t len)
{
	send_last(peer, CHAT_MORE);
	peer->has_last = true;
	peer->topic = topic;
	peer->len = len;
	memcpy(peer->last, body, len);
}

void peer_flush(struct peer *peer)
{
	send_last(peer, 0);
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
		else if (event.type == CHAT_GAP)
			die("gap from %lu to %lu", (unsigned long)event.from,
				(unsigned long)event.to);
		timeout_ms = 0;
	}
	if (r < 0)
		die("receive: %s", chat_error(peer->chat));
}
