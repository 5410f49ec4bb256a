import Block
import BlockTestKit
import Bytes
import Testing

@testable import Qcow2

/// Extended L2 entries: clusters that are allocated, zeroed and copied by subcluster.
@Suite struct SubclusterTests {
    private static let cluster: UInt64 = 65536
    private static let part: UInt64 = 2048

    private func create(size: UInt64 = 1 << 20) throws -> SparseBytes {
        let context = SimulatedContext()
        let disk = SimDisk(context)
        var options = CreateOptions(size: size)
        options.extendedL2 = true
        try context.complete { [options] in try await Qcow2Create.create(on: disk, options) }
        return disk.contents
    }

    private func bench(_ contents: SparseBytes? = nil, backing: SparseBytes? = nil) throws -> Bench {
        try Bench(contents ?? create(), backing: backing)
    }

    /// A disk of 1 MiB of one byte.
    private func filled(_ byte: UInt8) -> SparseBytes { SparseBytes([UInt8](repeating: byte, count: 1 << 20)) }

    @Test("a write takes the subclusters that it touches, and copies up to their borders")
    func copiesToBorders() throws {
        let bench = try bench(backing: filled(9))
        // The middle of subcluster 3, all of 4, the first byte of 5.
        let start = 3 * Self.part + 100
        try bench.write(bytes(1, 2 * Self.part - 99), at: start)
        let around = try bench.read(0, Int(Self.cluster))
        #expect(around[Int(start) - 1] == 9 && around[Int(start)] == 1)
        #expect(around[Int(5 * Self.part)] == 1 && around[Int(5 * Self.part) + 1] == 9)
        #expect(Set(try bench.closedClean().mapped.keys) == [3, 4, 5])
    }

    @Test("a second write to the same cluster fills its place, and takes no other")
    func samePlace() throws {
        let bench = try bench()
        try bench.write(bytes(1, 512), at: 0)
        try bench.flush()
        for index in 1..<32 as Range<UInt64> { try bench.write(bytes(2, 512), at: index * Self.part) }
        let check = try bench.closedClean()
        #expect(check.mapped.count == 32)
        #expect(Set(check.mapped.values.map { $0 / Self.cluster }).count == 1)
    }

    @Test("requests in flight for parts of one new cluster share its place, whichever ends first")
    func ticketsShareAPlace() throws {
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
            let bench = try bench()
            var tickets = try (0..<3).map { try ticket(UInt64($0) * 4 * Self.part, 2 * Self.part, bench) }
            #expect(Set(tickets.map { $0.offset / Self.cluster }).count == 1)
            // Another request for what one of them holds must wait.
            #expect(isBusy(Self.part, Self.part, bench))
            for index in order {
                let ticket = tickets[index]
                try bench.context.complete { [disk = bench.disk] in
                    try await disk.write(at: ticket.offset, from: bytes(7, 2 * Self.part).rawBytes, flags: [])
                }
                bench.image.publish(ticket.ticket())
            }
            tickets = []
            #expect(try bench.read(0, Int(2 * Self.part)) == bytes(7, 2 * Self.part))
            #expect(try bench.closedClean().mapped.count == 6)
        }
    }

    @Test("a place that one request gives up stays with the others that fill it, and goes with the last")
    func abandonedParts() throws {
        for kept in [0, 1, nil] as [Int?] {
            let bench = try bench()
            let tickets = try (0..<2).map { try ticket(UInt64($0) * 4 * Self.part, Self.part, bench) }
            for (index, ticket) in tickets.enumerated() {
                if index == kept {
                    bench.image.publish(ticket.ticket())
                } else {
                    bench.image.abandon(ticket.ticket())
                }
            }
            let check = try bench.closedClean()
            #expect(check.mapped.count == (kept == nil ? 0 : 1))
        }
    }

    /// A ticket's words, from which it is put together again: it cannot stand in an array.
    private struct Held {
        let id: UInt64
        let guest: ByteRange
        let offset: UInt64

        func ticket() -> AllocationTicket {
            AllocationTicket(
                id: id, guest: guest, head: ByteRange(at: guest.start, count: 0),
                tail: ByteRange(at: guest.end, count: 0), offset: offset, readsZero: false)
        }
    }

    private func ticket(_ offset: UInt64, _ count: UInt64, _ bench: Bench) throws -> Held {
        let guest = ByteRange(at: offset, count: count)
        return try bench.context.complete { [image = bench.image] in
            while true {
                switch image.allocate(guest) {
                case .ticket(let ticket):
                    let held = (ticket.guest, ticket.offset)
                    return Held(id: ticket.resolved(), guest: held.0, offset: held.1)
                case .needs(let need): try await image.resolve(need)
                case .busy: throw BlockError.invalid
                case .failed(let error): throw error
                }
            }
        }
    }

    private func isBusy(_ offset: UInt64, _ count: UInt64, _ bench: Bench) -> Bool {
        switch bench.image.allocate(ByteRange(at: offset, count: count)) {
        case .busy: return true
        case .ticket(let ticket): bench.image.abandon(ticket)
        case .needs: break
        case .failed: break
        }
        return false
    }

    @Test("zeros and discards take effect by subcluster, over a backing file too")
    func zeroes() throws {
        let bench = try bench(backing: filled(9))
        try bench.write(bytes(1, Self.cluster), at: 0)
        try bench.zero(Self.part, Self.part)
        try bench.discard(3 * Self.part, Self.part)
        try bench.zero(Self.cluster + Self.part, Self.part)
        let read = try bench.read(0, Int(2 * Self.cluster))
        for index in 0..<64 {
            let expected: UInt8 = [1, 3, 33].contains(index) ? 0 : index < 32 ? 1 : 9
            #expect(
                read[index * Int(Self.part)..<(index + 1) * Int(Self.part)].allSatisfy { $0 == expected }, "\(index)")
        }
        let check = try bench.closedClean()
        #expect(check.zeros == [1, 3, 33] && check.mapped.count == 30)
    }

    @Test("a cluster whose last data is discarded gives its place back")
    func placeGoesBack() throws {
        let bench = try bench()
        try bench.write(bytes(1, Self.cluster), at: 0)
        for index in 0..<32 as Range<UInt64> { try bench.discard(index * Self.part, Self.part) }
        #expect(try bench.read(0, Int(Self.cluster)) == bytes(0, Self.cluster))
        let check = try bench.closedClean()
        #expect(check.mapped.isEmpty && check.zeros.count == 32)
        #expect(!check.refcounts.keys.contains { check.owners[$0] == nil }, "its cluster is free")
    }

    @Test("a disk that shrinks into a cluster loses its subclusters, and grows again with zeros")
    func resizes() throws {
        let bench = try bench(backing: filled(9))
        try bench.write(bytes(1, 1 << 20), at: 0)
        try bench.resize(5 * Self.part + 512)
        try bench.resize(1 << 20)
        let read = try bench.read(0, 1 << 20)
        #expect(read.prefix(Int(5 * Self.part) + 512).allSatisfy { $0 == 1 })
        #expect(read.dropFirst(Int(5 * Self.part) + 512).allSatisfy { $0 == 0 })
        #expect(try bench.closedClean().mapped.count == 6)
    }

    @Test("bitmaps that contradict themselves are damage, in QEMU's words, to a check and to a read")
    func contradictions() throws {
        let cases: [(descriptor: UInt64?, bitmap: UInt64, words: String)] = [
            (nil, 1 | 1 << 32, "Allocated cluster has corrupted subcluster allocation bitmap"),
            (0, 4, "ERROR: Unallocated cluster has non-zero subcluster allocation map"),
            (
                1 << 62 | 0x50000, 3,
                "ERROR compressed cluster 0 with non-zero subcluster allocation bitmap, entry=0x4000000000050000"
            ),
        ]
        for (descriptor, bitmap, words) in cases {
            let sound = try bench()
            try sound.write(bytes(1, 512), at: 0)
            try sound.close()
            var contents = sound.disk.contents
            let l1 = sound.image.header.l1TableOffset
            let l2 = number(contents, l1) & L2Entry.offsetMask
            if let descriptor { put(descriptor, l2, &contents) }
            put(bitmap, l2 + 8, &contents)
            var lines: [String] = []
            let file = MemoryStorage(contents)
            let context = SimulatedContext()
            let result = try context.complete { try await Qcow2Check.check(file) { lines.append($0) } }
            #expect(result.corruptions == 1 && lines.contains { $0.contains(words) }, "\(lines)")
            let bench = try Bench(contents, options: Options(isReadOnly: true), isDamaged: true)
            #expect(throws: BlockError.corrupt) { try bench.read(0, 512) }
            #expect(bench.reports.count == 1)
            if descriptor != 1 << 62 | 0x50000 {
                #expect(
                    bench.reports.first?.message
                        == "Invalid cluster entry found  (L2 offset: 0x\(String(l2, radix: 16)), L2 index: 0)")
            }
            #expect(try bench.read(Self.cluster, 512) == bytes(0, 512), "the rest is readable")
        }
    }

    private func number(_ contents: SparseBytes, _ offset: UInt64) -> UInt64 {
        contents.bytes(ByteRange(at: offset, count: 8)).byteSpan.bigEndian(at: 0)
    }

    private func put(_ value: UInt64, _ offset: UInt64, _ contents: inout SparseBytes) {
        var bytes = [UInt8](repeating: 0, count: 8)
        bytes.put(value, at: 0, width: 8)
        contents.write(bytes.byteSpan, at: offset)
    }

    @Test("an entry's rules agree with a bit by bit reading of the specification")
    func rules() {
        let geometry = Geometry(clusterBits: 16, refcountOrder: 4, hasExtendedL2: true)
        let rules = EntryRules(version: 3, geometry: geometry)
        var random = SeededRandom(seed: 3)
        for _ in 0..<2000 {
            let allocated = random.next() & random.next() & 0xFFFF_FFFF
            let zeros = random.next() & ~allocated & 0xFFFF_FFFF
            let place: UInt64? = allocated != 0 || random.chance(50) ? 0x50000 : nil
            let entry = L2Entry(descriptor: place.map { $0 | L2Entry.copied } ?? 0, bitmap: allocated | zeros << 32)
            func expected(_ index: Int) -> L2Entry.Mapping {
                let part = place.map { $0 + UInt64(index) * 2048 }
                if zeros >> UInt64(index) & 1 == 1 { return .zero(place: part) }
                return allocated >> UInt64(index) & 1 == 1 ? .data(offset: part ?? 0) : .unallocated(place: part)
            }
            for index in 0..<32 {
                #expect(rules.read(entry, index) == expected(index))
                var count = 1
                while index + count < 32, expected(index + count) == expected(index).advanced(by: UInt64(count) * 2048)
                {
                    count += 1
                }
                #expect(rules.countAlike(entry, from: index) == count)
            }
        }
    }
}
