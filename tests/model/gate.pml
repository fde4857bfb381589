/* gate.pml - is nothing overwritten that is still needed, and does nobody wait for ever?
 *
 * For spin(1). A publisher (protocol/ring.c: ring_extend(); client/chat.c: put_wait();
 * client/publication.c) puts N messages of one line each into a ring of CAPACITY lines,
 * two blocks. When the gate is closed, it rings the bell and waits for the answer. The
 * broker (broker/feed.c, broker/fastpath.c) takes what it sees, appends it to the log,
 * moves the gate, and answers. At the end the publisher waits until all was taken.
 *
 * KILL_BROKER lets the broker be killed at any step, or not: the log stays, the page with
 * the gate does not move any more, and there is a new broker. The publisher keeps the gate
 * that it saw, and offers the ring again from the oldest record that was not overwritten.
 * KILL_PUBLISHER does that to the publisher; the broker then takes what is left.
 *
 * Memory is that of x86, as in wake.pml. The order of stores within the ring is not looked
 * at here: ring_model.c does that.
 */

#ifndef N
#define N 7
#endif
#define CAPACITY 4
#define BLOCK    2

byte put, put_seen;                /* records; what others see of them */
byte horizon = 0;
byte cell[CAPACITY];               /* the number of the message that is there */
byte gate, gate_seen;              /* of the broker that lives: on its page, in lines */
byte page_gate;                    /* of the one that was killed */
byte own_gate;                     /* its own, while it has none */
byte taken_log;                    /* messages in the log */
bool is_up, is_settled;
bool broker_is_dead, publisher_is_dead, is_lost;

mtype = { BELL, OFFER, ANSWER, UP, CLOSED };
chan to_broker = [4] of { mtype, byte };
chan to_publisher = [4] of { mtype };

#define GATE (is_up -> (is_lost -> page_gate : gate_seen) : own_gate)

/* protocol/ring.c: ring_oldest(). A record is a line, so a mark is where one begins. */
byte oldest;
inline find_oldest()
{
	if
	:: horizon > CAPACITY -> oldest = horizon - CAPACITY
	:: else -> oldest = 0
	fi
}

/* What is sent to a broker that is gone is gone. */
inline send(verb, number)
{
	atomic {
		if
		:: is_lost
		:: !is_lost -> to_broker!verb, number
		fi
	}
}

/* The gate is closed: client/chat.c, put_wait(). */
inline ring_and_wait()
{
	if
	:: is_up && !is_lost ->
#ifndef NO_BELL
		send(BELL, 0);
#endif
		if
		:: to_publisher?ANSWER
		:: is_lost
		fi
	:: else -> resume()
	fi
}

/* The connection is lost; or new, and the ring is to be offered. */
inline resume()
{
	if
	:: is_lost ->
		/* publication_lose() */
		atomic {
			own_gate = GATE;
			is_up = false;
			is_lost = false
		}
		find_oldest();
#ifdef NO_OLDEST
		oldest = put;
#endif
#ifndef WITH_OLD_GATE
		/* what is offered is not overwritten until the answer is there */
		own_gate = oldest;
#endif
		send(OFFER, oldest)
	:: to_publisher?UP -> is_up = true
	:: to_publisher?ANSWER
	fi
}

active proctype Publisher()
{
	byte next;

	{
		send(OFFER, 0);
		do
		:: put < N && put + 2 <= horizon ->
		write:
			/* what was there must be in the log */
			atomic {
				assert(put < CAPACITY || taken_log > put - CAPACITY);
				cell[put % CAPACITY] = put + 1;
				put++
			}
		:: put < N && put + 2 > horizon ->
			next = ((put + 2 + BLOCK - 1) / BLOCK) * BLOCK;
			if
#ifdef WITH_GATE_A_BLOCK_OFF
			:: next > GATE + CAPACITY + BLOCK -> ring_and_wait()
			:: next <= GATE + CAPACITY + BLOCK -> horizon = next
#else
			:: next > GATE + CAPACITY -> ring_and_wait()
			:: next <= GATE + CAPACITY -> horizon = next
#endif
			fi
		:: is_lost -> resume()
		:: to_publisher?UP -> is_up = true
		:: to_publisher?ANSWER
		/* chat_flush() */
		:: put == N && is_up && GATE == put -> break
		:: put == N && !(is_up && GATE == put) -> ring_and_wait()
		od;
		is_settled = true
	} unless { publisher_is_dead };
	if
	:: publisher_is_dead ->
		(put_seen == put);
		to_broker!CLOSED, 0
	:: else
	fi
}

inline drain()
{
	do
	:: pos < put_seen && has_ring ->
		/* ring_get(): a lap would be found out, and the ring broken */
		number = cell[pos % CAPACITY];
		assert(number == pos + 1);
#ifdef WITH_GATE_FIRST
		gate = pos + 1;
#endif
		if
		:: number <= taken_log /* by an earlier broker */
		:: number > taken_log ->
			assert(number == taken_log + 1);
			taken_log = number
		fi;
		pos++;
#ifndef WITH_GATE_FIRST
		gate = pos
#endif
	:: pos == put_seen || !has_ring -> break
	od
}

proctype Broker()
{
	byte pos, number, at;
	bool has_ring;

	{
		do
		:: to_broker?OFFER, at ->
			pos = at;
			has_ring = true;
			gate = pos;
			to_publisher!UP;
			drain()
		:: to_broker?BELL, _ ->
			drain();
			to_publisher!ANSWER
		:: to_broker?CLOSED, _ ->
			drain()
		od
	} unless { broker_is_dead };
	/* there is a new one, with an empty page and its own sockets */
	atomic {
		do
		:: to_broker?number, at ->
			if
			:: number == CLOSED -> has_ring = true
			:: else
			fi
		:: empty(to_broker) -> break
		od;
		do
		:: to_publisher?_
		:: empty(to_publisher) -> break
		od;
		page_gate = gate;
		gate = 0;
		gate_seen = 0;
		broker_is_dead = false;
		is_lost = true;
		run Broker()
	}
}

active proctype Buffers()
{
	do
	:: put_seen < put -> put_seen++
	:: gate_seen != gate -> gate_seen = gate
	od
}

#ifdef KILL_BROKER
active proctype KillBroker()
{
	if
	:: broker_is_dead = true
	:: skip
	fi
}
#endif

#ifdef KILL_PUBLISHER
active proctype KillPublisher()
{
	if
	:: publisher_is_dead = true
	:: skip
	fi
}
#endif

init {
	run Broker()
}

active proctype Monitor()
{
	timeout;
	assert(taken_log == put && (publisher_is_dead || is_settled))
}
