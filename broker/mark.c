/* mark.c - see mark.h. */
#include "broker/mark.h"

#include <errno.h>
#include <stdlib.h>

#include "broker/store.h"

static struct mark *mark_find(struct rooms *rooms, const struct room *room, uid_t uid)
{
	uint64_t key[2] = { uid, room->number };
	struct table_link *link =
		table_find(&rooms->marks, (struct text){ (char *)key, sizeof key });

	return link ? container_of(link, struct mark, link) : NULL;
}

uint64_t room_mark(struct rooms *rooms, const struct room *room, uid_t uid)
{
	const struct mark *mark = mark_find(rooms, room, uid);

	return mark ? mark->seq : 0;
}

void mark_free(struct rooms *rooms, struct mark *mark)
{
	mark->user->account->n_marks--;
	list_unlink(&mark->account_link);
	list_unlink(&mark->room_link);
	table_remove(&rooms->marks, &mark->link);
	users_put(rooms->users, mark->user);
	free(mark);
}

static struct mark *mark_new(struct rooms *rooms, struct room *room, struct user *user)
{
	struct quota_account *account = user->account;
	struct mark *mark;

	if (account->n_marks >= MARKS_OF_ACCOUNT)
		mark_free(rooms,
			container_of(list_first(&account->marks), struct mark, account_link));
	mark = calloc(1, sizeof *mark);
	if (!mark)
		return NULL;
	mark->key[0] = user->uid;
	mark->key[1] = room->number;
	if (table_add(&rooms->marks, &mark->link,
		    (struct text){ (char *)mark->key, sizeof mark->key }) < 0) {
		free(mark);
		return NULL;
	}
	mark->room = room;
	mark->user = user_ref(user);
	list_append(&room->marks, &mark->room_link);
	list_append(&account->marks, &mark->account_link);
	account->n_marks++;
	return mark;
}

int room_move_mark(struct rooms *rooms, struct room *room, struct user *user, uint64_t seq)
{
	struct mark *mark = mark_find(rooms, room, user->uid);

	if (!mark)
		mark = mark_new(rooms, room, user);
	if (!mark)
		return -ENOMEM;
	if (seq <= mark->seq)
		return 0;
	mark->seq = seq;
	mark->is_stored = false;
	if (room_is_stored(room))
		store_marked(rooms->store, room, mark);
	list_unlink(&mark->account_link);
	list_append(&user->account->marks, &mark->account_link);
	return 1;
}
