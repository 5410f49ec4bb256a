import Testing

/// What only a whole machine of QEMU has: drives with trays. The same bytes are sent to one and to ours.
@Suite("Drives, beside QEMU's machine", .paced, .onlyNacre, .needs("qemu-img", "qemu-system-x86_64"))
struct DriveTranscriptTests {
    static let conversations: [Transcript] = [
        Transcript(
            name: "the tray of a CD drive",
            requests: [
                #"{"execute": "query-block"}"#, #"{"execute": "blockdev-close-tray", "arguments": {"id": "cd"}}"#,
                #"{"execute": "blockdev-remove-medium", "arguments": {"id": "cd"}}"#,
                #"{"execute": "blockdev-insert-medium", "arguments": {"id": "cd", "node-name": "iso"}}"#,
                #"{"execute": "blockdev-open-tray", "arguments": {"id": "cd"}}"#,
                #"{"execute": "blockdev-open-tray", "arguments": {"device": "cd", "force": true}}"#,
                #"{"execute": "query-block"}"#,
                #"{"execute": "blockdev-insert-medium", "arguments": {"id": "cd", "node-name": "nonode"}}"#,
                #"{"execute": "blockdev-insert-medium", "arguments": {"id": "cd", "node-name": "disk"}}"#,
                #"{"execute": "blockdev-insert-medium", "arguments": {"id": "cd", "node-name": "iso"}}"#,
                #"{"execute": "blockdev-insert-medium", "arguments": {"id": "cd", "node-name": "iso"}}"#,
                #"{"execute": "blockdev-insert-medium", "arguments": {"id": "cd", "node-name": "other"}}"#,
                #"{"execute": "blockdev-del", "arguments": {"node-name": "iso"}}"#, #"{"execute": "query-block"}"#,
                #"{"execute": "blockdev-close-tray", "arguments": {"device": "cd"}}"#,
                #"{"execute": "blockdev-remove-medium", "arguments": {"id": "cd"}}"#,
                #"{"execute": "eject", "arguments": {"id": "cd"}}"#,
                #"{"execute": "blockdev-remove-medium", "arguments": {"id": "cd"}}"#,
                #"{"execute": "eject", "arguments": {"device": "cd", "force": true}}"#,
                #"{"execute": "query-block"}"#, #"{"execute": "blockdev-del", "arguments": {"node-name": "iso"}}"#,
                #"{"execute": "blockdev-change-medium", "arguments": {"id": "cd", "filename": "new.iso", "format": "raw"}}"#,
                #"{"execute": "query-block"}"#,
                #"{"execute": "blockdev-change-medium", "arguments": {"id": "cd", "filename": "new.qcow2"}}"#,
                #"{"execute": "query-block"}"#,
            ]),
        Transcript(
            name: "a floppy drive has no tray",
            requests: [
                #"{"execute": "blockdev-open-tray", "arguments": {"id": "fd"}}"#,
                #"{"execute": "blockdev-close-tray", "arguments": {"id": "fd"}}"#,
                #"{"execute": "blockdev-insert-medium", "arguments": {"id": "fd", "node-name": "other"}}"#,
                #"{"execute": "blockdev-insert-medium", "arguments": {"id": "fd", "node-name": "iso"}}"#,
                #"{"execute": "query-block"}"#, #"{"execute": "blockdev-remove-medium", "arguments": {"id": "fd"}}"#,
                #"{"execute": "blockdev-remove-medium", "arguments": {"id": "fd"}}"#,
                #"{"execute": "blockdev-change-medium", "arguments": {"id": "fd", "filename": "new.iso", "format": "raw"}}"#,
                #"{"execute": "query-block"}"#, #"{"execute": "eject", "arguments": {"id": "fd"}}"#,
                #"{"execute": "blockdev-change-medium", "arguments": {"id": "fd", "filename": "new.iso", "format": "raw", "read-only-mode": "read-only"}}"#,
                #"{"execute": "query-block"}"#,
                #"{"execute": "blockdev-change-medium", "arguments": {"id": "fd", "filename": "new.iso", "format": "raw", "read-only-mode": "read-write"}}"#,
                #"{"execute": "query-block"}"#,
            ]),
        Transcript(
            name: "what drives refuse",
            requests: ["blockdev-open-tray", "blockdev-close-tray", "eject", "blockdev-remove-medium"].flatMap {
                command in
                [#"{}"#, #"{"device": "cd", "id": "cd"}"#, #"{"id": "absent"}"#, #"{"id": "hd"}"#, #"{"id": 1}"#].map {
                    Transcript.Request(stringLiteral: #"{"execute": "\#(command)", "arguments": \#($0)}"#)
                }
            } + [
                #"{"execute": "blockdev-insert-medium", "arguments": {"id": "hd", "node-name": "iso"}}"#,
                #"{"execute": "blockdev-insert-medium", "arguments": {"id": "absent", "node-name": "iso"}}"#,
                #"{"execute": "blockdev-insert-medium", "arguments": {"id": "cd"}}"#,
                #"{"execute": "blockdev-change-medium", "arguments": {"id": "hd", "filename": "new.iso"}}"#,
                #"{"execute": "blockdev-change-medium", "arguments": {"filename": "new.iso"}}"#,
                #"{"execute": "blockdev-change-medium", "arguments": {"id": "cd"}}"#,
                #"{"execute": "blockdev-change-medium", "arguments": {"id": "absent", "filename": "new.iso"}}"#,
                #"{"execute": "blockdev-change-medium", "arguments": {"id": "cd", "filename": "absent"}}"#,
                #"{"execute": "blockdev-change-medium", "arguments": {"id": "cd", "filename": "absent", "format": "nope"}}"#,
                #"{"execute": "blockdev-change-medium", "arguments": {"id": "cd", "filename": "new.iso", "format": "qcow2"}}"#,
                #"{"execute": "blockdev-change-medium", "arguments": {"id": "cd", "filename": "new.iso", "read-only-mode": "bad"}}"#,
                #"{"execute": "device_add", "arguments": {}}"#,
                #"{"execute": "device_add", "arguments": {"driver": "nope", "id": "z"}}"#,
                #"{"execute": "device_add", "arguments": {"driver": "scsi-cd", "id": "1z"}}"#,
                #"{"execute": "device_add", "arguments": {"driver": "scsi-hd", "id": "z"}}"#,
                #"{"execute": "device_add", "arguments": {"driver": "scsi-hd", "id": "z", "drive": "absent"}}"#,
                #"{"execute": "device_add", "arguments": {"driver": "scsi-cd", "id": "cd"}}"#,
                #"{"execute": "device_del", "arguments": {"id": "absent"}}"#, #"{"execute": "query-block"}"#,
            ]),
        Transcript(
            name: "limits of a drive",
            requests: [
                #""id": "absent""#, #""id": "cd""#, #""id": "hd", "bps": -1"#, #""id": "hd", "bps": 1, "bps_rd": 1"#,
                #""id": "hd", "bps_max": 5"#, #""id": "hd", "iops_size": 5"#, #""id": "hd", "bps": 10, "bps_max": 5"#,
                #""id": "hd", "bps": 10, "bps_max_length": 5"#,
                #""id": "hd", "bps": 10, "bps_max": 20, "bps_max_length": 0"#,
                #""id": "hd", "bps": 4611686018427387904"#,
                #""id": "hd", "bps": 1000000, "bps_max": 2000000, "bps_max_length": 2"#,
                #""id": "hd", "iops": 100, "iops_size": 4096, "group": "g""#, #""id": "hd""#,
            ].flatMap { members in
                let missing = ["bps", "bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr"].filter {
                    !members.contains("\"\($0)\":")
                }
                let all = ([members] + missing.map { "\"\($0)\": 0" }).joined(separator: ", ")
                return [
                    Transcript.Request(stringLiteral: #"{"execute": "block_set_io_throttle", "arguments": {\#(all)}}"#),
                    #"{"execute": "query-block"}"#,
                ]
            }),
        Transcript(
            name: "transactions",
            requests: [
                #"{"execute": "transaction", "arguments": {"actions": []}}"#,
                #"{"execute": "transaction", "arguments": {"actions": [{"type": "abort", "data": {}}]}}"#,
                #"{"execute": "transaction", "arguments": {"actions": [{"type": "abort"}]}}"#,
                #"{"execute": "transaction", "arguments": {"actions": [{"type": "nope", "data": {}}]}}"#,
                #"{"execute": "transaction", "arguments": {"actions": [{"type": "blockdev-snapshot-sync", "data": {"device": "hd", "snapshot-file": "x.qcow2"}}], "properties": {"completion-mode": "grouped"}}}"#,
                #"{"execute": "transaction", "arguments": {"actions": [{"type": "blockdev-snapshot", "data": {"node": "hd", "overlay": "other"}}], "properties": {"completion-mode": "grouped"}}}"#,
                #"{"execute": "transaction", "arguments": {"actions": [{"type": "abort", "data": {}}], "properties": {"completion-mode": "grouped"}}}"#,
                #"{"execute": "transaction", "arguments": {"actions": [{"type": "blockdev-snapshot", "data": {"node": "absent", "overlay": "overlay"}}]}}"#,
                #"{"execute": "transaction", "arguments": {"actions": [{"type": "blockdev-snapshot", "data": {"node": "disk", "overlay": "overlay"}}, {"type": "abort", "data": {}}]}}"#,
                #"{"execute": "query-block"}"#,
                #"{"execute": "transaction", "arguments": {"actions": [{"type": "blockdev-snapshot", "data": {"node": "disk", "overlay": "overlay"}}]}}"#,
                #"{"execute": "query-block"}"#,
            ]),
        Transcript(
            name: "descriptors that are passed",
            requests: [
                #"{"execute": "getfd", "arguments": {"fdname": "x"}}"#,
                .passing("new.iso", #"{"execute": "getfd", "arguments": {"fdname": "1x"}}"#),
                .passing("new.iso", #"{"execute": "getfd", "arguments": {"fdname": "x"}}"#),
                .passing("new.iso", #"{"execute": "getfd", "arguments": {"fdname": "x"}}"#),
                #"{"execute": "closefd", "arguments": {"fdname": "absent"}}"#,
                #"{"execute": "closefd", "arguments": {"fdname": "x"}}"#,
                #"{"execute": "closefd", "arguments": {"fdname": "x"}}"#, #"{"execute": "add-fd"}"#,
                .passing("new.iso", #"{"execute": "add-fd", "arguments": {"fdset-id": -1}}"#),
                .passing("new.iso", writable: false, #"{"execute": "add-fd"}"#),
                .passing(
                    "new.iso", writable: false, #"{"execute": "add-fd", "arguments": {"fdset-id": 5, "opaque": "o"}}"#),
                .passing("new.iso", #"{"execute": "add-fd", "arguments": {"fdset-id": 5}}"#),
                .passing("new.iso", #"{"execute": "add-fd", "arguments": {}}"#), #"{"execute": "query-fdsets"}"#,
                #"{"execute": "remove-fd", "arguments": {"fdset-id": 77}}"#,
                #"{"execute": "remove-fd", "arguments": {"fdset-id": 5, "fd": 99999}}"#,
                #"{"execute": "nbd-server-start", "arguments": {"addr": {"type": "fd", "data": {"str": "absent"}}}}"#,
                #"{"execute": "blockdev-add", "arguments": {"driver": "file", "node-name": "f", "filename": "/dev/fdset/99"}}"#,
                #"{"execute": "blockdev-add", "arguments": {"driver": "file", "node-name": "f", "filename": "/dev/fdset/0"}}"#,
                #"{"execute": "blockdev-add", "arguments": {"driver": "file", "node-name": "f", "filename": "/dev/fdset/x"}}"#,
                #"{"execute": "blockdev-add", "arguments": {"driver": "file", "node-name": "f", "filename": "/dev/fdset/"}}"#,
                #"{"execute": "blockdev-add", "arguments": {"driver": "file", "node-name": "f", "filename": "/dev/fdset/-1"}}"#,
                #"{"execute": "blockdev-add", "arguments": {"driver": "file", "node-name": "f", "filename": "/dev/fdset/0", "read-only": true}}"#,
                #"{"execute": "blockdev-add", "arguments": {"driver": "file", "node-name": "g", "filename": "/dev/fdset/5"}}"#,
                #"{"execute": "blockdev-change-medium", "arguments": {"id": "cd", "filename": "/dev/fdset/5", "format": "raw"}}"#,
            ]),
        Transcript(
            name: "secrets",
            requests: [
                #"{"execute": "object-add", "arguments": {"qom-type": "secret", "id": "s"}}"#,
                #"{"execute": "object-add", "arguments": {"qom-type": "secret", "id": "s", "data": "a", "file": "b"}}"#,
                #"{"execute": "object-add", "arguments": {"qom-type": "secret", "id": "s", "data": "!", "format": "base64"}}"#,
                #"{"execute": "object-add", "arguments": {"qom-type": "secret", "id": "s", "file": "absent"}}"#,
                #"{"execute": "object-add", "arguments": {"qom-type": "secret", "id": "1s", "data": "a"}}"#,
                #"{"execute": "object-add", "arguments": {"qom-type": "nope", "id": "s"}}"#,
                #"{"execute": "object-add", "arguments": {"qom-type": "secret", "id": "s", "data": "YWJj", "format": "base64"}}"#,
                #"{"execute": "object-add", "arguments": {"qom-type": "secret", "id": "s", "data": "a"}}"#,
                #"{"execute": "object-del", "arguments": {"id": "absent"}}"#,
                #"{"execute": "object-del", "arguments": {"id": "s"}}"#,
                #"{"execute": "object-del", "arguments": {"id": "s"}}"#,
            ]),
        Transcript(
            name: "the monitor for people",
            requests: [
                "info block", "info block -v", "info block hd", "info block cd", "info block absent", "info block -x",
                "info block a b", "info blockstats", "info bogus", "bogus", "", "eject", "eject cd", "eject hd",
                "eject absent", "change", "change cd", "change cd new.iso raw", "change cd absent raw",
                "change cd new.iso raw bogus", "info block cd", "change cd new.iso raw read-only", "eject -f cd",
                "info block cd", "drive_add", "drive_add 0", "drive_add 0 if=none,id=d,file=new.iso,format=raw",
                "info block d", "drive_add 0 if=none,id=d,file=new.iso,format=raw",
                "drive_add 0 if=none,id=e,file=absent,format=raw", "drive_add 0 if=none,id=e", "info block e",
                "drive_add -n 0 driver=raw,node-name=n,file.driver=file,file.filename=new.iso", "drive_del absent",
                "drive_del d", "drive_del e", "drive_del n", "info block d", "qemu-io", "qemu-io hd", #"qemu-io hd """#,
                #"qemu-io absent "read 0 512""#,
            ].map { .human($0) }),
    ]

    /// The drives of both: a disk `hd` on the node `disk`, a CD drive `cd`, a floppy drive `fd`; and nodes `iso`, `other`
    /// and `overlay`.
    private static let disk = "driver=qcow2,node-name=disk,file.driver=file,file.filename=disk.qcow2"
    private static let nodes = [
        "driver=raw,node-name=iso,read-only=on,file.driver=file,file.filename=old.iso",
        "driver=raw,node-name=other,file.driver=file,file.filename=floppy.img",
        "driver=qcow2,node-name=overlay,file.driver=file,file.filename=overlay.qcow2",
    ]

    private func prepare(_ scratch: Scratch) async throws {
        try await scratch.ok("rm", "-f", "d.qmp")
        for (name, format, size) in [
            ("disk.qcow2", "qcow2", "4M"), ("old.iso", "raw", "2M"), ("new.iso", "raw", "3M"),
            ("new.qcow2", "qcow2", "1M"), ("floppy.img", "raw", "1440k"),
            ("overlay.qcow2", "qcow2", "4M"),
        ] { try await scratch.ok("qemu-img", "create", "-q", "-f", format, name, size) }
    }

    @Test("the same requests are answered with the same bytes", arguments: conversations)
    func same(conversation: Transcript) async throws {
        try await Scratch.use { scratch in
            let socket = scratch.file("d.qmp")
            let ours =
                Subject.daemon + ["--chardev", "socket,id=m,path=\(socket),server=on,wait=off", "--monitor", "m"]
                + ["--blockdev", Self.disk] + Self.nodes.flatMap { ["--blockdev", $0] }
                + ["--device", "scsi-hd,id=hd,drive=disk", "--device", "scsi-cd,id=cd", "--device", "floppy,id=fd"]
            // Its backends have names of their own, which are made to be the same.
            let theirs =
                [
                    "qemu-system-x86_64", "-M", "pc", "-nodefaults", "-display", "none", "-S", "-qmp",
                    "unix:\(socket),server=on,wait=off", "-device", "virtio-scsi-pci", "-device", "isa-fdc",
                ] + Self.nodes.flatMap { ["-blockdev", $0] } + [
                    "-drive", "if=none,id=hd,\(Self.disk)", "-device", "scsi-hd,id=hd,drive=hd", "-drive",
                    "if=none,id=cd,media=cdrom", "-device", "scsi-cd,id=cd,drive=cd", "-drive", "if=none,id=fd",
                    "-device",
                    "floppy,id=fd,drive=fd",
                ]
            try await prepare(scratch)
            let expected = try await conversation.talk(to: theirs, in: scratch)
            try await prepare(scratch)
            Transcript.compare(try await conversation.talk(to: ours, in: scratch), expected)
        }
    }
}
