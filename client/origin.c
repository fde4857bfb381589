/* origin.c - see origin.h. */
#include "client/origin.h"

#include <sys/mman.h>
#include <unistd.h>

#define MARK_LEN 1 /* the kernel gives a page */

#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#endif

void origin_init(struct origin *origin)
{
	char *mark =
		mmap(NULL, MARK_LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	*origin = (struct origin){ .pid = getpid() };
	if (mark == MAP_FAILED)
		return;
	if (madvise(mark, MARK_LEN, MADV_WIPEONFORK) < 0) {
		munmap(mark, MARK_LEN);
		return;
	}
	*mark = 1;
	origin->mark = mark;
}

void origin_deinit(struct origin *origin)
{
	if (origin->mark)
		munmap((void *)origin->mark, MARK_LEN);
	origin->mark = NULL;
}

bool origin_is_pid(const struct origin *origin)
{
	return getpid() == origin->pid;
}
