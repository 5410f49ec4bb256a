import CLinux
import Glibc

/// A descriptor that this process owns, such as a client passed it; closed when dropped.
public final class Descriptor {
    public enum Access: Sendable { case readOnly, writeOnly, readWrite }

    /// -1 once it was given away.
    public private(set) var number: Int32

    /// Takes an open descriptor over.
    public init(owning number: Int32) { self.number = number }

    deinit { if number >= 0 { Glibc.close(number) } }

    /// What its open file can be used for; nil where that cannot be told.
    public var access: Access? {
        switch nacre_access_mode(number) {
        case O_RDONLY: .readOnly
        case O_WRONLY: .writeOnly
        case O_RDWR: .readWrite
        default: nil
        }
    }

    /// A second descriptor of the same open file, closed on exec, which the caller owns; or a negative errno.
    public func duplicate() -> Int32 {
        let copy = nacre_duplicate(number)
        return copy >= 0 ? copy : -nacre_errno()
    }

    /// Gives the descriptor to the caller.
    public func giveAway() -> Int32 {
        defer { number = -1 }
        return number
    }
}
