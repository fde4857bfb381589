/* broker.c - see broker.h. */
#include "broker/broker.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "broker/descriptors.h"
#include "broker/fastpath.h"
#include "broker/ipc.h"
#include "broker/notify.h"
#include "broker/reader.h"
#include "broker/retain.h"
#include "broker/session.h"
#include "broker/trace.h"
#include "protocol/uid.h"

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

uint64_t broker_now(const struct broker *broker)
{
	return clock_ns(CLOCK_REALTIME);
}

uint64_t broker_clock(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

/* ---- what can be seen ---- */

unsigned broker_stats(const struct broker *broker, admin_output_fn *output, void *userdata)
{
	const struct {
		const char *name;
		uint64_t value;
	} counters[] = {
		{ "pid", (uint64_t)getpid() },
		{ "uptime_s", (broker->users.now - broker->started_at) / 1000000000 },
		{ "sessions", broker->n_sessions },
		{ "accepted", broker->n_accepted },
		{ "turned_away", broker->n_turned_away },
		{ "cut", broker->n_cut },
		{ "persons", broker->users.persons.n_links },
		{ "rooms", broker->rooms.by_key.n_links },
		{ "cursors", broker->rooms.cursors.n_links },
		{ "publishers", broker->rooms.publishers.n_links },
		{ "packets", broker->n_packets },
		{ "appended", broker->rooms.n_records },
		{ "appended_rate", broker->appended.last },
		{ "delivered", broker->n_delivered },
		{ "delivered_rate", broker->delivered.last },
		{ "delivered_bytes", broker->n_delivered_bytes },
		{ "gap_records", broker->n_gap_records },
		{ "rings", broker->n_rings },
		{ "log_bytes", broker->rooms.log_bytes },
		{ "log_bytes_limit", broker->settings.limit[LIMIT_LOG_BYTES] },
		{ "retention_bytes", broker->rooms.n_taken_bytes },
		{ "stored_batches", broker->store.n_batches },
		{ "stored_bytes", broker->store.n_bytes },
		{ "stored_failed", broker->store.n_failed },
		{ "checkpoints", broker->store.n_checkpoints },
		{ "cold_bytes", broker->store.cold_bytes },
		{ "cache_bytes", broker->store.cache.bytes },
		{ "refused", broker->n_refused },
		{ "framing", broker->n_framing },
		{ "kicked", broker->n_kicked },
	};
	char row[STORAGE_ROW_MAX];

	output(userdata, storage_row(&broker->store, row));
	for (size_t i = 0; i < ARRAY_LEN(counters); i++) {
		int n = snprintf(row, sizeof row, "%s %lu", counters[i].name,
			(unsigned long)counters[i].value);

		output(userdata, (struct text){ row, (size_t)n });
	}
	return 1 + ARRAY_LEN(counters);
}

struct text broker_room_row(const struct broker *broker, const struct room *room, char *row)
{
	struct text target = room_target(room);
	char words[ROOM_WORDS_MAX];
	int n;

	n = snprintf(row, BROKER_ROW_MAX,
		"%.*s readers=%u first=%lu next=%lu bytes=%lu owner=%u rate=%u%s", (int)target.len,
		target.data, room->n_cursors, (unsigned long)room_first(room),
		(unsigned long)log_end(&room->log), (unsigned long)room->log.bytes,
		room->owner->uid, meter_rate(&room->appended, broker->users.second),
		room_words(&broker->rooms, room, words));
	return (struct text){ row, (size_t)n };
}

static void trace_row(void *userdata, struct text row)
{
	struct broker *broker = userdata;

	trace_shared(&broker->admin.lines, TRACE_INFO, "stats %.*s", (int)row.len, row.data);
}

/* ---- limits ---- */

static int broker_read_settings(struct broker *broker)
{
	struct settings settings;
	unsigned line;
	int r;

	r = settings_copy(&settings, &broker->config->settings);
	if (r < 0)
		return r;
	if (broker->config->limits_path) {
		r = settings_read(&settings, broker->config->limits_path, &line);
		if (r) {
			trace(TRACE_ERROR, "limits file=%s line=%u reason=\"%s\"",
				broker->config->limits_path, line, settings_strerror(r));
			settings_deinit(&settings);
			/* a file that can not be read is as wrong as one with a wrong line */
			return r == -ENOMEM ? r : BROKER_E_SETTINGS;
		}
	}
	settings_deinit(&broker->settings);
	broker->settings = settings;
	return 0;
}

static void broker_reload(struct broker *broker)
{
	if (!broker->config->limits_path) {
		trace(TRACE_INFO, "limits unchanged: there is no limits file");
		return;
	}
	if (broker_read_settings(broker)) {
		trace(TRACE_WARNING, "limits unchanged: the old ones stay");
		return;
	}
	users_apply_settings(&broker->users);
	fastpath_apply_settings(broker);
	rooms_check_all(&broker->rooms);
	trace(TRACE_INFO, "limits read file=%s", broker->config->limits_path);
}

/* ---- what the loop is told ---- */

static void signals_ready(struct watch *watch, uint32_t events)
{
	struct broker *broker = container_of(watch, struct broker, signals);
	struct signalfd_siginfo info;

	while (read(watch->fd, &info, sizeof info) == sizeof info) {
		switch (info.ssi_signo) {
		case SIGHUP:
			broker_reload(broker);
			break;
		case SIGUSR1:
			broker_stats(broker, trace_row, broker);
			break;
		default:
			broker_stop(broker, TEXT("ended by a signal"), (uid_t)-1);
			break;
		}
	}
}

static bool broker_has_paths(const struct broker *broker)
{
	const char *socket = broker->config->socket;

	return (socket && socket[0] != '@') || broker->admin.is_open;
}

/* Look after the socket, the FIFO and their locks. A path that was made again may vanish before the
 * broker watches it, so the loop checks once more. */
static void broker_check_paths(struct broker *broker)
{
	const char *socket = broker->config->socket;
	const char *const paths[] = { socket && socket[0] != '@' ? socket : NULL,
		broker->admin.is_open ? broker->admin.path : NULL };

	if (broker->is_stopping || !broker_has_paths(broker))
		return;
	guard_follow(&broker->guard);
	for (int i = 0; i < 3; i++) {
		bool is_new = listener_check(&broker->listener, broker);

		is_new |= admin_check(&broker->admin, broker);
		if (!is_new && i > 0)
			break;
		if (is_new || broker->guard.is_blind)
			guard_arm(&broker->guard, &broker->loop, paths, ARRAY_LEN(paths));
	}
	broker->guard.look_at = broker->users.now + GUARD_LOOK_NS;
}

static void guard_ready(struct watch *watch, uint32_t events)
{
	struct broker *broker = container_of(watch, struct broker, guard.watch);

	guard_drain(&broker->guard);
	broker_check_paths(broker);
}

/* Look when it is time. Returns ns until the next look, UINT64_MAX when an event will tell. */
static uint64_t broker_patience_for_paths(struct broker *broker)
{
	const struct guard *guard = &broker->guard;
	uint64_t now = broker->users.now;

	if (broker->is_stopping || !broker_has_paths(broker))
		return UINT64_MAX;
	if (!guard->is_blind && !guard->is_away && !broker->listener.lost && !broker->admin.lost) {
		if (now >= guard->look_at + GUARD_IDLE_NS)
			broker_check_paths(broker);
		return UINT64_MAX;
	}
	if (now >= guard->look_at)
		broker_check_paths(broker);
	return guard->look_at - now;
}

static void names_ready(struct watch *watch, uint32_t events)
{
	struct broker *broker = container_of(watch, struct broker, names);

	users_dispatch(&broker->users);
}

static void closed_ready(struct watch *watch, uint32_t events)
{
	closers_dispatch(&container_of(watch, struct broker, closed)->closers);
}

static void writer_ready(struct watch *watch, uint32_t events)
{
	store_dispatch(&container_of(watch, struct broker, writer)->store);
}

static void keeper_ready(struct watch *watch, uint32_t events)
{
	store_dispatch(&container_of(watch, struct broker, keeper)->store);
}

static void fetcher_ready(struct watch *watch, uint32_t events)
{
	struct broker *broker = container_of(watch, struct broker, fetcher);

	cache_trim(&broker->store.cache);
	errands_dispatch(&broker->errands);
}

/* A name went to its Unix user: whoever spoke under it before does not any more. */
static void broker_evict(struct person *person)
{
	list_for_each (link, &person->sessions) {
		struct session *session = container_of(link, struct session, person_link);

		trace_shared(&session->user->account->lines, TRACE_WARNING,
			"name returned name=%s from=%u", person->name, session->user->uid);
		fast_revoke(session);
		session_close(session, false, 0, "KICKED", "the name %s is a Unix user's now",
			person->name);
	}
}

static void broker_named(struct users *users, const struct nick *nick, bool is_taken)
{
	store_named(&container_of(users, struct broker, users)->store, nick, is_taken);
}

/* ---- life ---- */

static int broker_watch(
	struct broker *broker, struct watch *watch, int fd, void (*ready)(struct watch *, uint32_t))
{
	if (fd < 0)
		return -errno;
	watch->fd = fd;
	watch->ready = ready;
	return loop_add(&broker->loop, watch, EPOLLIN);
}

static int broker_init_loop(struct broker *broker)
{
	sigset_t mask;
	int r;

	r = loop_init(&broker->loop, broker->config->look_us);
	if (r < 0)
		return r;
	sigemptyset(&mask);
	sigaddset(&mask, SIGTERM);
	sigaddset(&mask, SIGINT);
	sigaddset(&mask, SIGHUP);
	sigaddset(&mask, SIGUSR1);
	sigprocmask(SIG_BLOCK, &mask, NULL);
	r = broker_watch(broker, &broker->signals, signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK),
		signals_ready);
	if (r == 0)
		r = guard_init(&broker->guard, &broker->loop, guard_ready,
			!broker->config->state || broker->config->state[0] == '/');
	return r;
}

static int broker_open(struct broker *broker)
{
	const struct broker_config *config = broker->config;
	char why[NODE_WHY_MAX];
	int r;

	uid_learn();
	if (uid_map_is_empty())
		broker->map_until = broker->users.now + BROKER_MAP_NS;
	if (uid_self_is_unmapped())
		trace(TRACE_WARNING, "the broker's user has no id in this user namespace: it is "
				     "turned away like "
				     "all that have none; map its id, or run the broker outside");
	r = listener_open(
		&broker->listener, broker, config->socket, config->mode, config->group, why);
	if (r) {
		trace(TRACE_ERROR, "can not listen on %s: %s", config->socket,
			r > 0                ? why
			: r == -ENAMETOOLONG ? "the path is longer than 107 bytes"
					     : strerror(-r));
		return r == NODE_E_HELD ? BROKER_E_HELD : r > 0 ? BROKER_E_FOREIGN : r;
	}
	/* the lock is held: whoever made them is dead */
	r = ipc_clean(config->socket);
	if (r > 0)
		trace(TRACE_INFO, "removed semaphores=%d of a broker that was killed", r);
	if (!config->ctl)
		return 0;
	r = admin_open(&broker->admin, broker, config->ctl, config->admin_group, why);
	if (r)
		trace(TRACE_WARNING, "WITHOUT ADMIN FIFO: can not make %s: %s", config->ctl,
			r > 0 ? why : strerror(-r));
	return 0;
}

/* Behind the socket's lock: who is in the way there is named first. */
static int broker_open_store(struct broker *broker)
{
	int r;

	r = store_init(&broker->store, &broker->rooms, &broker->errands, broker->config->state,
		broker->settings.limit[LIMIT_JOURNAL_BYTES], broker->loop.look.limit_ns);
	if (r)
		return r == STORE_E_HELD      ? BROKER_E_HELD
		       : r == STORE_E_FOREIGN ? BROKER_E_FOREIGN
		       : r > 0                ? BROKER_E_STATE
					      : r;
	if (!broker->config->state)
		return 0;
	r = broker_watch(broker, &broker->writer, broker->store.writer.fd, writer_ready);
	if (r == 0)
		r = broker_watch(broker, &broker->keeper, broker->store.keeper.fd, keeper_ready);
	return r;
}

int broker_init(struct broker *broker, const struct broker_config *config)
{
	int r;

	*broker = (struct broker){ .config = config, .next_session = 1, .loop.fd = -1 };
	broker->signals.fd = broker->guard.watch.fd = broker->names.fd = -1;
	broker->listener = (struct listener){ .watch.fd = -1, .lock.fd = -1, .spare = -1 };
	broker->admin.watch.fd = broker->admin.lock.fd = broker->admin.closing = -1;
	trace_share_init(&broker->admin.lines, ADMIN_LINES_BURST, ADMIN_LINES_PER_S);
	trace_share_name(&broker->admin.lines, "ctl");
	trace_share_init(&broker->listener.lines, LISTENER_LINES_BURST, LISTENER_LINES_PER_S);
	trace_share_name(&broker->listener.lines, "accept");
	list_init(&broker->sessions);
	list_init(&broker->reading);
	list_init(&broker->ringing);
	list_init(&broker->resting);
	list_init(&broker->feeds);
	list_init(&broker->found);
	list_init(&broker->ended);
	list_init(&broker->sending);
	list_init(&broker->closing);
	list_init(&broker->gone);
	descriptors_raise();
	rooms_init(&broker->rooms, &broker->users, &broker->settings);
	r = broker_read_settings(broker);
	if (r == 0)
		r = broker_init_loop(broker);
	if (r == 0)
		r = users_init(&broker->users, &broker->settings);
	if (r == 0)
		r = broker_watch(broker, &broker->names, broker->users.nss.worker.fd, names_ready);
	if (r == 0)
		r = closers_init(&broker->closers, &broker->users);
	if (r == 0)
		r = broker_watch(broker, &broker->closed, broker->closers.fd, closed_ready);
	if (r == 0)
		r = errands_init(&broker->errands, &broker->users);
	if (r == 0)
		r = broker_watch(
			broker, &broker->fetcher, broker->errands.worker.fd, fetcher_ready);
	if (r < 0)
		trace(TRACE_ERROR, "can not start: %s", strerror(-r));
	if (r)
		return r;
	broker->users.wake = session_wake;
	broker->users.evict = broker_evict;
	broker->users.named = broker_named;
	broker->users.now = broker->started_at = clock_ns(CLOCK_MONOTONIC);
	r = config->socket ? broker_open(broker) : 0;
	if (r == 0)
		r = broker_open_store(broker);
	if (r)
		return r;
	broker_check_paths(broker);
	broker->n_descriptors = descriptors_count();
	node_set_started();
	trace(TRACE_INFO, "ready socket=%s ctl=%s pid=%d", config->socket ? config->socket : "-",
		broker->admin.watch.fd >= 0 ? config->ctl : "-", getpid());
	storage_status_tell(&broker->storage, &broker->store);
	return 0;
}

static void broker_free_gone(struct broker *broker)
{
	list_for_each (link, &broker->gone)
		session_free(container_of(link, struct session, sessions_link));
}

static void broker_free_ended(struct broker *broker)
{
	struct list *link;

	while ((link = list_first(&broker->ended)))
		feed_free(container_of(link, struct feed, end_link));
}

/* Sessions are gone: what their rings hold is not archived any more. */
static void broker_finish_rings(struct broker *broker)
{
	list_for_each (link, &broker->rooms.all) {
		struct room *room = container_of(link, struct room, rooms_link);

		list_for_each (feed, &room->feeds)
			feed_finish(container_of(feed, struct feed, room_link));
	}
	broker_free_ended(broker);
}

void broker_deinit(struct broker *broker)
{
	admin_close(&broker->admin, broker);
	listener_close(&broker->listener, broker);
	if (broker->users.settings) {
		list_for_each (link, &broker->sessions)
			session_end(container_of(link, struct session, sessions_link));
		broker_finish_rings(broker);
		broker_free_gone(broker);
		/* the exit frees the memory that a stuck thread still uses */
		(void)closers_deinit(&broker->closers);
		errands_deinit(&broker->errands, STORE_LAST_NS);
		store_deinit(&broker->store);
		rooms_deinit(&broker->rooms);
		/* on -EBUSY its thread still works on rows that we leave to the exit */
		(void)users_deinit(&broker->users);
	}
	guard_deinit(&broker->guard);
	if (broker->signals.fd >= 0)
		close(broker->signals.fd);
	loop_deinit(&broker->loop);
	settings_deinit(&broker->settings);
	/* last: a new broker starts as soon as it has the locks */
	trace_share_deinit(&broker->admin.lines);
	trace_share_deinit(&broker->listener.lines);
	admin_deinit(&broker->admin);
	listener_deinit(&broker->listener);
}

const char *broker_actor(uid_t uid, char buffer[static BROKER_ACTOR_MAX])
{
	if (uid == (uid_t)-1)
		return "broker";
	snprintf(buffer, BROKER_ACTOR_MAX, "%u", uid);
	return buffer;
}

void broker_stop(struct broker *broker, struct text reason, uid_t uid)
{
	char actor[BROKER_ACTOR_MAX];

	if (broker->stop_requested)
		return;
	broker->stop_requested = true;
	snprintf(broker->stop_reason, sizeof broker->stop_reason, "%.*s", (int)reason.len,
		reason.data);
	trace(TRACE_INFO, "stopping reason=\"%s\" by=%s sessions=%lu", broker->stop_reason,
		broker_actor(uid, actor), (unsigned long)broker->n_sessions);
}

static void broker_begin_stop(struct broker *broker)
{
	broker->is_stopping = true;
	broker->stop_at = broker->users.now + BROKER_STOP_NS;
	notify("STOPPING=1");
	admin_close(&broker->admin, broker);
	listener_close(&broker->listener, broker);
	list_for_each (link, &broker->sessions)
		session_close(container_of(link, struct session, sessions_link), true,
			broker->stop_at, "STOP", "%s", broker->stop_reason);
}

/* ---- the round ---- */

/* What sessions, and the fast paths that they have, stand in line for. */
enum turn {
	TURN_READ,
	TURN_RING,
	TURN_SEND,
};

static struct user *turn_user(enum turn turn, struct list *link)
{
	switch (turn) {
	case TURN_READ:
		return container_of(link, struct session, ready_link)->user;
	case TURN_RING:
		return container_of(link, struct fast, turn_link)->user;
	default:
		return container_of(link, struct session, flush_link)->user;
	}
}

static void turn_take(enum turn turn, struct list *link)
{
	switch (turn) {
	case TURN_READ:
		session_turn(container_of(link, struct session, ready_link));
		break;
	case TURN_RING:
		fast_turn(container_of(link, struct fast, turn_link));
		break;
	default:
		session_flush(container_of(link, struct session, flush_link));
		break;
	}
}

/* Serve the sessions that are in line of one account, each once, while it has time. One
 * turn may take others out of the line, as KICK does, so nothing else is remembered. */
static void broker_serve_account(
	struct broker *broker, struct list *accounts, struct turns *turns, enum turn turn)
{
	uint64_t now = broker_clock();
	struct list mark, *link = list_first(&turns->sessions);
	struct user *user;

	if (!link)
		return;
	/* the session may be gone after its turn, and its user and account with it */
	user = user_ref(turn_user(turn, link));
	broker->turn_end = now + (turn == TURN_SEND ? BROKER_SEND_NS : BROKER_READ_NS);
	broker->turn_account = user->account;
	list_append(&turns->sessions, &mark);
	while ((link = list_first(&turns->sessions)) != &mark && now < broker->turn_end) {
		turn_take(turn, link);
		now = broker_clock();
	}
	list_unlink(&mark);
	if (!list_is_empty(&turns->sessions) && !list_is_linked(&turns->link))
		list_append(accounts, &turns->link);
	broker->turn_account = NULL;
	users_put(&broker->users, user);
}

/* Each account in the line once: who is in line again waits for the next round. */
static void broker_serve(struct broker *broker, struct list *accounts, enum turn turn)
{
	struct list line, *link;

	list_init(&line);
	list_take(&line, accounts);
	while ((link = list_first(&line))) {
		list_unlink(link);
		broker_serve_account(
			broker, accounts, container_of(link, struct turns, link), turn);
	}
}

static void broker_mark(struct broker *broker)
{
	list_for_each (link, &broker->rooms.dirty) {
		struct room *room = container_of(link, struct room, dirty_link);

		list_unlink(link);
		list_for_each (reader, &room->cursors)
			reader_schedule(container_of(reader, struct cursor, room_link));
	}
}

static void broker_expire(struct broker *broker)
{
	unsigned long n_left = 0;

	list_for_each (link, &broker->closing) {
		struct session *session = container_of(link, struct session, wait_link);

		if (broker->users.now < session->deadline)
			continue;
		n_left += session->is_owed && !list_is_empty(&session->pending);
		session_end(session);
	}
	if (n_left > 0)
		trace(TRACE_WARNING,
			"stopped with sessions=%lu that did not take all they were owed", n_left);
	listener_resume(&broker->listener, broker);
}

/* Another second is in hand, of all meters. Those of the broker as a whole are set here:
 * what they count is counted already. */
static void broker_tick(struct broker *broker)
{
	uint32_t second = (uint32_t)(broker->users.now / 1000000000);
	int64_t jump;

	if (second == broker->users.second)
		return;
	jump = age_turn(&broker->users.age);
	if (jump != 0)
		trace(TRACE_WARNING, "clock jumped seconds=%ld: no age counts it",
			(long)(jump / 1000000000));
	broker->appended.total = broker->rooms.n_records;
	meter_turn(&broker->appended, second);
	broker->delivered.total = broker->n_delivered;
	meter_turn(&broker->delivered, second);
	if (!broker->is_stopping)
		storage_status_tell(&broker->storage, &broker->store);
	broker->users.second = second;
}

/* Nobody has an id here: nobody can be served, unless the map comes soon. Returns the ns until that
 * is decided, UINT64_MAX when it is. */
static uint64_t broker_patience_for_map(struct broker *broker)
{
	uint64_t now = broker->users.now;

	if (broker->map_until == 0 || broker->stop_requested)
		return UINT64_MAX;
	if (now < broker->map_until)
		return broker->map_until - now;
	broker->map_until = 0;
	if (!uid_map_is_empty())
		return UINT64_MAX;
	trace(TRACE_ERROR,
		"no user has an id in this user namespace, so nobody can be served; write "
		"its uid_map, or run the broker outside");
	broker->is_useless = true;
	broker_stop(broker, TEXT("no user has an id here"), (uid_t)-1);
	return 0;
}

/* How long the loop may sleep. */
static uint64_t broker_patience(struct broker *broker)
{
	uint64_t now = broker->users.now, wait_for_map = broker_patience_for_map(broker), wait;
	struct list *first;

	/* who was slowed and may go on is ready now */
	wait = throttles_expire(&broker->users.throttled, now, session_wake);
	/* and so are rings that have rested, however much else there is to do */
	wait = MIN(wait, fastpath_patience(broker));
	wait = MIN(wait, rooms_retain(&broker->rooms, now));
	wait = MIN(wait, store_patience(&broker->store, now));
	wait = MIN(wait, broker_patience_for_paths(broker));
	wait = MIN(wait, wait_for_map);
	wait = MIN(wait, closers_patience(&broker->closers));
	if (!list_is_empty(&broker->gone)) /* their sockets could not be handed over */
		wait = MIN(wait, CLOSER_RETRY_NS);
	wait = MIN(wait, trace_patience());
	if (broker->is_stopping)
		wait = MIN(wait, broker->stop_at - MIN(now, broker->stop_at));

	/* a room is dirty here when a session ended behind broker_mark(): it was seen off */
	if (!list_is_empty(&broker->reading) || !list_is_empty(&broker->sending) ||
		!list_is_empty(&broker->rooms.dirty))
		return 0;
	wait = MIN(wait, rooms_expire(&broker->rooms, now));
	wait = MIN(wait, admin_expire(&broker->admin, now));
	if (broker->listener.is_paused)
		wait = MIN(wait, broker->listener.resume_at - MIN(now, broker->listener.resume_at));
	first = list_first(&broker->closing);
	if (first) {
		struct session *session = container_of(first, struct session, wait_link);

		wait = MIN(wait, session->deadline - MIN(now, session->deadline));
	}
	return wait;
}

void broker_round(struct broker *broker, uint64_t timeout_ns)
{
	uint64_t patience = broker_patience(broker); /* once: it does what is due */
	uint64_t n_packets = broker->n_packets, n_records = broker->rooms.n_records;

	loop_wait(&broker->loop, MIN(timeout_ns, patience), &broker->users.now);
	broker_tick(broker);
	broker_serve(broker, &broker->reading, TURN_READ);
	broker_serve(broker, &broker->ringing, TURN_RING);
	if (broker->stop_requested && !broker->is_stopping)
		broker_begin_stop(broker);
	store_flush(&broker->store);
	broker_mark(broker);
	broker_serve(broker, &broker->sending, TURN_SEND);
	if (broker->is_calm) { /* whether more came with the one packet */
		broker->is_calm = false;
		broker_serve(broker, &broker->reading, TURN_READ);
		store_flush(&broker->store);
	}
	broker->is_calm =
		broker->n_packets - n_packets == 1 && broker->rooms.n_records - n_records == 1;
	broker_free_ended(broker);
	if (!list_is_empty(&broker->closing) || broker->listener.is_paused)
		broker_expire(broker);
	broker_free_gone(broker);
}

/* Those who spoke through rings may be gone; what they put is kept, if it can be. */
static bool broker_has_rings(const struct broker *broker)
{
	return store_is_open(&broker->store) && !list_is_empty(&broker->feeds) &&
	       broker->users.now < broker->stop_at;
}

int broker_run(struct broker *broker)
{
	while (!broker->is_stopping || broker->n_sessions > 0 || broker_has_rings(broker))
		broker_round(broker, UINT64_MAX);
	trace(TRACE_INFO, "stopped");
	return broker->is_useless ? BROKER_E_USELESS : 0;
}
