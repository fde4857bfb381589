/* descriptors.h - when descriptors get scarce: who may have another one, and who goes.
 *
 * For each that is left a user may hold so many, connections and what these pass. One alone
 * can so have eight ninths of them, two together sixteen seventeenths; whoever has none yet
 * gets the last. Nobody that reads is cut for it. chat-broker(8), section LIMITS.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct broker;
struct quota_account;

/* Descriptors that a user may hold for each that is left. */
#define DESCRIPTORS_SHARE 8

/* Descriptors that clients never get: the limits file and the status of the FIFO are for
 * when the house is full, too. So is looking up who has just come, which opens files and
 * sockets, where the thread that does it has no descriptors of its own. Of a small limit,
 * an eighth. */
#define DESCRIPTORS_RESERVE 8

/* A socket that was full so long, ns, is stuck: its session goes when there is no
 * descriptor left at all. */
#define DESCRIPTORS_STUCK_NS (UINT64_C(10) * 1000000000)

/* Raise the limit as far as it goes. */
void descriptors_raise(void);

/* How many are open now: those that the broker needs itself, asked once it has them. */
uint64_t descriptors_count(void);

/* How many a user holds. */
uint64_t descriptors_held(const struct quota_account *account);

/* How many more connections there can be, when the broker keeps its reserve. */
uint64_t descriptors_left(const struct broker *broker);

/* May a user that holds N_HELD have another one, when N_LEFT are left behind it? */
static inline bool descriptors_are_shared(uint64_t n_held, uint64_t n_left)
{
	return (n_held + DESCRIPTORS_SHARE - 1) / DESCRIPTORS_SHARE <= n_left;
}

/* The same of what clients pass and are passed. */
bool descriptors_may_pass(const struct broker *broker, const struct quota_account *account);

/* Is there room for N more that a user passes, in its share? */
bool descriptors_have_room(
	const struct broker *broker, const struct quota_account *account, uint64_t n);

/* There is none left: end the session that has been stuck longest, and say so. False when
 * none is stuck. */
bool descriptors_free_one(struct broker *broker);
