/// What a session and its initiator have agreed on; the defaults of RFC 7143 13 until they do. Lengths are bytes.
struct SessionParameters: Equatable, Sendable {
    var hasHeaderDigest = false
    var hasDataDigest = false
    /// The most data that one PDU to the initiator may have: its MaxRecvDataSegmentLength.
    var sentData = ISCSILimits.unnegotiatedData
    /// The most data that one PDU from it may have: ours, once it was told.
    var receivedData = ISCSILimits.unnegotiatedData
    var maxBurst = 262_144
    /// As negotiated; no more than `maxBurst` of it counts.
    var firstBurst = 65_536
    /// Data comes only when asked for, but for immediate data.
    var initialR2T = true
    var immediateData = true
    var outstandingR2T = 1
    /// Seconds.
    var timeToWait = 2
    var timeToRetain = 20

    /// How much data of one command may come before it is asked for.
    var unsolicited: Int { min(firstBurst, maxBurst) }
}

/// How a key comes to its value (RFC 7143 6.2).
enum KeyRule: Sendable {
    /// The first of the initiator's values that is one of ours.
    case list([String])
    case minimum(ClosedRange<UInt64>, ours: UInt64)
    case maximum(ClosedRange<UInt64>, ours: UInt64)
    /// Both must want it.
    case and(ours: Bool)
    /// One must want it.
    case or(ours: Bool)
    /// The initiator's word about itself, which has no answer.
    case declared(ClosedRange<UInt64>)

    enum Value: Equatable, Sendable { case text(String), number(Int), flag(Bool) }

    /// The value that holds; nil where what is offered is not one.
    func choose(_ offered: String) -> Value? {
        switch self {
        case .list(let ours):
            return offered.split(separator: ",").map(String.init).first(where: ours.contains).map(Value.text)
        case .minimum(let range, let ours): return number(offered, in: range).map { .number(Int(min($0, ours))) }
        case .maximum(let range, let ours): return number(offered, in: range).map { .number(Int(max($0, ours))) }
        case .and(let ours): return TextValue.boolean(offered).map { .flag($0 && ours) }
        case .or(let ours): return TextValue.boolean(offered).map { .flag($0 || ours) }
        case .declared(let range): return number(offered, in: range).map { .number(Int($0)) }
        }
    }

    private func number(_ text: String, in range: ClosedRange<UInt64>) -> UInt64? {
        guard let number = TextValue.number(text), range.contains(number) else { return nil }
        return number
    }
}

extension KeyRule.Value {
    var text: String {
        switch self {
        case .text(let text): text
        case .number(let number): String(number)
        case .flag(let flag): TextValue.text(flag)
        }
    }
    var number: Int { if case .number(let number) = self { number } else { 0 } }
    var isYes: Bool { self == .flag(true) }
}

/// One operational key (RFC 7143 13).
struct OperationalKey: Sendable {
    let name: String
    let rule: KeyRule
    /// Without meaning in a discovery session.
    var isOfNormalSessions = true
    let apply: @Sendable (inout SessionParameters, KeyRule.Value) -> Void

    private static let segments: ClosedRange<UInt64> = 512...0xFF_FFFF
    private static let seconds: ClosedRange<UInt64> = 0...3600

    static let all: [OperationalKey] = [
        OperationalKey(name: "HeaderDigest", rule: .list(["CRC32C", "None"]), isOfNormalSessions: false) {
            $0.hasHeaderDigest = $1 == .text("CRC32C")
        },
        OperationalKey(name: "DataDigest", rule: .list(["CRC32C", "None"]), isOfNormalSessions: false) {
            $0.hasDataDigest = $1 == .text("CRC32C")
        },
        OperationalKey(name: "MaxRecvDataSegmentLength", rule: .declared(segments), isOfNormalSessions: false) {
            $0.sentData = min($1.number, ISCSILimits.pduData)
        },
        OperationalKey(name: "MaxBurstLength", rule: .minimum(segments, ours: UInt64(ISCSILimits.maxBurst))) {
            $0.maxBurst = $1.number
        },
        OperationalKey(name: "FirstBurstLength", rule: .minimum(segments, ours: UInt64(ISCSILimits.firstBurst))) {
            $0.firstBurst = $1.number
        },
        OperationalKey(name: "InitialR2T", rule: .or(ours: false)) { $0.initialR2T = $1.isYes },
        OperationalKey(name: "ImmediateData", rule: .and(ours: true)) { $0.immediateData = $1.isYes },
        OperationalKey(
            name: "MaxOutstandingR2T", rule: .minimum(1...65535, ours: UInt64(ISCSILimits.outstandingR2T))
        ) { $0.outstandingR2T = $1.number },
        OperationalKey(name: "DefaultTime2Wait", rule: .maximum(seconds, ours: 0), isOfNormalSessions: false) {
            $0.timeToWait = $1.number
        },
        OperationalKey(name: "DefaultTime2Retain", rule: .minimum(seconds, ours: 0), isOfNormalSessions: false) {
            $0.timeToRetain = $1.number
        },
        OperationalKey(name: "MaxConnections", rule: .minimum(1...65535, ours: 1)) { _, _ in },
        OperationalKey(name: "DataPDUInOrder", rule: .or(ours: true)) { _, _ in },
        OperationalKey(name: "DataSequenceInOrder", rule: .or(ours: true)) { _, _ in },
        OperationalKey(name: "ErrorRecoveryLevel", rule: .minimum(0...2, ours: 0), isOfNormalSessions: false) { _, _ in
        },
        OperationalKey(name: "TaskReporting", rule: .list(["RFC3720"])) { _, _ in },
        // RFC 7144 4.1; 1 stands for RFC 7143.
        OperationalKey(name: "iSCSIProtocolLevel", rule: .minimum(0...31, ours: 1)) { _, _ in },
    ]

    /// Keys that have no value here, by their answer: of markers, which RFC 7143 13.25 took out; and those that only the
    /// target may say, or that another stage has.
    static let refused: [String: String] = [
        "IFMarker": "Reject", "OFMarker": "Reject", "IFMarkInt": "Reject", "OFMarkInt": "Reject",
        "TargetAlias": "Reject", "TargetAddress": "Reject", "TargetPortalGroupTag": "Reject", "SendTargets": "Reject",
        "AuthMethod": "Reject", "CHAP_A": "Reject", "CHAP_I": "Reject", "CHAP_C": "Reject", "CHAP_N": "Reject",
        "CHAP_R": "Reject",
    ]

    /// What the initiator says of itself and nobody answers.
    static let silent: Set<String> = ["InitiatorAlias"]
}

extension SessionParameters {
    /// Answers what an initiator offers, and holds to it from now on.
    mutating func answer(_ offers: TextKeys, isDiscovery: Bool) -> TextKeys {
        var answers = TextKeys()
        // The first burst may not pass the longest one, whichever comes first in the text.
        let pairs =
            offers.pairs.filter { $0.key == "MaxBurstLength" } + offers.pairs.filter { $0.key != "MaxBurstLength" }
        for pair in pairs {
            if let answer = answer(pair, isDiscovery) { answers.append(pair.key, answer) }
        }
        return answers
    }

    private mutating func answer(_ pair: TextKeys.Pair, _ isDiscovery: Bool) -> String? {
        if OperationalKey.silent.contains(pair.key) { return nil }
        if let refusal = OperationalKey.refused[pair.key] { return refusal }
        guard let key = OperationalKey.all.first(where: { $0.name == pair.key }) else { return "NotUnderstood" }
        if isDiscovery, key.isOfNormalSessions { return "Irrelevant" }
        guard var value = key.rule.choose(pair.value) else { return "Reject" }
        if key.name == "FirstBurstLength" { value = .number(min(value.number, maxBurst)) }
        key.apply(&self, value)
        if case .declared = key.rule { return nil }
        return value.text
    }
}
