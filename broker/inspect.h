/* inspect.h - a state directory without a broker: chat-broker --verify and --dump. */
#pragma once

/* Print a line for each room that DIRECTORY has. Returns an exit status: EX_DATAERR when
 * anything is damaged. */
int inspect_verify(const char *directory);

/* Print what was said in ROOM, a line each. Returns an exit status. */
int inspect_dump(const char *directory, const char *room);
