"""The brokers that are measured: how each is started, and every option it gets.

A Peer is data; run --settings prints it. In argv, address, files and env stand
{dir}, a directory of this one start; {bin}, where our own programs are; {port}, a
free TCP port; {pid}, of the driver; and what the peer has as values.

Another broker takes an entry in PEERS, a client after peer.h, and a line in meson.build.
"""

import contextlib
import fnmatch
import glob
import grp
import itertools
import os
import re
import resource
import shutil
import socket
import subprocess
import tempfile

NOBODY = 65534  # brokers and clients are this user's when root measures
PATH = os.environ.get('PATH', '') + ':/usr/sbin:/sbin'
START_S = 10


def raise_limit():
    """As many descriptors as may be; returns how many that is."""
    for wanted in (100000, resource.getrlimit(resource.RLIMIT_NOFILE)[1]):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
            break
        except (ValueError, OSError):
            pass
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


class Peer:
    def __init__(self, name, client, argv, address, *, kind='peer', program=None,
                 packages='', files=None, env=None, values=None, says_ready=False,
                 works=None, lacks=(), window_max=None, needs=None, is_ring=False, leaves=(),
                 notes=''):
        self.name = name
        self.kind = kind              # ours, peer or limit
        self.client = client          # the program that measures it
        self.argv = argv              # none: it has no broker
        self.address = address        # what the client is given
        self.program = program or (argv[0] if argv else client)
        self.packages = packages      # of Debian: the broker, the client's library
        self.files = files or {}      # configuration, by name in {dir}
        self.env = env or {}          # of the client
        self.values = values or {}    # {work pattern: {name: value}}; the first that fits
        self.says_ready = says_ready  # or else it can be connected to
        self.works = works            # patterns; None: all
        self.lacks = lacks            # patterns of what it can not do
        self.window_max = window_max
        self.needs = needs            # what the broker's --help must mention
        self.is_ring = is_ring        # for works of rings.py, and no others
        self.leaves = leaves          # patterns of files that it does not always remove
        self.notes = notes

    def values_for(self, work):
        for pattern, values in self.values.items():
            if fnmatch.fnmatch(work, pattern):
                return values
        return {}


# A hundred rooms that grow together would be at the end of log-bytes within a second, and
# what retention takes is a gap. The disturbed reader is to get one.
ROOMY = {'log_bytes': '4G', 'room_bytes': '32M'}
CHAT_VALUES = {'rooms-*': ROOMY, 'scattered-*': ROOMY,
               'disturbed': {'log_bytes': '256M', 'room_bytes': '256k'},
               '*': {'log_bytes': '256M', 'room_bytes': '32M'}}


def chat(name, options=(), env=None, client='bench-chat', **more):
    more.setdefault('notes', 'libchat; CHAT_MORE for all but the last of a burst')
    options = ('--ephemeral', *options) if '--state' not in options else options
    return Peer(
        name, client,
        ['{bin}/chat-broker', '--socket', '{dir}/chat.sock', '--ctl', 'none',
         '--limit', 'connections=20000', '--limit', 'cursors=20000',
         '--limit', 'rooms=20000', '--limit', 'log-bytes={log_bytes}',
         '--limit', 'room-bytes={room_bytes}', *options],
        '{dir}/chat.sock', kind='ours', env=env, says_ready=True,
        values=CHAT_VALUES, **more)


def relay(name, send_buffer=8 << 20, look=0, **more):
    env = {}
    if send_buffer:
        env['RELAY_SEND_BUFFER'] = str(send_buffer)
    if look:
        env['RELAY_LOOK'] = str(look)
    return Peer(
        name, 'bench-relay',
        ['{bin}/relay', '{dir}/relay.sock', str(send_buffer), str(look)],
        '{dir}/relay.sock', kind='limit', env=env, says_ready=True,
        notes='bare SEQPACKET, epoll; the client packs up to 64 KiB into a packet; SO_SNDBUF '
              'of relay and client (0: kernel default), microseconds both look (sched_yield) '
              'before they sleep', **more)


def nats(name, client, **more):
    return Peer(
        name, client, ['nats-server', '-c', '{dir}/nats.conf'], '127.0.0.1:{port}',
        files={'nats.conf': 'listen: "127.0.0.1:{port}"\n'
                            'max_pending: 1GB\n'
                            'max_connections: 100000\n'}, **more)


KERNEL_BUFFER = '106496'  # given to SO_SNDBUF it is the kernel's own default, 212992
BUFFER_WORKS = ('1to1-1024', '1to1-16384')
# libchat has four descriptors for each connection, and they are of one process
LIBCHAT_LACKS = ('subscribers-10000',) if raise_limit() < 41000 else ()
LIBDBUS = 'sd-bus; signals, one match rule for each subscription; a write for each message'

PEERS = [
    chat('chat-broker', lacks=LIBCHAT_LACKS),
    chat('chat-broker-raw', client='bench-chat-raw',
         works=('idle-*', 'subscribers-*', 'rooms-*', 'scattered-*'),
         notes='a plain socket: a burst is one packet, requests wait for no answers'),
    chat('chat-broker-no-look', ['--look', '0'], {'CHAT_LOOK': '0'},
         works=('echo*', '1to1-64', '1to100-64'), needs='--look'),
    chat('chat-broker-kernel-buffers', ['--limit', f'send-buffer={KERNEL_BUFFER}'],
         {'CHAT_SEND_BUFFER': KERNEL_BUFFER}, works=BUFFER_WORKS, needs='send-buffer'),
    Peer('redis', 'bench-redis',
         ['redis-server', '--port', '0', '--unixsocket', '{dir}/redis.sock',
          '--dir', '{dir}', '--save', '', '--appendonly', 'no', '--maxclients', '30000',
          '--client-output-buffer-limit', 'pubsub', '0', '0', '0'],
         '{dir}/redis.sock', packages='redis-server libhiredis-dev',
         notes='hiredis, Unix socket; PUBLISH pipelined, a burst and then its replies; a '
               'subscriber publishes through a second connection'),
    Peer('mosquitto', 'bench-mosquitto', ['mosquitto', '-c', '{dir}/mosquitto.conf'],
         '{dir}/mqtt.sock', packages='mosquitto libmosquitto-dev',
         files={'mosquitto.conf': 'listener 0 {dir}/mqtt.sock\n'
                                  'allow_anonymous true\n'
                                  'max_queued_messages 0\n'
                                  'max_queued_bytes 0\n'
                                  'max_inflight_messages 0\n'
                                  'log_type none\n'
                                  'set_tcp_nodelay true\n'
                                  'sys_interval 0\n'},
         notes='libmosquitto, Unix socket, QoS 0, poll; a write for each message'),
    nats('nats', 'bench-nats', packages='nats-server libnats-dev',
         env={'NATS_SEND_ASAP': '{asap}'},
         values={'echo*': {'asap': '1'}, '*': {'asap': '0'}},
         lacks=('1to10-*', '1to100-*', 'idle-*'),
         notes='libnats, loopback TCP, synchronous subscription without limits; its own '
               'thread flushes, but for echo (NATS_SEND_ASAP); no descriptor to wait for, '
               'so one connection for a process'),
    nats('nats-raw', 'bench-nats-raw', packages='nats-server',
         notes='the same server, a plain socket: a burst is one write'),
    Peer('dbus-daemon', 'bench-dbus',
         ['dbus-daemon', '--config-file={dir}/bus.conf', '--nofork', '--nopidfile'],
         'unix:path={dir}/dbus.sock', packages='dbus-daemon libsystemd-dev',
         files={'bus.conf': '<busconfig>\n'
                            '<type>session</type>\n'
                            '<listen>unix:path={dir}/dbus.sock</listen>\n'
                            '<auth>EXTERNAL</auth>\n'
                            '<policy context="default">\n'
                            '<allow send_destination="*" eavesdrop="true"/>\n'
                            '<allow eavesdrop="true"/>\n'
                            '<allow own="*"/>\n'
                            '</policy>\n'
                            '<limit name="max_incoming_bytes">1000000000</limit>\n'
                            '<limit name="max_outgoing_bytes">1000000000</limit>\n'
                            '<limit name="max_message_size">1000000000</limit>\n'
                            '<limit name="max_completed_connections">100000</limit>\n'
                            '<limit name="max_incomplete_connections">10000</limit>\n'
                            '<limit name="max_connections_per_user">100000</limit>\n'
                            '<limit name="max_match_rules_per_connection">50000</limit>\n'
                            '</busconfig>\n'},
         notes=LIBDBUS),
    Peer('dbus-broker', 'bench-dbus',
         ['{bin}/dbus-broker-start', '{dir}/dbus.sock', 'dbus-broker',
          '--machine-id', '0123456789abcdef0123456789abcdef',
          '--max-bytes', '4000000000', '--max-fds', '100000',
          '--max-matches', '1000000', '--max-objects', '10000000'],
         'unix:path={dir}/dbus.sock', program='dbus-broker',
         packages='dbus-broker libsystemd-dev', says_ready=True,
         notes=LIBDBUS + '; started without systemd, everything is allowed'),
    Peer('ngircd', 'bench-irc', ['ngircd', '-n', '-f', '{dir}/ngircd.conf'],
         '127.0.0.1:{port}', packages='ngircd', window_max=256,
         lacks=('1to1-1024', '1to1-16384', 'window-*', 'idle-10000'),
         files={'ngircd.conf': '[Global]\n'
                               'Name = irc.bench\n'
                               'Info = bench\n'
                               'Listen = 127.0.0.1\n'
                               'Ports = {port}\n'
                               '[Limits]\n'
                               'MaxConnections = 0\n'
                               'MaxConnectionsIP = 0\n'
                               'MaxJoins = 100\n'
                               'MaxNickLength = 30\n'
                               'MaxPenaltyTime = 0\n'
                               'PingTimeout = 3600\n'
                               '[Options]\n'
                               'DNS = no\n'
                               'Ident = no\n'
                               'PAM = no\n'
                               'MorePrivacy = no\n'
                               '[Channel]\n'
                               'Name = #t1\n'
                               '[Channel]\n'
                               'Name = #t2\n'},
         notes='a plain socket on loopback TCP: a burst is one write, TCP_QUICKACK; lines of '
               '512 bytes at most, and a window of 256'),
    Peer('zmq-proxy', 'bench-zmq',
         ['{bin}/zmq-proxy', 'ipc://{dir}/in.sock', 'ipc://{dir}/out.sock', '0', '1', '4096'],
         'ipc://{dir}/in.sock ipc://{dir}/out.sock', packages='libzmq3-dev',
         env={'ZMQ_HWM': '0'}, says_ready=True,
         notes='XSUB and XPUB joined by zmq_proxy(); high-water mark (0: none), '
               'XPUB_NODROP, backlog'),
    Peer('libqb', 'bench-qb', ['{bin}/qb-broker', 'chat-bench-{pid}', '{buffer}'],
         'chat-bench-{pid}', packages='libqb-dev', says_ready=True,
         env={'QB_BUFFER': '{buffer}'}, lacks=('idle-10000',),
         values={'idle*': {'buffer': '32768'}, '*': {'buffer': '4194304'}},
         notes='a broker made of qb_ipcs: three rings in shared memory for each client, the '
               'last argument is their size; no socket on the way of a message'),
    relay('relay'),
    relay('relay-yield', look=200, works=('echo*',)),
    relay('relay-kernel-buffers', send_buffer=0, works=BUFFER_WORKS),
]


def drop_rights(needed=False):
    """The start of a command that is to be run as an ordinary user, unless root is NEEDED."""
    if os.geteuid() != 0 or needed:
        return ['setpriv', '--pdeathsig=TERM']
    return ['setpriv', f'--reuid={NOBODY}', f'--regid={NOBODY}', '--clear-groups',
            '--pdeathsig=TERM']


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


def answers(address):
    host, _, port = address.rpartition(':')
    path = re.sub('^unix:path=', '', address)
    try:
        if path.startswith('/'):
            with socket.socket(socket.AF_UNIX) as s:
                s.connect(path)
        else:
            socket.create_connection((host, int(port))).close()
        return True
    except OSError:
        return False


class Broker:
    """One that runs, in a directory of its own under TOP."""

    def __init__(self, peer, work, top, prefix=()):
        self.dir = tempfile.mkdtemp(dir=top)
        os.chmod(self.dir, 0o755)
        if os.geteuid() == 0:
            os.chown(self.dir, NOBODY, NOBODY)
        group = grp.getgrgid(NOBODY if os.geteuid() == 0 else os.getegid()).gr_name
        names = {'dir': self.dir, 'bin': top, 'port': free_port(), 'pid': os.getpid(),
                 'group': group, **peer.values_for(work)}
        self.address = peer.address.format(**names)
        self.client_env = {name: value.format(**names) for name, value in peer.env.items()}
        for name, text in peer.files.items():
            with open(os.path.join(self.dir, name), 'w', encoding='ascii') as f:
                f.write(text.format(**names))
        self.leaves = [pattern.format(**names) for pattern in peer.leaves]
        self.log = os.path.join(self.dir, 'stderr')
        self.process, self.pid, self.is_ready = None, 0, not peer.argv
        if self.is_ready:
            return
        argv = [*prefix, *drop_rights(), *(a.format(**names) for a in peer.argv)]
        with open(self.log, 'wb') as log:
            self.process = subprocess.Popen(
                argv, cwd=self.dir, env=dict(os.environ, PATH=PATH),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.pid = self.process.pid
        try:
            self.wait(peer)
            self.is_ready = True
        except BaseException:
            self.stop()
            raise

    def said(self):
        with open(self.log, 'rb') as f:
            return f.read()

    def wait(self, peer):
        for _ in range(START_S * 100):
            if b'ready' in self.said() if peer.says_ready else answers(self.address):
                return
            try:
                self.process.wait(0.01)
                break
            except subprocess.TimeoutExpired:
                pass
        words = self.said()[-200:].decode(errors='replace').strip()
        raise RuntimeError(f'did not start: {words}')

    def stop(self):
        if self.process:
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.is_ready:  # or else they are of another one, which was there before
            for path in itertools.chain.from_iterable(map(glob.glob, self.leaves)):
                with contextlib.suppress(OSError):
                    os.remove(path)
        shutil.rmtree(self.dir, ignore_errors=True)
        for name in os.listdir('/dev/shm'):  # libqb does not always tidy up
            if name.startswith(f'qb-{self.pid}-'):
                shutil.rmtree(os.path.join('/dev/shm', name), ignore_errors=True)


def missing(peer, targets, chat_help):
    """Why PEER can not be measured here, or None."""
    absent = []
    broker, *library = peer.packages.split() or ['']
    if peer.argv and '{' not in peer.program and not shutil.which(peer.program, path=PATH):
        absent.append(broker)
    ours = [peer.client, *(os.path.basename(a) for a in peer.argv[:1] if '{bin}' in a)]
    if any(name not in targets for name in ours):
        absent += library or [broker]
    if absent:
        return 'left out; to have it: apt-get install ' + ' '.join(absent)
    if peer.needs and peer.needs not in chat_help:
        return f'not available: this chat-broker has no {peer.needs}'
    return None
