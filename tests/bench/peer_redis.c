/* peer_redis.c - redis pub/sub through hiredis on a Unix socket. PUBLISH is pipelined:
 * a flush sends the commands of a burst and reads their replies. */
#include <errno.h>
#include <hiredis/hiredis.h>
#include <stdlib.h>
#include <string.h>

#include "tests/bench/peer.h"

struct peer {
	const char *address;
	redisContext *subscriber;
	redisContext *publisher; /* in RESP2 a subscriber may not publish: a second one */
	int n_pending;
};

static redisContext *open_context(const char *address)
{
	redisContext *context = redisConnectUnix(address);

	if (!context || context->err)
		die("connect: %s", context ? context->errstr : "no memory");
	return context;
}

struct peer *peer_connect(const char *address)
{
	struct peer *peer = calloc(1, sizeof *peer);

	if (!peer)
		die("no memory");
	peer->address = address;
	return peer;
}

void peer_subscribe(struct peer *peer, const char *topic)
{
	struct timeval timeout = { 0, INPUT_MS * 1000 };
	redisReply *reply;

	if (!peer->subscriber)
		peer->subscriber = open_context(peer->address);
	reply = redisCommand(peer->subscriber, "SUBSCRIBE %s", topic);
	if (!reply)
		die("subscribe: %s", peer->subscriber->errstr);
	freeReplyObject(reply);
	redisSetTimeout(peer->subscriber, timeout);
}

void peer_await(struct peer *peer)
{
	/* the reply has come */
}

void peer_publish(struct peer *peer, const char *topic, const void *body, size_t len)
{
	const char *words[] = { "PUBLISH", topic, body };
	size_t lens[] = { strlen("PUBLISH"), strlen(topic), len };

	if (!peer->publisher)
		peer->publisher = open_context(peer->address);
	redisAppendCommandArgv(peer->publisher, 3, words, lens);
	peer->n_pending++;
}

void peer_flush(struct peer *peer)
{
	for (; peer->n_pending > 0; peer->n_pending--) {
		void *reply;

		if (redisGetReply(peer->publisher, &reply) != REDIS_OK)
			die("publish: %s", peer->publisher->errstr);
		freeReplyObject(reply);
	}
}

int peer_fd(struct peer *peer)
{
	return peer->subscriber->fd;
}

void peer_input(struct peer *peer, int timeout_ms, peer_message_fn *message, void *userdata)
{
	redisContext *context = peer->subscriber;
	void *reply;

	if (redisBufferRead(context) != REDIS_OK) {
		if (errno != EAGAIN)
			die("read: %s", context->errstr);
		context->err = 0;
		return;
	}
	while (redisGetReplyFromReader(context, &reply) == REDIS_OK && reply) {
		const redisReply *push = reply;

		if (push->type == REDIS_REPLY_ARRAY && push->elements == 3 &&
			push->element[2]->type == REDIS_REPLY_STRING)
			message(userdata, push->element[2]->str, push->element[2]->len);
		freeReplyObject(reply);
	}
}
