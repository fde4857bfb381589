/* notify.h - tell the service manager: sd_notify(3) in a few lines. */
#pragma once

/* Send STATE to $NOTIFY_SOCKET, if there is one. Failing is nobody's business. */
void notify(const char *state);
