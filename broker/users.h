/* users.h - the Unix users that are or were here, and which names are theirs.
 *
 * chat-protocol(7), section Names. A user row lives while anything refers to it,
 * and a while longer, so that a script that connects each second costs one
 * look-up a minute. What must be looked up is awaited: the caller gives a list
 * link, is told USERS_E_WAIT, and is woken through users.wake when it is known.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "broker/age.h"
#include "broker/list.h"
#include "broker/nss.h"
#include "broker/quota.h"
#include "broker/settings.h"
#include "broker/table.h"

#define USERS_IDLE_MAX 1024 /* rows kept for users that are gone, and of names asked for */
#define USERS_FRESH_NS (UINT64_C(60) * 1000000000)
#define USERS_RETRY_NS (UINT64_C(1) * 1000000000)
#define NICK_IDLE_NS   (UINT64_C(90) * 24 * 3600 * 1000000000)
#define AUTHOR_LEN_MAX 96

struct user {
	struct table_link link; /* in users.by_uid */
	struct list idle_link;
	struct list waiters;
	struct nss_query query;
	uint64_t asked_at;
	uid_t uid;
	bool is_known;               /* query was answered once */
	char name[NAME_LEN_MAX + 1]; /* of the Unix user; "" when it has none that fits */
	unsigned refs;
	struct quota_account own;
	struct quota_account *account; /* own, or the one that unknown users share */
	struct list nicks;
};

/* What is known of one name: whether it is a Unix user's, and who took it. */
struct nick {
	struct table_link link; /* in users.by_name */
	struct list idle_link;  /* while nobody owns it: in one of users.idle_nicks */
	struct list owner_link; /* in user.nicks */
	struct list waiters;
	struct nss_query query;
	uint64_t asked_at;
	struct user *owner; /* a reference, or NULL */
	uint64_t used_at;
	char name[NAME_LEN_MAX + 1];
};

/* A name and the user that speaks under it: one person, at any number of terminals. */
struct person {
	struct table_link link; /* in users.persons */
	struct list sessions;   /* owned by the sessions; the person goes with the last */
	struct user *user;      /* a reference */
	char key[NAME_LEN_MAX + 1 + 11];
	char name[NAME_LEN_MAX + 1];
	char author[AUTHOR_LEN_MAX]; /* "NAME UID" or "NAME UID of=USER", as in MSG */
	size_t author_len;
	size_t uid_end; /* length of "NAME UID" */
};

/* Names that nobody owns, by what goes first when there are too many. */
enum {
	NICKS_NONE,  /* no Unix user's: anybody can ask for such names without end */
	NICKS_FOUND, /* a Unix user's */
	NICKS_ASKED, /* somebody waits for the answer: it stays */
	NICKS_KINDS,
};

struct users {
	struct table by_uid, by_name, persons;
	struct list idle_users, idle_strangers; /* the second ones go first */
	struct list idle_nicks[NICKS_KINDS];
	unsigned n_idle_users, n_idle_nicks; /* of all kinds */
	struct quota_account strangers;
	struct list accounts;  /* of every user that has its own, and the strangers' */
	struct list throttled; /* accounts that are over their rate; see throttle.h */
	uint64_t next_account;
	const struct settings *settings; /* borrowed */
	struct nss nss;
	uid_t self;
	uint64_t now;    /* CLOCK_MONOTONIC ns, kept by the loop */
	uint32_t second; /* the same in s, of all meters */
	struct age age;  /* turned each second */
	void (*wake)(struct list *waiter);
	void (*evict)(struct person *person); /* its name went to its Unix user */
	/* A name is somebody else's or nobody's now; or, when it is not IS_TAKEN, it was in use. */
	void (*named)(struct users *users, const struct nick *nick, bool is_taken);
};

enum {
	USERS_E_WAIT = 1,
	USERS_E_NAME,  /* outside the grammar */
	USERS_E_TAKEN, /* somebody else's */
	USERS_E_RESERVED,
	USERS_E_NONE, /* nobody's */
	USERS_E_QUOTA,
	USERS_E_AGAIN, /* the database did not answer */
	USERS_E_BUSY,  /* too many look-ups wait */
};

/* Returns 0 or -errno. SETTINGS is borrowed; wake and evict are set by the caller. */
int users_init(struct users *users, const struct settings *settings);
/* Returns what nss_deinit() does; on -EBUSY nothing was freed. */
int users_deinit(struct users *users);

/* Take the answers that are there and wake who waited. Call when nss.worker.fd is readable. */
void users_dispatch(struct users *users);

/* The limits changed: set every account anew. */
void users_apply_settings(struct users *users);

/* The row of UID, without a reference, or NULL: there is none. */
struct user *users_find(const struct users *users, uid_t uid);

/* The row of UID, with a reference for the caller. Returns 0, -ENOMEM. */
int users_get(struct users *users, uid_t uid, struct user **ret_user);
struct user *user_ref(struct user *user);
void users_put(struct users *users, struct user *user);

/* Make sure that the Unix user's name is known and fresh. Returns 0, USERS_E_WAIT
 * (WAITER was queued), USERS_E_AGAIN, USERS_E_BUSY. */
int users_await(struct users *users, struct user *user, struct list *waiter);

/* The name that USER has without asking: its Unix name, or uN. RET_NAME holds
 * NAME_LEN_MAX + 1 bytes. */
void user_default_name(const struct user *user, char *ret_name);

/* May USER speak as NAME? If it is free, it is USER's now. Returns 0 or an outcome
 * (USERS_E_NAME, _TAKEN, _QUOTA, _WAIT, _AGAIN, _BUSY) or -ENOMEM. */
int users_claim(struct users *users, struct user *user, struct text name, struct list *waiter);

/* NAME was taken by UID, and last used IDLE_NS ago; with (uid_t)-1 it is nobody's. -ENOMEM. */
int users_restore_name(struct users *users, struct text name, uid_t uid, uint64_t idle_ns);

/* Whose is NAME? USER asks. Returns 0 with the uid or an outcome (USERS_E_NAME, _NONE, _WAIT,
 * _AGAIN, _BUSY) or -ENOMEM. */
int users_resolve(struct users *users, struct user *user, struct text name, struct list *waiter,
	uid_t *ret_uid);

/* The person NAME of USER; the first session that asks makes it. -ENOMEM. */
int users_get_person(
	struct users *users, struct user *user, struct text name, struct person **ret_person);
struct person *users_find_person(struct users *users, struct text name, uid_t uid);
/* Free it, when its last session is gone. */
void users_put_person(struct users *users, struct person *person);
