import Block
import BlockTestKit
import ISCSI
import SCSI

extension FuzzTarget {
    /// Input: a byte that says how the bytes arrive, one that says how far the initiator has come, and what it sends. A
    /// session ends with its initiator, the disk keeps its length, whoever has not proven itself has no session, and the
    /// server goes on to log in the next initiator.
    static let iscsi = FuzzTarget(name: "iscsi") { input in
        var reader = InputReader(input)
        let (arrival, state) = (reader.byte(), reader.byte())
        let bytes = Array(reader.rest)
        let isClosed = state & 3 == 2
        let context = SimulatedContext(order: .fifo)
        let disk = MemoryDrive(length: 256 << 10)
        let scsi = SCSITarget(context: context, name: targetName)
        scsi.attach(disk, lun: 0)
        let secrets = CHAPSecrets(user: "u", secret: Array("a long enough secret".utf8))
        let target = ISCSITarget(name: targetName, scsi: scsi, chap: isClosed ? secrets : nil)
        let server = ISCSIServer(context: context)
        server.add(target)
        let peer = Peer(context, seed: UInt64(arrival >> 1)) { await server.serve($0, portal: "[::1]:3260,1") }
        // Logging in, in a session, where a proof is asked for, or in discovery; half of all initiators never read.
        let opening =
            switch state & 3 {
            case 1: login(keys: ["InitialR2T=No", "TargetName=" + targetName]) + unitReady
            case 3: login(keys: ["SessionType=Discovery"])
            default: [] as [UInt8]
            }
        try peer.converse(opening + bytes, isReading: arrival & 1 == 0)
        try expect(server.connections == 0, "a session outlives its connection")
        try expect(disk.length == 256 << 10, "the disk has another length")
        if isClosed {
            try expect(!hasSucceeded(peer.received), "a login without the secret came to a session")
            target.chap = nil
        }
        let next = Peer(context, seed: 0) { await server.serve($0, portal: "[::1]:3260,1") }
        try next.converse(login(keys: ["TargetName=" + targetName]))
        try expect(hasSucceeded(next.received), "the next initiator cannot log in")
        try context.complete { await server.stop() }
    }
}

private let targetName = "iqn.2026-11.org.nacre:fuzz"

/// One login request, from the operational stage to the full feature phase; command numbers begin at 0.
private func login(keys: [String]) -> [UInt8] {
    let text = (["InitiatorName=iqn.fuzz"] + keys).flatMap { text -> [UInt8] in Array(text.utf8) + [0] }
    var bytes = [UInt8](repeating: 0, count: 48)
    bytes[0] = 0x43
    bytes[1] = 0x87
    bytes[6] = UInt8(text.count >> 8)
    bytes[7] = UInt8(text.count & 0xFF)
    return bytes + text + [UInt8](repeating: 0, count: -text.count & 3)
}

/// TEST UNIT READY, which takes the first unit attention.
private let unitReady: [UInt8] =
    [0x01, 0x80] + [UInt8](repeating: 0, count: 14) + [0, 0, 0, 1] + [UInt8](repeating: 0, count: 28)

/// Whether the last login response of what came in the login phase comes to the full feature phase.
private func hasSucceeded(_ bytes: [UInt8]) -> Bool {
    var start = 0
    while start + 48 <= bytes.count, bytes[start] == 0x23 {
        let isLast = bytes[start + 1] & 0x83 == 0x83
        if isLast, bytes[start + 36] == 0, bytes[start + 37] == 0 { return true }
        let count = Int(bytes[start + 5]) << 16 | Int(bytes[start + 6]) << 8 | Int(bytes[start + 7])
        start += 48 + count + (-count & 3)
    }
    return false
}
