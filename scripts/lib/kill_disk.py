"""A file system of its own that can crash, as a host does when its power is cut."""
import contextlib, fcntl, os, shutil, subprocess, time


class Failure(Exception):
    """What must not be."""


def run(*words, fails=False):
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode and not fails:
        raise Failure(f"{' '.join(words)}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def released(path):
    """Waits until the kernel has ended what a killed process had under way: up to then its ring holds the image's locks."""
    end = time.monotonic() + 30
    with contextlib.suppress(FileNotFoundError), open(path, "r+b") as file:
        while time.monotonic() < end:
            with contextlib.suppress(BlockingIOError):
                return fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            time.sleep(0.005)
        raise Failure(f"{path} is still locked")


class Disk:
    """A folder on a file system of its own, that can crash."""

    def __init__(self, kind, scratch):
        self.kind, self.image, self.folder = kind, f"{scratch}/disk", f"{scratch}/fs"

    def __enter__(self):
        shutil.rmtree(self.folder, ignore_errors=True)
        os.mkdir(self.folder)
        if self.kind != "none":
            with open(self.image, "wb") as file:
                file.truncate(512 << 20)
            run(f"mkfs.{self.kind}", "-F" if self.kind == "ext4" else "-f", "-q", self.image)
            self.mount()
        return self

    def mount(self):
        command = ["mount", "-t", self.kind, "-o", "loop", self.image, self.folder]
        # Until the kernel has let the crashed one go, btrfs refuses a file system of the same name.
        for _ in range(600):
            if not run(*command, fails=True).returncode:
                return
            time.sleep(0.1)
        run(*command)

    def unmount(self):
        # The kernel may still be letting go of a killed process's requests.
        for _ in range(1500):
            if not run("umount", self.folder, fails=True).returncode:
                return
            time.sleep(0.02)
        run("umount", "-l", self.folder)

    def __exit__(self, *_):
        if os.path.ismount(self.folder):
            self.unmount()
        shutil.rmtree(self.folder, ignore_errors=True)

    def sync(self):
        run("sync", "--file-system", self.folder)

    def extents(self):
        """What its disk holds: (offset, bytes) for all that is not a hole."""
        result, end = [], 0
        with open(self.image, "rb") as file:
            while True:
                try:
                    start = os.lseek(file.fileno(), end, os.SEEK_DATA)
                except OSError:
                    return result
                end = os.lseek(file.fileno(), start, os.SEEK_HOLE)
                result.append((start, os.pread(file.fileno(), end - start, start)))

    def crash(self):
        """Goes on with what the file system's disk holds now. Read twice alike, it is the state of one moment."""
        before, now = None, self.extents()
        while before != now:
            before, now = now, self.extents()
        self.unmount()
        os.remove(self.image)
        with open(self.image, "wb") as file:
            file.truncate(512 << 20)
            for start, data in now:
                os.pwrite(file.fileno(), data, start)
        self.mount()
