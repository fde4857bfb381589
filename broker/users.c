/* users.c - see users.h. */
#include "broker/users.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "protocol/number.h"

static void users_apply_account(
	struct users *users, struct quota_account *account, uid_t uid, const char *name)
{
	const struct settings *settings = users->settings;
	bool is_limited = uid != 0 && uid != users->self;

	for (unsigned kind = 0; kind < QUOTA_KINDS; kind++)
		account->max[kind] = settings_of_user(settings, kind, uid, name);
	rate_set(&account->throttle.rate,
		is_limited ? settings_of_user(settings, LIMIT_RATE, uid, name) : RATE_MAX,
		users->now);
	rate_set(&account->connects,
		is_limited ? settings_of_user(settings, LIMIT_CONNECTS, uid, name) : RATE_MAX,
		users->now);
	account->room_rings = settings_of_user(settings, LIMIT_ROOM_RINGS, uid, name);
}

static void users_add_account(
	struct users *users, struct quota_account *account, uid_t uid, const char *name)
{
	quota_init(account);
	if (uid == (uid_t)-1)
		trace_share_name(&account->lines, "%s", name);
	else
		trace_share_name(&account->lines, "uid=%u", uid);
	account->number = users->next_account++;
	list_append(&users->accounts, &account->accounts_link);
	users_apply_account(users, account, uid, name);
}

int users_init(struct users *users, const struct settings *settings)
{
	*users = (struct users){ .settings = settings, .self = geteuid(), .next_account = 1 };
	age_init(&users->age);
	table_init(&users->by_uid);
	table_init(&users->by_name);
	table_init(&users->persons);
	list_init(&users->idle_users);
	list_init(&users->idle_strangers);
	for (int kind = 0; kind < NICKS_KINDS; kind++)
		list_init(&users->idle_nicks[kind]);
	list_init(&users->accounts);
	list_init(&users->throttled);
	users_add_account(users, &users->strangers, (uid_t)-1, "strangers");
	return nss_init(&users->nss);
}

static void user_free(struct users *users, struct user *user)
{
	table_remove(&users->by_uid, &user->link);
	list_unlink(&user->idle_link);
	quota_deinit(&user->own);
	free(user);
}

static void nick_free(struct users *users, struct nick *nick)
{
	table_remove(&users->by_name, &nick->link);
	list_unlink(&nick->idle_link);
	free(nick);
}

/* Put a name that nobody owns where it belongs, last. */
static void nick_file(struct users *users, struct nick *nick)
{
	int kind = nick->query.status == NSS_ASKED   ? NICKS_ASKED
		   : nick->query.status == NSS_FOUND ? NICKS_FOUND
						     : NICKS_NONE;

	list_unlink(&nick->idle_link);
	list_append(&users->idle_nicks[kind], &nick->idle_link);
}

static void nick_disown(struct users *users, struct nick *nick)
{
	struct user *owner = TAKE(nick->owner);

	list_unlink(&nick->owner_link);
	nick_file(users, nick);
	users->n_idle_nicks++;
	quota_discharge(owner->account, QUOTA_NAMES, 1);
	users_put(users, owner);
}

int users_deinit(struct users *users)
{
	int r = nss_deinit(&users->nss);
	struct table_link *link;

	if (r < 0)
		return r;
	assert(users->persons.n_links == 0);
	for (size_t i = 0; i < users->by_name.n_slots; i++)
		while ((link = table_at(&users->by_name, i))) {
			struct nick *nick = container_of(link, struct nick, link);

			if (nick->owner)
				nick_disown(users, nick);
			nick_free(users, nick);
		}
	/* what is not idle is referred to by a question that nobody will answer now */
	for (size_t i = 0; i < users->by_uid.n_slots; i++)
		while ((link = table_at(&users->by_uid, i)))
			user_free(users, container_of(link, struct user, link));
	table_deinit(&users->by_name);
	table_deinit(&users->by_uid);
	table_deinit(&users->persons);
	quota_deinit(&users->strangers);
	return 0;
}

void users_apply_settings(struct users *users)
{
	for (size_t i = 0; i < users->by_uid.n_slots; i++)
		for (struct table_link *link = table_at(&users->by_uid, i); link;
			link = link->next) {
			struct user *user = container_of(link, struct user, link);

			users_apply_account(users, &user->own, user->uid, user->name);
		}
	users_apply_account(users, &users->strangers, (uid_t)-1, "strangers");
}

static void users_wake_all(struct users *users, struct list *waiters)
{
	struct list *waiter;

	while ((waiter = list_first(waiters))) {
		list_unlink(waiter);
		users->wake(waiter);
	}
}

static void user_learn(struct users *users, struct user *user)
{
	if (user->query.status == NSS_FAILED)
		return;
	strcpy(user->name, user->query.status == NSS_FOUND ? user->query.answer.name : "");
	/* its rooms, names and marks may have been restored before anybody asked who it is */
	if (!user->is_known && user->query.status == NSS_NONE && user->uid != users->self &&
		user->uid != 0) {
		quota_take_over(&users->strangers, &user->own);
		user->account = &users->strangers;
		list_unlink(&user->own.accounts_link);
	}
	user->is_known = true;
	users_apply_account(users, &user->own, user->uid, user->name);
}

/* An answer is as old as it is here, however long the question took. */
static uint64_t query_answered_at(const struct users *users, const struct nss_query *query)
{
	return query->status == NSS_FAILED ? users->now - USERS_FRESH_NS + USERS_RETRY_NS
					   : users->now;
}

void users_dispatch(struct users *users)
{
	struct nss_query *query;

	while ((query = nss_take(&users->nss))) {
		if (query->by_name) {
			struct nick *nick = container_of(query, struct nick, query);

			nick->asked_at = query_answered_at(users, query);
			if (!nick->owner)
				nick_file(users, nick);
			users_wake_all(users, &nick->waiters);
		} else {
			struct user *user = container_of(query, struct user, query);

			user->asked_at = query_answered_at(users, query);
			user_learn(users, user);
			users_wake_all(users, &user->waiters);
			users_put(users, user);
		}
	}
}

struct user *users_find(const struct users *users, uid_t uid)
{
	struct table_link *link =
		table_find(&users->by_uid, (struct text){ (const char *)&uid, sizeof uid });

	return link ? container_of(link, struct user, link) : NULL;
}

int users_get(struct users *users, uid_t uid, struct user **ret_user)
{
	struct user *user = users_find(users, uid);

	if (user) {
		*ret_user = user_ref(user);
		if (list_is_linked(&(*ret_user)->idle_link)) {
			list_unlink(&(*ret_user)->idle_link);
			users->n_idle_users--;
		}
		return 0;
	}
	user = calloc(1, sizeof *user);
	if (!user)
		return -ENOMEM;
	user->uid = user->query.uid = uid;
	user->refs = 1;
	user->account = &user->own;
	list_init(&user->idle_link);
	list_init(&user->waiters);
	list_init(&user->nicks);
	list_init(&user->query.job.job_link);
	users_add_account(users, &user->own, uid, "");
	if (table_add(&users->by_uid, &user->link,
		    (struct text){ (const char *)&user->uid, sizeof user->uid }) < 0) {
		quota_deinit(&user->own);
		free(user);
		return -ENOMEM;
	}
	*ret_user = user;
	return 0;
}

struct user *user_ref(struct user *user)
{
	user->refs++;
	return user;
}

void users_put(struct users *users, struct user *user)
{
	struct list *first;

	if (!user || --user->refs > 0)
		return;
	/* one person can have many uids without an account: they do not take others' places */
	list_append(user->is_known && user->account == &user->own ? &users->idle_users
								  : &users->idle_strangers,
		&user->idle_link);
	if (++users->n_idle_users > USERS_IDLE_MAX) {
		users->n_idle_users--;
		first = list_first(&users->idle_strangers);
		if (!first)
			first = list_first(&users->idle_users);
		user_free(users, container_of(first, struct user, idle_link));
	}
}

/* Is the answer fresh? Returns USERS_E_WAIT when it is to be asked for, or is on its way. */
static int query_look(const struct users *users, const struct nss_query *query, uint64_t asked_at)
{
	if (query->status == NSS_UNKNOWN || query->status == NSS_ASKED ||
		users->now - asked_at >= USERS_FRESH_NS)
		return USERS_E_WAIT;
	return query->status == NSS_FAILED ? USERS_E_AGAIN : 0;
}

/* Ask for the Unix user's name, unless the answer is fresh or on its way. */
static int user_ask(struct users *users, struct user *user, struct list *waiter)
{
	int r = query_look(users, &user->query, user->asked_at);

	if (r != USERS_E_WAIT)
		return r;
	if (user->query.status != NSS_ASKED) {
		if (nss_ask(&users->nss, &user->query, user->account))
			return USERS_E_BUSY;
		user->asked_at = users->now;
		user_ref(user); /* the query's own: it lies in the row */
	}
	list_append(&user->waiters, waiter);
	return USERS_E_WAIT;
}

int users_await(struct users *users, struct user *user, struct list *waiter)
{
	uint64_t n_waiting = 0;
	int r;

	/* connections are charged when it is known to whom: until then they are counted */
	list_for_each (link, &user->waiters)
		n_waiting++;
	if (n_waiting >= user->own.max[QUOTA_CONNECTIONS])
		return USERS_E_BUSY;
	r = user_ask(users, user, waiter);
	/* an old answer is better than none */
	return (r == USERS_E_AGAIN || r == USERS_E_BUSY) && user->is_known ? 0 : r;
}

/* "uN": the uid, when NAME is written so. */
static bool name_is_uid(struct text name, uid_t *ret_uid)
{
	uint64_t uid;

	if (name.len < 2 || name.data[0] != 'u' || (name.data[1] == '0' && name.len > 2) ||
		!number_parse((struct text){ name.data + 1, name.len - 1 }, &uid) ||
		uid >= UINT32_MAX)
		return false;
	*ret_uid = (uid_t)uid;
	return true;
}

static bool name_is_reserved(struct text name)
{
	return text_equal(name, TEXT("broker")) || text_equal(name, TEXT("all")) ||
	       text_equal(name, TEXT("here"));
}

void user_default_name(const struct user *user, char *ret_name)
{
	struct text name = text_of(user->name);
	uid_t uid;

	/* an account can have a name that we gave another meaning */
	if (user->uid == 0)
		strcpy(ret_name, "root");
	else if (name.len > 0 && !name_is_reserved(name) && !text_equal(name, TEXT("root")) &&
		 (!name_is_uid(name, &uid) || uid == user->uid))
		strcpy(ret_name, user->name);
	else
		snprintf(ret_name, NAME_LEN_MAX + 1, "u%u", user->uid);
}

static int users_get_nick(struct users *users, struct text name, struct nick **ret_nick)
{
	struct table_link *link = table_find(&users->by_name, name);
	struct list *first;
	struct nick *nick;

	if (link) {
		*ret_nick = container_of(link, struct nick, link);
		return 0;
	}
	/* the oldest row that nobody owns or waits for makes room */
	if (users->n_idle_nicks >= USERS_IDLE_MAX) {
		first = list_first(&users->idle_nicks[NICKS_NONE]);
		if (!first)
			first = list_first(&users->idle_nicks[NICKS_FOUND]);
		if (!first)
			return USERS_E_BUSY;
		users->n_idle_nicks--;
		nick_free(users, container_of(first, struct nick, idle_link));
	}
	nick = calloc(1, sizeof *nick);
	if (!nick)
		return -ENOMEM;
	memcpy(nick->name, name.data, name.len);
	list_init(&nick->idle_link);
	list_init(&nick->owner_link);
	list_init(&nick->waiters);
	list_init(&nick->query.job.job_link);
	nick->query.by_name = true;
	strcpy(nick->query.name, nick->name);
	if (table_add(&users->by_name, &nick->link, text_of(nick->name)) < 0) {
		free(nick);
		return -ENOMEM;
	}
	nick_file(users, nick);
	users->n_idle_nicks++;
	*ret_nick = nick;
	return 0;
}

static void nick_tell(struct users *users, const struct nick *nick, bool is_taken)
{
	if (users->named)
		users->named(users, nick, is_taken);
}

/* The Unix user UID has come for its name, or was found to have it: whoever took it
 * before the account was made gives it back. */
static void users_return_name(struct users *users, struct nick *nick, uid_t uid)
{
	struct person *person;

	if (!nick->owner || nick->owner->uid == uid)
		return;
	person = users_find_person(users, text_of(nick->name), nick->owner->uid);
	nick_disown(users, nick);
	nick_tell(users, nick, true);
	if (person)
		users->evict(person);
}

static bool nick_is_lapsed(struct users *users, struct nick *nick)
{
	return nick->owner && users->now - nick->used_at > NICK_IDLE_NS &&
	       !users_find_person(users, text_of(nick->name), nick->owner->uid);
}

static void nick_own(struct users *users, struct nick *nick, struct user *user)
{
	list_unlink(&nick->idle_link);
	users->n_idle_nicks--;
	nick->owner = user_ref(user);
	list_append(&user->nicks, &nick->owner_link);
}

static int nick_take(struct users *users, struct nick *nick, struct user *user)
{
	bool is_new = nick->owner != user;

	if (nick->owner && nick->owner != user) {
		if (!nick_is_lapsed(users, nick))
			return USERS_E_TAKEN;
		nick_disown(users, nick);
	}
	if (!nick->owner) {
		list_for_each (link, &user->nicks) {
			struct nick *old = container_of(link, struct nick, owner_link);

			if (!nick_is_lapsed(users, old))
				continue;
			nick_disown(users, old);
			nick_tell(users, old, true);
		}
		if (quota_charge(user->account, QUOTA_NAMES, 1))
			return USERS_E_QUOTA;
		nick_own(users, nick, user);
	}
	nick->used_at = users->now;
	if (is_new)
		nick_tell(users, nick, true);
	return 0;
}

int users_restore_name(struct users *users, struct text name, uid_t uid, uint64_t idle_ns)
{
	struct nick *nick;
	struct user *user;
	int r;

	if (!text_is_name(name))
		return 0;
	r = users_get_nick(users, name, &nick);
	if (r)
		return r < 0 ? r : 0;
	if (nick->owner)
		nick_disown(users, nick);
	if (uid == (uid_t)-1)
		return 0;
	r = users_get(users, uid, &user);
	if (r < 0)
		return r;
	quota_charge_beyond(user->account, QUOTA_NAMES, 1);
	nick_own(users, nick, user);
	nick->used_at = users->now - idle_ns; /* may wrap: it is only ever subtracted */
	users_put(users, user);
	return 0;
}

/* Queue the question about NICK on a turn of ACCOUNT, if need be in the place of one of the
 * account that has most in line. */
static int nick_ask(struct users *users, struct nick *nick, struct quota_account *account)
{
	struct nss_query *displaced;
	struct nick *other;

	if (nss_ask(&users->nss, &nick->query, account)) {
		displaced = nss_displace(&users->nss, account);
		if (!displaced)
			return USERS_E_BUSY;
		/* those who wait for it ask again */
		other = container_of(displaced, struct nick, query);
		if (!other->owner)
			nick_file(users, other);
		users_wake_all(users, &other->waiters);
		if (nss_ask(&users->nss, &nick->query, account))
			return USERS_E_BUSY;
	}
	nick->asked_at = users->now;
	if (!nick->owner)
		nick_file(users, nick);
	return 0;
}

/* The row of NAME, when the database has said whether it is a Unix user's. USER asks. */
static int users_ask(struct users *users, struct user *user, struct text name, struct list *waiter,
	struct nick **ret_nick)
{
	struct nick *nick;
	int r = users_get_nick(users, name, &nick);

	if (r)
		return r;
	*ret_nick = nick;
	r = query_look(users, &nick->query, nick->asked_at);
	if (r != USERS_E_WAIT)
		return r;
	if (nick->query.status == NSS_ASKED) {
		nss_share(&users->nss, &nick->query, user->account);
	} else {
		r = nick_ask(users, nick, user->account);
		if (r)
			return r;
	}
	list_append(&nick->waiters, waiter);
	return USERS_E_WAIT;
}

int users_claim(struct users *users, struct user *user, struct text name, struct list *waiter)
{
	char own[NAME_LEN_MAX + 1];
	struct nick *nick;
	struct table_link *link;
	uid_t uid;
	int r;

	if (!text_is_name(name))
		return USERS_E_NAME;
	if (name_is_reserved(name) || (text_equal(name, TEXT("root")) && user->uid != 0))
		return USERS_E_RESERVED;
	if (name_is_uid(name, &uid))
		return uid == user->uid ? 0 : USERS_E_TAKEN;
	user_default_name(user, own);
	if (text_equal(name, text_of(own))) {
		link = table_find(&users->by_name, name);
		if (link)
			users_return_name(users, container_of(link, struct nick, link), user->uid);
		return 0;
	}
	r = users_ask(users, user, name, waiter, &nick);
	if (r)
		return r;
	if (nick->query.status == NSS_FOUND) {
		users_return_name(users, nick, nick->query.answer.uid);
		return nick->query.answer.uid == user->uid ? 0 : USERS_E_TAKEN;
	}
	return nick_take(users, nick, user);
}

int users_resolve(struct users *users, struct user *user, struct text name, struct list *waiter,
	uid_t *ret_uid)
{
	struct nick *nick;
	uid_t uid;
	int r;

	if (!text_is_name(name))
		return USERS_E_NAME;
	if (name_is_reserved(name))
		return USERS_E_NONE;
	if (text_equal(name, TEXT("root"))) {
		*ret_uid = 0;
		return 0;
	}
	if (name_is_uid(name, &uid)) {
		*ret_uid = uid;
		return 0;
	}
	r = users_ask(users, user, name, waiter, &nick);
	if (r)
		return r;
	if (nick->query.status == NSS_FOUND)
		*ret_uid = nick->query.answer.uid;
	else if (nick->owner)
		*ret_uid = nick->owner->uid;
	else
		return USERS_E_NONE;
	return 0;
}

/* "NAME UID", the key of a person; returns its length. */
static size_t person_key(char *dst, struct text name, uid_t uid)
{
	memcpy(dst, name.data, name.len);
	dst[name.len] = ' ';
	return name.len + 1 + number_put(dst + name.len + 1, uid);
}

struct person *users_find_person(struct users *users, struct text name, uid_t uid)
{
	char key[sizeof((struct person *)0)->key + NUMBER_DECIMAL_MAX];
	struct table_link *link;

	link = table_find(&users->persons, (struct text){ key, person_key(key, name, uid) });
	return link ? container_of(link, struct person, link) : NULL;
}

int users_get_person(
	struct users *users, struct user *user, struct text name, struct person **ret_person)
{
	struct person *person = users_find_person(users, name, user->uid);
	char own[NAME_LEN_MAX + 1];
	int n;

	if (person) {
		*ret_person = person;
		return 0;
	}
	person = calloc(1, sizeof *person);
	if (!person)
		return -ENOMEM;
	memcpy(person->name, name.data, name.len);
	list_init(&person->sessions);
	person->uid_end = person_key(person->key, name, user->uid);
	user_default_name(user, own);
	n = snprintf(person->author, sizeof person->author, "%.*s%s%s", (int)person->uid_end,
		person->key, strcmp(own, person->name) ? " of=" : "",
		strcmp(own, person->name) ? own : "");
	person->author_len = (size_t)n;
	if (table_add(&users->persons, &person->link,
		    (struct text){ person->key, person->uid_end }) < 0) {
		free(person);
		return -ENOMEM;
	}
	person->user = user_ref(user);
	*ret_person = person;
	return 0;
}

void users_put_person(struct users *users, struct person *person)
{
	struct table_link *link;

	if (!person || !list_is_empty(&person->sessions))
		return;
	link = table_find(&users->by_name, text_of(person->name));
	if (link) {
		struct nick *nick = container_of(link, struct nick, link);

		nick->used_at = users->now;
		if (nick->owner)
			nick_tell(users, nick, false);
	}
	table_remove(&users->persons, &person->link);
	users_put(users, person->user);
	free(person);
}
