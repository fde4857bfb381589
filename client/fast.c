/* fast.c - see fast.h. */
#include "client/fast.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/passed.h"
#include "client/session.h"
#include "protocol/number.h"
#include "protocol/shared.h"
#include "protocol/uid.h"

#define NS_PER_MS 1000000u

/* Looks at the rings between two at the clock, while looking before a sleep. */
#define LOOKS_PER_CLOCK 64

/* A broker that was killed does not count up the packets any more: the socket is read so
 * often at least, whatever the counter says. */
#define BLIND_NS (UINT64_C(50) * NS_PER_MS)

#define OFFER_AGAIN_NS (1000 * (uint64_t)NS_PER_MS)

/* A full socket can not wake who sleeps on a semaphore. */
#define FULL_SOCKET_NS (UINT64_C(5) * NS_PER_MS)

void fast_init(struct fast *fast)
{
	const char *off = secure_getenv("CHAT_NO_SHM");

	*fast = (struct fast){ .control = SEALED_NONE, .sleeper = SLEEPER_NONE };
	fast->is_off = off && off[0] && strcmp(off, "0") != 0;
}

void fast_deinit(struct chat *chat)
{
	struct fast *fast = &chat->fast;

	for (unsigned i = 0; i < fast->n_publications; i++)
		publication_close(&fast->publications[i]);
	for (unsigned i = fast->n_subscriptions; i > 0; i--)
		subscription_close(chat, &fast->subscriptions[i - 1]);
	free(fast->publications);
	free(fast->subscriptions);
	sleeper_close(&fast->sleeper);
	sealed_close(&fast->control);
}

/* Memory that this process made is not mapped in a child, where another mapping may have
 * its place: only the descriptor is there. */
static void fast_abandon_memory(struct sealed *made)
{
	made->at = NULL;
	sealed_close_fd(made);
}

void fast_abandon(struct chat *chat)
{
	struct fast *fast = &chat->fast;

	for (unsigned i = 0; i < fast->n_publications; i++) {
		if (!fast->publications[i].memory.at)
			continue;
		publication_drop_wakers(&fast->publications[i]);
		fast_abandon_memory(&fast->publications[i].memory);
	}
	fast_abandon_memory(&fast->sleeper.page);
	fast_deinit(chat);
}

bool fast_want(struct chat *chat)
{
	struct fast *fast = &chat->fast;

	if (fast->is_off || fast->is_wanted)
		return fast->is_wanted;
	fast->publications = calloc(RINGS_MAX, sizeof *fast->publications);
	fast->subscriptions = calloc(RINGS_MAX, sizeof *fast->subscriptions);
	fast->is_wanted = fast->publications && fast->subscriptions;
	fast->is_off = !fast->is_wanted;
	for (unsigned i = 0; fast->is_wanted && i < RINGS_MAX; i++) {
		fast->publications[i].memory = SEALED_NONE;
		fast->subscriptions[i].memory = SEALED_NONE;
	}
	return fast->is_wanted;
}

void fast_lose(struct chat *chat)
{
	struct fast *fast = &chat->fast;

	for (unsigned i = 0; i < fast->n_publications; i++)
		if (fast->publications[i].memory.at)
			publication_lose(chat, &fast->publications[i]);
	for (unsigned i = 0; i < fast->n_subscriptions; i++) {
		struct subscription *subscription = &fast->subscriptions[i];

		/* RING comes again anyway */
		subscription->is_resync_due = subscription->owes_took = false;
		subscription->n_resyncs = 0;
	}
	sleeper_close(&fast->sleeper);
	sealed_close(&fast->control);
	fast->is_asked = fast->is_refused = fast->has_seen = fast->is_sleeping = false;
	fast->n_tooks = fast->n_refusals = 0;
	fast->is_waker_due = fast->is_bell_due = fast->is_drain_due = false;
	fast->n_drained = fast->n_drains;
}

/* ---- sending ---- */

static int fast_send(struct chat *chat, const char *line, const int *fds, size_t n_fds)
{
	struct iovec part = { (char *)line, strlen(line) };
	int r = n_fds ? link_send_fds(&chat->link, &part, 1, fds, n_fds)
		      : link_send(&chat->link, &part, 1);

	if (r && r != -EAGAIN)
		session_lose(chat, strerror(-r));
	return r;
}

static int fast_send_tooks(struct chat *chat)
{
	struct fast *fast = &chat->fast;
	int r = 0;

	for (; r == 0 && fast->n_tooks > 0; fast->n_tooks -= r == 0)
		r = fast_send(chat, "TOOK", NULL, 0);
	for (; r == 0 && fast->n_refusals > 0; fast->n_refusals -= r == 0)
		r = fast_send(chat, "TOOK no", NULL, 0);
	return r;
}

static int fast_send_waker(struct chat *chat)
{
	struct fast *fast = &chat->fast;
	const int fds[] = { fast->sleeper.fd, fast->sleeper.page.fd };
	int r;

	if (!fast->is_waker_due)
		return 0;
	r = fast_send(chat, "#w WAKER", fds, 2);
	if (r == 0)
		fast->is_waker_due = false;
	return r;
}

static int fast_send_resyncs(struct chat *chat)
{
	char line[LINE_LEN_MAX];
	int r = 0;

	for (unsigned i = 0; r == 0 && i < chat->fast.n_subscriptions; i++) {
		struct subscription *subscription = &chat->fast.subscriptions[i];

		if (!subscription->is_resync_due)
			continue;
		/* JOIN has it told where to go on */
		if (subscription->cursor->state != CURSOR_UP || chat->inbox.n_downs > 0) {
			subscription_settle(chat, subscription);
			continue;
		}
		snprintf(line, sizeof line, "RESYNC %s %u p=%016llx after=%llu since=%llu",
			subscription->cursor->target, subscription->uid,
			(unsigned long long)subscription->label,
			(unsigned long long)subscription->last,
			(unsigned long long)subscription_since(
				subscription, subscription->cursor->log));
		r = fast_send(chat, line, NULL, 0);
		if (r)
			break;
		subscription->n_resyncs++;
		subscription_settle(chat, subscription);
	}
	return r;
}

/* Behind everything that was said through the socket, which the broker must have first. */
static int fast_send_offers(struct chat *chat)
{
	int r = 0;

	if (!fast_page(&chat->fast) || outbox_unsent(&chat->outbox) > 0)
		return 0;
	for (unsigned i = 0; r == 0 && i < chat->fast.n_publications; i++) {
		struct publication *publication = &chat->fast.publications[i];

		if (publication->memory.at && publication->state == PUBLICATION_NEW)
			r = publication_offer(chat, publication);
	}
	if (r && r != -EAGAIN)
		session_lose(chat, strerror(-r));
	return r;
}

static int fast_send_bells(struct chat *chat)
{
	struct fast *fast = &chat->fast;
	char line[64];
	int r = 0;

	if (fast->is_bell_due && !fast->is_drain_due)
		r = fast_send(chat, "BELL", NULL, 0);
	if (r == 0)
		fast->is_bell_due = false;
	if (r == 0 && fast->is_drain_due) {
		snprintf(line, sizeof line, "#b%llu BELL", (unsigned long long)fast->n_drains);
		r = fast_send(chat, line, NULL, 0);
		fast->is_drain_due = r != 0;
	}
	return r;
}

/* There is no fast path now, so the broker would not take records from the rings. */
static void fast_spill(struct fast *fast)
{
	for (unsigned i = 0; i < fast->n_publications; i++)
		if (fast->publications[i].memory.at &&
			fast->publications[i].state != PUBLICATION_SPILLED)
			publication_spill(&fast->publications[i], 0);
}

void fast_push(struct chat *chat)
{
	struct fast *fast = &chat->fast;
	int r = 0;

	if (!fast->is_wanted || chat->state < SESSION_RESUMING || chat->state > SESSION_UP)
		return;
	if (!fast->is_asked && fast->is_barred) {
		fast->is_asked = fast->is_refused = true;
		fast_spill(fast);
	} else if (!fast->is_asked) {
		link_take_fds(&chat->link);
		r = fast_send(chat, "#f FAST", NULL, 0);
		fast->is_asked = r == 0;
	}
	if (r == 0)
		r = fast_send_resyncs(chat);
	if (r == 0)
		r = fast_send_tooks(chat);
	if (r == 0)
		r = fast_send_waker(chat);
	if (r == 0 && chat->state == SESSION_UP)
		r = fast_send_offers(chat);
	if (r == 0)
		(void)fast_send_bells(chat);
}

void fast_pour(struct chat *chat)
{
	struct fast *fast = &chat->fast;

	for (unsigned i = 0; i < fast->n_publications; i++)
		if (fast->publications[i].memory.at &&
			fast->publications[i].state == PUBLICATION_SPILLED)
			(void)publication_pour(chat, &fast->publications[i]);
}

void fast_drain(struct chat *chat)
{
	struct fast *fast = &chat->fast;

	if (fast->n_drains != fast->n_drained || chat->state != SESSION_UP)
		return;
	fast->n_drains++;
	fast->is_drain_due = true;
	fast_push(chat);
}

/* ---- what arrives ---- */

/* A place to sleep that can be polled. */
static void fast_make_sleeper(struct chat *chat)
{
	struct fast *fast = &chat->fast;
	struct sleeper sleeper;

	if (sleeper_create(&sleeper) < 0)
		return; /* then nobody passes us a ring */
	if (link_watch(&chat->link, sleeper.fd) < 0) {
		sleeper_close(&sleeper);
		return;
	}
	sleeper_close(&fast->sleeper);
	fast->sleeper = sleeper;
	fast->is_waker_due = true;
}

/* A semaphore can be cut under who has it mapped by whoever may write it: only our own. */
static bool fast_may_open(const struct chat *chat, const char *name)
{
	return name[0] == '/' && chat->broker_uid == geteuid() &&
	       !uid_is_unmapped(chat->broker_uid);
}

/* "PAGE wake=NAME" */
static void arrive_page(struct chat *chat, const struct frame *frame)
{
	struct text wake = frame_get(frame, 1, "wake");
	struct fast *fast = &chat->fast;
	char name[WAKER_NAME_MAX];
	int fd = session_take_arrived_fd(chat);

	if (fast->control.at) { /* gates point into it */
		passed_close(fd);
		session_lose(chat, "the broker passed a second page");
		return;
	}
	if (fd < 0 || sealed_map(&fast->control, fd, chat->broker_uid, sizeof(struct control_page),
			      sizeof(struct control_page)) < 0) {
		passed_close(fd);
		fast->n_refusals++;
		fast->is_refused = true;
		fast_spill(fast);
		return;
	}
	sealed_close_fd(&fast->control);
	fast->n_tooks++;
	fast->bell_seen = fast_page(fast)->bell - 1;
	snprintf(name, sizeof name, "%.*s", (int)MIN(wake.len, sizeof name - 1), wake.data);
	if (fast->is_polled || !fast_may_open(chat, name) || sleeper_open(&fast->sleeper, name) < 0)
		fast_make_sleeper(chat);
}

static struct publication *fast_publication_of_slot(struct fast *fast, uint64_t slot)
{
	for (unsigned i = 0; i < fast->n_publications; i++) {
		struct publication *publication = &fast->publications[i];

		if (publication->memory.at && publication->slot == slot &&
			publication->state == PUBLICATION_UP)
			return publication;
	}
	return NULL;
}

/* "SLEEPER slot=I reader=N [wake=NAME | gone]" */
static void arrive_sleeper(struct chat *chat, const struct frame *frame)
{
	struct text slot_word = frame_get(frame, 1, "slot");
	struct text reader_word = frame_get(frame, 1, "reader");
	struct text wake = frame_get(frame, 1, "wake");
	struct waker waker = WAKER_NONE;
	struct publication *publication;
	char name[WAKER_NAME_MAX];
	uint64_t slot, reader;
	bool is_gone = frame_has(frame, 1, "gone"), is_named;
	int page_fd, fd, r;

	if (!slot_word.data || !number_parse(slot_word, &slot) || !reader_word.data ||
		!number_parse(reader_word, &reader))
		return;
	publication = fast_publication_of_slot(&chat->fast, slot);
	if (is_gone) {
		if (publication)
			publication_remove_waker(publication, reader);
		return;
	}
	snprintf(name, sizeof name, "%.*s", (int)MIN(wake.len, sizeof name - 1),
		wake.data ? wake.data : "");
	is_named = fast_may_open(chat, name);
	page_fd = session_take_arrived_fd(chat);
	fd = session_take_arrived_fd(chat);
	r = is_named ? waker_open(&waker, name) : waker_take(&waker, fd, page_fd, chat->uid);
	if (r < 0 || is_named) {
		passed_close(fd);
		passed_close(page_fd);
	}
	if (r == 0 && publication && publication_add_waker(publication, reader, &waker)) {
		chat->fast.n_tooks++;
		return;
	}
	waker_close(&waker);
	chat->fast.n_refusals++;
}

/* "REVOKED room at=POS" */
static void arrive_revoked(struct chat *chat, const struct frame *frame)
{
	struct text at = frame_get(frame, 2, "at");
	struct publication *publication;
	uint64_t pos;

	if (frame->n_words < 2 || !at.data || !number_parse(at, &pos) || pos % RING_LINE != 0)
		return;
	publication = publication_find(chat, frame->word[1]);
	if (publication && publication->state != PUBLICATION_SPILLED)
		publication_spill(publication, pos);
}

/* The limit is the user's, most likely: ask again later, not with each message. */
static void fast_refuse(struct chat *chat, struct publication *publication)
{
	publication_spill(publication, 0);
	chat->fast.offer_at = link_now() + OFFER_AGAIN_NS;
}

/* "#gI * slot=N": a ring was taken, or not. */
static void arrive_offer(struct chat *chat, const struct frame *frame)
{
	struct text index_word = { frame->tag.data + 1, frame->tag.len - 1 };
	struct text slot_word = frame_get(frame, 1, "slot");
	struct publication *publication;
	uint64_t index, slot;

	if (!number_parse(index_word, &index) || index >= chat->fast.n_publications)
		return;
	publication = &chat->fast.publications[index];
	if (!publication->memory.at || publication->state != PUBLICATION_OFFERED)
		return;
	if (frame->verb == VERB_DONE && slot_word.data && number_parse(slot_word, &slot) &&
		slot < RINGS_MAX && fast_page(&chat->fast))
		publication_up(publication, (unsigned)slot, fast_page(&chat->fast));
	else
		fast_refuse(chat, publication);
}

void fast_arrive(struct chat *chat, const struct frame *frame)
{
	struct fast *fast = &chat->fast;
	uint64_t number;

	switch (frame->tag.len > 0 ? frame->tag.data[0] : '\0') {
	case 'f':
		if (frame->verb == VERB_REFUSE) {
			fast->is_refused = true;
			fast_spill(fast);
		}
		break;
	case 'g':
		arrive_offer(chat, frame);
		break;
	case 'b':
		if (number_parse((struct text){ frame->tag.data + 1, frame->tag.len - 1 }, &number))
			fast->n_drained = MAX(fast->n_drained, MIN(number, fast->n_drains));
		break;
	default:
		if (frame->verb == VERB_PAGE)
			arrive_page(chat, frame);
		else if (frame->verb == VERB_SLEEPER)
			arrive_sleeper(chat, frame);
		else if (frame->verb == VERB_REVOKED)
			arrive_revoked(chat, frame);
		break;
	}
}

/* ---- waking ---- */

void fast_ring(struct chat *chat)
{
	struct fast *fast = &chat->fast;
	const struct control_page *page = fast_page(fast);

	if (!fast->is_unrung)
		return;
	fast->is_unrung = false;
	shared_fence(); /* between what was put, and who sleeps: chat-ring(7) */
	for (unsigned i = 0; i < fast->n_publications; i++) {
		struct publication *publication = &fast->publications[i];

		if (!publication->memory.at)
			continue;
		for (unsigned k = 0; k < publication->n_wakers; k++)
			waker_wake(&publication->wakers[k].waker);
	}
	if (page && shared_get32(&page->bell) != fast->bell_seen) {
		for (unsigned i = 0; i < fast->n_publications; i++)
			if (fast->publications[i].memory.at)
				(void)publication_is_revoked(chat, &fast->publications[i]);
		fast->bell_seen = shared_get32(&page->bell);
		fast->is_bell_due = true;
	}
	if (fast->is_bell_due) /* or it could not be sent the last time */
		fast_push(chat);
	fast_doubt(chat);
	/* somebody new to wake, or the ring is revoked */
	if (fast_has_packets(chat))
		session_listen(chat);
}

/* ---- sleeping ---- */

bool fast_has_packets(struct chat *chat)
{
	const struct control_page *page = fast_page(&chat->fast);

	return !page || !chat->fast.has_seen ||
	       shared_acquire32(&page->packets) != chat->fast.packets_seen;
}

/* The counter is read before the socket: a packet that comes in between is looked for
 * once more. */
void fast_note_look(struct chat *chat)
{
	const struct control_page *page = fast_page(&chat->fast);

	chat->fast.has_seen = false;
	if (page)
		chat->fast.packets_seen = shared_acquire32(&page->packets);
}

void fast_doubt(struct chat *chat)
{
	struct fast *fast = &chat->fast;
	uint64_t now;

	if (++fast->n_blind % LOOKS_PER_CLOCK != 0)
		return;
	now = link_now();
	if (now - fast->blind_since < BLIND_NS)
		return;
	fast->blind_since = now;
	fast->has_seen = false;
}

void fast_note_empty(struct chat *chat)
{
	chat->fast.has_seen = true;
}

bool fast_is_ready(struct chat *chat)
{
	return subscriptions_are_ready(chat) || (fast_page(&chat->fast) && fast_has_packets(chat));
}

/* Look for so long as messages keep coming soon, as look.h does for a descriptor. */
static bool fast_look(struct chat *chat)
{
	struct look *look = &chat->link.look;
	uint64_t start = link_now();

	if (look->n_short < LOOK_WAITS)
		return false;
	do {
		for (int i = 0; i < LOOKS_PER_CLOCK; i++) {
			if (fast_is_ready(chat))
				return true;
			__builtin_ia32_pause();
		}
		sched_yield();
	} while (link_now() - start < look->limit_ns);
	return false;
}

/* When to wake without being woken. */
static uint64_t fast_deadline(const struct chat *chat, uint64_t deadline_ns)
{
	if (chat->link.is_blocked)
		deadline_ns = MIN(deadline_ns, link_now() + FULL_SOCKET_NS);
	if (chat->mark_at > 0)
		deadline_ns = MIN(deadline_ns, chat->mark_at);
	return deadline_ns;
}

static int fast_sleep_on_semaphore(struct chat *chat, uint64_t deadline_ns)
{
	struct fast *fast = &chat->fast;

	int r = 0;

	sleeper_begin(&fast->sleeper);
	if (!fast_is_ready(chat))
		r = sleeper_wait(&fast->sleeper, fast_deadline(chat, deadline_ns));
	sleeper_end(&fast->sleeper);
	/* a broker that was killed says nothing: the socket must be asked */
	fast->has_seen = false;
	return r;
}

int fast_wait(struct chat *chat, uint64_t deadline_ns)
{
	struct look *look = &chat->link.look;
	uint64_t start;
	int r;

	/* without rings the socket is all there is */
	if (chat->fast.n_subscriptions == 0 || chat->state != SESSION_UP) {
		r = link_wait(&chat->link, deadline_ns);
		chat->fast.has_seen = false;
		return r;
	}
	start = link_now();
	if (look->limit_ns > 0 && fast_look(chat)) {
		r = 0;
	} else if (chat->fast.sleeper.semaphore) {
		r = fast_sleep_on_semaphore(chat, deadline_ns);
	} else {
		fast_sleep(chat);
		r = fast_is_ready(chat) ? 0 : link_wait(&chat->link, deadline_ns);
		fast_rise(chat);
		chat->fast.has_seen = false;
	}
	look->n_short =
		link_now() - start < look->limit_ns ? MIN(look->n_short + 1, LOOK_WAITS) : 0;
	return r;
}

void fast_sleep(struct chat *chat)
{
	if (chat->fast.is_sleeping || chat->fast.sleeper.fd < 0)
		return;
	chat->fast.is_sleeping = true;
	sleeper_begin(&chat->fast.sleeper);
}

void fast_rise(struct chat *chat)
{
	if (!chat->fast.is_sleeping)
		return;
	chat->fast.is_sleeping = false;
	sleeper_end(&chat->fast.sleeper);
}

void fast_poll(struct chat *chat)
{
	struct fast *fast = &chat->fast;

	if (fast->is_polled)
		return;
	fast->is_polled = true;
	if (fast->sleeper.semaphore)
		fast_make_sleeper(chat);
}
