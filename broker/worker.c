/* worker.c - see worker.h. The mutex guards the three lists and nothing else. */
#include "broker/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <sched.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "protocol/text.h"

/* A tenth of what the loop gets where both want a processor; see sched(7). */
#define PATIENT_NICE 10

/* Have descriptors of one's own, but for the ones that answers need. A table of them that
 * two threads share costs the loop an atomic operation or two in each system call, and
 * when it has to grow, at 64, 256, 1024 and so on, the kernel lets the loop wait for 5 to
 * 25 ms. And a job finds descriptors also when the loop has none left. Where that is
 * refused, it goes on as it was. */
static void worker_part(const struct worker *worker)
{
	unsigned own = (unsigned)worker->write_fd;

	if (close_range(own + 1, ~0u, CLOSE_RANGE_UNSHARE) == 0 && own > 3)
		(void)close_range(3, own - 1, 0);
}

static struct list *worker_next(struct worker *worker)
{
	struct list *link = list_first(&worker->urgent);

	return link ? link : list_first(&worker->queue);
}

static uint64_t worker_clock(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* To wake a thread takes longer than to let others go first for a while: look, with the mutex
 * released, whether a job comes after N_ADDED were there. */
static void worker_look(struct worker *worker, unsigned n_added)
{
	uint64_t until = worker_clock() + worker->look_ns;

	pthread_mutex_unlock(&worker->mutex);
	while (atomic_load_explicit(&worker->n_added, memory_order_relaxed) == n_added &&
		worker_clock() < until)
		sched_yield();
	pthread_mutex_lock(&worker->mutex);
}

static void *worker_run(void *arg)
{
	struct worker *worker = arg;
	bool has_worked = false;
	uint64_t one = 1;

	worker_part(worker);
	if (worker->is_patient) /* of Linux: this thread's alone */
		(void)setpriority(PRIO_PROCESS, (id_t)gettid(), PATIENT_NICE);
	pthread_mutex_lock(&worker->mutex);
	while (!worker->stop) {
		struct list *link = worker_next(worker);
		struct job *job;

		if (!link && has_worked && worker->look_ns > 0) {
			has_worked = false;
			worker_look(worker, worker->n_added);
			continue;
		}
		if (!link) {
			pthread_cond_wait(&worker->wake, &worker->mutex);
			continue;
		}
		has_worked = true;
		list_unlink(link);
		pthread_mutex_unlock(&worker->mutex);
		job = container_of(link, struct job, job_link);
		job->work(job);
		pthread_mutex_lock(&worker->mutex);
		list_append(&worker->done, link);
		/* a pipe that is full is readable, and that is all */
		(void)!write(worker->write_fd, &one, sizeof one);
	}
	pthread_mutex_unlock(&worker->mutex);
	return NULL;
}

int worker_open_event(int *ret_fd, int *ret_write_fd)
{
	int ends[2];

	ends[0] = ends[1] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	/* a kernel can be built without eventfd(2) */
	if (ends[0] < 0 && pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
		return -errno;
	*ret_fd = ends[0];
	*ret_write_fd = ends[1];
	return 0;
}

static int worker_start(struct worker *worker, const char *name)
{
	sigset_t all, old;
	int r;

	list_init(&worker->urgent);
	list_init(&worker->queue);
	list_init(&worker->done);
	r = worker_open_event(&worker->fd, &worker->write_fd);
	if (r < 0)
		return r;
	pthread_mutex_init(&worker->mutex, NULL);
	pthread_cond_init(&worker->wake, NULL);
	sigfillset(&all); /* signals are the loop's */
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&worker->thread, NULL, worker_run, worker);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r)
		return -r;
	worker->is_running = true;
	(void)pthread_setname_np(worker->thread, name);
	return 0;
}

int worker_init(struct worker *worker, const char *name, uint64_t look_ns)
{
	*worker = (struct worker){ .fd = -1, .write_fd = -1, .look_ns = look_ns };
	return worker_start(worker, name);
}

int worker_init_patient(struct worker *worker, const char *name)
{
	*worker = (struct worker){ .fd = -1, .write_fd = -1, .is_patient = true };
	return worker_start(worker, name);
}

int worker_deinit(struct worker *worker, uint64_t timeout_ns)
{
	struct timespec until;

	if (worker->is_running) {
		pthread_mutex_lock(&worker->mutex);
		worker->stop = true;
		worker->n_added++;
		pthread_cond_signal(&worker->wake);
		pthread_mutex_unlock(&worker->mutex);
		/* of the same clock, a little behind, and a system's own also where a test has
		 * time of its own */
		clock_gettime(CLOCK_MONOTONIC_COARSE, &until);
		timeout_ns += (uint64_t)until.tv_nsec;
		until.tv_sec += (time_t)(timeout_ns / 1000000000);
		until.tv_nsec = (long)(timeout_ns % 1000000000);
		if (pthread_clockjoin_np(worker->thread, NULL, CLOCK_MONOTONIC, &until))
			return -EBUSY;
		worker->is_running = false;
	}
	if (worker->fd >= 0) {
		if (worker->write_fd != worker->fd)
			close(worker->write_fd);
		close(worker->fd);
	}
	worker->fd = worker->write_fd = -1;
	return 0;
}

void worker_add(struct worker *worker, struct job *job, bool is_urgent)
{
	pthread_mutex_lock(&worker->mutex);
	list_append(is_urgent ? &worker->urgent : &worker->queue, &job->job_link);
	worker->n_added++;
	pthread_cond_signal(&worker->wake);
	pthread_mutex_unlock(&worker->mutex);
}

struct job *worker_take(struct worker *worker)
{
	struct job *job = NULL;
	uint64_t counts[64]; /* one of an eventfd, many of a pipe */

	pthread_mutex_lock(&worker->mutex);
	if (!list_is_empty(&worker->done)) {
		job = container_of(list_first(&worker->done), struct job, job_link);
		list_unlink(&job->job_link);
	} else {
		(void)!read(worker->fd, counts, sizeof counts);
	}
	pthread_mutex_unlock(&worker->mutex);
	return job;
}
