#!/usr/bin/env python3
"""Talks nonsense to an NBD server: nbd_nonsense.py SOCKET EXPORT CASE. Exits with 0 where the server answered as it may."""
import os
import random
import socket
import struct
import sys

OPTION = 0x49484156454F5054
REQUEST = 0x25609513
SIMPLE, CHUNK = 0x67446698, 0x668E33EF
READ, WRITE, DISC, FLUSH, TRIM, CACHE, ZEROES, STATUS = range(8)
EINVAL, ENOSPC, EPERM = 22, 28, 1


def connect():
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(10)
    s.connect(sys.argv[1])
    return s


def exactly(s, count):
    data = b""
    while len(data) < count:
        part = s.recv(count - len(data))
        if not part:
            raise ConnectionError("closed")
        data += part
    return data


def greeting(s):
    assert exactly(s, 16) == b"NBDMAGICIHAVEOPT"
    exactly(s, 2)


def option(number, data=b"", length=None):
    return struct.pack(">QII", OPTION, number, len(data) if length is None else length) + data


def option_reply(s):
    magic, number, kind, length = struct.unpack(">QIII", exactly(s, 20))
    assert magic == 0x3E889045565A9, hex(magic)
    return kind, exactly(s, length)


def go(name):
    return option(7, struct.pack(">I", len(name)) + name + struct.pack(">H", 0))


def ready():
    s = connect()
    greeting(s)
    s.sendall(struct.pack(">I", 3) + go(sys.argv[2].encode()))
    while True:
        kind, _ = option_reply(s)
        if kind == 1:
            return s
        assert kind == 3, hex(kind)


def request(kind, offset, length, flags=0, cookie=7, magic=REQUEST):
    return struct.pack(">IHHQQI", magic, flags, kind, cookie, offset, length)


def reply(s, length=0):
    magic, error, cookie = struct.unpack(">IIQ", exactly(s, 16))
    assert magic == SIMPLE and cookie == 7, (hex(magic), cookie)
    if error == 0 and length:
        exactly(s, length)
    return error


def alive(s):
    """The connection has survived: an honest read works on it."""
    s.sendall(request(READ, 0, 512))
    assert reply(s, 512) == 0


def dropped(s):
    """The server has closed the connection."""
    try:
        while s.recv(65536):
            pass
    except ConnectionError:
        pass


def garbage():
    for seed in range(20):
        s = connect()
        try:
            s.sendall(random.Random(seed).randbytes(5000))
        except (BrokenPipeError, ConnectionResetError):
            pass
        s.close()


def vanish_in_handshake():
    whole = struct.pack(">I", 3) + option(8) + go(sys.argv[2].encode()) + request(READ, 0, 512)
    for count in range(len(whole) + 1):
        s = connect()
        s.sendall(whole[:count])
        s.close()


def huge_option():
    for number in (1, 3, 6, 7, 8, 9, 10, 99):
        s = connect()
        greeting(s)
        s.sendall(struct.pack(">I", 3) + option(number, b"x" * 100, 0xFFFFFFFF))
        s.shutdown(socket.SHUT_WR)
        dropped(s)


def long_name():
    for number in (1, 7):
        s = connect()
        greeting(s)
        name = b"n" * 5000
        data = name if number == 1 else struct.pack(">I", 5000) + name + struct.pack(">H", 0)
        try:
            s.sendall(struct.pack(">I", 3) + option(number, data))
            if number == 7:
                kind, _ = option_reply(s)
                assert kind & 0x80000000, hex(kind)
        except (ConnectionError, BrokenPipeError):
            pass
        s.close()


def inner_lengths():
    name = sys.argv[2].encode()
    for data in (
        b"", b"\0", struct.pack(">I", 0xFFFFFFFF) + name, struct.pack(">I", len(name) + 1) + name,
        struct.pack(">I", len(name)) + name + struct.pack(">H", 65535),
        struct.pack(">I", len(name)) + name + struct.pack(">H", 1),
    ):
        s = connect()
        greeting(s)
        s.sendall(struct.pack(">I", 3) + option(7, data))
        try:
            kind, _ = option_reply(s)
            assert kind & 0x80000000, hex(kind)
        except ConnectionError:
            pass
        s.close()


def unknown_option():
    s = connect()
    greeting(s)
    s.sendall(struct.pack(">I", 3) + option(77, b"what"))
    kind, _ = option_reply(s)
    assert kind == 0x80000001, hex(kind)
    s.sendall(option(3))
    names = []
    while True:
        kind, data = option_reply(s)
        if kind == 1:
            break
        names.append(data)
    assert names


def wrong_flags():
    s = connect()
    greeting(s)
    s.sendall(struct.pack(">I", 0xFFFFFFFF))
    dropped(s)


def wrong_magic():
    s = ready()
    s.sendall(request(READ, 0, 512, magic=0xDEADBEEF))
    dropped(s)


def past_the_end():
    s = ready()
    for kind, wanted in ((READ, (EINVAL,)), (TRIM, (EINVAL, ENOSPC)), (ZEROES, (EINVAL, ENOSPC)), (CACHE, (EINVAL,))):
        for offset, length in ((1 << 40, 512), ((1 << 64) - 512, 512), ((1 << 63) - 1, 4096), (0, 0xFFFFFFFF)):
            if kind == READ and length > 1 << 25:
                continue
            s.sendall(request(kind, offset, length))
            error = reply(s, length)
            assert error in wanted, (kind, offset, length, error)
    s.sendall(request(WRITE, 1 << 40, 512) + b"x" * 512)
    assert reply(s) in (ENOSPC, EINVAL)
    alive(s)


def too_long():
    s = ready()
    s.sendall(request(READ, 0, (32 << 20) + 1))
    assert reply(s) != 0
    alive(s)
    s.sendall(request(WRITE, 0, 0xFFFFFFFF) + b"x" * 4096)
    s.shutdown(socket.SHUT_WR)
    dropped(s)


def unknown_command():
    s = ready()
    s.sendall(request(99, 0, 512))
    assert reply(s) == EINVAL
    s.sendall(request(READ, 0, 512, flags=0x8000))
    assert reply(s) == EINVAL
    s.sendall(request(STATUS, 0, 512))
    assert reply(s) == EINVAL
    alive(s)


def vanish_in_payload():
    for part in (0, 1, 5000, 100000):
        s = ready()
        s.sendall(request(WRITE, 0, 1 << 20) + b"x" * part)
        s.close()


def vanish_with_replies():
    for _ in range(3):
        s = ready()
        s.setblocking(False)
        try:
            for index in range(2000):
                s.send(request(READ, 0, 1 << 20, cookie=index))
        except BlockingIOError:
            pass
        s.close()


def idle():
    crowd = [connect() for _ in range(50)]
    alive(ready())
    for s in crowd:
        s.close()


def disconnects():
    s = ready()
    s.sendall(request(WRITE, 4096, 512) + b"y" * 512)
    assert reply(s) == 0
    s.sendall(request(DISC, 0, 0))
    dropped(s)


globals()[sys.argv[3]]()
print("ok")
os._exit(0)
