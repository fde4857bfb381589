"""What goes through shared memory: who is measured, at what, and the goals.

Each peer is a program made of lane_main.c and one implementation of lane.h: two processes
on two processors. With libchat a broker is there, which takes no part in what is said in a
room that it does not keep; RouDi does the same for iceoryx. libqb-ring, ring (which is
protocol/ring.h without anything else) and the limits have no third process.
"""

from peers import Peer, chat
from works import Column, Goal, Section, Work

KIB, MIB = 1 << 10, 1 << 20
CAPACITY = 4 * MIB  # what libchat takes
CAPACITIES = (256 * KIB, MIB, 2 * MIB, 4 * MIB, 8 * MIB, 16 * MIB)
SIZES = {64: '64 B', 1024: '1 KiB', 16384: '16 KiB'}
READERS = 3


def lane(name, program, works, *, argv=(), address='-', **more):
    return Peer(name, f'bench-lane-{program}', list(argv), address,
                works=tuple(f'ring-{w}' for w in works), is_ring=True, **more)


TRIPS = ('trip', 'trip-asleep')
RATES = ('rate-*',)
OURS = (*TRIPS, 'calls', *RATES, 'flood-*', 'readers')

PEERS = [
    chat('libchat', client='bench-lane-chat', works=('ring-trip*', 'ring-calls', 'ring-rate-*',
                                                     'ring-flood-*', 'ring-readers'),
         is_ring=True, notes='CHAT_FAST | CHAT_EPHEMERAL; CHAT_LOOK=0 but for ring-trip-look; '
         'polling is chat_receive() with a timeout of 0'),
    chat('libchat-kept', env={'LANE_KEPT': '1'}, client='bench-lane-chat',
         works=('ring-rate-*', 'ring-flood-*'), is_ring=True,
         notes='CHAT_FAST: the broker archives all of it'),
    lane('ring', 'ring', (*OURS, 'capacity-*'), kind='ours',
         notes='ring_put(), a fence, waker_wake(); ring_get()'),
    lane('ring-timed', 'ring', ('trip', 'rate-*'), kind='ours', env={'LANE_TIME': '1'},
         notes='and clock_gettime() for every message'),
    lane('ring-silent', 'ring', ('trip', *RATES, 'flood-*', 'readers'), kind='ours',
         env={'LANE_SILENT': '1'}, notes='ring_put() only, nobody is ever woken'),
    lane('iceoryx', 'iceoryx', (*TRIPS, 'calls', *RATES),
         argv=['iox-roudi', '-c', '{dir}/roudi.toml', '-m', 'off', '-l', 'off'],
         packages='iceoryx libiceoryx-posh-dev libiceoryx-hoofs-dev g++', says_ready=True,
         files={'roudi.toml': '[general]\n'
                              'version = 1\n'
                              '[[segment]]\n'
                              '[[segment.mempool]]\n'
                              'size = 128\n'
                              'count = 10000\n'
                              '[[segment.mempool]]\n'
                              'size = 1024\n'
                              'count = 2000\n'
                              '[[segment.mempool]]\n'
                              'size = 16448\n'
                              'count = 1000\n'},
         leaves=('/dev/shm/iceoryx_mgmt', '/dev/shm/{group}', '/tmp/roudi', '/tmp/roudi.lock',
                 '/tmp/iox-unique-roudi.lock', '/tmp/chat-bench-*', '/dev/shm/chat-bench-*'),
         notes='untyped API, copied in and out; a queue of 256, the publisher waits'),
    lane('libqb-ring', 'qb', (*TRIPS, *RATES), packages=' libqb-dev',
         leaves=('/dev/shm/qb-chat-bench-*',),
         notes='qb_rb: one ring of libqb for each direction, with its semaphore'),
    lane('bare', 'bare', (*TRIPS, *RATES), kind='limit',
         notes='a word and a payload for each direction; a ring with two counters'),
    lane('bare-256k', 'bare', RATES, kind='limit', env={'LANE_CAPACITY': str(256 * KIB)},
         notes='the same ring, smaller'),
]


def rate(name, size, burst=1, window=CAPACITY // 2, capacity=CAPACITY):
    numbers = (size, burst, window, capacity)
    return Work(f'ring-{name}', ['rate', *map(str, numbers)], 1.7, is_ring=True)


def capacity_name(capacity):
    return f'{capacity // MIB} MiB' if capacity >= MIB else f'{capacity // KIB} KiB'


def capacity_work(size, capacity):
    return f'capacity-{size}-' + capacity_name(capacity).replace(' ', '-')


STREAMS = {  # name: size, burst, title
    '64': (64, 1, '64 B'),
    '64-more-16': (64, 16, 'bursts of 16'),
    '64-more-64': (64, 64, 'bursts of 64'),
    '1024': (1024, 1, '1 KiB'),
    '1024-more-16': (1024, 16, 'bursts of 16'),
    '16384': (16384, 1, '16 KiB'),
}

WORKS = [
    Work('ring-trip', ['trip', '64', 'polls'], 0.4, is_ring=True),
    Work('ring-trip-asleep', ['trip', '64', 'sleeps'], 2, is_ring=True),
    Work('ring-trip-look', ['trip', '64', 'looks'], 0.4, is_ring=True),
    Work('ring-calls', ['calls', '64'], 0.5, is_ring=True),
    *(rate(f'rate-{name}', size, burst) for name, (size, burst, _) in STREAMS.items()),
    *(rate(f'flood-{name}', size, burst, window=0) for name, (size, burst, _) in STREAMS.items()),
    Work('ring-readers', ['readers', '64', str(READERS), str(CAPACITY)], 2.5, is_ring=True),
    *(rate(capacity_work(size, c), size, window=c // 2, capacity=c)
      for size in SIZES for c in CAPACITIES),
]


def ratio(text, first, second, **bound):
    """FIRST and SECOND are (peer, work without ring-, metric)."""
    keys = [(peer, f'ring-{work}', metric) for peer, work, metric in (first, second)]
    return Goal(text, keys, **bound)


def trip_goal(peer, work, other, at_most):
    return ratio(f'{peer} to {other}', (peer, work, 'p50_us'), (other, work, 'p50_us'),
                 at_most=at_most)


def rate_goal(work, other, at_least):
    size, burst, _ = STREAMS[work]
    more = f', bursts of {burst}' if burst > 1 else ''
    return ratio(f'libchat to {other}, {SIZES[size]}{more}', ('libchat', f'rate-{work}',
                 'deliveries_s'), (other, f'rate-{work}', 'deliveries_s'), at_least=at_least)


def stream_columns(prefix, metric):
    return [Column(title, f'ring-{prefix}-{name}', metric)
            for name, (_, _, title) in STREAMS.items()]


SECTIONS = [
    Section('Shared memory, 64 B there and back, both sides poll: microseconds', [
        Column('p50', 'ring-trip', 'p50_us'),
        Column('p99', 'ring-trip', 'p99_us'),
        Column('p99.9', 'ring-trip', 'p999_us'),
    ], more_is_better=False, ratios=(
        ('ring', 'bare'), ('ring-timed', 'bare'), ('libchat', 'bare'), ('libchat', 'iceoryx'),
    ), goals=(
        trip_goal('ring-timed', 'trip', 'bare', 2.2),
        trip_goal('ring', 'trip', 'bare', 1.6),
        trip_goal('ring-timed', 'trip', 'iceoryx', 0.25),
        trip_goal('libchat', 'trip', 'iceoryx', 0.25),
    )),
    Section('The same, both sides sleep each time: microseconds', [
        Column('p50', 'ring-trip-asleep', 'p50_us'),
        Column('p99', 'ring-trip-asleep', 'p99_us'),
        Column('p99.9', 'ring-trip-asleep', 'p999_us'),
    ], more_is_better=False, ratios=(
        ('ring', 'bare'), ('libchat', 'bare'), ('libchat', 'iceoryx'),
    ), goals=(
        trip_goal('ring', 'trip-asleep', 'bare', 1.1),
        trip_goal('libchat', 'trip-asleep', 'bare', 1.1),
    )),
    Section('The same, as programs do: a look before each sleep: microseconds', [
        Column('p50', 'ring-trip-look', 'p50_us'),
        Column('p99', 'ring-trip-look', 'p99_us'),
        Column('p99.9', 'ring-trip-look', 'p999_us'),
    ], more_is_better=False, goals=(
        Goal('libchat', [('libchat', 'ring-trip-look', 'p50_us')], 0.5),
    )),
    Section('The same, polling: of 100 000 trips, those with a system call', [
        Column('either side', 'ring-calls', 'trips_with_calls'),
    ], more_is_better=False, goals=(
        Goal('ring', [('ring', 'ring-calls', 'trips_with_calls')]),
        Goal('libchat', [('libchat', 'ring-calls', 'trips_with_calls')]),
    )),
    Section('Shared memory, one publisher, one reader that is waited for: deliveries/s',
            stream_columns('rate', 'deliveries_s'), ratios=(
                ('libchat', 'iceoryx'), ('libchat', 'libqb-ring'), ('libchat', 'bare'),
                ('ring', 'bare'), ('libchat-kept', 'iceoryx'),
            ), goals=(
                rate_goal('64', 'iceoryx', 15),
                rate_goal('64-more-16', 'iceoryx', 25),
                rate_goal('64-more-64', 'iceoryx', 25),
                rate_goal('1024', 'iceoryx', 5),
                rate_goal('16384', 'bare', 0.7),
            )),
    Section('What of that came through the broker: percent',
            stream_columns('rate', 'detours_percent'), more_is_better=False,
            peers=('libchat*',)),
    Section('Processor that the broker used for it: percent',
            stream_columns('rate', 'broker_percent'), more_is_better=False,
            peers=('libchat*',)),
    Section('Nobody waits for the reader: deliveries/s',
            stream_columns('flood', 'deliveries_s')),
    Section('What the reader lost of that, and was told of: percent',
            stream_columns('flood', 'lost_percent'), more_is_better=False),
    Section('Nobody waits for the readers, 64 B, all of them on one processor: the '
            "publisher's processor time for a message, ns", [
                Column('1 reader', 'ring-readers', 'one_ns'),
                Column(f'{READERS} readers', 'ring-readers', 'many_ns'),
                Column("publisher's rate with them", 'ring-readers', 'rate_ratio'),
            ], more_is_better=False, goals=[
                Goal(f"{peer}, the publisher's rate for {READERS} readers to that for 1",
                     [(peer, 'ring-readers', 'rate_ratio')], at_least=0.95)
                for peer in ('ring', 'ring-silent', 'libchat')
            ]),
    *(Section(f'By capacity of the ring, {title}: deliveries/s', [
        Column(capacity_name(c), f'ring-{capacity_work(size, c)}', 'deliveries_s')
        for c in CAPACITIES]) for size, title in SIZES.items()),
]
