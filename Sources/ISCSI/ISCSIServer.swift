public import Block
import Digests
import Logging
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
    /// What people call it; told to those who log in.
    public var alias: String?

    public init(
        name: String, scsi: SCSITarget, allowedInitiators: [String] = [], chap: CHAPSecrets? = nil,
        alias: String? = nil
    ) {
        self.name = name
        self.scsi = scsi
        self.allowedInitiators = allowedInitiators
        self.chap = chap
        self.alias = alias
    }

    /// Whether an initiator may log in. Names do not differ by case.
    func admits(_ initiator: String) -> Bool {
        allowedInitiators.isEmpty || allowedInitiators.contains { $0.lowercased() == initiator.lowercased() }
    }
}

/// What CHAP (RFC 1994) checks. Never printed.
public struct CHAPSecrets: Sendable {
    public var user: String
    public var secret: [UInt8]
    /// What the target proves itself with, where the initiator asks (mutual CHAP). One that is the same as `secret` is
    /// not used, as RFC 7143 9.2.1 demands.
    public var mutual: (user: String, secret: [UInt8])?

    public init(user: String, secret: [UInt8], mutual: (user: String, secret: [UInt8])? = nil) {
        self.user = user
        self.secret = secret
        self.mutual = mutual
    }
}

extension CHAPSecrets: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    public var description: String { "CHAP secrets" }
    public var debugDescription: String { description }
    public var customMirror: Mirror { Mirror(self, children: []) }
}

/// The iSCSI server: targets by name, and the sessions of those who are logged in. Where connections come from is the
/// caller's business.
public final class ISCSIServer {
    let context: any IOContext
    public private(set) var targets: [ISCSITarget] = []
    /// Connections, from the oldest: logging in, in session, and ending.
    private(set) var sessions: [ISCSISession] = []
    private let ended = WaitQueue()
    private var isStopping = false
    private var lastTSIH: UInt16 = 0
    let log = Logger(label: "nacre.iscsi")

    public init(context: any IOContext) { self.context = context }

    public func target(named name: String) -> ISCSITarget? {
        targets.first { $0.name.lowercased() == name.lowercased() }
    }

    /// Precondition: its name is free.
    public func add(_ target: ISCSITarget) {
        precondition(self.target(named: target.name) == nil)
        targets.append(target)
    }

    /// Hides the target, asks its initiators to log out, ends the sessions of those who do not within two seconds, and
    /// waits for their commands.
    public func remove(_ target: ISCSITarget) async {
        targets.removeAll { $0 === target }
        for session in sessions(at: target) { session.askForLogout() }
        while sessions(of: target) > 0 { await ended.wait() }
    }

    /// How many sessions use the target.
    public func sessions(of target: ISCSITarget) -> Int { sessions.count { $0.target === target } }

    /// Connections, those included that have not logged in.
    public var connections: Int { sessions.count }

    /// Serves one connection to its end. `portal` is the address it came in on, as discovery tells it: `host:port,group`.
    public func serve(_ stream: any ByteStream, portal: String) async {
        guard !isStopping, makeRoom() else { return stream.close() }
        let session = ISCSISession(self, stream, portal: portal)
        sessions.append(session)
        await session.run()
        stream.close()
        sessions.removeAll { $0 === session }
        noticeEnd()
    }

    /// Ends all sessions and waits for their commands; no session begins any more.
    public func stop() async {
        isStopping = true
        for session in sessions { session.close() }
        while !sessions.isEmpty { await ended.wait() }
    }
}

/// What sessions ask of their server.
extension ISCSIServer {
    func sessions(at target: ISCSITarget) -> [ISCSISession] { sessions.filter { $0.target === target } }

    /// A session ends or is about to: whoever waits for that looks again.
    func noticeEnd() { ended.wakeAll() }

    /// Whether one more connection fits among those who have not logged in; the oldest of them gives way.
    private func makeRoom() -> Bool {
        let logins = sessions.filter { $0.phase == .login }
        if logins.count < ISCSILimits.logins { return true }
        guard let oldest = logins.first(where: { !$0.isClosing }) else { return false }
        oldest.close()
        return true
    }

    /// What a session's login is decided by.
    func grounds(of session: ISCSISession) -> LoginGrounds {
        let group = session.portal.split(separator: ",").dropFirst().last.map(String.init)
        return LoginGrounds(
            target: { [self] name in target(named: name) }, portalGroup: group ?? "1",
            challenges: sessions.filter { $0 !== session }.compactMap(\.login.challenge), random: randomBytes)
    }

    /// Lets a session in that has logged in, or tells why not. The same initiator port's session with the same target
    /// ends first: its initiator has begun anew (session reinstatement, RFC 7143 6.3.5).
    func admit(_ session: ISCSISession, _ wish: LoginNegotiation.Wish) async -> LoginStatus? {
        func isSame(_ other: ISCSISession) -> Bool {
            guard let theirs = other.wish, other.phase != .login else { return false }
            return theirs.initiator == wish.initiator && theirs.isid == wish.isid && theirs.target === wish.target
                && wish.target != nil
        }
        if wish.tsih != 0 {
            guard let old = sessions.first(where: { isSame($0) && $0.tsih == wish.tsih }) else { return .noSuchSession }
            guard old.wish?.connection == wish.connection else { return .tooManyConnections }
            // The initiator has lost the connection that is this session, and at error recovery level 0 the session
            // goes with it.
            old.close()
            return .noSuchSession
        }
        while !session.isClosing, let old = sessions.first(where: isSame) {
            old.close()
            await ended.wait()
        }
        if isStopping || session.isClosing { return .serviceUnavailable }
        if let target = wish.target, !targets.contains(where: { $0 === target }) { return .notFound }
        guard sessions.count(where: { $0.phase != .login }) < ISCSILimits.sessions else { return .outOfResources }
        session.enter(wish, tsih: freeTSIH())
        return nil
    }

    private func freeTSIH() -> UInt16 {
        repeat { lastTSIH = lastTSIH == .max ? 1 : lastTSIH + 1 } while sessions.contains { $0.tsih == lastTSIH }
        return lastTSIH
    }

    /// TARGET COLD RESET: all connections end.
    func drop(_ target: ISCSITarget, last: ISCSISession) {
        for session in sessions(at: target) where session !== last { session.close() }
        last.leaveAfterReset()
    }
}
