/* top.h - chat-client top: the broker, live. chat-client(1), section TOP. */
#pragma once

#include "client/connect.h"

/* Show it until told to end, or once; as struct subcommand says. */
int top_run(const struct settings *settings, int argc, char **argv);
