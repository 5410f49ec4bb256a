#!/usr/bin/env python3
"""Server CPU per 4 KiB random read over iSCSI: nacre on an allocated qcow2 against tgt on a raw file of the same bytes.

usage: iscsi-cpu.py NACRE [ROUNDS]

Both serve in turn (A B A B …) to iscsi-perf at depth 32. Prints, for every round and as medians, the microseconds of CPU
(user and system, read from /proc) that the server process took per request, and the requests per second.
"""
import pathlib
import re
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "scripts/lib"))
from iscsi_targets import nacre, tgt
from rounds import compare, cpu_seconds

SIZE_MIB = 512
SECONDS = 5


def perf(url, seconds):
    """Requests per second; blocks have 512 bytes."""
    run = subprocess.run(["iscsi-perf", "-r", "-b", "8", "-m", "32", "-t", str(seconds), url], check=True,
                         stdout=subprocess.PIPE, text=True, timeout=60)
    return int(re.findall(r"iops average (\d+)", run.stdout)[-1])


def measure(serving):
    """(µs of server CPU per request, requests per second) of one round."""
    with serving as server:
        perf(server.url, 1)
        before = cpu_seconds(server.pid)
        rate = perf(server.url, SECONDS)
        return (cpu_seconds(server.pid) - before) * 1e6 / (rate * SECONDS), rate


def main():
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    with tempfile.TemporaryDirectory(prefix="nacre-bench-") as folder:
        image, raw = f"{folder}/disk.qcow2", f"{folder}/disk.raw"
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", image, f"{SIZE_MIB}M"], check=True)
        subprocess.run(["qemu-io", "-f", "qcow2", "-c", f"write -q -P 171 0 {SIZE_MIB}M", image], check=True)
        subprocess.run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", image, raw], check=True)
        compare({"nacre": lambda: measure(nacre(sys.argv[1], image, folder, ["file.aio=io_uring"])),
                 "tgt": lambda: measure(tgt(raw, folder))}, rounds)


main()
