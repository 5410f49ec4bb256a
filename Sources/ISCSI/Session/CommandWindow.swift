/// Which commands an initiator may send, and in what order they are carried out (RFC 7143 4.2.2.1).
struct CommandWindow: Equatable, Sendable {
    enum Arrival: Equatable, Sendable {
        /// It is the next one; from now on its successor is.
        case next
        /// It has come before its predecessors.
        case early
        /// It was there before, or may not come yet: it is ignored.
        case outside
    }

    private(set) var expCmdSN: UInt32
    private(set) var maxCmdSN: UInt32
    /// Numbers beyond `expCmdSN` that have come.
    private var early: Set<UInt32> = []

    init(first: UInt32) {
        expCmdSN = first
        maxCmdSN = first &- 1
    }

    mutating func arrive(_ number: UInt32) -> Arrival {
        guard !SerialNumber.isBefore(number, expCmdSN), !SerialNumber.isBefore(maxCmdSN, number) else {
            return .outside
        }
        if number == expCmdSN {
            expCmdSN &+= 1
            return .next
        }
        return early.insert(number).inserted ? .early : .outside
    }

    /// The early one whose turn has come, if it has.
    mutating func takeNext() -> UInt32? {
        guard !early.isEmpty, early.remove(expCmdSN) != nil else { return nil }
        defer { expCmdSN &+= 1 }
        return expCmdSN
    }

    /// Opens the window for so many commands more. What was once offered stays so.
    mutating func open(_ count: Int) {
        let end = expCmdSN &+ UInt32(max(count, 0)) &- 1
        if SerialNumber.isBefore(maxCmdSN, end) { maxCmdSN = end }
    }
}
