import Bytes

// The conversation in options. For an export: structured replies, its meta context, GO; where the server does not know GO,
// its list, which tells a missing export in words, and then EXPORT_NAME. For a list: structured replies, LIST, and for each
// export INFO and what contexts it has.
extension NBDClientNegotiation {
    mutating func optionReply(_ bytes: RawSpan, _ option: NBDOption) -> (consumed: Int, reply: [UInt8]) {
        guard bytes.byteCount >= Self.replyHead else { return (0, []) }
        guard bytes.bigEndian(UInt64.self, at: 0) == NBDMagic.optionReply else {
            return (Self.replyHead, fail("Unexpected option reply magic"))
        }
        let number = bytes.bigEndian(UInt32.self, at: 8)
        guard number == option.rawValue else {
            return (Self.replyHead, fail("Unexpected option type \(number), expected \(option.rawValue)"))
        }
        let kind = bytes.bigEndian(UInt32.self, at: 12)
        let length = Int(bytes.bigEndian(UInt32.self, at: 16))
        guard length <= NBDLimits.optionLength else {
            return (Self.replyHead, fail("reply \(kind) to option \(number) is too long"))
        }
        let end = Self.replyHead + length
        guard bytes.byteCount >= end else { return (0, []) }
        replies += 1
        let mayGoOn = option == .list || replies <= NBDLimits.optionReplies
        guard mayGoOn else { return (end, fail("too many replies to option \(number)")) }
        return (end, take(option, kind, bytes.extracting(Self.replyHead..<end)))
    }

    private mutating func take(_ option: NBDOption, _ kind: UInt32, _ data: RawSpan) -> [UInt8] {
        if kind & 1 << 31 != 0 { return refused(option, kind, data) }
        if kind == NBDOptionReply.ack {
            guard data.byteCount == 0 else { return fail("server sent invalid NBD_REP_ACK") }
            return acknowledged(option)
        }
        switch (option, kind) {
        case (.go, NBDOptionReply.info), (.info, NBDOptionReply.info): return info(data, option)
        case (.list, NBDOptionReply.server): return server(data)
        case (.setMetaContext, NBDOptionReply.metaContext), (.listMetaContext, NBDOptionReply.metaContext):
            return metaContext(option, data)
        default:
            return fail("unexpected reply type \(kind) to option \(option.rawValue)")
        }
    }

    // MARK: What comes next

    private mutating func acknowledged(_ option: NBDOption) -> [UInt8] {
        switch option {
        case .structuredReply:
            hasStructuredReplies = true
            return afterStructuredReply()
        case .setMetaContext: return askToGo()
        case .go:
            guard export.flags.contains(.hasFlags) else { return fail("broken server omitted NBD_INFO_EXPORT") }
            guard export.minimumBlock == 0 || export.size % UInt64(export.minimumBlock) == 0 else {
                return fail(
                    "export size \(export.size) is not multiple of minimum block size \(export.minimumBlock)")
            }
            return begin()
        case .list: return afterList()
        case .info: return askForContexts()
        case .listMetaContext: return askAfter(index + 1)
        case .startTLS: return beginTLS()
        case .exportName, .abort: return fail("unexpected reply to option \(option.rawValue)")
        }
    }

    private mutating func afterStructuredReply() -> [UInt8] {
        guard case .export(let name, let context) = goal else { return ask(.list) }
        guard hasStructuredReplies, !context.isEmpty else { return askToGo() }
        var data = Self.string(name)
        data.appendBigEndian(1 as UInt32)
        return ask(.setMetaContext, data + Self.string(context))
    }

    private mutating func askToGo() -> [UInt8] { ask(.go, Self.infoRequest(export.name)) }

    private mutating func afterList() -> [UInt8] {
        guard goal == .list else {
            guard exports.contains(where: { $0.name == export.name }) else {
                return fail("No export with name '\(export.name)' available", isViolation: false)
            }
            exports = []
            return askExportName()
        }
        return askAfter(0)
    }

    /// Asks after one export of the list; behind the last the list is whole.
    private mutating func askAfter(_ next: Int) -> [UInt8] {
        index = next
        guard index < exports.count else { return endList() }
        return ask(.info, Self.infoRequest(exports[index].name))
    }

    private mutating func askForContexts() -> [UInt8] {
        guard hasStructuredReplies else { return askAfter(index + 1) }
        var data = Self.string(exports[index].name)
        data.appendBigEndian(0 as UInt32)
        return ask(.listMetaContext, data)
    }

    /// The server refuses an option. Some of them it need not know.
    private mutating func refused(_ option: NBDOption, _ kind: UInt32, _ data: RawSpan) -> [UInt8] {
        let isUnknown = kind == NBDOptionReply.unsupported
        switch option {
        case .structuredReply: return afterStructuredReply()
        case .setMetaContext where kind != NBDOptionReply.tlsRequired:
            context = nil
            return askToGo()
        case .go where isUnknown: return ask(.list)
        case .list where isUnknown && goal != .list: return askExportName()
        // Names are all that can be had.
        case .info where isUnknown: return endList()
        case .info: return askAfter(index + 1)
        case .listMetaContext: return askAfter(index + 1)
        default: break
        }
        return fail(Self.refusal(option, kind, data), isViolation: false)
    }

    /// QEMU's words for a refusal, and the server's own.
    private static func refusal(_ option: NBDOption, _ kind: UInt32, _ data: RawSpan) -> String {
        let name = "option \(option.rawValue) (\(Self.name(option)))"
        var text =
            switch kind {
            case NBDOptionReply.policy: "Denied by server for \(name)"
            case NBDOptionReply.invalid: "Invalid parameters for \(name)"
            case NBDOptionReply.platform: "Server lacks support for \(name)"
            case NBDOptionReply.tlsRequired:
                "TLS negotiation required before \(name)\nDid you forget a valid tls-creds?"
            case NBDOptionReply.unknown: "Requested export not available"
            case NBDOptionReply.shutdown: "Server shutting down before \(name)"
            case NBDOptionReply.blockSizeRequired: "Server requires INFO_BLOCK_SIZE for \(name)"
            default: "Unknown error code when asking for \(name)"
            }
        if data.byteCount > 0, data.byteCount <= NBDLimits.stringLength, let words = data.string {
            text += "\nserver reported: \(words)"
        }
        return text
    }

    private static func name(_ option: NBDOption) -> String {
        switch option {
        case .exportName: "export name"
        case .abort: "abort"
        case .list: "list"
        case .startTLS: "starttls"
        case .info: "info"
        case .go: "go"
        case .structuredReply: "structured reply"
        case .listMetaContext: "list meta context"
        case .setMetaContext: "set meta context"
        }
    }

    // MARK: What a reply says

    /// One piece of information on the export that was asked after.
    private mutating func info(_ data: RawSpan, _ option: NBDOption) -> [UInt8] {
        guard data.byteCount >= 2 else { return fail("NBD_REP_INFO length \(data.byteCount) is too short") }
        let rest = data.extracting(2..<data.byteCount)
        var found = option == .go ? export : exports[index]
        switch data.bigEndian(UInt16.self, at: 0) {
        case NBDInfo.export:
            guard rest.byteCount == 10 else {
                return fail("remaining export info len \(rest.byteCount) is unexpected size")
            }
            guard let size = size(rest) else { return fail("export length is too large") }
            found.size = size
            found.flags = NBDTransmissionFlags(rawValue: rest.bigEndian(at: 8))
        case NBDInfo.blockSize:
            guard rest.byteCount == 12 else {
                return fail("remaining export info len \(rest.byteCount) is unexpected size")
            }
            found.minimumBlock = rest.bigEndian(at: 0)
            found.preferredBlock = rest.bigEndian(at: 4)
            found.maximumBlock = rest.bigEndian(at: 8)
            if let fault = Self.fault(in: found) { return fail(fault) }
        default: break
        }
        if option == .go { export = found } else { exports[index] = found }
        return []
    }

    /// What is wrong with block sizes as told.
    private static func fault(in export: NBDExportInfo) -> String? {
        let (least, preferred) = (export.minimumBlock, export.preferredBlock)
        if least.nonzeroBitCount != 1 { return "server minimum block size \(least) is not a power of two" }
        if least > NBDLimits.minimumBlock { return "server minimum block size \(least) is too large" }
        if preferred.nonzeroBitCount != 1 || preferred < least {
            return "server preferred block size \(preferred) is not valid"
        }
        return export.maximumBlock < least ? "server maximum block size \(export.maximumBlock) is not valid" : nil
    }

    /// One export of a list.
    private mutating func server(_ data: RawSpan) -> [UInt8] {
        var reader = OptionReader(data)
        guard let name = reader.string() else { return fail("incorrect option name length") }
        guard let description = reader.rest() else { return fail("incorrect option description") }
        // An entry takes room even where its name is empty.
        listed += MemoryLayout<NBDExportInfo>.stride + data.byteCount
        guard listed <= NBDLimits.listedBytes else { return fail("the server's list of exports is too long") }
        var found = Self.unknown(name)
        if !description.isEmpty { found.description = description }
        exports.append(found)
        return []
    }

    private mutating func metaContext(_ option: NBDOption, _ data: RawSpan) -> [UInt8] {
        var reader = OptionReader(data)
        guard let id = reader.integer(UInt32.self), let name = reader.rest() else {
            return fail("Failed to negotiate meta context: invalid reply")
        }
        guard option == .setMetaContext, case .export(_, let wanted) = goal else {
            listed += MemoryLayout<String>.stride + data.byteCount
            guard listed <= NBDLimits.listedBytes else { return fail("the server's list of contexts is too long") }
            exports[index].contexts.append(name)
            return []
        }
        guard name == wanted else {
            return fail("Failed to negotiate query '\(wanted)', server answered with different context")
        }
        guard context == nil else { return fail("Server replied with more than one context") }
        context = id
        return []
    }

    // MARK: Encoding

    private static func string(_ text: String) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.appendBigEndian(UInt32(text.utf8.count))
        return bytes + text.utf8
    }

    /// Asks after an export, and for its block sizes.
    private static func infoRequest(_ name: String) -> [UInt8] {
        var data = string(name)
        data.appendBigEndian(1 as UInt16)
        data.appendBigEndian(NBDInfo.blockSize)
        return data
    }
}

extension OptionReader {
    /// What remains, as text of at most 4096 bytes.
    mutating func rest() -> String? {
        let count = remaining
        guard count <= NBDLimits.stringLength else { return nil }
        return text(count)
    }
}
