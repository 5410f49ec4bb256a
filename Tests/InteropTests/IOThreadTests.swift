import FoundationEssentials
import Glibc
import Testing

/// Disks on threads of their own, `--object iothread` and `iothread` of an export, as of QEMU's storage daemon.
@Suite("I/O threads", .paced, .serialized, .needs("qemu-img", "nbdcopy", "fio"))
struct IOThreadTests {
    private func words(_ scratch: Scratch, _ disks: [String]) -> [String] {
        var words =
            Subject.daemon + Subject.allowing(scratch.path) + [
                "--chardev", "socket,id=m,path=\(scratch.file("d.qmp")),server=on,wait=off", "--monitor", "chardev=m",
                "--nbd-server", "addr.type=unix,addr.path=\(scratch.file("d.nbd"))",
            ]
        for (number, disk) in disks.enumerated() {
            words += [
                "--object", "iothread,id=io\(number)",
                "--blockdev", "driver=file,node-name=file\(number),filename=\(scratch.file("\(disk).qcow2"))",
                "--blockdev", "driver=qcow2,node-name=\(disk),file=file\(number)",
                "--export", "type=nbd,id=e\(number),node-name=\(disk),name=\(disk),writable=on,iothread=io\(number)",
            ]
        }
        return words
    }

    private func fioWords(_ target: [String], seed: Int) -> [String] {
        [
            "fio", "--name=threads", "--rw=randwrite", "--size=16M", "--bsrange=4k-32k", "--iodepth=16",
            "--randseed=\(seed)", "--verify=crc32c", "--do_verify=1", "--verify_fatal=1", "--output-format=terse",
        ] + target
    }

    @Test(
        "two disks are written and verified side by side while transactions put overlays on both, and nothing is lost")
    func sideBySide() async throws {
        let disks = ["disk", "other"]
        try await Scratch.use { scratch in
            for disk in disks {
                try await scratch.ok("qemu-img", "create", "-q", "-f", "qcow2", "\(disk).qcow2", "16M")
            }
            let daemon = try await scratch.daemon(words: words(scratch, disks))
            let monitor = try await daemon.monitor()
            var tops = disks
            var layers = disks.map { ["\($0).qcow2"] }
            for round in 0..<5 {
                let writers = try disks.map { disk in
                    try scratch.start(fioWords(["--ioengine=nbd", "--uri=\(daemon.uri(disk))"], seed: round))
                }
                try await Task.sleep(for: .milliseconds(200))
                var actions: [JSONValue] = []
                for (number, disk) in disks.enumerated() {
                    let name = "\(disk)\(round)"
                    actions.append([
                        "type": "blockdev-snapshot-sync",
                        "data": [
                            "node-name": .string(tops[number]), "snapshot-node-name": .string(name),
                            "snapshot-file": .string(scratch.file("\(name).qcow2")),
                        ],
                    ])
                    tops[number] = name
                    layers[number].append("\(name).qcow2")
                }
                try await monitor.execute("transaction", ["actions": .array(actions)])
                try await monitor.execute("query-named-block-nodes")
                for writer in writers {
                    let outcome = try await writer.wait(seconds: 120)
                    #expect(outcome.ending == .exited(0), "\(outcome.out) \(outcome.err)")
                }
            }
            for disk in disks { try await scratch.ok("nbdcopy", daemon.uri(disk), "\(disk).raw", seconds: 60) }
            try await daemon.stop()
            for (number, disk) in disks.enumerated() {
                for layer in layers[number] { try await scratch.expectClean(layer) }
                try await scratch.ok(
                    "qemu-img", "convert", "-f", "qcow2", "-O", "raw", "\(tops[number]).qcow2", "closed.raw")
                try await scratch.expectSameBytes("\(disk).raw", "closed.raw")
                try await scratch.ok(
                    fioWords(["--ioengine=psync", "--filename=closed.raw", "--verify_only"], seed: 4))
            }
        }
    }

    @Test("an export goes while its thread is busy with it, and the disk is served on another thread at once")
    func removal() async throws {
        try await Scratch.use { scratch in
            for disk in ["disk", "other"] {
                try await scratch.ok("qemu-img", "create", "-q", "-f", "qcow2", "\(disk).qcow2", "16M")
            }
            let daemon = try await scratch.daemon(words: words(scratch, ["disk", "other"]))
            let monitor = try await daemon.monitor()
            for round in 0..<6 {
                let writers = try ["disk", "other"].map { disk in
                    try scratch.start([
                        "fio", "--name=busy", "--ioengine=nbd", "--uri=\(daemon.uri(disk))", "--rw=randwrite",
                        "--bs=4k",
                        "--iodepth=16", "--size=16M", "--time_based", "--runtime=0.5",
                    ])
                }
                try await Task.sleep(for: .milliseconds(200))
                await #expect(throws: QMPSession.Refusal.self) {
                    try await monitor.execute("object-del", ["id": .string("io\(2 * round)")])
                }
                try await monitor.execute("block-export-del", ["id": "e0", "mode": "hard"])
                #expect(try await monitor.event("BLOCK_EXPORT_DELETED") != nil)
                try await monitor.execute("object-del", ["id": .string("io\(2 * round)")])
                let next = JSONValue.string("io\(2 * round + 2)")
                try await monitor.execute("object-add", ["qom-type": "iothread", "id": next])
                try await monitor.execute(
                    "block-export-add",
                    [
                        "type": "nbd", "id": "e0", "node-name": "disk", "name": "disk", "writable": true,
                        "iothread": next,
                    ])
                for writer in writers { _ = try await writer.wait(seconds: 60) }
            }
            try await daemon.stop()
            for disk in ["disk", "other"] { try await scratch.expectClean("\(disk).qcow2") }
        }
    }
}
