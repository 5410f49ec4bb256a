import Bytes

/// What a client wants of a server.
public enum NBDGoal: Equatable, Sendable {
    /// To use the export of this name, and one meta context of it where the server has that.
    case export(String, context: String)
    /// To know what exports there are.
    case list
}

/// Why a handshake failed, in QEMU's words where it has them.
public struct NBDNegotiationFailure: Error, Equatable, Sendable {
    public let message: String
    /// Whether the server broke the protocol, rather than refuse.
    public let isViolation: Bool

    init(_ message: String, isViolation: Bool = true) {
        self.message = message
        self.isViolation = isViolation
    }
}

/// The client's side of the handshake as a value: bytes in, bytes and decisions out. Newstyle, fixed or not, with what
/// older servers lack left out step by step; and oldstyle.
///
/// It keeps no bytes: `receive` is shown all that came and was not yet consumed, and says how much it took. What a server
/// may make it hold is bounded by `NBDLimits`.
public struct NBDClientNegotiation: Sendable {
    public enum State: Equatable, Sendable {
        case underWay
        /// The server waits for TLS to begin; `secured` goes on.
        case securing
        /// The export can be used.
        case transmission
        /// All is known that the server tells; the connection can be closed.
        case listed
        case failed(NBDNegotiationFailure)
    }

    public internal(set) var state: State = .underWay
    /// What the server told of the export that was chosen. Block sizes are 0 where it told none.
    public internal(set) var export: NBDExportInfo
    /// What it told of all its exports, in its order. Where it does not tell more than their names, their flags lack
    /// `hasFlags`; block sizes are 0 where it told none.
    public internal(set) var exports: [NBDExportInfo] = []
    public internal(set) var hasStructuredReplies = false
    /// The id that block status gives the context that was asked for; nil: the server does not have it.
    public internal(set) var context: UInt32?

    let goal: NBDGoal
    var step: Step = .greeting
    /// The export of `exports` that is asked after.
    var index = 0
    /// Bytes of names and descriptions, and replies to the option under way, as far as the server may go.
    var listed = 0
    var replies = 0
    private var noZeroes = false
    private let wantsTLS: Bool

    enum Step: Equatable, Sendable {
        case greeting
        /// The server's replies to this option are due.
        case option(NBDOption)
        /// What an export is, right before transmission.
        case exportName
        case oldstyle
        case ended
    }

    /// Bytes of the head of an option's reply: magic, option, kind, length.
    static let replyHead = 20
    /// Reserved bytes behind an export's size and flags.
    private static let reserved = 124

    /// `wantsTLS`: nothing is asked before TLS has begun, and a server that has none is not used.
    public init(_ goal: NBDGoal, wantsTLS: Bool = false) {
        self.goal = goal
        self.wantsTLS = wantsTLS
        if case .export(let name, _) = goal {
            export = Self.unknown(name)
        } else {
            export = Self.unknown("")
        }
    }

    static func unknown(_ name: String) -> NBDExportInfo {
        NBDExportInfo(name: name, size: 0, flags: [], minimumBlock: 0, preferredBlock: 0, maximumBlock: 0)
    }

    /// What is being waited for, for whoever has to tell that the connection ended before it came.
    public var awaited: String {
        switch step {
        case .greeting: "initial magic"
        case .option: "option reply"
        case .exportName, .oldstyle: "export length"
        case .ended: "nothing"
        }
    }

    /// Takes one whole message from the front of `bytes`, if it is there. Answers how many bytes it took (0: more are
    /// needed) and what to send.
    public mutating func receive(_ bytes: RawSpan) -> (consumed: Int, reply: [UInt8]) {
        switch step {
        case .greeting: return greeting(bytes)
        case .option(let option): return optionReply(bytes, option)
        case .exportName: return exportNameReply(bytes)
        case .oldstyle: return oldstyle(bytes)
        case .ended: return (0, [])
        }
    }

    mutating func fail(_ message: String, isViolation: Bool = true) -> [UInt8] {
        state = .failed(NBDNegotiationFailure(message, isViolation: isViolation))
        step = .ended
        return []
    }

    private mutating func finish(_ outcome: State) -> [UInt8] {
        state = outcome
        step = .ended
        return []
    }

    // MARK: The greeting

    private mutating func greeting(_ bytes: RawSpan) -> (consumed: Int, reply: [UInt8]) {
        guard bytes.byteCount >= 8 else { return (0, []) }
        let magic = bytes.bigEndian(UInt64.self, at: 0)
        guard magic == NBDMagic.greeting else { return (8, fail("Bad initial magic received: \(Self.hex(magic))")) }
        guard bytes.byteCount >= 16 else { return (0, []) }
        switch bytes.bigEndian(UInt64.self, at: 8) {
        case NBDMagic.oldstyle:
            if wantsTLS { return (16, fail("Server does not support STARTTLS", isViolation: false)) }
            guard export.name.isEmpty else {
                return (16, fail("Server does not support non-empty export names", isViolation: false))
            }
            step = .oldstyle
            return (16, [])
        case NBDMagic.option: break
        case let other: return (16, fail("Bad server magic received: \(Self.hex(other))"))
        }
        guard bytes.byteCount >= 18 else { return (0, []) }
        let known: NBDHandshakeFlags = [.fixedNewstyle, .noZeroes]
        let flags = NBDHandshakeFlags(rawValue: bytes.bigEndian(at: 16)).intersection(known)
        noZeroes = flags.contains(.noZeroes)
        var reply: [UInt8] = []
        reply.appendBigEndian(UInt32(flags.rawValue))
        if flags.contains(.fixedNewstyle) { return (18, reply + ask(wantsTLS ? .startTLS : .structuredReply)) }
        if wantsTLS { return (18, reply + fail("Server does not support STARTTLS", isViolation: false)) }
        // Such a server answers nothing but the name of an export.
        guard case .export = goal else {
            return (18, reply + fail("Server does not support export lists", isViolation: false))
        }
        return (18, reply + askExportName())
    }

    /// TLS has begun: answers what to send.
    public mutating func secured() -> [UInt8] {
        state = .underWay
        return ask(.structuredReply)
    }

    mutating func beginTLS() -> [UInt8] {
        step = .ended
        state = .securing
        return []
    }

    // MARK: Right before transmission

    func size(_ bytes: RawSpan) -> UInt64? {
        let size = bytes.bigEndian(UInt64.self, at: 0)
        return size <= UInt64(Int64.max) ? size : nil
    }

    private mutating func exportNameReply(_ bytes: RawSpan) -> (consumed: Int, reply: [UInt8]) {
        let count = 10 + (noZeroes ? 0 : Self.reserved)
        guard bytes.byteCount >= count else { return (0, []) }
        guard let size = size(bytes) else { return (count, fail("export length is too large")) }
        export.size = size
        export.flags = NBDTransmissionFlags(rawValue: bytes.bigEndian(at: 8))
        return (count, finish(.transmission))
    }

    private mutating func oldstyle(_ bytes: RawSpan) -> (consumed: Int, reply: [UInt8]) {
        let count = 12 + Self.reserved
        guard bytes.byteCount >= count else { return (0, []) }
        guard let size = size(bytes) else { return (count, fail("export length is too large")) }
        let flags = bytes.bigEndian(UInt32.self, at: 8)
        guard let known = UInt16(exactly: flags) else {
            return (count, fail("Unexpected export flags 0x\(String(flags, radix: 16))"))
        }
        export.size = size
        export.flags = NBDTransmissionFlags(rawValue: known)
        if goal == .list {
            exports = [export]
            return (count, finish(.listed))
        }
        return (count, finish(.transmission))
    }

    // MARK: Asking

    /// Sends an option, whose replies are due then.
    mutating func ask(_ option: NBDOption, _ data: [UInt8] = []) -> [UInt8] {
        step = .option(option)
        replies = 0
        return Self.message(option, data)
    }

    mutating func askExportName() -> [UInt8] {
        step = .exportName
        return Self.message(.exportName, Array(export.name.utf8))
    }

    /// Says good-bye: all that was wanted is known.
    mutating func endList() -> [UInt8] { Self.message(.abort, []) + finish(.listed) }

    mutating func begin() -> [UInt8] { finish(.transmission) }

    private static func message(_ option: NBDOption, _ data: [UInt8]) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.appendBigEndian(NBDMagic.option)
        bytes.appendBigEndian(option.rawValue)
        bytes.appendBigEndian(UInt32(data.count))
        return bytes + data
    }

    private static func hex(_ value: UInt64) -> String {
        let digits = String(value, radix: 16)
        return "0x" + String(repeating: "0", count: 16 - digits.count) + digits
    }
}
