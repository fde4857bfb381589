/* lines.c - see lines.h. The unread bytes are [start, end); of these, those below
 * searched are known to hold no LF. */
#include "client/lines.h"

#include <errno.h>
#include <unistd.h>

#include "protocol/base.h"

void lines_init(struct lines *lines, int fd)
{
	lines->fd = fd;
	lines->eof = lines->dropping = false;
	lines->number = 0;
	lines->start = lines->end = lines->searched = 0;
}

/* Take the bytes up to END as one line. */
static int lines_take(struct lines *lines, size_t end, struct text *ret_line)
{
	struct text line = { lines->buffer + lines->start, end - lines->start };

	lines->start = lines->searched = end;
	lines->number++;
	if (line.len > 0 && line.data[line.len - 1] == '\n')
		line = text_chomp(line);
	if (lines->dropping || line.len > BODY_LEN_MAX) {
		lines->dropping = false;
		return LINES_LONG;
	}
	*ret_line = line;
	return 0;
}

int lines_next(struct lines *lines, struct text *ret_line)
{
	char *lf = memchr(lines->buffer + lines->searched, '\n', lines->end - lines->searched);

	if (lf)
		return lines_take(lines, (size_t)(lf - lines->buffer) + 1, ret_line);
	lines->searched = lines->end;
	if (lines->eof && (lines->start < lines->end || lines->dropping))
		return lines_take(lines, lines->end, ret_line);
	return LINES_NONE;
}

int lines_fill(struct lines *lines)
{
	ssize_t n;

	if (lines->end - lines->start == sizeof(lines->buffer))
		lines->dropping = true;
	if (lines->dropping)
		lines->start = lines->end;
	if (lines->start > 0) {
		lines->end -= lines->start;
		memmove(lines->buffer, lines->buffer + lines->start, lines->end);
		lines->searched -= lines->start;
		lines->start = 0;
	}
	do {
		n = read(lines->fd, lines->buffer + lines->end, sizeof(lines->buffer) - lines->end);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	lines->end += (size_t)n;
	lines->eof = n == 0;
	return 0;
}
