public import Block
public import SCSI

/// An iSCSI target node (RFC 7143): a name, who may log in, and the SCSI target behind it.
public final class ISCSITarget {
    /// `iqn.…`, `eui.…` or `naa.…`.
    public let name: String
    public let scsi: SCSITarget
    /// Initiator names that may log in; empty: any.
    public var allowedInitiators: [String]
    /// What initiators prove themselves with; nil: nothing is asked.
    public var chap: CHAPSecrets?

    public init(name: String, scsi: SCSITarget, allowedInitiators: [String] = [], chap: CHAPSecrets? = nil) {
        self.name = name
        self.scsi = scsi
        self.allowedInitiators = allowedInitiators
        self.chap = chap
    }
}

/// What CHAP (RFC 1994) checks. Never printed.
public struct CHAPSecrets: Sendable {
    public var user: String
    public var secret: [UInt8]
    /// What the target proves itself with, where the initiator asks (mutual CHAP).
    public var mutual: (user: String, secret: [UInt8])?

    public init(user: String, secret: [UInt8], mutual: (user: String, secret: [UInt8])? = nil) {
        self.user = user
        self.secret = secret
        self.mutual = mutual
    }
}

/// The iSCSI server: targets by name, and the sessions of those who are logged in. Where connections come from is the
/// caller's business.
public final class ISCSIServer {
    let context: any IOContext
    public private(set) var targets: [ISCSITarget] = []

    public init(context: any IOContext) { self.context = context }

    public func target(named name: String) -> ISCSITarget? { targets.first { $0.name == name } }
    /// Precondition: its name is free.
    public func add(_ target: ISCSITarget) { targets.append(target) }
    /// Hides the target, ends its sessions and waits for their commands.
    public func remove(_ target: ISCSITarget) async { preconditionFailure("to come") }
    /// How many sessions use the target.
    public func sessions(of target: ISCSITarget) -> Int { preconditionFailure("to come") }
    /// Serves one connection to its end. `portal` is the address it came in on, as discovery tells it: `host:port,group`.
    public func serve(_ stream: any ByteStream, portal: String) async { preconditionFailure("to come") }
    /// Ends all sessions and waits for their commands; no session begins any more.
    public func stop() async { preconditionFailure("to come") }
}
