public import Block
import Bytes

/// What every storage must keep to, whatever stands behind it: one suite of checks for files, formats, filters, walkers
/// and simulated disks. Each check throws `Broken` with a sentence, or what the storage threw.
///
/// The storage is at least 256 KiB long; its contents are changed. Used on walkers (`BlockIO`), which take any
/// alignment, and on bare storages, which are asked in multiples of their alignment.
public struct Conformance {
    /// A promise that was not kept.
    public struct Broken: Error, CustomStringConvertible {
        public let description: String
        public init(_ description: String) { self.description = description }
    }

    /// What a storage cannot be asked for.
    public struct Exceptions: OptionSet, Sendable {
        public let rawValue: Int
        public init(rawValue: Int) { self.rawValue = rawValue }
        /// Its length is fixed.
        public static let fixedLength = Exceptions(rawValue: 1)
        /// It forgets what is written (`null-co`): only that requests succeed and reads are zeros is checked.
        public static let forgets = Exceptions(rawValue: 2)
        /// A write of it is refused with `readOnly`.
        public static let readOnly = Exceptions(rawValue: 4)
    }

    let storage: any Storage
    let context: any IOContext
    let exceptions: Exceptions
    var random: SeededRandom
    /// Offsets and lengths are multiples of this.
    let unit: UInt64

    public init(of storage: any Storage, in context: any IOContext, seed: UInt64 = 0, _ exceptions: Exceptions = []) {
        self.storage = storage
        self.context = context
        self.exceptions = exceptions
        random = SeededRandom(seed: seed)
        unit = storage.limits.requestAlignment
    }

    /// All checks, on the context's thread.
    public mutating func run() async throws {
        try expect(storage.length >= 256 << 10, "the storage is at least 256 KiB long")
        if exceptions.contains(.readOnly) { return try await refusesChanges() }
        try await refusesWhatPassesTheEnd()
        try await keepsWrites()
        try await zeroesAndDiscards()
        try await tellsStatus()
        try await takesLargeRequests()
        try await takesRequestsAtOnce()
        try await takesEmptyRequests()
        try await agreesInPlace()
        if !exceptions.contains(.fixedLength) { try await resizes() }
        try await storage.flush()
    }

    func expect(_ condition: Bool, _ promise: @autoclosure () -> String) throws {
        if !condition { throw Broken(promise()) }
    }

    /// Runs a request that must fail with one of these errors.
    func expectError(_ allowed: Set<BlockError>, _ promise: String, _ body: () async throws(BlockError) -> Void)
        async throws
    {
        do throws(BlockError) { try await body() } catch {
            return try expect(allowed.contains(error), "\(promise): fails with \(error)")
        }
        throw Broken("\(promise): but it succeeds")
    }

    /// All of the storage, read in pieces.
    func all() async throws -> [UInt8] {
        var result: [UInt8] = []
        let (length, piece) = (storage.length, min(storage.limits.maxTransfer, 1 << 20))
        while UInt64(result.count) < length {
            let count = min(piece, length - UInt64(result.count))
            result += try await storage.bytes(at: UInt64(result.count), count: Int(count))
        }
        return result
    }

    /// A model that holds what the storage holds now.
    func model() async throws -> DiskModel { DiskModel(SparseBytes(try await all())) }

    func compare(_ model: inout DiskModel, after what: String) async throws {
        let found = try await all()
        if exceptions.contains(.forgets) {
            return try expect(found.rawBytes.isZero, "a storage that forgets reads as zeros after \(what)")
        }
        try expect(UInt64(found.count) == model.length, "the length after \(what) is \(model.length)")
        if let mismatch = model.observe(found, at: 0) { throw Broken("after \(what): \(mismatch)") }
    }

    /// A range inside the first 256 KiB, or at the end of the storage, in the storage's unit.
    mutating func someRange(upTo most: UInt64) -> ByteRange {
        let count = (1 + random.below(most / unit)) * unit
        if random.chance(10), storage.length % unit == 0 {
            return ByteRange(at: (storage.length - count).roundedDown(to: unit), count: count)
        }
        let start = random.below(((256 << 10) - count) / unit + 1) * unit
        return ByteRange(at: start, count: count)
    }
}
