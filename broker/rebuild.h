/* rebuild.h - chat-broker --rebuild: make a catalog from the segments' files. chat-broker(8). */
#pragma once

/* Make DIRECTORY/state.db again, from the files of the rooms and what can be read of the one that
 * is there, which is kept in "damaged". Returns the exit status; what was done is printed. */
int rebuild(const char *directory);
