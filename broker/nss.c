/* nss.c - see nss.h. The mutex guards the two lists and nothing else; the query
 * in work is touched by the thread only. */
#include "broker/nss.h"

#include <errno.h>
#include <linux/close_range.h>
#include <pwd.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "protocol/text.h"

static void query_work(struct nss_query *query)
{
	char buffer[16384];
	struct passwd pw, *found = NULL;
	int r;

	if (query->by_name)
		r = getpwnam_r(query->name, &pw, buffer, sizeof buffer, &found);
	else
		r = getpwuid_r(query->uid, &pw, buffer, sizeof buffer, &found);
	query->answer.name[0] = '\0';
	if (found) {
		query->answer.status = NSS_FOUND;
		query->answer.uid = pw.pw_uid;
		if (text_is_name(text_of(pw.pw_name)))
			strcpy(query->answer.name, pw.pw_name);
	} else if (r == 0 || r == ENOENT || r == ESRCH || r == EBADF || r == EPERM) {
		/* getpwnam(3) lists these as ways to say "not found" */
		query->answer.status = NSS_NONE;
	} else {
		query->answer.status = NSS_FAILED;
	}
}

/* Have descriptors of one's own, but for the ones that answers need. A table of them that
 * two threads share costs the loop an atomic operation or two in each system call, and
 * when it has to grow, at 64, 256, 1024 and so on, the kernel lets the loop wait for 5 to
 * 25 ms. And a look-up finds descriptors also when the loop has none left. Where that is
 * refused, it goes on as it was. */
static void nss_part(const struct nss *nss)
{
	if (close_range((unsigned)nss->fd + 1, ~0u, CLOSE_RANGE_UNSHARE) == 0 && nss->fd > 3)
		(void)close_range(3, (unsigned)nss->fd - 1, 0);
}

static void *nss_run(void *arg)
{
	struct nss *nss = arg;
	struct nss_query *query;
	uint64_t one = 1;

	nss_part(nss);
	pthread_mutex_lock(&nss->mutex);
	while (!nss->stop) {
		if (list_is_empty(&nss->queue)) {
			pthread_cond_wait(&nss->wake, &nss->mutex);
			continue;
		}
		query = container_of(list_first(&nss->queue), struct nss_query, queue_link);
		list_unlink(&query->queue_link);
		pthread_mutex_unlock(&nss->mutex);
		query_work(query);
		pthread_mutex_lock(&nss->mutex);
		list_append(&nss->answered, &query->queue_link);
		(void)!write(nss->fd, &one, sizeof one);
	}
	pthread_mutex_unlock(&nss->mutex);
	return NULL;
}

int nss_init(struct nss *nss)
{
	sigset_t all, old;
	int r;

	*nss = (struct nss){ .fd = -1 };
	list_init(&nss->queue);
	list_init(&nss->answered);
	nss->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (nss->fd < 0)
		return -errno;
	pthread_mutex_init(&nss->mutex, NULL);
	pthread_cond_init(&nss->wake, NULL);
	sigfillset(&all); /* signals are the loop's */
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&nss->thread, NULL, nss_run, nss);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r)
		return -r;
	nss->is_running = true;
	return 0;
}

int nss_deinit(struct nss *nss)
{
	struct timespec until;

	if (nss->is_running) {
		pthread_mutex_lock(&nss->mutex);
		nss->stop = true;
		pthread_cond_signal(&nss->wake);
		pthread_mutex_unlock(&nss->mutex);
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += 100 * 1000 * 1000;
		if (until.tv_nsec >= 1000000000) {
			until.tv_sec++;
			until.tv_nsec -= 1000000000;
		}
		if (pthread_timedjoin_np(nss->thread, NULL, &until))
			return -EBUSY;
		nss->is_running = false;
	}
	if (nss->fd >= 0)
		close(nss->fd);
	nss->fd = -1;
	return 0;
}

/* The place of the first query by name that waits, or the end of the queue. */
static struct list *nss_first_name(struct nss *nss)
{
	list_for_each (link, &nss->queue)
		if (container_of(link, struct nss_query, queue_link)->by_name)
			return link;
	return &nss->queue;
}

int nss_ask(struct nss *nss, struct nss_query *query)
{
	struct list *place = &nss->queue;

	if (nss->n_queued == NSS_QUEUE_MAX ||
		(query->by_name && nss->n_names == NSS_QUEUE_NAMES_MAX))
		return -EAGAIN;
	nss->n_queued++;
	nss->n_names += query->by_name;
	query->status = NSS_ASKED;
	pthread_mutex_lock(&nss->mutex);
	if (!query->by_name)
		place = nss_first_name(nss);
	list_append(place, &query->queue_link); /* before it */
	pthread_cond_signal(&nss->wake);
	pthread_mutex_unlock(&nss->mutex);
	return 0;
}

struct nss_query *nss_take(struct nss *nss)
{
	struct nss_query *query = NULL;
	uint64_t count;

	pthread_mutex_lock(&nss->mutex);
	if (!list_is_empty(&nss->answered)) {
		query = container_of(list_first(&nss->answered), struct nss_query, queue_link);
		list_unlink(&query->queue_link);
		nss->n_queued--;
		nss->n_names -= query->by_name;
		query->status = query->answer.status;
	} else {
		(void)!read(nss->fd, &count, sizeof count);
	}
	pthread_mutex_unlock(&nss->mutex);
	return query;
}
