/* throttle.c - see throttle.h. */
#include "broker/throttle.h"

#include <assert.h>

#include "protocol/base.h"

void throttle_init(struct throttle *throttle)
{
	*throttle = (struct throttle){ 0 };
	list_init(&throttle->waiters);
	list_init(&throttle->link);
}

void throttle_deinit(struct throttle *throttle)
{
	assert(list_is_empty(&throttle->waiters));
	list_unlink(&throttle->link);
}

/* Put it where its time belongs: behind all that are due before or with it. */
static void throttle_queue(struct throttle *throttle, struct list *queue, uint64_t now)
{
	struct list *before = queue->prev;

	throttle->due = now + MAX(rate_wait(&throttle->rate), THROTTLE_REST_NS);
	while (before != queue && container_of(before, struct throttle, link)->due > throttle->due)
		before = before->prev;
	list_append(before->next, &throttle->link);
}

void throttle_wait(struct throttle *throttle, struct list *queue, uint64_t now, struct list *waiter)
{
	throttle->n_waits++;
	list_append(&throttle->waiters, waiter);
	if (!list_is_linked(&throttle->link))
		throttle_queue(throttle, queue, now);
}

static void throttle_let_go(
	struct throttle *throttle, uint64_t now, void (*wake)(struct list *waiter))
{
	struct list *waiter;

	while ((waiter = list_first(&throttle->waiters)) && rate_has(&throttle->rate, now)) {
		rate_take(&throttle->rate);
		list_unlink(waiter);
		wake(waiter);
	}
}

uint64_t throttles_expire(struct list *queue, uint64_t now, void (*wake)(struct list *waiter))
{
	struct list *link;

	while ((link = list_first(queue))) {
		struct throttle *throttle = container_of(link, struct throttle, link);

		if (now < throttle->due)
			return throttle->due - now;
		list_unlink(link);
		throttle_let_go(throttle, now, wake);
		if (!list_is_empty(&throttle->waiters))
			throttle_queue(throttle, queue, now);
	}
	return UINT64_MAX;
}
