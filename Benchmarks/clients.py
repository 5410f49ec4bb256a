"""The clients, which run on the second core: each puts one load on a server and answers what it saw, by name of the figure:

rate        requests a second
cpu         microseconds of the server's CPU per request
p50, p99    microseconds that a request took
and what only one kind of load knows (seconds, stall, memory).
"""
import json, pathlib, random, re, select, subprocess, sys, time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "scripts/lib"))
from wire import FLUSH, TRIM, WRITE, ZEROES, Lost, Monitor, NBD

PATIENCE = 120                      # seconds, for one run of a client
MIB = 1 << 20


class Unmeasured(Exception):
    """A load that a server did not carry."""


def run(command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    if done.returncode:
        raise Unmeasured(f"{command[0]}: {(done.stderr or done.stdout).strip()[-300:]}")
    return done.stdout


def fio(pattern, depth=32, block="4k", per_second=None, sync=False, jobs=1):
    """fio's nbd engine. With `per_second` the work is a number of requests, as many as that rate would do in the time;
    else it is what is done in the time. `sync`: each of `jobs` writers flushes after each write."""
    def load(server, seconds, size):
        command = ["fio", "--name=load", "--ioengine=nbd", f"--uri={server.url}", f"--rw={pattern}", f"--bs={block}",
                   f"--iodepth={depth}", f"--size={size}", "--randrepeat=1", "--output-format=json",
                   "--percentile_list=50:99", "--thread", f"--numjobs={jobs}", "--group_reporting"]
        command += [f"--number_ios={int(per_second * seconds)}"] if per_second \
            else ["--time_based", f"--runtime={round(seconds * 1000)}ms", "--norandommap"]
        command += ["--rwmixread=70"] * (pattern == "randrw") + ["--fsync=1"] * sync
        before = server.cpu_us()
        output = run(command)
        cpu = server.cpu_us() - before
        job = json.loads(output[output.index("{"):])["jobs"][0]
        ways = [job[way] for way in ("read", "write") if job[way]["total_ios"]]
        total = sum(way["total_ios"] for way in ways)
        percentiles = ways[0]["clat_ns"]["percentile"]
        return {"rate": sum(way["iops"] for way in ways), "cpu": cpu / total,
                "p50": percentiles["50.000000"] / 1000, "p99": percentiles["99.000000"] / 1000}
    return load


def iscsi_perf(server, seconds, size):
    """Random reads of 4 KiB (blocks have 512 bytes), 32 at a time."""
    seconds = max(1, round(seconds))
    before = server.cpu_us()
    output = run(["iscsi-perf", "-r", "-b", "8", "-m", "32", "-t", str(seconds), server.url])
    cpu = server.cpu_us() - before
    rate = int(re.findall(r"iops average (\d+)", output)[-1])
    return {"rate": rate, "cpu": cpu / (rate * seconds)}


def nbdcopy(server, seconds, size):
    """The whole disk to nowhere."""
    before, began = server.cpu_us(), time.monotonic()
    run(["nbdcopy", server.url, "null:"])
    elapsed = time.monotonic() - began
    return {"rate": size / MIB / elapsed, "cpu": (server.cpu_us() - before) / (size / MIB)}


def ranges(kind, depth=8):
    """Zeroes or discards the disk MiB by MiB in an order by chance, then flushes; timed to the end of the flush."""
    def load(server, seconds, size):
        client = NBD(server.socket, "disk", PATIENCE)
        places = list(range(0, size, MIB))
        random.Random(1).shuffle(places)
        before, began, pending = server.cpu_us(), time.monotonic(), 0
        for place in places:
            client.request(kind, place, MIB)
            pending += 1
            while pending >= depth:
                pending -= taken(client)
        while pending:
            pending -= taken(client)
        client.flush()
        elapsed = time.monotonic() - began
        return {"rate": len(places) / elapsed, "cpu": (server.cpu_us() - before) / len(places)}
    return load


write_zeroes, discard = ranges(ZEROES), ranges(TRIM)


def taken(client):
    """How many replies came; none may be an error."""
    errors = [error for _, error in client.replies()]
    if any(errors):
        raise Unmeasured(f"errors {set(errors)}")
    return len(errors)


def stall(server, seconds, size):
    """16 writes of 4 KiB at a time, by chance, while snapshots are made; the longest that a write took in milliseconds
    around each of them, and of those the median."""
    client, monitor = NBD(server.socket, "disk", PATIENCE), Monitor(server.monitor, PATIENCE)
    places, sent, longest = random.Random(2), {}, []
    folder = server.socket.rpartition("/")[0]
    for number in range(5):
        worst, answered = 0.0, None
        due = time.monotonic() + max(seconds, 0.5) / 5
        asked = False
        # On to the end of the writes that began before the answer.
        while answered is None or any(began < answered for began in sent.values()):
            now = time.monotonic()
            while len(sent) < 16:
                sent[client.request(WRITE, places.randrange(size // 4096) * 4096, 4096, b"\xcd" * 4096)] = now
            if now >= due and not asked:
                asked = True
                monitor.command("blockdev-snapshot-sync", node_name="disk" if number == 0 else f"top{number}",
                                snapshot_file=f"{folder}/live/top{number + 1}.qcow2",
                                snapshot_node_name=f"top{number + 1}", format="qcow2")
            for cookie, error in client.replies():
                if error:
                    raise Unmeasured(f"error {error}")
                took = time.monotonic() - sent.pop(cookie)
                if asked:
                    worst = max(worst, took)
            if asked and answered is None and ended(monitor):
                answered = time.monotonic()
        longest.append(worst * 1000)
    return {"stall": sorted(longest)[len(longest) // 2]}


def ended(monitor):
    """Whether the snapshot's answer is there."""
    if not select.select([monitor], [], [], 0)[0]:
        return False
    for message in monitor.messages():
        if "error" in message:
            raise Unmeasured(message["error"]["desc"])
        if message.get("id") == "blockdev-snapshot-sync":
            return True
    return False


class Start:
    """Starts a server several times: milliseconds until a first read is answered, and its memory (MiB) then."""
    repeats = 5

    def __call__(self, servers, kind, disk):
        times, memory = [], []
        for _ in range(self.repeats):
            began = time.monotonic()
            with servers.start(kind, disk, is_up=self.reads(servers)) as server:
                times.append((self.answered - began) * 1000)
                memory.append(server.memory_mib("VmHWM"))
        return {"start": sorted(times)[self.repeats // 2], "memory": max(memory)}

    def reads(self, servers):
        def is_up():
            # In slices, between which `serving` looks whether the server is alive.
            end = time.monotonic() + 0.05
            while time.monotonic() < end:
                try:
                    NBD(str(servers.folder / "server.sock"), "disk", PATIENCE).read(0, 4096)
                    self.answered = time.monotonic()
                    return True
                except (Lost, OSError):
                    time.sleep(0.0005)
            return False
        return is_up


def idle(server, seconds, size):
    """What lies there and serves nobody takes, in MiB."""
    time.sleep(min(seconds, 1))
    return {"memory": server.memory_mib("VmRSS")}
