/* target.h - where something is said: what a program may write, what stands in
 * records, what is shown. chat-protocol(7), section Names.
 */
#pragma once

#include <stdbool.h>

#include "protocol/text.h"

/* A room, "@name", or "@a+b". */
bool target_is_valid(struct text target);

/* The conversation of two names as it stands in records: "@a+b", sorted, not
 * terminated. DST holds TARGET_LEN_MAX bytes. Returns what was written. */
struct text target_put_conversation(struct text own, struct text other, char *dst);

/* What OWN is shown of a target in records: "@a+b" becomes "@other". DST holds
 * TARGET_LEN_MAX + 1 bytes and is terminated. */
void target_show(struct text own, struct text target, char *dst);
