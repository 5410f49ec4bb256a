"""The table: what is run, on which disk, by whom, and how ours has to compare."""
import dataclasses

import clients
from clients import fio
from figures import at_least, at_most

# Whoever serves over NBD; the floor tells what the client itself can do.
PAIR = ("ours", "qsd")
TRIO = (*PAIR, "floor")
ALL = ("ours", "ours, threads", "qsd", "qsd, threads", "qemu-nbd", "nbdkit file", "nbdkit memory", "floor")


@dataclasses.dataclass(frozen=True)
class Workload:
    name: str
    title: str
    disk: str
    load: object
    servers: tuple = TRIO
    targets: tuple = ()

    @property
    def ours(self):
        return self.servers[0]


WORKLOADS = (
    Workload("read", "4 KiB random read, depth 32", "full", fio("randread"), ALL, (
        at_least(2.5), at_most(0.40), at_least(1, peer="nbdkit file"), at_most(0.8, peer="nbdkit file"),
        at_least(0.8, peer="floor"))),
    Workload("read-1", "4 KiB random read, depth 1", "full", fio("randread", depth=1),
             ("ours", "ours, polling", "qsd", "floor"), (at_most(0.8, "p50", ours="ours, polling"), at_most(0.6))),
    Workload("overwrite", "4 KiB random overwrite, depth 32", "full", fio("randwrite"), ALL, (
        at_least(2), at_most(0.5), at_least(1, peer="nbdkit file"), at_most(0.8, peer="nbdkit file"))),
    Workload("allocate", "4 KiB random write into an empty image", "fresh_empty",
             fio("randwrite", per_second=15000), TRIO, (at_least(2), at_most(0.5))),
    Workload("copy-on-write", "4 KiB random write into an overlay", "fresh_overlay",
             fio("randwrite", per_second=4000), TRIO, (at_least(1.5), at_most(0.6))),
    Workload("chain", "4 KiB random read, 8 overlays", "chain", fio("randread"), TRIO, (
        at_least(2.5), at_most(0.40))),
    Workload("mixed", "4 KiB, 70 % read, 30 % written", "full", fio("randrw"), TRIO, (at_least(2),)),
    Workload("read-1m", "1 MiB sequential read, depth 4", "full", fio("read", 4, "1m"), TRIO, (at_least(1.2),)),
    Workload("write-1m", "1 MiB sequential write, depth 4", "full", fio("write", 4, "1m"), TRIO, (at_least(1.2),)),
    Workload("zeroes", "1 MiB write-zeroes, then a flush", "fresh_mapped", clients.write_zeroes, PAIR, (
        at_least(1.2), at_most(0.7))),
    Workload("discard", "1 MiB discard, then a flush", "fresh_mapped", clients.discard, PAIR, (
        at_least(1.2), at_most(0.7))),
    Workload("direct", "4 KiB random read, cache.direct=on", "direct", fio("randread"), PAIR, (
        at_least(1), at_most(0.5))),
    Workload("flush-storm", "32 writers, a flush after each write", "full",
             fio("randwrite", depth=1, sync=True, jobs=32), PAIR, (at_least(2),)),
    Workload("stall", "longest stall around a live snapshot", "fresh_live", clients.stall, PAIR, (
        at_most(0.5, "stall"),)),
    Workload("open-1t", "start on a fully mapped 1 TiB image", "tebibyte", clients.Start(), PAIR, (
        at_most(1, "start"), at_most(0.5, "memory"))),
    Workload("idle", "resident memory, 16 exports idle", "sixteen", clients.idle, PAIR, (at_most(1, "memory"),)),
    Workload("start", "start to the first byte served", "small", clients.Start(), PAIR, (at_most(1, "start"),)),
    Workload("latencies", "4 KiB random read of a drive, its latencies counted", "full", fio("randread"),
             ("ours, latencies", "ours, drive"), (at_most(1.02, peer="ours, drive"),)),
    Workload("io-thread", "4 KiB random read, on an I/O thread", "full", fio("randread"), ("ours, I/O thread", "ours")),
    Workload("copy", "nbdcopy of the disk", "full", clients.nbdcopy, TRIO),
    Workload("iscsi", "4 KiB random read over iSCSI, depth 32", "full", clients.iscsi_perf,
             ("ours, iSCSI", "tgtd"), (at_least(1.5, peer="tgtd"), at_most(0.6, peer="tgtd"))),
)
