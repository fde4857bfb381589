"""The little of chat-protocol(7) that these scripts speak."""

import os
import select
import signal
import socket
import struct
import subprocess
import time


class Broker:
    """chat-broker with a state directory, in a directory of its own."""

    def __init__(self, program, directory, options=(), environment=None):
        self.program, self.directory = program, directory
        self.socket = os.path.join(directory, 'sock')
        self.state = os.path.join(directory, 'state')
        self.options, self.environment = list(options), environment or {}
        self.process = None

    def start(self):
        self.process = subprocess.Popen(
            [self.program, '--socket', self.socket, '--ctl', 'none', '--state', self.state,
             *self.options],
            stderr=subprocess.PIPE, env={**os.environ, **self.environment})
        lines = b''
        while b'ready socket=' not in lines:
            line = self.process.stderr.readline()
            if not line:
                raise SystemExit(f'the broker does not start:\n{lines.decode()}')
            lines += line
        return lines.decode()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process and self.process.returncode is None:
            self.kill()

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process.stderr.close()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        if self.process.wait(20) != 0:
            raise SystemExit(f'the broker ended with {self.process.returncode}')
        self.process.stderr.close()


def dump_lines(program, state, room):
    """What is stored of ROOM: a list of (words, body)."""
    run = subprocess.run([program, '--dump', state, room], capture_output=True, check=False)
    if run.returncode == 66:
        return []
    if run.returncode:
        raise ValueError(f'--dump exits with {run.returncode}: {run.stderr.decode()}')
    lines = [line.split('\t', 1) for line in run.stdout.decode().splitlines()]
    return [(head.split(' '), body) for head, body in lines]


def dump_values(program, state, room):
    """The values that are stored of ROOM: key -> (version, value)."""
    values = {}
    for words, body in dump_lines(program, state, room):
        if words[0] == 'SET':
            word = dict(word.split('=', 1) for word in words[4:])
            values[word['key']] = (int(word['version']), body)
    return values


def dump(program, state, room):
    """What is stored of ROOM: a list of (number, label, id, body)."""
    rows = []
    for words, body in dump_lines(program, state, room):
        if words[0] != 'MSG':
            continue
        label = number = None
        for word in words[6:]:
            if word.startswith('p='):
                label, number = word[2:].split(':')
        rows.append((int(words[2]), label, int(number or 0), body))
    return rows


class Client:
    """One connection. Batches are taken apart."""

    def __init__(self, path, hello):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.connect(path)
        self.frames = []
        self.send(f'#h HELLO 1 {hello}'.rstrip())
        self.expect('#h *')

    def send(self, text):
        self.socket.send(text.encode())

    def close(self):
        self.socket.close()

    def fileno(self):
        return self.socket.fileno()

    def receive(self, timeout=20.0):
        """The next frame, or None when the time is over. Raises ConnectionError."""
        until = time.monotonic() + timeout
        while not self.frames:
            left = max(0, until - time.monotonic())
            if not select.select([self.socket], [], [], left)[0]:
                return None
            packet = self.socket.recv(65536)
            if not packet:
                raise ConnectionError
            if not packet.startswith(b'BATCH\n'):
                self.frames.append(packet.decode())
                continue
            at = 6
            while at < len(packet):
                length, = struct.unpack_from('<I', packet, at)
                self.frames.append(packet[at + 8:at + 8 + length].decode())
                at += (8 + length + 7) & ~7
        return self.frames.pop(0)

    def expect(self, start):
        frame = self.receive()
        if frame is None or not frame.startswith(start):
            raise SystemExit(f'expected {start}, got {frame}')
        return frame
