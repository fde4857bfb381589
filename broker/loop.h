/* loop.h - epoll: watches and one wait. Edge-triggered where the owner says so. */
#pragma once

#include <stdint.h>

#include "protocol/look.h"

struct watch {
	int fd; /* owned by who embeds the watch; -1 when closed */
	void (*ready)(struct watch *watch, uint32_t events);
};

struct loop {
	int fd;
	struct look look;
};

/* LOOK_US: how long to look before sleeping, see protocol/look.h. Returns 0 or -errno. */
int loop_init(struct loop *loop, uint64_t look_us);
void loop_deinit(struct loop *loop);

/* EVENTS as in epoll_ctl(2). The watch must stay until it is removed and the round
 * is over. Returns 0 or -errno. */
int loop_add(struct loop *loop, struct watch *watch, uint32_t events);
void loop_change(struct loop *loop, struct watch *watch, uint32_t events);
void loop_remove(struct loop *loop, struct watch *watch);

/* Wait at most TIMEOUT_NS (UINT64_MAX: for ever) and call the watches that are
 * ready. *ret_now is set in between, to CLOCK_MONOTONIC ns. */
void loop_wait(struct loop *loop, uint64_t timeout_ns, uint64_t *ret_now);
