/* rig.h - a whole broker in this process: no files, no thread, a clock that goes by looks.
 *
 * The linker puts the user data base and the clock of rig.c in the place of the real
 * ones (-Wl,--wrap), so a run is the same each time.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "broker/broker.h"
#include "broker/session.h"

/* The users there are: root, the broker's own, a Unix user, and one without a name. */
#define RIG_USERS 4
extern const uid_t rig_uids[RIG_USERS];

struct rig {
	struct broker broker;
	struct broker_config config;
};

/* How look-ups are answered: at once, when rig_answer() is called, or with an error. */
enum rig_names {
	RIG_NAMES_NOW,
	RIG_NAMES_LATER,
	RIG_NAMES_FAIL,
};

/* Returns what broker_init() does; rig_deinit() is due in any case. TIGHT: with limits
 * that a small script reaches. The quotas assert that nothing is left. */
int rig_init(struct rig *rig, bool tight);
void rig_deinit(struct rig *rig);

void rig_set_names(struct rig *rig, enum rig_names names);
void rig_answer(struct rig *rig, unsigned n_answers);
void rig_add_time(uint64_t ns);

/* Connect a client of rig_uids[USER]. Returns its end or -errno. */
int rig_connect(struct rig *rig, unsigned user);

/* Rounds until nothing happens any more; that must come. */
void rig_settle(struct rig *rig);

/* Everything that is counted is counted again. */
void rig_audit(struct rig *rig);
