"""Two folders with the same images, one of them changed by qemu-img and the other by this program."""
import json, os, re, shutil, subprocess

# What depends on where clusters lie in the file, on the clock or on who made the image.
LOCAL = {"actual-size", "date-sec", "date-nsec", "vm-clock-sec", "vm-clock-nsec", "image-end-offset", "fragmented-clusters"}
PATIENCE = 20                       # seconds, for one command


class Difference(Exception):
    pass


class Endless(Exception):
    """One of QEMU's tools does not end."""


class Sides:
    def __init__(self, program, folder):
        # The size of the clusters of all images; whoever writes the commands sets it.
        self.cluster = 65536
        self.theirs, self.ours, tools = folder / "qemu", folder / "nacre", folder / "tools"
        for each in (self.theirs, self.ours, tools):
            each.mkdir()
        for name in ("qemu-img", "qemu-io"):
            (tools / name).symlink_to(program)
        self.img = {self.theirs: shutil.which("qemu-img"), self.ours: str(tools / "qemu-img")}
        self.io = {self.theirs: shutil.which("qemu-io"), self.ours: str(tools / "qemu-io")}
        if self.call([self.io[self.ours], "--version"], folder).returncode:
            self.io[self.ours] = self.io[self.theirs]
        helps = self.call([self.img[self.ours], "--help"], folder).stdout
        self.commands = set(re.findall(r"(?m)^  (\w+)", helps))

    def call(self, words, folder):
        return subprocess.run(words, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, errors="replace", timeout=PATIENCE,
                              env={**os.environ, "SWIFT_BACKTRACE": "enable=no", "TZ": "UTC"})

    def one(self, words, side, folder=None):
        """One side's tool, on its own images or on the other's."""
        tool = self.io if words[0] == "io" else self.img
        try:
            return self.call([tool[side]] + (words[1:] if words[0] == "io" else words), folder or side)
        except subprocess.TimeoutExpired:
            said = " ".join(map(str, words))
            raise Endless if side == self.theirs else Difference(f"{said} does not end") from None

    def run(self, words):
        """The command on both sides; answers how it ended, which is the same."""
        theirs, ours = self.one(words, self.theirs), self.one(words, self.ours)
        if theirs.returncode != ours.returncode:
            raise Difference(f"exit codes {theirs.returncode} and {ours.returncode}\nqemu: {theirs.stderr}nacre: {ours.stderr}")
        for theirs_said, ours_said in ((theirs.stdout, ours.stdout), (theirs.stderr, ours.stderr)):
            if self.plain(words, theirs_said) != self.plain(words, ours_said):
                raise Difference(f"what is said\nqemu: {theirs_said}nacre: {ours_said}")
        return ours

    def plain(self, words, text):
        """What is said without what may differ."""
        if words[0] == "io":
            return re.sub(r"(?m)^.* ops; .*\n", "", text)
        if words[0] == "map":
            if "--output=json" in words and text.startswith("["):
                return self.runs(text)
            return self.rows(text)
        if "--output=json" in words and text.startswith("{"):
            return self.without(json.loads(text))
        # QEMU calls a node by a number of its own here, and we by its file.
        text = re.sub(r"persistent in '[^']*'", "persistent in 'NODE'", text)
        text = re.sub(r"(?m)^(disk size|Image end offset): .*\n|^\d+/\d+ = .* allocated.*\n", "", text)
        # QEMU's status of a run says too whether the disk ends with it, which counts for it as a difference where it begins.
        text = re.sub(r"(?m)^(Strict mode: Offset) \d+", r"\1 N", text)
        return re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "DATE", text)

    def without(self, value):
        if isinstance(value, dict):
            return {key: self.without(each) for key, each in value.items() if key not in LOCAL}
        return [self.without(each) for each in value] if isinstance(value, list) else value

    def runs(self, text):
        """A map as runs that differ in more than where they lie."""
        found = []
        for each in json.loads(text):
            # Where data lies on a hole of the host's file depends on where it lies.
            kind = {key: each.get(key) for key in ("depth", "present", "data")} | {"placed": "offset" in each}
            kind["zero"] = each["zero"] and not each["data"]
            if found and found[-1][1] == kind:
                found[-1][2] += each["length"]
            else:
                found.append([each["start"], kind, each["length"]])
        return found

    def rows(self, text):
        """A map for people, in whole clusters and without where they lie: of a new cluster we leave a hole in the host's file
        what QEMU makes zeros of, which both programs show where the file takes less room than its clusters."""
        found = []
        for start, length, file in re.findall(r"(?m)^(0x\w+|0)\s+(0x\w+|0)\s+\S+\s+(\S+)$", text):
            first = int(start, 16) // self.cluster * self.cluster
            end = -(-(int(start, 16) + int(length, 16)) // self.cluster) * self.cluster
            if found and found[-1][2] == file and found[-1][1] >= first:
                found[-1][1] = end
            else:
                found.append([first, end, file])
        return found or text

    def compare(self, name, format):
        """Guest content, map and info of both sides' image; and each program's view of the other's."""
        there = [(side / name).exists() for side in (self.theirs, self.ours)]
        if there != [True, True]:
            raise Difference(f"'{name}' is there: {there}")
        same = self.one(["compare", "-f", format, "-F", format, self.theirs / name, self.ours / name], self.theirs)
        opens = self.one(["map", "-f", format, name], self.theirs).returncode == 0
        if same.returncode != 0 and opens:
            raise Difference(f"'{name}': {same.stdout}{same.stderr}")
        for words in (["map", "--output=json", "-f", format, name], ["info", "--output=json", "-f", format, name],
                      ["check", "-f", format, name]):
            self.run(words)
            for side in (self.theirs, self.ours):
                theirs, ours = (self.one(words, each, side) for each in (self.theirs, self.ours))
                if (theirs.returncode, theirs.stdout) != (ours.returncode, ours.stdout):
                    raise Difference(f"of the same image {' '.join(words)} says\nqemu: {theirs.stdout}{theirs.stderr}"
                                     f"nacre: {ours.stdout}{ours.stderr}")
