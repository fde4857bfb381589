/* lane_main.c - a way through shared memory as a measuring program; see lane.h.
 *
 *	bench-lane-NAME ADDRESS BROKER_PID WORK [ARGUMENT...]
 *
 * The broker process is 0 when there is none.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/bench/harness.h"
#include "tests/bench/works.h"

static const struct {
	const char *name;
	void (*run)(int argc, char **argv);
} works[] = {
	{ "trip", work_trip },
	{ "calls", work_calls },
	{ "rate", work_rate },
	{ "readers", work_readers },
};

int main(int argc, char **argv)
{
	if (argc < 4)
		die("usage: %s ADDRESS BROKER_PID WORK [ARGUMENT...]", argv[0]);
	harness_address = argv[1];
	harness_broker = (pid_t)number_of(argv[2], 0, INT32_MAX);
	memset(harness_body, 'x', sizeof harness_body);
	for (size_t i = 0; i < ARRAY_LEN(works); i++) {
		if (strcmp(works[i].name, argv[3]) == 0) {
			works[i].run(argc - 4, argv + 4);
			return 0;
		}
	}
	die("%s: no such work", argv[3]);
}
