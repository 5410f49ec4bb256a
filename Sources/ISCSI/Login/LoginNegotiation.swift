/// How a login ends without a session: class and detail of RFC 7143 11.13.5.
enum LoginStatus: UInt16, Error, CaseIterable {
    case initiatorError = 0x0200, authenticationFailed = 0x0201, forbidden = 0x0202, notFound = 0x0203
    case unsupportedVersion = 0x0205, tooManyConnections = 0x0206, missingParameter = 0x0207
    case unsupportedSessionType = 0x0209, noSuchSession = 0x020A, invalidRequest = 0x020B
    case targetError = 0x0300, serviceUnavailable = 0x0301, outOfResources = 0x0302
}

/// What a login is decided by.
struct LoginGrounds {
    /// The target of a name.
    var target: (String) -> ISCSITarget?
    /// The portal group that the connection came in on.
    var portalGroup: String
    /// CHAP challenges that others were sent and have not answered.
    var challenges: [[UInt8]] = []
    /// So many bytes that nobody can guess; nil where there are none.
    var random: (Int) -> [UInt8]?
}

/// The login phase (RFC 7143 6.3) as a value: requests in, responses out, until it ends in a session or a status.
///
/// The initiator leads: it names itself and its target in the first request, proves itself in the security stage where
/// the target asks for it, offers what the session is to be like in the operational stage, and says when to go on. The
/// target answers every request with one response, whose text never takes more than one PDU.
struct LoginNegotiation {
    enum Stage: UInt8 { case security = 0, operational = 1, fullFeature = 3 }

    /// What was asked for, once the login has come to the full feature phase.
    struct Wish {
        var initiator: String
        var isid: UInt64
        var tsih: UInt16
        var connection: UInt16
        /// Nil: a discovery session.
        var target: ISCSITarget?
        var parameters: SessionParameters
    }

    enum Step {
        case reply(LoginResponsePDU, [UInt8])
        /// The last response; the session lends it its TSIH.
        case done(LoginResponsePDU, [UInt8], Wish)
        /// Sent, and the connection ends.
        case refuse(LoginResponsePDU)
    }

    private var first: LoginRequestPDU?
    private(set) var stage = Stage.security
    private var requests = 0
    private var textCount = 0
    private var text: [UInt8] = []
    /// Who it says it is, in lower case.
    private(set) var initiator: String?
    private var isDiscovery = false
    private var target: ISCSITarget?
    private var hasToldGroup = false
    private var hasToldLength = false
    /// Nil: nothing was chosen yet.
    private var isAuthenticated: Bool?
    private var chap: CHAPExchange?
    private var parameters = SessionParameters()

    init() {}

    /// The challenge that the initiator has not answered yet.
    var challenge: [UInt8]? { chap?.challenge }

    /// Takes one request, whole.
    mutating func receive(_ request: LoginRequestPDU, _ data: [UInt8], _ grounds: LoginGrounds) -> Step {
        do {
            return try step(request, data, grounds)
        } catch {
            var response = LoginResponsePDU(tag: request.tag)
            response.stage = request.stage
            response.isid = request.isid
            response.tsih = request.tsih
            response.status = error.rawValue
            return .refuse(response)
        }
    }

    private mutating func step(
        _ request: LoginRequestPDU, _ data: [UInt8], _ grounds: LoginGrounds
    ) throws(LoginStatus) -> Step {
        try checkOrder(request, data)
        var response = LoginResponsePDU(tag: request.tag)
        response.stage = stage.rawValue
        response.isid = request.isid
        response.tsih = request.tsih
        text += data
        if request.continues { return .reply(response, []) }
        guard let keys = TextKeys(text) else { throw .initiatorError }
        text = []
        var answers = TextKeys()
        var offers = keys
        if initiator == nil { try introduce(&offers, &answers, grounds) }
        // These are said once, at the start.
        for key in Self.introduction where offers[key] != nil { throw .initiatorError }
        switch stage {
        case .security: try secure(offers, &answers, grounds)
        case .operational, .fullFeature:
            guard isTrusted else { throw .authenticationFailed }
            answers.pairs += parameters.answer(offers, isDiscovery: isDiscovery).pairs
            if !hasToldLength {
                hasToldLength = true
                parameters.receivedData = ISCSILimits.pduData
                answers.append("MaxRecvDataSegmentLength", String(ISCSILimits.pduData))
            }
        }
        let encoded = answers.encoded
        guard encoded.count <= ISCSILimits.loginReply else { throw .initiatorError }
        response.dataCount = encoded.count
        guard request.transits, try mayTransit(), let next = Stage(rawValue: request.nextStage) else {
            return .reply(response, encoded)
        }
        response.transits = true
        response.nextStage = next.rawValue
        stage = next
        guard next == .fullFeature, let initiator else { return .reply(response, encoded) }
        return .done(
            response, encoded,
            Wish(
                initiator: initiator, isid: request.isid, tsih: request.tsih, connection: request.connection,
                target: target, parameters: parameters))
    }

    private mutating func checkOrder(_ request: LoginRequestPDU, _ data: [UInt8]) throws(LoginStatus) {
        requests += 1
        textCount += data.count
        guard requests <= ISCSILimits.loginPDUs, textCount <= ISCSILimits.text else { throw .initiatorError }
        guard request.versionMin == 0 else { throw .unsupportedVersion }
        if let first {
            guard first.isid == request.isid, first.tsih == request.tsih, first.connection == request.connection,
                first.tag == request.tag
            else { throw .invalidRequest }
        } else {
            guard let stage = Stage(rawValue: request.stage), stage != .fullFeature else { throw .initiatorError }
            first = request
            self.stage = stage
        }
        guard request.stage == stage.rawValue else { throw .invalidRequest }
        guard request.transits else { return }
        guard !request.continues, request.nextStage > request.stage, Stage(rawValue: request.nextStage) != nil else {
            throw .initiatorError
        }
    }

    private static let introduction = ["InitiatorName", "TargetName", "SessionType"]

    /// The first text says who wants what.
    private mutating func introduce(
        _ offers: inout TextKeys, _ answers: inout TextKeys, _ grounds: LoginGrounds
    ) throws(LoginStatus) {
        guard let name = offers["InitiatorName"] else { throw .missingParameter }
        guard !name.isEmpty, name.utf8.count <= ISCSILimits.name else { throw .initiatorError }
        initiator = name.lowercased()
        switch offers["SessionType"] {
        case "Discovery": isDiscovery = true
        case "Normal", nil: isDiscovery = false
        default: throw .unsupportedSessionType
        }
        if !isDiscovery {
            guard let targetName = offers["TargetName"] else { throw .missingParameter }
            guard let target = grounds.target(targetName) else { throw .notFound }
            guard target.admits(name) else { throw .forbidden }
            self.target = target
            if let alias = target.alias { answers.append("TargetAlias", alias) }
            answers.append("TargetPortalGroupTag", grounds.portalGroup)
        }
        offers.pairs.removeAll { Self.introduction.contains($0.key) }
    }

    // MARK: Security

    private mutating func secure(
        _ offers: TextKeys, _ answers: inout TextKeys, _ grounds: LoginGrounds
    ) throws(LoginStatus) {
        let isCHAP = offers.pairs.contains { $0.key.hasPrefix("CHAP_") }
        for pair in offers.pairs where !pair.key.hasPrefix("CHAP_") {
            if pair.key == "AuthMethod" {
                answers.append("AuthMethod", try chooseMethod(pair.value))
            } else if OperationalKey.silent.contains(pair.key) {
                continue
            } else {
                let isKnown =
                    OperationalKey.refused[pair.key] != nil || OperationalKey.all.contains { $0.name == pair.key }
                // Known ones belong to the next stage.
                answers.append(pair.key, isKnown ? "Reject" : "NotUnderstood")
            }
        }
        guard isCHAP else { return }
        guard var exchange = chap, offers["AuthMethod"] == nil else { throw .initiatorError }
        answers.pairs += try exchange.answer(offers, grounds).pairs
        if exchange.state == .proven { isAuthenticated = true }
        chap = exchange
    }

    private mutating func chooseMethod(_ offered: String) throws(LoginStatus) -> String {
        guard isAuthenticated == nil, chap == nil else { throw .initiatorError }
        let methods = offered.split(separator: ",")
        if let secrets = target?.chap {
            guard methods.contains("CHAP") else { throw .authenticationFailed }
            isAuthenticated = false
            chap = CHAPExchange(secrets)
            return "CHAP"
        }
        guard methods.contains("None") else { throw .authenticationFailed }
        isAuthenticated = true
        return "None"
    }

    /// Whether the initiator has proven itself, or need not.
    private var isTrusted: Bool { target?.chap == nil || isAuthenticated == true }

    /// Whether the stage may be left now. In the middle of an exchange the initiator has to wait; without one it means to
    /// do without.
    private func mayTransit() throws(LoginStatus) -> Bool {
        if isTrusted { return true }
        guard chap != nil else { throw .authenticationFailed }
        return false
    }
}
