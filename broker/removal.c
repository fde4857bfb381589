/* removal.c - see removal.h. */
#include "broker/removal.h"

#include "broker/feed.h"
#include "broker/follower.h"
#include "broker/notes.h"
#include "broker/reader.h"
#include "broker/store.h"

/* A publisher sends the records that were not taken from its ring again, through the socket. */
static void room_end_feeds(struct room *room)
{
	list_for_each (link, &room->feeds)
		feed_leave(container_of(link, struct feed, room_link));
	list_for_each (link, &room->cursors)
		followers_part(container_of(link, struct cursor, room_link));
	list_for_each (link, &room->feeds)
		feed_free(container_of(link, struct feed, room_link));
}

void room_delete(struct rooms *rooms, struct room *room)
{
	rooms_hide(rooms, room);
	room_end_feeds(room);
	list_for_each (link, &room->cursors)
		reader_dismiss(container_of(link, struct cursor, room_link));
	rooms_forget(rooms, room);
}

int store_delete(struct store *store, struct room *room)
{
	struct stored *stored = room->stored;
	int r;

	r = notes_add(&store->notes,
		(struct journal_entry){ .kind = JOURNAL_GONE, .room = stored->id }, TEXT(""),
		TEXT(""));
	if (r < 0)
		return r;
	stored->is_changing = true;
	stored->deleted_with = store->building;
	list_append(&store->deleted, &stored->deleted_link);
	return 0;
}

void store_settle_deleted(struct store *store, uint64_t done)
{
	list_for_each (link, &store->deleted) {
		struct stored *stored = container_of(link, struct stored, deleted_link);

		if (stored->deleted_with > done)
			break;
		list_unlink(link);
		stored->is_known_gone = true;
		room_delete(store->rooms, stored->room);
	}
}

void store_keep_deleted(struct store *store, struct notes *notes)
{
	list_for_each (link, &store->deleted) {
		struct stored *stored = container_of(link, struct stored, deleted_link);

		list_unlink(link);
		stored->is_changing = false;
		notes_drop(&store->notes, JOURNAL_GONE, stored->id);
		if (notes)
			notes_drop(notes, JOURNAL_GONE, stored->id);
	}
}
