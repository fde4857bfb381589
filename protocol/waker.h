/* waker.h - to sleep until another process has something, and to wake who sleeps.
 *
 * A wake-up is a hint: the rings and the counters are the truth, and who wakes looks at
 * all of them again. chat-ring(7), section WAKING, has the argument why none is lost.
 *
 * Two kinds, one behaviour. A named semaphore, made by a broker for readers and publishers
 * of its own user: its value is 1 while there is a reason to look. An eventfd, and a page
 * with one word that says "I sleep", made by a reader whose broker is another user's, or
 * who polls; it can be waited for together with a socket.
 */
#pragma once

#include <semaphore.h>
#include <stdbool.h>
#include <stdint.h>

#include "protocol/sealed.h"

/* The longest sleep on a semaphore, ns: whoever should have posted may have been killed
 * between its decision and the deed. */
#define WAKER_SLEEP_NS (UINT64_C(1000000000))

/* "/chat.UID.INSTANCE.RANDOM": shm_overview(7) has it in /dev/shm as "sem.chat...". */
#define WAKER_NAME_MAX 64

/* What a sleeper says of itself. One writer: the sleeper. */
struct sleep_page {
	uint32_t sleeps; /* odd while it sleeps, and another number each time */
	char reserved[4092];
};

/* ---- sleeping ---- */

struct sleeper {
	sem_t *semaphore; /* NULL: the other kind */
	int fd;           /* an eventfd, readable when there was a reason; -1: neither kind */
	struct sealed page;
};

#define SLEEPER_NONE ((struct sleeper){ .fd = -1, .page = { .fd = -1 } })

/* On the semaphore NAME. Errors: those of sem_open(3). */
int sleeper_open(struct sleeper *ret_sleeper, const char *name);

/* On an eventfd. Errors: those of eventfd(2) and sealed_create(). */
int sleeper_create(struct sleeper *ret_sleeper);

/* From now on it is woken. Then look at everything once more; then sleep. */
void sleeper_begin(struct sleeper *sleeper);

/* Sleep on a semaphore until it is posted, or DEADLINE_NS of CLOCK_MONOTONIC, at most
 * WAKER_SLEEP_NS. Returns 0, or -EINTR when a signal handler ran. */
int sleeper_wait(struct sleeper *sleeper, uint64_t deadline_ns);

/* It is awake. */
void sleeper_end(struct sleeper *sleeper);

void sleeper_close(struct sleeper *sleeper);

/* ---- waking ---- */

struct waker {
	sem_t *semaphore;
	int fd;
	struct sealed page;
	uint32_t woken; /* the sleep that it was woken from last: once is enough */
};

#define WAKER_NONE ((struct waker){ .fd = -1, .page = { .fd = -1 } })

/* Is FD an eventfd? Its owner is not asked. */
bool waker_is_eventfd(int fd);

/* The sleeper of semaphore NAME. Errors: those of sem_open(3). */
int waker_open(struct waker *ret_waker, const char *name);

/* The sleeper of user OWNER behind an eventfd and a page; both are consumed on success.
 * Errors: -EPERM it is no eventfd; those of sealed_map(). */
int waker_take(struct waker *ret_waker, int fd, int page_fd, uid_t owner);

/* Wake it if it sleeps. Between what it is to find and this must be a shared_fence(). */
void waker_wake(struct waker *waker);

/* Is it to be woken, and was not from this sleep? For who wakes it by other means, once;
 * after a shared_fence(), too. */
bool waker_claim(struct waker *waker);

void waker_close(struct waker *waker);

/* ---- the semaphore itself ---- */

/* Make the semaphore NAME, of value 0, for this user only, and open it to wake who sleeps
 * on it. Errors: those of sem_open(3). */
int waker_create(struct waker *ret_waker, const char *name);
