/* publication.c - see publication.h. */
#include "client/publication.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>

#include "client/session.h"
#include "protocol/shared.h"

_Static_assert(RING_BUFFER_MIN <= PACKET_LEN_MAX, "a record fits the buffer of a packet");

/* Records of a burst that share one reading of the clock, which costs as much as the rest
 * of it. */
#define BURST_MAX 32

/* The highest errno of Linux: a higher number in the page is not a reason. */
#define ERROR_MAX 4095

struct publication *publication_find(struct chat *chat, struct text target)
{
	struct fast *fast = &chat->fast;

	if (fast->last && fast->last->target_len == target.len &&
		memcmp(fast->last->target, target.data, target.len) == 0)
		return fast->last;
	for (unsigned i = 0; i < fast->n_publications; i++) {
		struct publication *publication = &fast->publications[i];

		if (publication->memory.at && publication->target_len == target.len &&
			memcmp(publication->target, target.data, target.len) == 0) {
			fast->last = publication;
			return publication;
		}
	}
	return NULL;
}

static struct publication *publication_free_place(struct fast *fast)
{
	for (unsigned i = 0; i < RINGS_MAX; i++)
		if (!fast->publications[i].memory.at) {
			fast->n_publications = MAX(fast->n_publications, i + 1);
			return &fast->publications[i];
		}
	return NULL;
}

static struct publication *publication_open(
	struct chat *chat, struct text target, bool is_ephemeral)
{
	struct publication *publication = publication_free_place(&chat->fast);

	if (!publication || !text_is_room(target))
		return NULL;
	*publication = (struct publication){ .is_ephemeral = is_ephemeral };
	if (sealed_create(&publication->memory, "chat-ring",
		    RING_HEADER_LEN + RING_CAPACITY_DEFAULT) < 0) {
		publication->memory = SEALED_NONE;
		return NULL;
	}
	randombytes_buf(&publication->nonce, sizeof publication->nonce);
	ring_writer_init(&publication->writer, publication->memory.at, RING_CAPACITY_DEFAULT,
		publication->nonce);
	publication->writer.gate = &publication->gate;
	memcpy(publication->target, target.data, target.len);
	publication->target_len = target.len;
	return publication;
}

void publication_drop_wakers(struct publication *publication)
{
	while (publication->n_wakers > 0)
		waker_close(&publication->wakers[--publication->n_wakers].waker);
}

void publication_close(struct publication *publication)
{
	if (!publication->memory.at)
		return;
	ring_close(&publication->writer);
	publication_drop_wakers(publication);
	sealed_close(&publication->memory);
}

/* ---- putting ---- */

static int publication_error(const struct chat *chat, const struct publication *publication)
{
	const struct control_page *page = fast_page(&chat->fast);
	uint32_t error = 0;

	if (page && publication->state == PUBLICATION_UP)
		error = shared_acquire32(&page->slots[publication->slot].error);
	if (error == 0 || error == EPIPE)
		return RING_E_FULL;
	return error <= ERROR_MAX ? -(int)error : -EIO;
}

/* The bell tells when there is something to be seen; then it must be seen before anything
 * more is put: who may not read it has the ring mapped. */
bool publication_is_revoked(const struct chat *chat, struct publication *publication)
{
	const struct control_page *page = fast_page(&chat->fast);

	if (publication->state == PUBLICATION_UP && page &&
		shared_acquire32(&page->bell) != chat->fast.bell_seen &&
		shared_acquire32(&page->slots[publication->slot].error) == EPIPE)
		publication->state = PUBLICATION_REVOKED;
	return publication->state == PUBLICATION_REVOKED;
}

static int publication_put(struct chat *chat, struct publication *publication, uint64_t id,
	const void *body, size_t len, bool more)
{
	int r;

	if (publication_is_revoked(chat, publication))
		return RING_E_FULL;
	if (publication->n_burst-- == 0) {
		publication->time = link_time();
		publication->n_burst = BURST_MAX;
	}
	if (!more)
		publication->n_burst = 0;
	r = ring_put(&publication->writer, publication->time, id, body, len);
	if (r == RING_E_FULL)
		return publication_error(chat, publication);
	return r;
}

/* ---- saying ---- */

struct put {
	struct publication *publication;
	const void *body;
	size_t len;
	bool more;
	int result; /* of publication_put() */
};

/* It may be poured into the outbox meanwhile: then it is not in use any more. */
static bool put_try(struct chat *chat, void *argument)
{
	struct put *put = argument;

	if (!put->publication->memory.at)
		return true;
	if (put->publication->state == PUBLICATION_SPILLED)
		return false;
	put->result = publication_put(
		chat, put->publication, chat->last_id + 1, put->body, put->len, put->more);
	return put->result != RING_E_FULL;
}

/* The gate is closed: have the broker take what is there. */
static bool put_wait(struct chat *chat, void *argument)
{
	struct put *put = argument;

	if (put_try(chat, put))
		return true;
	fast_drain(chat);
	return false;
}

static int publication_say_in(struct chat *chat, struct publication *publication, const void *body,
	size_t len, unsigned flags)
{
	struct put put = { publication, body, len, flags & CHAT_MORE, RING_E_FULL };
	int r;

	if (!put_try(chat, &put)) {
		session_poll(chat);
		if (!put_wait(chat, &put)) {
			if (flags & CHAT_NONBLOCK)
				return session_fail(chat, -EAGAIN, "the ring is full");
			r = session_await(chat, put_wait, &put, UINT64_MAX);
			if (r)
				return r;
		}
	}
	if (!publication->memory.at)
		return 1;
	if (put.result < 0)
		return session_fail(
			chat, put.result, "the broker can not keep it: %s", strerror(-put.result));
	chat->last_id++;
	chat->fast.is_unrung = true;
	if (!(flags & CHAT_MORE))
		fast_ring(chat);
	return 0;
}

/* Is it used already, or can it be from here on? It is when it has been offered: everything
 * that was said through the socket is before that, and everything from then on in the ring,
 * which is what readers are told by it. */
static bool publication_is_ready(struct chat *chat, struct publication *publication)
{
	if (publication->is_used)
		return true;
	session_poll(chat);
	return publication->memory.at && publication->is_used;
}

/* The ring for TARGET, if this chat has one, or is to have one. */
static struct publication *publication_get(struct chat *chat, struct text target, unsigned flags)
{
	struct publication *publication = publication_find(chat, target);

	if (publication || !(flags & CHAT_FAST) || !fast_want(chat) || chat->fast.is_refused ||
		chat->state == SESSION_ENDED ||
		(chat->fast.offer_at > 0 && link_now() < chat->fast.offer_at))
		return publication;
	return publication_open(chat, target, flags & CHAT_EPHEMERAL);
}

int publication_say(
	struct chat *chat, struct text target, const void *body, size_t len, unsigned flags)
{
	struct publication *publication = publication_get(chat, target, flags);

	if (publication && publication->is_used && publication->state == PUBLICATION_OFFERED &&
		fast_has_packets(chat))
		session_listen(chat);
	if (!publication || !publication_is_ready(chat, publication))
		return 1;
	return publication_say_in(chat, publication, body, len, flags);
}

bool publication_is_offered(struct chat *chat, struct text target)
{
	const struct publication *publication =
		chat->fast.n_publications > 0 ? publication_find(chat, target) : NULL;

	return publication && publication->is_used;
}

static bool publication_is_settled(const struct chat *chat, const struct publication *publication)
{
	uint64_t gate;

	if (publication->state != PUBLICATION_UP)
		return publication->writer.seq == 1; /* nothing was put */
	gate = shared_acquire64(publication->writer.gate);
	return gate == RING_UNGATED || gate >= publication->writer.pos;
}

bool publications_are_settled(const struct chat *chat)
{
	const struct fast *fast = &chat->fast;

	for (unsigned i = 0; i < fast->n_publications; i++)
		if (fast->publications[i].memory.at &&
			!publication_is_settled(chat, &fast->publications[i]))
			return false;
	return true;
}

int publications_error(const struct chat *chat)
{
	const struct fast *fast = &chat->fast;

	for (unsigned i = 0; i < fast->n_publications; i++) {
		const struct publication *publication = &fast->publications[i];
		int r = publication->memory.at && !publication_is_settled(chat, publication)
				? publication_error(chat, publication)
				: 0;

		if (r < 0)
			return r;
	}
	return 0;
}

/* ---- the broker ---- */

/* Where what must be told begins, at the latest: marks are a block apart, and what lies
 * behind the gate is still needed. */
static uint64_t publication_first(const struct publication *publication, uint64_t *ret_seq)
{
	uint64_t gate = shared_acquire64(publication->writer.gate);
	uint64_t first = ring_oldest(&publication->writer, ret_seq);
	struct ring_message message;
	struct ring_batch batch;
	struct ring_reader peek;
	char *buffer;

	if (gate >= first)
		return first;
	buffer = malloc(RING_BUFFER_MIN); /* that of a packet may have one in it */
	if (!buffer)
		return first;
	if (ring_reader_init(&peek, publication->memory.at, publication->memory.len, gate, 0) ==
			0 &&
		ring_get(&peek, buffer, RING_BUFFER_MIN, 1, &batch) == 0 &&
		ring_batch_next(&batch, &message)) {
		*ret_seq = message.seq;
		first = gate;
	}
	free(buffer);
	return first;
}

void publication_lose(const struct chat *chat, struct publication *publication)
{
	/* what the broker had is needed no more than it was */
	publication->gate = shared_acquire64(publication->writer.gate);
	publication->writer.gate = &publication->gate;
	/* who sleeps on a semaphore does not see that the broker is gone: it is to look */
	for (unsigned i = 0; i < publication->n_wakers; i++)
		waker_wake(&publication->wakers[i].waker);
	publication_drop_wakers(publication);
	if (publication->state == PUBLICATION_REVOKED)
		/* how far it got is not told any more: the next broker knows the numbers */
		publication_spill(publication, 0);
	else if (publication->state != PUBLICATION_SPILLED)
		publication->state = PUBLICATION_NEW;
}

int publication_offer(struct chat *chat, struct publication *publication)
{
	char line[ROOM_LEN_MAX + 128];
	struct iovec part = { line, 0 };
	uint64_t pos, seq;
	int n, r;

	pos = publication_first(publication, &seq);
	n = snprintf(line, sizeof line, "#g%u RING %s nonce=%016llx at=%llu seq=%llu%s%s",
		(unsigned)(publication - chat->fast.publications), publication->target,
		(unsigned long long)publication->nonce, (unsigned long long)pos,
		(unsigned long long)seq, publication->is_ephemeral ? " mode=ephemeral" : "",
		publication->is_used ? " again" : "");
	part.iov_len = (size_t)n;
	r = link_send_fds(&chat->link, &part, 1, &publication->memory.fd, 1);
	if (r)
		return r;
	publication->state = PUBLICATION_OFFERED;
	/* readers that get it may go on in it whatever becomes of the broker: from here on
	 * nothing goes another way */
	publication->is_used = true;
	publication->gate = pos; /* from there on it is needed once more */
	return 0;
}

void publication_up(struct publication *publication, unsigned slot, const struct control_page *page)
{
	publication->state = PUBLICATION_UP;
	publication->slot = slot;
	publication->writer.gate = &page->slots[slot].gate;
}

void publication_spill(struct publication *publication, uint64_t pos)
{
	uint64_t first, seq;

	ring_close(&publication->writer);
	publication_drop_wakers(publication);
	publication->state = PUBLICATION_SPILLED;
	/* our own ring, which nobody else can write */
	first = publication_first(publication, &seq);
	if (pos > first && pos <= publication->writer.pos) {
		first = pos;
		seq = 0;
	}
	(void)ring_reader_init(
		&publication->rest, publication->memory.at, publication->memory.len, first, seq);
}

bool publication_pour(struct chat *chat, struct publication *publication)
{
	char *buffer = session_buffer(chat);
	struct ring_message message;
	struct ring_batch batch;
	int r;

	if (!buffer)
		return false;
	for (;;) {
		struct ring_reader before = publication->rest;

		r = ring_get(&publication->rest, buffer, PACKET_LEN_MAX, 1, &batch);
		if (r)
			break;
		(void)ring_batch_next(&batch, &message);
		r = outbox_say(&chat->outbox,
			(struct text){ publication->target, publication->target_len }, message.ref,
			message.payload, message.len);
		if (r == OUTBOX_E_FULL || r < 0) {
			publication->rest = before;
			return false;
		}
	}
	if (chat->fast.last == publication)
		chat->fast.last = NULL;
	publication_close(publication);
	return true;
}

/* ---- who sleeps ---- */

bool publication_add_waker(
	struct publication *publication, uint64_t reader, const struct waker *waker)
{
	publication_remove_waker(publication, reader);
	if (publication->n_wakers == SLEEPERS_MAX)
		return false;
	publication->wakers[publication->n_wakers].reader = reader;
	publication->wakers[publication->n_wakers++].waker = *waker;
	return true;
}

void publication_remove_waker(struct publication *publication, uint64_t reader)
{
	for (unsigned i = 0; i < publication->n_wakers; i++) {
		if (publication->wakers[i].reader != reader)
			continue;
		waker_close(&publication->wakers[i].waker);
		publication->wakers[i] = publication->wakers[--publication->n_wakers];
		return;
	}
}
