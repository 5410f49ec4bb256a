#!/usr/bin/env python3
"""Nacre beside its peers: every workload of the table, ours and theirs in turn (A B A B …), in one run.

usage: bench.py NACRE FLOOR [--workload NAME]… [--rounds 5] [--seconds 2] [--qemu-prefix DIR] [--folder DIR] [--record DIR]

Prints a line for each measurement and each target; --record writes performance.md and performance.svg there. Exits with 1
where a target is missed or could not be measured. Of each workload the first round warms up and does not count.
"""
import argparse, json, os, pathlib, sys, tempfile, time

sys.dont_write_bytecode = True
from servers import Servers
import clients, disks, figures, report
from workloads import WORKLOADS


def measure(workload, kind, servers, store, seconds):
    disk = store.get(workload.disk)
    try:
        if isinstance(workload.load, clients.Start):
            return workload.load(servers, kind, disk)
        with servers.start(kind, disk) as server:
            return workload.load(server, seconds, disk.size)
    finally:
        store.drop(workload.disk, disk)


def run(workload, servers, store, rounds, seconds):
    """The figures by server, of each round. A server that fails drops out of this workload, with a line that says why."""
    present = [kind for kind in workload.servers if servers.needs(kind)]
    for kind in set(workload.servers) - set(present):
        print(f"{workload.name:14} {kind:14} is not installed", flush=True)
    results = []
    for number in range(rounds + 1):
        row = {}
        for kind in list(present):
            try:
                row[kind] = measure(workload, kind, servers, store, min(seconds, 0.5) if number == 0 else seconds)
            except (Exception, SystemExit) as failure:
                print(f"{workload.name:14} {kind:14} failed: {failure}", flush=True)
                present.remove(kind)
                continue
            if number > 0:
                figures_text = "  ".join(f"{name} {value:.2f}" for name, value in row[kind].items())
                print(f"{workload.name:14} {kind:14} {figures_text}", flush=True)
        if number > 0:
            results.append(row)
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("nacre")
    parser.add_argument("floor")
    parser.add_argument("--workload", action="append", choices=[workload.name for workload in WORKLOADS])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--qemu-prefix")
    parser.add_argument("--folder", help="where the images go: on the file system to be measured")
    parser.add_argument("--record", type=pathlib.Path)
    arguments = parser.parse_args()
    if (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(0, {1})
    began, rows = time.monotonic(), []
    with tempfile.TemporaryDirectory(prefix="nacre-bench-", dir=arguments.folder) as folder:
        servers = Servers(os.path.abspath(arguments.nacre), os.path.abspath(arguments.floor), folder,
                          arguments.qemu_prefix)
        store = disks.Disks(folder)
        for workload in WORKLOADS:
            if arguments.workload and workload.name not in arguments.workload:
                continue
            rounds = run(workload, servers, store, arguments.rounds, arguments.seconds)
            verdicts = list(figures.judge(workload, rounds))
            rows.append(report.Row(workload, rounds, verdicts))
            print(report.lines(rows[-1]), flush=True)
        if arguments.record:
            machine = report.machine(servers.versions(), folder)
            settings = f"{arguments.rounds} rounds of {arguments.seconds:g} s"
            report.record(arguments.record, rows, machine, settings)
    print(f"{len(rows)} workloads in {time.monotonic() - began:.0f} s")
    missed = [verdict for row in rows for verdict in row.verdicts if not verdict.is_met]
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
