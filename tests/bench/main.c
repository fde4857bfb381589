/* main.c - a broker's client as a measuring program; see harness.h.
 *
 *	bench-PEER ADDRESS BROKER_PID WORK [ARGUMENT...]
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "tests/bench/harness.h"
#include "tests/bench/works.h"

static const struct {
	const char *name;
	void (*run)(int argc, char **argv);
} works[] = {
	{ "flow", work_flow },
	{ "echo", work_echo },
	{ "idle", work_idle },
};

int main(int argc, char **argv)
{
	struct rlimit limit;

	if (argc < 4)
		die("usage: %s ADDRESS BROKER_PID WORK [ARGUMENT...]", argv[0]);
	signal(SIGPIPE, SIG_IGN);
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	harness_address = argv[1];
	harness_broker = (pid_t)number_of(argv[2], 1, INT32_MAX);
	memset(harness_body, 'x', sizeof harness_body);
	for (size_t i = 0; i < ARRAY_LEN(works); i++) {
		if (strcmp(works[i].name, argv[3]) == 0) {
			works[i].run(argc - 4, argv + 4);
			return 0;
		}
	}
	die("%s: no such work", argv[3]);
}
