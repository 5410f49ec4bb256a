"""Runs QEMU's tests with one set of programs or another."""
import concurrent.futures, contextlib, itertools, os, pathlib, re, shutil, signal, subprocess, tempfile

TOOLS = ("qemu-img", "qemu-io", "qemu-nbd", "qemu-storage-daemon")
VARIABLES = dict(zip(TOOLS, ("QEMU_IMG_PROG", "QEMU_IO_PROG", "QEMU_NBD_PROG", "QSD_PROG")))
PYTHON = "/usr/bin/python3"
# As root some tests are skipped and some find what root may do.
USER = "nobody"
PATIENCE = 180                      # seconds, for one test

# The tests ask the emulator what it can do even where they do not start it.
EMULATOR = """#!/bin/sh
case "$*" in
  *"-machine help"*) echo "none                 empty machine" ;;
  *"-device help"*) echo 'name "virtio-blk", bus virtio-bus' ;;
  *"format=help"*) echo "Supported formats: blkdebug blkverify bochs cloop copy-on-read dmg file host_device luks nbd null-aio null-co parallels \
preallocate qcow qcow2 qed quorum raw throttle vdi vhdx vmdk vpc vvfat" ;;
  *) echo "this stands in for an emulator and runs no guest" >&2; exit 1 ;;
esac
"""


class Bench:
    """A folder that another user may work in, with a copy of the tests."""

    def __init__(self, suite, folder, jobs):
        self.folder, self.jobs = folder, jobs
        folder.chmod(0o755)
        shutil.copytree(suite, folder / "qemu", symlinks=True)
        self.tests = folder / "qemu/tests/qemu-iotests"
        self.emulator = folder / "emulator"
        self.emulator.write_text(EMULATOR)
        self.emulator.chmod(0o755)
        self.as_user = []
        if os.geteuid() == 0:
            self.as_user = ["setpriv", f"--reuid={USER}", "--regid=nogroup", "--clear-groups", "--"]
            subprocess.run(["chown", "-R", f"{USER}:nogroup", folder / "qemu"], check=True)

    def installed(self):
        """The system's own tools."""
        return {tool: shutil.which(tool) for tool in TOOLS}

    def standing_in(self, program):
        """This program under the names of the tools; where it has no such tool, the system's."""
        place = self.folder / "bin"
        if not place.exists():
            place.mkdir()
            shutil.copy(program, place / "nacre")
        found = {}
        for tool in TOOLS:
            link = place / tool
            if not link.exists():
                link.symlink_to("nacre")
            exists = subprocess.run([link, "--version"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0
            found[tool] = str(link) if exists else shutil.which(tool)
            if not exists:
                print(f"{program} is no {tool}: the system's is used")
        return found

    def check(self, arguments, tools):
        """Runs the suite's own runner in a folder of its own; answers what it prints, and the folder. None: it does not end."""
        place = pathlib.Path(tempfile.mkdtemp(dir=self.folder, prefix=""))
        place.chmod(0o755)
        for each in (place / "t", place / "s"):
            each.mkdir()
            if self.as_user:
                shutil.chown(each, USER, "nogroup")
        environment = {"PATH": os.environ["PATH"], "HOME": str(place), "LANG": "C.UTF-8", "PYTHON": PYTHON,
                       "PYTHONDONTWRITEBYTECODE": "1", "SWIFT_BACKTRACE": "enable=no", "QEMU_PROG": str(self.emulator),
                       "TEST_DIR": str(place / "t"), "SOCK_DIR": str(place / "s")}
        environment |= {VARIABLES[tool]: path for tool, path in tools.items()}
        run = subprocess.Popen(self.as_user + [PYTHON, "./check", *arguments], cwd=self.tests, env=environment,
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                               errors="replace", start_new_session=True)
        try:
            return run.communicate(timeout=PATIENCE)[0], place
        except subprocess.TimeoutExpired:
            return None, place
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(run.pid, signal.SIGKILL)
            run.wait()
            self.sweep(place)

    def sweep(self, place):
        """Ends what a test has left running by itself: a server that works in the test's folder."""
        for each in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                if str(place).encode() in each.read_bytes():
                    os.kill(int(each.parent.name), signal.SIGKILL)

    def known(self, kind, group, wanted):
        """Which of the wanted tests are in the group."""
        printed, _ = self.check(["-n", f"-{kind}"] + (["-g", group] if group else wanted), self.installed())
        there = {line.split("/")[-1] for line in printed.split()}
        return [test for test in wanted if test in there]

    def run(self, kind, names, tools, keep):
        """Each test with its outcome and a word about it where it has not passed, as they end."""
        with concurrent.futures.ThreadPoolExecutor(self.jobs) as pool:
            yield from zip(names, pool.map(lambda name: self.one(kind, name, tools, keep), names))

    def one(self, kind, name, tools, keep):
        printed, place = self.check(["-tap", f"-{kind}", name], tools)
        try:
            if printed is None:
                return "failed", f"it has not ended after {PATIENCE} s"
            if re.search(rf"(?m)^ok {kind} {name}$", printed):
                return "passed", ""
            if re.search(rf"(?m)^ok {kind} {name} # SKIP", printed):
                reason = place / "t" / f"{name}.notrun"
                return "skipped", reason.read_text().strip() if reason.exists() else ""
            return "failed", self.why(kind, name, place / "t" / f"{name}.out.bad", keep)
        finally:
            shutil.rmtree(place, ignore_errors=True)

    def why(self, kind, name, bad, keep):
        """The first line that is not as it should be."""
        if not bad.exists():
            return "it has not run"
        test = next(each for each in (self.tests / name, self.tests / "tests" / name) if each.exists())
        good = next(each for each in (test.with_name(f"{name}.out.{kind}"), test.with_name(f"{name}.out")) if each.exists())
        if keep:
            keep.mkdir(parents=True, exist_ok=True)
            shutil.copy(bad, keep / f"{name}.bad")
            shutil.copy(good, keep / f"{name}.good")
        got, wanted = (each.read_text(errors="replace").split("\n") for each in (bad, good))
        for mine, theirs in itertools.zip_longest(got, wanted, fillvalue=""):
            if mine.rstrip() != theirs.rstrip():
                return "`" + (mine.replace("|", "\\|").replace("`", "'")[:110] or "(nothing)") + "`"
        return "its exit code"
