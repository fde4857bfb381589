/* idle.c - connections that are subscribed and silent: CONNECTIONS
 *
 * How fast they come, what they cost the broker in memory of its own, how many it
 * holds. The clients are one process for every 2500 of them.
 */
#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include "tests/bench/peer.h"
#include "tests/bench/works.h"

#define CLIENT_CONNECTIONS 2500
#define CLIENTS_MAX        16
#define SAMPLE_MS          200
#define SAMPLES_SAME       4  /* until the memory is taken for settled */
#define SAMPLES_MAX        50 /* a garbage collector never quite settles */

static _Atomic uint32_t *ready, *stay;
static struct peer *peers[CLIENT_CONNECTIONS];

/* The broker's resident memory, exactly: statm and VmRSS lag behind. */
static long resident_kib(void)
{
	char path[64], line[256];
	long kib = -1;
	FILE *file;

	snprintf(path, sizeof path, "/proc/%d/smaps_rollup", harness_broker);
	file = fopen(path, "r");
	while (file && kib < 0 && fgets(line, sizeof line, file))
		if (sscanf(line, "Rss: %ld", &kib) != 1)
			kib = -1;
	if (kib < 0)
		die("%s", path);
	fclose(file);
	return kib;
}

static int descriptors(void)
{
	char path[64];
	int n = 0;
	DIR *dir;

	snprintf(path, sizeof path, "/proc/%d/fd", harness_broker);
	dir = opendir(path);
	if (!dir)
		die("%s", path);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static void connect_some(int n)
{
	for (int i = 0; i < n; i++) {
		peers[i] = peer_connect(harness_address);
		peer_subscribe(peers[i], "t1");
	}
	for (int i = 0; i < n; i++)
		peer_await(peers[i]);
	word_raise(ready);
	word_await(stay, 1);
}

static long settled_kib(void)
{
	long last, kib = resident_kib();

	for (int same = 0, i = 0; same < SAMPLES_SAME && i < SAMPLES_MAX; i++) {
		pass_ms(SAMPLE_MS);
		last = kib;
		kib = resident_kib();
		same = kib == last ? same + 1 : 0;
	}
	return kib;
}

void work_idle(int argc, char **argv)
{
	pid_t clients[CLIENTS_MAX];
	long before, after;
	int n, n_clients = 0, held;
	uint64_t start, ns;

	if (argc != 1)
		die("idle CONNECTIONS");
	n = (int)number_of(argv[0], 1, CLIENTS_MAX * CLIENT_CONNECTIONS);
	ready = share(sizeof *ready);
	stay = share(sizeof *stay);
	before = settled_kib();
	held = descriptors();
	start = now_ns();
	for (int left = n; left > 0; left -= CLIENT_CONNECTIONS)
		clients[n_clients++] = spawn(connect_some, MIN(left, CLIENT_CONNECTIONS));
	word_await(ready, (uint32_t)n_clients);
	ns = now_ns() - start;
	after = settled_kib();
	held = descriptors() - held;
	if (held < n)
		die("%d of %d connections are held", held, n);
	printf("connects_s %.0f\n", n / ((double)ns / 1e9));
	printf("kib_per_connection %.3f\n", (double)(after - before) / n);
	printf("kib_empty %ld\n", before);
	for (int i = 0; i < n_clients; i++)
		end(clients[i]);
}
