/* recover.h - what the last broker stored comes back: the catalog, the segments it names, and
 * then the journal from where it says. chat-broker(8), section STORAGE.
 */
#pragma once

struct store;

/* Take the lock of the directory and fill STORE's rooms. Nothing else runs yet: it blocks.
 * Returns 0, an outcome of store_init(), or -errno; the reason is in the diagnostics. */
int recover(struct store *store);
