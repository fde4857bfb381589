/* position.c - see position.h. */
#include "broker/position.h"

#include <errno.h>

#include "broker/broker.h"
#include "broker/cache.h"
#include "protocol/number.h"

int position_await(struct session *session, struct room *room, uint64_t seq)
{
	int r;

	if (session_is_left(session))
		return -EPIPE; /* nobody hears of it */
	r = cache_fetch(room, seq, session->user, session);
	return r < 0 ? r : DISPATCH_E_WAIT;
}

/* The first record at or after TIME ns. Returns 0, DISPATCH_E_WAIT or -errno. */
static int position_find(
	struct session *session, struct room *room, uint64_t time, uint64_t *ret_seq)
{
	int r = room_find_time(room, time, ret_seq);

	return r == CACHE_E_WAIT ? position_await(session, room, *ret_seq) : r;
}

int position_parse(struct session *session, struct room *room, struct text word, bool is_end,
	uint64_t *ret_seq)
{
	uint64_t time;
	int r;

	if (!word.data)
		return 0;
	if (word.len == 0 || word.data[0] != '@')
		return number_parse(word, ret_seq) && *ret_seq > 0 ? 0 : POSITION_E_WORD;
	if (!number_parse((struct text){ word.data + 1, word.len - 1 }, &time))
		return POSITION_E_WORD;
	if (!is_end)
		return position_find(session, room, time, ret_seq);
	if (time == UINT64_MAX) {
		*ret_seq = log_end(&room->log) - 1;
		return 0;
	}
	r = position_find(session, room, time + 1, ret_seq);
	*ret_seq -= r == 0;
	return r;
}

int position_refuse(
	struct session *session, const struct frame *frame, int outcome, const char *why)
{
	if (outcome == DISPATCH_E_WAIT)
		return DISPATCH_E_WAIT;
	if (outcome < 0)
		answer_error(session, frame, outcome);
	else
		answer_refuse(session, frame, CODE_ARGS, "%s", why);
	return 0;
}
