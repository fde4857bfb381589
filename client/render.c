/* render.c - see render.h.
 *
 * A body is at most 64000 bytes and is escaped in slices, so nothing is
 * allocated. Which characters disturb is decided in one place, text_escape();
 * JSON asks it, character by character.
 */
#include "client/render.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "protocol/base.h"

#define NS_PER_S         1000000000u
#define ESCAPE_SLICE_LEN 1024

struct palette {
	const char *faint, *strong, *alarm, *off;
};

static const struct palette no_colours = { "", "", "", "" };
static const struct palette colours = {
	.faint = "\033[2m",
	.strong = "\033[1m",
	.alarm = "\033[1;31m",
	.off = "\033[0m",
};

static const char *const type_names[] = {
	[CHAT_MESSAGE] = "message",
	[CHAT_GAP] = "gap",
	[CHAT_JOINED] = "joined",
	[CHAT_PARTED] = "parted",
	[CHAT_REFUSED] = "refused",
	[CHAT_DOWN] = "down",
	[CHAT_UP] = "up",
	[CHAT_SEEN] = "seen",
	[CHAT_SET] = "set",
};

static const char *or_empty(const char *string)
{
	return string ? string : "";
}

/* Where to cut, at or a little before MAX, so that no character is halved. Four
 * continuation bytes in a row belong to no character: then any cut will do. */
static size_t text_slice(struct text text, size_t max)
{
	if (text.len <= max)
		return text.len;
	for (size_t back = 0; back < 4; back++)
		if (((unsigned char)text.data[max - back] & 0xc0) != 0x80)
			return max - back;
	return max;
}

void render_text(FILE *out, struct text text)
{
	char escaped[TEXT_ESCAPED_MAX(ESCAPE_SLICE_LEN)];

	while (text.len > 0) {
		size_t n = text_slice(text, ESCAPE_SLICE_LEN);

		fwrite(escaped, 1, text_escape(escaped, (struct text){ text.data, n }), out);
		text.data += n;
		text.len -= n;
	}
}

static void render_string(FILE *out, const char *string)
{
	render_text(out, text_of(or_empty(string)));
}

void render_person(FILE *out, const struct chat_event *event)
{
	render_string(out, event->name);
	if (event->of) {
		putc_unlocked('(', out);
		render_string(out, event->of);
		putc_unlocked(')', out);
	}
}

static void render_local_time(FILE *out, int64_t seconds, const char *format)
{
	time_t when = (time_t)seconds;
	char shown[16] = "??:??";
	struct tm tm;

	if (localtime_r(&when, &tm))
		strftime(shown, sizeof(shown), format, &tm);
	fputs(shown, out);
}

void render_time(FILE *out, uint64_t ns)
{
	time_t when = (time_t)(ns / NS_PER_S);
	char shown[32] = "";
	struct tm tm;

	if (gmtime_r(&when, &tm))
		strftime(shown, sizeof(shown), "%Y-%m-%dT%H:%M:%S", &tm);
	fprintf(out, "%s.%09" PRIu64 "Z", shown, ns % NS_PER_S);
}

bool event_is_deletion(const struct chat_event *event)
{
	return event->type == CHAT_GAP && strcmp(event->text, "deleted") == 0;
}

static void render_gap(FILE *out, const struct chat_event *event)
{
	render_string(out, event->target);
	if (event_is_deletion(event)) {
		fputs(" was deleted, with all messages in it", out);
		return;
	}
	if (event->to > 0)
		fprintf(out, ": %" PRIu64 " to %" PRIu64 " can not be read any more", event->from,
			event->to);
	else if (event->from > 0)
		fputs(": the log begins anew", out);
	else
		fputs(": somebody may have come or gone unseen", out);
	fputs(" (", out);
	render_string(out, event->text);
	putc_unlocked(')', out);
}

static void render_presence(FILE *out, const struct chat_event *event)
{
	render_person(out, event);
	fputs(event->type == CHAT_JOINED ? " came into " : " left ", out);
	render_string(out, event->target);
}

static void render_refused(FILE *out, const struct chat_event *event)
{
	/* Number 0 is no message but a cursor, refused after a reconnect. */
	render_string(out, event->target);
	fputs(event->id > 0 ? ": not taken: " : ": not read here any more: ", out);
	render_string(out, event->text);
	fputs(" (", out);
	render_string(out, event->code);
	putc_unlocked(')', out);
}

static void render_down(FILE *out, const struct chat_event *event)
{
	const char *code = or_empty(event->code), *text = or_empty(event->text);
	bool stopped = strcmp(code, "STOP") == 0;

	if (strcmp(text, code) == 0)
		text = ""; /* the broker gave no reason */
	if (stopped)
		fputs("the broker was stopped", out);
	else if (strcmp(code, "KICKED") == 0)
		fputs("you were removed by an administrator", out);
	else
		fputs(event->ended ? "the session is over" : "connection lost", out);
	if (*text) {
		fputs(stopped ? " (" : ": ", out);
		render_string(out, text);
		fputs(stopped ? ")" : "", out);
	}
	if (!event->ended)
		fputs("; trying again", out);
}

void render_notice(FILE *out, const struct chat_event *event)
{
	switch (event->type) {
	case CHAT_MESSAGE:
		break;
	case CHAT_GAP:
		render_gap(out, event);
		break;
	case CHAT_JOINED:
	case CHAT_PARTED:
		render_presence(out, event);
		break;
	case CHAT_REFUSED:
		render_refused(out, event);
		break;
	case CHAT_DOWN:
		render_down(out, event);
		break;
	case CHAT_UP:
		fputs("back", out);
		break;
	case CHAT_SEEN:
		render_person(out, event);
		fprintf(out, " has read %s up to message %" PRIu64, event->target, event->seq);
		break;
	case CHAT_SET:
		render_person(out, event);
		fputs(" set ", out);
		render_string(out, event->text);
		fputs(" of ", out);
		render_string(out, event->target);
		break;
	}
}

void render_plain(FILE *out, const struct chat_event *event)
{
	render_local_time(out, (int64_t)(event->time / NS_PER_S), "%H:%M:%S");
	putc_unlocked(' ', out);
	render_string(out, event->target);
	putc_unlocked(' ', out);
	render_person(out, event);
	fputs(": ", out);
	render_text(out, (struct text){ event->body, event->len });
	putc_unlocked('\n', out);
}

void render_dated(FILE *out, const struct chat_event *event)
{
	render_local_time(out, (int64_t)(event->time / NS_PER_S), "%Y-%m-%d ");
	render_plain(out, event);
}

void render_raw(FILE *out, const struct chat_event *event)
{
	fwrite(event->body, 1, event->len, out);
	putc_unlocked('\n', out);
}

void render_screen(FILE *out, const struct render_screen *screen, const struct chat_event *event)
{
	const struct palette *palette = screen->colour ? &colours : &no_colours;
	bool message = event->type == CHAT_MESSAGE;
	bool wall = message && text_equal(text_of(or_empty(event->target)), TEXT("wall"));

	fputs(palette->faint, out);
	render_local_time(out, message ? (int64_t)(event->time / NS_PER_S) : screen->now, "%H:%M");
	if (!message) {
		fputs(" -- ", out);
		render_notice(out, event);
		fprintf(out, "%s\n", palette->off);
		return;
	}
	putc_unlocked(' ', out);
	if (!text_equal(text_of(or_empty(event->target)), text_of(or_empty(screen->current)))) {
		putc_unlocked('[', out);
		render_string(out, event->target);
		fputs("] ", out);
	}
	fprintf(out, "%s%s", palette->off, wall ? palette->alarm : palette->strong);
	render_person(out, event);
	fprintf(out, "%s: ", palette->off);
	render_text(out, (struct text){ event->body, event->len });
	putc_unlocked('\n', out);
}

static void json_unicode(FILE *out, uint32_t c)
{
	if (c > 0xffff) {
		fprintf(out, "\\u%04" PRIx32, 0xd800 + ((c - 0x10000) >> 10));
		c = 0xdc00 + ((c - 0x10000) & 0x3ff);
	}
	fprintf(out, "\\u%04" PRIx32, c);
}

/* A character of N > 1 bytes, known to be well formed. */
static void json_wide(FILE *out, const unsigned char *p, size_t n)
{
	char escaped[TEXT_ESCAPED_MAX(4)];
	uint32_t c = p[0] & (0xff >> (n + 1));

	text_escape(escaped, (struct text){ (const char *)p, n });
	if (escaped[0] != '\\') {
		fwrite(p, 1, n, out);
		return;
	}
	for (size_t i = 1; i < n; i++)
		c = c << 6 | (p[i] & 0x3f);
	json_unicode(out, c);
}

/* TEXT is well-formed UTF-8. */
static void json_text(FILE *out, struct text text)
{
	const unsigned char *p = (const unsigned char *)text.data;
	size_t n;

	putc_unlocked('"', out);
	for (size_t i = 0; i < text.len; i += n) {
		n = p[i] < 0x80 ? 1 : p[i] < 0xe0 ? 2 : p[i] < 0xf0 ? 3 : 4;
		if (n > 1) {
			json_wide(out, p + i, n);
		} else if (p[i] < 0x20 || p[i] == 0x7f) {
			json_unicode(out, p[i]);
		} else {
			if (p[i] == '"' || p[i] == '\\')
				putc_unlocked('\\', out);
			putc_unlocked(p[i], out);
		}
	}
	putc_unlocked('"', out);
}

void render_json_text(FILE *out, struct text text)
{
	if (text_is_utf8(text)) {
		json_text(out, text);
		return;
	}
	putc_unlocked('"', out);
	for (size_t i = 0; i < text.len; i++)
		fprintf(out, (unsigned char)text.data[i] < 0x80 ? "\\u%04x" : "\\ufffd",
			(unsigned char)text.data[i]);
	putc_unlocked('"', out);
}

static void json_field(FILE *out, const char *key, const char *value)
{
	fprintf(out, ",\"%s\":", key);
	render_json_text(out, text_of(or_empty(value)));
}

static void json_base64(FILE *out, struct text text)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const unsigned char *p = (const unsigned char *)text.data;

	putc_unlocked('"', out);
	for (size_t i = 0; i < text.len; i += 3) {
		size_t n = MIN(text.len - i, (size_t)3);
		uint32_t group = (uint32_t)p[i] << 16 | (n > 1 ? (uint32_t)p[i + 1] << 8 : 0) |
				 (n > 2 ? p[i + 2] : 0);

		putc_unlocked(digits[group >> 18], out);
		putc_unlocked(digits[group >> 12 & 63], out);
		putc_unlocked(n > 1 ? digits[group >> 6 & 63] : '=', out);
		putc_unlocked(n > 2 ? digits[group & 63] : '=', out);
	}
	putc_unlocked('"', out);
}

static void json_person(FILE *out, const struct chat_event *event)
{
	json_field(out, "name", event->name);
	fprintf(out, ",\"uid\":%lu", (unsigned long)event->uid);
	if (event->of)
		json_field(out, "of", event->of);
}

static void json_message(FILE *out, const struct chat_event *event)
{
	struct text body = { event->body, event->len };

	fprintf(out, ",\"seq\":%" PRIu64 ",\"time\":\"", event->seq);
	render_time(out, event->time);
	putc_unlocked('"', out);
	json_person(out, event);
	if (text_is_utf8(body)) {
		fputs(",\"body\":", out);
		json_text(out, body);
	} else {
		fputs(",\"body_base64\":", out);
		json_base64(out, body);
	}
}

void render_json(FILE *out, const struct chat_event *event)
{
	fprintf(out, "{\"type\":\"%s\"", type_names[event->type]);
	if (event->target)
		json_field(out, "target", event->target);
	switch (event->type) {
	case CHAT_MESSAGE:
		json_message(out, event);
		break;
	case CHAT_GAP:
		fprintf(out, ",\"from\":%" PRIu64 ",\"to\":%" PRIu64, event->from, event->to);
		json_field(out, "reason", event->text);
		break;
	case CHAT_JOINED:
	case CHAT_PARTED:
		json_person(out, event);
		break;
	case CHAT_REFUSED:
		fprintf(out, ",\"id\":%" PRIu64, event->id);
		json_field(out, "code", event->code);
		json_field(out, "text", event->text);
		break;
	case CHAT_DOWN:
		json_field(out, "code", event->code);
		json_field(out, "text", event->text);
		fprintf(out, ",\"ended\":%s", event->ended ? "true" : "false");
		break;
	case CHAT_UP:
		break;
	case CHAT_SEEN:
		fprintf(out, ",\"seq\":%" PRIu64, event->seq);
		json_person(out, event);
		break;
	case CHAT_SET:
		json_field(out, "key", event->text);
		json_person(out, event);
		break;
	}
	fputs("}\n", out);
}
