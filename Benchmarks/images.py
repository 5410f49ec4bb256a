#!/usr/bin/env python3
"""The image tool beside qemu-img: convert, map, compare, info and create, ours and theirs in turn (A B A B …), in one run.

usage: images.py NACRE [--work NAME]… [--rounds 3] [--qemu-img PROGRAM]… [--folder DIR]

The disk is a GiB of real files: /usr, packed. Prints CPU time (user and system), wall time, peak memory and the size of what
was made, and the median of the rounds' ratios. Exits with 1 where a target is missed. The first round warms up.
"""
import argparse, dataclasses, os, pathlib, resource, statistics, subprocess, sys, tempfile, time

GIB = 1 << 30
MIB = 1 << 20


@dataclasses.dataclass(frozen=True)
class Work:
    name: str
    title: str
    words: tuple                    # `{files}` and so on are images, `{out}` is what is made
    targets: tuple = ()             # of figures, the most that ours may be of theirs


def convert(source, *options):
    return ("convert", *options, "{%s}" % source, "{out}")


WORKS = (
    Work("deflate-out", "raw → qcow2, deflate", convert("files", "-f", "raw", "-c", "-O", "qcow2"),
         (("cpu", 0.1), ("size", 1.12))),
    Work("deflate-in", "qcow2, deflate → raw", convert("deflate", "-f", "qcow2", "-O", "raw"), (("cpu", 0.5),)),
    Work("zstd-out", "raw → qcow2, zstd",
         convert("files", "-f", "raw", "-c", "-O", "qcow2", "-o", "compression_type=zstd"), (("cpu", 0.9),)),
    Work("zstd-in", "qcow2, zstd → raw", convert("zstd", "-f", "qcow2", "-O", "raw"), (("cpu", 0.9),)),
    Work("copy", "qcow2 → qcow2, uncompressed", convert("plain", "-f", "qcow2", "-O", "qcow2"), (("wall", 0.8),)),
    Work("sparse-convert", "1 TiB, sparse: convert", convert("sparse", "-f", "qcow2", "-O", "qcow2"), (("wall", 1),)),
    Work("sparse-map", "1 TiB, sparse: map", ("map", "-f", "qcow2", "--output=json", "{sparse}"), (("wall", 1),)),
    Work("sparse-compare", "1 TiB, sparse: compare",
         ("compare", "-f", "qcow2", "-F", "qcow2", "{sparse}", "{sparse}"), (("wall", 1),)),
    Work("info", "info", ("info", "{plain}"), (("wall", 1),)),
    Work("create", "create", ("create", "-q", "-f", "qcow2", "{out}", "20G"), (("wall", 1),)),
)

# Beside the buffers that convert states: 8 of 2 MiB, and 4 MiB and a little under way in the compression.
STATED_BUFFERS = 24 * MIB
MEMORY_LIMIT = 64 * MIB


class Images:
    """What the works read, made once by qemu-img."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)

    def path(self, name):
        path = self.folder / name
        if not path.exists():
            getattr(self, name)(path)
        return path

    def files(self, path):
        subprocess.run(f"tar -cf - --sort=name /usr 2>/dev/null | head -c {GIB} > {path}", shell=True)
        assert path.stat().st_size == GIB, "/usr is smaller than a GiB"

    def qemu(self, *words):
        subprocess.run(["qemu-img", *map(str, words)], check=True, capture_output=True)

    def deflate(self, path):
        self.qemu("convert", "-W", "-f", "raw", "-c", "-O", "qcow2", self.path("files"), path)

    def zstd(self, path):
        self.qemu("convert", "-W", "-f", "raw", "-c", "-O", "qcow2", "-o", "compression_type=zstd", self.path("files"), path)

    def plain(self, path):
        self.qemu("convert", "-f", "raw", "-O", "qcow2", self.path("files"), path)

    def sparse(self, path):
        self.qemu("create", "-q", "-f", "qcow2", path, "1T")
        writes = "".join(f"write -q -P 7 {at}G 128k\n" for at in range(0, 1024, 8))
        subprocess.run(["qemu-io", "-f", "qcow2", path], check=True, capture_output=True, input=writes, text=True)


def measure(program, work, images):
    out = images.folder / "out"
    names = {name: images.path(name) for name in ("files", "deflate", "zstd", "plain", "sparse")
             if any("{%s}" % name in word for word in work.words)}
    words = [word.format(out=out, **names) for word in work.words]
    out.unlink(missing_ok=True)
    began = time.monotonic()
    child = subprocess.Popen([program, *words], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    wall = time.monotonic() - began
    if status:
        raise SystemExit(f"{program} {' '.join(words)} ended with {os.waitstatus_to_exitcode(status)}")
    figures = {"cpu": used.ru_utime + used.ru_stime, "wall": wall, "memory": used.ru_maxrss / 1024}
    if out.exists():
        figures["size"] = out.stat().st_blocks * 512 / MIB
    return figures


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("nacre")
    parser.add_argument("--work", action="append", choices=[work.name for work in WORKS])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--qemu-img", default="qemu-img")
    parser.add_argument("--folder")
    arguments = parser.parse_args()
    missed = 0
    with tempfile.TemporaryDirectory(prefix="nacre-bench-", dir=arguments.folder) as folder:
        ours = os.path.join(folder, "qemu-img")
        os.symlink(os.path.abspath(arguments.nacre), ours)
        images = Images(folder)
        for work in WORKS:
            if arguments.work and work.name not in arguments.work:
                continue
            rounds = [(measure(ours, work, images), measure(arguments.qemu_img, work, images))
                      for _ in range(arguments.rounds + 1)][1:]
            median = lambda side, figure: statistics.median(each[side][figure] for each in rounds)
            print(f"{work.name:15} {work.title}")
            for side, name in enumerate(("ours", "theirs")):
                print("  " + f"{name:7}" + "  ".join(f"{figure} {median(side, figure):.3f}" for figure in rounds[0][side]))
            for figure, bound in work.targets:
                ratio = statistics.median(each[0][figure] / each[1][figure] for each in rounds)
                missed += ratio > bound
                print(f"  {figure} {ratio:.2f}×, target ≤ {bound:g}× {'met' if ratio <= bound else 'MISSED'}", flush=True)
            if work.words[0] == "convert":
                beside = median(0, "memory") * MIB - STATED_BUFFERS
                missed += beside > MEMORY_LIMIT
                print(f"  memory beside the stated buffers {beside / MIB:.0f} MiB, target ≤ {MEMORY_LIMIT // MIB}")
    sys.exit(1 if missed else 0)


main()
