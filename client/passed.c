/* passed.c - see passed.h. */
#include "client/passed.h"

#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "protocol/ring.h"
#include "protocol/waker.h"

/* Threads of this process at once: each waits for a broker that means harm. */
#define THREADS_MAX 16

/* The thread only makes system calls; a sanitizer takes more. */
#define STACK_LEN (256u << 10)

/* Memory that is released while the caller waits: the largest ring, and what the kernel adds
 * where it uses huge pages. */
#define MEMORY_LEN_MAX (RING_HEADER_LEN + RING_CAPACITY_MAX + (4u << 20))

/* The descriptors that one thread closes. The thread owns the task. */
struct task {
	size_t n_fds;
	int fds[];
};

static atomic_uint n_threads;

bool passed_is_expected(int fd)
{
	return fcntl(fd, F_GET_SEALS) >= 0 || waker_is_eventfd(fd);
}

/* The larger memory is, the longer its release takes; without the seal it may still grow. */
static bool is_small_memory(int fd)
{
	int seals = fcntl(fd, F_GET_SEALS);
	struct stat statbuf;

	return seals >= 0 && (seals & F_SEAL_GROW) && fstat(fd, &statbuf) == 0 &&
	       statbuf.st_blocks <= (blkcnt_t)(MEMORY_LEN_MAX / 512);
}

static void *task_run(void *argument)
{
	static const struct linger none = { 0 };
	struct task *task = argument;

	for (size_t i = 0; i < task->n_fds; i++) {
		/* here and not at the caller's: the lock of a socket can be held for long, too */
		(void)setsockopt(task->fds[i], SOL_SOCKET, SO_LINGER, &none, sizeof none);
		close(task->fds[i]);
	}
	free(task);
	atomic_fetch_sub(&n_threads, 1);
	return NULL;
}

/* No signal of the program is handled on the thread. */
static int task_start(struct task *task)
{
	pthread_attr_t attributes;
	sigset_t all, before;
	pthread_t thread;
	int r;

	r = pthread_attr_init(&attributes);
	if (r)
		return -r;
	(void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	(void)pthread_attr_setstacksize(&attributes, STACK_LEN);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&thread, &attributes, task_run, task);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attributes);
	return -r;
}

bool passed_close_any(const int *fds, size_t n_fds)
{
	struct task *task;

	if (n_fds == 0)
		return true;
	if (atomic_fetch_add(&n_threads, 1) < THREADS_MAX) {
		task = malloc(sizeof *task + n_fds * sizeof *fds);
		if (task) {
			task->n_fds = n_fds;
			memcpy(task->fds, fds, n_fds * sizeof *fds);
			if (task_start(task) == 0)
				return true;
			free(task);
		}
	}
	atomic_fetch_sub(&n_threads, 1);
	return false;
}

void passed_close(int fd)
{
	if (fd < 0)
		return;
	if (is_small_memory(fd) || waker_is_eventfd(fd))
		close(fd);
	else
		(void)passed_close_any(&fd, 1);
}
