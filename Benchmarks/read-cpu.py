#!/usr/bin/env python3
"""Server CPU per 4 KiB random read of an allocated qcow2 over NBD: nacre against qemu-storage-daemon, in one run.

usage: read-cpu.py NACRE [ROUNDS]

Both serve the same image over a unix socket, in turn (A B A B …), to fio's nbd engine at depth 32. Prints, for every
round and as medians, the microseconds of CPU (user and system, read from /proc) that the server process took per
request, and the requests per second. QEMU_STORAGE_DAEMON names another daemon than the one in PATH.
"""
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

SIZE_MIB = 512
SECONDS = 5
TICK = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid):
    """User and system time of a process and all its threads."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def start(command, socket):
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    for _ in range(200):
        if os.path.exists(socket):
            return server
        if server.poll() is not None:
            raise SystemExit(f"{command[0]} ended with {server.returncode}")
        time.sleep(0.05)
    raise SystemExit(f"{command[0]} opened no socket")


def measure(command, socket, name):
    """(µs of server CPU per request, requests per second) of one round."""
    server = start(command, socket)
    fio = ["fio", "--name=r", "--ioengine=nbd", f"--uri=nbd+unix:///{name}?socket={socket}", "--rw=randread",
           "--bs=4k", "--iodepth=32", "--time_based", "--randrepeat=0", f"--size={SIZE_MIB}M", "--output-format=json"]
    try:
        subprocess.run(fio + ["--runtime=1"], check=True, capture_output=True)
        before = cpu_seconds(server.pid)
        run = subprocess.run(fio + [f"--runtime={SECONDS}"], check=True, capture_output=True)
        used = cpu_seconds(server.pid) - before
        read = json.loads(run.stdout[run.stdout.index(b"{"):])["jobs"][0]["read"]
        return used * 1e6 / read["total_ios"], read["iops"]
    finally:
        server.terminate()
        server.wait(timeout=10)
        if os.path.exists(socket):
            os.unlink(socket)


def main():
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    peer = os.environ.get("QEMU_STORAGE_DAEMON") or shutil.which("qemu-storage-daemon")
    folder = tempfile.mkdtemp(prefix="nacre-bench-")
    image = f"{folder}/disk.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", image, f"{SIZE_MIB}M"], check=True)
    subprocess.run(["qemu-io", "-f", "qcow2", "-c", f"write -q -P 171 0 {SIZE_MIB}M", image], check=True)

    def command(program, socket):
        return [*program, "--blockdev",
                f"driver=qcow2,node-name=disk,file.driver=file,file.filename={image},file.aio=io_uring",
                "--nbd-server", f"addr.type=unix,addr.path={socket}",
                "--export", "type=nbd,id=e,node-name=disk,name=disk"]

    servers = {"nacre": [sys.argv[1], "daemon"], "qemu-storage-daemon": [peer]}
    results = {name: [] for name in servers}
    try:
        for number in range(rounds):
            for name, program in servers.items():
                socket = f"{folder}/{name}.sock"
                cost, rate = measure(command(program, socket), socket, "disk")
                results[name].append((cost, rate))
                print(f"round {number + 1}: {name:20} {cost:6.2f} µs/request {rate:9.0f} requests/s", flush=True)
    finally:
        shutil.rmtree(folder)
    ours, theirs = results.values()
    for name, rows in results.items():
        print(f"median:  {name:20} {statistics.median(r[0] for r in rows):6.2f} µs/request "
              f"{statistics.median(r[1] for r in rows):9.0f} requests/s")
    ratios = [a[0] / b[0] for a, b in zip(ours, theirs)]
    print(f"CPU ratio nacre / qemu-storage-daemon: median {statistics.median(ratios):.2f} "
          f"({min(ratios):.2f} to {max(ratios):.2f}, {rounds} rounds)")


main()
