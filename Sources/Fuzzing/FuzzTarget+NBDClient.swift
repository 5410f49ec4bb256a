import Block
import BlockTestKit
import Bytes
import NBDClient
import NBDWire

extension FuzzTarget {
    /// Input: a byte that says how the bytes arrive, and what an NBD server sends. A handshake comes out the same however the
    /// bytes are cut; whatever the server says, every request of ours ends, and so does a question for its list.
    static let nbdClient = FuzzTarget(name: "nbd-client") { input in
        var reader = InputReader(input)
        let seed = reader.byte()
        let bytes = Array(reader.rest)
        for goal in [NBDGoal.export("disk", context: "base:allocation"), .list] {
            let (whole, split) = (outcome(bytes, goal, step: bytes.count), outcome(bytes, goal, step: 1))
            try expect(whole == split, "a handshake ends otherwise when it comes byte by byte")
        }
        try list(bytes, seed: seed)
        try use(bytes, seed: seed)
    }
}

private struct Outcome: Equatable {
    var state = NBDClientNegotiation.State.underWay
    var sent: [UInt8] = []
    var exports: [NBDExportInfo] = []
    var consumed = 0
}

/// What a handshake comes to that is shown the bytes, `step` more at a time.
private func outcome(_ bytes: [UInt8], _ goal: NBDGoal, step: Int) -> Outcome {
    var negotiation = NBDClientNegotiation(goal)
    var result = Outcome()
    var end = 0
    while true {
        let (consumed, sent) = negotiation.receive(bytes.rawBytes.extracting(result.consumed..<end))
        result.consumed += consumed
        result.sent += sent
        result.state = negotiation.state
        result.exports = negotiation.exports + [negotiation.export]
        guard result.state == .underWay else { return result }
        if consumed > 0 { continue }
        if end == bytes.count { return result }
        end = min(end + max(step, 1), bytes.count)
    }
}

private func list(_ bytes: [UInt8], seed: UInt8) throws {
    let context = SimulatedContext(order: .fifo)
    let server = Peer(context, seed: UInt64(seed)) { _ = try? await NBDExportList.exports(over: $0, in: context) }
    try server.converse(bytes)
}

private func use(_ bytes: [UInt8], seed: UInt8) throws {
    let context = SimulatedContext(order: .fifo)
    let server = Peer(context, seed: UInt64(seed)) { stream in
        var isNew = true
        // It is met once; whoever comes back finds nobody.
        let remote = try? await NBDRemote.open(
            NBDRemoteOptions(server: .unix(path: "/s"), export: "disk", reconnectDelay: UInt32(seed & 1) * 5),
            in: context,
            dial: { (_) throws(OpenError) in
                guard isNew else { throw OpenError("nobody is there") }
                isNew = false
                return stream
            })
        guard let remote else { return stream.close() }
        let disk = BlockIO(context: context, driver: .storage(remote))
        let most = min(remote.length, 64 << 10)
        var buffer = AlignedBuffer(byteCount: Int(most))
        var span = buffer.mutableBytes
        try? await disk.read(at: 0, into: &span)
        if most > 0 { _ = try? await disk.status(of: ByteRange(at: 0, count: remote.length)) }
        try? await disk.write(at: 0, from: buffer.bytes, flags: .fua)
        try? await disk.zero(ByteRange(at: 0, count: most), flags: .mayUnmap)
        try? await disk.discard(ByteRange(at: 0, count: most))
        try? await disk.flush()
        await remote.close()
    }
    try server.converse(bytes)
}
