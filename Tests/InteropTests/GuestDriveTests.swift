import FoundationEssentials
import Glibc
import Testing

/// A Linux guest whose disc and disk are logical units of ours: QEMU passes the guest's SCSI commands on over iSCSI.
@Suite(
    "A Linux guest and our drives", .paced, .onlyNacre,
    .needs("qemu-img", "qemu-system-x86_64", "cpio", "gzip", "mkfs.ext4", "e2fsck", "debugfs"))
struct GuestDriveTests {
    private let target = "iqn.2026-01.org.example:guest"

    /// Starts a daemon with these words, whose device is logical unit 0 at `port`.
    private func serve(_ scratch: Scratch, _ device: String, _ port: Int, _ words: [String]) async throws
        -> (Child, QMPSession)
    {
        try await Guest.build(scratch)
        let probe = try await scratch.run(["qemu-img", "info", "iscsi://127.0.0.1:1/\(target)/0"])
        if probe.err.contains("Unknown protocol") { try Test.cancel("skipped: QEMU has no iSCSI initiator") }
        let child = try scratch.start(
            Subject.daemon + [
                "--chardev", "socket,id=m,path=\(scratch.file("d.qmp")),server=on,wait=off", "--monitor", "m",
            ] + words + [
                "--export",
                "type=iscsi,id=t,target=\(target),lun.0=\(device),portal.host=127.0.0.1,portal.port=\(port)",
            ])
        return (child, try await QMPSession(scratch.file("d.qmp")))
    }

    private func stop(_ child: Child, _ session: QMPSession) async throws {
        try await session.execute("quit")
        let outcome = try await child.wait(seconds: 30)
        #expect(outcome.ending == .exited(0), "\(outcome.err)")
    }

    /// QEMU's words for a guest that has logical unit 0 as a SCSI device.
    private func scsi(_ driver: String, _ port: Int) -> [String] {
        [
            "-device", "virtio-scsi-pci", "-drive",
            "file=iscsi://127.0.0.1:\(port)/\(target)/0,if=none,id=d,format=raw", "-device", "\(driver),drive=d",
        ]
    }

    // MARK: The disc

    /// What the guest does with its disc. Nothing but the kernel's own events tells it of a change or of a request; an
    /// event that has been told is told again only once the device has been opened.
    private static let discScript = """
        set -e
        PATH=/bin; export PATH
        cat >/note <<'E'
        #!/bin/sh
        [ "$DEVNAME" = sr0 ] || exit 0
        [ -z "$DISK_MEDIA_CHANGE" ] || echo changed >>/told
        [ -z "$DISK_EJECT_REQUEST" ] || echo asked >>/told
        E
        chmod +x /note; : >/told; uevent /note &
        told() {
          n=0
          until grep -q "$1" /told; do n=$((n + 1)); [ $n -lt 600 ] || { echo "guest: not told: $1"; exit 1; }; usleep 100000; done
          : >/told; true </dev/sr0 || true
        }
        # Waits for the news that there is another disc than $1.
        next() {
          while told changed; do
            mount -t iso9660 -o ro /dev/sr0 /mnt || continue
            [ "$(cat /mnt/name)" = "$1" ] || break
            umount /mnt
          done
          echo "guest: sees $(cat /mnt/name)"
        }
        echo 200 >/sys/block/sr0/events_poll_msecs
        echo 0 >/proc/sys/dev/cdrom/autoclose
        mount -t iso9660 -o ro /dev/sr0 /mnt; name=$(cat /mnt/name); umount /mnt
        echo "guest: saw $name"
        next first
        told asked; echo "guest: keeps it"
        # Asked again, it lets go: the kernel ejects what the last user has left.
        told asked; echo 1 >/proc/sys/dev/cdrom/autoeject; umount /mnt; echo 0 >/proc/sys/dev/cdrom/autoeject
        if true </dev/sr0; then echo "guest: the tray is closed"; exit 1; fi
        echo "guest: ejected"
        next second
        """

    @Test(
        "a guest sees a change of its disc by itself, is asked for a disc that it has locked, and ejects it",
        .needs("xorriso"))
    func disc() async throws {
        try await Scratch.use { scratch in
            for (index, name) in ["first", "second", "third"].enumerated() {
                try FileManager.default.createDirectory(
                    atPath: scratch.file(name), withIntermediateDirectories: true)
                try Data("\(name)\n".utf8).write(to: URL(filePath: scratch.file("\(name)/name")))
                // Of different lengths.
                try Data(count: 300_000 * (index + 1)).write(to: URL(filePath: scratch.file("\(name)/pad")))
                try await scratch.ok("xorriso", "-as", "mkisofs", "-quiet", "-R", "-o", "\(name).iso", name)
            }
            let port = 11_000 + Int(getpid()) % 4000
            let (child, session) = try await serve(
                scratch, "cd", port,
                [
                    "--blockdev", "driver=raw,node-name=iso,read-only=on,file.driver=file,file.filename=first.iso",
                    "--device", "scsi-cd,id=cd,drive=iso",
                ])
            func movements() -> [JSONValue?] { session.events.map { $0["data"]?["tray-open"] } }
            func drive() async throws -> JSONValue? { try await session.execute("query-block").items.first }
            let guest = try Guest.boot(Self.discScript, scsi("scsi-generic", port), in: scratch)

            try await guest.says("saw first")
            try await session.execute("blockdev-change-medium", ["id": "cd", "filename": "second.iso"])
            try await guest.says("sees second")
            #expect(try await drive()?["locked"] == true)
            #expect(movements() == [true, false])

            // To ask is no failure, and moves nothing.
            try await session.execute("blockdev-open-tray", ["id": "cd"])
            try await guest.says("keeps it")
            let third: JSONValue = ["id": "cd", "filename": "third.iso", "format": "raw"]
            #expect(
                try await session.refusal("blockdev-change-medium", third).text
                    == "Device 'cd' is locked and force was not specified, wait for tray to open and try again")
            #expect(movements() == [true, false])

            try await guest.says("ejected")
            let open = try await drive()
            #expect(open?["locked"] == false && open?["tray_open"] == true)
            #expect(movements() == [true, false, true])
            try await session.execute("blockdev-change-medium", third)
            #expect(movements() == [true, false, true, false])
            try await guest.says("sees third")
            try await guest.end()
            #expect(try await drive()?["inserted"]?["file"] == "third.iso")
            #expect(session.events.allSatisfy { $0["event"] == "DEVICE_TRAY_MOVED" })
            try await stop(child, session)
        }
    }

    // MARK: The disk

    /// What the guest does with its disk: files that stay, each told with its sum once it is on the disk, and one that
    /// comes and goes.
    private static let diskScript = """
        set -e
        PATH=/bin; export PATH
        mount -t ext4 -o discard /dev/sda /mnt
        n=0
        while [ $n -lt 60 ]; do
          n=$((n + 1))
          dd if=/dev/urandom of=/mnt/other bs=64k count=20 2>/dev/null
          dd if=/dev/urandom of=/mnt/$n bs=64k count=$((n % 7 + 1)) 2>/dev/null; sync
          (cd /mnt; echo "sum: $(md5sum $n)")
          echo "guest: wrote $n"
          rm /mnt/other; usleep 50000
        done
        umount /mnt
        echo 3 >/proc/sys/vm/drop_caches
        mount -t ext4 -o ro /dev/sda /mnt
        (cd /mnt; md5sum [0-9]* | sed 's/^/read: /')
        umount /mnt
        """

    @Test("snapshots of a disk under a guest's writes are clean, and each holds what the guest had on the disk by then")
    func disk() async throws {
        try await Scratch.use { scratch in
            try await scratch.ok("truncate", "-s", "64M", "base.raw")
            try await scratch.ok("mkfs.ext4", "-q", "base.raw")
            try await scratch.ok("qemu-img", "convert", "-f", "raw", "-O", "qcow2", "base.raw", "0.qcow2")
            let port = 15_000 + Int(getpid()) % 4000
            let (child, session) = try await serve(
                scratch, "hd", port,
                [
                    "--blockdev",
                    "driver=qcow2,node-name=disk,discard=unmap,file.driver=file,file.filename=0.qcow2,file.discard=unmap",
                    "--device", "scsi-hd,id=hd,drive=disk",
                ])
            let guest = try Guest.boot(Self.diskScript, scsi("scsi-block", port), in: scratch)
            // The files that are on the disk for certain when each layer is left.
            var written: [Int] = []
            for layer in 1...5 {
                try await guest.says("wrote \(layer * 6)")
                written.append(layer * 6)
                try await session.execute(
                    "blockdev-snapshot-sync",
                    [
                        "device": "hd", "snapshot-file": .string(scratch.file("\(layer).qcow2")),
                        "snapshot-node-name": "layer\(layer)",
                    ])
            }
            #expect(!guest.hasSaid("wrote 60"), "the guest was done before the last snapshot")
            let console = try await guest.end()
            let stats = try await session.execute("query-blockstats").items.first?["stats"]
            for figure in ["rd_operations", "wr_operations", "flush_operations", "unmap_operations"] {
                #expect(stats?[figure]?.number ?? 0 > 0, "\(figure)")
            }
            try await stop(child, session)

            func lines(_ start: String) -> String {
                console.split(separator: "\n").filter { $0.hasPrefix(start) }.map { $0.dropFirst(start.count) + "\n" }
                    .joined()
            }
            let sums = lines("sum: ")
            #expect(sums.split(separator: "\n").count == 60)
            #expect(sums.split(separator: "\n").sorted() == lines("read: ").split(separator: "\n").sorted())
            try Data(sums.utf8).write(to: URL(filePath: scratch.file("sums")))
            for (layer, count) in zip(0..., written + [60]) {
                try await scratch.expectClean("\(layer).qcow2")
                try await expectFiles(1...count, in: "\(layer).qcow2", isMounted: layer < 5, scratch)
            }
        }
    }

    /// The files of these names are in the image, as the file `sums` has it; ext4 recovers from an image that was left
    /// while it was mounted, as after a power cut.
    private func expectFiles(_ names: ClosedRange<Int>, in image: String, isMounted: Bool, _ scratch: Scratch)
        async throws
    {
        try await scratch.ok("qemu-img", "convert", "-f", "qcow2", "-O", "raw", image, "was.raw")
        if isMounted {
            // 1: it has corrected, which is what recovery is.
            let recovery = try await scratch.run(["e2fsck", "-fp", "was.raw"])
            #expect(recovery.status <= 1, "\(recovery.out)")
        }
        try await scratch.ok("e2fsck", "-fn", "was.raw")
        try await scratch.ok("rm", "-rf", "files")
        try await scratch.ok("mkdir", "files")
        try await scratch.ok("debugfs", "-R", "rdump / files", "was.raw")
        let checked = try await scratch.ok(
            "sh", "-c", "head -n \(names.upperBound) sums | (cd files && md5sum -c) | grep -c OK$")
        #expect(checked.trimmed == "\(names.count)")
    }
}
