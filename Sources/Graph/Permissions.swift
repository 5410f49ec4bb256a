/// What a user of a node does with it, or lets others do: QEMU's permissions, numbered as its image locks.
public struct Permissions: OptionSet, Hashable, Sendable {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }
    /// Reads that must see one state.
    public static let consistentRead = Permissions(rawValue: 1)
    public static let write = Permissions(rawValue: 2)
    /// Writes that change nothing which a reader could see.
    public static let writeUnchanged = Permissions(rawValue: 4)
    public static let resize = Permissions(rawValue: 8)
    public static let all: Permissions = [.consistentRead, .write, .writeUnchanged, .resize]

    /// QEMU's words, by bit.
    private static let words = ["consistent read", "write", "write unchanged", "resize"]

    /// As error texts list them: `write, resize`.
    public var text: String {
        Self.words.enumerated().filter { rawValue & (1 << UInt8($0.offset)) != 0 }.map(\.element)
            .joined(separator: ", ")
    }
}
