/* users_test.c - whose a name is: with a user data base that says what the test wants.
 *
 * The thread that asks is the real one; getpwnam_r(3) and getpwuid_r(3) are ours.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <pwd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "broker/users.h"

#define SECOND UINT64_C(1000000000)
#define DAY    (24 * 3600 * SECOND)

/* ---- the user data base ---- */

static struct {
	pthread_mutex_t mutex;
	struct {
		uid_t uid;
		const char *name;
	} accounts[16];
	size_t n_accounts;
	int error; /* that it answers with */
	unsigned n_asked;
} base = { .mutex = PTHREAD_MUTEX_INITIALIZER };

int __wrap_getpwnam_r(
	const char *name, struct passwd *pw, char *buffer, size_t size, struct passwd **ret_found);
int __wrap_getpwuid_r(
	uid_t uid, struct passwd *pw, char *buffer, size_t size, struct passwd **ret_found);

static int base_find(const char *name, uid_t uid, struct passwd *pw, struct passwd **ret_found)
{
	int r;

	pthread_mutex_lock(&base.mutex);
	base.n_asked++;
	*ret_found = NULL;
	r = base.error;
	for (size_t i = 0; !r && i < base.n_accounts; i++)
		if (name ? !strcmp(base.accounts[i].name, name) : base.accounts[i].uid == uid) {
			*pw = (struct passwd){ .pw_uid = base.accounts[i].uid,
				.pw_name = (char *)base.accounts[i].name };
			*ret_found = pw;
			break;
		}
	pthread_mutex_unlock(&base.mutex);
	return r;
}

int __wrap_getpwnam_r(
	const char *name, struct passwd *pw, char *buffer, size_t size, struct passwd **ret_found)
{
	return base_find(name, 0, pw, ret_found);
}

int __wrap_getpwuid_r(
	uid_t uid, struct passwd *pw, char *buffer, size_t size, struct passwd **ret_found)
{
	return base_find(NULL, uid, pw, ret_found);
}

static void base_add(uid_t uid, const char *name)
{
	pthread_mutex_lock(&base.mutex);
	assert_true(base.n_accounts < ARRAY_LEN(base.accounts));
	base.accounts[base.n_accounts].uid = uid;
	base.accounts[base.n_accounts++].name = name;
	pthread_mutex_unlock(&base.mutex);
}

static void base_set_error(int error)
{
	pthread_mutex_lock(&base.mutex);
	base.error = error;
	pthread_mutex_unlock(&base.mutex);
}

/* ---- the users ---- */

struct house {
	struct settings settings;
	struct users users;
	struct user *asker; /* on whose turns names are resolved */
	struct list waiter;
	uint64_t think_ns; /* what each question takes */
};

static unsigned n_evicted;

static void evict(struct person *person)
{
	n_evicted++;
}

static void wake(struct list *waiter)
{
}

static int house_setup(void **state)
{
	struct house *house = calloc(1, sizeof *house);

	assert_non_null(house);
	base.n_accounts = 0;
	base.error = 0;
	base.n_asked = n_evicted = 0;
	base_add(0, "root");
	base_add(1000, "alice");
	base_add(1001, "bob");
	settings_init(&house->settings);
	assert_int_equal(users_init(&house->users, &house->settings), 0);
	house->users.now = 1000 * SECOND;
	house->users.self = 999;
	house->users.wake = wake;
	house->users.evict = evict;
	list_init(&house->waiter);
	assert_int_equal(users_get(&house->users, 1999, &house->asker), 0);
	*state = house;
	return 0;
}

static int house_teardown(void **state)
{
	struct house *house = *state;

	assert_int_equal(users_deinit(&house->users), 0);
	settings_deinit(&house->settings);
	free(house);
	return 0;
}

/* Until the answer that HOUSE waits for is there. */
static void house_wait(struct house *house)
{
	struct pollfd fd = { .fd = house->users.nss.worker.fd, .events = POLLIN };

	house->users.now += house->think_ns;
	while (list_is_linked(&house->waiter)) {
		assert_int_equal(poll(&fd, 1, 10000), 1);
		users_dispatch(&house->users);
	}
}

static int claim(struct house *house, struct user *user, const char *name)
{
	int r;

	for (int i = 0; i < 3; i++) {
		r = users_claim(&house->users, user, text_of(name), &house->waiter);
		if (r != USERS_E_WAIT)
			return r;
		house_wait(house);
	}
	return r; /* an answer that is never good enough */
}

static int resolve(struct house *house, const char *name, uid_t *ret_uid)
{
	int r;

	for (int i = 0; i < 3; i++) {
		r = users_resolve(
			&house->users, house->asker, text_of(name), &house->waiter, ret_uid);
		if (r != USERS_E_WAIT)
			return r;
		house_wait(house);
	}
	return r;
}

static int await(struct house *house, struct user *user)
{
	int r;

	for (int i = 0; i < 3; i++) {
		r = users_await(&house->users, user, &house->waiter);
		if (r != USERS_E_WAIT)
			return r;
		house_wait(house);
	}
	return r;
}

static struct user *house_user(struct house *house, uid_t uid)
{
	struct user *user = NULL;

	assert_int_equal(users_get(&house->users, uid, &user), 0);
	assert_int_equal(await(house, user), 0);
	return user;
}

/* Everybody's claim to everything. */
static void test_claim(void **state)
{
	static const struct {
		uid_t uid;
		const char *name;
		int r;
	} table[] = {
		{ 1000, "alice", 0 },
		{ 1000, "bob", USERS_E_TAKEN },
		{ 1000, "nick", 0 },
		{ 1001, "nick", USERS_E_TAKEN },
		{ 1000, "nick", 0 },
		{ 1001, "alice", USERS_E_TAKEN },
		{ 54321, "alice", USERS_E_TAKEN },
		{ 54321, "u54321", 0 },
		{ 1000, "u1000", 0 },
		{ 1000, "u1001", USERS_E_TAKEN },
		{ 1000, "u77", USERS_E_TAKEN }, /* nobody's yet */
		{ 1000, "u01000", 0 },          /* not how a uid is written: a name like others */
		{ 1001, "u01000", USERS_E_TAKEN },
		{ 1001, "u4294967295", 0 }, /* not a uid */
		{ 0, "root", 0 },
		{ 1000, "root", USERS_E_RESERVED },
		{ 0, "broker", USERS_E_RESERVED },
		{ 999, "broker", USERS_E_RESERVED },
		{ 1000, "all", USERS_E_RESERVED },
		{ 1000, "here", USERS_E_RESERVED },
		{ 1000, "", USERS_E_NAME },
		{ 1000, "Alice", USERS_E_NAME },
		{ 1000, "-a", USERS_E_NAME },
	};
	struct house *house = *state;

	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		struct user *user = house_user(house, table[i].uid);

		assert_int_equal(claim(house, user, table[i].name), table[i].r);
		users_put(&house->users, user);
	}
	assert_int_equal(n_evicted, 0);
}

static void test_resolve(void **state)
{
	struct house *house = *state;
	struct user *alice = house_user(house, 1000);
	uid_t uid = 4711;

	assert_int_equal(resolve(house, "nick", &uid), USERS_E_NONE);
	assert_int_equal(claim(house, alice, "nick"), 0);
	users_put(&house->users, alice);
	assert_int_equal(resolve(house, "broker", &uid), USERS_E_NONE);
	assert_int_equal(resolve(house, "Nick", &uid), USERS_E_NAME);
	assert_int_equal(uid, 4711);
	assert_int_equal(resolve(house, "nick", &uid), 0);
	assert_int_equal(uid, 1000);
	assert_int_equal(resolve(house, "bob", &uid), 0);
	assert_int_equal(uid, 1001);
	assert_int_equal(resolve(house, "root", &uid), 0);
	assert_int_equal(uid, 0);
	assert_int_equal(resolve(house, "u123", &uid), 0);
	assert_int_equal(uid, 123);
}

/* One question a minute, for rows that are gone, too. */
static void test_fresh(void **state)
{
	struct house *house = *state;
	uid_t uid;

	for (int i = 0; i < 5; i++) {
		users_put(&house->users, house_user(house, 1000));
		assert_int_equal(resolve(house, "bob", &uid), 0);
		house->users.now += 11 * SECOND;
	}
	assert_int_equal(base.n_asked, 2);
	house->users.now += 60 * SECOND;
	users_put(&house->users, house_user(house, 1000));
	assert_int_equal(base.n_asked, 3);
}

/* An answer that took longer than answers stay fresh is good all the same. */
static void test_slow(void **state)
{
	struct house *house = *state;
	struct user *user;
	uid_t uid;

	house->think_ns = 100 * SECOND;
	user = house_user(house, 1000);
	assert_int_equal(claim(house, user, "nick"), 0);
	assert_int_equal(resolve(house, "bob", &uid), 0);
	assert_int_equal(base.n_asked, 3);
	users_put(&house->users, user);
}

/* It does not answer: refused for now, asked again a second later. */
static void test_failure(void **state)
{
	struct house *house = *state;
	struct user *user;
	uid_t uid;

	assert_int_equal(users_get(&house->users, 1000, &user), 0);
	base_set_error(EIO);
	assert_int_equal(await(house, user), USERS_E_AGAIN);
	assert_int_equal(await(house, user), USERS_E_AGAIN);
	assert_int_equal(claim(house, user, "nick"), USERS_E_AGAIN);
	assert_int_equal(resolve(house, "nick", &uid), USERS_E_AGAIN);
	assert_int_equal(base.n_asked, 2);
	base_set_error(0);
	assert_int_equal(await(house, user), USERS_E_AGAIN);
	house->users.now += SECOND;
	assert_int_equal(await(house, user), 0);
	assert_string_equal(user->name, "alice");
	assert_int_equal(claim(house, user, "nick"), 0);
	/* what is known stays known while it fails: an old answer is better than none */
	base_set_error(ETIMEDOUT);
	house->users.now += 61 * SECOND;
	assert_int_equal(await(house, user), 0);
	assert_string_equal(user->name, "alice");
	users_put(&house->users, user);
}

/* These mean "there is none", says getpwnam(3). */
static void test_ways_to_say_none(void **state)
{
	static const int errors[] = { ENOENT, ESRCH, EBADF, EPERM };
	struct house *house = *state;
	uid_t uid;

	for (size_t i = 0; i < ARRAY_LEN(errors); i++) {
		base_set_error(errors[i]);
		house->users.now += 61 * SECOND;
		assert_int_equal(resolve(house, "nick", &uid), USERS_E_NONE);
	}
}

/* An account made later than its name was taken: whoever took it gives it back. */
static void test_late_account(void **state)
{
	struct house *house = *state;
	struct user *alice = house_user(house, 1000), *carol;
	struct person *person;
	uid_t uid;

	assert_int_equal(claim(house, alice, "carol"), 0);
	assert_int_equal(users_get_person(&house->users, alice, TEXT("carol"), &person), 0);
	base_add(1002, "carol");
	assert_int_equal(resolve(house, "carol", &uid), 0);
	assert_int_equal(uid, 1000); /* fresh still */
	carol = house_user(house, 1002);
	assert_int_equal(claim(house, carol, "carol"), 0);
	assert_int_equal(n_evicted, 1);
	assert_int_equal(alice->account->used[QUOTA_NAMES], 0);
	house->users.now += 61 * SECOND;
	assert_int_equal(claim(house, alice, "carol"), USERS_E_TAKEN);
	assert_int_equal(resolve(house, "carol", &uid), 0);
	assert_int_equal(uid, 1002);
	users_put_person(&house->users, person);

	/* found out by a claim of the one who has it */
	assert_int_equal(claim(house, alice, "dave"), 0);
	base_add(1003, "dave");
	house->users.now += 61 * SECOND;
	assert_int_equal(claim(house, alice, "dave"), USERS_E_TAKEN);
	assert_int_equal(alice->account->used[QUOTA_NAMES], 0);
	assert_int_equal(n_evicted, 1); /* nobody was here under it */
	users_put(&house->users, carol);
	users_put(&house->users, alice);
}

/* 90 idle days, and not an instant less; who is here is not idle. */
static void test_lapse(void **state)
{
	struct house *house = *state;
	struct user *alice = house_user(house, 1000), *bob = house_user(house, 1001);
	struct person *person;
	uint64_t start = house->users.now;

	assert_int_equal(claim(house, alice, "nick"), 0);
	house->users.now = start + 90 * DAY;
	assert_int_equal(claim(house, bob, "nick"), USERS_E_TAKEN);
	house->users.now = start + 90 * DAY + 1;
	assert_int_equal(claim(house, bob, "nick"), 0);
	assert_int_equal(alice->account->used[QUOTA_NAMES], 0);
	assert_int_equal(bob->account->used[QUOTA_NAMES], 1);

	assert_int_equal(users_get_person(&house->users, bob, TEXT("nick"), &person), 0);
	house->users.now += 200 * DAY;
	assert_int_equal(claim(house, alice, "nick"), USERS_E_TAKEN);
	users_put_person(&house->users, person); /* used until now */
	house->users.now += 90 * DAY;
	assert_int_equal(claim(house, alice, "nick"), USERS_E_TAKEN);
	house->users.now += 1;
	assert_int_equal(claim(house, alice, "nick"), 0);
	users_put(&house->users, bob);
	users_put(&house->users, alice);
}

static void test_quota_of_names(void **state)
{
	struct house *house = *state;
	struct user *alice = house_user(house, 1000);
	char name[8];

	for (int i = 0; i < 8; i++) {
		sprintf(name, "n%d", i);
		assert_int_equal(claim(house, alice, name), 0);
	}
	assert_int_equal(claim(house, alice, "n8"), USERS_E_QUOTA);
	assert_int_equal(claim(house, alice, "n3"), 0);
	assert_int_equal(claim(house, alice, "alice"), 0); /* its own costs nothing */
	assert_int_equal(claim(house, alice, "u1000"), 0);
	/* the lapsed ones make room */
	house->users.now += 91 * DAY;
	assert_int_equal(claim(house, alice, "n3"), 0);
	assert_int_equal(claim(house, alice, "n8"), 0);
	assert_int_equal(alice->account->used[QUOTA_NAMES], 2);
	users_put(&house->users, alice);
}

/* All whom the data base does not know have one account; the rest one each. */
static void test_strangers(void **state)
{
	struct house *house = *state;
	struct user *one = house_user(house, 54321), *two = house_user(house, 54322),
		    *alice = house_user(house, 1000), *self = house_user(house, 999);

	assert_ptr_equal(one->account, &house->users.strangers);
	assert_ptr_equal(two->account, &house->users.strangers);
	assert_ptr_equal(alice->account, &alice->own);
	assert_ptr_equal(self->account, &self->own);
	/* one whose account came later keeps what it is charged for where it is */
	base_add(54321, "late");
	house->users.now += 61 * SECOND;
	assert_int_equal(await(house, one), 0);
	assert_string_equal(one->name, "late");
	assert_ptr_equal(one->account, &house->users.strangers);
	users_put(&house->users, one);
	users_put(&house->users, two);
	users_put(&house->users, alice);
	users_put(&house->users, self);
}

/* Resources that were restored for a stranger, before that user came, are charged to the account of
 * strangers as well. */
static void test_restored_stranger(void **state)
{
	struct house *house = *state;
	struct users *users = &house->users;
	struct list room, mark;
	struct user *one;

	list_init(&room);
	list_init(&mark);
	assert_int_equal(users_restore_name(users, TEXT("nick"), 54321, 0), 0);
	assert_int_equal(users_get(users, 54321, &one), 0);
	assert_ptr_equal(one->account, &one->own);
	quota_charge_beyond(one->account, QUOTA_ROOMS, 2);
	one->account->log_bytes = 3;
	one->account->n_marks = 1;
	list_append(&one->account->rooms, &room);
	list_append(&one->account->marks, &mark);
	assert_int_equal(await(house, one), 0);
	assert_ptr_equal(one->account, &users->strangers);
	assert_int_equal(one->account->used[QUOTA_NAMES], 1);
	assert_ptr_equal(list_first(&one->account->rooms), &room);
	assert_ptr_equal(list_first(&one->account->marks), &mark);
	list_unlink(&room);
	list_unlink(&mark);
	assert_int_equal(one->account->log_bytes, 3);
	one->account->log_bytes = 0;
	assert_int_equal(one->account->n_marks, 1);
	one->account->n_marks = 0;
	quota_discharge(one->account, QUOTA_ROOMS, 2);
	users_put(users, one);
}

/* The names that accounts have are theirs, but for those with another meaning here. */
static void test_default_names(void **state)
{
	static const struct {
		uid_t uid;
		const char *account, *name;
	} table[] = {
		{ 2000, "eve", "eve" },
		{ 2001, "Eve", "u2001" },
		{ 2002, "eve smith", "u2002" },
		{ 2003, "broker", "u2003" },
		{ 2004, "u7", "u2004" },
		{ 2005, "u2005", "u2005" },
		{ 2006, "root", "u2006" },
		{ 2007, "here", "u2007" },
		{ 0, NULL, "root" },
		{ 1000, NULL, "alice" },
		{ 2999, NULL, "u2999" },
	};
	struct house *house = *state;

	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		char name[NAME_LEN_MAX + 1];
		struct user *user;

		if (table[i].account)
			base_add(table[i].uid, table[i].account);
		user = house_user(house, table[i].uid);
		user_default_name(user, name);
		assert_string_equal(name, table[i].name);
		assert_int_equal(claim(house, user, name), 0);
		users_put(&house->users, user);
	}
}

static void test_persons(void **state)
{
	struct house *house = *state;
	struct user *alice = house_user(house, 1000), *bob = house_user(house, 1001);
	struct person *own, *nick, *again, *others;

	assert_int_equal(users_get_person(&house->users, alice, TEXT("alice"), &own), 0);
	assert_string_equal(own->author, "alice 1000");
	assert_int_equal(users_get_person(&house->users, alice, TEXT("nick"), &nick), 0);
	assert_string_equal(nick->author, "nick 1000 of=alice");
	assert_int_equal(users_get_person(&house->users, alice, TEXT("nick"), &again), 0);
	assert_ptr_equal(nick, again);
	assert_int_equal(users_get_person(&house->users, bob, TEXT("nick"), &others), 0);
	assert_ptr_not_equal(nick, others);
	assert_ptr_equal(users_find_person(&house->users, TEXT("nick"), 1001), others);
	assert_null(users_find_person(&house->users, TEXT("nick"), 100));
	users_put_person(&house->users, own);
	users_put_person(&house->users, nick);
	users_put_person(&house->users, others);
	assert_null(users_find_person(&house->users, TEXT("nick"), 1000));
	users_put(&house->users, alice);
	users_put(&house->users, bob);
}

/* Names asked for by strangers do not fill the memory, and nobody's is lost for them. */
static void test_many_names(void **state)
{
	struct house *house = *state;
	struct user *alice = house_user(house, 1000);
	char name[16];
	uid_t uid;

	assert_int_equal(claim(house, alice, "nick"), 0);
	for (int i = 0; i < 3 * USERS_IDLE_MAX; i++) {
		sprintf(name, "x%d", i);
		assert_int_equal(resolve(house, name, &uid), USERS_E_NONE);
		assert_true(house->users.n_idle_nicks <= USERS_IDLE_MAX);
	}
	assert_int_equal(house->users.by_name.n_links, USERS_IDLE_MAX + 1);
	assert_int_equal(resolve(house, "nick", &uid), 0);
	assert_int_equal(uid, 1000);
	for (uid = 10000; uid < 10000 + 2 * USERS_IDLE_MAX; uid++)
		users_put(&house->users, house_user(house, uid));
	assert_true(house->users.by_uid.n_links <= USERS_IDLE_MAX + 2);
	users_put(&house->users, alice);
}

/* Asking for names without end displaces none that are a Unix user's, and no user by strangers. */
static void test_caches_keep_what_is_found(void **state)
{
	struct house *house = *state;
	unsigned n_asked;
	char name[16];
	uid_t uid;

	assert_int_equal(resolve(house, "bob", &uid), 0);
	users_put(&house->users, house_user(house, 1000));
	for (int i = 0; i < 2 * USERS_IDLE_MAX; i++) {
		sprintf(name, "x%d", i);
		assert_int_equal(resolve(house, name, &uid), USERS_E_NONE);
	}
	for (uid = 10000; uid < 10000 + 2 * USERS_IDLE_MAX; uid++)
		users_put(&house->users, house_user(house, uid));
	n_asked = base.n_asked;
	assert_int_equal(resolve(house, "bob", &uid), 0);
	users_put(&house->users, house_user(house, 1000));
	assert_int_equal(base.n_asked, n_asked);
}

/* ---- turns ---- */

#define MANY (NSS_NAMES_MAX + 2) /* in line, and in hand */

/* Somebody who asks for a name in one's own time. */
struct asker {
	struct list waiter;
	unsigned woken; /* as which; 0: not yet */
};

static struct asker askers[MANY + 1];
static unsigned n_woken;

static void wake_asker(struct list *waiter)
{
	container_of(waiter, struct asker, waiter)->woken = ++n_woken;
}

static int ask(struct house *house, struct user *user, struct asker *asker, const char *name)
{
	uid_t uid;

	asker->woken = 0;
	return users_resolve(&house->users, user, text_of(name), &asker->waiter, &uid);
}

/* USER asks for N names that nobody has, from number FIRST on. */
static void ask_many(struct house *house, struct user *user, unsigned first, unsigned n)
{
	char name[16];

	for (unsigned i = first; i < first + n; i++) {
		sprintf(name, "x%u", i);
		assert_int_equal(ask(house, user, &askers[i], name), USERS_E_WAIT);
	}
}

static void base_stop(struct house *house)
{
	n_woken = 0;
	house->users.wake = wake_asker;
	for (size_t i = 0; i < ARRAY_LEN(askers); i++)
		list_init(&askers[i].waiter);
	pthread_mutex_lock(&base.mutex); /* it answers nobody */
}

static void base_go_on(struct house *house)
{
	struct pollfd fd = { .fd = house->users.nss.worker.fd, .events = POLLIN };

	pthread_mutex_unlock(&base.mutex);
	while (house->users.nss.n_running > 0) {
		assert_int_equal(poll(&fd, 1, 10000), 1);
		users_dispatch(&house->users);
	}
}

/* One who asks for much does not make another wait. */
static void test_names_take_turns(void **state)
{
	struct house *house = *state;
	struct user *alice = house_user(house, 1000), *bob = house_user(house, 1001);
	struct asker bobs = { { &bobs.waiter, &bobs.waiter }, 0 }, again = { 0 };

	list_init(&again.waiter);
	base_stop(house);
	ask_many(house, alice, 0, 100);
	assert_int_equal(ask(house, bob, &bobs, "root2"), USERS_E_WAIT);
	/* nor by having asked for the same before */
	assert_int_equal(ask(house, bob, &again, "x99"), USERS_E_WAIT);
	base_go_on(house);
	assert_in_range(bobs.woken, 1, 4); /* two were in hand */
	assert_in_range(again.woken, 1, 8);
	assert_in_range(askers[99].woken, 1, 8);
	assert_int_equal(askers[98].woken, 102);
	users_put(&house->users, alice);
	users_put(&house->users, bob);
}

/* When the line is full, the one who has most in it is refused. */
static void test_who_asks_most_is_refused(void **state)
{
	struct house *house = *state;
	struct user *alice = house_user(house, 1000), *bob = house_user(house, 1001);
	struct asker bobs[NSS_NAMES_MAX / 2 - 1], one = { .woken = 0 };
	char name[16];

	list_init(&one.waiter);
	base_stop(house);
	ask_many(house, alice, 0, 2); /* in hand */
	assert_int_equal(ask(house, house->asker, &one, "one"), USERS_E_WAIT);
	ask_many(house, alice, 2, MANY - 3);
	assert_int_equal(ask(house, alice, &askers[MANY], "y"), USERS_E_BUSY);
	assert_int_equal(alice->account->n_names_asked, NSS_NAMES_MAX - 1);
	for (unsigned i = 0; i < ARRAY_LEN(bobs); i++) {
		struct asker *last = &askers[MANY - 2 - i];

		list_init(&bobs[i].waiter);
		sprintf(name, "z%u", i);
		assert_int_equal(last->woken, 0);
		assert_int_equal(ask(house, bob, &bobs[i], name), USERS_E_WAIT);
		/* it gave its place up, and asks again */
		assert_int_equal(last->woken, i + 1);
		sprintf(name, "x%u", MANY - 2 - i);
		assert_int_equal(ask(house, alice, last, name), USERS_E_BUSY);
	}
	/* one more would only turn it round */
	assert_int_equal(alice->account->n_names_asked, bob->account->n_names_asked + 1);
	assert_int_equal(ask(house, bob, &askers[MANY], "y"), USERS_E_BUSY);
	assert_int_equal(ask(house, alice, &askers[MANY], "y"), USERS_E_BUSY);
	assert_int_equal(house->users.nss.n_names, NSS_NAMES_MAX);
	base_go_on(house);
	assert_int_equal(house->users.nss.n_names, 0);
	for (unsigned i = 0; i < ARRAY_LEN(bobs); i++)
		assert_true(bobs[i].woken > 0);
	/* nobody waits: there is room again */
	assert_int_equal(ask(house, alice, &askers[MANY], "y"), USERS_E_WAIT);
	base_go_on(house);
	users_put(&house->users, alice);
	users_put(&house->users, bob);
}

/* Users that nobody knows yet have a line of their own, before the names. */
static void test_users_go_first(void **state)
{
	struct house *house = *state;
	struct user *alice = house_user(house, 1000), *user[NSS_UIDS_MAX + 1];
	struct asker waiters[NSS_UIDS_MAX + 1];

	base_stop(house);
	ask_many(house, alice, 0, MANY);
	for (unsigned i = 0; i < ARRAY_LEN(user); i++) {
		list_init(&waiters[i].waiter);
		waiters[i].woken = 0;
		assert_int_equal(users_get(&house->users, 10000 + i, &user[i]), 0);
		assert_int_equal(users_await(&house->users, user[i], &waiters[i].waiter),
			i < NSS_UIDS_MAX ? USERS_E_WAIT : USERS_E_BUSY);
	}
	base_go_on(house);
	for (unsigned i = 0; i < NSS_UIDS_MAX; i++)
		assert_in_range(waiters[i].woken, 1, NSS_UIDS_MAX + 2);
	for (unsigned i = 0; i < ARRAY_LEN(user); i++)
		users_put(&house->users, user[i]);
	users_put(&house->users, alice);
}

/* The end comes while many wait, in line and in hand. */
static void test_end_while_many_wait(void **state)
{
	struct house *house = *state;
	struct user *alice = house_user(house, 1000);

	base_stop(house);
	ask_many(house, alice, 0, 100);
	for (unsigned i = 0; i < 100; i++)
		list_unlink(&askers[i].waiter);
	pthread_mutex_unlock(&base.mutex);
	users_put(&house->users, alice);
}

/* The end comes while somebody still waits. */
static void test_end_while_waiting(void **state)
{
	struct house *house = *state;
	struct user *user;
	uid_t uid;

	assert_int_equal(users_get(&house->users, 1000, &user), 0);
	assert_int_equal(users_await(&house->users, user, &house->waiter), USERS_E_WAIT);
	list_unlink(&house->waiter);
	users_put(&house->users, user);
	assert_int_equal(
		users_resolve(&house->users, house->asker, TEXT("x"), &house->waiter, &uid),
		USERS_E_WAIT);
	list_unlink(&house->waiter);
}

int main(void)
{
#define UNIT(test) cmocka_unit_test_setup_teardown(test, house_setup, house_teardown)
	const struct CMUnitTest tests[] = {
		UNIT(test_claim),
		UNIT(test_resolve),
		UNIT(test_fresh),
		UNIT(test_slow),
		UNIT(test_failure),
		UNIT(test_ways_to_say_none),
		UNIT(test_late_account),
		UNIT(test_lapse),
		UNIT(test_quota_of_names),
		UNIT(test_strangers),
		UNIT(test_restored_stranger),
		UNIT(test_default_names),
		UNIT(test_persons),
		UNIT(test_many_names),
		UNIT(test_caches_keep_what_is_found),
		UNIT(test_names_take_turns),
		UNIT(test_who_asks_most_is_refused),
		UNIT(test_users_go_first),
		UNIT(test_end_while_many_wait),
		UNIT(test_end_while_waiting),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
