import Block

/// The options of a node that hold, after what it inherits.
struct NodeFlags: Equatable, Sendable {
    var isReadOnly = false
    var autoReadOnly = false
    var forceShare = false
    var discard = CommonOptions.Discard.ignore
    var detectZeroes = CommonOptions.DetectZeroes.off
    var direct = false
    var noFlush = false

    init() {}

    /// What a child, or a node without a parent (`above` nil), makes of its own options and its parent's.
    ///
    /// A backing file is read-only unless it says otherwise. Formats send flushes and honour discards themselves, so that
    /// their files pass discards on; what lies below a filter does as the filter.
    init(_ own: CommonOptions, above: Inheritance?) {
        let isBacking = above?.role == .backing
        isReadOnly = own.isReadOnly ?? (isBacking ? true : above?.flags.isReadOnly ?? false)
        autoReadOnly = own.autoReadOnly ?? (isBacking ? false : above?.flags.autoReadOnly ?? false)
        forceShare = own.forceShare ?? above?.flags.forceShare ?? false
        direct = own.direct ?? above?.flags.direct ?? false
        noFlush = own.noFlush ?? above?.flags.noFlush ?? false
        let passesDiscard = above?.isFormat == true && !isBacking
        discard = own.discard ?? (passesDiscard ? .unmap : isBacking ? .ignore : above?.flags.discard ?? .ignore)
        detectZeroes = own.detectZeroes ?? .off
    }

    /// Checks the combination, in QEMU's words.
    func check() throws(OpenError) {
        if forceShare, !isReadOnly { throw OpenError("force-share=on can only be used with read-only images") }
        if detectZeroes == .unmap, discard != .unmap {
            throw OpenError(
                "setting detect-zeroes to unmap is not allowed without setting discard operation to unmap")
        }
    }
}

extension DriverOptions {
    /// Whether the driver is an image format: it keeps data of its own in its file.
    var isFormat: Bool {
        switch self {
        case .raw, .qcow2: true
        default: false
        }
    }

    var isFilter: Bool {
        switch self {
        case .blkdebug, .throttle, .copyOnRead, .compress, .preallocate: true
        default: false
        }
    }

    var supportsBacking: Bool {
        if case .qcow2 = self { return true }
        return false
    }
}

extension GraphValue {
    /// The options that hold, of all nodes.
    func allFlags() -> [NodeID: NodeFlags] {
        var result: [NodeID: NodeFlags] = [:]
        // What a node inherits from has it as a child, so it comes first.
        for id in topDown() {
            guard let node = nodes[id] else { continue }
            var above = node.expected
            if let parent = node.inheritsFrom, let role = node.inheritedRole, let flags = result[parent] {
                above = Inheritance(flags: flags, role: role, isFormat: nodes[parent]?.driver.isFormat ?? false)
            }
            var flags = NodeFlags(node.common, above: above)
            if node.fellBack { flags.isReadOnly = true }
            result[id] = flags
        }
        return result
    }

    /// The options that hold for a node; for one question.
    func flags(of id: NodeID) -> NodeFlags {
        // From the oldest ancestor down; a loop of parents cannot be, but must not hang either.
        var line: [NodeID] = []
        var next: NodeID? = id
        while let here = next, let node = nodes[here], line.count <= nodes.count {
            line.append(here)
            next = node.inheritsFrom
        }
        var flags: NodeFlags?
        for here in line.reversed() {
            guard let node = nodes[here] else { continue }
            var above = node.expected
            if let parent = node.inheritsFrom, let role = node.inheritedRole, let flags {
                above = Inheritance(flags: flags, role: role, isFormat: nodes[parent]?.driver.isFormat ?? false)
            }
            flags = NodeFlags(node.common, above: above)
        }
        var result = flags ?? NodeFlags()
        if nodes[id]?.fellBack == true { result.isReadOnly = true }
        return result
    }
}
