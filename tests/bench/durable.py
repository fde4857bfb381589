"""Messages that are answered when they are stored."""

from peers import Peer, chat
from works import Column, Goal, Section, Work

# name: publishers, rooms, messages that each has on its way
LOADS = {
    '1': (1, 1, 1),
    '8': (8, 1, 1),
    '64': (64, 1, 1),
    '64-rooms': (64, 64, 1),
    '8-pipelined': (8, 1, 256),
}
TITLES = {
    '1': '1 publisher', '8': '8', '64': '64', '64-rooms': '64, 64 rooms',
    '8-pipelined': '8, 256 on their way',
}
STORED, REDIS = 'chat-broker-stored', 'redis-always'
WHO = (STORED, REDIS, 'jetstream', 'sync-loop')

PEERS = [
    chat(STORED, ['--state', '{dir}/state'], {'DURABLE': 'chat'}, client='bench-durable',
         works=('durable-*',), needs='--state', notes='a plain socket; answered when it is synced'),
    Peer(REDIS, 'bench-durable',
         ['redis-server', '--port', '0', '--unixsocket', '{dir}/redis.sock', '--dir', '{dir}',
          '--save', '', '--appendonly', 'yes', '--appendfsync', 'always',
          '--auto-aof-rewrite-percentage', '0'],
         '{dir}/redis.sock', packages='redis-server', env={'DURABLE': 'redis'},
         works=('durable-*',), notes='XADD to a stream for each room, a plain Unix socket'),
    Peer('jetstream', 'bench-durable', ['nats-server', '-c', '{dir}/nats.conf'],
         '127.0.0.1:{port}', packages='nats-server', env={'DURABLE': 'jetstream'},
         files={'nats.conf': 'listen: "127.0.0.1:{port}"\n'
                             'jetstream {{ store_dir: "{dir}/js" }}\n'},
         works=('durable-*',),
         notes='a stream with file storage for each room; it answers before it has synced'),
    Peer('sync-loop', 'bench-durable', [], '{dir}/loop', kind='limit', env={'DURABLE': 'disk'},
         works=('durable-1',), notes='no broker: pwrite of 128 bytes and fdatasync, in turn'),
]

WORKS = [Work(f'durable-{name}', [str(n) for n in numbers], 1.6, peers=WHO,
              client='bench-durable') for name, numbers in LOADS.items()]


def to_redis(name, at_least):
    work = f'durable-{name}'
    return Goal(f'{TITLES[name]}, to redis', [(STORED, work, 'stored_s'),
                (REDIS, work, 'stored_s')], at_least=at_least)


SECTIONS = [
    Section('Answered when they are stored, 64 B: messages/s', [
        Column(TITLES[name], f'durable-{name}', 'stored_s') for name in LOADS
    ], peers=WHO, ratios=((STORED, REDIS), (STORED, 'jetstream')), goals=(
        to_redis('1', 1), to_redis('8', 1.5), to_redis('64', 2),
        Goal('64 rooms to one', [(STORED, 'durable-64-rooms', 'stored_s'),
                                 (STORED, 'durable-64', 'stored_s')], at_least=0.7),
    )),
    Section('The same: microseconds until the answer, p50', [
        Column(TITLES[name], f'durable-{name}', 'p50_us') for name in LOADS
    ], more_is_better=False, peers=WHO),
    Section('The same, p99', [
        Column(TITLES[name], f'durable-{name}', 'p99_us') for name in LOADS
    ], more_is_better=False, peers=WHO),
]
