import BlockTestKit
import Digests
import Testing

@testable import ISCSI

@Suite("CHAP")
struct CHAPTests {
    static let secret = Array("a secret of sixteen".utf8)
    static let mutualSecret = Array("another one of theirs".utf8)
    static let oneWay = CHAPSecrets(user: "user", secret: secret)
    static let mutual = CHAPSecrets(user: "user", secret: secret, mutual: ("target", mutualSecret))

    /// A challenge as it came.
    struct Challenge {
        var id: UInt8
        var bytes: [UInt8]
        var algorithm: String
    }

    /// Goes as far as the challenge.
    static func challenge(_ initiator: Initiator, algorithms: String = "5") async throws -> Challenge {
        let (response, keys) = try await initiator.step(
            0, to: 1, initiator.introduction + ["AuthMethod=None,CHAP"])
        // It may not go on yet.
        guard response.status == 0, !response.transits, keys["AuthMethod"] == "CHAP" else { throw Violation("\(keys)") }
        let (_, asked) = try await initiator.step(0, ["CHAP_A=\(algorithms)"])
        guard let id = asked["CHAP_I"].flatMap(TextValue.number), let bytes = asked["CHAP_C"].flatMap(TextValue.binary),
            let algorithm = asked["CHAP_A"]
        else { throw Violation("\(asked)") }
        return Challenge(id: UInt8(id), bytes: bytes, algorithm: algorithm)
    }

    static func proof(_ challenge: Challenge, _ secret: [UInt8] = secret, _ hash: Hash = .md5, user: String = "user")
        -> [String]
    {
        ["CHAP_N=\(user)", "CHAP_R=" + TextValue.text(hash.digest([challenge.id], secret, challenge.bytes) ?? [])]
    }

    @Test(
        "who knows the secret comes in, with each hash",
        arguments: zip(
            ["5", "6", "7,5", "99,6"],
            [
                Hash.md5, .sha1, .sha256, .sha1,
            ]))
    func good(algorithms: String, hash: Hash) throws {
        let bench = Bench(chap: Self.oneWay)
        try bench.run {
            let initiator = bench.connect()
            let challenge = try await Self.challenge(initiator, algorithms: algorithms)
            #expect(challenge.bytes.count == hash.byteCount)
            let (proven, keys) = try await initiator.step(0, to: 1, Self.proof(challenge, Self.secret, hash))
            #expect(proven.status == 0 && proven.transits && keys.isEmpty)
            #expect(try await initiator.step(1, to: 3).response.status == 0)
            #expect(bench.server.sessions(of: bench.target) == 1)
        }
    }

    static let wrong: [(LoginStatus, @Sendable (Challenge) -> [String])] = [
        (.authenticationFailed, { Self.proof($0, Array("a secret of sixteeN".utf8)) }),
        (.authenticationFailed, { Self.proof($0, user: "User") }),
        (.authenticationFailed, { Self.proof($0, Self.secret, .sha1) }),
        (.authenticationFailed, { _ in ["CHAP_N=user", "CHAP_R=0x00"] }),
        (.authenticationFailed, { _ in ["CHAP_N=user", "CHAP_R=nonsense"] }),
        (.authenticationFailed, { _ in ["CHAP_N=user", "CHAP_R=0x" + String(repeating: "0", count: 2048)] }),
        (.authenticationFailed, { Self.proof($0) + ["CHAP_I=1", "CHAP_C=0x0102030405060708"] }),
        (.missingParameter, { [Self.proof($0)[0]] }),
        (.missingParameter, { [Self.proof($0)[1]] }),
        (.initiatorError, { Self.proof($0) + ["CHAP_X=" + String(repeating: "0", count: 3000)] }),
        (.initiatorError, { Self.proof($0) + ["AuthMethod=None"] }),
    ]

    @Test("R62: who does not, or answers with what is no answer, does not", arguments: wrong.indices)
    func bad(index: Int) throws {
        let bench = Bench(chap: Self.oneWay)
        try bench.run {
            let initiator = bench.connect()
            let challenge = try await Self.challenge(initiator)
            let (response, keys) = try await initiator.step(0, to: 1, Self.wrong[index].1(challenge))
            #expect(response.status == Self.wrong[index].0.rawValue && keys.isEmpty)
            #expect(await initiator.hasEnded())
            #expect(bench.server.sessions(of: bench.target) == 0)
        }
    }

    @Test("nobody goes around it")
    func around() throws {
        let bench = Bench(chap: Self.oneWay)
        try bench.run {
            let ways: [(UInt8, UInt8?, [String])] = [
                (1, 3, []), (1, nil, []), (0, 1, []), (0, 3, []), (0, 1, ["AuthMethod=None"]),
                (0, 1, ["AuthMethod=KRB5"]),
            ]
            for (stage, next, keys) in ways {
                let initiator = bench.connect()
                let (response, _) = try await initiator.step(stage, to: next, initiator.introduction + keys)
                #expect(response.status == LoginStatus.authenticationFailed.rawValue, "\(stage) \(keys)")
                #expect(await initiator.hasEnded())
            }
            // Amid the exchange the stage does not change, and the method does not either.
            let patient = bench.connect()
            _ = try await Self.challenge(patient)
            #expect(try await patient.step(0, ["AuthMethod=None"]).response.status != 0)
            let hasty = bench.connect()
            _ = try await Self.challenge(hasty)
            #expect(try await hasty.step(1, to: 3).response.status == LoginStatus.invalidRequest.rawValue)
            let none = bench.connect()
            _ = try await none.step(0, none.introduction + ["AuthMethod=CHAP"])
            let (unknown, _) = try await none.step(0, ["CHAP_A=1,2,nonsense"])
            #expect(unknown.status == LoginStatus.authenticationFailed.rawValue)
        }
    }

    @Test("the target proves itself where it is asked to and can")
    func mutual() throws {
        let bench = Bench(chap: Self.mutual)
        try bench.run {
            let initiator = bench.connect()
            let challenge = try await Self.challenge(initiator, algorithms: "7")
            let ours = (0..<32).map { UInt8($0) }
            let (response, keys) = try await initiator.step(
                0, to: 1,
                Self.proof(challenge, Self.secret, .sha256) + ["CHAP_I=200", "CHAP_C=" + TextValue.text(ours)])
            #expect(response.status == 0 && response.transits && keys["CHAP_N"] == "target")
            let expected = Hash.sha256.digest([200], Self.mutualSecret, ours)
            #expect(keys["CHAP_R"].flatMap(TextValue.binary) == expected)
        }
    }

    @Test(
        "R62: what the initiator challenges with is bounded",
        arguments: [
            ["CHAP_I=1"], ["CHAP_C=0x01"], ["CHAP_I=256", "CHAP_C=0x01"], ["CHAP_I=-1", "CHAP_C=0x01"],
            ["CHAP_I=1", "CHAP_C=0x"], ["CHAP_I=1", "CHAP_C=" + String(repeating: "0", count: 2050)],
        ])
    func mutualBounds(keys: [String]) throws {
        let bench = Bench(chap: Self.mutual)
        try bench.run {
            let initiator = bench.connect()
            let challenge = try await Self.challenge(initiator)
            let (response, answers) = try await initiator.step(0, to: 1, Self.proof(challenge) + keys)
            #expect(response.status == LoginStatus.authenticationFailed.rawValue && answers.isEmpty)
        }
    }

    @Test("R65: a challenge of ours that comes back is not answered, on this connection or another")
    func reflection() throws {
        let bench = Bench(chap: Self.mutual)
        try bench.run {
            let initiator = bench.connect()
            let challenge = try await Self.challenge(initiator)
            let other = bench.connect()
            let otherChallenge = try await Self.challenge(other)
            let (response, keys) = try await initiator.step(
                0, to: 1,
                Self.proof(challenge) + ["CHAP_I=\(challenge.id)", "CHAP_C=" + TextValue.text(challenge.bytes)])
            #expect(response.status == LoginStatus.authenticationFailed.rawValue && keys.isEmpty)
            let third = bench.connect()
            let thirdChallenge = try await Self.challenge(third)
            let (reflected, none) = try await third.step(
                0, to: 1,
                Self.proof(thirdChallenge)
                    + ["CHAP_I=\(otherChallenge.id)", "CHAP_C=" + TextValue.text(otherChallenge.bytes)])
            #expect(reflected.status == LoginStatus.authenticationFailed.rawValue && none.isEmpty)
        }
    }

    @Test("R65: one secret for both directions proves nothing")
    func sameSecret() throws {
        let bench = Bench(chap: CHAPSecrets(user: "user", secret: Self.secret, mutual: ("target", Self.secret)))
        try bench.run {
            let initiator = bench.connect()
            let challenge = try await Self.challenge(initiator)
            let (response, _) = try await initiator.step(
                0, to: 1, Self.proof(challenge) + ["CHAP_I=1", "CHAP_C=0x0102030405060708"])
            #expect(response.status == LoginStatus.authenticationFailed.rawValue)
        }
    }

    @Test("R65: no challenge comes twice")
    func fresh() throws {
        let bench = Bench(chap: Self.oneWay)
        try bench.run {
            var seen: Set<[UInt8]> = []
            for _ in 0..<50 { seen.insert(try await Self.challenge(bench.connect()).bytes) }
            #expect(seen.count == 50)
        }
    }

    @Test("a challenge without random bytes is not made")
    func noRandom() throws {
        var exchange = CHAPExchange(Self.oneWay)
        let grounds = LoginGrounds(target: { _ in nil }, portalGroup: "1", random: { _ in nil })
        var keys = TextKeys()
        keys.append("CHAP_A", "5")
        #expect(throws: LoginStatus.targetError) { _ = try exchange.answer(keys, grounds) }
    }

    @Test("R26: secrets are not printed")
    func printed() {
        let text = "\(Self.mutual) \(String(reflecting: Self.mutual))"
        #expect(!text.contains("secret of") && !text.contains("user") && !text.contains("97"))
        var dumped = ""
        dump(Self.mutual, to: &dumped)
        #expect(!dumped.contains("user") && !dumped.contains("97"))
    }
}
