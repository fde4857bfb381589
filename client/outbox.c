/* outbox.c - see outbox.h. A linear buffer and not a ring, so that every slice is
 * one run of bytes; it is compacted when the dead part is the larger one, which
 * costs each byte at most one move. */
#include "client/outbox.h"

#include <errno.h>
#include <stdlib.h>

#include "protocol/base.h"
#include "protocol/number.h"
#include "protocol/record.h"

#define OUTBOX_SIZE_MIN  4096
#define SAY_LINE_LEN_MAX (sizeof("SAY  id=\n") + TARGET_LEN_MAX + NUMBER_DECIMAL_MAX)
#define BARRIER_LEN_MAX  (sizeof("#a PING") + NUMBER_DECIMAL_MAX)
#define SAY_VOID         "PING\n" /* what a refused SAY becomes, in place; it is shorter */

_Static_assert(RECORD_HEADER_LEN + SAY_LINE_LEN_MAX + BODY_LEN_MAX + 7 <= BATCH_LEN_MAX,
	"every message fits a packet");
_Static_assert(BARRIER_LEN_MAX - sizeof(" PING") <= 1 + TAG_LEN_MAX + 8, "a barrier has a tag");

void outbox_deinit(struct outbox *outbox)
{
	free(outbox->data);
	*outbox = (struct outbox){ 0 };
}

static void outbox_compact(struct outbox *outbox)
{
	size_t dead = outbox->acked;

	if (dead == 0)
		return;
	memmove(outbox->data, outbox->data + dead, outbox->end - dead);
	outbox->acked = 0;
	outbox->sent -= dead;
	outbox->end -= dead;
	outbox->looked = outbox->looked > dead ? outbox->looked - dead : 0;
}

/* Room for LEN more bytes at the end. */
static int outbox_reserve(struct outbox *outbox, size_t len)
{
	size_t size = outbox->size ? outbox->size : OUTBOX_SIZE_MIN;
	char *data;

	if (outbox->end + len <= outbox->size)
		return 0;
	if (outbox->acked >= outbox->end - outbox->acked)
		outbox_compact(outbox);
	while (size < outbox->end + len)
		size *= 2;
	if (size == outbox->size)
		return 0;
	data = realloc(outbox->data, size);
	if (!data)
		return -ENOMEM;
	outbox->data = data;
	outbox->size = size;
	return 0;
}

/* The frame of LEN bytes is in place behind the end: make it a record. */
static void outbox_close(struct outbox *outbox, size_t len)
{
	record_close(outbox->data + outbox->end, len);
	outbox->end += record_size(len);
}

static void outbox_put_barrier(struct outbox *outbox)
{
	char *frame = outbox->data + outbox->end + RECORD_HEADER_LEN, *p = frame;

	*p++ = '#';
	*p++ = 'a';
	p += number_put(p, ++outbox->n_barriers);
	memcpy(p, " PING", 5);
	p += 5;
	outbox_close(outbox, (size_t)(p - frame));
	outbox->unmarked_len = 0;
	outbox->n_unmarked = 0;
}

static void outbox_put_say(
	struct outbox *outbox, struct text target, uint64_t id, const void *body, size_t len)
{
	char *frame = outbox->data + outbox->end + RECORD_HEADER_LEN, *p = frame;

	memcpy(p, "SAY ", 4);
	p += 4;
	memcpy(p, target.data, target.len);
	p += target.len;
	memcpy(p, " id=", 4);
	p += 4;
	p += number_put(p, id);
	*p++ = '\n';
	if (len > 0)
		memcpy(p, body, len);
	outbox_close(outbox, (size_t)(p - frame) + len);
}

int outbox_say(struct outbox *outbox, struct text target, uint64_t id, const void *body, size_t len)
{
	size_t need = record_size(SAY_LINE_LEN_MAX + len);
	size_t before = outbox->end;
	int r;

	if (outbox->end - outbox->acked + need > OUTBOX_LEN_MAX)
		return OUTBOX_E_FULL;
	r = outbox_reserve(outbox, need + record_size(BARRIER_LEN_MAX));
	if (r)
		return r;
	before = outbox->end; /* it may have moved */
	outbox_put_say(outbox, target, id, body, len);
	outbox->unmarked_len += outbox->end - before;
	outbox->n_unmarked++;
	if (outbox->unmarked_len < OUTBOX_MARK_LEN && outbox->n_unmarked < OUTBOX_MARK_MESSAGES)
		return 0;
	outbox_put_barrier(outbox);
	return OUTBOX_E_MARKED;
}

int outbox_mark(struct outbox *outbox)
{
	int r;

	if (outbox->n_unmarked == 0)
		return 0;
	r = outbox_reserve(outbox, record_size(BARRIER_LEN_MAX));
	if (r)
		return r;
	outbox_put_barrier(outbox);
	return 0;
}

struct text outbox_slice(const struct outbox *outbox)
{
	size_t len = outbox_unsent(outbox), at = 0, next = 0;

	if (len > BATCH_LEN_MAX) {
		while (next <= BATCH_LEN_MAX) {
			at = next;
			next += record_size(record_frame(outbox->data + outbox->sent + at).len);
		}
		len = at;
	}
	return (struct text){ len ? outbox->data + outbox->sent : "", len };
}

void outbox_advance(struct outbox *outbox, size_t len)
{
	outbox->sent += len;
}

/* The number of a barrier's frame, or false when it is a message. */
static bool barrier_number(struct text frame, uint64_t *ret_number)
{
	if (frame.len < 8 || memcmp(frame.data, "#a", 2) != 0)
		return false;
	return number_parse(
		(struct text){ frame.data + 2, frame.len - 2 - strlen(" PING") }, ret_number);
}

void outbox_acknowledge(struct outbox *outbox, uint64_t barrier)
{
	size_t at = outbox->acked;

	while (at < outbox->sent) {
		struct text frame = record_frame(outbox->data + at);
		uint64_t number;

		at += record_size(frame.len);
		if (!barrier_number(frame, &number) || number < barrier)
			continue;
		if (number > barrier)
			return;
		outbox->acked = at;
		break;
	}
	if (outbox_is_empty(outbox))
		outbox->acked = outbox->sent = outbox->end = outbox->looked = 0;
}

/* The id= of a message that this module wrote. */
static bool say_id(struct text frame, uint64_t *ret_id)
{
	const char *start, *end;

	if (memcmp(frame.data, "SAY ", 4) != 0)
		return false;
	start = memchr(frame.data + 4, ' ', frame.len - 4);
	end = start ? memchr(start, '\n', frame.len - (size_t)(start - frame.data)) : NULL;
	if (!end)
		return false;
	start += strlen(" id=");
	return number_parse((struct text){ start, (size_t)(end - start) }, ret_id);
}

/* Refusals come in the order of the messages, so the search goes on where the
 * last one ended, and starts over only after a reconnect. */
void outbox_refuse(struct outbox *outbox, uint64_t id)
{
	bool again = outbox->looked > outbox->acked;
	size_t at = MAX(outbox->looked, outbox->acked);
	uint64_t found;

	for (;; again = false, at = outbox->acked) {
		while (at < outbox->sent) {
			char *record = outbox->data + at;
			struct text frame = record_frame(record);

			if (say_id(frame, &found)) {
				if (found == id) {
					memcpy(record + RECORD_HEADER_LEN, SAY_VOID,
						strlen(SAY_VOID));
					outbox->looked = at;
					return;
				}
				if (found > id)
					break;
			}
			at += record_size(frame.len);
		}
		if (!again)
			return;
	}
}

void outbox_rewind(struct outbox *outbox)
{
	outbox->sent = outbox->acked;
	outbox->looked = outbox->acked;
}
