/* loop_test.c - what the broker hears by: watches, the service manager, the thread that
 * asks the user data base. */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "broker/loop.h"
#include "broker/notify.h"
#include "broker/nss.h"
#include "protocol/base.h"

#define DEADLINE_NS UINT64_C(10000000000)

struct bell {
	struct watch watch;
	unsigned n_rung;
	struct bell *silences; /* closes that one's watch when it rings */
};

static void bell_ready(struct watch *watch, uint32_t events)
{
	struct bell *bell = container_of(watch, struct bell, watch);

	bell->n_rung++;
	if (bell->silences)
		bell->silences->watch.fd = -1;
}

static void test_watches(void **state)
{
	struct loop loop;
	struct bell a = { .watch.ready = bell_ready }, b = { .watch.ready = bell_ready };
	int one[2], two[2], fd;
	uint64_t now = 0, before;

	assert_int_equal(loop_init(&loop, 0), 0);
	assert_int_equal(pipe(one), 0);
	assert_int_equal(pipe(two), 0);
	a.watch.fd = one[0];
	b.watch.fd = two[0];
	assert_int_equal(loop_add(&loop, &a.watch, EPOLLIN), 0);
	assert_int_equal(loop_add(&loop, &b.watch, EPOLLIN), 0);
	loop_wait(&loop, 0, &now);
	assert_int_equal(a.n_rung + b.n_rung, 0);
	before = now;
	loop_wait(&loop, 1, &now); /* less than a ms is one: it does not spin */
	assert_true(now - before >= 900000);
	assert_int_equal(write(one[1], "x", 1), 1);
	loop_wait(&loop, DEADLINE_NS, &now);
	assert_int_equal(a.n_rung, 1);
	assert_int_equal(b.n_rung, 0);
	/* one that is closed by the other in the same round is not told any more */
	assert_int_equal(write(two[1], "x", 1), 1);
	a.silences = &b;
	b.silences = &a;
	loop_wait(&loop, DEADLINE_NS, &now);
	assert_int_equal(a.n_rung + b.n_rung, 2);
	a.watch.fd = one[0];
	b.watch.fd = two[0];
	a.silences = b.silences = NULL;
	loop_change(&loop, &a.watch, 0);
	loop_remove(&loop, &b.watch);
	loop_wait(&loop, 0, &now);
	assert_int_equal(a.n_rung + b.n_rung, 2);
	fd = loop.fd;
	loop_deinit(&loop);
	assert_int_equal(close(fd), -1);
	for (int i = 0; i < 2; i++) {
		close(one[i]);
		close(two[i]);
	}
}

static void test_notify(void **state)
{
	char directory[] = "/tmp/loop_test.XXXXXX", path[64], got[64];
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);

	assert_non_null(mkdtemp(directory));
	snprintf(path, sizeof path, "%s/notify", directory);
	strcpy(address.sun_path, path);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
	unsetenv("NOTIFY_SOCKET");
	notify("READY=1");
	setenv("NOTIFY_SOCKET", "relative", 1);
	notify("READY=1");
	assert_int_equal(recv(fd, got, sizeof got, 0), -1);
	setenv("NOTIFY_SOCKET", path, 1);
	notify("READY=1\nSTATUS=serving");
	assert_int_equal(recv(fd, got, sizeof got, 0), 22);
	assert_memory_equal(got, "READY=1\nSTATUS=serving", 22);
	close(fd);
	unlink(path);
	notify("STOPPING=1"); /* nobody listens: nothing happens */
	rmdir(directory);
}

static void test_nss(void **state)
{
	struct nss_query by_uid = { 0 }, by_name = { .by_name = true, .name = "root" };
	struct nss_query nobody = { .by_name = true, .name = "no-such-user_0" };
	struct quota_account account;
	struct nss nss;
	unsigned n_taken = 0;

	quota_init(&account);
	list_init(&by_uid.job.job_link);
	list_init(&by_name.job.job_link);
	list_init(&nobody.job.job_link);
	assert_int_equal(nss_init(&nss), 0);
	assert_null(nss_take(&nss));
	assert_int_equal(nss_ask(&nss, &by_name, &account), 0);
	assert_int_equal(nss_ask(&nss, &nobody, &account), 0);
	assert_int_equal(nss_ask(&nss, &by_uid, &account), 0);
	assert_int_equal(by_uid.status, NSS_ASKED);
	while (n_taken < 3) {
		struct pollfd pollfd = { .fd = nss.worker.fd, .events = POLLIN };

		assert_int_equal(poll(&pollfd, 1, 10000), 1);
		while (nss_take(&nss))
			n_taken++;
	}
	assert_int_equal(by_uid.status, NSS_FOUND);
	assert_string_equal(by_uid.answer.name, "root");
	assert_int_equal(by_name.status, NSS_FOUND);
	assert_int_equal(by_name.answer.uid, 0);
	assert_int_equal(nobody.status, NSS_NONE);
	assert_int_equal(nss_deinit(&nss), 0);
	assert_int_equal(nss_deinit(&nss), 0);
	quota_deinit(&account);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_watches),
		cmocka_unit_test(test_notify),
		cmocka_unit_test(test_nss),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
