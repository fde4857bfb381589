/* trust.c - see trust.h. */
#include "client/trust.h"

#include <pwd.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "protocol/number.h"

bool trust_is_given(uid_t uid)
{
	const char *variable = secure_getenv("CHAT_BROKER_UID");
	uint64_t value;

	if (uid == geteuid() || uid == 0)
		return true;
	return variable && number_parse(text_of(variable), &value) && value == uid;
}

void trust_explain(char *dst, size_t size, const char *path, uid_t uid)
{
	struct passwd entry, *found = NULL;
	char strings[4096];

	if (getpwuid_r(uid, &entry, strings, sizeof strings, &found) != 0 || !found)
		snprintf(dst, size,
			"broker of uid %u at %s is not trusted (CHAT_BROKER_UID=%u would trust it)",
			(unsigned)uid, path, (unsigned)uid);
	else
		snprintf(dst, size,
			"broker of %s, uid %u, at %s is not trusted (CHAT_BROKER_UID=%u would "
			"trust it)",
			found->pw_name, (unsigned)uid, path, (unsigned)uid);
}
