/// One part of the program that takes bytes from outside, and what it promises for every input. A trap, a hang and memory
/// without bound are found by whoever runs it; a promise that does not hold is thrown.
public struct FuzzTarget: Sendable {
    public let name: String
    public let run: @Sendable ([UInt8]) throws -> Void

    public static let all = [qcow2, deflate, zstd, nbd, nbdClient, iscsi, qmp, schema, options]

    public static func named(_ name: String) -> FuzzTarget? { all.first { $0.name == name } }
}

/// A promise that an input broke.
struct Finding: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}

func expect(_ holds: Bool, _ promise: @autoclosure () -> String) throws(Finding) {
    if !holds { throw Finding(promise()) }
}
