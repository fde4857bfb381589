/* replay.c - run a fuzz target on every file of the directories given.
 *
 * This is what libFuzzer does with -runs=0, for compilers that do not have it. */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"

static _Noreturn void fail(const char *path)
{
	fprintf(stderr, "%s: %s\n", path, strerror(errno));
	exit(EXIT_FAILURE);
}

static void replay_file(const char *path)
{
	FILE *file = fopen(path, "rb");
	uint8_t *data;
	long len;

	if (!file || fseek(file, 0, SEEK_END) < 0 || (len = ftell(file)) < 0)
		fail(path);
	rewind(file);
	data = malloc((size_t)len); /* exactly: a read beyond is seen */
	if (len > 0 && (!data || fread(data, 1, (size_t)len, file) != (size_t)len))
		fail(path);
	fclose(file);
	LLVMFuzzerTestOneInput(data, (size_t)len);
	free(data);
}

static int replay_directory(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	char name[4096];
	int n = 0;

	if (!dir)
		fail(path);
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
		replay_file(name);
		n++;
	}
	closedir(dir);
	return n;
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		int n = replay_directory(argv[i]);

		printf("%s: %d inputs\n", argv[i], n);
		if (n == 0)
			return EXIT_FAILURE; /* a corpus that went missing proves nothing */
	}
	return argc > 1 ? EXIT_SUCCESS : EXIT_FAILURE;
}
