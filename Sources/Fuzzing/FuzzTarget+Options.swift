import Block
import BlockTestKit
import Daemon
import Image
import JSON
import QMPTypes

extension FuzzTarget {
    /// Input: lines, each a letter for the option's kind and its text. An option is carried out or refused with a
    /// sentence, and opens what it names; plain texts, written again from what was understood, mean the same.
    static let options = FuzzTarget(name: "options") { input in try carryOut(input, .sealed) }
}

/// The options of a daemon that treats backing files as `backing` says; it is held to the promise of a sealed one.
func carryOut(_ input: [UInt8], _ backing: DaemonConfiguration.Backing) throws {
    let context = SimulatedContext(order: .fifo)
    let host = MemoryHost(context)
    let daemon = Dispatcher(
        context: context, host: host, configuration: DaemonConfiguration(version: "0", backing: backing))
    let lines = input.split(separator: UInt8(ascii: "\n")).prefix(16)
    try context.complete {
        // A character device may wait for a client, and nobody comes.
        let patience = context.schedule(afterMs: 600_000) { daemon.quit() }
        for line in lines { try await carryOut(line, daemon) }
        context.cancel(patience)
        await daemon.close()
    }
    try context.runToIdle()
    var granted = GrantedNames()
    for line in lines { granted.insert(option: String(decoding: line.dropFirst(), as: UTF8.self)) }
    try granted.judge(host, .sealed)
}

extension GrantedNames {
    fileprivate mutating func insert(option text: String) {
        for implied in [nil, "driver"] {
            if let (value, _) = try? KeyValue.parse(text, implied: implied) { insert(.object(value)) }
        }
    }
}

private func carryOut(_ line: ArraySlice<UInt8>, _ daemon: Dispatcher) async throws(Finding) {
    let text = String(decoding: line.dropFirst(), as: UTF8.self)
    try understand(text)
    guard let kind = DaemonOption.Kind.allCases.first(where: { $0.rawValue.utf8.first == line.first }) else {
        // No option of the daemon: the texts of `nacre img`.
        let list = OptionList(text)
        for pair in list.pairs { try measure(pair.value) }
        return try measure(text)
    }
    do throws(QMPError) { try await daemon.carryOut(DaemonOption(kind, text)) } catch {
        try expect(!error.message.isEmpty, "an option is refused without a word")
    }
}

private func measure(_ text: String) throws(Finding) {
    guard let size = try? SizeText.parse(text) else { return }
    try expect(!SizeText.describe(size).isEmpty, "a size has no text")
    try expect((try? SizeText.parse(String(size))) == size, "a size reads as another one")
}

private func understand(_ text: String) throws(Finding) {
    for implied in [nil, "driver"] {
        guard let (value, isText) = try? KeyValue.parse(text, implied: implied), isText else { continue }
        var words: [String] = []
        write(.object(value), at: "", into: &words)
        let again = try? KeyValue.parse(words.joined(separator: ","))
        try expect(again?.value == value, "an option written again means something else")
    }
}

/// Every text of a value as `path=text`, commas doubled.
private func write(_ value: JSONValue, at path: String, into words: inout [String]) {
    let prefix = path.isEmpty ? "" : path + "."
    switch value {
    case .object(let object):
        for member in object.members { write(member.value, at: prefix + member.name, into: &words) }
    case .array(let array):
        for (index, item) in array.enumerated() { write(item, at: prefix + "\(index)", into: &words) }
    case .string(let text):
        var doubled = String.UnicodeScalarView()
        for scalar in text.unicodeScalars {
            doubled.append(scalar)
            if scalar == "," { doubled.append(scalar) }
        }
        words.append(path + "=" + String(doubled))
    default: break
    }
}
