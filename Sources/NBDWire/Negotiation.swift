import Bytes

/// What negotiation needs to know of one export.
public struct NBDExportInfo: Equatable, Sendable {
    public var name: String
    public var description: String?
    /// Bytes.
    public var size: UInt64
    public var flags: NBDTransmissionFlags
    public var minimumBlock: UInt32
    public var preferredBlock: UInt32
    public var maximumBlock: UInt32
    /// Names of the meta contexts it has, in the order of their ids.
    public var contexts: [String]

    public init(
        name: String, description: String? = nil, size: UInt64, flags: NBDTransmissionFlags, minimumBlock: UInt32 = 1,
        preferredBlock: UInt32 = 4096, maximumBlock: UInt32 = UInt32(NBDLimits.payload), contexts: [String] = []
    ) {
        self.name = name
        self.description = description
        self.size = size
        self.flags = flags
        self.minimumBlock = minimumBlock
        self.preferredBlock = preferredBlock
        self.maximumBlock = maximumBlock
        self.contexts = contexts
    }
}

/// The server's side of the handshake as a value: bytes in, bytes and decisions out. Fixed newstyle only.
///
/// It keeps no bytes: `receive` is shown all that came and was not yet consumed, and says how much it took.
public struct NBDNegotiation: Sendable {
    public enum State: Equatable, Sendable {
        case clientFlags
        case options
        /// The client begins TLS once it has what is to be sent. `secured` goes on.
        case securing
        /// The client chose this export.
        case transmission(export: String)
        /// The connection ends, after what is to be sent.
        case ended
    }

    public private(set) var state: State = .clientFlags
    /// Whether the client asked for structured replies.
    public private(set) var hasStructuredReplies = false
    /// Ids into the chosen export's `contexts`, of those the client asked for.
    public private(set) var contexts: [Int] = []
    /// What `contexts` were asked of.
    private var contextExport: String?
    /// The names that the ids stood for then.
    private var contextNames: [String] = []
    private var clientHasNoZeroes = false
    private let needsTLS: Bool
    private var isSecured = false

    /// Bytes of an option's head: magic, option, length.
    private static let optionHead = 16

    /// `needsTLS`: nothing is told before TLS has begun.
    public init(needsTLS: Bool = false) { self.needsTLS = needsTLS }

    /// TLS has begun. Nothing that was said before counts.
    public mutating func secured() {
        isSecured = true
        state = .options
    }

    /// The first bytes that a client gets.
    public static var greeting: [UInt8] {
        var bytes: [UInt8] = []
        bytes.appendBigEndian(NBDMagic.greeting)
        bytes.appendBigEndian(NBDMagic.option)
        bytes.appendBigEndian(([.fixedNewstyle, .noZeroes] as NBDHandshakeFlags).rawValue)
        return bytes
    }

    /// Takes one whole message from the front of `bytes`, if it is there. Answers how many bytes it took (0: more are
    /// needed) and what to send.
    public mutating func receive(_ bytes: RawSpan, exports: [NBDExportInfo]) -> (consumed: Int, reply: [UInt8]) {
        switch state {
        case .clientFlags:
            guard bytes.byteCount >= 4 else { return (0, []) }
            let flags = bytes.bigEndian(UInt32.self, at: 0)
            // A client that does not speak fixed newstyle, or says what we do not know, cannot be understood.
            if flags & 1 == 0 || flags > 3 { state = .ended } else { state = .options }
            clientHasNoZeroes = flags & 2 != 0
            return (4, [])
        case .options:
            return option(bytes, exports)
        case .securing, .transmission, .ended:
            return (0, [])
        }
    }

    private mutating func option(_ bytes: RawSpan, _ exports: [NBDExportInfo]) -> (consumed: Int, reply: [UInt8]) {
        guard bytes.byteCount >= Self.optionHead else { return (0, []) }
        let number = bytes.bigEndian(UInt32.self, at: 8)
        let length = Int(bytes.bigEndian(UInt32.self, at: 12))
        guard bytes.bigEndian(UInt64.self, at: 0) == NBDMagic.option, length <= NBDLimits.optionLength else {
            state = .ended
            return (bytes.byteCount, [])
        }
        guard bytes.byteCount - Self.optionHead >= length else { return (0, []) }
        let data = bytes.extracting(Self.optionHead..<Self.optionHead + length)
        let reply = answer(number, data, exports)
        return (Self.optionHead + length, reply)
    }

    private mutating func answer(_ number: UInt32, _ data: RawSpan, _ exports: [NBDExportInfo]) -> [UInt8] {
        let option = NBDOption(rawValue: number)
        if needsTLS, !isSecured, option != .startTLS, option != .abort {
            // This option knows no error reply.
            if option == .exportName { state = .ended }
            let words = "Option 0x\(String(number, radix: 16)) not permitted before TLS"
            return option == .exportName ? [] : Self.refuse(number, NBDOptionReply.tlsRequired, words)
        }
        switch option {
        case .exportName: return exportName(data, exports)
        case .abort:
            state = .ended
            return Self.reply(number, NBDOptionReply.ack)
        case .list: return list(number, data, exports)
        case .info, .go: return infoOrGo(number, data, exports)
        case .structuredReply:
            guard data.byteCount == 0 else { return Self.refuse(number, NBDOptionReply.invalid, "option has no data") }
            hasStructuredReplies = true
            return Self.reply(number, NBDOptionReply.ack)
        case .listMetaContext, .setMetaContext: return metaContext(number, data, exports)
        case .startTLS: return startTLS(number, data)
        case nil: return Self.refuse(number, NBDOptionReply.unsupported, "Unsupported option \(number)")
        }
    }

    private mutating func startTLS(_ number: UInt32, _ data: RawSpan) -> [UInt8] {
        guard needsTLS else { return Self.refuse(number, NBDOptionReply.policy, "TLS not configured") }
        guard !isSecured else { return Self.refuse(number, NBDOptionReply.invalid, "TLS already enabled") }
        guard data.byteCount == 0 else { return Self.refuse(number, NBDOptionReply.invalid, "option has no data") }
        state = .securing
        return Self.reply(number, NBDOptionReply.ack)
    }

    private mutating func exportName(_ data: RawSpan, _ exports: [NBDExportInfo]) -> [UInt8] {
        // This option knows no error reply: a wrong name ends the connection.
        guard data.byteCount <= NBDLimits.stringLength, let name = data.string,
            let export = exports.first(where: { $0.name == name })
        else {
            state = .ended
            return []
        }
        choose(export)
        var bytes: [UInt8] = []
        bytes.appendBigEndian(export.size)
        bytes.appendBigEndian(flags(of: export).rawValue)
        if !clientHasNoZeroes { bytes.append(contentsOf: [UInt8](repeating: 0, count: 124)) }
        return bytes
    }

    /// What the export can do for this client: only structured replies have fragments.
    private func flags(of export: NBDExportInfo) -> NBDTransmissionFlags {
        hasStructuredReplies ? export.flags : export.flags.subtracting(.sendDF)
    }

    private mutating func choose(_ export: NBDExportInfo) {
        // Contexts asked of another export do not carry over, nor those of one that came back with others.
        if contextExport != export.name || contextNames != export.contexts { contexts = [] }
        state = .transmission(export: export.name)
    }

    private func list(_ number: UInt32, _ data: RawSpan, _ exports: [NBDExportInfo]) -> [UInt8] {
        guard data.byteCount == 0 else { return Self.refuse(number, NBDOptionReply.invalid, "option has no data") }
        var bytes: [UInt8] = []
        for export in exports {
            var entry: [UInt8] = []
            let name = export.name.wireText
            entry.appendBigEndian(UInt32(name.count))
            entry.append(contentsOf: name)
            if let description = export.description {
                entry.append(contentsOf: description.wireText)
            }
            bytes += Self.reply(number, NBDOptionReply.server, entry)
        }
        return bytes + Self.reply(number, NBDOptionReply.ack)
    }

    private mutating func infoOrGo(_ number: UInt32, _ data: RawSpan, _ exports: [NBDExportInfo]) -> [UInt8] {
        var reader = OptionReader(data)
        guard let name = reader.string(), let count = reader.integer(UInt16.self) else {
            return Self.refuse(number, NBDOptionReply.invalid, "malformed export name")
        }
        var wanted: [UInt16] = []
        for _ in 0..<count {
            guard let kind = reader.integer(UInt16.self) else {
                return Self.refuse(number, NBDOptionReply.invalid, "fewer information requests than told")
            }
            wanted.append(kind)
        }
        guard reader.isAtEnd else { return Self.refuse(number, NBDOptionReply.invalid, "data behind the requests") }
        guard let export = exports.first(where: { $0.name == name }) else {
            return Self.unknown(number, name)
        }
        var bytes: [UInt8] = []
        if wanted.contains(NBDInfo.name) {
            bytes += Self.info(number, NBDInfo.name) { $0.append(contentsOf: name.utf8) }
        }
        if wanted.contains(NBDInfo.description), let description = export.description {
            bytes += Self.info(number, NBDInfo.description) { $0.append(contentsOf: description.wireText) }
        }
        let asksBlockSize = wanted.contains(NBDInfo.blockSize)
        bytes += Self.info(number, NBDInfo.blockSize) {
            // A client that does not ask may send any size, as the export does take.
            $0.appendBigEndian(asksBlockSize ? export.minimumBlock : 1)
            $0.appendBigEndian(export.preferredBlock)
            $0.appendBigEndian(export.maximumBlock)
        }
        bytes += Self.info(number, NBDInfo.export) {
            $0.appendBigEndian(export.size)
            $0.appendBigEndian(flags(of: export).rawValue)
        }
        if number == NBDOption.go.rawValue { choose(export) }
        return bytes + Self.reply(number, NBDOptionReply.ack)
    }

    private mutating func metaContext(_ number: UInt32, _ data: RawSpan, _ exports: [NBDExportInfo]) -> [UInt8] {
        let sets = number == NBDOption.setMetaContext.rawValue
        // What was set before is replaced even where this fails.
        if sets { contexts = [] }
        guard hasStructuredReplies || !sets else {
            return Self.refuse(
                number, NBDOptionReply.invalid,
                "request option '\(Self.name(number))' when structured reply is not negotiated")
        }
        var reader = OptionReader(data)
        guard let name = reader.string(), let count = reader.integer(UInt32.self), count <= NBDLimits.queries else {
            return Self.refuse(number, NBDOptionReply.invalid, "malformed meta context queries")
        }
        var queries: [String] = []
        for _ in 0..<count {
            guard let query = reader.string() else {
                return Self.refuse(number, NBDOptionReply.invalid, "malformed meta context query")
            }
            queries.append(query)
        }
        guard reader.isAtEnd else { return Self.refuse(number, NBDOptionReply.invalid, "data behind the queries") }
        guard let export = exports.first(where: { $0.name == name }) else {
            return Self.unknown(number, name)
        }
        let found = export.contexts.indices.filter { index in
            let context = export.contexts[index]
            if queries.isEmpty { return !sets }
            // While listing, a name space asks for all that is in it.
            return queries.contains {
                $0 == context || (!sets && Self.nameSpaces.contains($0) && context.hasPrefix($0))
            }
        }
        if sets {
            contexts = Array(found)
            contextExport = export.name
            contextNames = export.contexts
        }
        var bytes: [UInt8] = []
        for index in found {
            var entry: [UInt8] = []
            entry.appendBigEndian(sets ? UInt32(index) : 0)
            entry.append(contentsOf: export.contexts[index].utf8)
            bytes += Self.reply(number, NBDOptionReply.metaContext, entry)
        }
        return bytes + Self.reply(number, NBDOptionReply.ack)
    }

    /// What contexts' names begin with. A bitmap's own name may have colons, which make no name space.
    private static let nameSpaces: Set<String> = ["base:", "qemu:", "qemu:dirty-bitmap:"]

    private static func name(_ number: UInt32) -> String {
        number == NBDOption.setMetaContext.rawValue ? "set meta context" : "list meta context"
    }

    private static func info(_ number: UInt32, _ kind: UInt16, _ fill: (inout [UInt8]) -> Void) -> [UInt8] {
        var data: [UInt8] = []
        data.appendBigEndian(kind)
        fill(&data)
        return reply(number, NBDOptionReply.info, data)
    }

    private static func refuse(_ number: UInt32, _ code: UInt32, _ message: String) -> [UInt8] {
        reply(number, code, message.wireText)
    }

    /// Little of the peer's own text goes back: 64 scalars, for one character may be as long as the whole name.
    private static func unknown(_ number: UInt32, _ name: String) -> [UInt8] {
        let start = String(name.unicodeScalars.prefix(64))
        return refuse(number, NBDOptionReply.unknown, "export '\(start)' not present")
    }

    private static func reply(_ number: UInt32, _ code: UInt32, _ data: [UInt8] = []) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.appendBigEndian(NBDMagic.optionReply)
        bytes.appendBigEndian(number)
        bytes.appendBigEndian(code)
        bytes.appendBigEndian(UInt32(data.count))
        return bytes + data
    }
}

/// Reads an option's data front to back; it owns what remains, so that lengths that disagree end in nil.
struct OptionReader: ~Escapable {
    private let bytes: RawSpan
    private var position = 0

    @_lifetime(copy bytes)
    init(_ bytes: RawSpan) { self.bytes = bytes }

    var isAtEnd: Bool { position == bytes.byteCount }

    mutating func integer<T: FixedWidthInteger & BitwiseCopyable>(_ type: T.Type) -> T? {
        let size = MemoryLayout<T>.size
        guard bytes.byteCount - position >= size else { return nil }
        defer { position += size }
        return bytes.bigEndian(T.self, at: position)
    }

    /// A string with its 32-bit length before it: valid UTF-8, at most 4096 bytes.
    mutating func string() -> String? {
        guard let length = integer(UInt32.self), length <= NBDLimits.stringLength, remaining >= Int(length) else {
            return nil
        }
        return text(Int(length))
    }

    var remaining: Int { bytes.byteCount - position }

    /// The next bytes as text. Precondition: so many remain.
    mutating func text(_ count: Int) -> String? {
        defer { position += count }
        return bytes.extracting(position..<position + count).string
    }
}

extension String {
    /// Its UTF-8, cut to whole scalars where the protocol allows no more bytes in a string.
    var wireText: [UInt8] {
        var bytes = Array(utf8.prefix(NBDLimits.stringLength + 1))
        guard bytes.count > NBDLimits.stringLength else { return bytes }
        var end = NBDLimits.stringLength
        while bytes[end] & 0xC0 == 0x80 { end -= 1 }
        bytes.removeSubrange(end...)
        return bytes
    }
}

extension RawSpan {
    /// The bytes as UTF-8 text; nil where they are not, or hold a NUL.
    var string: String? {
        let bytes = array
        return bytes.contains(0) ? nil : String(validating: bytes, as: UTF8.self)
    }
}
