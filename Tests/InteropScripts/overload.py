#!/usr/bin/env python3
"""Loads a storage daemon with clients that do it no good, or asks it honestly meanwhile.

overload.py load NBD QMP CASE…: loads the sockets in these ways, says "ready" once the load is there, and keeps it up until
it is ended. overload.py honest NBD QMP COUNT: connects and reads COUNT times, and asks the monitor where QMP is not "-";
a line of the answer is NBD or QMP and the milliseconds that each attempt took, sorted.
"""
import os
import resource
import socket
import struct
import sys
import threading
import time

EXPORT = b"disk"
GO = struct.pack(">QII", 0x49484156454F5054, 7, len(EXPORT) + 6) + struct.pack(">I", len(EXPORT)) + EXPORT + b"\0\0"
HANDSHAKE = struct.pack(">I", 3) + GO
NEGOTIATE = b'{"execute": "qmp_capabilities"}'


def request(command, offset, length, cookie=1):
    return struct.pack(">IHHQQI", 0x25609513, 0, command, cookie, offset, length)


def connect(path):
    s = socket.socket(socket.AF_UNIX)
    # Waits for its place in the queue; with a timeout of Python's it would be an error that the queue is full.
    s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 20, 0))
    s.connect(path)
    s.settimeout(20)
    return s


def exactly(s, count):
    data = b""
    while len(data) < count:
        part = s.recv(count - len(data))
        if not part:
            raise ConnectionError("the server closed the connection")
        data += part
    return data


def chosen(path):
    """A connection that has chosen the export, with simple replies."""
    s = connect(path)
    exactly(s, 18)
    s.sendall(HANDSHAKE)
    while True:
        _, _, kind, length = struct.unpack(">QIII", exactly(s, 20))
        exactly(s, length)
        if kind == 1:
            return s
        if kind >= 1 << 31:
            raise ConnectionError("the export is refused")


# The loads. Each makes its clients, and then keeps them up in a thread of its own.


def idle(nbd, qmp, count=1000):
    """Clients that connect and say nothing; those that were turned out come again, up to a hundred a second."""
    crowd = [connect(nbd) for _ in range(count)]

    def keep():
        while True:
            time.sleep(1)
            for index, s in enumerate(crowd):
                if has_ended(s):
                    s.close()
                    crowd[index] = connect(nbd)
                    time.sleep(0.01)

    return keep


def slow(nbd, qmp, count=100):
    """Clients that shake hands a byte at a time, for ever."""
    crowd = [[connect(nbd), 0] for _ in range(count)]

    def keep():
        while True:
            time.sleep(0.1)
            for client in crowd:
                try:
                    # Behind the flags an option that never ends.
                    client[0].send(HANDSHAKE[client[1]:client[1] + 1] or b"x")
                    client[1] = min(client[1] + 1, len(HANDSHAKE) - 3)
                except OSError:
                    client[0].close()
                    client[:] = [connect(nbd), 0]
                    time.sleep(0.01)

    return keep


def has_ended(s):
    s.setblocking(False)
    try:
        while s.recv(4096):
            pass
        return True
    except BlockingIOError:
        return False
    except OSError:
        return True


def deaf(nbd, qmp, count=64):
    """Clients that ask for a great deal and read nothing."""
    crowd = [chosen(nbd) for _ in range(count)]
    for s in crowd:
        s.setblocking(False)
        asked = b"".join(request(0, (index % 32) << 20, 1 << 20, index) for index in range(200))
        try:
            while asked:
                asked = asked[s.send(asked):]
        except BlockingIOError:
            pass
    return lambda: hold(crowd)


def hold(crowd):
    while crowd:
        time.sleep(60)


def flood(nbd, qmp, reads=True):
    """A monitor's client that asks for the schema without end, and reads what it is told, or does not."""
    s = connect(qmp)
    s.settimeout(None)
    s.sendall(NEGOTIATE)
    if reads:
        threading.Thread(target=lambda: [None for _ in iter(lambda: s.recv(1 << 20), b"")], daemon=True).start()

    def keep():
        while True:
            s.sendall(b'{"execute": "query-qmp-schema"}\n' * 100)

    return keep


LOADS = {"idle": idle, "slow": slow, "deaf": deaf, "flood": flood, "mute": lambda n, q: flood(n, q, reads=False)}


def load(nbd, qmp, *cases):
    for case in cases:
        keep = LOADS[case](nbd, qmp)
        threading.Thread(target=kept_up, args=(case, keep), daemon=True).start()
    time.sleep(1)
    print("ready", flush=True)
    time.sleep(600)


def kept_up(case, keep):
    try:
        keep()
    except OSError as error:  # the daemon has ended, as it was told to
        print(f"{case}: {error}", file=sys.stderr)


def honest(nbd, qmp, count):
    print("NBD", *timed(lambda: read(nbd), int(count)))
    if qmp != "-":
        print("QMP", *timed(lambda: ask(qmp), int(count)))


def timed(ask, count):
    taken = []
    for _ in range(count):
        began = time.monotonic()
        ask()
        taken.append(round((time.monotonic() - began) * 1000, 1))
        time.sleep(0.02)
    return sorted(taken)


def read(nbd):
    s = chosen(nbd)
    s.sendall(request(0, 2 << 20, 4096))
    assert exactly(s, 16)[:8] == struct.pack(">II", 0x67446698, 0)
    assert exactly(s, 4096) == b"\5" * 4096
    s.close()


def ask(qmp):
    s = connect(qmp)
    s.sendall(NEGOTIATE + b'{"execute": "query-block-exports"}')
    seen = b""
    while b'"shutting-down"' not in seen:
        part = s.recv(65536)
        if not part:
            raise ConnectionError("the monitor closed the connection")
        seen += part
    s.close()


hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
{"load": load, "honest": honest}[sys.argv[1]](*sys.argv[2:])
os._exit(0)
