"""What the daemon has to do when it is killed: requests of all kinds, a live snapshot, fio."""
import contextlib, os, select, subprocess, threading, time
from wire import Lost, FLUSH, FUA, NO_HOLE, TRIM, WRITE, ZEROES
from kill_disk import Failure
from kill_model import SECTOR, stamp

SECTORS = 16384                     # the writer's part of the disk; fio has what follows
FIO_OFFSET, FIO_SIZE = SECTORS * SECTOR, 4 << 20
SIZE = FIO_OFFSET + FIO_SIZE
PATIENCE = 20                       # seconds


class Load:
    """A writer with several requests in flight, up to the kill."""

    def __init__(self, chain, client, monitor, moment):
        self.chain, self.random, self.model, self.totals = chain, chain.random, chain.model, chain.totals
        self.client, self.monitor, self.moment = client, monitor, moment
        self.requests, self.depth, self.flushes = {}, chain.random.randint(1, 16), 0
        self.kill_at_flush = chain.random.randint(1, 12) if moment == "flush" else None

    def kill_after(self, most):
        threading.Timer(self.random.uniform(0, most), self.chain.daemon.kill).start()

    def run(self):
        random, now = self.random, time.monotonic()
        fio = self.with_fio() if self.moment == "fio" else None
        if self.moment == "load":
            self.kill_after(0.15)
        due = now + random.uniform(0, 0.1)
        order = self.moment if self.moment in ("snapshot", "quit") else None
        if order is None and self.chain.has_room() and random.random() < 0.2:
            order = "snapshot"
        try:
            while True:
                if order and time.monotonic() > due:
                    self.order(order)
                    order = None
                while len(self.requests) < self.depth:
                    self.send()
                ready = select.select([self.client, self.monitor], [], [], 0.01 if order else PATIENCE)[0]
                if not ready and not order:
                    raise Failure(f"no answer for {PATIENCE} s to any of {len(self.requests)} requests")
                self.answers(*ready)
        except Lost:
            self.rest()
        if fio:
            fio.join()

    def rest(self):
        """What had been answered before the end."""
        for stream in (self.client, self.monitor):
            with contextlib.suppress(Lost):
                while True:
                    self.answers(stream)

    def order(self, what):
        if what == "quit":
            self.kill_after(0.02)
            self.monitor.command("quit")
            return
        chain = self.chain
        new = chain.path(f"layer{chain.made}")
        mode = "absolute-paths"
        if self.random.random() < 0.5:
            mode, _ = "existing", chain.create(chain.layers[-1])
        else:
            chain.made += 1
        chain.pending = (new, False)
        if self.moment == "snapshot":
            self.kill_after(0.01)
        self.monitor.command("blockdev-snapshot-sync", node_name="disk", snapshot_file=new, snapshot_node_name="top",
                             format="qcow2", mode=mode)

    def with_fio(self):
        """fio writes its part of the disk and verifies it; what it has flushed is verified after the kill, too."""
        chain, seed = self.chain, self.random.randrange(1 << 30)
        chain.fio_seed = None
        fio = subprocess.Popen(chain.fio(seed), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        patience = self.random.uniform(0.2, 1.5)

        def wait():
            with contextlib.suppress(subprocess.TimeoutExpired):
                if fio.wait(patience) == 0:
                    chain.fio_seed = seed
            chain.daemon.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                fio.wait(2)
            fio.kill()
            fio.wait()
        thread = threading.Thread(target=wait)
        thread.start()
        return thread

    def send(self):
        random, model = self.random, self.model
        chance, flags = random.random(), FUA if random.random() < 0.05 else 0
        if chance < 0.08:
            self.flushes += 1
            if self.flushes == self.kill_at_flush:
                self.kill_after(0.003)
            self.requests[self.client.cookie + 1] = ("flush", model.tick(), False)
            self.client.request(FLUSH)
            return
        if chance < 0.1:
            # The kernel begins to write back some of the image, so that a crash finds more than what was flushed.
            with open(self.chain.layers[-1], "rb") as file:
                os.posix_fadvise(file.fileno(), random.randrange(SIZE) & -65536, 1 << 20, os.POSIX_FADV_DONTNEED)
        count = random.choice([1, 8, random.randint(1, 64), 128, random.randint(1, 512)])
        first = random.randrange(SECTORS - count)
        if random.random() < 0.5:
            first &= -128
        kind = "trim" if chance < 0.18 else "zeroes" if chance < 0.3 else "write"
        request = model.send(kind, first, count)
        data = b"".join(stamp(sector, request.generation) for sector in range(first, first + count)) if kind == "write" else b""
        if kind == "zeroes" and random.random() < 0.5:
            flags |= NO_HOLE
        self.requests[self.client.cookie + 1] = ("request", request, bool(flags & FUA))
        self.client.request({"trim": TRIM, "zeroes": ZEROES, "write": WRITE}[kind], first * SECTOR, count * SECTOR, data, flags)

    def answers(self, *streams):
        if not streams:
            return
        if self.client in streams:
            for cookie, error in self.client.replies():
                kind, what, is_durable = self.requests.pop(cookie)
                if error:
                    if self.moment == "quit":
                        continue
                    raise Failure(f"{kind} failed with errno {error}")
                self.totals["acknowledged"] += 1
                if kind == "flush":
                    self.totals["flushes"] += 1
                    self.model.flushed(what)
                else:
                    self.model.acknowledge(what, is_durable)
        if self.monitor in streams:
            for message in self.monitor.messages():
                if "error" in message:
                    raise Failure(f"{message}")
                if message.get("id") == "blockdev-snapshot-sync":
                    self.chain.pending = (self.chain.pending[0], True)
                    self.totals["snapshots"] += 1
