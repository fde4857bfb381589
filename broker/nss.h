/* nss.h - the user database, asked by a thread of its own.
 *
 * getpwuid_r(3) and getpwnam_r(3) may ask the network and take seconds, so the
 * loop never calls them. A query is queued here; nss.worker.fd polls readable when an
 * answer is there.
 *
 * Each user has at most one query by uid, which lets it in: these come first, in the order in
 * which they were asked. Queries by name are what one user can ask for without end: the accounts
 * take turns, and when the queue is full the account with the most gives a place up.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "broker/quota.h"
#include "broker/worker.h"
#include "protocol/limits.h"

enum nss_status {
	NSS_UNKNOWN, /* not asked yet */
	NSS_ASKED,
	NSS_FOUND,
	NSS_NONE,   /* there is no such user */
	NSS_FAILED, /* the database did not answer */
};

/* One question, embedded in what it is about; it stays where it is until it is taken
 * back. The thread writes the answer and nothing else. */
struct nss_query {
	struct job job;                /* its link is in the line first, then the worker's */
	struct quota_account *account; /* while a query by name is in line: whose turn it takes */
	enum nss_status status;        /* NSS_ASKED until nss_take() */
	bool by_name;                  /* else by uid */
	uid_t uid;
	char name[NAME_LEN_MAX + 1];
	struct {
		enum nss_status status;
		uid_t uid;
		char name[NAME_LEN_MAX + 1]; /* "" when it is no name of ours */
	} answer;
};

/* Queries in line. Together with those in hand, names are fewer than the rows kept of them. */
#define NSS_UIDS_MAX  256
#define NSS_NAMES_MAX 512

struct nss {
	struct worker worker;
	struct list uids;     /* queries by uid in line */
	struct list accounts; /* with queries by name in line: their quota_account.names */
	unsigned n_uids, n_names;
	unsigned n_running; /* given to the thread and not taken back */
};

enum {
	NSS_E_FULL = 1,
};

/* Start the thread. Returns 0 or -errno. */
int nss_init(struct nss *nss);

/* Stop it; safe after a failed init. Returns 0, or -EBUSY when the database has
 * the thread stuck: then NSS and the queries must stay until the process exits. */
int nss_deinit(struct nss *nss);

/* Queue a query; one by name takes a turn of ACCOUNT. Returns 0 or NSS_E_FULL. */
int nss_ask(struct nss *nss, struct nss_query *query, struct quota_account *account);

/* ACCOUNT wants the answer to QUERY, by name and asked already, too: its turn is taken where that
 * comes sooner. */
void nss_share(struct nss *nss, struct nss_query *query, struct quota_account *account);

/* Take a query by name out of the full line, to make room for one of ACCOUNT: the last one of the
 * account with the most. Returns it, as if it had not been asked, or NULL when none has more than
 * ACCOUNT would have. */
struct nss_query *nss_displace(struct nss *nss, const struct quota_account *account);

/* Take one answered query, or NULL; clears the readiness of nss.worker.fd. */
struct nss_query *nss_take(struct nss *nss);
