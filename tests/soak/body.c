/* body.c - see soak.h: what is said, and whether that was it. */
#include <stdio.h>
#include <string.h>

#include "tests/soak/soak.h"

/* From this length on a body tells its number. */
#define BODY_TELLS 16

static uint64_t mix(uint64_t x)
{
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

/* Nearly all are 64 bytes; each 30 000th is the largest there can be. */
static size_t body_len(uint64_t hash)
{
	static const struct {
		unsigned per_30000;
		size_t len;
	} lens[] = {
		{ 1, BODY_LEN_MAX },
		{ 4, 16000 },
		{ 25, 4096 },
		{ 70, 1024 },
		{ 400, 1 },
		{ 500, 300 },
	};
	unsigned roll = (unsigned)(hash >> 32) % 30000;

	for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
		if (roll < lens[i].per_30000)
			return lens[i].len;
		roll -= lens[i].per_30000;
	}
	return 64;
}

size_t body_make(char *body, unsigned publisher, unsigned room, uint64_t n)
{
	uint64_t hash = mix(n * N_PUBLISHERS * N_ROOMS + publisher * N_ROOMS + room), word = hash;
	size_t len = body_len(hash), at = 0;

	if (len >= BODY_TELLS) {
		memcpy(body, &n, sizeof n);
		at = sizeof n;
	}
	for (; at + sizeof word <= len; at += sizeof word) {
		word = word * UINT64_C(6364136223846793005) + 1;
		memcpy(body + at, &word, sizeof word);
	}
	memcpy(body + at, &hash, len - at);
	return len;
}

static void track_take_victim(struct track *track, const struct chat_event *event)
{
	uint64_t said[2], expected = 0;
	size_t i;

	if (event->len != sizeof said)
		die("a victim said %zu bytes", event->len);
	memcpy(said, event->body, sizeof said);
	i = said[0] % ARRAY_LEN(track->victims);
	if (said[0] < track->victims[i].number)
		die("victim %lu speaks after victim %lu", (unsigned long)said[0],
			(unsigned long)track->victims[i].number);
	if (track->victim == 0)
		track->victim = said[0];
	if (said[0] == track->victims[i].number)
		expected = track->victims[i].next;
	else if (said[0] <= track->victim) /* a reader may have missed how it began */
		expected = said[1];
	if (said[1] != expected)
		die("victim %lu said %lu, expected %lu", (unsigned long)said[0],
			(unsigned long)said[1], (unsigned long)expected);
	track->victims[i].number = said[0];
	track->victims[i].next = said[1] + 1;
}

int track_take(struct track *track, unsigned room, const struct chat_event *event)
{
	static char expected[BODY_LEN_MAX];
	unsigned publisher;
	uint64_t n;
	size_t len;

	if (track->seq != 0 && event->seq != track->seq)
		die("%s: message %lu comes, expected %lu", event->target, (unsigned long)event->seq,
			(unsigned long)track->seq);
	track->seq = event->seq + 1;
	if (strcmp(event->name, "soak.victim") == 0) {
		track_take_victim(track, event);
		return -1;
	}
	if (strncmp(event->name, "soak.p", 6) != 0)
		return -1;
	publisher = (unsigned)(event->name[6] - '0');
	if (publisher >= N_PUBLISHERS)
		die("%s: %s speaks", event->target, event->name);
	n = track->next[publisher];
	if (n == UNKNOWN) {
		if (event->len < BODY_TELLS)
			return (int)publisher;
		memcpy(&n, event->body, sizeof n);
	}
	len = body_make(expected, publisher, room, n);
	if (event->len != len || memcmp(event->body, expected, len) != 0)
		die("%s %lu: not what publisher %u said as number %lu", event->target,
			(unsigned long)event->seq, publisher, (unsigned long)n);
	track->next[publisher] = n + 1;
	return (int)publisher;
}

void track_forget(struct track *track)
{
	*track = (struct track){ 0 };
	for (unsigned i = 0; i < N_PUBLISHERS; i++)
		track->next[i] = UNKNOWN;
}

void track_skip(struct track *track, uint64_t from, uint64_t to)
{
	if (track->seq != 0 && from != track->seq)
		die("a gap from %lu, expected %lu", (unsigned long)from, (unsigned long)track->seq);
	if (to < from)
		die("a gap from %lu to %lu", (unsigned long)from, (unsigned long)to);
	track_forget(track);
	track->seq = to + 1;
}
