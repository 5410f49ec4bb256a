"""The disks that the workloads run on: made once and shared where they are only read or overwritten, else anew."""
import dataclasses, os, pathlib, random, shutil, subprocess

MIB = 1 << 20
CLUSTER = 64 << 10


@dataclasses.dataclass(frozen=True)
class Disk:
    """A qcow2 image and what lies below it, top first. `options` are those of each format node and of its file."""
    layers: tuple
    size: int
    options: tuple = ()
    raw: pathlib.Path | None = None     # the same bytes as a raw file, for servers that know no qcow2
    copies: int = 1                     # how many such images are served, of `layers` of one each

    @property
    def path(self):
        return self.layers[0]


def qemu(*command, text=None):
    subprocess.run([str(word) for word in command], check=True, capture_output=True, input=text, text=True)


def settle(path):
    """Writes the file back and reads it into the page cache anew, page by page: as a guest's small requests would find it.
    (What was written in one go lies there in folios of up to 2 MiB. On ext4 a small write then walks through all 512
    blocks of one, 10 to 25 µs whoever serves, and nothing else would be seen.)"""
    with open(path, "r+b", buffering=0) as file:
        os.fsync(file)
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        while file.read(MIB):
            pass


class Disks:
    """The folder where they lie, on the file system that is measured."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.made = {}

    def get(self, kind):
        """A disk of this kind: a method's name. The shared ones are kept, those of `fresh_` are the caller's to drop."""
        if kind.startswith("fresh_"):
            return getattr(self, kind)()
        if kind not in self.made:
            self.made[kind] = getattr(self, kind)()
        return self.made[kind]

    def drop(self, kind, disk):
        if kind.startswith("fresh_"):
            disk.path.unlink(missing_ok=True)

    def create(self, name, size, *options, backing=None):
        path = self.folder / name
        below = ["-b", backing, "-F", "qcow2"] if backing else []
        wanted = [word for option in options for word in ("-o", option)]
        qemu("qemu-img", "create", "-q", "-f", "qcow2", *wanted, *below, path, *([] if backing else [size]))
        return path

    def filled(self, name, size):
        path = self.create(name, size)
        step = 256 * MIB
        writes = "".join(f"write -q -P 171 {at} {min(step, size - at)}\n" for at in range(0, size, step))
        qemu("qemu-io", "-f", "qcow2", path, text=writes + "flush\n")
        settle(path)
        return path

    # The kinds.

    def full(self):
        """512 MiB, all of it written, and the same raw."""
        path, raw = self.filled("full.qcow2", 512 * MIB), self.folder / "full.raw"
        qemu("qemu-img", "convert", "-f", "qcow2", "-O", "raw", "-S", "0", path, raw)
        settle(raw)
        return Disk((path,), 512 * MIB, raw=raw)

    def direct(self):
        """The full disk, past the page cache."""
        return dataclasses.replace(self.get("full"), options=("cache.direct=true",))

    def chain(self):
        """A base and 8 overlays, which share the clusters out by chance."""
        size, deal = 512 * MIB, random.Random(8)
        layers = [self.filled("chain0.qcow2", size)]
        owner = [deal.randrange(9) for _ in range(size // CLUSTER)]
        for depth in range(1, 9):
            path = self.create(f"chain{depth}.qcow2", size, backing=layers[0])
            qemu("qemu-io", "-f", "qcow2", path, text="".join(
                f"write -q -P {depth} {cluster * CLUSTER} {CLUSTER}\n"
                for cluster, layer in enumerate(owner) if layer == depth))
            settle(path)
            layers.insert(0, path)
        return Disk(tuple(layers), size)

    def base(self):
        return Disk((self.filled("base.qcow2", 2048 * MIB),), 2048 * MIB)

    def fresh_empty(self):
        return Disk((self.create("empty.qcow2", 16384 * MIB),), 16384 * MIB)

    def fresh_overlay(self):
        base = self.get("base")
        return Disk((self.create("overlay.qcow2", base.size, backing=base.path), base.path), base.size)

    def fresh_mapped(self):
        """4 GiB that have their places and were never written."""
        path = self.create("mapped.qcow2", 4096 * MIB, "preallocation=falloc")
        return Disk((path,), 4096 * MIB, options=("discard=unmap",))

    def tebibyte(self):
        """1 TiB, every cluster of which is mapped: 128 MiB of tables."""
        size = 1 << 40
        return Disk((self.create("tebibyte.qcow2", size, "preallocation=metadata"),), size)

    def sixteen(self):
        paths = [self.create(f"small{number}.qcow2", 1024 * MIB) for number in range(16)]
        return Disk(tuple(paths), 1024 * MIB, copies=16)

    def small(self):
        return Disk((self.filled("small.qcow2", 16 * MIB),), 16 * MIB)

    def fresh_live(self):
        """An overlay of its own folder, on which live snapshots are put."""
        folder = self.folder / "live"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        path = folder / "top.qcow2"
        base = self.get("full")
        qemu("qemu-img", "create", "-q", "-f", "qcow2", "-b", base.path, "-F", "qcow2", path)
        return Disk((path, base.path), base.size)
