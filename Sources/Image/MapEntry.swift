/// One run of the virtual disk, as `map` tells it: where it is decided and where its bytes lie.
public struct MapEntry: Equatable, Sendable {
    /// In bytes of the virtual disk.
    public var start: UInt64
    public var length: UInt64
    /// How many images below the named one decide.
    public var depth: Int
    /// Whether any image of the chain decides.
    public var isPresent: Bool
    public var isZero: Bool
    public var isData: Bool
    /// Where in `filename` the bytes lie, where they lie there as they read.
    public var offset: UInt64?
    public var filename: String?

    public init(
        start: UInt64, length: UInt64, depth: Int, isPresent: Bool, isZero: Bool, isData: Bool, offset: UInt64? = nil,
        filename: String? = nil
    ) {
        self.start = start
        self.length = length
        self.depth = depth
        self.isPresent = isPresent
        self.isZero = isZero
        self.isData = isData
        self.offset = offset
        self.filename = filename
    }

    /// Whether `next`, which follows at once, is of one kind with this one.
    func continues(into next: MapEntry) -> Bool {
        guard isZero == next.isZero, isData == next.isData, depth == next.depth, isPresent == next.isPresent,
            filename == next.filename
        else { return false }
        switch (offset, next.offset) {
        case (nil, nil): return true
        case (let a?, let b?): return a.addingReportingOverflow(length) == (b, false)
        default: return false
        }
    }

    /// A line of `--output=json`, in qemu-img's own layout.
    public var json: String {
        let place = offset.map { ", \"offset\": \($0)" } ?? ""
        return """
            { "start": \(start), "length": \(length), "depth": \(depth), "present": \(isPresent), \
            "zero": \(isZero), "data": \(isData)\(place)}
            """
    }

    /// A line for people; nil where there is no data to point at.
    public var text: String? {
        guard isData, !isZero, let offset else { return nil }
        return "\(hex(start)) \(hex(length)) \(hex(offset)) \(filename ?? "")"
    }

    static let heading = "Offset          Length          Mapped to       File"

    private func hex(_ value: UInt64) -> String {
        let digits = value == 0 ? "0" : "0x" + String(value, radix: 16)
        return digits + String(repeating: " ", count: max(0, 15 - digits.count))
    }
}
