/* backup.h - chat-broker --backup: a copy of a state directory, also while a broker uses it.
 * chat-broker(8), STORAGE.
 */
#pragma once

/* Copy what is stored in DIRECTORY to the directory TARGET, which is made, and check the copy.
 * Returns the exit status; the result is printed. */
int backup(const char *directory, const char *target);
