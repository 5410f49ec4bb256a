"""A chain of images, the daemon that serves it, and one kill after the other."""
import json, pathlib, signal, subprocess, time, zlib
from wire import Lost, Monitor, NBD
from kill_disk import Failure, released, run
from kill_load import FIO_OFFSET, FIO_SIZE, Load, SECTORS, SIZE
from kill_model import Model, SECTOR, stamp

LAYERS = 6
# When the daemon is killed, and how often: somewhere in the load, soon after a flush or a snapshot was asked for, and so on.
MOMENTS = {"load": 9, "flush": 4, "snapshot": 4, "opening": 2, "quit": 2, "fio": 2}


class Chain:
    """A chain of images, the daemon that serves it, and what the images may hold."""

    def __init__(self, scratch, disk, random, options, totals):
        self.scratch, self.disk, self.random, self.options, self.totals = scratch, disk, random, options, totals
        self.model, self.layers = Model(SECTORS), []
        # An overlay that is being put on, and whether that was acknowledged; how many have been made.
        self.pending, self.made = (None, False), 0
        # Checksums of the layers below; leaks known of each; what fio has written and flushed.
        self.sums, self.leaks, self.fio_seed, self.daemon = {}, {}, None, None
        self.aio = random.choice(["threads", "io_uring"])
        self.direct = random.random() < 0.3 and options.filesystem != "none"
        self.discard = random.choice(["unmap", "ignore"])
        self.make()

    def has_room(self):
        """For one layer more."""
        return len(self.layers) < LAYERS

    def path(self, name):
        return f"{self.disk.folder}/{name}"

    def make(self):
        """The base holds stamps of generation 1 in its first, third, … 96 KiB; on it lies the first image."""
        raw, base = f"{self.scratch}/raw", self.path("base")
        with open(raw, "wb") as file:
            for sector in range(SECTORS):
                generation = 1 if sector % 384 < 192 else 0
                self.model.settle(sector, generation)
                file.write(stamp(sector, 1) if generation else bytes(SECTOR))
            file.truncate(SIZE)
        compressed = ["-c"] if self.random.random() < 0.5 else []
        run("qemu-img", "convert", "-q", *compressed, "-f", "raw", "-O", "qcow2", raw, base)
        self.layers = [base, self.create(base)]
        self.sums[base] = self.sum(base)
        self.disk.sync()

    def create(self, backing):
        """An image of any shape, made by qemu-img."""
        pick, name = self.random.choice, self.path(f"layer{self.made}")
        self.made += 1
        shape = [f"cluster_size={pick([512, 4096, 65536, 65536, 2 << 20])}", f"lazy_refcounts={pick(['on', 'off', 'off'])}",
                 f"refcount_bits={pick([16, 16, 64, 1])}"]
        run("qemu-img", "create", "-q", "-u", "-f", "qcow2", "-b", backing, "-F", "qcow2", "-o", ",".join(shape), name, str(SIZE))
        return name

    def sum(self, path):
        with open(path, "rb") as file:
            return zlib.crc32(file.read())

    def start(self):
        for name in ("nbd", "qmp"):
            pathlib.Path(f"{self.scratch}/{name}").unlink(missing_ok=True)
        file = f"driver=file,node-name=file,filename={self.layers[-1]},aio={self.aio},discard={self.discard}"
        words = self.options.under + [self.options.nacre, "daemon", "--allow-path", self.disk.folder,
            "--chardev", f"socket,id=m,path={self.scratch}/qmp,server=on,wait=off", "--monitor", "chardev=m",
            "--blockdev", file + (",cache.direct=on" if self.direct else ""),
            "--blockdev", f"driver=qcow2,node-name=disk,file=file,discard={self.discard}",
            "--nbd-server", f"addr.type=unix,addr.path={self.scratch}/nbd",
            "--export", "type=nbd,id=e,node-name=disk,name=disk,writable=on"]
        with open(f"{self.scratch}/stderr", "wb") as errors:
            self.daemon = subprocess.Popen(words, stdout=errors, stderr=errors)

    def said(self):
        return pathlib.Path(f"{self.scratch}/stderr").read_text()

    def ready(self):
        """Connects once the export is there."""
        for _ in range(2000):
            try:
                return NBD(f"{self.scratch}/nbd", "disk"), Monitor(f"{self.scratch}/qmp")
            except Lost:
                if self.daemon.poll() is not None:
                    break
                time.sleep(0.005)
        raise Failure(f"the daemon does not serve {self.layers[-1]}: {self.said()}")

    def round(self):
        """Opens, judges, loads, kills."""
        moment = self.random.choices(list(MOMENTS), list(MOMENTS.values()))[0]
        if moment == "snapshot" and not self.has_room():
            moment = "load"
        was_dirty = self.inspect()
        self.start()
        if moment == "opening":
            time.sleep(self.random.uniform(0, 0.03))
            self.daemon.kill()
        else:
            client, monitor = self.ready()
            self.judge(client, was_dirty)
            Load(self, client, monitor, moment).run()
        status = self.daemon.wait()
        for path in self.layers + [overlay for overlay, _ in [self.pending] if overlay]:
            released(path)
        if status not in (-signal.SIGKILL, 0):
            raise Failure(f"the daemon ended with {status}: {self.said()}")
        if status == 0 and moment != "quit":
            raise Failure(f"the daemon ended by itself: {self.said()}")
        if status == 0:
            self.model.flushed(self.model.tick())
        self.totals["kills" if status else "quits"] += 1
        if self.disk.kind != "none" and self.random.random() < 1 / 3:
            self.disk.crash()
            self.totals["crashes"] += 1
            self.find(True)
        else:
            self.find(False)

    def last(self):
        """After the last kill: opened and judged once more, and ended in order."""
        was_dirty = self.inspect()
        self.start()
        client, monitor = self.ready()
        self.judge(client, was_dirty)
        monitor.command("quit")
        if self.daemon.wait(30):
            raise Failure(f"the daemon did not quit: {self.said()}")
        self.inspect()

    def find(self, has_crashed):
        """Which layer is the top one now. An overlay that opens is right in any case: as long as nothing was written to
        it, it shows what is below."""
        if not self.pending[0]:
            return
        overlay, was_acknowledged = self.pending
        info = run("qemu-img", "info", "--output=json", overlay, fails=True)
        if not info.returncode and json.loads(info.stdout).get("backing-filename"):
            below = self.layers[-1]
            self.layers.append(overlay)
            if not was_acknowledged and not has_crashed:
                # Nobody has said that what was written to the layer below is durable, and nobody will flush it any more.
                self.disk.sync()
            self.sums[below] = self.sum(below)
        elif was_acknowledged and not has_crashed:
            raise Failure(f"{overlay}, a snapshot that was acknowledged, does not open: {info.stderr}")
        else:
            pathlib.Path(overlay).unlink(missing_ok=True)
        self.pending = (None, False)

    def inspect(self):
        """What `qemu-img check` and the layers below say; whether the top one is marked dirty."""
        for layer in self.layers[:-1]:
            if self.sum(layer) != self.sums[layer]:
                raise Failure(f"{layer}, which lies below, has changed")
        with open(self.layers[-1], "rb") as file:
            features = int.from_bytes(file.read(80)[72:80], "big")
        if features & 2:
            raise Failure(f"{self.layers[-1]} is marked corrupt")
        if not features & 1:
            self.check()
        return features & 1

    def check(self, *words):
        top = self.layers[-1]
        done = run("qemu-img", "check", *words, "--output=json", "-f", "qcow2", top, fails=True)
        if done.returncode not in (0, 3):
            raise Failure(f"qemu-img check {top}: {done.returncode}\n{done.stdout}{done.stderr}")
        leaks = json.loads(done.stdout).get("leaks", 0) if done.returncode else 0
        self.totals["leaks"] += max(0, leaks - self.leaks.get(top, 0))
        self.leaks[top] = leaks

    def judge(self, client, was_dirty):
        piece = 1 << 20
        data = b"".join(client.read(offset, piece) for offset in range(0, SECTORS * SECTOR, piece))
        found = self.model.judge(data)
        self.totals["judged"] += SECTORS
        for _, kind, _, _ in found:
            self.totals[kind] += 1
        if found:
            lines = [f"sector {sector}: {kind}: {what}, may be {allowed}" for sector, kind, what, allowed in found[:20]]
            raise Failure(f"{len(found)} sectors of {self.layers[-1]}\n" + "\n".join(lines))
        client.flush()
        if was_dirty:
            self.check("-U")
        if self.fio_seed is not None:
            run(*self.fio(self.fio_seed, "--verify_only"))
            self.totals["fio"] += 1

    def fio(self, seed, *words):
        return ["fio", "--name=kill", "--ioengine=nbd", f"--uri=nbd+unix:///disk?socket={self.scratch}/nbd", "--rw=randwrite",
                f"--offset={FIO_OFFSET}", f"--size={FIO_SIZE}", "--bsrange=512-64k", "--iodepth=8", f"--randseed={seed}",
                "--verify=crc32c", "--do_verify=1", "--verify_fatal=1", "--end_fsync=1", "--verify_state_save=0", "--output-format=terse", *words]
