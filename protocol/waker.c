/* waker.c - see waker.h. */
#include "protocol/waker.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "protocol/base.h"
#include "protocol/shared.h"

_Static_assert(sizeof(struct sleep_page) == 4096, "chat-ring(7)");

/* ---- sleeping ---- */

int sleeper_open(struct sleeper *ret_sleeper, const char *name)
{
	struct sleeper sleeper = SLEEPER_NONE;

	sleeper.semaphore = sem_open(name, 0);
	if (sleeper.semaphore == SEM_FAILED)
		return -errno;
	*ret_sleeper = sleeper;
	return 0;
}

int sleeper_create(struct sleeper *ret_sleeper)
{
	struct sleeper sleeper = SLEEPER_NONE;
	int r;

	sleeper.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (sleeper.fd < 0)
		return -errno;
	r = sealed_create(&sleeper.page, "chat-sleep", sizeof(struct sleep_page));
	if (r < 0) {
		close(sleeper.fd);
		return r;
	}
	*ret_sleeper = sleeper;
	return 0;
}

static void sleeper_drain(struct sleeper *sleeper)
{
	uint64_t value;
	ssize_t n;

	if (sleeper->semaphore) {
		while (sem_trywait(sleeper->semaphore) == 0)
			;
	} else {
		n = read(sleeper->fd, &value, sizeof value);
		(void)n; /* EAGAIN: nobody woke it */
	}
}

void sleeper_begin(struct sleeper *sleeper)
{
	sleeper_drain(sleeper);
	if (!sleeper->semaphore) {
		struct sleep_page *page = sleeper->page.at;

		shared_set32(&page->sleeps, (page->sleeps + 1) | 1);
	}
	shared_fence();
}

int sleeper_wait(struct sleeper *sleeper, uint64_t deadline_ns)
{
	struct timespec now, until;
	uint64_t limit;

	clock_gettime(CLOCK_MONOTONIC, &now);
	limit = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec + WAKER_SLEEP_NS;
	limit = MIN(limit, deadline_ns);
	until.tv_sec = (time_t)(limit / 1000000000);
	until.tv_nsec = (long)(limit % 1000000000);
	if (sem_clockwait(sleeper->semaphore, CLOCK_MONOTONIC, &until) < 0)
		return errno == EINTR ? -EINTR : 0;
	/* the token stays: while it is there nobody posts, and we are awake */
	(void)sem_post(sleeper->semaphore);
	return 0;
}

void sleeper_end(struct sleeper *sleeper)
{
	struct sleep_page *page;

	if (sleeper->semaphore)
		return;
	page = sleeper->page.at;
	shared_set32(&page->sleeps, (page->sleeps + 1) & ~1u);
	sleeper_drain(sleeper);
}

void sleeper_close(struct sleeper *sleeper)
{
	if (sleeper->semaphore)
		sem_close(sleeper->semaphore);
	if (sleeper->fd >= 0)
		close(sleeper->fd);
	sealed_close(&sleeper->page);
	*sleeper = SLEEPER_NONE;
}

/* ---- waking ---- */

static int waker_outcome(struct waker *ret_waker, sem_t *semaphore)
{
	if (semaphore == SEM_FAILED)
		return -errno;
	*ret_waker = WAKER_NONE;
	ret_waker->semaphore = semaphore;
	return 0;
}

int waker_open(struct waker *ret_waker, const char *name)
{
	return waker_outcome(ret_waker, sem_open(name, 0));
}

int waker_create(struct waker *ret_waker, const char *name)
{
	return waker_outcome(ret_waker, sem_open(name, O_CREAT | O_EXCL, 0600, 0));
}

/* Anything else could block who writes to it, or send it a signal. */
bool waker_is_eventfd(int fd)
{
	static const char wanted[] = "anon_inode:[eventfd]";
	char path[32], link[sizeof wanted];
	ssize_t n;

	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	n = readlink(path, link, sizeof link);
	return n == sizeof wanted - 1 && memcmp(link, wanted, sizeof wanted - 1) == 0;
}

int waker_take(struct waker *ret_waker, int fd, int page_fd, uid_t owner)
{
	struct waker waker = WAKER_NONE;
	int flags = fcntl(fd, F_GETFL), r;

	if (flags < 0 || !waker_is_eventfd(fd))
		return -EPERM;
	if (!(flags & O_NONBLOCK) && fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return -errno;
	r = sealed_map(
		&waker.page, page_fd, owner, sizeof(struct sleep_page), sizeof(struct sleep_page));
	if (r < 0)
		return r;
	waker.fd = fd;
	*ret_waker = waker;
	return 0;
}

bool waker_claim(struct waker *waker)
{
	const struct sleep_page *page = waker->page.at;
	uint32_t sleep;
	int value;

	if (waker->semaphore)
		return sem_getvalue(waker->semaphore, &value) == 0 && value <= 0;
	sleep = page ? shared_get32(&page->sleeps) : 0;
	if (!(sleep & 1) || sleep == waker->woken)
		return false;
	waker->woken = sleep;
	return true;
}

void waker_wake(struct waker *waker)
{
	uint64_t one = 1;
	ssize_t n;

	if (!waker_claim(waker))
		return;
	if (waker->semaphore) {
		(void)sem_post(waker->semaphore);
		return;
	}
	n = write(waker->fd, &one, sizeof one);
	(void)n; /* EAGAIN: it has more reasons than it can count */
}

void waker_close(struct waker *waker)
{
	if (waker->semaphore)
		sem_close(waker->semaphore);
	if (waker->fd >= 0)
		close(waker->fd);
	sealed_close(&waker->page);
	*waker = WAKER_NONE;
}
