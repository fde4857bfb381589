/* main.c - chat-broker: argv in, exit status out. chat-broker(8). */
#include <errno.h>
#include <getopt.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>

#include "broker/backup.h"
#include "broker/broker.h"
#include "broker/home.h"
#include "broker/inspect.h"
#include "broker/ipc.h"
#include "broker/node.h"
#include "broker/rebuild.h"
#include "protocol/number.h"
#include "protocol/packet.h"

#define SOCKET_DEFAULT "/tmp/broker.sock"
#define CTL_DEFAULT    "/tmp/broker.ctl"

enum {
	OPTION_SOCKET,
	OPTION_CTL,
	OPTION_MODE,
	OPTION_GROUP,
	OPTION_ADMIN_GROUP,
	OPTION_LIMIT,
	OPTION_LIMITS,
	OPTION_LOOK,
	OPTION_STATE,
	OPTION_EPHEMERAL,
	OPTION_VERIFY,
	OPTION_DUMP,
	OPTION_BACKUP,
	OPTION_REBUILD,
	OPTION_LIST_IPC,
	OPTION_CLEAN_IPC,
	OPTION_TEST,
	OPTION_VERSION,
	OPTION_HELP,
};

static const struct {
	const char *name;
	const char *argument;
	const char *help;
} options[] = {
	[OPTION_SOCKET] = { "socket", "PATH", "listen there; @NAME is an abstract socket" },
	[OPTION_CTL] = { "ctl", "PATH", "the admin FIFO; none for no FIFO" },
	[OPTION_MODE] = { "mode", "MODE", "of the socket, octal (0666: every user may come)" },
	[OPTION_GROUP] = { "group", "GROUP", "of the socket" },
	[OPTION_ADMIN_GROUP] = { "admin-group", "GROUP", "may write the admin FIFO, too" },
	[OPTION_LIMIT] = { "limit", "[USER:]NAME=VALUE", "set one limit; may be given again" },
	[OPTION_LIMITS] = { "limits", "FILE", "read limits from FILE, again at SIGHUP" },
	[OPTION_LOOK] = { "look", "MICROSECONDS",
		"look for work so long before sleeping (100); 0 is off" },
	[OPTION_STATE] = { "state", "DIRECTORY", "store rooms there, not in the usual place" },
	[OPTION_EPHEMERAL] = { "ephemeral", NULL, "store nothing" },
	[OPTION_VERIFY] = { "verify", "DIRECTORY", "check what is stored there, then exit" },
	[OPTION_DUMP] = { "dump", "DIRECTORY", "print what is stored there of ROOM, then exit" },
	[OPTION_BACKUP] = { "backup", "DIRECTORY",
		"copy what is stored there to TARGET, also beside a broker, then exit" },
	[OPTION_REBUILD] = { "rebuild", "DIRECTORY",
		"make state.db there again from the files, then exit" },
	[OPTION_LIST_IPC] = { "list-ipc", NULL, "list this user's semaphores, then exit" },
	[OPTION_CLEAN_IPC] = { "clean-ipc", NULL,
		"remove those that no broker of this socket uses, then exit" },
	[OPTION_TEST] = { "test", NULL, "check the options and the limits, then exit" },
	[OPTION_VERSION] = { "version", NULL, "print the version" },
	[OPTION_HELP] = { "help", NULL, "print this" },
};

static void print_help(const struct settings *settings)
{
	char left[64];

	printf("usage: chat-broker [OPTION...]\n"
	       "Serve chat rooms on a local socket, in the foreground.\n\n");
	for (size_t i = 0; i < ARRAY_LEN(options); i++) {
		snprintf(left, sizeof left, "--%s%s%s", options[i].name,
			options[i].argument ? " " : "",
			options[i].argument ? options[i].argument : "");
		printf("  %-26s %s\n", left, options[i].help);
	}
	printf("\nLimits:\n");
	for (unsigned i = 0; i < LIMIT_COUNT; i++) {
		uint64_t min, max;

		limit_bounds(i, &min, &max);
		printf("  %-26s %lu (%lu to %lu)\n", limit_name(i),
			(unsigned long)settings->limit[i], (unsigned long)min, (unsigned long)max);
	}
	printf("\nAdmin commands (echo COMMAND > " CTL_DEFAULT "):\n");
	for (unsigned i = 0; admin_usage(i); i++)
		printf("  %s\n", admin_usage(i));
	printf("\nThe whole of it: man chat-broker\n");
}

_printf_(1, 2) static int usage(const char *format, ...)
{
	va_list ap;

	fprintf(stderr, "chat-broker: ");
	va_start(ap, format);
	vfprintf(stderr, format, ap);
	va_end(ap);
	fprintf(stderr, "; see chat-broker --help\n");
	return EX_USAGE;
}

static int group_parse(const char *word, gid_t *ret_group)
{
	struct group *group = getgrnam(word);
	uint64_t number;

	if (group)
		*ret_group = group->gr_gid;
	else if (number_parse(text_of(word), &number) && number < UINT32_MAX)
		*ret_group = (gid_t)number;
	else
		return usage("no group %s", word);
	return 0;
}

static int mode_parse(const char *word, mode_t *ret_mode)
{
	char *end;
	unsigned long mode = strtoul(word, &end, 8);

	if (word[0] < '0' || word[0] > '7' || *end || mode > 0777)
		return usage("--mode %s is not an octal mode", word);
	*ret_mode = (mode_t)mode;
	return 0;
}

static int socket_parse(const char *path, const char **ret_path)
{
	struct sockaddr_un address;
	socklen_t len;
	int r = packet_address(path, &address, &len);

	if (r == -ENAMETOOLONG)
		return usage("--socket: the path is longer than %zu bytes, the limit of unix(7)",
			sizeof address.sun_path - 1);
	if (r < 0)
		return usage("--socket: the path is empty");
	*ret_path = path;
	return 0;
}

static int option_parse(struct broker_config *config, int option, char *argument)
{
	int r;

	switch (option) {
	case OPTION_SOCKET:
		return socket_parse(argument, &config->socket);
	case OPTION_CTL:
		if (!argument[0])
			return usage("--ctl: the path is empty");
		config->ctl = strcmp(argument, "none") ? argument : NULL;
		return 0;
	case OPTION_MODE:
		return mode_parse(argument, &config->mode);
	case OPTION_GROUP:
		return group_parse(argument, &config->group);
	case OPTION_ADMIN_GROUP:
		return group_parse(argument, &config->admin_group);
	case OPTION_LIMIT:
		r = settings_set(&config->settings, text_of(argument));
		return r ? usage("--limit %s: %s", argument, settings_strerror(r)) : 0;
	case OPTION_LOOK:
		if (!number_parse_within(text_of(argument), 0, LOOK_US_MAX, &config->look_us))
			return usage("--look %s is not a number of microseconds up to %d", argument,
				LOOK_US_MAX);
		return 0;
	case OPTION_STATE:
		if (!argument[0])
			return usage("--state: the path is empty");
		if (argument[0] == '-')
			return usage(
				"--state needs a directory; one of that name is ./%s", argument);
		config->state = argument;
		return 0;
	default: /* OPTION_LIMITS */
		config->limits_path = argument;
		return 0;
	}
}

/* *ret_mode: the mode, if the broker is not to serve; *ret_operand: the room to dump, or the target
 * of a backup. *ret_home: no option names the place to store. */
static int options_parse(struct broker_config *config, int argc, char **argv, int *ret_mode,
	const char **ret_operand, bool *ret_home)
{
	struct option longs[ARRAY_LEN(options) + 1] = { 0 };
	bool has_operand;
	bool is_ephemeral = false;
	int option, r;

	for (size_t i = 0; i < ARRAY_LEN(options); i++)
		longs[i] = (struct option){ options[i].name,
			options[i].argument ? required_argument : no_argument, NULL, (int)i };
	opterr = 0;
	while ((option = getopt_long(argc, argv, ":", longs, NULL)) != -1) {
		switch (option) {
		case ':':
			return usage("%s needs a value", argv[optind - 1]);
		case '?':
			return usage("unknown option %s", argv[optind - 1]);
		case OPTION_HELP:
			print_help(&config->settings);
			return -1;
		case OPTION_VERSION:
			printf("chat-broker %s\n", CHAT_VERSION);
			return -1;
		case OPTION_VERIFY:
		case OPTION_DUMP:
		case OPTION_BACKUP:
		case OPTION_REBUILD:
			*ret_mode = option;
			config->state = optarg;
			break;
		case OPTION_EPHEMERAL:
			is_ephemeral = true;
			break;
		case OPTION_TEST:
		case OPTION_LIST_IPC:
		case OPTION_CLEAN_IPC:
			*ret_mode = option;
			break;
		default:
			r = option_parse(config, option, optarg);
			if (r)
				return r;
		}
	}
	has_operand = *ret_mode == OPTION_DUMP || *ret_mode == OPTION_BACKUP;
	if (has_operand && optind == argc)
		return usage("--%s needs a %s, too", options[*ret_mode].name,
			*ret_mode == OPTION_DUMP ? "room" : "target");
	if (optind + has_operand < argc)
		return usage("unexpected word %s", argv[optind + has_operand]);
	*ret_operand = argv[optind];
	if (is_ephemeral && config->state)
		return usage("--ephemeral stores nothing, and --state does");
	*ret_home = !is_ephemeral && !config->state;
	return 0;
}

/* A user that nobody knows is a typing error, most likely; the broker itself does not
 * mind, for accounts come and go. */
static int test_users(const struct settings *settings)
{
	for (size_t i = 0; i < settings->n_overrides; i++) {
		const char *user = settings->overrides[i].user;
		uint64_t uid;

		if (number_parse(text_of(user), &uid) || !strcmp(user, "strangers") ||
			getpwnam(user))
			continue;
		fprintf(stderr, "chat-broker: a limit is for %s, and there is no such user\n",
			user);
		return EX_CONFIG;
	}
	return 0;
}

static int test_settings(struct broker_config *config)
{
	unsigned line;
	int r;

	if (!config->limits_path)
		return test_users(&config->settings);
	r = settings_read(&config->settings, config->limits_path, &line);
	if (r && line > 0)
		fprintf(stderr, "chat-broker: %s, line %u: %s\n", config->limits_path, line,
			settings_strerror(r));
	else if (r)
		fprintf(stderr, "chat-broker: %s: %s\n", config->limits_path, settings_strerror(r));
	return r ? EX_CONFIG : test_users(&config->settings);
}

static int serve(const struct broker_config *config)
{
	static struct broker broker;
	int r;

	r = broker_init(&broker, config);
	if (r == 0)
		r = broker_run(&broker);
	broker_deinit(&broker);
	switch (r) {
	case 0:
		return 0;
	case BROKER_E_HELD:
		return EX_TEMPFAIL;
	case BROKER_E_FOREIGN:
		return EX_CANTCREAT;
	case BROKER_E_SETTINGS:
	case BROKER_E_USELESS:
		return EX_CONFIG;
	case BROKER_E_STATE:
		return EX_DATAERR;
	default:
		return EX_OSERR;
	}
}

/* ---- what a kill left behind ---- */

static void print_ipc(void *userdata, const char *name, bool is_of_socket)
{
	const char *socket = userdata;

	printf("/dev/shm/sem.%s%s%s\n", name, is_of_socket ? "  " : "  of another socket",
		is_of_socket ? socket : "");
}

static int list_ipc(const struct broker_config *config)
{
	int r = ipc_list(config->socket, print_ipc, (void *)config->socket);

	if (r < 0 && r != -ENOENT) {
		fprintf(stderr, "chat-broker: /dev/shm: %s\n", strerror(-r));
		return EX_OSERR;
	}
	return 0;
}

/* Only who holds the lock of the socket knows that nobody uses them. */
static int clean_ipc(const struct broker_config *config)
{
	char why[NODE_WHY_MAX];
	struct node_lock lock;
	int r;

	r = node_lock(&lock, config->socket, why);
	if (r) {
		if (r > 0)
			fprintf(stderr, "chat-broker: %s\n", why);
		else
			fprintf(stderr, "chat-broker: %s.lock: %s\n", config->socket, strerror(-r));
		return r == NODE_E_HELD ? EX_TEMPFAIL : EX_CANTCREAT;
	}
	r = ipc_clean(config->socket);
	node_unlock(&lock);
	printf("%d removed\n", r);
	return 0;
}

/* To store in the usual place. */
static int serve_at_home(struct broker_config *config)
{
	static char path[PATH_MAX];
	char why[HOME_WHY_MAX];

	if (home_find(path, why)) {
		fprintf(stderr, "chat-broker: %s; say --state DIRECTORY, or --ephemeral\n", why);
		return EX_CANTCREAT;
	}
	config->state = path;
	return serve(config);
}

/* A list or a backup that is cut off must not look whole. Returns STATUS, or EX_IOERR. */
static int finish_output(int status)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return status;
	fprintf(stderr, "chat-broker: standard output: %s; the output is incomplete\n",
		errno ? strerror(errno) : "write failed");
	return EX_IOERR;
}

static int run(struct broker_config *config, int mode, const char *operand, bool is_at_home)
{
	switch (mode) {
	case OPTION_TEST:
		return test_settings(config);
	case OPTION_LIST_IPC:
		return list_ipc(config);
	case OPTION_CLEAN_IPC:
		return clean_ipc(config);
	case OPTION_VERIFY:
		return inspect_verify(config->state);
	case OPTION_DUMP:
		return inspect_dump(config->state, operand);
	case OPTION_BACKUP:
		return backup(config->state, operand);
	case OPTION_REBUILD:
		return rebuild(config->state);
	default:
		return is_at_home ? serve_at_home(config) : serve(config);
	}
}

/* Signals that a read or a write can raise: a pipe that nobody reads, a file at the limit of
 * RLIMIT_FSIZE, a terminal in whose background this is. The call fails instead, and each
 * caller handles that; nothing ends or stops a broker because of its diagnostics. */
static void ignore_signals(void)
{
	static const int numbers[] = { SIGPIPE, SIGXFSZ, SIGTTIN, SIGTTOU };

	for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
		signal(numbers[i], SIG_IGN);
}

int main(int argc, char **argv)
{
	struct broker_config config = {
		.socket = SOCKET_DEFAULT,
		.ctl = CTL_DEFAULT,
		.mode = 0666,
		.group = (gid_t)-1,
		.admin_group = (gid_t)-1,
		.look_us = LOOK_US_DEFAULT,
	};
	const char *operand = NULL;
	bool is_at_home = false;
	int mode = -1, r;

	umask(077); /* files of the broker are for its user only, whatever umask it inherited */
	ignore_signals();
	if (sodium_init() < 0) {
		fprintf(stderr, "chat-broker: no random numbers from the system\n");
		return EX_OSERR;
	}
	settings_init(&config.settings);
	r = options_parse(&config, argc, argv, &mode, &operand, &is_at_home);
	if (r == 0)
		r = run(&config, mode, operand, is_at_home);
	settings_deinit(&config.settings);
	return finish_output(r < 0 ? 0 : r);
}
