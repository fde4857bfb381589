/* peer.h - what a broker's client must provide to be measured by bench.c. All of it
 * ends the process on an error. */
#pragma once

#include <stddef.h>

#include "protocol/base.h"

struct peer;

typedef void peer_message_fn(void *userdata, const void *body, size_t len);

/* Connect to the broker at PATH. */
struct peer *peer_connect(const char *path);

/* Subscribe; what is published after the return is received. */
void peer_subscribe(struct peer *peer, const char *topic);

/* Hand over one message; it may stay in the client until peer_flush(). */
void peer_publish(struct peer *peer, const char *topic, const void *body, size_t len);
void peer_flush(struct peer *peer);

/* Polls readable when peer_input() has something to do. */
int peer_fd(struct peer *peer);

/* Take what is there, waiting at most TIMEOUT_MS for the first. */
void peer_input(struct peer *peer, int timeout_ms, peer_message_fn *message, void *userdata);

/* bench.c */
_printf_(1, 2) __attribute__((noreturn)) void die(const char *format, ...);
