import Block
import BlockTestKit
import Daemon
import JSON

extension FuzzTarget {
    /// Input: a byte that says how the bytes arrive and whether the daemon is sealed, and what a QMP client sends. JSON
    /// reads the same in one piece and in many, and what is written reads back; the daemon answers with JSON alone, opens
    /// what the client names, and ends when its client does.
    static let qmp = FuzzTarget(name: "qmp") { input in
        var reader = InputReader(input)
        let seed = reader.byte()
        let text = Array(reader.rest)
        try parse(text)
        let backing: DaemonConfiguration.Backing = seed & 0x80 == 0 ? .qemu : .sealed
        try converse(text, seed: seed & 0x7F, backing, promising: backing)
    }
}

private func parse(_ text: [UInt8]) throws(Finding) {
    var (whole, split) = (JSONStream(), JSONStream())
    let values = whole.feed(text)
    let others = text.flatMap { split.feed(CollectionOfOne($0)) }
    try expect(values == others, "a message reads otherwise when it comes byte by byte")
    for case .success(let value) in values {
        for layout in [JSONValue.Layout.compact, .pretty] {
            let again: JSONValue
            do throws(JSONError) { again = try JSONValue.parse(value.text(layout)) } catch {
                throw Finding("what was written does not read: \(error.message)")
            }
            try expect(
                comparable(again).text(layout) == comparable(value).text(layout),
                "what was written reads as something else")
        }
    }
}

/// The value with 0 for -0, which is written as QEMU writes it and reads as an integer, and with members in the order of their
/// names: of two in one bucket the wire has the newer first, so that writing what was read turns them over, as in QEMU.
private func comparable(_ value: JSONValue) -> JSONValue {
    switch value {
    case .double(0): .int(0)
    case .array(let items): .array(items.map(comparable))
    case .object(let object):
        .object(JSONObject(object.members.map { ($0.name, comparable($0.value)) }.sorted { $0.0 < $1.0 }))
    default: value
    }
}

/// A client's connection to a daemon that treats backing files as `backing` says, and is held to `promise`.
func converse(
    _ text: [UInt8], seed: UInt8, _ backing: DaemonConfiguration.Backing,
    promising promise: DaemonConfiguration.Backing
) throws {
    let context = SimulatedContext(order: .fifo)
    let host = MemoryHost(context)
    let daemon = Dispatcher(
        context: context, host: host, configuration: DaemonConfiguration(version: "0", backing: backing))
    // Half of all clients never read.
    let peer = Peer(context, seed: UInt64(seed >> 1)) { await daemon.serve($0) }
    try peer.converse(text, isReading: seed & 1 == 0)
    try context.complete { await daemon.close() }
    try context.runToIdle()
    var (granted, commands) = (GrantedNames(), JSONStream())
    for case .success(let command) in commands.feed(text) { granted.insert(command) }
    try granted.judge(host, promise)
    var replies = JSONStream()
    // The schema is large, and reading it again and again would teach nothing.
    for reply in replies.feed(peer.received.prefix(16 << 10)) {
        guard case .success(let value) = reply, value.object != nil else { throw Finding("a reply is no JSON object") }
    }
    try expect(!replies.isUnfinished || peer.received.count > 16 << 10, "a reply has no end")
}
