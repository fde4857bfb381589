/* trust.c - see trust.h. */
#include "client/trust.h"

#include <pwd.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "protocol/number.h"
#include "protocol/uid.h"

bool trust_is_given(uid_t uid)
{
	const char *variable = secure_getenv("CHAT_BROKER_UID");
	uint64_t value;

	if (uid_is_unmapped(uid))
		return false;
	if (uid == geteuid() || uid == 0)
		return true;
	return variable && number_parse(text_of(variable), &value) && value == uid;
}

void trust_explain(char *dst, size_t size, const char *path, uid_t uid)
{
	struct passwd entry, *found = NULL;
	char strings[4096];
	int r = uid_check(uid);

	if (r < 0)
		snprintf(dst, size,
			"broker of uid %u at %s is not trusted: this may be any user; cannot read "
			"/proc/self/uid_map: %s",
			(unsigned)uid, path, strerror(-r));
	else if (r)
		snprintf(dst, size,
			"broker of uid %u at %s is not trusted: in this user namespace it may be "
			"any "
			"user that has no id here; run the client where the broker's user has one",
			(unsigned)uid, path);
	else if (getpwuid_r(uid, &entry, strings, sizeof strings, &found) != 0 || !found)
		snprintf(dst, size,
			"broker of uid %u at %s is not trusted (CHAT_BROKER_UID=%u would trust it)",
			(unsigned)uid, path, (unsigned)uid);
	else
		snprintf(dst, size,
			"broker of %s, uid %u, at %s is not trusted (CHAT_BROKER_UID=%u would "
			"trust it)",
			found->pw_name, (unsigned)uid, path, (unsigned)uid);
}
