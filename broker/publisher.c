/* publisher.c - see publisher.h. */
#include "broker/publisher.h"

#include <stdio.h>
#include <stdlib.h>

#include "broker/cache.h"
#include "broker/cold.h"
#include "broker/store.h"
#include "protocol/frame.h"
#include "protocol/limits.h"

/* The most publishers of one room that one account can hold. */
#define PUBLISHERS_OF_ROOM (PUBLISHERS_MAX / 4)

/* The most publishers of all rooms that one account can hold: 3 MiB. */
#define PUBLISHERS_OF_ACCOUNT 16384

static struct publisher *publisher_of(struct list *recent_link)
{
	return container_of(recent_link, struct publisher, recent_link);
}

void publisher_free(struct rooms *rooms, struct publisher *publisher)
{
	publisher->user->account->n_publishers--;
	list_unlink(&publisher->account_link);
	list_unlink(&publisher->recent_link);
	table_remove(&rooms->publishers, &publisher->link);
	publisher->room->n_publishers--;
	if (rooms->line.publisher == publisher) /* which has it at hand */
		rooms->line.author = NULL;
	users_put(rooms->users, publisher->user);
	free(publisher);
}

void publisher_note(struct publisher *publisher, uint64_t id, uint64_t seq)
{
	struct list *recent = &publisher->room->publishers;
	struct list *account = &publisher->user->account->publishers;

	publisher->id = id;
	publisher->seq = seq;
	if (recent->prev != &publisher->recent_link) {
		list_unlink(&publisher->recent_link);
		list_append(recent, &publisher->recent_link);
	}
	if (account->prev != &publisher->account_link) {
		list_unlink(&publisher->account_link);
		list_append(account, &publisher->account_link);
	}
}

static struct publisher *room_find_publisher(
	struct rooms *rooms, struct room *room, const struct author *author)
{
	uint64_t key[3] = { author->label, author->uid, room->number };
	struct table_link *link;

	link = table_find(&rooms->publishers, (struct text){ (char *)key, sizeof key });
	return link ? container_of(link, struct publisher, link) : NULL;
}

uint64_t room_last_id(struct rooms *rooms, struct room *room, const struct author *author)
{
	const struct publisher *publisher = room_find_publisher(rooms, room, author);

	return publisher ? publisher->id : 0;
}

/* Make room for one more of ACCOUNT: its own least recent goes when it has its share, else, when
 * the room is full, that of the account with the most. So many uids without an account do not
 * push out those of users. */
static void room_forget_publisher(
	struct rooms *rooms, struct room *room, struct quota_account *account)
{
	unsigned n_most = 0;
	bool is_own;

	account->n_publishers_here = 0;
	list_for_each (link, &room->publishers)
		publisher_of(link)->user->account->n_publishers_here = 0;
	list_for_each (link, &room->publishers) {
		unsigned n = ++publisher_of(link)->user->account->n_publishers_here;

		n_most = MAX(n_most, n);
	}
	is_own = account->n_publishers_here >= PUBLISHERS_OF_ROOM;
	if (!is_own && room->n_publishers < PUBLISHERS_MAX)
		return;
	list_for_each (link, &room->publishers) {
		const struct quota_account *other = publisher_of(link)->user->account;

		if (is_own ? other == account : other->n_publishers_here == n_most) {
			publisher_free(rooms, publisher_of(link));
			return;
		}
	}
}

struct publisher *room_get_publisher(
	struct rooms *rooms, struct room *room, const struct author *author)
{
	struct publisher *publisher;
	struct user *user;

	publisher = room_find_publisher(rooms, room, author);
	if (publisher)
		return publisher;
	if (users_get(rooms->users, author->uid, &user) < 0)
		return NULL;
	if (room->n_publishers >= PUBLISHERS_OF_ROOM)
		room_forget_publisher(rooms, room, user->account);
	if (user->account->n_publishers >= PUBLISHERS_OF_ACCOUNT)
		publisher_free(rooms, container_of(list_first(&user->account->publishers),
					      struct publisher, account_link));
	publisher = calloc(1, sizeof *publisher);
	if (publisher) {
		publisher->key.label = author->label;
		publisher->key.uid = author->uid;
		publisher->key.room = room->number;
		if (table_add(&rooms->publishers, &publisher->link,
			    (struct text){ (char *)&publisher->key, sizeof publisher->key }) < 0) {
			free(publisher);
			publisher = NULL;
		}
	}
	if (!publisher) {
		users_put(rooms->users, user);
		return NULL;
	}
	publisher->room = room;
	publisher->user = user;
	list_append(&room->publishers, &publisher->recent_link);
	list_append(&user->account->publishers, &publisher->account_link);
	room->n_publishers++;
	user->account->n_publishers++;
	return publisher;
}

/* Where is message VALUE of this publisher? It is at or before publisher->seq. A
 * walk from there, so many records back at most: what one repeated request may
 * cost. */
int room_find_message(struct room *room, const struct publisher *publisher,
	const struct author *author, uint64_t value, uint64_t *ret_seq)
{
	uint64_t back = MIN((uint64_t)PUBLISHERS_MAX, publisher->seq);
	uint64_t seq = MAX(publisher->seq + 1 - back, room_first(room));
	char wanted[64];
	struct text frame, p;
	struct frame parsed;
	uint64_t uid;
	int n;

	/* each look begins anew when something had to be read back: it must all be there then */
	if (room_is_stored(room))
		seq = MAX(seq, cold_recent(&room->stored->cold, CACHE_BYTES / 4));
	if (value == publisher->id) {
		*ret_seq = publisher->seq;
		return ROOM_E_DUPLICATE;
	}
	n = snprintf(wanted, sizeof wanted, "%016lx:%lu", (unsigned long)author->label,
		(unsigned long)value);
	while (seq <= publisher->seq) {
		struct log_cursor cursor = { .seq = seq }, after;
		struct hole hole;
		struct log *log;
		int r = room_log_at(room, seq, &log, &hole);

		if (r == CACHE_E_WAIT) {
			*ret_seq = seq;
			return ROOM_E_WAIT;
		}
		if (r < 0)
			return r;
		seq = r == CACHE_E_HOLE ? hole.next : seq + 1;
		if (r == CACHE_E_HOLE || log_read_one(log, &cursor, &frame, &after) == 0 ||
			frame_parse(&parsed, frame) || parsed.n_words < 6)
			continue;
		p = frame_get(&parsed, 6, "p");
		if (text_equal(p, (struct text){ wanted, (size_t)n }) &&
			number_parse(parsed.word[5], &uid) && uid == author->uid) {
			*ret_seq = cursor.seq;
			return ROOM_E_DUPLICATE;
		}
	}
	return ROOM_E_OLD;
}
