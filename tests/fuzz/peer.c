/* peer.c - see peer.h. */
#include "tests/fuzz/peer.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "protocol/base.h"
#include "protocol/frame.h"
#include "protocol/number.h"
#include "protocol/packet.h"
#include "protocol/record.h"
#include "tests/fuzz/fuzz.h"

void peer_open(struct peer *peer, int fd)
{
	*peer = (struct peer){ .fd = fd };
}

void peer_close(struct peer *peer)
{
	if (peer->fd >= 0)
		close(peer->fd);
	peer->fd = -1;
}

/* ---- sending ---- */

/* Does a request that moves a cursor have no tag? Looks at the bytes, whatever they
 * mean: to be wrong is to check less. */
static bool is_moving_untagged(struct text packet)
{
	const char *at = packet.data, *end = packet.data + packet.len;

	for (; (at = memmem(at, (size_t)(end - at), "JOIN ", 5)); at++)
		if (at - packet.data < 3 || at[-1] != ' ' ||
			!memrchr(packet.data, '#', (size_t)(at - packet.data)))
			return true;
	return false;
}

void peer_send(struct peer *peer, struct text packet)
{
	struct iovec part = { (char *)packet.data, packet.len };

	if (peer->fd < 0)
		return;
	peer->is_loose = peer->is_loose || is_moving_untagged(packet);
	(void)packet_send(peer->fd, &part, 1);
}

void peer_send_descriptor(struct peer *peer, struct text packet)
{
	struct iovec part = { (char *)packet.data, packet.len };
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = { { 0 } };
	struct msghdr msg = { .msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof control.bytes };
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
	int fd = STDIN_FILENO;

	if (peer->fd < 0)
		return;
	*cmsg = (struct cmsghdr){
		.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof fd)
	};
	memcpy(CMSG_DATA(cmsg), &fd, sizeof fd);
	(void)!sendmsg(peer->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* ---- receiving ---- */

static uint64_t expect_number(struct text word)
{
	uint64_t value;
	char digits[NUMBER_DECIMAL_MAX];

	EXPECT(number_parse(word, &value));
	EXPECT(text_equal(word, (struct text){ digits, number_put(digits, value) }));
	return value;
}

static struct peer_target *peer_target(struct peer *peer, struct text name)
{
	struct text a, b;

	EXPECT(text_is_room(name) || text_is_conversation(name, &a, &b));
	for (size_t i = 0; i < peer->n_targets; i++)
		if (text_equal(text_of(peer->targets[i].name), name))
			return &peer->targets[i];
	if (peer->n_targets == PEER_TARGETS_MAX)
		return NULL;
	memcpy(peer->targets[peer->n_targets].name, name.data, name.len);
	return &peer->targets[peer->n_targets++];
}

/* Cursors were placed anew, where is not known here. */
static void peer_forget(struct peer *peer)
{
	memset(peer->targets, 0, sizeof peer->targets);
	peer->n_targets = 0;
}

/* NAME UID [of=USER] */
static void expect_author(const struct frame *frame, size_t at)
{
	struct text user = frame_get(frame, at + 2, "of");
	uint64_t uid;

	EXPECT(frame->n_words >= at + 2);
	EXPECT(text_is_name(frame->word[at]));
	uid = expect_number(frame->word[at + 1]);
	EXPECT(uid == 0 || uid == 1000 || uid == 1001 || uid == 54321);
	EXPECT(!text_equal(frame->word[at], TEXT("broker")) || uid == 1001);
	EXPECT(!text_equal(frame->word[at], TEXT("root")) || uid == 0);
	EXPECT(!text_equal(frame->word[at], TEXT("alice")) || uid == 1000);
	EXPECT(!text_equal(frame->word[at], TEXT("carol")));
	EXPECT(!user.data || (text_is_name(user) && !text_equal(user, frame->word[at])));
}

static void expect_msg(const struct frame *frame)
{
	struct text label = frame_get(frame, 6, "p");
	const char *colon;

	EXPECT(frame->n_words >= 6 && frame->has_body && !frame->has_more_words);
	expect_author(frame, 4);
	if (!label.data)
		return;
	colon = memchr(label.data, ':', label.len);
	EXPECT(colon == label.data + NUMBER_HEX_LEN);
	EXPECT(expect_number((struct text){ colon + 1, label.len - NUMBER_HEX_LEN - 1 }) > 0);
}

static void peer_take_msg(struct peer *peer, const struct frame *frame)
{
	struct peer_target *target;
	uint64_t seq, time;

	expect_msg(frame);
	seq = expect_number(frame->word[2]);
	time = expect_number(frame->word[3]);
	target = peer_target(peer, frame->word[1]);
	EXPECT(seq > 0);
	if (!target || peer->is_loose)
		return;
	EXPECT(target->next == 0 || (target->next == seq && target->time <= time));
	target->next = seq + 1;
	target->time = time;
}

static void peer_take_gap(struct peer *peer, const struct frame *frame)
{
	struct peer_target *target;
	uint64_t from, to;

	EXPECT(frame->n_words == 5 && !frame->has_body);
	from = expect_number(frame->word[2]);
	to = expect_number(frame->word[3]);
	target = peer_target(peer, frame->word[1]);
	if (text_equal(frame->word[4], TEXT("presence"))) {
		EXPECT(from == 0 && to == 0);
	} else if (text_equal(frame->word[4], TEXT("reset")) ||
		   text_equal(frame->word[4], TEXT("deleted"))) {
		EXPECT(from > 0 && to == 0);
		if (target)
			target->next = target->time = 0;
	} else {
		EXPECT(text_equal(frame->word[4], TEXT("retention")));
		EXPECT(from > 0 && from <= to);
		if (!target || peer->is_loose)
			return;
		EXPECT(target->next == 0 || target->next == from);
		target->next = to + 1;
	}
}

static void peer_take_cursor(struct peer *peer, const struct frame *frame)
{
	struct peer_target *target = peer_target(peer, frame->word[1]);
	uint64_t next = expect_number(frame->word[2]), id;

	EXPECT(frame->n_words == 5 && frame->word[1].data[0] == '@');
	EXPECT(number_parse_hex(frame_get(frame, 3, "log"), &id));
	EXPECT(expect_number(frame_get(frame, 3, "first")) <= next);
	if (target) {
		target->next = next;
		target->time = 0;
	}
}

static void peer_take_done(struct peer *peer, const struct frame *frame)
{
	EXPECT(frame->tag.len > 0 && !frame->has_body);
	if (frame_get(frame, 1, "log").data)
		peer_forget(peer);
}

/* "#tag ! CODE text", "! CODE VERB ..." */
static void expect_refusal(const struct frame *frame)
{
	EXPECT(frame->n_words >= 2 && frame->word[1].len >= 2 && !frame->has_body);
	for (size_t i = 0; i < frame->word[1].len; i++)
		EXPECT(frame->word[1].data[i] >= 'A' && frame->word[1].data[i] <= 'Z');
}

/* Rows of PAST are whole messages; other rows are words. */
static void expect_row(const struct frame *frame)
{
	struct frame row;
	struct text rest = frame->rest;

	EXPECT(frame->tag.len > 0);
	if (frame->n_words < 2 || !text_equal(frame->word[1], TEXT("MSG")))
		return;
	if (frame->has_body)
		rest.len += 1 + frame->body.len;
	EXPECT(frame_parse(&row, rest) == 0);
	expect_msg(&row);
}

static bool is_plain_answer(struct text packet)
{
	return packet.len <= PLAIN_ANSWER_MAX &&
	       (text_equal(packet, TEXT("*")) ||
		       (packet.len > 2 && packet.data[0] == '!' && packet.data[1] != ' '));
}

static void peer_take_frame(struct peer *peer, struct text packet)
{
	struct frame frame;

	EXPECT(!peer->is_over); /* BYE is the last */
	if (is_plain_answer(packet)) {
		EXPECT(!peer->is_full);
		return;
	}
	peer->is_full = true;
	EXPECT(frame_parse(&frame, packet) == 0);
	EXPECT(frame.tag.len == 0 || frame.verb == VERB_DONE || frame.verb == VERB_REFUSE ||
		frame.verb == VERB_ROW);
	switch (frame.verb) {
	case VERB_MSG:
		peer_take_msg(peer, &frame);
		break;
	case VERB_GAP:
		peer_take_gap(peer, &frame);
		break;
	case VERB_CURSOR:
		peer_take_cursor(peer, &frame);
		break;
	case VERB_JOINED:
	case VERB_PARTED:
		EXPECT(!frame.has_body && frame.n_words <= 5);
		expect_author(&frame, 2);
		break;
	case VERB_SET:
		EXPECT(!frame.has_body && frame.n_words <= 7);
		EXPECT(frame_get(&frame, 4, "key").len > 0 &&
			frame_get(&frame, 4, "version").len > 0);
		expect_author(&frame, 2);
		break;
	case VERB_BYE:
		EXPECT(frame.n_words >= 2 && !frame.has_body);
		peer->is_over = true;
		break;
	case VERB_ROW:
		expect_row(&frame);
		break;
	case VERB_DONE:
		peer_take_done(peer, &frame);
		break;
	case VERB_REFUSE:
		expect_refusal(&frame);
		break;
	default:
		abort();
	}
}

static void peer_take_batch(struct peer *peer, struct text packet)
{
	const char *at = packet.data + BATCH_START_LEN, *end = packet.data + packet.len;
	struct text frame;
	unsigned n_frames = 0;
	int r;

	for (;; n_frames++) {
		const char *record = at;

		r = record_next(&at, end, &frame);
		if (r)
			break;
		EXPECT(record_check(record) == 0);
		peer_take_frame(peer, frame);
	}
	EXPECT(r == RECORD_E_END && n_frames > 0);
}

static void peer_take(struct peer *peer, struct text packet)
{
	if (packet.len >= BATCH_START_LEN && memcmp(packet.data, BATCH_START, BATCH_START_LEN) == 0)
		peer_take_batch(peer, packet);
	else
		peer_take_frame(peer, packet);
}

unsigned peer_receive(struct peer *peer, unsigned n_packets)
{
	static char buffer[PACKET_LEN_MAX + 1];
	unsigned n = 0;
	size_t len;
	int r;

	for (; peer->fd >= 0 && n < n_packets; n++) {
		r = packet_receive(peer->fd, buffer, sizeof buffer, &len);
		if (r == -EAGAIN)
			break;
		if (r) {
			EXPECT(r == PACKET_E_CLOSED);
			peer->is_lost = peer->is_lost || !peer->is_over;
			peer->is_over = true;
			break;
		}
		EXPECT(len <= PACKET_LEN_MAX);
		peer_take(peer, (struct text){ buffer, len });
	}
	return n;
}
