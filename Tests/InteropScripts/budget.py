#!/usr/bin/env python3
"""A load of which every request is resolved: reads or overwrites of 4 KiB, 32 in one message, on a disk that is all data.

usage: budget.py SOCKET read|write REQUESTS allocations COUNTER
       budget.py SOCKET read|write REQUESTS calls PID

Warms up, carries the requests out, and prints how often the server allocated meanwhile (COUNTER is malloc_counter.c's
file), or how many system calls it made, apart from reads and writes of its files in place."""
import pathlib, random, signal, struct, subprocess, sys, tempfile
sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent.parent / "scripts/lib"))
from wire import NBD, READ, WRITE

DEPTH, SIZE, DISK = 32, 4096, 32 << 20
places = random.Random(1)


def rounds(client, kind, requests):
    """Sends `requests` requests, as many at once as the depth, and waits for all replies of each message."""
    data = b"\x11" * SIZE if kind == WRITE else b""
    reply = 16 + (SIZE if kind == READ else 0)
    for _ in range(requests // DEPTH):
        client.send(b"".join(
            client.message(kind, places.randrange(DISK // SIZE) * SIZE, SIZE, data) for _ in range(DEPTH)))
        replies = client.take(DEPTH * reply)
        if any(struct.unpack_from(">I", replies, at * reply + 4)[0] for at in range(DEPTH)):
            raise SystemExit("a request failed")


def allocations(counter, load):
    before = count(counter)
    load()
    return count(counter) - before


def count(path):
    return struct.unpack("<Q", pathlib.Path(path).read_bytes()[:8])[0]


# What answers a request in place; of one that misses the page cache the ring is asked as well.
IN_PLACE = {"preadv2", "pwritev", "pwritev2"}


def calls(pid, load):
    with tempfile.NamedTemporaryFile("r") as table:
        tracer = subprocess.Popen(["strace", "-f", "-c", "-o", table.name, "-p", pid], stderr=subprocess.PIPE)
        tracer.stderr.readline()
        load()
        tracer.send_signal(signal.SIGINT)
        tracer.wait()
        rows = [line.split() for line in table.read().splitlines()]
    made = {row[-1]: int(row[3]) for row in rows if len(row) >= 5 and row[3].isdigit()}
    print(made, file=sys.stderr)
    return sum(number for name, number in made.items() if name not in IN_PLACE | {"total"})


def main():
    socket, kind, requests, measure, of = sys.argv[1:]
    client = NBD(socket, "disk")
    kind = {"read": READ, "write": WRITE}[kind]
    rounds(client, kind, 100 * DEPTH)
    print({"allocations": allocations, "calls": calls}[measure](of, lambda: rounds(client, kind, int(requests))))


main()
