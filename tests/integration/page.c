/* page.c - see page.h. */
#include "tests/integration/page.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/integration/harness.h"

/* Without what roff needs. */
static char *display_copy(const char *text, const char *end)
{
	char *copy = NULL;
	size_t len;
	FILE *out = open_memstream(&copy, &len);

	while (text < end) {
		if (!strncmp(text, "\\&", 2)) {
			text += 2;
		} else if (!strncmp(text, "\\e", 2)) {
			fputc('\\', out);
			text += 2;
		} else {
			fputc(*text++, out);
		}
	}
	fclose(out);
	return copy;
}

/* ".D1 Nm Ar word ..." is a command line of the page's program. */
static char *display_line(const char *path, const char *text, const char *end)
{
	const char *name = strrchr(path, '/') + 1;
	char *copy = NULL;
	size_t len;
	FILE *out = open_memstream(&copy, &len);

	fprintf(out, "%.*s", (int)strcspn(name, "."), name);
	while (text < end) {
		size_t n = strcspn(text, " \n");

		if (n != 2 || (strncmp(text, "Ar", 2) != 0 && strncmp(text, "Li", 2) != 0))
			fprintf(out, " %.*s", (int)n, text);
		text += n + 1;
	}
	fputc('\n', out);
	fclose(out);
	return copy;
}

size_t page_displays(const char *path, char *displays[static DISPLAYS_MAX])
{
	const char *at = strstr(file_read(path), "\n.Sh EXAMPLES\n"), *end, *stop;
	size_t n = 0;

	if (!at)
		fail_msg("%s: no EXAMPLES", path);
	stop = strstr(at + 1, "\n.Sh ");
	for (at = strchr(at + 1, '\n'); at && at < stop; at = strchr(at + 1, '\n')) {
		if (n == DISPLAYS_MAX)
			fail_msg("%s: too many examples", path);
		if (!strncmp(at, "\n.D1 Nm ", 8)) {
			displays[n++] = display_line(path, at + 8, strchr(at + 1, '\n'));
		} else if (!strncmp(at, "\n.Bd ", 5)) {
			at = strchr(at + 1, '\n') + 1;
			end = strstr(at, "\n.Ed\n");
			displays[n++] = display_copy(at, end + 1);
			at = end;
		}
	}
	return n;
}

char *page_display(const char *path, const char *start)
{
	char *displays[DISPLAYS_MAX], *found = NULL;
	size_t n = page_displays(path, displays);

	for (size_t i = 0; i < n; i++) {
		if (!found && !strncmp(displays[i], start, strlen(start)))
			found = displays[i];
		else
			free(displays[i]);
	}
	if (!found)
		fail_msg("EXAMPLES of %s: nothing starts with %s", path, start);
	return found;
}

char *page_adapt(char *text, const char *from, const char *to)
{
	const char *at = text, *next;
	char *adapted = NULL;
	size_t len;
	FILE *out;

	if (!strstr(text, from))
		fail_msg("no %s in the example: %s", from, text);
	out = open_memstream(&adapted, &len);
	while ((next = strstr(at, from))) {
		fprintf(out, "%.*s%s", (int)(next - at), at, to);
		at = next + strlen(from);
	}
	fputs(at, out);
	fclose(out);
	free(text);
	return adapted;
}
