"""Writes random image commands: most of them make sense for the images that are there, some do not."""
import dataclasses, random

KIB, MIB = 1 << 10, 1 << 20


@dataclasses.dataclass
class Image:
    format: str
    size: int
    backing: str | None = None
    bitmaps: int = 0
    snapshots: int = 0
    isOld: bool = False
    isPreallocated: bool = False


class Writer:
    """The same seed gives the same commands, as long as both programs know the same ones."""

    WEIGHTS = {"create": 4, "write": 9, "rebase": 4, "commit": 3, "snapshot": 3, "resize": 3, "amend": 2, "bitmap": 2,
               "convert": 3, "map": 1, "info": 1, "check": 1, "compare": 1, "measure": 1, "dd": 1}

    def __init__(self, seed, commands):
        self.random = random.Random(seed)
        self.images, self.made = {}, 0
        # Some kinds are left out of a whole sequence, so that others pile up.
        off = set(self.random.sample(sorted(self.WEIGHTS), 3)) - {"create", "write"}
        self.kinds = [kind for kind in self.WEIGHTS if kind in commands | {"write"} and kind not in off]
        self.cluster = self.random.choice([4096, 65536, 65536, 65536, 512, 1024, 16384])

    def next(self):
        kind = "create"
        if self.images:
            kind = self.random.choices(self.kinds, [self.WEIGHTS[each] for each in self.kinds])[0]
        return getattr(self, kind)()

    def done(self, words, succeeded):
        """Notes what the command made of the images."""
        if not succeeded:
            return
        if words[0] in ("create", "convert", "dd"):
            self.images[self.new_name] = self.new
            self.new.isOld = any("compat=0.10" in word for word in words)
            self.new.isPreallocated = any("preallocation=" in word for word in words)
        elif words[0] == "amend" and words[-2].startswith("compat="):
            self.images[words[-1]].isOld = words[-2] == "compat=0.10"
        elif words[0] == "rebase":
            self.images[words[-1]].backing = self.target
        elif words[0] == "resize":
            self.images[words[-2]].size = self.target
            self.images[words[-2]].isPreallocated |= any("preallocation=" in word for word in words)
        elif words[0] == "snapshot" and "-c" in words:
            self.images[words[-1]].snapshots += 1
        elif words[0] == "bitmap" and "--add" in words:
            self.images[words[-2]].bitmaps += 1

    # Drawing

    def pick(self, *formats):
        names = [name for name, image in self.images.items() if not formats or image.format in formats]
        return self.random.choice(names or list(self.images))

    def chance(self, percent):
        return self.random.random() * 100 < percent

    def new_size(self):
        size = self.random.choice([MIB, 2 * MIB, self.random.randrange(1, 6 * MIB)])
        return max(512, size & ~511)

    def range(self, image):
        unit = self.random.choice([512, 4096, self.cluster, self.cluster])
        start = self.random.randrange(max(1, image.size)) // unit * unit
        count = min(self.random.choice([unit, unit * self.random.randrange(1, 9)]), image.size - start)
        return start, max(0, count)

    def fresh(self, format, size, backing=None):
        self.made += 1
        self.new, self.new_name = Image(format, size, backing), f"{self.made}.{format}"
        return self.new_name

    # Commands

    def create(self):
        if self.chance(20):
            size = self.new_size()
            return ["create", "-f", "raw", self.fresh("raw", size), str(size)]
        options = [f"cluster_size={self.cluster}"]
        if self.chance(20):
            options.append("compat=0.10")
        elif self.chance(25) and self.cluster >= 16384:
            options.append("extended_l2=on")
        if self.chance(10):
            options.append(f"refcount_bits={self.random.choice([1, 8, 16, 64])}")
        if self.chance(10):
            options.append("lazy_refcounts=on")
        words, backing, size = ["create", "-f", "qcow2"], None, self.new_size()
        if self.images and self.chance(60):
            backing = self.pick()
            words += ["-b", backing, "-F", self.images[backing].format]
            size = self.images[backing].size if self.chance(60) else size
        elif self.chance(25) and self.cluster >= 4096:
            # Of clusters that share a block of the host's file system, what reads as a hole depends on their neighbours in the file.
            options.append(f"preallocation={self.random.choice(['metadata', 'falloc', 'full'])}")
        return words + ["-o", ",".join(options), self.fresh("qcow2", size, backing), str(size)]

    def write(self):
        name = self.pick()
        image, words = self.images[name], []
        for _ in range(self.random.randrange(1, 5)):
            start, count = self.range(image)
            kind = self.random.choice(["write -P {}", "write -P {}", "write -P {}", "write -z", "write -z -u", "discard"])
            if "-z" in kind and image.format == "qcow2":
                # Of a part of a cluster, and in version 2, QEMU makes other clusters than we do; they read the same.
                start = start // self.cluster * self.cluster
                count = min(self.cluster * self.random.randrange(1, 5), (image.size - start) // self.cluster * self.cluster)
                if image.isOld or not count:
                    kind = "write -P {}"
            words += ["-c", f"{kind.format(self.random.randrange(1, 256))} {start} {count}"]
        return ["io", "-f", image.format, *words, name]

    def rebase(self):
        name = self.pick("qcow2")
        others = [each for each in self.images if each != name]
        words, self.target = ["rebase", "-f", self.images[name].format], None
        if others and self.chance(75):
            self.target = self.random.choice(others)
            words += ["-b", self.target, "-F", self.images[self.target].format]
        elif self.chance(90):
            words += ["-b", ""]
        # In version 2 QEMU 7.2 cannot hide what a new backing file has where the disk reads as zeros, and says nothing. Here
        # zeros are written.
        if self.chance(20) or self.images[name].isOld and self.target:
            words.append("-u")
        return words + [name]

    def commit(self):
        name = self.random.choice([name for name, image in self.images.items() if image.backing] or list(self.images))
        words, base = ["commit", "-f", self.images[name].format], name
        if self.chance(30):
            for _ in range(self.random.randrange(1, 4)):
                base = self.images[base].backing if base in self.images and self.images[base].backing else base
            words += ["-b", base]
        if self.chance(30):
            words.append("-d")
        return words + [name]

    def snapshot(self):
        name = self.pick("qcow2")
        if self.images[name].format == "raw":
            # The command takes no format here, and of a raw image QEMU warns twice that it guessed one.
            return self.create()
        action = self.random.choice([["-c"], ["-c"], ["-a"], ["-d"], ["-l"]])
        if action != ["-l"]:
            action.append(f"s{self.random.randrange(3)}")
        return ["snapshot", *action, name]

    def resize(self):
        name = self.pick()
        image = self.images[name]
        if image.isOld and image.backing:
            # In version 2 QEMU cannot hide what a longer backing file has behind the disk's old end. Here zeros are written.
            return self.info()
        self.target = self.new_size()
        words = ["resize", "-f", image.format]
        if self.target < image.size and self.chance(85):
            words.append("--shrink")
        elif self.chance(20) and not (image.backing and image.format == "qcow2"):
            # Over a backing file QEMU makes the new places clusters of zeros, and we data that the file has a hole for.
            words.append(f"--preallocation={self.random.choice(['metadata', 'falloc', 'full'])}")
        return words + [name, str(self.target)]

    def amend(self):
        option = self.random.choice(
            ["compat=0.10", "compat=1.1", "lazy_refcounts=on", "lazy_refcounts=off", "refcount_bits=16", "refcount_bits=64",
             "refcount_bits=1"])
        return ["amend", "-f", "qcow2", "-o", option, self.pick("qcow2")]

    def bitmap(self):
        name = self.pick("qcow2")
        actions = ["--add", "--add", "--remove", "--clear", "--enable", "--disable"]
        words = ["bitmap", "-f", "qcow2", self.random.choice(actions)]
        if words[-1] == "--add" and self.chance(40):
            words += ["-g", str(self.random.choice([4096, 65536, 512]))]
        return words + [name, f"b{self.random.randrange(2)}"]

    def convert(self):
        name, format = self.pick(), self.random.choice(["qcow2", "qcow2", "raw"])
        words = ["convert", "-f", self.images[name].format, "-O", format]
        if format == "qcow2":
            words += ["-o", f"cluster_size={self.cluster}"]
            # Compressed clusters begin at sectors of their own here, so that a cluster of one sector is not compressed.
            if self.chance(30) and self.cluster > 512:
                words.append("-c")
        if self.chance(20):
            words += ["-S", self.random.choice(["0", "4k", "64k"])]
        return words + [name, self.fresh(format, self.images[name].size)]

    def dd(self):
        name, format = self.pick(), self.random.choice(["qcow2", "raw"])
        block, count = self.random.choice([512, 4096, 65536]), self.random.randrange(1, 40)
        words = ["dd", "-f", self.images[name].format, "-O", format, f"bs={block}", f"count={count}"]
        if self.chance(30):
            words.append(f"skip={self.random.randrange(10)}")
        size = min(block * count, self.images[name].size)
        return words + [f"if={name}", f"of={self.fresh(format, size)}"]

    def look(self, command):
        name = self.pick()
        return [command, *self.random.choice([["--output=json"], []]), "-f", self.images[name].format, name]

    def map(self):
        return self.look("map")

    def info(self):
        return self.look("info")

    def check(self):
        return self.look("check")

    def compare(self):
        first, second = self.pick(), self.pick()
        words = ["compare", "-f", self.images[first].format, "-F", self.images[second].format]
        return words + (["-s"] if self.chance(30) else []) + [first, second]

    def measure(self):
        name = self.pick()
        if any(each.isPreallocated for each in self.images.values()):
            # Where tables name places that the file does not fill, what counts as data depends on how the host's blocks lie.
            return ["info", "--output=json", "-f", self.images[name].format, name]
        return ["measure", "--output=json", "-O", self.random.choice(["qcow2", "raw"]), "-f", self.images[name].format, name]
