/* disk.h - brokers that store, and the trouble that a disk makes: disk_shim.c. */
#pragma once

#include "tests/integration/harness.h"

/* A broker that stores below its directory, in "state", with one more option, or NULL. */
void stored_spawn(struct broker *broker, const char *option, const char *value);
struct broker *stored_start(void);

/* With a disk that a test makes fail. */
struct broker *shimmed_start(void);

/* That trouble is over. */
void disk_heal(const struct broker *broker, const char *trouble);

/* To sync waits, until it goes on. */
void disk_hang(const struct broker *broker);
void disk_go_on(const struct broker *broker);

/* Kill it, and start it again. */
void restart(struct broker *broker);

/* A file in DIRECTORY, below the broker's, whose name starts so; valid until the next call. */
const char *find_file(const struct broker *broker, const char *directory, const char *start);

/* One bit of one byte is another one. */
void flip(const char *path, long offset);
