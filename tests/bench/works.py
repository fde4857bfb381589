"""What is measured, in which tables it is shown, and the goals."""

from dataclasses import dataclass


@dataclass
class Work:
    name: str
    argv: list            # for the client, see main.c
    seconds: float        # about, for each peer
    one_cpu: bool = False  # broker and clients share a processor

    def arguments(self, peer):
        argv = list(self.argv)
        if argv[0] == 'flow' and peer.window_max:
            argv[4] = str(min(int(argv[4]), peer.window_max))
        return argv


def flow(name, publishers, subscribers, size, window):
    return Work(name, ['flow', str(publishers), str(subscribers), str(size), str(window)], 1.8)


WORKS = [
    flow('1to1-64', 1, 1, 64, 1024),
    flow('1to1-1024', 1, 1, 1024, 1024),
    flow('1to1-16384', 1, 1, 16384, 128),
    flow('1to10-64', 1, 10, 64, 512),
    flow('1to100-64', 1, 100, 64, 128),
    flow('10to1-64', 10, 1, 64, 1024),
    *(flow(f'window-{window}', 1, 1, 64, window) for window in (256, 4096, 16384)),
    Work('echo', ['echo', '64'], 2.5),
    Work('echo-one-cpu', ['echo', '64'], 1.5, one_cpu=True),
    Work('idle-1000', ['idle', '1000'], 3),
    Work('idle-10000', ['idle', '10000'], 6),
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
    goals: tuple = ()     # others: see Goal


@dataclass
class Goal:
    """The ratio of two medians, when both were measured."""
    text: str
    ours: str
    theirs: str           # name of a peer
    work: str
    metric: str
    at_most: float


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
        Column('W = 256', 'window-256', 'deliveries_s'),
        Column('W = 1024', '1to1-64', 'deliveries_s'),
        Column('W = 4096', 'window-4096', 'deliveries_s'),
        Column('W = 16384', 'window-16384', 'deliveries_s'),
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
        Goal('without the look, p50', 'chat-broker-no-look', 'relay', 'echo', 'p50_us', 1.15),
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
]
