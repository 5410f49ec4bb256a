import Block
import BlockTestKit
import Bytes
import Simulation
import Testing

/// The hostile set in our own process: each image is opened for reading and for writing, used, and checked. It is refused
/// with a sentence that names the field, or damage stays where it is; nothing traps, hangs, or writes over metadata.
@Suite("Hostile images", .timeLimit(.minutes(5)))
struct HostileImageTests {
    @Test("the set has 500 images and more, of every class, each with a name of its own")
    func set() {
        #expect(HostileImage.all.count >= 500)
        #expect(Set(HostileImage.all.map(\.name)).count == HostileImage.all.count)
        for history in HostileImage.History.allCases {
            #expect(!HostileImage.images(of: history).isEmpty, "\(history)")
        }
    }

    private func use(_ history: HostileImage.History) throws {
        let images = HostileImage.images(of: history)
        #expect(!images.isEmpty)
        for image in images { try HostileRun(image).run() }
    }

    @Test("R01: sizes whose products overflow are refused before anything is made of them") func r01() throws {
        try use(.r01)
    }
    @Test("R02: every other header field is checked, in both versions") func r02() throws { try use(.r02) }
    @Test("R03: a snapshot's L1 table may be larger than the active one, and no field of its entry is believed")
    func r03() throws { try use(.r03) }
    @Test("R04: an open that fails half-way fails cleanly")
    func r04() throws {
        try use(.r04)
        for history in [HostileImage.History.r03, .r05, .r16] {
            for image in HostileImage.images(of: history).prefix(12) {
                guard case .opens = image.expectation else { continue }
                HostileRun(image).failReads()
            }
        }
    }
    @Test("R05: refcounts that contradict the tables cost nobody's data") func r05() throws { try use(.r05) }
    @Test("R06: nothing is divided by a zero, nor shifted too far") func r06() throws { try use(.r06) }
    @Test("R07: qcow version 1 is refused, whatever its fields say") func r07() throws { try use(.r07) }
    @Test("R08: the ends of a disk of the largest size can be asked for, and no larger one is opened") func r08() throws
    { try use(.r08) }
    @Test("R09: a length and a count that disagree are read no further than both allow") func r09() throws {
        try use(.r09)
    }
    @Test("R10: extensions and names stay inside the first cluster and off the header") func r10() throws {
        try use(.r10)
    }
    @Test("R11: a table entry past all that can be addressed is damage, on every way to it")
    func r11() throws {
        try use(.r11)
        var damaged: [String: Int] = [:]
        for image in HostileImage.images(of: .r11) {
            // Cluster 1 is the refcount table, 3 the L1 table, 4 the L2 table; guest cluster 5 is not allocated.
            let tables: [(name: String, place: UInt64)] = [("refcount table", 1), ("L1", 3), ("L2", 4)]
            guard let table = tables.first(where: { image.name.hasPrefix("R11/\($0.name) entry") }) else { continue }
            let bytes = image.image.bytes(.init(at: table.place << 12, count: 8))
            guard isStray(bytes.reduce(0) { $0 << 8 | UInt64($1) }, table.name, image.image.length) else { continue }
            damaged[table.name, default: 0] += 1
            let run = HostileRun(image)
            if table.name == "refcount table" {
                #expect(throws: BlockError.corrupt, "\(image)") { try run.write(at: 5 << 12).get() }
                continue
            }
            #expect(throws: BlockError.corrupt, "\(image)") { try run.read(at: 0).get() }
            #expect(throws: BlockError.corrupt, "\(image)") { try run.write(at: 0).get() }
        }
        #expect(damaged.count == 3 && damaged.values.allSatisfy { $0 > 8 }, "\(damaged)")
    }
    @Test("R11: a bitmap of subclusters that contradicts itself or its descriptor is damage")
    func r11Subclusters() throws {
        let contradictions = [
            "a place, all of both", "a place, the first is both", "a place, the last is both", "nothing, all data",
            "nothing, the last is both", "compressed data, the first is data", "only a flag, the first is data",
        ]
        for words in contradictions {
            let image = try #require(HostileImage.images(of: .r11).first { $0.name == "R11/subclusters of \(words)" })
            let found = try HostileRun(image).read(at: 0)
            #expect(throws: BlockError.corrupt, "\(image)") { try found.get() }
        }
    }

    /// Whether an entry of a table of this image (clusters of 4 KiB, refcounts of 16 bits) cannot be true: a reserved
    /// bit, a place inside a cluster, a table past the end of the file, data past what 8 MiB of refcount table can count.
    private func isStray(_ entry: UInt64, _ table: String, _ length: UInt64) -> Bool {
        if table == "refcount table" { return entry != 0 && (entry & 0xFFF != 0 || entry >= length) }
        let isL1 = table == "L1"
        if !isL1, entry & HostileRun.compressed != 0 { return false }
        let reserved: UInt64 = isL1 ? 0x7F00_0000_0000_0FFF : 0x3F00_0000_0000_0FFE
        return entry & reserved != 0 || entry & 0x00FF_FFFF_FFFF_FE00 >= (isL1 ? length : 1 << 43)
    }

    @Test("R12: a dirty image's repair costs what the file has, not what it claims") func r12() throws { try use(.r12) }
    @Test("R13: a header full of extensions is refused after a few") func r13() throws { try use(.r13) }
    @Test("R14: an image that stands on itself can be looked at") func r14() throws { try use(.r14) }
    @Test("R15: an image at the format's limits is opened and checked in bounded time") func r15() throws {
        try use(.r15)
    }
    @Test("R16: compressed data expands to a cluster or to an error")
    func r16() throws {
        try use(.r16)
        let broken = [
            "nothing", "one byte", "a byte less", "zeros", "ones", "cut in the middle, clusters=2^1", "too few sectors",
            "a window of 2^41",
            "zstd a byte more", "zstd twice a cluster", "zstd a bomb", "zstd no end",
        ]
        for image in HostileImage.images(of: .r16) where broken.contains(where: { image.name.contains($0) }) {
            let cluster = UInt64(1) << UInt64(image.image.bytes(.init(at: 23, count: 1))[0])
            let found = try HostileRun(image).read(at: 2 * cluster)
            #expect(throws: BlockError.io, "\(image)") { try found.get() }
        }
    }
    @Test("R17: what fuzzers found elsewhere, and tables laid on each other, damage nothing") func r17() throws {
        try use(.r17)
    }
    @Test("R20: a raw disk's magic is data") func r20() throws { try use(.r20) }
    @Test("R21: an image that names a file of somebody else's can be looked at") func r21() throws { try use(.r21) }
    @Test("R22: a descriptor of another format is data") func r22() throws { try use(.r22) }
    @Test("R23: a data file is told of") func r23() throws { try use(.r23) }
    @Test("R24: json: and protocol names are names") func r24() throws { try use(.r24) }
    @Test("R25: a backing format is what the image states") func r25() throws { try use(.r25) }
    @Test("R26: an encrypted image is refused without a secret") func r26() throws { try use(.r26) }
    @Test("R27: an image that names a link can be looked at") func r27() throws { try use(.r27) }
    @Test("R90: a file of terabytes that is a hole is opened and checked") func r90() throws { try use(.r90) }
}
