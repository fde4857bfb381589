/* nss.c - see nss.h. The query in work is touched by the worker only. */
#include "broker/nss.h"

#include <errno.h>
#include <pwd.h>
#include <stdint.h>
#include <string.h>

#include "protocol/text.h"

/* The thread finds its next query when it is done with one; more would not take turns. */
#define RUNNING_MAX 2

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

/* ---- the line ---- */

static void query_line_up(struct nss *nss, struct nss_query *query, struct quota_account *account)
{
	query->account = account;
	account->n_names_asked++;
	nss->n_names++;
	turns_add(&nss->accounts, &account->names, &query->job.job_link);
}

static void query_leave_line(struct nss *nss, struct nss_query *query)
{
	struct quota_account *account = query->account;

	query->account = NULL;
	account->n_names_asked--;
	nss->n_names--;
	list_unlink(&query->job.job_link);
	if (list_is_empty(&account->names.sessions))
		list_unlink(&account->names.link);
}

static struct nss_query *nss_next_name(struct nss *nss)
{
	struct list *first = list_first(&nss->accounts);
	struct nss_query *query;
	struct turns *turns;

	if (!first)
		return NULL;
	turns = container_of(first, struct turns, link);
	query = container_of(list_first(&turns->sessions), struct nss_query, job.job_link);
	query_leave_line(nss, query);
	list_unlink(&turns->link);
	if (!list_is_empty(&turns->sessions))
		list_append(&nss->accounts, &turns->link);
	return query;
}

static struct nss_query *nss_next(struct nss *nss)
{
	struct list *first = list_first(&nss->uids);

	if (!first)
		return nss_next_name(nss);
	list_unlink(first);
	nss->n_uids--;
	return container_of(first, struct nss_query, job.job_link);
}

static void nss_run(struct nss *nss)
{
	struct nss_query *query;

	while (nss->n_running < RUNNING_MAX && (query = nss_next(nss))) {
		nss->n_running++;
		worker_add(&nss->worker, &query->job, !query->by_name);
	}
}

/* ---- what users.c calls ---- */

int nss_init(struct nss *nss)
{
	*nss = (struct nss){ 0 };
	list_init(&nss->uids);
	list_init(&nss->accounts);
	return worker_init(&nss->worker, "names", 0);
}

int nss_deinit(struct nss *nss)
{
	while (nss->n_uids + nss->n_names > 0)
		(void)nss_next(nss); /* nobody will answer it */
	return worker_deinit(&nss->worker, UINT64_C(100) * 1000 * 1000);
}

int nss_ask(struct nss *nss, struct nss_query *query, struct quota_account *account)
{
	if (query->by_name ? nss->n_names >= NSS_NAMES_MAX : nss->n_uids >= NSS_UIDS_MAX)
		return NSS_E_FULL;
	query->status = NSS_ASKED;
	query->job.work = query_work;
	if (query->by_name) {
		query_line_up(nss, query, account);
	} else {
		list_append(&nss->uids, &query->job.job_link);
		nss->n_uids++;
	}
	nss_run(nss);
	return 0;
}

void nss_share(struct nss *nss, struct nss_query *query, struct quota_account *account)
{
	/* in line there, this one would be the last */
	if (!query->account || account->n_names_asked + 1 >= query->account->n_names_asked)
		return;
	query_leave_line(nss, query);
	query_line_up(nss, query, account);
}

struct nss_query *nss_displace(struct nss *nss, const struct quota_account *account)
{
	struct quota_account *most = NULL;
	struct nss_query *query;

	list_for_each (link, &nss->accounts) {
		struct turns *turns = container_of(link, struct turns, link);
		struct quota_account *other = container_of(turns, struct quota_account, names);

		if (!most || other->n_names_asked > most->n_names_asked)
			most = other;
	}
	/* else the two would displace each other */
	if (!most || most->n_names_asked <= account->n_names_asked + 1)
		return NULL;
	query = container_of(most->names.sessions.prev, struct nss_query, job.job_link);
	query_leave_line(nss, query);
	query->status = NSS_UNKNOWN;
	return query;
}

struct nss_query *nss_take(struct nss *nss)
{
	struct job *job = worker_take(&nss->worker);
	struct nss_query *query;

	if (!job)
		return NULL;
	query = container_of(job, struct nss_query, job);
	nss->n_running--;
	nss_run(nss);
	query->status = query->answer.status;
	return query;
}
