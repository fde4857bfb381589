/* descriptors.c - see descriptors.h. */
#include "broker/descriptors.h"

#include <fcntl.h>
#include <sys/resource.h>

#include "broker/broker.h"
#include "broker/session.h"
#include "broker/trace.h"

/* The numbers that the broker's own descriptors have, and what it was started with: the
 * lowest that were free. */
#define OWN_MAX 256

void descriptors_raise(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
}

uint64_t descriptors_count(void)
{
	uint64_t n = 0;

	for (int fd = 0; fd < OWN_MAX; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

uint64_t descriptors_held(const struct quota_account *account)
{
	return account->used[QUOTA_CONNECTIONS] + account->n_passed;
}

uint64_t descriptors_left(const struct broker *broker)
{
	uint64_t n_used = broker->n_descriptors + broker->n_sessions + broker->n_passed +
			  broker->closers.n_held;
	struct rlimit limit;
	uint64_t n_max;

	/* asked each time: prlimit(1) can change it */
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return UINT64_MAX;
	n_max = limit.rlim_cur - MIN(limit.rlim_cur / 8, (rlim_t)DESCRIPTORS_RESERVE);
	return n_max - MIN(n_max, n_used);
}

bool descriptors_may_pass(const struct broker *broker, const struct quota_account *account)
{
	return descriptors_have_room(broker, account, 1);
}

bool descriptors_have_room(
	const struct broker *broker, const struct quota_account *account, uint64_t n)
{
	uint64_t n_left = descriptors_left(broker);

	return n_left >= n && descriptors_are_shared(descriptors_held(account) + n - 1, n_left - n);
}

bool descriptors_free_one(struct broker *broker)
{
	struct session *stuck = NULL;
	uint64_t longest = DESCRIPTORS_STUCK_NS;

	list_for_each (link, &broker->sessions) {
		struct session *session = container_of(link, struct session, sessions_link);

		if (session->state < SESSION_CLOSING && session_blocked_ns(session) >= longest) {
			longest = session_blocked_ns(session) + 1;
			stuck = session;
		}
	}
	if (!stuck)
		return false;
	trace_shared(&stuck->user->account->lines, TRACE_WARNING,
		"cut uid=%u pid=%d name=%s blocked_s=%lu reason=\"out of descriptors\"",
		stuck->user->uid, stuck->pid, session_name(stuck),
		(unsigned long)(longest / 1000000000));
	broker->n_cut++;
	/* no last word: its socket is full */
	session_end(stuck);
	return true;
}
