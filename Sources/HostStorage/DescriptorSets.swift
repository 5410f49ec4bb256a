public import Block
import CLinux
import Glibc
public import HostIO

/// Sets of passed descriptors, from which files are opened by the name `/dev/fdset/ID` (`add-fd` and its like).
///
/// A file takes a second descriptor of the one whose access mode it wants, so it goes on when that is removed. A set
/// goes when it holds none and nothing is open from it; when the last client leaves, what nothing is open from goes.
public final class DescriptorSets {
    /// One passed descriptor.
    public struct Entry {
        public let descriptor: Descriptor
        /// The client's text to know it by.
        public let opaque: String?
    }

    /// One set.
    public struct Entries {
        public let id: Int64
        /// In the order in which they came.
        public fileprivate(set) var entries: [Entry] = []
        /// Files that are open from it.
        fileprivate var files = 0
    }

    /// How many descriptors all sets may hold: clients cannot use up those of the process.
    public static let limit = 256
    /// By id.
    public private(set) var sets: [Entries] = []

    public init() {}

    // MARK: Commands

    /// `add-fd`: puts a descriptor into a set; where none is named, into a new one with the lowest free number. Answers
    /// the set.
    public func add(_ descriptor: Descriptor, to id: Int64?, opaque: String?) throws(OpenError) -> Int64 {
        if let id, id < 0 { throw OpenError("Parameter 'fdset-id' expects a non-negative value") }
        guard sets.reduce(0, { $0 + $1.entries.count }) < Self.limit else {
            throw OpenError("All \(Self.limit) descriptors of descriptor sets are in use")
        }
        let id = id ?? firstFree
        let index = sets.firstIndex { $0.id >= id } ?? sets.count
        if index == sets.count || sets[index].id != id { sets.insert(Entries(id: id), at: index) }
        sets[index].entries.append(Entry(descriptor: descriptor, opaque: opaque))
        return id
    }

    private var firstFree: Int64 {
        var id: Int64 = 0
        for set in sets where set.id == id { id += 1 }
        return id
    }

    /// `remove-fd`: takes out one descriptor, or all.
    public func remove(_ number: Int64?, from id: Int64) throws(OpenError) {
        let name = number.map { "fdset-id:\(id), fd:\($0)" } ?? "fdset-id:\(id)"
        guard let index = sets.firstIndex(where: { $0.id == id }),
            number == nil || sets[index].entries.contains(where: { Int64($0.descriptor.number) == number })
        else { throw OpenError("File descriptor named '\(name)' not found") }
        sets[index].entries.removeAll { number == nil || Int64($0.descriptor.number) == number }
        dropEmpty()
    }

    /// No client is connected any more: what nothing is open from goes.
    public func lastClientLeft() { sets.removeAll { $0.files == 0 } }

    private func dropEmpty() { sets.removeAll { $0.entries.isEmpty && $0.files == 0 } }

    // MARK: Files

    /// The set that a file name means; nil for other names.
    func set(named filename: String) throws(OpenError) -> Int64? {
        let prefix = "/dev/fdset/"
        guard filename.hasPrefix(prefix) else { return nil }
        let digits = filename.utf8.dropFirst(prefix.utf8.count)
        guard let first = digits.first, (0x30...0x39).contains(first), let id = Int64(Substring(digits)) else {
            throw OpenError("Could not parse fdset \(filename)")
        }
        return id
    }

    /// A descriptor for a file, which is counted as open until `closed`.
    func open(_ id: Int64, _ options: FileOptions) throws(OpenError) -> (Int32, isReadOnly: Bool) {
        var code = ENOENT
        let wanted: [Descriptor.Access] =
            options.isReadOnly ? [.readOnly] : options.autoReadOnly ? [.readWrite, .readOnly] : [.readWrite]
        if let index = sets.firstIndex(where: { $0.id == id }) {
            code = EACCES
            for access in wanted {
                guard let entry = sets[index].entries.first(where: { $0.descriptor.access == access }) else { continue }
                let copy = entry.descriptor.duplicate()
                if copy >= 0 {
                    _ = nacre_set_direct(copy, options.direct ? 1 : 0)
                    sets[index].files += 1
                    return (copy, access == .readOnly)
                }
                code = -copy
            }
        }
        let flags = (options.isReadOnly ? O_RDONLY : O_RDWR) | (options.direct ? nacre_o_direct() : 0)
        throw OpenError(
            "Could not dup FD for \(options.filename) flags \(String(flags, radix: 16)): \(errnoText(code))",
            cause: BlockError(errno: code))
    }

    func closed(_ id: Int64) {
        guard let index = sets.firstIndex(where: { $0.id == id }), sets[index].files > 0 else { return }
        sets[index].files -= 1
        dropEmpty()
    }
}
