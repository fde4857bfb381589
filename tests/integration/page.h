/* page.h - the displays in EXAMPLES of a man page, as a reader sees them. The page is
 * read as its source, so nothing but .Bd, .Ed, .D1 Nm, \e and \& has to be known. */
#pragma once

#include <stddef.h>

#define DISPLAYS_MAX 16

/* All displays; each is to be freed. Returns how many. */
size_t page_displays(const char *path, char *displays[static DISPLAYS_MAX]);

/* The one that starts with START; to be freed. */
char *page_display(const char *path, const char *start);

/* TEXT with TO wherever it has FROM, which it must have; frees TEXT. To be freed. */
char *page_adapt(char *text, const char *from, const char *to);
