/* connect.c - see connect.h. */
#include "client/connect.h"

#include <errno.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdlib.h>

#include "client/brokers.h"
#include "client/render.h"

static _printf_(1, 0) void complain_v(const char *format, va_list args)
{
	char *words = NULL;

	if (vasprintf(&words, format, args) < 0)
		return;
	fputs("chat-client: ", stderr);
	render_text(stderr, text_of(words));
	fputc('\n', stderr);
	free(words);
}

void complain(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	complain_v(format, args);
	va_end(args);
}

int complain_usage(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	complain_v(format, args);
	va_end(args);
	return STATUS_USAGE;
}

int status_of_error(int error)
{
	switch (error) {
	case -ECONNREFUSED:
	case -ENOTCONN:
	case -ESHUTDOWN:
		return STATUS_NO_BROKER;
	case -EPERM:
	case -EACCES:
		return STATUS_REFUSED;
	case -EAGAIN:
	case -EIO: /* of the broker's disk */
	case -ENOSPC:
	case -ETIMEDOUT:
		return STATUS_AGAIN;
	case -EINVAL:
	case -EMSGSIZE:
		return STATUS_USAGE;
	default:
		return STATUS_SYSTEM;
	}
}

int status_of_code(struct text code)
{
	static const struct {
		struct text code;
		int status;
	} codes[] = {
		{ TEXT("AGAIN"), STATUS_AGAIN },
		{ TEXT("IO"), STATUS_AGAIN },
		{ TEXT("NOMEM"), STATUS_AGAIN },
		{ TEXT("NOSPACE"), STATUS_AGAIN },
		{ TEXT("QUOTA"), STATUS_AGAIN },
		{ TEXT("ARGS"), STATUS_USAGE },
		{ TEXT("FRAME"), STATUS_USAGE },
		{ TEXT("NAME"), STATUS_USAGE },
		{ TEXT("ROOM"), STATUS_USAGE },
		{ TEXT("TOOBIG"), STATUS_USAGE },
		{ TEXT("VERB"), STATUS_USAGE },
	};

	for (size_t i = 0; i < ARRAY_LEN(codes); i++)
		if (text_equal(code, codes[i].code))
			return codes[i].status;
	return STATUS_REFUSED;
}

int chat_failed(const struct chat *chat, int error)
{
	complain("%s", chat_error(chat));
	return status_of_error(error);
}

void user_name(char *dst, size_t size, uid_t uid)
{
	struct passwd *user = getpwuid(uid);

	snprintf(dst, size, "%s", user ? user->pw_name : "");
}

/* Nobody is there to be asked. */
static bool trust_known(void *userdata, const char *path, uid_t uid)
{
	bool *spoken = userdata;
	char name[64];

	if (brokers_is_known(path, uid))
		return true;
	user_name(name, sizeof(name), uid);
	complain("the broker at %s is one of %s%suid %lu, which is not trusted: start chat-client "
		 "in a terminal to be asked, or set CHAT_BROKER_UID=%lu",
		path, name, *name ? ", " : "", (unsigned long)uid, (unsigned long)uid);
	*spoken = true;
	return false;
}

static int open_session(
	struct chat **ret_chat, const struct chat_config *config, const bool *spoken)
{
	struct chat *chat = NULL;
	int r = chat_open(&chat, config);

	if (r < 0) {
		if (!*spoken)
			complain("%s", chat ? chat_error(chat) : "out of memory");
		chat_close(chat);
		return status_of_error(r);
	}
	*ret_chat = chat;
	return STATUS_OK;
}

int connect_open(struct chat **ret_chat, const struct settings *settings, bool once)
{
	/* libchat asks again after a reconnect, when this frame is gone. */
	static bool spoken;
	struct chat_config config = {
		.socket = settings->socket,
		.name = settings->name,
		.once = once,
		.trust = trust_known,
		.userdata = &spoken,
	};

	return open_session(ret_chat, &config, &spoken);
}

int connect_ask(struct chat **ret_chat, const struct settings *settings, chat_trust_fn *trust,
	void *userdata)
{
	struct chat_config config = {
		.socket = settings->socket,
		.name = settings->name,
		.direct = true,
		.trust = trust,
		.userdata = userdata,
	};

	return open_session(ret_chat, &config, &(bool){ false });
}
