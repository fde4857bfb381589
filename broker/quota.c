/* quota.c - see quota.h. */
#include "broker/quota.h"

#include <assert.h>

static const char *const quota_names[] = {
	[QUOTA_CONNECTIONS] = "connections",
	[QUOTA_CURSORS] = "cursors",
	[QUOTA_ROOMS] = "rooms",
	[QUOTA_NAMES] = "names",
	[QUOTA_BYTES] = "bytes",
	[QUOTA_RINGS] = "ring-bytes",
	[QUOTA_VALUES] = "value-bytes",
};
_Static_assert(ARRAY_LEN(quota_names) == QUOTA_KINDS, "every quota has a name");

const char *quota_name(enum quota_kind kind)
{
	return quota_names[kind];
}

static void turns_init(struct turns *turns)
{
	list_init(&turns->sessions);
	list_init(&turns->link);
}

static void turns_deinit(struct turns *turns)
{
	assert(list_is_empty(&turns->sessions));
	list_unlink(&turns->link);
}

void turns_add(struct list *accounts, struct turns *turns, struct list *session)
{
	list_append(&turns->sessions, session);
	if (!list_is_linked(&turns->link))
		list_append(accounts, &turns->link);
}

void quota_init(struct quota_account *account)
{
	*account = (struct quota_account){ 0 };
	list_init(&account->accounts_link);
	list_init(&account->closing);
	list_init(&account->rooms);
	list_init(&account->publishers);
	list_init(&account->marks);
	turns_init(&account->reading);
	turns_init(&account->sending);
	turns_init(&account->ringing);
	turns_init(&account->errands);
	turns_init(&account->names);
	turns_init(&account->cached);
	trace_share_init(&account->lines, TRACE_USER_BURST, TRACE_USER_PER_S);
	throttle_init(&account->throttle);
}

void quota_deinit(struct quota_account *account)
{
	for (int kind = 0; kind < QUOTA_KINDS; kind++)
		assert(account->used[kind] == 0);
	assert(account->n_passed == 0 && list_is_empty(&account->closing));
	assert(account->cached_bytes == 0);
	assert(account->log_bytes == 0 && account->held_bytes == 0 && account->disk_bytes == 0);
	assert(list_is_empty(&account->rooms));
	assert(list_is_empty(&account->publishers));
	assert(list_is_empty(&account->marks));
	turns_deinit(&account->reading);
	turns_deinit(&account->sending);
	turns_deinit(&account->ringing);
	turns_deinit(&account->errands);
	turns_deinit(&account->names);
	turns_deinit(&account->cached);
	trace_share_deinit(&account->lines);
	list_unlink(&account->accounts_link);
	throttle_deinit(&account->throttle);
}

static void take_links(struct list *list, struct list *from)
{
	struct list *link;

	while ((link = list_first(from))) {
		list_unlink(link);
		list_append(list, link);
	}
}

void quota_take_over(struct quota_account *account, struct quota_account *from)
{
	for (int kind = 0; kind < QUOTA_KINDS; kind++) {
		account->used[kind] += from->used[kind];
		from->used[kind] = 0;
	}
	account->n_passed += from->n_passed;
	account->log_bytes += from->log_bytes;
	account->held_bytes += from->held_bytes;
	account->disk_bytes += from->disk_bytes;
	account->n_publishers += from->n_publishers;
	account->n_marks += from->n_marks;
	from->n_passed = from->log_bytes = from->held_bytes = from->disk_bytes = 0;
	from->n_publishers = from->n_marks = 0;
	take_links(&account->rooms, &from->rooms);
	take_links(&account->publishers, &from->publishers);
	take_links(&account->marks, &from->marks);
}

int quota_charge(struct quota_account *account, enum quota_kind kind, uint64_t amount)
{
	/* a limit that was lowered below what is used refuses, and takes nothing away */
	if (account->used[kind] >= account->max[kind] ||
		amount > account->max[kind] - account->used[kind])
		return QUOTA_E_LIMIT;
	account->used[kind] += amount;
	return 0;
}

void quota_charge_beyond(struct quota_account *account, enum quota_kind kind, uint64_t amount)
{
	account->used[kind] += amount;
}

void quota_discharge(struct quota_account *account, enum quota_kind kind, uint64_t amount)
{
	assert(account->used[kind] >= amount);
	account->used[kind] -= amount;
}
