import FoundationEssentials
import Testing

/// The same bytes are sent to QEMU's daemon and to ours, and the same bytes have to come back.
@Suite("The wire, beside QEMU", .paced, .needs("qemu-img", "qemu-io", "nbdinfo", "qemu-storage-daemon"))
struct TranscriptTests {
    static let conversations: [Transcript] = [
        .init(
            name: "errors of dispatch",
            requests: [
                "[]", "{}", #"{"execute": 7}"#, #"{"execute": "query-version", "arguments": []}"#,
                #"{"execute": "query-version", "bogus": 1}"#, #"{"execute": "nosuch", "id": {"a": [1, null, 1.5]}}"#,
                #"{"exec-oob": "query-version"}"#, #"{"execute": "query-block", "arguments": {"bogus": 1}}"#,
                #"{"execute": "blockdev-add"}"#, #"{"execute": "blockdev-add", "arguments": {"driver": "nope"}}"#,
                #"{"execute": "blockdev-add", "arguments": {"driver": 1}}"#,
                #"{"execute": "blockdev-add", "arguments": {"driver": "file", "node-name": "a"}}"#,
                #"{"execute": "blockdev-add", "arguments": {"driver": "qcow2", "node-name": "a"}}"#,
                #"{"execute": "blockdev-add", "arguments": {"driver": "qcow2", "node-name": "a", "file": {"driver": "file"}}}"#,
                #"{"execute": "blockdev-add", "arguments": {"driver": "null-co", "node-name": "a", "read-only": "yes"}}"#,
                #"{"execute": "qmp_capabilities"}"#, #"{"execute": "blockdev-del", "arguments": {"node-name": 1}}"#,
                #"{'execute': 'nosuch', 'id': '\u00e9\u20ac\ud83d\ude00'}"#,
                #"{"execute": "nosuch", "id": 12345678901234567890}"#, #"{"execute": "nosuch", "id": -0}"#,
            ]),
        .init(
            name: "errors of nodes",
            requests: [
                #"{"execute": "blockdev-add", "arguments": {"driver": "null-co"}}"#,
                #"{"execute": "blockdev-add", "arguments": {"driver": "null-co", "node-name": "0bad"}}"#,
                #"{"execute": "blockdev-add", "arguments": {"driver": "null-co", "node-name": "a23456789012345678901234567890123"}}"#,
                #"{"execute": "blockdev-add", "arguments": {"driver": "null-co", "node-name": "disk"}}"#,
                #"{"execute": "blockdev-add", "arguments": {"driver": "raw", "node-name": "a", "file": "nonode"}}"#,
                #"{"execute": "blockdev-add", "arguments": {"driver": "file", "node-name": "a", "filename": "absent"}}"#,
                #"{"execute": "blockdev-add", "arguments": {"driver": "file", "node-name": "a", "filename": "/"}}"#,
                #"{"execute": "blockdev-add", "arguments": {"driver": "qcow2", "node-name": "a", "file": {"driver": "null-co"}}}"#,
                #"{"execute": "blockdev-add", "arguments": {"driver": "file", "node-name": "a", "filename": "other.qcow2", "aio": "native"}}"#,
                #"{"execute": "blockdev-add", "arguments": {"driver": "qcow2", "node-name": "a", "file": "file0"}}"#,
                #"{"execute": "blockdev-del", "arguments": {"node-name": "absent"}}"#,
                #"{"execute": "blockdev-del", "arguments": {"node-name": "disk"}}"#,
                #"{"execute": "blockdev-del", "arguments": {"node-name": "file0"}}"#,
                #"{"execute": "block_resize", "arguments": {"size": 1}}"#,
                #"{"execute": "block_resize", "arguments": {"node-name": "absent", "size": 1048576}}"#,
                #"{"execute": "block_resize", "arguments": {"node-name": "disk", "size": -1}}"#,
                #"{"execute": "block_resize", "arguments": {"node-name": "disk", "size": 8388608}}"#,
            ]),
        .init(
            name: "internal snapshots",
            requests: [
                #"{"execute": "blockdev-snapshot-internal-sync", "arguments": {"name": "s"}}"#,
                #"{"execute": "blockdev-snapshot-internal-sync", "arguments": {"device": "absent", "name": "s"}}"#,
                #"{"execute": "blockdev-snapshot-internal-sync", "arguments": {"device": "file0", "name": "s"}}"#,
                #"{"execute": "blockdev-snapshot-internal-sync", "arguments": {"device": "disk", "name": ""}}"#,
                #"{"execute": "blockdev-snapshot-internal-sync", "arguments": {"device": "disk", "name": "s"}}"#,
                #"{"execute": "blockdev-snapshot-internal-sync", "arguments": {"device": "disk", "name": "s"}}"#,
                #"{"execute": "transaction", "arguments": {"actions": [{"type": "blockdev-snapshot-internal-sync", "data": {"device": "disk", "name": "t"}}]}}"#,
                #"{"execute": "transaction", "arguments": {"actions": [{"type": "blockdev-snapshot-internal-sync", "data": {"device": "disk", "name": "u"}}, {"type": "abort", "data": {}}]}}"#,
                #"{"execute": "transaction", "arguments": {"actions": [{"type": "blockdev-snapshot-internal-sync", "data": {"device": "disk", "name": "v"}}], "properties": {"completion-mode": "grouped"}}}"#,
                #"{"execute": "blockdev-snapshot-delete-internal-sync", "arguments": {"device": "absent", "name": "s"}}"#,
                #"{"execute": "blockdev-snapshot-delete-internal-sync", "arguments": {"device": "disk"}}"#,
                #"{"execute": "blockdev-snapshot-delete-internal-sync", "arguments": {"device": "disk", "name": "u"}}"#,
                #"{"execute": "blockdev-snapshot-delete-internal-sync", "arguments": {"device": "disk", "id": "7"}}"#,
                #"{"execute": "blockdev-snapshot-delete-internal-sync", "arguments": {"device": "disk", "id": "1", "name": "t"}}"#,
                #"{"execute": "blockdev-snapshot-delete-internal-sync", "arguments": {"device": "disk", "id": "", "name": "s"}}"#,
                #"{"execute": "blockdev-add", "arguments": {"driver": "qcow2", "node-name": "ro", "read-only": true, "file": {"driver": "file", "filename": "other.qcow2"}}}"#,
                #"{"execute": "blockdev-snapshot-internal-sync", "arguments": {"device": "ro", "name": "s"}}"#,
                #"{"execute": "blockdev-snapshot-delete-internal-sync", "arguments": {"device": "ro", "name": "s"}}"#,
                #"{"execute": "blockdev-add", "arguments": {"driver": "null-co", "node-name": "null"}}"#,
                #"{"execute": "blockdev-snapshot-internal-sync", "arguments": {"device": "null", "name": "s"}}"#,
                #"{"execute": "blockdev-snapshot-delete-internal-sync", "arguments": {"device": "null", "name": "s"}}"#,
            ]),
        .init(
            name: "errors of snapshots",
            requests: [
                #"{"execute": "blockdev-snapshot-sync", "arguments": {"snapshot-file": "x.qcow2"}}"#,
                #"{"execute": "blockdev-snapshot-sync", "arguments": {"node-name": "absent", "snapshot-file": "x.qcow2"}}"#,
                #"{"execute": "blockdev-snapshot-sync", "arguments": {"node-name": "disk", "snapshot-file": "x.qcow2"}}"#,
                #"{"execute": "blockdev-snapshot-sync", "arguments": {"node-name": "disk", "snapshot-file": "x.qcow2", "snapshot-node-name": "file0"}}"#,
                #"{"execute": "blockdev-snapshot-sync", "arguments": {"node-name": "disk", "snapshot-file": "no/x.qcow2", "snapshot-node-name": "n"}}"#,
                #"{"execute": "blockdev-snapshot-sync", "arguments": {"node-name": "disk", "snapshot-file": "x", "snapshot-node-name": "n", "format": "raw"}}"#,
                #"{"execute": "blockdev-snapshot-sync", "arguments": {"node-name": "disk", "snapshot-file": "x", "snapshot-node-name": "n", "format": "nope"}}"#,
                #"{"execute": "blockdev-snapshot-sync", "arguments": {"node-name": "disk", "snapshot-file": "x", "snapshot-node-name": "n", "mode": "nope"}}"#,
                #"{"execute": "blockdev-snapshot", "arguments": {"node": "n", "overlay": "m"}}"#,
                #"{"execute": "blockdev-snapshot", "arguments": {"node": "disk", "overlay": "m"}}"#,
                #"{"execute": "blockdev-snapshot", "arguments": {"node": "disk", "overlay": "disk"}}"#,
                #"{"execute": "blockdev-add", "arguments": {"driver": "qcow2", "node-name": "o", "file": {"driver": "file", "filename": "other.qcow2"}}}"#,
                #"{"execute": "blockdev-snapshot", "arguments": {"node": "o", "overlay": "o"}}"#,
                #"{"execute": "blockdev-add", "arguments": {"driver": "null-co", "node-name": "nul"}}"#,
                #"{"execute": "blockdev-snapshot", "arguments": {"node": "disk", "overlay": "nul"}}"#,
                #"{"execute": "blockdev-del", "arguments": {"node-name": "o"}}"#,
            ]),
        .init(
            name: "errors of exports",
            requests: [
                #"{"execute": "nbd-server-start", "arguments": {"addr": {"type": "unix", "data": {"path": "n"}}}}"#,
                #"{"execute": "nbd-server-start", "arguments": {"addr": {"type": "nope", "data": {}}}}"#,
                #"{"execute": "block-export-add", "arguments": {"type": "nbd", "id": "e0", "node-name": "disk"}}"#,
                #"{"execute": "block-export-add", "arguments": {"type": "nbd", "id": "e1", "node-name": "disk", "name": "disk"}}"#,
                #"{"execute": "block-export-add", "arguments": {"type": "nbd", "id": "e1", "node-name": "absent"}}"#,
                #"{"execute": "block-export-add", "arguments": {"type": "nope", "id": "e1", "node-name": "disk"}}"#,
                #"{"execute": "block-export-add", "arguments": {"type": "nbd", "node-name": "disk"}}"#,
                #"{"execute": "block-export-add", "arguments": {"type": "nbd", "id": "0", "node-name": "disk", "name": "z"}}"#,
                #"{"execute": "block-export-del", "arguments": {"id": "absent"}}"#,
                #"{"execute": "query-block-exports"}"#, #"{"execute": "block-export-del", "arguments": {"id": "e0"}}"#,
                #"{"execute": "query-block-exports"}"#, #"{"execute": "nbd-server-stop"}"#,
                #"{"execute": "nbd-server-stop"}"#,
                #"{"execute": "block-export-add", "arguments": {"type": "nbd", "id": "e1", "node-name": "disk"}}"#,
            ]),
        .init(
            name: "errors of bitmaps",
            requests: [
                #"{"execute": "block-dirty-bitmap-add", "arguments": {"node": "absent", "name": "x"}}"#,
                #"{"execute": "block-dirty-bitmap-add", "arguments": {"node": "disk", "name": ""}}"#,
                #"{"execute": "block-dirty-bitmap-add", "arguments": {"node": "disk", "name": "x", "granularity": 0}}"#,
                #"{"execute": "block-dirty-bitmap-add", "arguments": {"node": "disk", "name": "x", "granularity": 100}}"#,
                #"{"execute": "block-dirty-bitmap-add", "arguments": {"node": "disk", "name": "x", "granularity": 513}}"#,
                #"{"execute": "block-dirty-bitmap-add", "arguments": {"node": "disk", "name": "x", "granularity": 4294967296}}"#,
                #"{"execute": "block-dirty-bitmap-add", "arguments": {"node": "disk", "name": "x", "granularity": -1}}"#,
                #"{"execute": "block-dirty-bitmap-add", "arguments": {"node": "file0", "name": "x", "persistent": true}}"#,
                #"{"execute": "block-dirty-bitmap-add", "arguments": {"node": "disk", "name": "x"}}"#,
                #"{"execute": "block-dirty-bitmap-add", "arguments": {"node": "disk", "name": "x"}}"#,
                #"{"execute": "block-dirty-bitmap-add", "arguments": {"node": "disk", "name": "x", "persistent": true}}"#,
                #"{"execute": "block-dirty-bitmap-remove", "arguments": {"node": "absent", "name": "x"}}"#,
                #"{"execute": "block-dirty-bitmap-remove", "arguments": {"node": "disk", "name": "absent"}}"#,
                #"{"execute": "block-dirty-bitmap-clear", "arguments": {"node": "absent", "name": "x"}}"#,
                #"{"execute": "block-dirty-bitmap-clear", "arguments": {"node": "disk", "name": "absent"}}"#,
                #"{"execute": "block-dirty-bitmap-enable", "arguments": {"node": "absent", "name": "x"}}"#,
                #"{"execute": "block-dirty-bitmap-enable", "arguments": {"node": "disk", "name": "absent"}}"#,
                #"{"execute": "block-dirty-bitmap-disable", "arguments": {"node": "absent", "name": "x"}}"#,
                #"{"execute": "block-dirty-bitmap-disable", "arguments": {"node": "disk", "name": "absent"}}"#,
                #"{"execute": "block-dirty-bitmap-merge", "arguments": {"node": "absent", "target": "x", "bitmaps": ["x"]}}"#,
                #"{"execute": "block-dirty-bitmap-merge", "arguments": {"node": "disk", "target": "absent", "bitmaps": ["x"]}}"#,
                #"{"execute": "block-dirty-bitmap-merge", "arguments": {"node": "disk", "target": "x", "bitmaps": ["absent"]}}"#,
                #"{"execute": "block-dirty-bitmap-merge", "arguments": {"node": "disk", "target": "x", "bitmaps": [{"node": "absent", "name": "x"}]}}"#,
                #"{"execute": "block-dirty-bitmap-merge", "arguments": {"node": "disk", "target": "x", "bitmaps": [{"node": "file0", "name": "x"}]}}"#,
                #"{"execute": "block-dirty-bitmap-merge", "arguments": {"node": "disk", "target": "x", "bitmaps": [{"node": "disk"}]}}"#,
                #"{"execute": "block-dirty-bitmap-merge", "arguments": {"node": "disk", "target": "x", "bitmaps": [5]}}"#,
                #"{"execute": "block-dirty-bitmap-add", "arguments": {"node": "file0", "name": "f", "disabled": true}}"#,
                #"{"execute": "block-dirty-bitmap-merge", "arguments": {"node": "disk", "target": "x", "bitmaps": [{"node": "file0", "name": "f"}]}}"#,
                #"{"execute": "x-debug-block-dirty-bitmap-sha256", "arguments": {"node": "absent", "name": "x"}}"#,
                #"{"execute": "x-debug-block-dirty-bitmap-sha256", "arguments": {"node": "disk", "name": "absent"}}"#,
                #"{"execute": "block-export-add", "arguments": {"type": "nbd", "id": "e1", "node-name": "disk", "name": "e1", "bitmaps": ["absent"]}}"#,
                #"{"execute": "block-export-add", "arguments": {"type": "nbd", "id": "e1", "node-name": "disk", "name": "e1", "bitmaps": ["x"]}}"#,
                #"{"execute": "block-export-add", "arguments": {"type": "nbd", "id": "e1", "node-name": "disk", "name": "e1", "bitmaps": [{"node": "absent", "name": "x"}]}}"#,
                #"{"execute": "block-export-add", "arguments": {"type": "nbd", "id": "e1", "node-name": "disk", "name": "e1", "bitmaps": [{"node": "file0", "name": "x"}]}}"#,
                #"{"execute": "block-export-add", "arguments": {"type": "nbd", "id": "e1", "node-name": "disk", "name": "e1", "bitmaps": ["x"], "writable": true}}"#,
                #"{"execute": "block-export-add", "arguments": {"type": "nbd", "id": "e2", "node-name": "disk", "name": "e2", "bitmaps": ["x"], "writable": true}}"#,
                #"{"execute": "block-dirty-bitmap-remove", "arguments": {"node": "disk", "name": "x"}}"#,
                #"{"execute": "block-dirty-bitmap-clear", "arguments": {"node": "disk", "name": "x"}}"#,
                #"{"execute": "block-dirty-bitmap-enable", "arguments": {"node": "disk", "name": "x"}}"#,
                #"{"execute": "block-dirty-bitmap-disable", "arguments": {"node": "disk", "name": "x"}}"#,
                #"{"execute": "block-dirty-bitmap-merge", "arguments": {"node": "disk", "target": "x", "bitmaps": ["x"]}}"#,
                #"{"execute": "query-named-block-nodes", "arguments": {"flat": true}}"#,
            ]),
        .init(
            name: "bitmaps",
            requests: [
                #"{"execute": "block-dirty-bitmap-add", "arguments": {"node": "disk", "name": "a"}}"#,
                #"{"execute": "block-dirty-bitmap-add", "arguments": {"node": "disk", "name": "b", "granularity": 512, "disabled": true}}"#,
                #"{"execute": "block-dirty-bitmap-add", "arguments": {"node": "disk", "name": "c", "granularity": 2147483648}}"#,
                #"{"execute": "block-dirty-bitmap-add", "arguments": {"node": "file0", "name": "f"}}"#,
                #"{"execute": "query-named-block-nodes", "arguments": {"flat": true}}"#,
                #"{"execute": "x-debug-block-dirty-bitmap-sha256", "arguments": {"node": "disk", "name": "a"}}"#,
                #"{"execute": "x-debug-block-dirty-bitmap-sha256", "arguments": {"node": "disk", "name": "b"}}"#,
                #"{"execute": "x-debug-block-dirty-bitmap-sha256", "arguments": {"node": "disk", "name": "c"}}"#,
                #"{"execute": "block-dirty-bitmap-enable", "arguments": {"node": "disk", "name": "b"}}"#,
                #"{"execute": "block-dirty-bitmap-disable", "arguments": {"node": "disk", "name": "a"}}"#,
                #"{"execute": "block-dirty-bitmap-clear", "arguments": {"node": "disk", "name": "c"}}"#,
                #"{"execute": "block-dirty-bitmap-merge", "arguments": {"node": "disk", "target": "a", "bitmaps": ["b", "c", {"node": "disk", "name": "a"}]}}"#,
                #"{"execute": "transaction", "arguments": {"actions": [{"type": "block-dirty-bitmap-add", "data": {"node": "disk", "name": "t"}}, {"type": "block-dirty-bitmap-disable", "data": {"node": "disk", "name": "t"}}, {"type": "block-dirty-bitmap-merge", "data": {"node": "disk", "target": "t", "bitmaps": ["a"]}}, {"type": "block-dirty-bitmap-clear", "data": {"node": "disk", "name": "b"}}, {"type": "block-dirty-bitmap-remove", "data": {"node": "disk", "name": "c"}}]}}"#,
                #"{"execute": "query-named-block-nodes", "arguments": {"flat": true}}"#,
                #"{"execute": "transaction", "arguments": {"actions": [{"type": "block-dirty-bitmap-add", "data": {"node": "disk", "name": "u"}}, {"type": "block-dirty-bitmap-enable", "data": {"node": "disk", "name": "t"}}, {"type": "block-dirty-bitmap-disable", "data": {"node": "disk", "name": "b"}}, {"type": "block-dirty-bitmap-remove", "data": {"node": "disk", "name": "a"}}, {"type": "block-dirty-bitmap-clear", "data": {"node": "disk", "name": "b"}}, {"type": "abort", "data": {}}]}}"#,
                #"{"execute": "transaction", "arguments": {"actions": [{"type": "block-dirty-bitmap-add", "data": {"node": "disk", "name": "u"}}, {"type": "block-dirty-bitmap-add", "data": {"node": "disk", "name": "u"}}]}}"#,
                #"{"execute": "transaction", "arguments": {"actions": [{"type": "block-dirty-bitmap-remove", "data": {"node": "disk", "name": "absent"}}]}}"#,
                #"{"execute": "query-named-block-nodes", "arguments": {"flat": true}}"#,
                #"{"execute": "blockdev-snapshot-sync", "arguments": {"node-name": "disk", "snapshot-file": "new.qcow2", "snapshot-node-name": "new"}}"#,
                #"{"execute": "query-named-block-nodes", "arguments": {"flat": true}}"#,
                #"{"execute": "block-export-add", "arguments": {"type": "nbd", "id": "e1", "node-name": "new", "name": "e1", "bitmaps": ["t"]}}"#,
                #"{"execute": "block-dirty-bitmap-remove", "arguments": {"node": "disk", "name": "b"}}"#,
                #"{"execute": "block-dirty-bitmap-remove", "arguments": {"node": "file0", "name": "f"}}"#,
                #"{"execute": "query-named-block-nodes", "arguments": {"flat": true}}"#,
            ]),
        .init(
            name: "queries",
            requests: [
                #"{"execute": "query-block"}"#, #"{"execute": "query-blockstats"}"#,
                #"{"execute": "query-named-block-nodes", "arguments": {"flat": true}}"#,
                #"{"execute": "query-named-block-nodes"}"#,
            ]),
        .init(
            name: "a snapshot and what the nodes look like then",
            requests: [
                #"{"execute": "blockdev-snapshot-sync", "arguments": {"node-name": "disk", "snapshot-file": "new.qcow2", "snapshot-node-name": "new"}}"#,
                #"{"execute": "query-block-exports"}"#, #"{"execute": "query-named-block-nodes"}"#,
                #"{"execute": "blockdev-del", "arguments": {"node-name": "disk"}}"#,
                #"{"execute": "blockdev-snapshot-sync", "arguments": {"node-name": "new", "snapshot-file": "new.qcow2", "snapshot-node-name": "newer"}}"#,
            ]),
        .init(
            name: "what the parser says",
            requests: [
                #"{"execute": }"#, #"{"execute" "x"}"#, #"{"a": 1 "b": 2}"#, #"[1 2]"#, "@ ", "\u{1}",
                #"{"a": 1, "a": 2}"#,
                "nultrue ", #"{"execute": "x", "id": 1,}"#, #"{"execute": %s}"#,
                #"{"execute":"nosuch"}{"execute":"nosuch2"}"#,
            ]),
    ]

    private static func makeImages(_ scratch: Scratch) async throws {
        for name in ["base.qcow2", "other.qcow2"] {
            try await scratch.ok("qemu-img", "create", "-q", "-f", "qcow2", name, "4M")
        }
        let base = scratch.file("base.qcow2")
        try await scratch.ok("qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", "disk.qcow2")
    }

    @Test("the same requests are answered with the same bytes", arguments: conversations)
    func same(conversation: Transcript) async throws {
        try await Scratch.use { scratch in
            try await Self.makeImages(scratch)
            let ours = scratch.daemonWords(.init(image: "disk.qcow2"))
            let theirs = ["qemu-storage-daemon"] + ours.dropFirst(Subject.daemon.count + Subject.allowing("").count)
            let expected = try await conversation.talk(to: theirs, in: scratch)
            try await scratch.ok("rm", "-f", "new.qcow2", "x", "x.qcow2", "d.qmp", "d.nbd")
            // Some conversations leave something in the images.
            try await Self.makeImages(scratch)
            Transcript.compare(try await conversation.talk(to: ours, in: scratch), expected)
        }
    }
}
