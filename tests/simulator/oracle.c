/* oracle.c - who said what in which room, and so who must hear what.
 *
 * Each voice counts its messages in each room from 1. A reader hears those of one voice in
 * order, each once, and none is left out but for one of these reasons:
 *
 *	it was said before the reader came (ear.free_to)
 *	a CHAT_GAP tells of it: "lapped", in a room that is not kept, which counts exactly
 *	for who had the ring
 *	the broker that had it in its log is gone, it was not in a ring any more, and a
 *	CHAT_GAP "reset" told so (said.n_lost)
 *	in a room that is not kept it was written over in a ring while its publisher had no
 *	connection, so that nobody could be told of the ring (said.n_overwritten)
 *
 * What was heard before a PART may be heard again after a reset.
 *
 * Nothing here asks the product what it thinks is missing, but for two questions when a
 * broker ends: what had it appended, and what is still in a ring.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/publisher.h"
#include "client/session.h"
#include "tests/simulator/simulator.h"

const char *const room_names[ROOMS] = { [ROOM_KEPT] = "kept", [ROOM_FREE] = "free" };

struct message_said {
	uint64_t id;
	uint32_t len;
};

/* What one voice said in one room. */
struct said {
	struct message_said *messages;
	unsigned n, size;
	unsigned n_flushed; /* were there when a flush returned */
	unsigned n_dead;    /* were in the log of a broker that is gone, at the most; */
	unsigned n_lost;    /* and of these, those that nobody has any more */
	bool is_unsettled;  /* what is in the ring was not offered to the broker yet */
	/* in a room that is not kept: what was written over while there was no broker */
	unsigned n_overwritten;
	uint64_t up_since; /* the connection for which that is known */
};

struct voice {
	char name[24];
	struct chat *chat; /* NULL: it is closed */
	struct said said[ROOMS];
};

static struct voice voices[VOICES_MAX];
static uint32_t n_voices;
static uint64_t broker_ended_at;

void oracle_init(void)
{
	n_voices = 0;
}

void oracle_deinit(void)
{
	for (uint32_t i = 0; i < n_voices; i++)
		for (unsigned room = 0; room < ROOMS; room++)
			free(voices[i].said[room].messages);
	memset(voices, 0, sizeof voices);
	n_voices = 0;
}

/* ---- saying ---- */

uint32_t voice_new(const char *name)
{
	if (n_voices == VOICES_MAX)
		return VOICE_UNKNOWN;
	voices[n_voices] = (struct voice){ 0 };
	snprintf(voices[n_voices].name, sizeof voices->name, "%s", name);
	return n_voices++;
}

void voice_set_chat(uint32_t voice, struct chat *chat)
{
	voices[voice].chat = chat;
}

static char pattern(uint32_t voice, unsigned room, unsigned number, size_t at)
{
	return (char)(voice * 7 + room * 3 + number * 31 + at + (at >> 8));
}

size_t voice_begin(uint32_t voice, unsigned room, size_t len, char *ret_body)
{
	struct said *said = &voices[voice].said[room];
	size_t start = (size_t)sprintf(ret_body, "%u.%u;", voice, said->n + 1);

	if (said->n == said->size) {
		said->size = said->size ? said->size * 2 : 64;
		said->messages = realloc(said->messages, said->size * sizeof *said->messages);
		if (!said->messages)
			fail("no memory");
	}
	len = MAX(len, start);
	for (size_t i = start; i < len; i++)
		ret_body[i] = pattern(voice, room, said->n + 1, i);
	said->messages[said->n++] =
		(struct message_said){ voices[voice].chat->last_id + 1, (uint32_t)len };
	return len;
}

void voice_end(uint32_t voice, unsigned room, bool is_said)
{
	struct said *said = &voices[voice].said[room];

	if (!is_said)
		said->n--;
	else if (said->messages[said->n - 1].id != voices[voice].chat->last_id)
		fail("%s: the number is not as was thought", voices[voice].name);
}

/* Of those with numbers below ID: how many. */
static unsigned said_below(const struct said *said, uint64_t id)
{
	unsigned low = 0, high = said->n;

	while (low < high) {
		unsigned middle = (low + high) / 2;

		if (said->messages[middle].id < id)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* ---- what a broker has, and a ring ---- */

/* The highest number of this voice that the broker appended in the room. */
static uint64_t appended(const struct voice *voice, unsigned room)
{
	struct room *found = rooms_find(&world.broker.rooms, text_of(room_names[room]));

	if (!found || !voice->chat)
		return 0;
	list_for_each (link, &found->publishers) {
		struct publisher *publisher = container_of(link, struct publisher, recent_link);

		if (publisher->key.label == voice->chat->publisher)
			return publisher->id;
	}
	return 0;
}

/* How many of its messages are before what is still in its ring. */
static unsigned said_before_ring(const struct said *said, const struct publication *publication)
{
	static _Alignas(64) char buffer[RING_BUFFER_MIN];
	struct ring_reader reader;
	struct ring_message message;
	struct ring_batch batch;
	uint64_t pos, seq;

	pos = ring_oldest(&publication->writer, &seq);
	if (ring_reader_init(&reader, publication->memory.at, publication->memory.len, pos, seq) ||
		ring_get(&reader, buffer, sizeof buffer, 1, &batch) ||
		!ring_batch_next(&batch, &message))
		return said->n;
	return said_below(said, message.ref);
}

/* How many are not in a ring any more. */
static unsigned said_beyond_ring(const struct said *said, const struct publication *publication)
{
	return publication && publication->state != PUBLICATION_SPILLED
		       ? said_before_ring(said, publication)
		       : said->n;
}

void oracle_broker_ends(void)
{
	broker_ended_at = broker_clock();
	for (uint32_t i = 0; i < n_voices; i++)
		for (unsigned room = 0; room < ROOMS; room++) {
			struct voice *voice = &voices[i];
			struct said *said = &voice->said[room];

			if (!voice->chat) {
				said->n_dead = said->n_lost = said->n;
				continue;
			}
			said->n_dead =
				MAX(said->n_dead, said_below(said, appended(voice, room) + 1));
			said->is_unsettled = true;
		}
}

/* What the next broker is offered is fixed when it has the ring; until then the ring may
 * lose what the last one had archived. */
static unsigned said_lost(const struct voice *voice, unsigned room, bool *ret_is_settled)
{
	const struct said *said = &voice->said[room];
	struct publication *publication =
		voice->chat ? publication_find(voice->chat, text_of(room_names[room])) : NULL;
	unsigned n_beyond = said_beyond_ring(said, publication);

	*ret_is_settled = voice->chat && voice->chat->state == SESSION_UP &&
			  voice->chat->up_since > broker_ended_at &&
			  (!publication || publication->state == PUBLICATION_UP ||
				  publication->state == PUBLICATION_SPILLED);
	return MAX(said->n_lost, MIN(said->n_dead, n_beyond));
}

/* A ring that nobody archives goes on without a broker, and a reader that did not have it
 * is told of it when there is one: so from where it begins then. */
static unsigned said_overwritten(const struct voice *voice, struct said *said)
{
	struct publication *publication;
	bool is_up = voice->chat && voice->chat->state == SESSION_UP;
	uint64_t seq;

	if (!voice->chat || (is_up && voice->chat->up_since == said->up_since))
		return said->n_overwritten;
	publication = publication_find(voice->chat, text_of(room_names[ROOM_FREE]));
	if (publication && ring_oldest(&publication->writer, &seq) > 0)
		said->n_overwritten = said_before_ring(said, publication);
	if (is_up && (!publication || publication->state == PUBLICATION_UP))
		said->up_since = voice->chat->up_since;
	return said->n_overwritten;
}

void oracle_settle(void)
{
	for (uint32_t i = 0; i < n_voices; i++)
		(void)said_overwritten(&voices[i], &voices[i].said[ROOM_FREE]);
	for (uint32_t i = 0; i < n_voices; i++)
		for (unsigned room = 0; room < ROOMS; room++) {
			struct said *said = &voices[i].said[room];
			bool is_settled;
			unsigned n_lost;

			if (!said->is_unsettled || !voices[i].chat)
				continue;
			n_lost = said_lost(&voices[i], room, &is_settled);
			if (is_settled) {
				said->n_lost = n_lost;
				said->is_unsettled = false;
			}
		}
}

static unsigned voice_lost(uint32_t voice, unsigned room)
{
	bool is_settled;

	return voices[voice].said[room].is_unsettled ? said_lost(&voices[voice], room, &is_settled)
						     : voices[voice].said[room].n_lost;
}

void voice_flushed(uint32_t voice)
{
	for (unsigned room = 0; room < ROOMS; room++) {
		struct said *said = &voices[voice].said[room];

		said->n_flushed = said->n;
		/* or by the broker before */
		if (room == ROOM_KEPT && said->n > said->n_dead &&
			appended(&voices[voice], room) < said->messages[said->n - 1].id)
			fail("%s was flushed, but message %u is not archived", voices[voice].name,
				said->n);
	}
}

void voice_closed(uint32_t voice)
{
	struct chat *chat = voices[voice].chat;

	for (unsigned room = 0; room < ROOMS; room++) {
		struct said *said = &voices[voice].said[room];
		struct publication *publication = publication_find(chat, text_of(room_names[room]));

		/* a ring that the broker has is read to its end */
		if (publication && publication->state == PUBLICATION_UP &&
			world_has_ring(publication->nonce))
			said->n_flushed = said->n;
		/* what the broker did not take meanwhile went with it, also from the ring */
		if (said->is_unsettled) {
			said->n_lost = said->n;
			said->n_flushed = 0;
		}
		said->is_unsettled = false;
	}
	voices[voice].chat = NULL;
}

/* ---- hearing ---- */

void reader_seat(struct reader *reader, unsigned room, bool is_fast, enum seating seating)
{
	struct seat *seat = &reader->seats[room];

	seat->is_joined = true;
	seat->is_fast = is_fast;
	seat->is_late |= seating == SEAT_LATE;
	seat->was_reset &= seating >= SEAT_BEHIND;
	seat->epoch = world.epoch;
	for (uint32_t i = 0; i < n_voices; i++) {
		struct ear *ear = &seat->ears[i];
		unsigned n = voices[i].said[room].n;

		ear->credit = 0;
		ear->forgotten = seating == SEAT_LATE ? ear->last : ear->forgotten;
		if (seating == SEAT_START && room == ROOM_KEPT)
			ear->free_to = voices[i].said[room].is_unsettled
					       ? voices[i].said[room].n_dead
					       : voices[i].said[room].n_lost;
		else if (seating < SEAT_BEHIND || room == ROOM_FREE)
			ear->free_to = n;
	}
}

void reader_leave(struct reader *reader, unsigned room)
{
	reader->seats[room] = (struct seat){ 0 };
}

void reader_kicked(struct reader *reader)
{
	reader->is_kicked = true;
	reader->kicked_at = broker_clock();
	for (uint32_t i = 0; i < n_voices; i++)
		for (unsigned room = 0; room < ROOMS; room++) {
			struct publication *ring = voices[i].chat
							   ? publication_find(voices[i].chat,
								     text_of(room_names[room]))
							   : NULL;

			/* of what it had mapped before, and who will offer it again, the broker
			 * knows nothing */
			reader->heard_max[i][room] = ring && !world_has_ring(ring->nonce)
							     ? UINT32_MAX
							     : voices[i].said[room].n;
		}
}

static unsigned room_of(const char *target)
{
	for (unsigned room = 0; room < ROOMS; room++)
		if (strcmp(room_names[room], target) == 0)
			return room;
	fail("an event of %s", target);
}

/* Message N of VOICE is at hand: is what lies between it and the last one excused? */
static void hear_hole(const struct reader *reader, unsigned room, uint32_t voice,
	const struct ear *ear, unsigned n)
{
	const struct seat *seat = &reader->seats[room];
	unsigned excused = MAX(ear->last, ear->free_to);
	unsigned hole = n - ear->last - 1, missing;

	if (seat->was_reset)
		excused = MAX(excused, voice_lost(voice, room));
	if (room == ROOM_FREE)
		excused = MAX(excused, said_overwritten(&voices[voice], &voices[voice].said[room]));
	missing = n - 1 > excused ? n - 1 - excused : 0;
	/* the log has what a ring has not, as long as it is the same log; when it is another, or
	 * the publisher came again, what lies in a ring that was not read yet may be told,
	 * though it came from the log */
	if (missing > (room == ROOM_FREE || seat->was_reset ? ear->credit : 0) ||
		(ear->credit > hole && !seat->was_reset && !world.has_cuts))
		fail("%s in %s: after %u of %s came %u; %u of these are not excused, and gaps tell "
		     "of %u",
			reader->name, room_names[room], ear->last, voices[voice].name, n, missing,
			ear->credit);
}

static void hear_message(struct reader *reader, const struct chat_event *event)
{
	unsigned room = room_of(event->target), n;
	struct seat *seat = &reader->seats[room];
	const struct said *said;
	struct ear *ear;
	char start[32];
	uint32_t voice;
	size_t at;

	snprintf(start, sizeof start, "%.*s", (int)MIN(event->len, sizeof start - 1), event->body);
	if (sscanf(start, "%u.%u;", &voice, &n) != 2 || voice >= n_voices)
		fail("%s heard what nobody said: %s", reader->name, start);
	said = &voices[voice].said[room];
	if (strcmp(event->name, voices[voice].name) != 0 || n == 0 || n > said->n ||
		event->len != said->messages[n - 1].len)
		fail("%s heard %u of %s from %s, of %zu bytes", reader->name, n, voices[voice].name,
			event->name, event->len);
	for (at = strcspn(start, ";") + 1; at < event->len; at++)
		if (event->body[at] != pattern(voice, room, n, at))
			fail("%s heard %u of %s, and byte %zu is wrong", reader->name, n,
				voices[voice].name, at);
	if (!seat->is_joined)
		fail("%s has not joined %s", reader->name, room_names[room]);
	/* what it had mapped under another broker, this one knows nothing of; and if its socket
	 * was full it did not hear why, and comes again */
	if (reader->is_kicked && seat->epoch == world.epoch &&
		reader->chat->up_since < reader->kicked_at && n > reader->heard_max[voice][room])
		fail("%s was thrown out before %u of %s", reader->name, n, voices[voice].name);
	ear = &seat->ears[voice];
	/* said again to the next broker: a chat knows it again by its publisher's number */
	if (n <= ear->forgotten && seat->had_resets)
		return;
	if (n <= ear->last)
		fail("%s in %s: after %u of %s came %u", reader->name, room_names[room], ear->last,
			voices[voice].name, n);
	hear_hole(reader, room, voice, ear, n);
	ear->last = n;
	ear->credit = 0;
	if (event->seq > 0)
		seat->seq = event->seq;
}

static void hear_gap(struct reader *reader, const struct chat_event *event)
{
	unsigned room = room_of(event->target);
	struct seat *seat = &reader->seats[room];

	note("%s in %s: gap %lu to %lu, %s %s", reader->name, event->target,
		(unsigned long)event->from, (unsigned long)event->to, event->text,
		event->name ? event->name : "");
	if (strcmp(event->text, "reset") == 0) {
		/* a room that nobody is in is forgotten */
		if (seat->epoch == world.epoch && !world.has_cuts)
			fail("%s: a reset of %s without reason", reader->name, event->target);
		seat->was_reset = seat->had_resets = true;
		/* nor was archived what came after the reader was gone */
		for (uint32_t i = 0; i < n_voices && room == ROOM_FREE; i++)
			seat->ears[i].free_to = voices[i].said[room].n;
		return;
	}
	if (strcmp(event->text, "lapped") == 0 && !event->name && room == ROOM_FREE) {
		/* of a ring that it could not read: nobody knows how much that is */
		for (uint32_t i = 0; i < n_voices; i++)
			seat->ears[i].free_to = voices[i].said[room].n;
		return;
	}
	if (strcmp(event->text, "lapped") != 0 || !seat->is_fast || event->to < event->from ||
		(room == ROOM_KEPT && seat->epoch == world.epoch))
		fail("%s: a gap in %s, %lu to %lu, %s", reader->name, event->target,
			(unsigned long)event->from, (unsigned long)event->to, event->text);
	for (uint32_t i = 0; i < n_voices; i++)
		if (strcmp(voices[i].name, event->name) == 0) {
			seat->ears[i].credit += (unsigned)(event->to - event->from + 1);
			return;
		}
	fail("%s: a gap of %s", reader->name, event->name);
}

void reader_heard(struct reader *reader, const struct chat_event *event)
{
	switch (event->type) {
	case CHAT_MESSAGE:
		hear_message(reader, event);
		break;
	case CHAT_GAP:
		hear_gap(reader, event);
		break;
	case CHAT_UP:
		/* nor was archived what was said meanwhile in a room that is not kept */
		for (uint32_t i = 0; i < n_voices; i++)
			reader->seats[ROOM_FREE].ears[i].free_to = voices[i].said[ROOM_FREE].n;
		break;
	case CHAT_DOWN:
		if (event->ended && !reader->is_kicked)
			fail("%s: over for good: %s", reader->name, event->text);
		break;
	default:
		fail("%s: an event of type %d: %s %s", reader->name, (int)event->type,
			event->code ? event->code : "", event->text ? event->text : "");
	}
}

void reader_check(const struct reader *reader)
{
	for (unsigned room = 0; room < ROOMS; room++) {
		const struct seat *seat = &reader->seats[room];

		for (uint32_t i = 0; i < n_voices && seat->is_joined; i++) {
			const struct said *said = &voices[i].said[room];
			const struct ear *ear = &seat->ears[i];
			unsigned n = voices[i].chat ? said->n : said->n_flushed;
			unsigned excused = ear->free_to;

			if (seat->was_reset)
				excused = MAX(excused, voice_lost(i, room));
			if (ear->last + ear->credit < n && excused < n)
				fail("%s in %s: %u of %s was the last, and %u is missing",
					reader->name, room_names[room], ear->last, voices[i].name,
					n);
		}
	}
}
