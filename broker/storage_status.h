/* storage_status.h - can the broker store what is said? In one row of STATS, and for the service
 * manager. chat-broker(8), COUNTERS.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "protocol/text.h"

struct store;

#define STORAGE_ROW_MAX 320

/* "storage=ok disk_bytes=N disk_bytes_limit=N", "storage=failing reason="..." since=SECONDS ...",
 * where SECONDS count since the epoch, or "storage=none" for a broker that stores nothing. */
struct text storage_row(const struct store *store, char row[static STORAGE_ROW_MAX]);

/* The status that the broker sent to the service manager last. */
struct storage_status {
	int error;
	uint64_t n_checkpoints;
	bool was_told;
};

/* Tell the service manager, if something changed; the first time that the broker is ready, too. */
void storage_status_tell(struct storage_status *status, const struct store *store);
