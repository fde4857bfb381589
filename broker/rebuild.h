/* rebuild.h - chat-broker --rebuild: make a catalog from the segments' files. chat-broker(8). */
#pragma once

/* Make DIRECTORY/state.db again, from the files of the rooms and the readable part of the old
 * catalog, which is kept in "damaged". The function prints a report and returns the exit status. */
int rebuild(const char *directory);
