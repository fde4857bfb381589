/* complete.h - what the Tab key finishes: /commands, rooms, names. */
#pragma once

/* A screen_complete_fn; USERDATA is a struct shell. */
char **complete_word(void *userdata, const char *text, const char *before);
