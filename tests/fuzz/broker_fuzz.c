/* broker_fuzz.c - a whole broker, and four clients that do what the input says.
 *
 * The input is a script. Its first byte says how the broker is set up: 't' with tight
 * limits, 'l' with look-ups that come late, 'b' with both. Then each byte is a command:
 *
 *	0 to 7	go on as this client; it is connected, as user N % 4, when it is not
 *	>TEXT\0	send a packet		{TEXT\0	send a batch of the frames between \x1e
 *	=L H ..	send a packet of L + 256 H bytes
 *	+L H N	say a message of L + 256 H bytes in lobby, N times
 *	^TEXT\0	send a packet with a descriptor
 *	<N	receive N packets	*	receive what is there
 *	.	one round		~	rounds until all is quiet
 *	x	close			h	close for writing
 *	a	answer one look-up	f	fail all from now on, F: no more
 *	@N	N seconds pass		&N	N hours pass
 *
 * Other bytes mean nothing. peer.c checks what each client receives, rig.c the books.
 */
#include <string.h>
#include <sys/socket.h>

#include "protocol/base.h"
#include "protocol/record.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/peer.h"
#include "tests/fuzz/rig.h"

#define PEERS_MAX 8

/* Bytes of messages that one run may say with '+': what keeps it fast. */
#define SAID_MAX (4u << 20)

struct script {
	const uint8_t *at, *end;
	struct rig rig;
	struct peer peers[PEERS_MAX];
	struct peer *peer;
	size_t n_said;
};

static unsigned script_byte(struct script *script)
{
	return script->at < script->end ? *script->at++ : 0;
}

/* Up to the next NUL, which is taken, too. */
static struct text script_text(struct script *script)
{
	size_t left = (size_t)(script->end - script->at);
	const uint8_t *end = left > 0 ? memchr(script->at, 0, left) : NULL;
	struct text text = { (const char *)script->at, end ? (size_t)(end - script->at) : left };

	script->at += text.len + (end != NULL);
	return text;
}

static struct text script_bytes(struct script *script)
{
	size_t len = script_byte(script), left;
	struct text text;

	len += (size_t)script_byte(script) << 8;
	left = (size_t)(script->end - script->at);
	text = (struct text){ (const char *)script->at, MIN(len, left) };
	script->at += text.len;
	return text;
}

static void script_connect(struct script *script, unsigned number)
{
	script->peer = &script->peers[number];
	if (script->peer->fd >= 0 || script->rig.broker.is_stopping)
		return;
	peer_open(script->peer, rig_connect(&script->rig, number % RIG_USERS));
	EXPECT(script->peer->fd >= 0);
}

static void script_batch(struct script *script)
{
	static char batch[PACKET_LEN_MAX];
	struct text text = script_text(script);
	size_t len = BATCH_START_LEN;

	memcpy(batch, BATCH_START, BATCH_START_LEN);
	while (text.len > 0) {
		const char *cut = memchr(text.data, '\x1e', text.len);
		size_t n = cut ? (size_t)(cut - text.data) : text.len;

		if (len + record_size(n) > sizeof batch)
			break;
		memcpy(batch + len + RECORD_HEADER_LEN, text.data, n);
		record_close(batch + len, n);
		len += record_size(n);
		text.data += n + (cut != NULL);
		text.len -= n + (cut != NULL);
	}
	peer_send(script->peer, (struct text){ batch, len });
}

static void script_say(struct script *script)
{
	static char packet[PACKET_LEN_MAX + 64];
	size_t len = script_byte(script);
	unsigned n;

	len += (size_t)script_byte(script) << 8;
	n = script_byte(script);
	memcpy(packet, "SAY lobby\n", 10);
	for (; n > 0 && script->n_said + len < SAID_MAX; n--) {
		memset(packet + 10, 'a' + (int)(n % 26), len);
		peer_send(script->peer, (struct text){ packet, 10 + len });
		script->n_said += len;
		broker_round(&script->rig.broker, 0);
	}
}

static void script_step(struct script *script)
{
	struct rig *rig = &script->rig;
	unsigned command = script_byte(script);

	switch (command) {
	case '0' ... '7':
		script_connect(script, command - '0');
		break;
	case '>':
		peer_send(script->peer, script_text(script));
		break;
	case '{':
		script_batch(script);
		break;
	case '=':
		peer_send(script->peer, script_bytes(script));
		break;
	case '+':
		script_say(script);
		break;
	case '^':
		peer_send_descriptor(script->peer, script_text(script));
		break;
	case '<':
		(void)peer_receive(script->peer, script_byte(script));
		break;
	case '*':
		(void)peer_receive(script->peer, ~0u);
		break;
	case '.':
		broker_round(&rig->broker, 0);
		break;
	case '~':
		rig_settle(rig);
		rig_audit(rig);
		break;
	case 'x':
		peer_close(script->peer);
		break;
	case 'h':
		if (script->peer->fd >= 0)
			shutdown(script->peer->fd, SHUT_WR);
		break;
	case 'a':
		rig_answer(rig, 1);
		break;
	case 'f':
	case 'F':
		rig_set_names(rig, command == 'f' ? RIG_NAMES_FAIL : RIG_NAMES_NOW);
		break;
	case '@':
		rig_add_time(script_byte(script) * UINT64_C(1000000000));
		break;
	case '&':
		rig_add_time(script_byte(script) * UINT64_C(3600000000000));
		break;
	}
}

/* Each client takes all that it is owed. */
static void script_drain(struct script *script)
{
	unsigned n;

	do {
		rig_settle(&script->rig);
		rig_audit(&script->rig);
		n = 0;
		for (size_t i = 0; i < PEERS_MAX; i++)
			n += peer_receive(&script->peers[i], ~0u);
	} while (n > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static struct script script;
	unsigned setup;

	script = (struct script){ .at = data, .end = data + len, .peer = script.peers };
	for (size_t i = 0; i < PEERS_MAX; i++)
		script.peers[i].fd = -1;
	setup = script_byte(&script);
	EXPECT(rig_init(&script.rig, setup == 't' || setup == 'b') == 0);
	if (setup == 'l' || setup == 'b')
		rig_set_names(&script.rig, RIG_NAMES_LATER);
	while (script.at < script.end)
		script_step(&script);
	script_drain(&script);
	if (script.rig.broker.is_stopping) {
		rig_add_time(BROKER_STOP_NS);
		rig_settle(&script.rig);
		EXPECT(script.rig.broker.n_sessions == 0);
	}
	rig_deinit(&script.rig);
	for (size_t i = 0; i < PEERS_MAX; i++) {
		(void)peer_receive(&script.peers[i], ~0u);
		peer_close(&script.peers[i]);
	}
	return 0;
}
