/* handle_stats.c - STATS: the counters; who floods, who is slow, who fills what. */
#include <stdio.h>
#include <string.h>

#include "broker/broker.h"
#include "broker/dispatch.h"
#include "broker/fastpath.h"
#include "broker/page.h"

/* Cursors that are behind and are looked at, of one session and for one page: a session
 * can have thousands, and one request must not hold the others up. */
#define STATS_CURSORS_MAX      1024
#define STATS_PAGE_CURSORS_MAX 4096

/* The words of a row: each number has at most 20 digits. */
#define STATS_ROW_MAX 640

static void stats_row(void *userdata, struct text row)
{
	struct page *page = userdata;

	answer_row(page->session, page->frame, row);
}

/* ---- sessions ---- */

/* How far behind a session is. */
struct backlog {
	uint64_t n_records;      /* over its cursors */
	uint64_t n_most;         /* of one of them, */
	const struct room *room; /* in this room */
	unsigned n_cursors;      /* looked at */
	bool has_more;           /* than those */
};

/* Its cursors that are behind are in session.pending, and no others. */
static struct backlog session_backlog(const struct session *session)
{
	struct backlog backlog = { 0 };

	list_for_each (link, &session->pending) {
		const struct cursor *cursor = container_of(link, struct cursor, pending_link);
		uint64_t n = log_end(&cursor->room->log) - cursor->at.seq;

		if (backlog.n_cursors == STATS_CURSORS_MAX) {
			backlog.has_more = true;
			break;
		}
		backlog.n_cursors++;
		backlog.n_records += n;
		if (!backlog.room || n > backlog.n_most) {
			backlog.n_most = n;
			backlog.room = cursor->room;
		}
	}
	return backlog;
}

/* What a session waits for before it is read again. */
static const char *session_waits_for(const struct session *session)
{
	if (session->is_slowed)
		return " waits=rate";
	if (session->fast && session->fast->has_bell)
		return " waits=rings";
	if (session->is_storing)
		return " waits=storage";
	if (session->is_waiting)
		return " waits=names";
	if (session_output_len(session) > ANSWERS_HELD_MAX)
		return " waits=answers";
	return "";
}

static bool session_row(
	struct page *page, const struct session *other, const struct backlog *backlog)
{
	const struct session *asker = page->session;
	uint32_t second = asker->broker->users.second;
	uint64_t now = asker->broker->users.now;
	char row[STATS_ROW_MAX], nobody[16], pid[24] = "";
	struct text author = other->author.name, room = TEXT("-");
	int n;

	if (!other->person) /* connected, and silent so far */
		author = (struct text){ nobody,
			(size_t)snprintf(nobody, sizeof nobody, "- %u", other->user->uid) };
	if (backlog->room && session_may_see(asker, backlog->room))
		room = room_target(backlog->room);
	if (session_is_admin(asker) || asker->user->uid == other->user->uid)
		snprintf(pid, sizeof pid, " pid=%d", other->pid);
	n = snprintf(row, sizeof row,
		"%.*s number=%lu since=%lu%s said=%lu rate=%u delivered=%lu behind=%lu%s room=%.*s "
		"held=%lu blocked=%lu%s",
		(int)author.len, author.data, (unsigned long)other->number,
		(unsigned long)((now - other->opened_at) / 1000000000), pid,
		(unsigned long)other->said.total, meter_rate(&other->said, second),
		(unsigned long)other->n_delivered, (unsigned long)backlog->n_records,
		backlog->has_more ? " more" : "", (int)room.len, room.data,
		(unsigned long)session_held_len(other),
		(unsigned long)(session_blocked_ns(other) / 1000000), session_waits_for(other));
	return page_put(page, other->number, (struct text){ row, (size_t)n });
}

static void stats_sessions(struct page *page)
{
	unsigned n_cursors = 0;

	list_for_each (link, &page->session->broker->sessions) {
		const struct session *other = container_of(link, struct session, sessions_link);
		struct backlog backlog;

		if (other->number <= page->after)
			continue;
		if (n_cursors >= STATS_PAGE_CURSORS_MAX) {
			page->is_full = true;
			break;
		}
		backlog = session_backlog(other);
		n_cursors += backlog.n_cursors;
		if (!session_row(page, other, &backlog))
			break;
	}
}

/* ---- users ---- */

/* A user that holds nothing and never said anything only asked for its name. */
static bool account_is_used(const struct quota_account *account)
{
	for (int kind = 0; kind < QUOTA_KINDS; kind++)
		if (account->used[kind] > 0)
			return true;
	return account->said.total > 0;
}

/* "NAME UID" of whose account it is. */
static int account_name(const struct users *users, const struct quota_account *account, char *row)
{
	char name[NAME_LEN_MAX + 1];
	const struct user *user;

	if (account == &users->strangers)
		return sprintf(row, "strangers -");
	user = container_of(account, struct user, own);
	user_default_name(user, name);
	return sprintf(row, "%s %u", name, user->uid);
}

static bool user_row(struct page *page, const struct quota_account *account)
{
	const struct users *users = &page->session->broker->users;
	char row[STATS_ROW_MAX];
	int n = account_name(users, account, row);

	for (int kind = 0; kind < QUOTA_KINDS; kind++)
		n += sprintf(row + n, " %s=%lu/%lu", quota_name((enum quota_kind)kind),
			(unsigned long)account->used[kind], (unsigned long)account->max[kind]);
	n += sprintf(row + n, " log_bytes=%lu said=%lu said_bytes=%lu rate=%u/%lu slowed=%lu",
		(unsigned long)account->log_bytes, (unsigned long)account->said.total,
		(unsigned long)account->said_bytes.total, meter_rate(&account->said, users->second),
		(unsigned long)account->throttle.rate.max,
		(unsigned long)account->throttle.n_waits);
	return page_put(page, account->number, (struct text){ row, (size_t)n });
}

static void stats_users(struct page *page)
{
	list_for_each (link, &page->session->broker->users.accounts) {
		const struct quota_account *account =
			container_of(link, struct quota_account, accounts_link);

		if (account->number > page->after && account_is_used(account) &&
			!user_row(page, account))
			break;
	}
}

/* ---- rings ---- */

static bool ring_row(struct page *page, const struct feed *feed)
{
	const struct author *author = &feed->fast->author;
	struct text room = room_target(feed->room);
	char row[STATS_ROW_MAX];
	unsigned n_direct = 0, n_logged;
	int n;

	/* of those that asked for rings; one that is finished is read no more */
	n_logged = feed->is_finished ? 0 : feed->room->n_fast - feed->n_following;
	list_for_each (link, &feed->followers)
		n_direct += container_of(link, struct follower, feed_link)->is_direct;
	n = snprintf(row, sizeof row,
		"%.*s %.*s number=%lu bytes=%lu %s at=%lu archived=%lu readers=%u direct=%u "
		"logged=%u laps=%lu wakes=%lu",
		(int)room.len, room.data, (int)author->name.len, author->name.data,
		(unsigned long)feed->number, (unsigned long)feed->memory.len,
		feed->is_finished   ? "ended"
		: feed->is_archived ? "gated"
				    : "free",
		(unsigned long)feed->reader.pos, (unsigned long)feed->n_archived, feed->n_following,
		n_direct, n_logged, (unsigned long)feed->n_laps, (unsigned long)feed->n_wakes);
	return page_put(page, feed->number, (struct text){ row, (size_t)n });
}

static void stats_rings(struct page *page)
{
	list_for_each (link, &page->session->broker->feeds) {
		const struct feed *feed = container_of(link, struct feed, feeds_link);

		if (feed->number > page->after && !ring_row(page, feed))
			break;
	}
}

static const struct {
	const char *name;
	void (*list)(struct page *page);
} lists[] = {
	{ "sessions", stats_sessions },
	{ "users", stats_users },
	{ "rings", stats_rings },
};

int handle_stats(struct session *session, const struct frame *frame)
{
	struct page page;
	size_t i = 0;

	if (!page_open(&page, session, frame))
		return 0;
	if (!page.what.data) {
		answer_done(session, frame, "%u", broker_stats(session->broker, stats_row, &page));
		return 0;
	}
	while (i < ARRAY_LEN(lists) && !text_equal(page.what, text_of(lists[i].name)))
		i++;
	if (i == ARRAY_LEN(lists)) {
		answer_refuse(session, frame, CODE_ARGS,
			"there are STATS sessions, STATS users and STATS rings");
		return 0;
	}
	if (answer_has_rows(frame))
		lists[i].list(&page);
	page_close(&page);
	return 0;
}
