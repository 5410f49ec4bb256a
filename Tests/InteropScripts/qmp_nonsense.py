#!/usr/bin/env python3
"""Talks nonsense to a QMP monitor, connection after connection, and asks an honest question after each.

usage: qmp_nonsense.py SOCKET. Exits with 0 where every honest question was answered.
"""
import json
import os
import select
import socket
import sys
import time

NONSENSE = [
    b"\xff\xfe\x00\x01\x02", b"\x00" * 4096, b"[" * 100000, b'{"a":' * 5000, b'"' + b"x" * (2 << 20),
    b'{"execute": ' + b"9" * 100000 + b"}", b'{"execute": 1e400}', b'{"execute": {}}', b"[]", b"12345678901234567890123 ",
    b'{"execute": "query-version", "arguments": []}', b'{"execute": "blockdev-add", "arguments": {"driver": null}}',
    b'{"execute": "blockdev-add", "arguments": {"driver": "file", "filename": 7, "node-name": []}}',
    b'{"execute": "block_resize", "arguments": {"node-name": "disk", "size": -1}}',
    b'{"execute": "block_resize", "arguments": {"node-name": "disk", "size": 18446744073709551615}}',
    b'{"execute": "quit", "bogus": 1}', b'{"execute": "no-such-command"}', b'{"execute" "quit"}', b"}}}}]]]],,,::",
    b'{"exec-oob": "query-version"}', b'{"execute": "query-version", "execute": "quit"}', b"%s %d", b"\\u0000",
    b'{"execute": "qmp_capabilities", "arguments": {"enable": ["oob", "oob", 7]}}',
    b'{"execute": "blockdev-reopen", "arguments": {"options": [{"driver": "qcow2", "node-name": "absent"}]}}',
    b'{"execute": "block-export-add", "arguments": {"type": "nbd", "id": "", "node-name": ""}}',
    b'{"execute": "blockdev-snapshot-sync", "arguments": {"node-name": "disk", "snapshot-file": "", "snapshot-node-name": "' + b"x" * 5000 + b'"}}',
]


def connect():
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(10)
    for _ in range(500):
        try:
            s.connect(sys.argv[1])
            return s
        except BlockingIOError:  # the monitor takes one client at a time, and its queue is full
            time.sleep(0.02)
    raise SystemExit("the monitor takes nobody any more")


def lines(s):
    buffer = b""
    while True:
        while b"\n" in buffer:
            line, buffer = buffer.split(b"\n", 1)
            yield json.loads(line)
        part = s.recv(65536)
        if not part:
            raise SystemExit("the monitor closed the connection of an honest client")
        buffer += part


def ask(s, replies, command):
    s.sendall(json.dumps(command).encode())
    while True:
        answer = next(replies)
        if "return" in answer:
            return answer["return"]
        if "error" in answer:
            raise SystemExit(f"{command} was refused: {answer}")


def honest():
    s = connect()
    replies = lines(s)
    assert "QMP" in next(replies)
    ask(s, replies, {"execute": "qmp_capabilities"})
    assert ask(s, replies, {"execute": "query-version"})["qemu"]["major"] > 0
    nodes = ask(s, replies, {"execute": "query-named-block-nodes"})
    assert any(node["node-name"] == "disk" for node in nodes)
    s.close()


def mad(text, negotiate):
    """Sends the text and reads what comes, for as long as the other side takes part; then goes without a word."""
    rest = (b'{"execute": "qmp_capabilities"}\n' if negotiate else b"") + text
    s = connect()
    s.setblocking(False)
    last = time.monotonic()
    try:
        while time.monotonic() - last < 0.05:
            readable, writable, _ = select.select([s], [s] if rest else [], [], 0.05)
            if readable:
                if not s.recv(1 << 20):
                    break
                last = time.monotonic()
            if writable:
                rest = rest[s.send(rest[:65536]):]
                last = time.monotonic()
    except (BrokenPipeError, ConnectionResetError):
        pass
    s.close()


for text in NONSENSE:
    for negotiate in (False, True):
        mad(text, negotiate)
        honest()
# Clients that come and go without a word, and one that leaves in the middle of one.
for count in range(len('{"execute": "qmp_capabilities"}')):
    s = connect()
    s.sendall(b'{"execute": "qmp_capabilities"}'[:count])
    s.close()
honest()
print("ok")
os._exit(0)
