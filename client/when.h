/* when.h - a time as people write it. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define WHEN_FORMS "like 10m, 2h, 3d, 09:30, 2026-01-31 or '2026-01-31 09:30'"

/* Read WORD, as of NOW ns since the epoch: so many seconds, minutes, hours or days ago (90s,
 * 10m, 2h, 3d); the last time the clock showed HH:MM[:SS]; a date, with a time or without;
 * all in the time zone of the process; or @NS, ns since the epoch. False when it is none of
 * these or not a time that there is. chat-client(1), section COMMANDS. */
bool when_parse(const char *word, uint64_t now, uint64_t *ret_ns);
