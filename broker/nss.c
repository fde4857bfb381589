/* nss.c - see nss.h. The query in work is touched by the worker only. */
#include "broker/nss.h"

#include <errno.h>
#include <pwd.h>
#include <stdint.h>
#include <string.h>

#include "protocol/text.h"

static void query_work(struct job *job)
{
	struct nss_query *query = container_of(job, struct nss_query, job);
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

int nss_init(struct nss *nss)
{
	*nss = (struct nss){ 0 };
	return worker_init(&nss->worker, "names", 0);
}

int nss_deinit(struct nss *nss)
{
	return worker_deinit(&nss->worker, UINT64_C(100) * 1000 * 1000);
}

int nss_ask(struct nss *nss, struct nss_query *query)
{
	if (nss->n_queued == NSS_QUEUE_MAX ||
		(query->by_name && nss->n_names == NSS_QUEUE_NAMES_MAX))
		return -EAGAIN;
	nss->n_queued++;
	nss->n_names += query->by_name;
	query->status = NSS_ASKED;
	query->job.work = query_work;
	worker_add(&nss->worker, &query->job, !query->by_name);
	return 0;
}

struct nss_query *nss_take(struct nss *nss)
{
	struct job *job = worker_take(&nss->worker);
	struct nss_query *query;

	if (!job)
		return NULL;
	query = container_of(job, struct nss_query, job);
	nss->n_queued--;
	nss->n_names -= query->by_name;
	query->status = query->answer.status;
	return query;
}
