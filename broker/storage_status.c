/* storage_status.c - see storage_status.h. */
#include "broker/storage_status.h"

#include <stdio.h>
#include <string.h>

#include "broker/notify.h"
#include "broker/room.h"
#include "broker/store.h"

static uint64_t disk_limit(const struct store *store)
{
	return store->rooms->settings->limit[LIMIT_DISK_BYTES];
}

struct text storage_row(const struct store *store, char row[static STORAGE_ROW_MAX])
{
	int error = store_error(store), n;

	if (!store_is_open(store))
		n = snprintf(row, STORAGE_ROW_MAX, "storage=none");
	else if (error)
		n = snprintf(row, STORAGE_ROW_MAX,
			"storage=failing reason=\"%s\" since=%lu disk_bytes=%lu "
			"disk_bytes_limit=%lu",
			strerror(-error), (unsigned long)(store->failed_at / 1000000000),
			(unsigned long)store->disk_bytes, (unsigned long)disk_limit(store));
	else
		n = snprintf(row, STORAGE_ROW_MAX, "storage=ok disk_bytes=%lu disk_bytes_limit=%lu",
			(unsigned long)store->disk_bytes, (unsigned long)disk_limit(store));
	return (struct text){ row, (size_t)n };
}

void storage_status_tell(struct storage_status *status, const struct store *store)
{
	char row[STORAGE_ROW_MAX], state[STORAGE_ROW_MAX + 32];
	int error = store_error(store);

	if (status->was_told && status->error == error &&
		status->n_checkpoints == store->n_checkpoints)
		return;
	status->error = error;
	status->n_checkpoints = store->n_checkpoints;
	snprintf(state, sizeof state, "%sSTATUS=serving; %s", status->was_told ? "" : "READY=1\n",
		storage_row(store, row).data);
	status->was_told = true;
	notify(state);
}
