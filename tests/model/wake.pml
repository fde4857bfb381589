/* wake.pml - is every message read, though readers sleep? chat-ring(7), section WAKING.
 *
 * For spin(1). One of these is chosen with -D:
 *
 *	SEMAPHORE   publishers wake a reader that sleeps on a semaphore (protocol/waker.c,
 *	            client/fast.c: fast_ring(), fast_sleep_on_semaphore())
 *	EVENTFD     the same with an eventfd and the word that says "I sleep"
 *	RELAY       a publisher rings the broker's bell, the broker wakes the reader, until
 *	            the publisher is told how to (broker/fastpath.c: fast_arm(), fast_turn(),
 *	            fast_relay(), fast_took()). With SWEEP, the broker also takes from the
 *	            ring out of turn (broker/feed.c: room_sweep_feeds()).
 *
 * Memory is that of x86: a store waits in its processor's buffer, for as long as it likes
 * or until a fence. A stored word is two variables: X is what its writer stored, X_seen
 * what the others read; process Buffers carries over, in order. A process that is killed
 * leaves its buffer to be carried over.
 *
 * KILL_PUBLISHER and KILL_BROKER let these be killed at any step, or not. A bounded wait
 * runs out only in a world in which a broker was killed; so without that, it is never what
 * helps. When nothing moves any more, Monitor asserts that all that was put is read.
 *
 * The names of what can be left out, for tests/model/mutants, begin with NO_ or WITH_.
 */

#ifndef N
#define N 2 /* messages of each publisher */
#endif
#ifdef RELAY
#define PUBLISHERS 1
#elif !defined(PUBLISHERS)
#define PUBLISHERS 2
#endif

byte put[PUBLISHERS], put_seen[PUBLISHERS];  /* records: commit words that are not 0 */
byte got[PUBLISHERS];                        /* by the reader */
bool publisher_is_dead[PUBLISHERS], broker_is_dead;
bool told[PUBLISHERS];                       /* the broker told the reader that it ended */

byte packets, packets_got;                   /* in the reader's socket; its counter */
byte tokens;                                 /* the semaphore, or the eventfd */
byte sleeps, sleeps_seen;                    /* odd: it sleeps */

#ifdef NO_PUBLISHER_FENCE
#define PUBLISHER_FENCE skip
#else
#define PUBLISHER_FENCE (put_seen[me] == put[me])
#endif

#ifdef NO_READER_FENCE
#define READER_FENCE skip
#else
#define READER_FENCE (sleeps_seen == sleeps)
#endif

#ifdef RELAY
byte bell, bell_seen; /* asked for by the broker; what others see of it */
byte taken;           /* by the broker */
bool is_direct;
bool has_waker;       /* the publisher knows the reader */
chan to_broker = [6] of { mtype };
chan to_publisher = [1] of { mtype };
mtype = { BELL, TOOK, SLEEPER, CLOSED };

#ifdef NO_ARM_FENCE
#define ARM_FENCE skip
#else
#define ARM_FENCE (bell_seen == bell)
#endif
#endif

/* protocol/waker.c: waker_wake(). WOKEN is the waker's memory of the sleep it ended. */
inline wake(woken, seen)
{
#ifdef SEMAPHORE
	seen = tokens;
	if
	:: seen == 0 -> tokens++
	:: else
	fi
#else
	seen = sleeps_seen;
	if
#ifdef NO_GENERATION
	:: seen % 2 == 1 && woken == 0 ->
#else
	:: seen % 2 == 1 && seen != woken ->
#endif
		woken = seen;
		tokens++
	:: else
	fi;
	seen = 0
#endif
}

/* The one who is woken has read more. */
inline look()
{
	atomic {
		got[0] = put_seen[0];
#if PUBLISHERS > 1
		got[1] = put_seen[1];
#endif
	}
}

#if PUBLISHERS > 1
#define IS_READY (put_seen[0] > got[0] || put_seen[1] > got[1] || packets > packets_got)
#else
#define IS_READY (put_seen[0] > got[0] || packets > packets_got)
#endif

active proctype Reader()
{
	do
	:: packets_got = packets; /* the counter first: client/fast.c, fast_note_look() */
		look();
#ifndef NO_DRAIN
		/* sleeper_begin() */
#ifdef SEMAPHORE
		do
		:: atomic { tokens > 0 -> tokens-- }
		:: tokens == 0 -> break
		od;
#elif defined(WITH_LATE_DRAIN)
		skip;
#else
		tokens = 0;
#endif
#endif
#ifndef SEMAPHORE
		sleeps++;
#endif
		READER_FENCE;
#ifdef WITH_LATE_DRAIN
		tokens = 0;
#endif
#ifndef NO_RECHECK
		if
		:: IS_READY -> goto rise
		:: else
		fi;
#endif
		if
#ifdef SEMAPHORE
		/* sleeper_wait(); the token is put back while awake */
		:: atomic { tokens > 0 -> tokens-- } ->
#ifndef NO_TOKEN_BACK
			tokens++
#endif
#else
		:: tokens > 0
		:: packets > packets_got /* the socket is polled as well */
#endif
#ifndef NO_BOUND
		:: broker_is_dead && (IS_READY)
#endif
		fi;
rise:
		skip;
#ifndef SEMAPHORE
		/* sleeper_end() */
		sleeps++;
		tokens = 0;
#endif
	od
}

#ifndef RELAY

proctype Publisher(byte me)
{
	byte woken, seen;

	{
		do
		:: put[me] < N ->
			put[me]++;
			PUBLISHER_FENCE;
			wake(woken, seen)
		:: put[me] == N -> break
		od
	} unless { publisher_is_dead[me] }
}

inline tell_end(publisher)
{
	(put_seen[publisher] == put[publisher]); /* a process is gone when its stores are out */
	told[publisher] = true;
#ifndef NO_BROKER_WAKE
	packets++; /* a fence follows; the counter is carried over by then */
	wake(woken, seen)
#endif
}

/* What the broker does for a dead publisher: it tells the reader through the socket, counts
 * the packet, and wakes. */
active proctype Broker()
{
	byte woken, seen;

	{
		do
		:: publisher_is_dead[0] && !told[0] -> tell_end(0)
#if PUBLISHERS > 1
		:: publisher_is_dead[1] && !told[1] -> tell_end(1)
#endif
		od
	} unless { broker_is_dead }
}

#else

active proctype Publisher()
{
	byte woken, seen, wanted;
	byte me;

	{
		do
		:: put[0] < N ->
			put[0]++;
			/* client/fast.c: fast_ring() */
			PUBLISHER_FENCE;
			if
			:: has_waker -> wake(woken, seen)
			:: else
			fi;
			if
			:: bell_seen != wanted ->
				wanted = bell_seen; /* a second look at it */
				to_broker!BELL
			:: else
			fi
		:: to_publisher?SLEEPER ->
			has_waker = true;
			to_broker!TOOK
		:: put[0] == N && has_waker -> break
		od
	} unless { publisher_is_dead[0] };
	if
	:: publisher_is_dead[0] ->
		(put_seen[0] == put[0]); /* a process is gone when its stores are out */
		to_broker!CLOSED
	:: else
	fi
}

#ifdef NO_RELAY_FENCE
#define RELAY_FENCE skip
#else
#define RELAY_FENCE (bell_seen == bell)
#endif

/* feed_drain(), and fast_relay() if it took something */
inline drain()
{
	before = taken;
	taken = put_seen[0];
	if
#ifdef WITH_SWEEP_UNTOLD
	:: taken != before && !is_direct ->
#else
	:: (taken != before || is_swept) && !is_direct ->
#endif
		RELAY_FENCE;
#ifndef NO_RELAY
		wake(woken, seen);
#endif
		is_swept = false
	:: else -> is_swept = false
	fi
}

active proctype Broker()
{
	byte before, woken, seen;
	mtype packet;
	bool has_bell, is_swept;

	do
	:: drain();
		/* fast_arm() */
		bell++;
		ARM_FENCE;
		if
#ifndef NO_ARM_RECHECK
		:: put_seen[0] > taken -> goto again
#endif
		:: else
		fi;
sleep_on:
		if
		:: to_broker?packet
#ifdef SWEEP
		:: put_seen[0] > taken -> taken = put_seen[0]; is_swept = true;
#ifndef WITH_SWEEP_UNTOLD
			goto again
#else
			goto sleep_on
#endif
#endif
		fi;
		if
		:: packet == BELL ->
			/* it lines up for a turn; packets behind it may come first */
			if
			:: goto again
			:: nempty(to_broker) -> goto sleep_on
			fi
		:: packet == CLOSED ->
			drain();
			packets++; /* UNRING, through the socket */
			break
		:: packet == TOOK ->
			is_direct = true;
			RELAY_FENCE;
#ifndef NO_WAKE_AT_TOOK
			wake(woken, seen)
#endif
		fi;
again:
		skip
	od
}

/* The broker tells the publisher of the reader at some moment, or it never comes to that. */
active proctype Match()
{
	if
	:: to_publisher!SLEEPER
	:: skip
	fi
}
#endif

active proctype Buffers()
{
end:
	do
	:: put_seen[0] < put[0] -> put_seen[0]++
#if PUBLISHERS > 1
	:: put_seen[1] < put[1] -> put_seen[1]++
#endif
#ifndef SEMAPHORE
	:: sleeps_seen != sleeps -> sleeps_seen++
#endif
#ifdef RELAY
	:: bell_seen != bell -> bell_seen++
#endif
	od
}

#ifdef KILL_PUBLISHER
active proctype KillPublisher()
{
	if
	:: publisher_is_dead[0] = true
	:: skip
	fi
}
#endif

#ifdef KILL_BROKER
/* Whoever polls sees its socket closed. */
active proctype KillBroker()
{
	if
	:: atomic { broker_is_dead = true; packets++ }
	:: skip
	fi
}
#endif

#ifndef RELAY
init {
	atomic {
		run Publisher(0);
#if PUBLISHERS > 1
		run Publisher(1)
#endif
	}
}
#endif

active proctype Monitor()
{
	timeout;
	assert(put_seen[0] == put[0] && got[0] == put[0]);
#if PUBLISHERS > 1
	assert(put_seen[1] == put[1] && got[1] == put[1])
#endif
}
