/* nss.h - the user data base, asked by a thread of its own.
 *
 * getpwuid_r(3) and getpwnam_r(3) may ask the network and take seconds, so the
 * loop never calls them. A query is queued here; nss.worker.fd polls readable when an
 * answer is there.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "broker/worker.h"
#include "protocol/limits.h"

enum nss_status {
	NSS_UNKNOWN, /* not asked yet */
	NSS_ASKED,
	NSS_FOUND,
	NSS_NONE,   /* there is no such user */
	NSS_FAILED, /* the data base did not answer */
};

/* One question, embedded in who asks; it stays where it is until it is taken
 * back. The thread writes the answer and nothing else. */
struct nss_query {
	struct job job;
	enum nss_status status; /* NSS_ASKED until nss_take() */
	bool by_name;           /* else by uid */
	uid_t uid;
	char name[NAME_LEN_MAX + 1];
	struct {
		enum nss_status status;
		uid_t uid;
		char name[NAME_LEN_MAX + 1]; /* "" when it is no name of ours */
	} answer;
};

/* Queries waiting at once: beyond it a caller is told to try again. Those by name are
 * what one user can ask for without end, so they have a part of it only and come after
 * those by uid, which let people in. */
#define NSS_QUEUE_MAX       256
#define NSS_QUEUE_NAMES_MAX 192

struct nss {
	struct worker worker;
	unsigned n_queued, n_names;
};

/* Start the thread. Returns 0 or -errno. */
int nss_init(struct nss *nss);

/* Stop it; safe after a failed init. Returns 0, or -EBUSY when the data base has
 * the thread stuck: then NSS and the queries must stay until the process exits. */
int nss_deinit(struct nss *nss);

/* Queue a query. Returns 0 or -EAGAIN. */
int nss_ask(struct nss *nss, struct nss_query *query);

/* Take one answered query, or NULL; clears the readiness of nss.worker.fd. */
struct nss_query *nss_take(struct nss *nss);
