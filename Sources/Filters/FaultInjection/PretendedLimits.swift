public import Block

/// What a fault filter pretends to ask of requests, in bytes; nil: what its image asks. For tests of whatever has to keep to
/// such limits.
public struct PretendedLimits: Equatable, Sendable {
    public var align: UInt64?
    public var maxTransfer: UInt64?
    /// What lies beside whole multiples of this in a zero request comes as data.
    public var optWriteZero: UInt64?
    public var maxWriteZero: UInt64?
    /// Discards come in pieces: whole multiples of this, and what lies beside them.
    public var optDiscard: UInt64?
    public var maxDiscard: UInt64?

    public init(align: UInt64? = nil) { self.align = align }

    /// Checks them against each other, in QEMU's words and order. QEMU stops at 2^31, and then takes a buffer of that size
    /// for every request; here no alignment is larger than the buffers that requests may have.
    public func check() throws(OpenError) {
        if let align, align != 0, align.nonzeroBitCount != 1 || align > BlockIO.bounceLimit {
            throw refused("align", align)
        }
        let align = max(self.align ?? 1, 1)
        try check("max-transfer", maxTransfer, align)
        try check("opt-write-zero", optWriteZero, align)
        try check("max-write-zero", maxWriteZero, max(optWriteZero ?? 0, align))
        try check("opt-discard", optDiscard, align)
        try check("max-discard", maxDiscard, max(optDiscard ?? 0, align))
    }

    private func check(_ name: String, _ value: UInt64?, _ unit: UInt64) throws(OpenError) {
        guard let value, value != 0 else { return }
        if value % unit != 0 || value >= UInt64(Int32.max) { throw refused(name, value) }
    }

    private func refused(_ name: String, _ value: UInt64) -> OpenError {
        OpenError("Cannot meet constraints with \(name) \(value)")
    }

    /// The limits of a storage behind these.
    func applied(to limits: StorageLimits) -> StorageLimits {
        var limits = limits
        if let align { limits.requestAlignment = max(limits.requestAlignment, align) }
        if let maxTransfer, maxTransfer > 0 {
            limits.maxTransfer = max(min(limits.maxTransfer, maxTransfer), limits.requestAlignment)
        }
        return limits
    }
}
