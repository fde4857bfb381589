/* ipc.h - the named semaphores of a broker: what a kill may leave behind in /dev/shm.
 *
 *	/chat.UID.INSTANCE.RANDOM
 *
 * INSTANCE tells the broker's socket path apart from others, so that the holder of its lock
 * may remove what an earlier one left. A broker locks each semaphore's own file as long as it
 * uses it: other files can be swept away under a broker that lives, and prove nothing.
 * chat-broker(8), section FILES.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "protocol/waker.h"

/* A new name, for a broker that listens at SOCKET. */
void ipc_put_name(const char *socket, char ret_name[static WAKER_NAME_MAX]);

/* Keep the semaphore NAME, which this process has made, from being removed by others. Returns a
 * descriptor, to be closed by the caller when the semaphore is of no use any more, or -errno. */
int ipc_hold(const char *name);

/* One that is there. IS_OF_SOCKET: it is of a broker that listens at the socket that was
 * asked about. */
typedef void ipc_found_fn(void *userdata, const char *name, bool is_of_socket);

/* Find those of this process's user. Returns how many, or -errno of opendir(3); -ENOENT:
 * there is no /dev/shm. */
int ipc_list(const char *socket, ipc_found_fn *found, void *userdata);

/* Remove those of brokers that listened at SOCKET, whose lock the caller holds, and that no
 * process holds. Returns how many. */
int ipc_clean(const char *socket);
