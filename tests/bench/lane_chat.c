/* lane_chat.c - libchat with its fast path, as any program would use it: a room for each
 * lane. LANE_KEPT=1 in the environment: rooms whose messages the broker keeps.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/chat.h"
#include "tests/bench/harness.h"
#include "tests/bench/lane.h"

#define FLUSH_MS 5000

const bool lane_is_lossy = true;

#define SETS 2

static const char *const rooms[SETS][2] = { { "there", "back" }, { "there2", "back2" } };

static struct lane_plan plan;
static unsigned fast = CHAT_FAST | CHAT_EPHEMERAL;

struct lane {
	struct chat *chat;
	const char *writes;
	bool has_put;
};

void lanes_plan(const struct lane_plan *given)
{
	plan = *given;
	if (plan.set >= SETS)
		die("no rooms");
	if (getenv("LANE_KEPT"))
		fast = CHAT_FAST;
	if (plan.wait == LANE_LOOKS)
		unsetenv("CHAT_LOOK");
	else
		setenv("CHAT_LOOK", "0", true);
}

struct lane *lane_open(int writes, int reads, unsigned number)
{
	struct chat_config config = { .socket = harness_address, .once = true };
	struct lane *lane = calloc(1, sizeof *lane);

	if (!lane || chat_open(&lane->chat, &config) < 0)
		die("open: %s", lane ? chat_error(lane->chat) : "no memory");
	if (reads >= 0 &&
		chat_join(lane->chat, rooms[plan.set][reads], CHAT_NEW, 0, fast, NULL) < 0)
		die("join: %s", chat_error(lane->chat));
	if (writes >= 0)
		lane->writes = rooms[plan.set][writes];
	return lane;
}

void lane_meet(struct lane *lane)
{
	/* the broker knows who has joined */
}

void lane_put(struct lane *lane, const void *body, bool more)
{
	if (chat_send(lane->chat, lane->writes, body, plan.len, more ? fast | CHAT_MORE : fast) < 0)
		die("send: %s", chat_error(lane->chat));
	/* the ring is offered to the broker by a call that waits */
	if (!lane->has_put && chat_flush(lane->chat, FLUSH_MS) != 0)
		die("flush: %s", chat_error(lane->chat));
	lane->has_put = true;
}

const void *lane_get(struct lane *lane, struct lane_losses *losses)
{
	struct chat_event event;
	int r = chat_receive(lane->chat, &event, plan.wait == LANE_POLLS ? 0 : -1);

	if (r == 0)
		return NULL;
	if (r < 0)
		die("receive: %s", chat_error(lane->chat));
	if (event.type == CHAT_GAP) {
		losses->n_lost += event.to - event.from + 1;
		return NULL;
	}
	if (event.type != CHAT_MESSAGE || event.len != plan.len)
		die("event %d: %s", (int)event.type, event.text ? event.text : "");
	if (event.seq > 0) /* it has a number in the log, so that is where it is from */
		losses->n_detours++;
	return event.body;
}
