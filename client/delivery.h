/* delivery.h - frames become events, in stream order; the cursors move here. */
#pragma once

#include "client/session.h"

/* The next event of what lies in the inbox: 1 with *RET_EVENT, which borrows from
 * CHAT, or 0 when the inbox is empty. */
int delivery_next(struct chat *chat, struct chat_event *ret_event);
