import Block
import CLinux
import Glibc
import HostIO

/// What a user of a file does with it, and lets others do: QEMU's permissions as bits, numbered as its image locks.
public struct LockPermissions: OptionSet, Sendable {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }
    public static let consistentRead = LockPermissions(rawValue: 1)
    public static let write = LockPermissions(rawValue: 2)
    public static let writeUnchanged = LockPermissions(rawValue: 4)
    public static let resize = LockPermissions(rawValue: 8)
    public static let all: LockPermissions = [.consistentRead, .write, .writeUnchanged, .resize]

    /// In the words of lock errors, by bit.
    static let names = ["consistent read", "write", "write unchanged", "resize"]
}

/// QEMU's image locks on one open file: for each permission in use a shared lock on byte 100 + bit, for each that is
/// not shared with others one on byte 200 + bit; a conflict is somebody else's lock on the opposite byte.
///
/// Open-file-description locks: they belong to the descriptor and end with it.
struct ImageLock {
    private static let usedBase: Int64 = 100
    private static let unsharedBase: Int64 = 200

    /// A lock that cannot be had, since somebody else has locked this byte of the file.
    struct Refusal: Error {
        let message: String
        let byte: Int64
    }

    let descriptor: Int32
    private(set) var used: LockPermissions = []
    private(set) var unshared: LockPermissions = []

    init(descriptor: Int32) { self.descriptor = descriptor }

    /// Takes what is wanted and not yet held, and sees that nobody objects. On a conflict nothing has changed.
    mutating func acquire(used wanted: LockPermissions, shared: LockPermissions) throws(Refusal) {
        let unwanted = LockPermissions.all.subtracting(shared)
        let before = self
        do {
            try lock(wanted.subtracting(used), Self.usedBase, "")
            try lock(unwanted.subtracting(unshared), Self.unsharedBase, "shared ")
            used.formUnion(wanted)
            unshared.formUnion(unwanted)
            try check(wanted, Self.unsharedBase, "")
            try check(unwanted, Self.usedBase, "shared ")
        } catch {
            unlock(LockPermissions.all.subtracting(before.used), Self.usedBase)
            unlock(LockPermissions.all.subtracting(before.unshared), Self.unsharedBase)
            self = before
            throw error
        }
    }

    /// Takes what another lock of this process holds, as its successor.
    mutating func adopt(_ other: ImageLock) {
        for bit in 0..<4 {
            let permission = LockPermissions(rawValue: 1 << bit)
            if other.used.contains(permission) {
                _ = nacre_ofd_lock(descriptor, Int16(F_RDLCK), Self.usedBase + Int64(bit), 1)
            }
            if other.unshared.contains(permission) {
                _ = nacre_ofd_lock(descriptor, Int16(F_RDLCK), Self.unsharedBase + Int64(bit), 1)
            }
        }
        used = other.used
        unshared = other.unshared
    }

    /// Gives up what is no longer wanted.
    mutating func release(used wanted: LockPermissions, shared: LockPermissions) {
        let unwanted = LockPermissions.all.subtracting(shared)
        unlock(used.subtracting(wanted), Self.usedBase)
        unlock(unshared.subtracting(unwanted), Self.unsharedBase)
        used.formIntersection(wanted)
        unshared.formIntersection(unwanted)
    }

    private func lock(_ permissions: LockPermissions, _ base: Int64, _ kind: String) throws(Refusal) {
        for bit in 0..<4 where permissions.contains(LockPermissions(rawValue: 1 << bit)) {
            guard nacre_ofd_lock(descriptor, Int16(F_RDLCK), base + Int64(bit), 1) == 0 else {
                throw refusal(kind, bit, base)
            }
        }
    }

    /// Sees that an exclusive lock on the opposite byte could be had: that nobody else holds it.
    private func check(_ permissions: LockPermissions, _ base: Int64, _ kind: String) throws(Refusal) {
        for bit in 0..<4 where permissions.contains(LockPermissions(rawValue: 1 << bit)) {
            guard nacre_ofd_test(descriptor, Int16(F_WRLCK), base + Int64(bit), 1) == 0 else {
                throw refusal(kind, bit, base)
            }
        }
    }

    private func unlock(_ permissions: LockPermissions, _ base: Int64) {
        for bit in 0..<4 where permissions.contains(LockPermissions(rawValue: 1 << bit)) {
            _ = nacre_ofd_lock(descriptor, Int16(F_UNLCK), base + Int64(bit), 1)
        }
    }

    private func refusal(_ kind: String, _ bit: Int, _ base: Int64) -> Refusal {
        Refusal(message: "Failed to get \(kind)\"\(LockPermissions.names[bit])\" lock", byte: base + Int64(bit))
    }
}
