import Block
import BlockTestKit
import Bytes
import NBDServer
import NBDWire

extension FuzzTarget {
    /// Input: a byte that says how the bytes arrive, and what an NBD client sends. Negotiation comes out the same however
    /// the bytes are cut; a session ends with its client, changes nothing that is read-only, and leaves the server to the
    /// next client.
    static let nbd = FuzzTarget(name: "nbd") { input in
        var reader = InputReader(input)
        let seed = reader.byte()
        let bytes = Array(reader.rest)
        try negotiate(bytes)
        try converse(bytes, seed: seed)
    }
}

private func negotiate(_ bytes: [UInt8]) throws(Finding) {
    let disk = NBDExportInfo(
        name: "", description: "d", size: 4096, flags: [.hasFlags, .sendDF], contexts: ["base:allocation"])
    var named = disk
    named.name = "disk"
    for needsTLS in [false, true] {
        let exports = [disk, named]
        let whole = outcome(bytes, exports, needsTLS: needsTLS, step: bytes.count)
        let split = outcome(bytes, exports, needsTLS: needsTLS, step: 1)
        try expect(whole == split, "a negotiation ends otherwise when it comes byte by byte")
    }
}

private struct Outcome: Equatable {
    var state = NBDNegotiation.State.clientFlags
    var reply: [UInt8] = []
    var contexts: [Int] = []
    var consumed = 0
}

/// What a negotiation comes to that is shown the bytes, `step` more at a time.
private func outcome(_ bytes: [UInt8], _ exports: [NBDExportInfo], needsTLS: Bool, step: Int) -> Outcome {
    var negotiation = NBDNegotiation(needsTLS: needsTLS)
    var result = Outcome()
    var end = 0
    while true {
        let (consumed, reply) = negotiation.receive(bytes.rawBytes.extracting(result.consumed..<end), exports: exports)
        result.consumed += consumed
        result.reply += reply
        result.state = negotiation.state
        result.contexts = negotiation.contexts
        // What is left of the input once all has ended depends on how much was there.
        if result.state == .ended { result.consumed = 0 }
        switch result.state {
        case .ended, .transmission: return result
        // As if TLS had begun, whose end shows the same bytes.
        case .securing: negotiation.secured()
        case .clientFlags, .options: break
        }
        if consumed > 0 { continue }
        if end == bytes.count { return result }
        end = min(end + max(step, 1), bytes.count)
    }
}

private let pattern = SparseBytes((0..<40_000).map { UInt8(truncatingIfNeeded: $0 / 512 | 1) })

private func converse(_ bytes: [UInt8], seed: UInt8) throws {
    let context = SimulatedContext(order: .fifo)
    let server = NBDServer(context: context)
    let fixed = MemoryStorage(pattern)
    server.add(NBDExport(id: "fixed", name: "", storage: fixed, isWritable: false))
    let disk = BlockIO(context: context, driver: .storage(MemoryStorage(length: 256 << 10)))
    server.add(NBDExport(id: "disk", name: "disk", storage: disk, isWritable: true, offersDepth: true))
    let peer = Peer(context, seed: UInt64(seed >> 1)) { await server.serve($0) }
    // Half of all clients never read.
    try peer.converse(bytes, isReading: seed & 1 == 0)
    try expect(fixed.contents == pattern, "a read-only export was written")
    try expect(server.connections == 0, "a session outlives its connection")
    let next = Peer(context, seed: 0) { await server.serve($0) }
    try next.converse([0, 0, 0, 3])
    try expect(next.received == NBDNegotiation.greeting, "the next client is not greeted")
    try context.complete { await server.stop() }
}
