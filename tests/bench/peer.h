/* peer.h - what a broker's client must provide to be measured. All of it ends the
 * process on an error; the rest is the same for every broker. */
#pragma once

#include <stddef.h>

#include "tests/bench/harness.h"

struct peer;

typedef void peer_message_fn(void *userdata, const void *body, size_t len);

/* Connect to the broker at ADDRESS, which is in the words of its kind. */
struct peer *peer_connect(const char *address);

/* Subscribe. What is published after peer_await() is received. */
void peer_subscribe(struct peer *peer, const char *topic);

/* Wait until the broker has seen the subscriptions, where the protocol tells. */
void peer_await(struct peer *peer);

/* Hand over one message. TOPIC and BODY must stay until peer_flush(), which returns
 * when everything has left this process, or leaves it without further calls. */
void peer_publish(struct peer *peer, const char *topic, const void *body, size_t len);
void peer_flush(struct peer *peer);

/* Polls readable when peer_input() has something to do. */
int peer_fd(struct peer *peer);

/* Take what is there, waiting at most TIMEOUT_MS (0 or INPUT_MS) for the first. */
#define INPUT_MS 100
void peer_input(struct peer *peer, int timeout_ms, peer_message_fn *message, void *userdata);
