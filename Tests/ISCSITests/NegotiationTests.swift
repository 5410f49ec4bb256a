import Testing

@testable import ISCSI

@Suite("iSCSI keys")
struct NegotiationTests {
    struct Row: Sendable, CustomTestStringConvertible {
        let key: String
        let offer: String
        /// Nil: no answer.
        let answer: String?
        var isDiscovery = false
        var testDescription: String { "\(key)=\(offer)\(isDiscovery ? " (discovery)" : "")" }

        init(_ pair: String, _ answer: String?, isDiscovery: Bool = false) {
            let parts = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            (key, offer) = (parts[0], parts[1])
            self.answer = answer
            self.isDiscovery = isDiscovery
        }
    }

    static let rows = [
        Row("HeaderDigest=CRC32C,None", "CRC32C"), Row("HeaderDigest=None,CRC32C", "None"),
        Row("DataDigest=X-foo,CRC32C", "CRC32C"), Row("DataDigest=X-foo", "Reject"), Row("DataDigest=", "Reject"),
        Row("MaxConnections=8", "1"), Row("MaxConnections=0", "Reject"), Row("MaxConnections=65536", "Reject"),
        Row("InitialR2T=No", "No"), Row("InitialR2T=Yes", "Yes"), Row("InitialR2T=yes", "Reject"),
        Row("ImmediateData=Yes", "Yes"), Row("ImmediateData=No", "No"), Row("ImmediateData=1", "Reject"),
        Row("MaxRecvDataSegmentLength=65536", nil), Row("MaxRecvDataSegmentLength=511", "Reject"),
        Row("MaxRecvDataSegmentLength=16777216", "Reject"), Row("MaxRecvDataSegmentLength=0x200", nil),
        Row("MaxBurstLength=512", "512"), Row("MaxBurstLength=16776192", "1048576"),
        Row("MaxBurstLength=16777216", "Reject"), Row("FirstBurstLength=65536", "65536"),
        Row("FirstBurstLength=16776192", "262144"), Row("FirstBurstLength=-1", "Reject"),
        Row("DefaultTime2Wait=5", "5"), Row("DefaultTime2Wait=0", "0"), Row("DefaultTime2Wait=3601", "Reject"),
        Row("DefaultTime2Retain=60", "0"), Row("MaxOutstandingR2T=1", "1"), Row("MaxOutstandingR2T=16", "4"),
        Row("MaxOutstandingR2T=0", "Reject"), Row("DataPDUInOrder=No", "Yes"), Row("DataSequenceInOrder=No", "Yes"),
        Row("DataPDUInOrder=Maybe", "Reject"), Row("ErrorRecoveryLevel=2", "0"), Row("ErrorRecoveryLevel=3", "Reject"),
        Row("TaskReporting=FastAbort,RFC3720", "RFC3720"), Row("TaskReporting=FastAbort", "Reject"),
        Row("iSCSIProtocolLevel=2", "1"), Row("iSCSIProtocolLevel=0", "0"), Row("InitiatorAlias=me", nil),
        Row("IFMarker=Yes", "Reject"), Row("OFMarkInt=2048~8192", "Reject"), Row("TargetAlias=you", "Reject"),
        Row("TargetPortalGroupTag=1", "Reject"), Row("SendTargets=All", "Reject"), Row("CHAP_A=5", "Reject"),
        Row("X-com.example=1", "NotUnderstood"), Row("headerdigest=None", "NotUnderstood"),
        Row("MaxConnections=8", "Irrelevant", isDiscovery: true), Row("InitialR2T=No", "Irrelevant", isDiscovery: true),
        Row("HeaderDigest=CRC32C", "CRC32C", isDiscovery: true), Row("DefaultTime2Wait=2", "2", isDiscovery: true),
        Row("MaxRecvDataSegmentLength=4096", nil, isDiscovery: true),
    ]

    @Test("each key is answered by its rule", arguments: rows)
    func answers(_ row: Row) {
        var parameters = SessionParameters()
        var offers = TextKeys()
        offers.append(row.key, row.offer)
        let answers = parameters.answer(offers, isDiscovery: row.isDiscovery)
        #expect(answers.pairs.map(\.value) == (row.answer.map { [$0] } ?? []))
        #expect(answers.pairs.allSatisfy { $0.key == row.key })
        if row.answer == "Reject" || row.answer == "Irrelevant" { #expect(parameters == SessionParameters()) }
    }

    @Test("what is answered is what holds")
    func effects() {
        var parameters = SessionParameters()
        var offers = TextKeys()
        for (key, value) in [
            ("FirstBurstLength", "200000"), ("MaxBurstLength", "100000"), ("HeaderDigest", "CRC32C"),
            ("DataDigest", "CRC32C"), ("MaxRecvDataSegmentLength", "1048576"), ("InitialR2T", "No"),
            ("ImmediateData", "No"), ("MaxOutstandingR2T", "9"), ("DefaultTime2Wait", "7"), ("DefaultTime2Retain", "7"),
        ] { offers.append(key, value) }
        let answers = parameters.answer(offers, isDiscovery: false)
        // The first burst may not pass the longest one, although it was named before it.
        #expect(answers["FirstBurstLength"] == "100000" && parameters.unsolicited == 100_000)
        #expect(parameters.maxBurst == 100_000 && parameters.hasHeaderDigest && parameters.hasDataDigest)
        #expect(parameters.sentData == ISCSILimits.pduData && !parameters.initialR2T && !parameters.immediateData)
        #expect(parameters.outstandingR2T == 4 && parameters.timeToWait == 7 && parameters.timeToRetain == 0)
    }

    @Test("a longest burst that is shorter than the first one's default bounds it, too")
    func shortBurst() {
        var parameters = SessionParameters()
        var offers = TextKeys()
        offers.append("MaxBurstLength", "1024")
        _ = parameters.answer(offers, isDiscovery: false)
        #expect(parameters.unsolicited == 1024)
    }
}
