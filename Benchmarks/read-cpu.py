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
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
from rounds import compare, cpu_seconds

SIZE_MIB = 512
SECONDS = 5


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

    def round_of(name, program):
        socket = f"{folder}/{name}.sock"
        return lambda: measure(command(program, socket), socket, "disk")

    servers = {"nacre": [sys.argv[1], "daemon"], "qemu-storage-daemon": [peer]}
    try:
        compare({name: round_of(name, program) for name, program in servers.items()}, rounds)
    finally:
        shutil.rmtree(folder)


main()
