/* closer.c - see closer.h.
 *
 * The threads share the descriptor table of the loop: a descriptor that is handed over must not be
 * copied, or the loop would have one left to close. The mutex guards the queues, the list of
 * threads and what is done; everything else is the loop's. A thread that is stuck at the end
 * uses nothing but the pool, its own struct closer and the descriptors in hand.
 */
#include "broker/closer.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "broker/users.h"
#include "broker/worker.h"
#include "protocol/text.h"

/* The sanitizers want much of a thread's stack. */
#define STACK_LEN MAX((size_t)PTHREAD_STACK_MIN, (size_t)256 << 10)

/* At the end the threads have ten times so long, ms. */
#define DEINIT_MS     10
#define DEINIT_ROUNDS 10

/* Packets that are taken off a socket before it is closed: by the loop, and by a thread. */
#define DRAIN_LOOP_MAX   32
#define DRAIN_THREAD_MAX 4096

struct closer_pool {
	int write_fd;
	pthread_mutex_t mutex;
	struct list running; /* closers */
	struct list done;
	unsigned n_running;
};

/* One thread, which frees itself. */
struct closer {
	struct list link; /* in pool.running */
	struct list queue;
	struct closer_pool *pool;
	const struct quota_account *account; /* compared only */
};

/* ---- the thread ---- */

/* Unread data in the socket would make its client receive ECONNRESET before the broker's last
 * lines. */
static void closing_drain(int fd)
{
	char byte;
	struct iovec part = { &byte, sizeof byte };
	struct msghdr msg = { .msg_iov = &part, .msg_iovlen = 1 };

	for (int i = 0; i < DRAIN_THREAD_MAX && recvmsg(fd, &msg, MSG_DONTWAIT) > 0; i++)
		;
}

static void closing_work(const struct closing *closing)
{
	const struct linger none = { 0 };

	for (size_t i = 0; i < closing->n; i++) {
		if (closing->is_socket)
			closing_drain(closing->fds[i]);
		else /* its owner may set it again: this is only the cheap half */
			(void)setsockopt(
				closing->fds[i], SOL_SOCKET, SO_LINGER, &none, sizeof none);
		close(closing->fds[i]);
	}
}

static void *closer_run(void *arg)
{
	struct closer *closer = arg;
	struct closer_pool *pool = closer->pool;
	struct list *link;
	uint64_t one = 1;

	pthread_mutex_lock(&pool->mutex);
	while ((link = list_first(&closer->queue))) {
		list_unlink(link);
		pthread_mutex_unlock(&pool->mutex);
		closing_work(container_of(link, struct closing, link));
		pthread_mutex_lock(&pool->mutex);
		list_append(&pool->done, link);
		(void)!write(pool->write_fd, &one, sizeof one);
	}
	list_unlink(&closer->link);
	pool->n_running--;
	(void)!write(pool->write_fd, &one, sizeof one);
	pthread_mutex_unlock(&pool->mutex);
	free(closer);
	return NULL;
}

static int thread_start(void *(*run)(void *), void *arg)
{
	pthread_attr_t attr;
	pthread_t thread;
	sigset_t all, old;
	int r;

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, STACK_LEN);
	sigfillset(&all); /* signals are the loop's */
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&thread, &attr, run, arg);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	return -r;
}

/* ---- the loop, with the mutex ---- */

static struct closer *pool_find(struct closer_pool *pool, const struct quota_account *account)
{
	list_for_each (link, &pool->running) {
		struct closer *closer = container_of(link, struct closer, link);

		if (closer->account == account)
			return closer;
	}
	return NULL;
}

/* Returns 0 when CLOSING has a thread, else -errno. */
static int pool_give(struct closer_pool *pool, struct closing *closing)
{
	struct closer *closer = pool_find(pool, closing->account);
	int r;

	if (closer) {
		list_append(&closer->queue, &closing->link);
		return 0;
	}
	if (pool->n_running == CLOSER_THREADS_MAX)
		return -EAGAIN;
	closer = calloc(1, sizeof *closer);
	if (!closer)
		return -ENOMEM;
	closer->pool = pool;
	closer->account = closing->account;
	list_init(&closer->queue);
	list_append(&closer->queue, &closing->link);
	list_append(&pool->running, &closer->link);
	pool->n_running++;
	r = thread_start(closer_run, closer);
	if (r < 0) {
		pool->n_running--;
		list_unlink(&closer->link);
		list_unlink(&closing->link);
		free(closer);
	}
	return r;
}

static struct closing *pool_take(struct closer_pool *pool)
{
	struct list *link;

	pthread_mutex_lock(&pool->mutex);
	link = list_first(&pool->done);
	if (link)
		list_unlink(link);
	pthread_mutex_unlock(&pool->mutex);
	return link ? container_of(link, struct closing, link) : NULL;
}

/* ---- the loop ---- */

int closers_init(struct closers *closers, struct users *users)
{
	int r;

	*closers = (struct closers){ .fd = -1, .users = users };
	list_init(&closers->all);
	list_init(&closers->waiting);
	closers->pool = calloc(1, sizeof *closers->pool);
	if (!closers->pool)
		return -ENOMEM;
	r = worker_open_event(&closers->fd, &closers->pool->write_fd);
	if (r < 0) {
		free(TAKE(closers->pool));
		return r;
	}
	pthread_mutex_init(&closers->pool->mutex, NULL);
	list_init(&closers->pool->running);
	list_init(&closers->pool->done);
	return 0;
}

static void closing_discharge(struct closers *closers, struct closing *closing)
{
	list_unlink(&closing->closers_link);
	list_unlink(&closing->account_link);
	closers->n_held -= closing->n;
	if (closing->account)
		closing->account->n_passed -= closing->n;
	users_put(closers->users, TAKE(closing->user));
}

int closers_deinit(struct closers *closers)
{
	struct closer_pool *pool = closers->pool;
	struct pollfd poll_fd = { closers->fd, POLLIN, 0 };
	bool is_idle;

	if (!pool)
		return 0;
	for (int i = 0; i < DEINIT_ROUNDS && !list_is_empty(&closers->all); i++) {
		(void)poll(&poll_fd, 1, DEINIT_MS);
		closers_dispatch(closers);
	}
	list_for_each (link, &closers->all)
		closing_discharge(closers, container_of(link, struct closing, closers_link));
	free(TAKE(closers->spare));
	/* a thread that has done its last work is gone in a moment */
	for (int i = 0; i < DEINIT_ROUNDS; i++) {
		pthread_mutex_lock(&pool->mutex);
		is_idle = pool->n_running == 0;
		pthread_mutex_unlock(&pool->mutex);
		if (is_idle)
			break;
		(void)poll(NULL, 0, 1);
	}
	if (!is_idle)
		return -EBUSY;
	list_for_each (link, &closers->waiting)
		free(container_of(link, struct closing, link));
	if (pool->write_fd != closers->fd)
		close(pool->write_fd);
	close(closers->fd);
	pthread_mutex_destroy(&pool->mutex);
	free(TAKE(closers->pool));
	closers->fd = -1;
	return 0;
}

int closers_reserve(struct closers *closers)
{
	if (!closers->spare)
		closers->spare = malloc(sizeof *closers->spare);
	return closers->spare ? 0 : -ENOMEM;
}

/* With what has waited longest; each account that has a thread keeps its order. */
static void closers_start(struct closers *closers)
{
	pthread_mutex_lock(&closers->pool->mutex);
	list_for_each (link, &closers->waiting) {
		list_unlink(link);
		if (pool_give(closers->pool, container_of(link, struct closing, link)) < 0)
			list_append(link_next, link);
	}
	pthread_mutex_unlock(&closers->pool->mutex);
}

static int closers_queue(
	struct closers *closers, struct user *user, const int *fds, size_t n, bool is_socket)
{
	struct closing *closing;
	int r = closers_reserve(closers);

	if (r < 0)
		return r;
	closing = TAKE(closers->spare);
	closing->since = closers->users->now;
	closing->is_socket = is_socket;
	closing->n = n;
	memcpy(closing->fds, fds, n * sizeof *fds);
	closing->user = user ? user_ref(user) : NULL;
	closing->account = user ? user->account : NULL;
	list_init(&closing->account_link);
	if (closing->account) {
		closing->account->n_passed += n;
		list_append(&closing->account->closing, &closing->account_link);
	}
	closers->n_held += n;
	list_append(&closers->all, &closing->closers_link);
	list_append(&closers->waiting, &closing->link);
	closers_start(closers);
	return 0;
}

int closers_add(struct closers *closers, struct user *user, const int *fds, size_t n)
{
	return closers_queue(closers, user, fds, n, false);
}

int closers_add_socket(struct closers *closers, struct user *user, int fd)
{
	/* from here on nothing more comes into its queue */
	shutdown(fd, SHUT_RDWR);
	if (packet_drain(fd, DRAIN_LOOP_MAX))
		return closers_queue(closers, user, &fd, 1, true);
	close(fd);
	return 0;
}

void closers_dispatch(struct closers *closers)
{
	struct closing *closing;
	uint64_t counts[64]; /* one of an eventfd, many of a pipe */

	(void)!read(closers->fd, counts, sizeof counts);
	while ((closing = pool_take(closers->pool))) {
		closing_discharge(closers, closing);
		free(closing);
	}
	closers_start(closers);
}

bool closers_are_stuck(const struct quota_account *account, uint64_t now)
{
	struct list *oldest = list_first(&account->closing);

	return oldest &&
	       now - container_of(oldest, struct closing, account_link)->since >= CLOSER_STUCK_NS;
}

uint64_t closers_patience(struct closers *closers)
{
	if (list_is_empty(&closers->waiting))
		return UINT64_MAX;
	closers_start(closers);
	return list_is_empty(&closers->waiting) ? UINT64_MAX : CLOSER_RETRY_NS;
}
