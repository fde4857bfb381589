/* rig.c - see rig.h. */
#include "tests/fuzz/rig.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "broker/trace.h"
#include "broker/value.h"
#include "tests/fuzz/fuzz.h"

/* The Unix user, and a stranger to the user data base. */
#define USER_ALICE    1000
#define USER_STRANGER 54321

const uid_t rig_uids[RIG_USERS] = { 0, USER_ALICE, 1001, USER_STRANGER };

/* No room for more rounds than this: the broker would be spinning. */
#define ROUNDS_MAX 20000

/* What passes between two looks at the clock. */
#define CLOCK_STEP_NS 20000

static uint64_t rig_now;
static enum rig_names rig_names;

/* ---- in the place of the clock ---- */

int __real_clock_gettime(clockid_t clock, struct timespec *ret_ts);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ret_ts);
int __real_clock_gettime(clockid_t clock, struct timespec *ret_ts);

int __wrap_clock_gettime(clockid_t clock, struct timespec *ret_ts)
{
	uint64_t now = rig_now + (clock == CLOCK_REALTIME ? UINT64_C(1700000000) * 1000000000 : 0);

	if (clock == CLOCK_MONOTONIC_COARSE) /* to wait for a thread takes time */
		return __real_clock_gettime(clock, ret_ts);
	rig_now += CLOCK_STEP_NS;
	*ret_ts = (struct timespec){ (time_t)(now / 1000000000), (long)(now % 1000000000) };
	return 0;
}

void rig_add_time(uint64_t ns)
{
	rig_now += ns;
}

/* ---- in the place of the user data base ---- */

int __wrap_nss_init(struct nss *nss);
int __wrap_nss_deinit(struct nss *nss);
int __wrap_nss_ask(struct nss *nss, struct nss_query *query, struct quota_account *account);
struct nss_query *__wrap_nss_take(struct nss *nss);

/* Accounts that can be asked for: uid and name. The third has a name that is none of
 * ours. */
static const struct {
	uid_t uid;
	const char *name;
} accounts[] = {
	{ 0, "root" },
	{ USER_ALICE, "alice" },
	{ 1001, "Bob" },
	{ 1002, "carol" },
};

static void query_answer(struct nss_query *query)
{
	query->answer.status = rig_names == RIG_NAMES_FAIL ? NSS_FAILED : NSS_NONE;
	query->answer.name[0] = '\0';
	for (size_t i = 0; i < ARRAY_LEN(accounts) && rig_names != RIG_NAMES_FAIL; i++) {
		if (query->by_name ? strcmp(query->name, accounts[i].name) != 0
				   : query->uid != accounts[i].uid)
			continue;
		query->answer.status = NSS_FOUND;
		query->answer.uid = accounts[i].uid;
		if (text_is_name(text_of(accounts[i].name)))
			strcpy(query->answer.name, accounts[i].name);
	}
}

static void nss_answer(struct nss *nss, unsigned n_answers)
{
	uint64_t one = 1;

	for (; n_answers > 0 && !list_is_empty(&nss->worker.queue); n_answers--) {
		struct nss_query *query = container_of(
			list_first(&nss->worker.queue), struct nss_query, job.job_link);

		list_unlink(&query->job.job_link);
		query_answer(query);
		list_append(&nss->worker.done, &query->job.job_link);
		EXPECT(write(nss->worker.fd, &one, sizeof one) == sizeof one);
	}
}

int __wrap_nss_init(struct nss *nss)
{
	*nss = (struct nss){ .worker.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) };
	list_init(&nss->accounts); /* nobody waits in line: each request is given to the worker */
	list_init(&nss->worker.queue);
	list_init(&nss->worker.done);
	return nss->worker.fd < 0 ? -errno : 0;
}

int __wrap_nss_deinit(struct nss *nss)
{
	if (nss->worker.fd >= 0)
		close(nss->worker.fd);
	nss->worker.fd = -1;
	return 0;
}

int __wrap_nss_ask(struct nss *nss, struct nss_query *query, struct quota_account *account)
{
	EXPECT(query->status != NSS_ASKED);
	if (nss->n_running == NSS_UIDS_MAX)
		return NSS_E_FULL;
	nss->n_running++;
	query->status = NSS_ASKED;
	list_append(&nss->worker.queue, &query->job.job_link);
	if (rig_names != RIG_NAMES_LATER)
		nss_answer(nss, 1);
	return 0;
}

struct nss_query *__wrap_nss_take(struct nss *nss)
{
	struct list *link = list_first(&nss->worker.done);
	struct nss_query *query;
	uint64_t count;

	if (!link) {
		(void)!read(nss->worker.fd, &count, sizeof count);
		return NULL;
	}
	query = container_of(link, struct nss_query, job.job_link);
	list_unlink(link);
	nss->n_running--;
	query->status = query->answer.status;
	return query;
}

void rig_set_names(struct rig *rig, enum rig_names names)
{
	rig_names = names;
}

void rig_answer(struct rig *rig, unsigned n_answers)
{
	nss_answer(&rig->broker.users.nss, n_answers);
}

/* ---- life ---- */

int rig_init(struct rig *rig, bool tight)
{
	static const char *const limits[] = { "connections=3", "cursors=4", "rooms=3", "names=2",
		"bytes=256k", "room-bytes=256k", "log-bytes=1M", "room-idle=60", "alice:cursors=6",
		"alice:rate=20", "strangers:connects=4" };
	sigset_t mask;
	int r;

	trace_set_level(TRACE_ERROR);
	rig_names = RIG_NAMES_NOW;
	rig_now = UINT64_C(5) * 1000000000; /* soon after the machine came up */
	rig->config = (struct broker_config){ .group = (gid_t)-1, .admin_group = (gid_t)-1 };
	settings_init(&rig->config.settings);
	for (size_t i = 0; tight && i < ARRAY_LEN(limits); i++)
		if (settings_set(&rig->config.settings, text_of(limits[i])) == -ENOMEM)
			break; /* a test of just that: go on with what there is */
	sigprocmask(SIG_SETMASK, NULL, &mask);
	r = broker_init(&rig->broker, &rig->config);
	sigprocmask(SIG_SETMASK, &mask, NULL); /* ^C is the tester's */
	rig->broker.users.self = rig_uids[2];
	return r;
}

void rig_deinit(struct rig *rig)
{
	broker_deinit(&rig->broker);
	settings_deinit(&rig->config.settings);
}

int rig_connect(struct rig *rig, unsigned user)
{
	int fds[2], r;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0)
		return -errno;
	r = session_new(&rig->broker, fds[0], rig_uids[user], 4711);
	if (r < 0) {
		close(fds[0]);
		close(fds[1]);
		return r;
	}
	return fds[1];
}

void rig_settle(struct rig *rig)
{
	struct broker *broker = &rig->broker;
	unsigned n_quiet = 0;

	for (unsigned i = 0; n_quiet < 2; i++) {
		uint64_t before = broker->n_packets + broker->n_delivered + broker->n_sessions;

		EXPECT(i < ROUNDS_MAX);
		if (broker->errands.n_running > 0) /* a thread of its own does that */
			(void)poll(
				&(struct pollfd){ broker->errands.worker.fd, POLLIN, 0 }, 1, 1000);
		broker_round(broker, 0);
		if (broker->errands.n_running == 0 && list_is_empty(&broker->reading) &&
			list_is_empty(&broker->sending) &&
			before == broker->n_packets + broker->n_delivered + broker->n_sessions)
			n_quiet++;
		else
			n_quiet = 0;
	}
}

/* ---- the audit ---- */

struct ledger {
	struct quota_account *account;
	uint64_t used[QUOTA_KINDS];
	uint64_t log_bytes;
};

/* One account per user, and the one of strangers. */
struct audit {
	struct ledger ledgers[RIG_USERS + 1];
	size_t n_ledgers;
};

static struct ledger *audit_ledger(struct audit *audit, struct user *user)
{
	for (size_t i = 0; i < audit->n_ledgers; i++)
		if (audit->ledgers[i].account == user->account)
			return &audit->ledgers[i];
	EXPECT(audit->n_ledgers < ARRAY_LEN(audit->ledgers));
	audit->ledgers[audit->n_ledgers].account = user->account;
	return &audit->ledgers[audit->n_ledgers++];
}

static size_t list_len(const struct list *list)
{
	size_t n = 0;

	for (const struct list *link = list->next; link != list; link = link->next) {
		EXPECT(link->next->prev == link && link->prev->next == link);
		n++;
	}
	return n;
}

static void audit_room(struct audit *audit, const struct room *room)
{
	struct ledger *ledger = audit_ledger(audit, room->owner);
	unsigned n_presence = 0;

	EXPECT(room->log.first <= room->log.next);
	EXPECT(room->n_cursors > 0 || room->log.first < room->log.next ||
		!list_is_empty(&room->values));
	list_for_each (link, &room->values) {
		const struct value *value = container_of(link, struct value, link);

		audit_ledger(audit, value->user)->used[QUOTA_VALUES] += value_size(value);
	}
	EXPECT(list_len(&room->cursors) == room->n_cursors);
	EXPECT(list_is_linked(&room->idle_link) == (room->n_cursors == 0));
	EXPECT(list_len(&room->publishers) == room->n_publishers);
	EXPECT(room->n_publishers <= PUBLISHERS_MAX);
	list_for_each (link, &room->cursors) {
		struct cursor *cursor = container_of(link, struct cursor, room_link);

		EXPECT(cursor->room == room && cursor->session->state < SESSION_GONE);
		EXPECT(cursor->at.seq <= room->log.next);
		/* whoever is owed something is in line, if it can be sent */
		if (cursor_is_behind(cursor) && !cursor->session->is_deaf)
			EXPECT(list_is_linked(&cursor->pending_link));
		n_presence += cursor->presence != NULL;
	}
	EXPECT(n_presence == room->n_presence && (n_presence > 0) == (room->presence != NULL));
	ledger->used[QUOTA_ROOMS]++;
	ledger->log_bytes += room->log.bytes;
}

static void audit_session(struct audit *audit, const struct session *session)
{
	struct ledger *ledger = audit_ledger(audit, session->user);

	if (session->output) {
		EXPECT(session->output->at <= session->output->len);
		EXPECT(session->output->len <= session->output->size);
	}
	ledger->used[QUOTA_BYTES] += session_held_len(session);
	EXPECT((session->is_waiting || session->state == SESSION_CLOSING) ==
		list_is_linked(&session->wait_link));
	EXPECT(session->is_waiting || !session->is_slowed);
	if (session->is_slowed)
		EXPECT(list_is_linked(&session->user->account->throttle.link));
	EXPECT(!list_is_linked(&session->ready_link) && !list_is_linked(&session->flush_link));
	if (session->is_writable && session->state == SESSION_OPEN && !session->is_deaf)
		EXPECT(list_is_empty(&session->pending) && session_output_len(session) == 0);
	ledger->used[QUOTA_CONNECTIONS] += session->is_charged;
	list_for_each (link, &session->cursors) {
		struct cursor *cursor = container_of(link, struct cursor, session_link);

		/* whoever began a conversation pays for what the other side did not ask for */
		audit_ledger(audit, cursor->is_announced ? cursor->room->owner : session->user)
			->used[QUOTA_CURSORS]++;
	}
}

static void audit_names(struct audit *audit, const struct users *users)
{
	size_t n_idle = 0;

	for (size_t i = 0; i < users->by_name.n_slots; i++)
		for (struct table_link *link = table_at(&users->by_name, i); link;
			link = link->next) {
			struct nick *nick = container_of(link, struct nick, link);

			EXPECT(list_is_linked(&nick->idle_link) == !nick->owner);
			if (nick->owner)
				audit_ledger(audit, nick->owner)->used[QUOTA_NAMES]++;
		}
	for (int kind = 0; kind < NICKS_KINDS; kind++)
		n_idle += list_len(&users->idle_nicks[kind]);
	EXPECT(n_idle == users->n_idle_nicks);
	EXPECT(list_len(&users->idle_users) + list_len(&users->idle_strangers) ==
		users->n_idle_users);
}

void rig_audit(struct rig *rig)
{
	struct broker *broker = &rig->broker;
	struct audit audit = { 0 };
	uint64_t log_bytes = 0;

	EXPECT(list_len(&broker->sessions) == broker->n_sessions);
	EXPECT(list_is_empty(&broker->gone));
	list_for_each (link, &broker->rooms.all) {
		struct room *room = container_of(link, struct room, rooms_link);

		audit_room(&audit, room);
		log_bytes += room->log.bytes;
	}
	EXPECT(log_bytes == broker->rooms.log_bytes);
	list_for_each (link, &broker->sessions)
		audit_session(&audit, container_of(link, struct session, sessions_link));
	audit_names(&audit, &broker->users);
	for (size_t i = 0; i < audit.n_ledgers; i++) {
		struct ledger *ledger = &audit.ledgers[i];

		EXPECT(memcmp(ledger->used, ledger->account->used, sizeof ledger->used) == 0);
		EXPECT(ledger->log_bytes == ledger->account->log_bytes);
	}
}
