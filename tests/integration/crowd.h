/* crowd.h - very many connections that all do the same: a struct raw has 64 KiB each.
 *
 *	struct crowd *crowd = crowd_open(broker, 1000);
 *
 *	crowd_send(crowd, "#h HELLO 1");
 *	crowd_send(crowd, "#j JOIN room");
 *	crowd_await(crowd, "#j * ~");
 *
 * Nothing is waited for in crowd_send(): that is the storm.
 */
#pragma once

#include "tests/integration/harness.h"

struct crowd {
	int *fds; /* -1: closed; owned */
	unsigned n;
};

/* Skip the test unless this process may have N descriptors. */
void crowd_need(unsigned n);

/* Connect N times. The second form does not wait where the backlog is full: the crowd is
 * then smaller than N. */
struct crowd *crowd_open(const struct broker *broker, unsigned n);
struct crowd *crowd_try_open(const struct broker *broker, unsigned n);
void crowd_close(struct crowd *crowd);
void crowd_close_all(void);

/* Each sends this packet. */
void crowd_send(struct crowd *crowd, const char *packet);

/* Each receives packets until one of this form. */
void crowd_await(struct crowd *crowd, const char *pattern);

/* The next packet of one of them; borrowed until the next call. data is NULL at the end
 * of the connection. */
struct text crowd_next(struct crowd *crowd, unsigned i);

/* End one connection. */
void crowd_leave(struct crowd *crowd, unsigned i);
