/* settings_fuzz.c - whatever stands in a limits file, each limit stays one. */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "broker/settings.h"
#include "protocol/base.h"
#include "tests/fuzz/fuzz.h"

static void expect_limits(const struct settings *settings)
{
	for (unsigned i = 0; i < LIMIT_COUNT; i++)
		EXPECT(settings->limit[i] > 0 && settings->limit[i] <= UINT64_C(1) << 40);
	EXPECT(settings->n_overrides <= OVERRIDES_MAX);
	for (size_t i = 0; i < settings->n_overrides; i++) {
		const struct override *override = &settings->overrides[i];
		uint64_t value;

		EXPECT(override->limit < LIMIT_USER_COUNT && override->value > 0);
		EXPECT(memchr(override->user, '\0', sizeof override->user));
		value = settings_of_user(settings, override->limit, 4294967294u, override->user);
		EXPECT(value > 0 && value <= UINT64_C(1) << 40);
	}
}

/* The file as settings_read() sees it. */
static int read_file(struct settings *settings, struct text file, unsigned *ret_line)
{
	char path[64];
	int fd = memfd_create("limits", MFD_CLOEXEC), r;

	EXPECT(fd >= 0 && write(fd, file.data, file.len) == (ssize_t)file.len);
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	r = settings_read(settings, path, ret_line);
	close(fd);
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct settings settings, copy;
	struct text text = { (const char *)data, len };
	unsigned line;
	int r;

	settings_init(&settings);
	r = settings_set(&settings, text);
	EXPECT(r >= 0 && r <= SETTINGS_E_FULL && settings_strerror(r));
	expect_limits(&settings);
	r = read_file(&settings, text, &line);
	EXPECT(r >= 0 && r <= SETTINGS_E_FULL);
	EXPECT((r > 0) == (line > 0) && line <= len + 1);
	expect_limits(&settings);
	EXPECT(settings_copy(&copy, &settings) == 0);
	settings_deinit(&settings);
	expect_limits(&copy);
	settings_deinit(&copy);
	return 0;
}
