/* loop.c - see loop.h. */
#include "broker/loop.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#define EVENTS_MAX 256

int loop_init(struct loop *loop, uint64_t look_us)
{
	look_init(&loop->look, look_us);
	loop->fd = epoll_create1(EPOLL_CLOEXEC);
	return loop->fd < 0 ? -errno : 0;
}

void loop_deinit(struct loop *loop)
{
	if (loop->fd >= 0)
		close(loop->fd);
	loop->fd = -1;
}

int loop_add(struct loop *loop, struct watch *watch, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.ptr = watch };

	return epoll_ctl(loop->fd, EPOLL_CTL_ADD, watch->fd, &event) < 0 ? -errno : 0;
}

void loop_change(struct loop *loop, struct watch *watch, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.ptr = watch };
	int r = epoll_ctl(loop->fd, EPOLL_CTL_MOD, watch->fd, &event);

	assert(r == 0); /* it was added, and changing allocates nothing */
	(void)r;
}

void loop_remove(struct loop *loop, struct watch *watch)
{
	(void)epoll_ctl(loop->fd, EPOLL_CTL_DEL, watch->fd, NULL);
}

void loop_wait(struct loop *loop, uint64_t timeout_ns, uint64_t *ret_now)
{
	struct epoll_event events[EVENTS_MAX];
	uint64_t ms = timeout_ns / 1000000 + (timeout_ns % 1000000 != 0);
	struct timespec ts;
	int n;

	n = look_wait(&loop->look, loop->fd, events, EVENTS_MAX,
		timeout_ns == UINT64_MAX ? -1
		: ms > INT_MAX           ? INT_MAX
					 : (int)ms);
	assert(n >= 0 || errno == EINTR);
	clock_gettime(CLOCK_MONOTONIC, &ts);
	*ret_now = (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
	for (int i = 0; i < n; i++) {
		struct watch *watch = events[i].data.ptr;

		if (watch->fd >= 0)
			watch->ready(watch, events[i].events);
	}
}
