#!/usr/bin/env python3
"""Runs commands on hostile images, each under a limit of its own, two at a time, and says what each of them cost.

hostile.py PROGRAM MANIFEST: a line of the manifest is FOLDER, NAME, SECONDS, TRACE (0 or 1), INPUT (what the command
finds on its standard input) and the words of a command, separated by tabs. A line of the answer is the folder, the name, how it ended (the exit status, or minus a signal),
milliseconds of CPU, KiB of memory at the peak, whether any file of the folder changed (0 or 1), the paths opened and
what the program complained of, separated by tabs. SECONDS are of CPU; a command that waits for something is killed too,
ten seconds and five times as many later. Paths below the folder are told from there; of all others only those of the
system's that every program opens, its libraries and its own view of itself, are left out.
"""
import concurrent.futures
import hashlib
import itertools
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import threading

CALLS = "open,openat,openat2,creat"
OPENED = re.compile(r'(?:open|openat|openat2|creat)\((?:AT_FDCWD, |\d+, )?"((?:[^"\\]|\\.)*)".*\) = (\d+)')


def contents(folder):
    """A number for all that the folder's files are; holes are passed over."""
    digest = hashlib.sha256()
    for root, folders, files in sorted(os.walk(folder)):
        for name in sorted(files):
            path = os.path.join(root, name)
            if os.path.islink(path):
                continue
            state = os.stat(path)
            digest.update(f"{path}".encode())
            with open(path, "rb", buffering=0) as file:
                at = 0
                while True:
                    try:
                        at = os.lseek(file.fileno(), at, os.SEEK_DATA)
                    except OSError:
                        break
                    end = os.lseek(file.fileno(), at, os.SEEK_HOLE)
                    while at < end:
                        part = os.pread(file.fileno(), min(end - at, 1 << 20), at)
                        digest.update(part)
                        at += len(part)
    return digest.digest()


def opened(trace, folder):
    """The paths that were opened, links resolved below the folder, without those of the system."""
    found = set()
    base = os.path.realpath(folder)
    for line in trace.splitlines():
        match = OPENED.search(line)
        if not match:
            continue
        path = match.group(1).encode().decode("unicode_escape")
        real = os.path.realpath(os.path.join(folder, path))
        if real.startswith(base + os.sep):
            found.add(os.path.relpath(real, base))
        elif not SYSTEM.fullmatch(path):
            found.add(path)
    return sorted(found)


# What a program opens for itself: the libraries that it is linked with, and what these ask about host and user.
SYSTEM = re.compile(
    r"(?:/\S+)?/lib[^/\s]+\.so(?:\.[0-9]+)*|/etc/(?:ld\.so\.(?:cache|preload)|localtime|passwd|group|nsswitch\.conf)"
    r"|/usr/(?:lib|share)/(?:locale|zoneinfo)/\S+|/usr/lib/\S*/gconv/\S+|/proc/self/(?:maps|exe|status|cgroup|mountinfo)"
    r"|/proc/(?:meminfo|cpuinfo|stat|sys/vm/overcommit_memory)|/sys/(?:devices/system/(?:cpu|node)|fs/cgroup)/\S+|/dev/u?random")


def stamps(folder):
    """When each file was written last, and how long it is."""
    states = []
    for root, _, files in sorted(os.walk(folder)):
        for name in sorted(files):
            state = os.lstat(os.path.join(root, name))
            states.append((root, name, state.st_size, state.st_mtime_ns))
    return states


def run(folder, name, seconds, trace, input, *words):
    def limit():
        resource.setrlimit(resource.RLIMIT_CPU, (int(seconds), int(seconds) + 1))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    file = tempfile.TemporaryFile
    with tempfile.NamedTemporaryFile("r") as log, file() as said_to, file() as out, file() as err:
        said_to.write(input.encode())
        said_to.seek(0)
        command = [sys.argv[1]] + list(words)
        if trace == "1":
            command = ["strace", "-f", "--seccomp-bpf", "-qq", "-e", "trace=" + CALLS, "-s", "4096", "-o", log.name] + command
        child = subprocess.Popen(
            command, cwd=folder, stdin=said_to, stdout=out, stderr=err, preexec_fn=limit,
            start_new_session=True)
        # A command that waits uses no CPU: the clock on the wall ends it, and the tracer with it.
        timer = threading.Timer(10 + 5 * int(seconds), os.killpg, (child.pid, signal.SIGKILL))
        timer.start()
        _, status, used = os.wait4(child.pid, 0)
        timer.cancel()
        child.returncode = os.waitstatus_to_exitcode(status)
        paths = opened(log.read(), folder)
        err.seek(0)
        # What was wrong comes last, behind what was opened on the way.
        complaint = err.read()[-400:].decode(errors="replace")
    milliseconds = int((used.ru_utime + used.ru_stime) * 1000)
    said = "".join(letter if letter.isprintable() else " " for letter in complaint)
    return [folder, name, child.returncode, milliseconds, used.ru_maxrss, 0, "|".join(paths), said]


def run_all(commands):
    """Runs all commands of one folder; what any of them changed is the last one's to answer for."""
    folder = commands[0][0]
    before = (stamps(folder), contents(folder))
    answers = [run(*command) for command in commands]
    answers[-1][5] = int((stamps(folder), contents(folder)) != before)
    return answers


with open(sys.argv[2]) as manifest:
    lines = [line.rstrip("\n").split("\t") for line in manifest]
folders = [list(group) for _, group in itertools.groupby(lines, key=lambda words: words[0])]
with concurrent.futures.ThreadPoolExecutor(2) as pool:
    for answers in pool.map(run_all, folders):
        for answer in answers:
            print(*answer, sep="\t")
