/* home.h - where rooms are stored when nobody says where: chat-broker(8), STORAGE. */
#pragma once

#include <limits.h>

#define HOME_WHY_MAX 512

enum {
	HOME_E_NONE = 1, /* there is no such place */
};

/* $XDG_STATE_HOME/chat-broker if that is set, to an absolute path; or /var/lib/chat-broker for
 * root, and ~/.local/state/chat-broker for anybody else. A variable that leads to a directory of
 * another user, see owner.h, counts as not set, and is warned of. The function makes missing parent
 * directories, with mode 0700. Returns 0, or HOME_E_NONE and in WHY what is wrong. */
int home_find(char path[static PATH_MAX], char why[static HOME_WHY_MAX]);
