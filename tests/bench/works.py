"""What is measured, in which tables it is shown, and the goals."""

from dataclasses import dataclass

from peers import NOBODY


@dataclass
class Work:
    name: str
    argv: list            # for the client, see main.c
    seconds: float        # about, for each peer
    one_cpu: bool = False  # broker and clients share a processor
    peers: tuple = ('*',)  # patterns of those it is for
    client: str = ''      # measured by this program, not by the peer's
    as_root: bool = False  # if root measures, the client needs it
    is_ring: bool = False  # see rings.py

    def arguments(self, peer):
        argv = list(self.argv)
        if argv[0] == 'flow' and peer.window_max:
            argv[4] = str(min(int(argv[4]), peer.window_max))
        return argv


def flow(name, publishers, subscribers, size, window, *rooms, **more):
    numbers = (publishers, subscribers, size, window, *rooms)
    return Work(name, ['flow', *map(str, numbers)], 1.8, **more)


DAEMON = 1  # a user of every system who is neither root nor NOBODY
SIZES = (10, 100, 1000, 10000)
WINDOWS = {256: 'window-256', 1024: '1to1-64', 4096: 'window-4096', 16384: 'window-16384'}
BOTH = ('chat-broker', 'chat-broker-raw')


WORKS = [
    flow('1to1-64', 1, 1, 64, 1024),
    flow('1to1-1024', 1, 1, 1024, 1024),
    flow('1to1-16384', 1, 1, 16384, 128),
    flow('1to10-64', 1, 10, 64, 512),
    flow('1to100-64', 1, 100, 64, 128),
    flow('10to1-64', 10, 1, 64, 1024),
    *(flow(work, 1, 1, 64, window) for window, work in WINDOWS.items() if work != '1to1-64'),
    Work('echo', ['echo', '64'], 2.5),
    Work('echo-one-cpu', ['echo', '64'], 1.5, one_cpu=True),
    Work('idle-1000', ['idle', '1000'], 3),
    Work('idle-10000', ['idle', '10000'], 6),
    *(flow(f'subscribers-{n}', 1, n, 64, 128, peers=BOTH) for n in SIZES),
    *(flow(f'rooms-{n}', 1, 1, 64, 1024, n, 256, peers=BOTH) for n in SIZES),
    *(flow(f'scattered-{n}', 1, 1, 64, 1024, n, 1, peers=BOTH) for n in SIZES),
    # two users, and how often a quiet window and a disturbed one
    Work('disturbed', [str(NOBODY), str(DAEMON), '3'], 12, peers=('chat-broker',),
         client='bench-disturbed', as_root=True),
]


@dataclass
class Column:
    title: str
    work: str
    metric: str
    goal: float = 0       # chat-broker to the best peer; 0: none
    without: tuple = ()   # who is not asked for that


@dataclass
class Section:
    title: str
    columns: list
    more_is_better: bool = True
    goals: tuple = ()     # more of them
    ratios: tuple = ()    # (peer, other), of each column
    peers: tuple = ('*',)  # patterns of those that are shown


@dataclass
class Goal:
    """Of the medians at (peer, work, metric): the first, its ratio to the second if there
    are two, the greatest to the least if there are more."""
    text: str
    keys: list
    at_most: float = 0
    at_least: float = 0


def series(peer, works, metric):
    return [(peer, f'{works}-{n}', metric) for n in SIZES]


ROOMS = ('By rooms, one subscriber in all of them, one publisher goes round them with {}, 64 B, '
         'W = 1024: deliveries/s')

SECTIONS = [
    Section('One publisher, one subscriber: deliveries/s', [
        Column('64 B', '1to1-64', 'deliveries_s', 1.6),
        Column('1 KiB', '1to1-1024', 'deliveries_s', 1.5),
        Column('16 KiB', '1to1-16384', 'deliveries_s', 1.5, without=('libqb',)),
    ]),
    Section('Many of one side, 64 B: deliveries/s', [
        Column('1 to 10', '1to10-64', 'deliveries_s', 3),
        Column('1 to 100', '1to100-64', 'deliveries_s', 3),
        Column('10 to 1', '10to1-64', 'deliveries_s', 2),
    ]),
    Section('One to one, 64 B, by window W of undelivered messages: deliveries/s', [
        Column(f'W = {window}', work, 'deliveries_s') for window, work in WINDOWS.items()
    ]),
    Section('Echo through the broker, 64 B: microseconds', [
        Column('p50', 'echo', 'p50_us', 0.5),
        Column('p99', 'echo', 'p99_us'),
        Column('p99.9', 'echo', 'p999_us'),
        Column('broker CPU', 'echo', 'broker_cpu_us'),
        Column('one CPU p50', 'echo-one-cpu', 'p50_us'),
        Column('one CPU p99', 'echo-one-cpu', 'p99_us'),
        Column('one CPU p99.9', 'echo-one-cpu', 'p999_us'),
    ], more_is_better=False, goals=(
        Goal('p50 without the look, to the relay', [
            ('chat-broker-no-look', 'echo', 'p50_us'), ('relay', 'echo', 'p50_us')], 1.15),
    )),
    Section('CPU seconds for a million deliveries', [
        Column('64 B broker', '1to1-64', 'broker_cpu_s_per_m', 0.5),
        Column('publisher', '1to1-64', 'publisher_cpu_s_per_m'),
        Column('subscriber', '1to1-64', 'subscriber_cpu_s_per_m'),
        Column('1 to 100 broker', '1to100-64', 'broker_cpu_s_per_m', 0.5),
        Column('publisher', '1to100-64', 'publisher_cpu_s_per_m'),
        Column('subscriber', '1to100-64', 'subscriber_cpu_s_per_m'),
        Column('16 KiB broker', '1to1-16384', 'broker_cpu_s_per_m', 0.5, without=('libqb',)),
        Column('publisher', '1to1-16384', 'publisher_cpu_s_per_m'),
        Column('subscriber', '1to1-16384', 'subscriber_cpu_s_per_m'),
    ], more_is_better=False),
    Section('Subscribed and silent connections: KiB of the broker for each', [
        Column('1000', 'idle-1000', 'kib_per_connection'),
        Column('10 000', 'idle-10000', 'kib_per_connection'),
        Column('broker alone', 'idle-1000', 'kib_empty'),
    ], more_is_better=False, goals=(
        Goal('10 000', [('chat-broker', 'idle-10000', 'kib_per_connection')], 0.5),
    )),
    Section('Connecting and subscribing, four processes for 10 000: connections/s', [
        Column('1000', 'idle-1000', 'connects_s'),
        Column('10 000', 'idle-10000', 'connects_s'),
    ], goals=(
        Goal('10 000, raw client', [('chat-broker-raw', 'idle-10000', 'connects_s')],
             at_least=30000),
    )),
    *(Section(title, [Column(f'{n:,}'.replace(',', ' '), f'{works}-{n}', 'deliveries_s')
                      for n in SIZES],
              goals=[Goal(f'{peer}, most to least', series(peer, works, 'deliveries_s'), 2)
                     for peer in BOTH])
      for works, title in (
          ('subscribers', 'By subscribers of one room, 64 B, W = 128: deliveries/s'),
          ('rooms', ROOMS.format('a burst of 256 for each')),
          ('scattered', ROOMS.format('a message for each')))),
    Section('Latency of 2000 messages/s for 100 readers; disturbed: a reader is stopped, a '
            'publisher of another user floods another room: microseconds', [
                Column('quiet p50', 'disturbed', 'quiet_p50_us'),
                Column('p99', 'disturbed', 'quiet_p99_us'),
                Column('disturbed p50', 'disturbed', 'disturbed_p50_us'),
                Column('p99', 'disturbed', 'disturbed_p99_us'),
                Column('flood/s', 'disturbed', 'flood_s'),
                Column('another user', 'disturbed', 'other_user'),
            ], more_is_better=False, goals=(
                Goal('p99 disturbed to quiet', [
                    ('chat-broker', 'disturbed', 'disturbed_p99_us'),
                    ('chat-broker', 'disturbed', 'quiet_p99_us')], 1.2),
            )),
    Section('What the stopped reader missed and was told of: messages', [
        Column('sent', 'disturbed', 'sent'),
        Column('received', 'disturbed', 'received'),
        Column('in gaps', 'disturbed', 'gap'),
        Column('unaccounted for', 'disturbed', 'unaccounted'),
    ], goals=(
        Goal('unaccounted for', [('chat-broker', 'disturbed', 'unaccounted')]),
    )),
]

# what is drawn: title, work or works by size, metric
PICTURES = [
    ('1 to 1, 64 B: deliveries/s', '1to1-64', 'deliveries_s'),
    ('1 to 1, 1 KiB: deliveries/s', '1to1-1024', 'deliveries_s'),
    ('1 to 1, 16 KiB: deliveries/s', '1to1-16384', 'deliveries_s'),
    ('1 to 10, 64 B: deliveries/s', '1to10-64', 'deliveries_s'),
    ('1 to 100, 64 B: deliveries/s', '1to100-64', 'deliveries_s'),
    ('10 to 1, 64 B: deliveries/s', '10to1-64', 'deliveries_s'),
    ('echo, 64 B: p50, microseconds', 'echo', 'p50_us'),
    ('echo on one CPU: p50, microseconds', 'echo-one-cpu', 'p50_us'),
    ('broker CPU seconds for a million, 1 to 1, 64 B', '1to1-64', 'broker_cpu_s_per_m'),
    ('10 000 idle connections: KiB each', 'idle-10000', 'kib_per_connection'),
    ('1 to 1, 64 B, by window: deliveries/s', WINDOWS, 'deliveries_s'),
    *((f'by {works}: deliveries/s', {n: f'{works}-{n}' for n in SIZES}, 'deliveries_s')
      for works in ('subscribers', 'rooms', 'scattered')),
]
