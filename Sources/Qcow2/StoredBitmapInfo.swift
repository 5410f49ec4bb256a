public import Block

/// What is told of a bitmap that an image keeps.
public struct StoredBitmapInfo: Equatable, Sendable {
    public var name: String
    /// Bytes.
    public var granularity: UInt64
    /// Somebody has the image open for writing, or has not closed it.
    public var isInUse: Bool
    /// It records changes.
    public var isAuto: Bool

    init(_ stored: StoredBitmap) {
        name = stored.name
        granularity = 1 << UInt64(stored.granularityBits)
        isInUse = stored.flags.contains(.inUse)
        isAuto = stored.flags.contains(.auto)
    }

    /// The flags as QEMU names them.
    public var flags: [String] { (isInUse ? ["in-use"] : []) + (isAuto ? ["auto"] : []) }

    /// Reads the bitmaps of an image that is not opened for more.
    public static func list(_ header: Header, _ file: any Storage) async throws(OpenError) -> [StoredBitmapInfo] {
        guard let extent = try header.bitmapExtension() else { return [] }
        var reader = BitmapDirectoryReader(file: file, header: header, extent)
        return try await reader.read().map { StoredBitmapInfo($0) }
    }
}
