import Block
import BlockTestKit
import SCSI
import Testing

@testable import ISCSI

@Suite("iSCSI login")
struct LoginTests {
    @Test("a login in one request, in two stages and straight from the first stage comes to a session")
    func ways() throws {
        let bench = Bench()
        try bench.run {
            let one = bench.connect()
            let answers = try await one.logIn(["HeaderDigest=None", "MaxRecvDataSegmentLength=65536", "X-a=1"])
            #expect(answers["TargetPortalGroupTag"] == "1" && answers["MaxRecvDataSegmentLength"] == "262144")
            #expect(answers["HeaderDigest"] == "None" && answers["X-a"] == "NotUnderstood" && one.tsih != 0)
            let two = bench.connect()
            two.isid = 2 << 16
            let security = try await two.step(0, to: 1, two.introduction + ["AuthMethod=CHAP,None"])
            #expect(security.response.transits && security.response.nextStage == 1 && security.response.tsih == 0)
            #expect(security.keys == ["AuthMethod": "None", "TargetPortalGroupTag": "1"])
            let offered = try await two.step(1, ["MaxBurstLength=4096"])
            #expect(!offered.response.transits && offered.keys["MaxBurstLength"] == "4096")
            #expect(offered.keys["MaxRecvDataSegmentLength"] == "262144")
            let done = try await two.step(1, to: 3)
            #expect(done.response.transits && done.response.tsih != 0 && done.response.tsih != one.tsih)
            #expect(done.keys.isEmpty)
            let three = bench.connect()
            three.isid = 3 << 16
            #expect(try await three.step(0, to: 3, three.introduction).response.nextStage == 3)
            #expect(bench.server.sessions(of: bench.target) == 3)
            #expect(try await two.ping([1, 2, 3]) == [1, 2, 3])
        }
    }

    @Test("text may go on over several requests")
    func continued() throws {
        let bench = Bench()
        try bench.run {
            let initiator = bench.connect()
            let text = Initiator.text(initiator.introduction + ["MaxBurstLength=4096"])
            for part in 0..<4 {
                var request = initiator.loginRequest(1, to: part == 3 ? 3 : nil)
                request.continues = part < 3
                try await initiator.send(request, Array(text[(part * text.count / 4)..<((part + 1) * text.count / 4)]))
                let received = try await initiator.receive()
                let response: LoginResponsePDU = try received.expect(.login)
                #expect(response.status == 0 && response.transits == (part == 3))
                #expect(received.data.isEmpty == (part < 3))
            }
            #expect(bench.server.sessions(of: bench.target) == 1)
        }
    }

    struct Refusal: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let status: LoginStatus
        let stage: UInt8
        let next: UInt8?
        let keys: [String]
        let change: @Sendable (inout LoginRequestPDU) -> Void

        init(
            _ description: String, _ status: LoginStatus, stage: UInt8 = 1, next: UInt8? = 3, _ keys: [String],
            change: @escaping @Sendable (inout LoginRequestPDU) -> Void = { _ in }
        ) {
            testDescription = description
            (self.status, self.stage, self.next, self.keys, self.change) = (status, stage, next, keys, change)
        }
    }

    static let me = "InitiatorName=iqn.me"
    static let target = "TargetName=\(Bench.name)"
    static let refusals = [
        Refusal("no initiator name", .missingParameter, [target]),
        Refusal("no target name", .missingParameter, [me]),
        Refusal("an unknown target", .notFound, [me, "TargetName=iqn.other"]),
        Refusal("an unknown session type", .unsupportedSessionType, [me, target, "SessionType=Other"]),
        Refusal("an empty initiator name", .initiatorError, ["InitiatorName=", target]),
        Refusal(
            "a long initiator name", .initiatorError, ["InitiatorName=" + String(repeating: "n", count: 224), target]),
        Refusal("another version", .unsupportedVersion, [me, target]) { ($0.versionMin, $0.versionMax) = (1, 1) },
        Refusal("a transit without progress", .initiatorError, next: 1, [me, target]),
        Refusal("a transit to a stage that is none", .initiatorError, next: 2, [me, target]),
        Refusal("a stage that is none", .initiatorError, stage: 2, [me, target]),
        Refusal("the last stage at once", .initiatorError, stage: 3, next: nil, [me, target]),
        Refusal("text that goes on while it transits", .initiatorError, [me, target]) { $0.continues = true },
        Refusal("text that is none", .initiatorError, [me, target, "nonsense"]),
        Refusal("a key twice", .initiatorError, [me, target, "MaxBurstLength=512", "MaxBurstLength=512"]),
        Refusal("a session that is not there", .noSuchSession, [me, target]) { $0.tsih = 77 },
        Refusal(
            "CHAP alone, where there is nothing to prove", .authenticationFailed, stage: 0, next: 1,
            [
                me, target, "AuthMethod=CHAP",
            ]),
        Refusal("CHAP's keys without the method", .initiatorError, stage: 0, next: 1, [me, target, "CHAP_A=5"]),
    ]

    @Test("a login that cannot be is refused with its status, and the connection ends", arguments: refusals)
    func refused(_ refusal: Refusal) throws {
        let bench = Bench()
        try bench.run {
            let initiator = bench.connect()
            let (response, keys) = try await initiator.step(
                refusal.stage, to: refusal.next, refusal.keys, change: refusal.change)
            #expect(response.status == refusal.status.rawValue && !response.transits && keys.isEmpty)
            #expect(await initiator.hasEnded())
            #expect(bench.server.sessions(of: bench.target) == 0)
        }
    }

    @Test("names do not differ by case, and only those on the list are let in")
    func allowed() throws {
        let bench = Bench(allowed: ["iqn.2026-11.org.nacre:INITIATOR"])
        try bench.run {
            let friend = bench.connect()
            let keys = ["InitiatorName=\(friend.name.uppercased())", "TargetName=\(Bench.name.uppercased())"]
            #expect(try await friend.step(1, to: 3, keys).response.status == 0)
            let stranger = bench.connect()
            stranger.name = "iqn.stranger"
            let (response, _) = try await stranger.step(1, to: 3, stranger.introduction)
            #expect(response.status == LoginStatus.forbidden.rawValue)
        }
    }

    @Test("the second request may not be another login's, another stage's, or introduce again")
    func changed() throws {
        let bench = Bench()
        try bench.run {
            let changes: [(LoginStatus, UInt8, [String], (inout LoginRequestPDU) -> Void)] = [
                (.invalidRequest, 1, [], { $0.isid = 9 << 16 }), (.invalidRequest, 1, [], { $0.tag = 9 }),
                (.invalidRequest, 1, [], { $0.connection = 9 }), (.invalidRequest, 1, [], { $0.tsih = 9 }),
                (.invalidRequest, 0, [], { _ in }), (.initiatorError, 1, [Self.me], { _ in }),
                (.initiatorError, 1, [Self.target], { _ in }), (.initiatorError, 1, ["SessionType=Normal"], { _ in }),
            ]
            for (status, stage, keys, change) in changes {
                let initiator = bench.connect()
                #expect(try await initiator.step(1, initiator.introduction).response.status == 0)
                let (response, _) = try await initiator.step(stage, keys, change: change)
                #expect(response.status == status.rawValue)
                #expect(await initiator.hasEnded())
            }
        }
    }

    @Test("R60: 2048 minimal keys, and any whose answers pass one PDU, end the login without an answer to them")
    func minimalKeys() throws {
        let bench = Bench()
        try bench.run {
            let initiator = bench.connect()
            let same = [UInt8](repeating: 0, count: 2048).flatMap { _ in Array("a=b\u{0}".utf8) }.dropLast()
            let (response, keys) = try await initiator.step(1, to: 3, [String(decoding: same, as: UTF8.self)])
            #expect(response.status == LoginStatus.initiatorError.rawValue && keys.isEmpty)
            let other = bench.connect()
            // Each is answered with 15 bytes more than it has.
            let many = (0..<600).map { "k\($0)=" }
            let (answer, none) = try await other.step(1, to: 3, other.introduction + many)
            #expect(answer.status == LoginStatus.initiatorError.rawValue && none.isEmpty)
            let few = bench.connect()
            let (fine, answers) = try await few.step(1, to: 3, few.introduction + many.prefix(300))
            #expect(fine.status == 0 && answers["k299"] == "NotUnderstood")
        }
    }

    @Test("R61: a login's data may fill a PDU, and not pass it; its text and requests have an end")
    func longest() throws {
        let bench = Bench()
        try bench.run {
            for count in 8188...8193 {
                let initiator = bench.connect()
                var text = Initiator.text(initiator.introduction)
                while text.count < count { text.append(0) }
                try await initiator.send(initiator.loginRequest(1, to: 3), text)
                if count <= 8192 {
                    let response: LoginResponsePDU = try await initiator.receive().expect(.login)
                    #expect(response.status == 0)
                } else {
                    #expect(await initiator.hasEnded())
                }
                initiator.stream.close()
                await bench.settle()
            }
            // Seventeen requests, and 64 KiB and a byte.
            for (size, most) in [(0, 16), (8192, 8)] {
                let initiator = bench.connect()
                var taken = 0
                while true {
                    var request = initiator.loginRequest(1)
                    request.continues = true
                    try await initiator.send(request, [UInt8](repeating: 65, count: size))
                    let response: LoginResponsePDU = try await initiator.receive().expect(.login)
                    if response.status != 0 { break }
                    taken += 1
                }
                #expect(taken == most)
            }
        }
    }

    @Test("an initiator that does not log in in time is left, at whichever byte it stopped")
    func deadline() throws {
        for count in [0, 1, 47, 48, 60] {
            let bench = Bench()
            try bench.run {
                let initiator = bench.connect()
                let bytes = initiator.encoded(
                    initiator.loginRequest(1, to: 3).header, Initiator.text(initiator.introduction))
                try await initiator.send(raw: Array(bytes[..<count]))
                await bench.context.sleep(ms: 14_990)
                #expect(bench.server.connections == 1)
                await bench.context.sleep(ms: 20)
                #expect(bench.server.connections == 0)
            }
        }
    }

    @Test("R63: before the login nothing else is answered", arguments: UInt8(0)..<64)
    func otherPDUs(opcode: UInt8) throws {
        guard opcode != InitiatorOpcode.login.rawValue else { return }
        let bench = Bench()
        try bench.run {
            for flags in [0, 0x40, 0x80, 0xC0] as [UInt8] {
                for data in [[], [1, 2, 3]] as [[UInt8]] {
                    let initiator = bench.connect()
                    var header = PDUHeader(opcode: opcode)
                    header.flags = flags
                    try await initiator.send(raw: initiator.encoded(header, data))
                    #expect(await initiator.hasEnded())
                }
            }
        }
    }

    @Test("the same initiator port's new login ends its session first, and another port's does not")
    func reinstatement() throws {
        let bench = Bench()
        try bench.run {
            let old = try await bench.initiator()
            let other = try await bench.initiator(isid: 2)
            bench.drive.isHolding = true
            try await old.send(old.commandPDU(Initiator.read(0, 8), reads: 4096))
            await bench.settle()
            let new = bench.connect()
            try await new.send(new.loginRequest(1, to: 3), Initiator.text(new.introduction))
            await bench.settle()
            // Its command runs to its end before the new session begins.
            #expect(bench.server.sessions(of: bench.target) == 2 && bench.drive.waiting == 1)
            bench.drive.open()
            let response: LoginResponsePDU = try await new.receive().expect(.login)
            #expect(response.status == 0 && response.tsih != 0 && response.tsih != old.tsih)
            #expect(await old.hasEnded())
            #expect(bench.server.sessions(of: bench.target) == 2)
            #expect(try await other.ping([7]) == [7])
        }
    }

    @Test("a login that waits for its old session's storage ends in time, and its place is free")
    func stuckReinstatement() throws {
        let bench = Bench()
        try bench.run {
            let old = try await bench.initiator()
            bench.drive.isHolding = true
            try await old.send(old.commandPDU(Initiator.read(0, 8), reads: 4096))
            await bench.settle()
            let new = bench.connect()
            try await new.send(new.loginRequest(1, to: 3), Initiator.text(new.introduction))
            #expect(await new.hasEnded())
            await bench.settle()
            #expect(bench.server.connections == 1)
            bench.drive.open()
            await bench.settle()
            #expect(bench.server.connections == 0)
        }
    }

    @Test("logins that wait for one session do not wake each other for ever")
    func rivals() throws {
        let bench = Bench()
        try bench.run {
            let old = try await bench.initiator()
            bench.drive.isHolding = true
            try await old.send(old.commandPDU(Initiator.read(0, 8), reads: 4096))
            await bench.settle()
            let rivals = [bench.connect(), bench.connect(), bench.connect()]
            for rival in rivals {
                try await rival.send(rival.loginRequest(1, to: 3), Initiator.text(rival.introduction))
            }
            // A loop among them would keep this from coming back.
            await bench.settle()
            bench.drive.open()
            await bench.settle()
            #expect(bench.server.sessions(of: bench.target) == 1)
        }
    }

    @Test("a lost connection's session is gone when its initiator comes back for it, and no second one joins a session")
    func connectionReinstatement() throws {
        let bench = Bench()
        try bench.run {
            let old = try await bench.initiator()
            let second = bench.connect()
            second.tsih = old.tsih
            let (joined, _) = try await second.step(1, to: 3, second.introduction) { $0.connection = 5 }
            #expect(joined.status == LoginStatus.tooManyConnections.rawValue)
            #expect(try await old.ping([1]) == [1])
            let again = bench.connect()
            again.tsih = old.tsih
            let (returned, _) = try await again.step(1, to: 3, again.introduction)
            #expect(returned.status == LoginStatus.noSuchSession.rawValue)
            #expect(await old.hasEnded())
        }
    }

    @Test("no more sessions than the limit, and a new connection takes the place of the oldest that has not logged in")
    func limits() throws {
        let bench = Bench(order: .fifo)
        try bench.run {
            for index in 0..<UInt64(ISCSILimits.sessions) { _ = try await bench.initiator(isid: index + 10) }
            let more = bench.connect()
            let (response, _) = try await more.step(1, to: 3, more.introduction)
            #expect(response.status == LoginStatus.outOfResources.rawValue)
            await bench.settle()
            let idle = (0..<ISCSILimits.logins).map { _ in bench.connect() }
            await bench.settle()
            #expect(bench.server.connections == ISCSILimits.sessions + ISCSILimits.logins)
            _ = bench.connect()
            #expect(await idle[0].hasEnded())
            await bench.settle()
            #expect(bench.server.connections == ISCSILimits.sessions + ISCSILimits.logins)
        }
    }

    @Test("the nexus is named by initiator and ISID, in the form of SPC-4")
    func transportID() {
        let wish = LoginNegotiation.Wish(
            initiator: "iqn.a", isid: 0x023D_0000_0001_0000, tsih: 0, connection: 0, parameters: SessionParameters())
        let nexus = SCSINexus(wish)
        #expect(nexus.initiatorPort == "iqn.a,i,0x023d00000001")
        let id = nexus.transportID
        #expect(Array(id[..<2]) == [0x45, 0] && Int(id[2]) << 8 | Int(id[3]) == id.count - 4 && id.count % 4 == 0)
        #expect(Array(id[4...].prefix { $0 != 0 }) == Array(nexus.initiatorPort.utf8) && id.last == 0)
    }
}
