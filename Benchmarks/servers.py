"""What is measured: ours, the floor under it, and the peers. Each serves one disk over a unix socket, on the first core."""
import contextlib, ctypes, dataclasses, json, os, pathlib, re, shutil, subprocess, sys, time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "scripts/lib"))
import iscsi_targets
from iscsi_targets import serving
from wire import Monitor

# The server has a core of its own, where there are two; whoever runs this, and the clients with it, has the other.
SERVER = ["taskset", "-c", "0"] if (os.cpu_count() or 1) > 1 else []

# Boundaries of a histogram, in nanoseconds, as a monitoring program asks for them.
LATENCIES = [10_000, 50_000, 100_000, 500_000, 1_000_000, 10_000_000, 100_000_000]


@dataclasses.dataclass
class Server:
    pid: int
    url: str
    socket: str = ""
    monitor: str = ""

    def cpu_us(self):
        """Microseconds of user and system time that the process and all its threads have used: its CPU clock."""
        clock = ctypes.c_int()
        if ctypes.CDLL(None).clock_getcpuclockid(self.pid, ctypes.byref(clock)):
            raise ProcessLookupError(self.pid)
        return time.clock_gettime_ns(clock.value) / 1000

    def memory_mib(self, field):
        """`VmRSS` now, `VmHWM` at most until now."""
        status = pathlib.Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        return int(re.search(rf"{field}:\s+(\d+) kB", status)[1]) / 1024


class Servers:
    """The programs, found in PATH or in an unpacked QEMU (`prefix`), and how each is started."""

    def __init__(self, ours, floor, folder, prefix=None):
        self.ours, self.floor_program, self.folder = ours, floor, pathlib.Path(folder)
        self.qemu_environment = {}
        self.qemu_path = None
        if prefix:
            self.qemu_path = f"{prefix}/usr/bin"
            self.qemu_environment["LD_LIBRARY_PATH"] = f"{prefix}/usr/lib/x86_64-linux-gnu"

    def program(self, name):
        return shutil.which(name, path=self.qemu_path) if name.startswith("qemu-") else shutil.which(name)

    def needs(self, kind):
        """The program behind a kind of server, or None where it is missing."""
        return {
            **dict.fromkeys(("ours", "ours, polling", "ours, threads", "ours, drive", "ours, latencies",
                             "ours, I/O thread", "ours, iSCSI"), self.ours),
            "floor": self.floor_program,
            "qsd": self.program("qemu-storage-daemon"), "qsd, threads": self.program("qemu-storage-daemon"),
            "qemu-nbd": self.program("qemu-nbd"), "nbdkit file": self.program("nbdkit"),
            "nbdkit memory": self.program("nbdkit"), "tgtd": self.program("tgtd"),
        }[kind]

    def versions(self):
        found = {}
        for name in ("qemu-storage-daemon", "nbdkit", "tgtd", "fio"):
            if program := self.program(name):
                run = subprocess.run([program, "--version"], capture_output=True, text=True,
                                     env={**os.environ, **self.qemu_environment})
                found[name] = re.search(r"\d+\.\d+[.\d]*", run.stdout + run.stderr)[0]
        return found

    def start(self, kind, disk, is_up=None):
        """A context that answers the `Server`. `is_up`: when it counts as started, else when its socket is there."""
        socket = str(self.folder / "server.sock")
        monitor = str(self.folder / "monitor.sock")
        for path in (socket, monitor):
            pathlib.Path(path).unlink(missing_ok=True)
        match kind:
            case "ours":
                command = self.daemon([self.ours, "daemon"], disk, "io_uring", socket, monitor)
            case "ours, polling":
                command = [*self.daemon([self.ours, "daemon"], disk, "io_uring", socket, monitor),
                           "--object", "main-loop,id=loop,poll-max-ns=50000"]
            case "ours, drive" | "ours, latencies":
                command = self.daemon([self.ours, "daemon"], disk, "io_uring", socket, monitor, "drive")
            case "ours, I/O thread":
                command = self.daemon([self.ours, "daemon"], disk, "io_uring", socket, monitor, iothread="io")
            case "ours, threads":
                command = self.daemon([self.ours, "daemon"], disk, "threads", socket, monitor)
            case "qsd":
                command = self.daemon([self.needs(kind)], disk, "io_uring", socket, monitor)
            case "qsd, threads":
                command = self.daemon([self.needs(kind)], disk, "threads", socket, monitor)
            case "qemu-nbd":
                command = [self.needs(kind), "-f", "qcow2", "--aio=io_uring", "-t", "-x", "disk", "-k", socket,
                           str(disk.path)]
            case "floor":
                command = [self.floor_program, socket, str(disk.size >> 20)]
            case "nbdkit file":
                command = ["nbdkit", "-f", "-U", socket, "-e", "disk", "file", str(disk.raw)]
            case "nbdkit memory":
                command = ["nbdkit", "-f", "-U", socket, "-e", "disk", "memory", str(disk.size)]
            case "ours, iSCSI" | "tgtd":
                return self.iscsi(kind, disk)
        return self.nbd(kind, command, disk, socket, monitor, is_up)

    @contextlib.contextmanager
    def nbd(self, kind, command, disk, socket, monitor, is_up):
        environment = self.qemu_environment if command[0].startswith(self.qemu_path or "qemu-") else {}
        up = is_up or (lambda: os.path.exists(socket))
        with serving([*SERVER, *command], str(self.folder / "server.log"), up, **environment) as pid:
            server = Server(pid, f"nbd+unix:///disk?socket={socket}", socket, monitor)
            if kind == "ours, latencies":
                Monitor(monitor).answer("block-latency-histogram-set", id="drive", boundaries=LATENCIES)
            if kind == "nbdkit memory":
                subprocess.run(["nbdcopy", str(disk.raw), server.url], check=True, capture_output=True)
            yield server

    @contextlib.contextmanager
    def iscsi(self, kind, disk):
        targets = {"tgtd": lambda: iscsi_targets.tgt(str(disk.raw), self.folder, under=SERVER),
                   "ours, iSCSI": lambda: iscsi_targets.nacre(self.ours, str(disk.path), self.folder,
                                                               ["file.aio=io_uring"], under=SERVER)}
        with targets[kind]() as target:
            yield Server(target.pid, target.url)

    def daemon(self, program, disk, aio, socket, monitor, drive=None, iothread=None):
        """The command line of a storage daemon: ours and QEMU's take the same, but for drives. `drive`: the one that is exported,
        with the disk in it; `iothread`: what the exports are served on."""
        nodes, exports = [], []
        if iothread:
            nodes += ["--object", f"iothread,id={iothread},poll-max-ns=0"]
        for number in range(disk.copies):
            layers = disk.layers if disk.copies == 1 else disk.layers[number:number + 1]
            name = "disk" if number == 0 else f"disk{number}"
            nodes += ["--blockdev", json.dumps(node(layers, aio, disk.options) | {"node-name": name})]
            if drive:
                nodes += ["--device", f"scsi-hd,id={drive},drive={name}"]
            exports += ["--export", f"type=nbd,id={name},node-name={drive or name},name={name},writable=on"
                        + f",iothread={iothread}" * bool(iothread)]
        return [*program, *nodes, "--nbd-server", f"addr.type=unix,addr.path={socket}", *exports,
                "--chardev", f"socket,id=m,path={monitor},server=on,wait=off", "--monitor", "m"]


def node(layers, aio, options):
    """A chain as one object of blockdev options, every file of it with the same engine."""
    file = {"driver": "file", "filename": str(layers[0]), "aio": aio}
    result = {"driver": "qcow2", "file": file}
    for option in options:
        path, value = option.split("=")
        for each in (file, result):
            inner = each
            *outer, last = path.split(".")
            for word in outer:
                inner = inner.setdefault(word, {})
            inner[last] = {"true": True, "false": False}.get(value, value)
    result["backing"] = node(layers[1:], aio, options) if len(layers) > 1 else None
    return result
