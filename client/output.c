/* output.c - see output.h.
 *
 * The standard streams are variables in the C library of Linux systems. So every line passes the
 * stream that is put before them, whichever command prints it.
 */
#include "client/output.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "client/width.h"
#include "client/wrap.h"
#include "protocol/base.h"
#include "protocol/number.h"

#define COLUMNS_DEFAULT 80
#define COLUMNS_MAX     65535 /* of the kernel's struct winsize */

/* The longest line that a broker's packet becomes: wrap_put() is given it as a whole. */
#define LINE_LEN (TEXT_ESCAPED_MAX(PACKET_LEN_MAX) + 4096)

struct output {
	FILE *terminal; /* borrowed */
	FILE *wrapped;  /* the stream in front of the terminal, until the program ends */
	struct wrap wrap;
	char buffer[LINE_LEN];
};

static struct output outputs[2]; /* stdout and stderr */
static size_t n_outputs;
static unsigned flags;

/* By the rules of setlocale(3), also for a locale that is not installed here. */
static const char *character_locale(void)
{
	static const char *const variables[] = { "LC_ALL", "LC_CTYPE", "LANG" };

	for (size_t i = 0; i < ARRAY_LEN(variables); i++) {
		const char *value = getenv(variables[i]);

		if (value && *value)
			return value;
	}
	return "";
}

void output_init(void)
{
	static const char *const languages[] = { "ja", "ko", "zh" };
	const char *locale = character_locale(), *term = getenv("TERM");

	flags = term && strcmp(term, "linux") == 0 ? WIDTH_NO_MARK : 0;
	for (size_t i = 0; i < ARRAY_LEN(languages); i++)
		if (strncmp(locale, languages[i], 2) == 0 && strchr("_.@", locale[2]))
			flags |= WIDTH_CJK;
}

unsigned output_columns(int fd)
{
	const char *variable = getenv("COLUMNS");
	struct winsize size;
	uint64_t columns;

	if (ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
		return size.ws_col;
	if (variable && number_parse(text_of(variable), &columns) && columns > 0 &&
		columns <= COLUMNS_MAX)
		return (unsigned)columns;
	return COLUMNS_DEFAULT;
}

unsigned output_flags(void)
{
	return flags;
}

static ssize_t output_write(void *cookie, const char *bytes, size_t len)
{
	struct output *output = cookie;

	output->wrap.columns = output_columns(fileno(output->terminal));
	wrap_put(&output->wrap, (struct text){ bytes, len });
	return fflush(output->terminal) == 0 && !ferror(output->terminal) ? (ssize_t)len : 0;
}

int output_wrap(FILE **stream)
{
	const cookie_io_functions_t functions = { .write = output_write };
	struct output *output = &outputs[n_outputs];
	FILE *wrapped;

	if (!isatty(fileno(*stream)))
		return 0;
	wrapped = fopencookie(output, "w", functions);
	if (!wrapped)
		return -ENOMEM;
	n_outputs++;
	setvbuf(wrapped, output->buffer, _IOLBF, sizeof output->buffer);
	setvbuf(*stream, NULL, _IOFBF, BUFSIZ);
	output->terminal = *stream;
	output->wrapped = wrapped;
	wrap_init(&output->wrap, *stream, COLUMNS_DEFAULT, flags);
	*stream = wrapped;
	return 0;
}

FILE *output_bare(FILE *stream)
{
	for (size_t i = 0; i < n_outputs; i++)
		if (outputs[i].wrapped == stream)
			return outputs[i].terminal;
	return stream;
}
