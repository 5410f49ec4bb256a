"""The two iSCSI targets that are compared, ours and tgt's: one disk each, on a port of its own of the loopback."""
import contextlib, os, socket, subprocess, time
from dataclasses import dataclass

PATIENCE = 20                       # seconds, until a server has to be up
NAME = "iqn.2026-01.org.example:disk"


@dataclass
class Target:
    pid: int
    url: str


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def serving(command, log, is_up, **environment):
    """A server, once `is_up`; killed at the end whatever happens, since tgtd does not end for SIGTERM while it has targets."""
    with open(log, "wb") as output:
        server = subprocess.Popen(command, stdout=output, stderr=output, env={**os.environ, **environment})
    try:
        end = time.monotonic() + PATIENCE
        while not is_up():
            if server.poll() is not None or time.monotonic() > end:
                with open(log, errors="replace") as text:
                    raise SystemExit(f"{command[0]} did not come up: {text.read()[-2000:]}")
            time.sleep(0.05)
        yield server.pid
    finally:
        server.kill()
        server.wait()


@contextlib.contextmanager
def nacre(program, image, folder, options=(), under=()):
    """Ours, on a qcow2 image; further options of its nodes are `key=value`. `under` starts the command line."""
    port = free_port()
    nodes = ["driver=qcow2,node-name=disk,file.driver=file", f"file.filename={image}", *options]
    command = [*under, program, "daemon", "--blockdev", ",".join(nodes), "--device", "scsi-hd,id=hd,drive=disk",
               "--export", f"type=iscsi,id=t,target={NAME},lun.0=hd,portal.host=127.0.0.1,portal.port={port}"]

    def is_up():
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", port)) == 0

    with serving(command, f"{folder}/nacre.log", is_up) as pid:
        yield Target(pid, f"iscsi://127.0.0.1:{port}/{NAME}/0")


@contextlib.contextmanager
def tgt(image, folder, under=()):
    """tgt's, on a raw file, with a control socket of its own. Its LUN 0 is a controller, LUN 1 the disk."""
    port = free_port()
    control = {"TGT_IPC_SOCKET": f"{folder}/tgt"}

    def order(mode, operation, *words):
        command = ["tgtadm", "--lld", "iscsi", "--mode", mode, "--op", operation, "--tid", "1", *words]
        return subprocess.run(command, env={**os.environ, **control}, capture_output=True).returncode == 0

    command = [*under, "tgtd", "-f", "--iscsi", f"portal=127.0.0.1:{port}"]
    with serving(command, f"{folder}/tgtd.log", lambda: order("target", "new", "-T", NAME), **control) as pid:
        if not (order("logicalunit", "new", "--lun", "1", "-b", image) and order("target", "bind", "-I", "ALL")):
            raise SystemExit(f"tgtadm could not make a disk of {image}")
        yield Target(pid, f"iscsi://127.0.0.1:{port}/{NAME}/1")
