import Digests

/// The target's side of a CHAP exchange (RFC 7143 12.1.3, RFC 1994): the method is chosen, a challenge goes out, its
/// response is checked, and where the initiator challenges in turn, it is answered.
struct CHAPExchange: Sendable {
    enum State: Equatable, Sendable {
        case methodChosen
        case challenged(Hash, id: UInt8, challenge: [UInt8])
        case proven
    }

    private(set) var state = State.methodChosen
    private let secrets: CHAPSecrets

    /// IANA's numbers of the algorithms.
    private static let algorithms: [(number: UInt64, hash: Hash)] = [(5, .md5), (6, .sha1), (7, .sha256)]

    init(_ secrets: CHAPSecrets) { self.secrets = secrets }

    /// The challenge that waits for its response.
    var challenge: [UInt8]? {
        if case .challenged(_, _, let challenge) = state { challenge } else { nil }
    }

    /// Carries on with the initiator's keys. Throws the login status that ends it.
    mutating func answer(_ keys: TextKeys, _ grounds: LoginGrounds) throws(LoginStatus) -> TextKeys {
        switch state {
        case .methodChosen: return try challenge(keys, grounds)
        case .challenged(let hash, let id, let challenge): return try check(keys, hash, id, challenge, grounds)
        case .proven: throw .initiatorError
        }
    }

    private mutating func challenge(_ keys: TextKeys, _ grounds: LoginGrounds) throws(LoginStatus) -> TextKeys {
        guard let offered = keys["CHAP_A"] else { throw .missingParameter }
        let numbers = offered.split(separator: ",").compactMap { TextValue.number(String($0)) }
        guard let number = numbers.first(where: { number in Self.algorithms.contains { $0.number == number } }),
            let algorithm = Self.algorithms.first(where: { $0.number == number })
        else { throw .authenticationFailed }
        guard let id = grounds.random(1)?.first, let challenge = grounds.random(algorithm.hash.byteCount) else {
            throw .targetError
        }
        state = .challenged(algorithm.hash, id: id, challenge: challenge)
        var answer = TextKeys()
        answer.append("CHAP_A", String(number))
        answer.append("CHAP_I", String(id))
        answer.append("CHAP_C", TextValue.text(challenge))
        return answer
    }

    private mutating func check(
        _ keys: TextKeys, _ hash: Hash, _ id: UInt8, _ challenge: [UInt8], _ grounds: LoginGrounds
    ) throws(LoginStatus) -> TextKeys {
        guard let user = keys["CHAP_N"], let text = keys["CHAP_R"] else { throw .missingParameter }
        guard let response = TextValue.binary(text), response.count == hash.byteCount else {
            throw .authenticationFailed
        }
        guard let expected = hash.digest([id], secrets.secret, challenge) else { throw .targetError }
        // Both are looked at in any case, so that the time does not tell which was wrong.
        let isUser = isEqualSecret(Array(user.utf8), Array(secrets.user.utf8))
        let isSecret = isEqualSecret(response, expected)
        guard isUser, isSecret else { throw .authenticationFailed }
        let answer = try prove(keys, hash, own: challenge, grounds)
        state = .proven
        return answer
    }

    /// Mutual CHAP: answers the initiator's challenge.
    private func prove(
        _ keys: TextKeys, _ hash: Hash, own: [UInt8], _ grounds: LoginGrounds
    ) throws(LoginStatus) -> TextKeys {
        var answer = TextKeys()
        guard keys["CHAP_I"] != nil || keys["CHAP_C"] != nil else { return answer }
        guard let mutual = secrets.mutual, let idText = keys["CHAP_I"], let id = TextValue.number(idText), id < 256,
            let text = keys["CHAP_C"], let challenge = TextValue.binary(text)
        else { throw .authenticationFailed }
        // One that we sent ourselves, here or to anybody else who logs in, is given to us so that our answer can be
        // passed off as somebody's own; nor is one secret good for both directions.
        guard challenge != own, !grounds.challenges.contains(challenge), !isEqualSecret(mutual.secret, secrets.secret)
        else { throw .authenticationFailed }
        guard let response = hash.digest([UInt8(id)], mutual.secret, challenge) else { throw .targetError }
        answer.append("CHAP_N", mutual.user)
        answer.append("CHAP_R", TextValue.text(response))
        return answer
    }
}
