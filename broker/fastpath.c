/* fastpath.c - see fastpath.h. */
#include "broker/fastpath.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "broker/broker.h"
#include "broker/descriptors.h"
#include "broker/dispatch.h"
#include "broker/ipc.h"
#include "broker/output.h"
#include "broker/reader.h"
#include "broker/trace.h"
#include "protocol/number.h"
#include "protocol/shared.h"

/* Looks that find nothing, in a row, after which the broker waits for the bell. */
#define FAST_IDLE_LOOKS 3

static struct control_page *fast_page(const struct fast *fast)
{
	return fast->control.at;
}

/* ---- opening ---- */

/* Say once what the kernel does not give: it is a convenience, and the rest goes on. */
static void fast_warn(struct broker *broker, const char *what, int error, const char *instead)
{
	if (broker->has_warned_fast)
		return;
	broker->has_warned_fast = true;
	trace(TRACE_WARNING, "no %s for fast paths: %s; %s", what, strerror(-error), instead);
}

/* A semaphore, where everybody that touches it is one user. Without /dev/shm, or when it is
 * full, an eventfd will do. */
static void fast_create_waker(struct fast *fast)
{
	struct broker *broker = fast->broker;
	int r;

	if (fast->user->uid != broker->users.self)
		return;
	ipc_put_name(broker->config->socket ? broker->config->socket : "", fast->semaphore);
	r = waker_create(&fast->waker, fast->semaphore);
	if (r == 0) {
		r = fast->held = ipc_hold(fast->semaphore);
		if (r >= 0) {
			fast_hold(fast, 1);
			return;
		}
		waker_close(&fast->waker);
		sem_unlink(fast->semaphore);
	}
	fast_warn(broker, "semaphore", r, "an eventfd is used instead");
	fast->semaphore[0] = '\0';
}

static struct fast *fast_new(struct session *session)
{
	struct fast *fast = calloc(1, sizeof *fast);

	if (!fast)
		return NULL;
	fast->broker = session->broker;
	fast->session = session;
	fast->user = user_ref(session->user);
	fast->author = session->author;
	memcpy(fast->author_name, session->author.name.data, session->author.name.len);
	fast->author.name.data = fast->author_name;
	fast->control = SEALED_NONE;
	fast->waker = WAKER_NONE;
	fast->held = -1;
	list_init(&fast->followers);
	list_init(&fast->turn_link);
	list_init(&fast->rest_link);
	return fast;
}

void fast_hold(struct fast *fast, int n)
{
	fast->broker->n_passed += (uint64_t)n;
	fast->user->account->n_passed += (uint64_t)n;
}

/* Refuse when the user has used its share of the descriptors, or passed some that cannot be
 * closed. */
static bool fast_is_short(struct session *session, const struct frame *frame)
{
	bool is_short = !descriptors_may_pass(session->broker, session->user->account);

	if (closers_are_stuck(session->user->account, session->broker->users.now)) {
		answer_refuse(session, frame, CODE_QUOTA,
			"descriptors: %lu are held, and some of them cannot be closed",
			(unsigned long)session->user->account->n_passed);
		return true;
	}
	if (is_short)
		answer_refuse(session, frame, CODE_RING, "too few descriptors are left");
	return is_short;
}

int fast_open(struct session *session, const struct frame *frame)
{
	struct fast *fast;
	int r;

	if (session->fast) {
		answer_refuse(session, frame, CODE_STATE, "FAST was said already");
		return 0;
	}
	if (!session->has_batch || !session->author.has_publisher) {
		answer_refuse(session, frame, CODE_ARGS, "FAST needs batch and pub= in HELLO");
		return 0;
	}
	if (fast_is_short(session, frame))
		return 0;
	fast = fast_new(session);
	if (!fast) {
		answer_error(session, frame, -ENOMEM);
		return 0;
	}
	r = sealed_create(&fast->control, "chat-control", sizeof(struct control_page));
	if (r < 0) {
		fast_warn(session->broker, "shared memory", r, "all goes through the socket");
		answer_refuse(session, frame, CODE_RING, "no fast path here: %s", strerror(-r));
		fast->session = NULL;
		fast_release(fast);
		return 0;
	}
	fast_create_waker(fast);
	fast_hold(fast, 1);
	if (!session->may_pass) /* where the kernel can refuse them, it can allow them */
		session->may_pass = packet_allow_rights(session->watch.fd, true) == 0;
	session->fast = fast;
	fast->is_page_due = true;
	answer_ok(session, frame);
	output_schedule(session);
	return 0;
}

void fast_release(struct fast *fast)
{
	if (fast->session || fast->n_feeds > 0)
		return;
	list_unlink(&fast->turn_link);
	list_unlink(&fast->rest_link);
	sealed_close(&fast->control);
	users_put(&fast->broker->users, fast->user);
	free(fast);
}

static void fast_close_waker(struct fast *fast)
{
	if (fast->semaphore[0])
		sem_unlink(fast->semaphore);
	fast->semaphore[0] = '\0';
	if (fast->held >= 0) {
		close(fast->held);
		fast_hold(fast, -1);
	}
	fast->held = -1;
	if (fast->waker.fd >= 0)
		fast_hold(fast, -2);
	waker_close(&fast->waker);
}

void fast_end(struct session *session)
{
	struct fast *fast = session->fast;

	if (!fast)
		return;
	session->fast = NULL;
	/* who sleeps finds out that the socket is closed */
	if (fast->waker.semaphore)
		waker_wake(&fast->waker);
	fast_close_waker(fast);
	if (fast->control.fd >= 0)
		fast_hold(fast, -1);
	sealed_close(&fast->control);
	fast->passed = NULL;
	fast->session = NULL;
	for (unsigned i = 0; i < RINGS_MAX; i++)
		if (fast->feeds[i])
			feed_end(fast->feeds[i]);
	fast_release(fast);
}

/* ---- passing ---- */

int fast_pass(struct fast *fast, enum fast_pass passing, struct follower *passed, struct text frame,
	const int *fds, size_t n_fds)
{
	int r = output_send_passing(fast->session, frame, fds, n_fds);

	if (r)
		return r;
	fast->passing = passing;
	fast->passed = passed;
	return 0;
}

static int fast_pass_page(struct fast *fast)
{
	char line[WAKER_NAME_MAX + 32];
	int n, r;

	n = snprintf(line, sizeof line, "PAGE wake=%s",
		fast->semaphore[0] ? fast->semaphore : "eventfd");
	r = fast_pass(
		fast, FAST_PASS_PAGE, NULL, (struct text){ line, (size_t)n }, &fast->control.fd, 1);
	if (r == 0)
		fast->is_page_due = false;
	return r == -ETOOMANYREFS ? 0 : r;
}

/* Tell the publisher how to wake a reader of its own user. */
static int fast_pass_sleeper(struct fast *fast, struct follower *follower)
{
	const struct fast *reader = follower->fast;
	const int fds[2] = { reader->waker.fd, reader->waker.page.fd };
	char line[WAKER_NAME_MAX + 96];
	int n, r;

	n = snprintf(line, sizeof line, "SLEEPER slot=%u reader=%lu", follower->feed->slot,
		(unsigned long)follower->cursor->number);
	if (reader->waker.semaphore)
		n += snprintf(line + n, sizeof line - (size_t)n, " wake=%s", reader->semaphore);
	r = fast_pass(fast, FAST_PASS_SLEEPER, follower, (struct text){ line, (size_t)n }, fds,
		reader->waker.semaphore ? 0 : 2);
	if (r == 0 || r == -ETOOMANYREFS)
		follower->is_due = false;
	return r == -ETOOMANYREFS ? 0 : r;
}

bool fast_can_read(const struct fast *fast)
{
	return fast->is_open && (fast->waker.semaphore || fast->waker.fd >= 0);
}

static struct follower *fast_due_sleeper(const struct fast *fast)
{
	if (fast->n_direct >= SLEEPERS_MAX)
		return NULL;
	for (unsigned i = 0; i < RINGS_MAX; i++) {
		if (!fast->feeds[i])
			continue;
		list_for_each (link, &fast->feeds[i]->followers) {
			struct follower *follower = container_of(link, struct follower, feed_link);

			if (follower->is_due)
				return follower;
		}
	}
	return NULL;
}

int fast_flush(struct session *session)
{
	struct fast *fast = session->fast;
	struct follower *follower;

	if (!fast || fast->passing != FAST_PASS_NONE)
		return 0;
	if (fast->is_page_due)
		return fast_pass_page(fast);
	follower = fast_due_sleeper(fast);
	return follower ? fast_pass_sleeper(fast, follower) : 0;
}

/* Its sleeper is another one now: whoever wakes it is to be told. */
static void fast_announce(struct fast *fast)
{
	list_for_each (link, &fast->followers) {
		struct follower *follower = container_of(link, struct follower, fast_link);
		struct fast *publisher = follower->feed->fast;

		if (!follower->is_told || fast->user != publisher->user)
			continue;
		if (follower->is_direct)
			publisher->n_direct--;
		follower->is_direct = false;
		follower->is_due = true;
		if (publisher->session)
			output_schedule(publisher->session);
		fast_line_up(publisher);
	}
}

/* Wake this reader, if it sleeps; behind a shared_fence(). Returns whether it did. */
static bool fast_wake(struct fast *reader)
{
	if (!waker_claim(&reader->waker))
		return false;
	if (reader->waker.semaphore)
		waker_wake(&reader->waker);
	else if (reader->session)
		output_put(reader->session, TEXT("BELL"));
	return true;
}

/* What they were held for is over, or they can be told now. */
static void fast_schedule_cursors(const struct fast *fast)
{
	list_for_each (link, &fast->followers)
		reader_schedule(container_of(link, struct follower, fast_link)->cursor);
}

void fast_took(struct session *session, bool is_refused)
{
	struct fast *fast = session->fast;
	enum fast_pass passing = fast->passing;
	struct follower *follower = TAKE(fast->passed);

	fast->passing = FAST_PASS_NONE;
	if (passing == FAST_PASS_PAGE) {
		sealed_close_fd(&fast->control);
		fast_hold(fast, -1);
		fast->is_open = !is_refused;
	} else if (passing == FAST_PASS_SLEEPER && follower && !is_refused && !follower->is_due) {
		follower->is_direct = true;
		fast->n_direct++;
		/* what was put before the publisher knew, and rang the bell for, is not looked
		 * at any more */
		shared_fence();
		fast_wake(follower->fast);
	} else if (passing == FAST_PASS_RING && follower && is_refused) {
		follower_refuse(follower);
	} else if (passing == FAST_PASS_RING && follower) {
		follower_take(follower);
		if (follower->feed->fast->session) /* it is to be told how to wake */
			output_schedule(follower->feed->fast->session);
	} else if (passing == FAST_PASS_END && follower) {
		reader_schedule(follower->cursor); /* what is behind the ring was held */
		follower_free(follower);
	}
	fast_schedule_cursors(fast);
	output_schedule(session);
}

/* Take the descriptors that came with the packet in hand. */
void fast_take_waker(struct session *session, const struct frame *frame)
{
	struct fast *fast = session->fast;
	struct passed *passed = &session->broker->passed;
	struct waker waker;
	int r;

	if (!fast) {
		answer_refuse(session, frame, CODE_STATE, "say FAST first");
		return;
	}
	if (fast_is_short(session, frame))
		return;
	if (passed->n != 2) {
		answer_refuse(session, frame, CODE_RING, "two descriptors belong to it");
		return;
	}
	r = waker_take(&waker, passed->fds[0], passed->fds[1], session->user->uid);
	if (r < 0) {
		answer_refuse(
			session, frame, CODE_RING, "not an eventfd and a page: %s", strerror(-r));
		return;
	}
	passed->n = 0;
	fast_close_waker(fast);
	fast->waker = waker;
	fast_hold(fast, 2);
	fast_announce(fast);
	fast_schedule_cursors(fast);
	answer_ok(session, frame);
}

void fast_count_packet(struct fast *fast)
{
	struct control_page *page = fast_page(fast);

	shared_release32(&page->packets, page->packets + 1);
	if (!fast->waker.semaphore)
		return;
	shared_fence();
	waker_wake(&fast->waker);
}

/* ---- rings ---- */

void fast_set_gate(const struct feed *feed, uint64_t gate, int error)
{
	struct control_page *page = fast_page(feed->fast);
	struct control_slot *slot;

	if (!page)
		return;
	slot = &page->slots[feed->slot];
	error = feed->is_revoked ? EPIPE : error;
	shared_release64(&slot->gate, gate);
	if (slot->error != (uint32_t)error)
		shared_release32(&slot->error, (uint32_t)error);
}

/* What is wrong with an offer; NULL when nothing is. */
static const char *offer_check(
	struct session *session, struct room *room, bool is_again, unsigned *ret_slot)
{
	struct fast *fast = session->fast;

	if (!fast || !fast->is_open)
		return "FAST was not said, or its page was not taken";
	if (room_is_conversation(room) || room_is_wall(room))
		return "there are no rings in conversations and on the wall";
	/* who may not read it any more may have it mapped */
	if (is_again && session->broker->n_revoked > 0)
		return "somebody was thrown out since it was made, most likely";
	if (room_find_feed(room, &fast->author))
		return "there is one already";
	for (unsigned i = 0; i < RINGS_MAX; i++)
		if (!fast->feeds[i]) {
			*ret_slot = i;
			return NULL;
		}
	return "this connection has as many rings as it can have";
}

/* Map what came with the packet in hand. */
static int offer_map(struct session *session, struct sealed *ret_memory)
{
	struct passed *passed = &session->broker->passed;
	int r;

	if (passed->n != 1)
		return -EBADF;
	r = sealed_map(ret_memory, passed->fds[0], session->user->uid,
		RING_HEADER_LEN + RING_CAPACITY_MIN, RING_HEADER_LEN + RING_CAPACITY_MAX);
	if (r == 0)
		passed->n = 0;
	return r;
}

int fast_offer(struct session *session, const struct frame *frame, struct room *room,
	uint64_t nonce, uint64_t pos, uint64_t seq)
{
	struct quota_account *account = session->user->account;
	struct fast *fast = session->fast;
	struct sealed memory;
	struct feed *feed;
	unsigned slot = 0;
	bool is_again = frame_has(frame, 2, "again");
	const char *why = offer_check(session, room, is_again, &slot);
	int r;

	if (why) {
		answer_refuse(session, frame, CODE_RING, "%s", why);
		return 0;
	}
	if (fast_is_short(session, frame))
		return 0;
	r = offer_map(session, &memory);
	if (r < 0) {
		answer_refuse(session, frame, CODE_RING, "the descriptor: %s", strerror(-r));
		return 0;
	}
	if (room_count_rings(room, account) >= account->room_rings) {
		answer_refuse(session, frame, CODE_QUOTA, "room-rings: at the limit of %lu",
			(unsigned long)account->room_rings);
		sealed_close(&memory);
		return 0;
	}
	if (quota_charge(account, QUOTA_RINGS, memory.len)) {
		answer_refuse(session, frame, CODE_QUOTA, "ring-bytes: at the limit of %lu",
			(unsigned long)account->max[QUOTA_RINGS]);
		sealed_close(&memory);
		return 0;
	}
	r = feed_new(fast, slot, room, &memory, nonce, pos, seq, is_again, &feed);
	if (r) {
		quota_discharge(account, QUOTA_RINGS, memory.len);
		sealed_close(&memory);
		if (r < 0)
			answer_error(session, frame, r);
		else
			answer_refuse(
				session, frame, CODE_RING, "its header is not as it should be");
		return 0;
	}
	fast_hold(fast, 1);
	answer_done(session, frame, "slot=%u", slot);
	list_for_each (link, &room->cursors) {
		struct cursor *cursor = container_of(link, struct cursor, room_link);

		if (cursor->is_fast)
			follower_new(cursor, feed);
	}
	feed_update(feed);
	fast_line_up(fast);
	return 0;
}

/* ---- looking at them ---- */

void fast_line_up(struct fast *fast)
{
	list_unlink(&fast->rest_link);
	if (!list_is_linked(&fast->turn_link))
		turns_add(&fast->broker->ringing, &fast->user->account->ringing, &fast->turn_link);
}

static void fast_rest(struct fast *fast, uint64_t ns)
{
	fast->rest_until = fast->broker->users.now + ns;
	list_unlink(&fast->rest_link);
	list_append(&fast->broker->resting, &fast->rest_link);
}

uint64_t fastpath_patience(struct broker *broker)
{
	uint64_t now = broker->users.now, wait = UINT64_MAX;

	list_for_each (link, &broker->resting) {
		struct fast *fast = container_of(link, struct fast, rest_link);

		if (fast->rest_until <= now)
			fast_line_up(fast);
		else
			wait = MIN(wait, fast->rest_until - now);
	}
	return list_is_empty(&broker->ringing) ? wait : 0;
}

void fast_relay(struct feed *feed)
{
	bool is_fenced = false;

	list_for_each (link, &feed->followers) {
		struct follower *follower = container_of(link, struct follower, feed_link);
		struct fast *reader = follower->fast;

		if (follower->state != FOLLOWER_FOLLOWING || follower->is_direct)
			continue;
		if (!is_fenced)
			shared_fence(); /* between the record that was seen and who sleeps */
		is_fenced = true;
		feed->n_wakes += fast_wake(reader);
	}
}

struct fast_look {
	bool found, more, later, relays;
	bool is_unsafe;  /* the disk is waited for */
	int error;       /* errno for which something is not archived, or 0 */
	bool is_awaited; /* by readers at the socket, for whom a rest is long */
};

static void fast_look_at(struct feed *feed, struct fast_look *look)
{
	uint64_t before = feed->reader.pos;
	int r;

	if (!feed_is_read(feed))
		return;
	look->relays |= !feed->is_archived;
	look->is_awaited |= feed->is_archived && feed->room->n_cursors > feed->n_following;
	r = feed_drain(feed);
	if (feed->reader.pos != before) {
		look->found = true;
		/* it fills faster than a rest is long */
		look->more |= feed->reader.pos - before >= feed->reader.capacity / RING_BLOCKS;
		fast_relay(feed);
	}
	look->more |= r == FEED_E_MORE;
	look->later |= r == FEED_E_LATER;
	look->is_unsafe |= feed_is_unsafe(feed);
	look->error = MAX(look->error, feed->error);
	if (r == 0 && feed->is_ending && !feed_is_unsafe(feed))
		feed_finish(feed);
}

/* Look at each of its rings, while the turn lasts; the next turn begins with the first ring that
 * had no look. */
static void fast_look(struct fast *fast, struct fast_look *look)
{
	const struct broker *broker = fast->broker;
	unsigned first = fast->slot;

	for (unsigned i = 0; i < RINGS_MAX; i++) {
		unsigned slot = (first + i) % RINGS_MAX;

		if (!fast->feeds[slot])
			continue;
		if (look->found && broker_clock() >= broker->turn_end) {
			fast->slot = slot;
			look->more = true;
			return;
		}
		fast_look_at(fast->feeds[slot], look);
	}
}

/* Wait for the bell. What is put before the publisher sees that it is wanted is seen here:
 * chat-ring(7), section WAKING. */
static void fast_arm(struct fast *fast)
{
	struct control_page *page = fast_page(fast);
	bool is_read = false;

	for (unsigned i = 0; i < RINGS_MAX; i++)
		is_read |= fast->feeds[i] && feed_is_read(fast->feeds[i]);
	if (!page || !is_read) /* nobody needs to be told */
		return;
	shared_release32(&page->bell, page->bell + 1);
	shared_fence();
	for (unsigned i = 0; i < RINGS_MAX; i++)
		if (fast->feeds[i] && feed_is_read(fast->feeds[i]) &&
			ring_is_ready(&fast->feeds[i]->reader)) {
			fast->n_idle = 0;
			fast_line_up(fast);
			return;
		}
}

static void fast_answer_bell(struct fast *fast)
{
	fast->is_drained = true;
	fast->session->is_waiting = false;
	session_line_up(fast->session);
}

void fast_turn(struct fast *fast)
{
	struct fast_look look = { 0 };

	list_unlink(&fast->turn_link);
	rooms_take_up(&fast->broker->rooms, broker_now(fast->broker));
	fast_look(fast, &look);
	if (fast->has_bell && !fast->is_drained && fast->session &&
		(look.error || (!look.more && !look.later && !look.is_unsafe)))
		fast_answer_bell(fast);
	fast->n_idle = look.found || look.later ? 0 : fast->n_idle + 1;
	if (look.more)
		fast_line_up(fast);
	else if (look.later ||
		 (fast->session && fast->n_idle < FAST_IDLE_LOOKS && !look.is_awaited))
		fast_rest(fast, look.relays ? FASTPATH_RELAY_NS : FASTPATH_REST_NS);
	else
		fast_arm(fast);
}

/* ---- requests about them ---- */

/* Wait until all that was put is archived. */
static bool fast_has_drained(struct session *session)
{
	struct fast *fast = session->fast;

	if (fast->has_bell && fast->is_drained) {
		fast->has_bell = fast->is_drained = false;
		return true;
	}
	fast->has_bell = true;
	fast->is_drained = false;
	session->is_waiting = true;
	fast->n_idle = 0;
	fast_line_up(fast);
	return false;
}

bool fast_is_ahead(const struct session *session, const struct room *room)
{
	for (unsigned i = 0; i < RINGS_MAX; i++) {
		const struct feed *feed = session->fast->feeds[i];

		if (feed && feed->room == room && feed->is_archived && ring_is_ready(&feed->reader))
			return true;
	}
	return false;
}

int fast_error(const struct session *session)
{
	int error = 0;

	for (unsigned i = 0; session->fast && i < RINGS_MAX; i++)
		if (session->fast->feeds[i])
			error = MAX(error, session->fast->feeds[i]->error);
	return -error;
}

bool fast_must_wait(struct session *session, const struct room *room)
{
	/* with the bell, this request has waited already */
	return (session->fast->has_bell || fast_is_ahead(session, room)) &&
	       !fast_has_drained(session);
}

int fast_bell(struct session *session, const struct frame *frame)
{
	if (!session->fast) {
		answer_refuse(session, frame, CODE_STATE, "say FAST first");
		return 0;
	}
	if (frame->tag.len == 0) {
		session->fast->n_idle = 0;
		fast_line_up(session->fast);
		return 0;
	}
	if (!fast_has_drained(session))
		return DISPATCH_E_WAIT;
	if (fast_error(session))
		answer_error(session, frame, fast_error(session));
	else
		answer_ok(session, frame);
	return 0;
}

static void feed_revoke(struct feed *feed)
{
	struct control_page *page = fast_page(feed->fast);

	if (feed->is_ending)
		return;
	feed->is_revoked = true;
	feed_end(feed);
	fast_set_gate(feed, feed_gate(feed), EPIPE);
	/* at its next record, not only at the end of a block */
	if (page)
		shared_release32(&page->bell, page->bell + 1);
}

void fast_revoke(struct session *session)
{
	session->broker->n_revoked++;
	list_for_each (link, &session->broker->feeds) {
		struct feed *feed = container_of(link, struct feed, feeds_link);

		if (feed->was_left && feed->fast != session->fast)
			feed_revoke(feed);
	}
	if (!session->fast)
		return;
	list_for_each (link, &session->fast->followers) {
		struct feed *feed = container_of(link, struct follower, fast_link)->feed;

		if (feed->fast != session->fast)
			feed_revoke(feed);
	}
}

bool fast_is_paced(const struct fast *fast)
{
	return fast->user->account->throttle.rate.max < RATE_MAX;
}

void fastpath_apply_settings(struct broker *broker)
{
	list_for_each (link, &broker->feeds) {
		struct feed *feed = container_of(link, struct feed, feeds_link);

		if (feed->is_paced != fast_is_paced(feed->fast))
			feed_revoke(feed);
	}
}
