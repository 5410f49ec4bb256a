import Block
import BlockTestKit
import Bytes
import DirtyMap
import Testing

@testable import Qcow2

/// Persistent bitmaps: kept, stored and refused.
@Suite("Persistent bitmaps") struct BitmapTests {
    @discardableResult
    private func add(_ name: String, _ bits: Int = 12, isEnabled: Bool = true, to bench: Bench) throws -> DirtyBitmap {
        #expect(bench.image.bitmapRefusal(name, granularityBits: bits) == nil)
        let bitmaps = bench.image.bitmaps
        let bitmap = try DirtyBitmap.make(
            name, granularity: 1 << UInt64(bits), length: bench.image.length, isEnabled: isEnabled, isPersistent: true,
            beside: bitmaps.all, memory: bitmaps.memory)
        bench.image.bitmaps.add(bitmap)
        return bitmap
    }

    /// The bits of an open image's bitmap.
    private func map(_ name: String, of bench: Bench) throws -> DirtyMap {
        let bitmap = try bench.image.bitmaps.all.named(name)
        return try #require(bitmap.map)
    }

    private func dirty(_ name: String, of bench: Bench) throws -> [ByteRange] {
        let map = try map(name, of: bench)
        var (found, position): ([ByteRange], UInt64) = ([], 0)
        while let range = map.nextDirty(from: position) {
            found.append(range)
            position = range.end
        }
        return found
    }

    private func check(_ contents: SparseBytes) -> MiniCheck {
        let check = MiniCheck(contents)
        #expect(check.isClean, "\(check.errors), \(check.leaks) leaks")
        return check
    }

    /// An image whose header names a backing file of so many bytes, and has another extension behind ours.
    private func create(clusterSize: UInt64, name: Int, extra: Bool = false) throws -> SparseBytes {
        var contents = try FailureTests.create(size: 4 << 20, clusterSize: clusterSize)
        var header = try Header.decode(contents.bytes(ByteRange(at: 0, count: clusterSize)).byteSpan)
        if name > 0 {
            header.backingFileName = Array(repeating: 0x62, count: name)
            header.extensions.append(.backingFormat("raw"))
        }
        if extra { header.extensions.append(.other(type: 0xdead_beef, data: [1, 2, 3])) }
        let encoded = try header.encode()
        contents.write(encoded.byteSpan, at: 0)
        return contents
    }

    @Test(
        "what was recorded is there again, whatever the clusters, the backing file's name and the other extensions",
        arguments: [(1024, 0), (1024, 20), (2048, 300), (4096, 0), (4096, 7), (4096, 1023), (65536, 60), (2 << 20, 0)]
            as [(UInt64, Int)])
    func roundTrip(clusterSize: UInt64, name: Int) throws {
        for extra in [false, true] {
            let start = try create(clusterSize: clusterSize, name: name, extra: extra)
            let bench = try Bench(start)
            try add("a", to: bench)
            try add("off", 9, isEnabled: false, to: bench)
            try bench.write([UInt8](repeating: 1, count: 10_000), at: 1 << 20)
            try bench.zero(3 << 20, 512)
            let ranges = try dirty("a", of: bench)
            let count = try map("a", of: bench).dirtyCount
            try bench.reopen()
            #expect(bench.disk.audit?.broken == nil)
            #expect(try dirty("a", of: bench) == ranges && !ranges.isEmpty)
            #expect(try map("off", of: bench).isEmpty)
            #expect(bench.image.bitmaps.all.map(\.isEnabled) == [true, false])
            #expect(bench.image.info.bitmaps.allSatisfy { $0.isInUse })
            try bench.write([1], at: 0)
            try bench.close()
            let stored = check(bench.disk.durable).bitmaps
            #expect(stored.map(\.name) == ["off", "a"] && stored.allSatisfy { !$0.isInUse })
            #expect(stored.last?.dirty.count == Int(count) + 1)
            let header = try Header.decode(bench.disk.durable.bytes(ByteRange(at: 0, count: clusterSize)).byteSpan)
            #expect(header.backingFileName?.count ?? 0 == name)
            #expect(header.extensions.contains(.other(type: 0xdead_beef, data: [1, 2, 3])) == extra)
        }
    }

    @Test(
        "a file ends with the directory of its bitmaps, and goes on behind that cluster",
        arguments: [1024, 65536] as [UInt64])
    func end(clusterSize: UInt64) throws {
        let bench = try Bench(try create(clusterSize: clusterSize, name: 0))
        try add("a", to: bench)
        try bench.write([1], at: 0)
        try bench.close()
        #expect(bench.disk.length % clusterSize == 32)
        #expect(check(bench.disk.durable).bitmaps.first?.dirty == [0])
        let again = try Bench(bench.disk.durable)
        try again.write([2], at: 1 << 20)
        #expect(try again.read(1 << 20, 2) == [2, 0])
        try again.close()
        #expect(check(again.disk.durable).bitmaps.first?.dirty.count == 2)
    }

    @Test("removing them one by one leaves a sound image each time, and none in the end")
    func removing() throws {
        let bench = try Bench(try create(clusterSize: 4096, name: 30))
        for name in ["a", "b", "c"] { try add(name, to: bench) }
        try bench.write([UInt8](repeating: 1, count: 100_000), at: 0)
        try bench.reopen()
        for (left, name) in [(2, "b"), (1, "a"), (0, "c")] {
            let image = bench.image
            let bitmap = try image.bitmaps.all.named(name)
            try bench.context.complete { try await image.removeStoredBitmap(name) }
            image.bitmaps.remove(bitmap)
            // Durable at once, though nobody flushed.
            #expect(MiniCheck(bench.disk.durable).bitmaps.count == left)
            #expect(MiniCheck(bench.disk.durable).errors.isEmpty)
        }
        try bench.close()
        let check = check(bench.disk.durable)
        #expect(check.bitmaps.isEmpty && bench.disk.audit?.broken == nil)
        let header = try Header.decode(bench.disk.durable.bytes(ByteRange(at: 0, count: 4096)).byteSpan)
        #expect(header.autoclear.isEmpty && !header.extensions.contains { $0.type == HeaderExtension.bitmapsType })
    }

    @Test("made read-only they are stored, and consistent; made writable they are in use before the first write")
    func readOnlyAndBack() throws {
        let bench = try Bench(try create(clusterSize: 4096, name: 0))
        try add("a", to: bench)
        try bench.write([1], at: 5000)
        func setReadOnly(_ isReadOnly: Bool) throws {
            let image = bench.image
            try bench.context.complete { try await image.setReadOnly(isReadOnly) }
        }
        try setReadOnly(true)
        #expect(check(bench.disk.durable).bitmaps.map(\.isInUse) == [false])
        let refusal = try bench.image.bitmaps.all.named("a").refusal(of: .change)
        #expect(
            refusal?.message == "Bitmap 'a' is readonly and cannot be modified")
        try setReadOnly(false)
        #expect(MiniCheck(bench.disk.durable).bitmaps.map(\.isInUse) == [true])
        try bench.write([1], at: 50_000)
        try bench.close()
        #expect(check(bench.disk.durable).bitmaps.map(\.dirty) == [[1, 12]])
    }

    @Test("a disk too full to store them ends with an error; what is stored says that it is out of date")
    func fullDisk() throws {
        let bench = try Bench(try create(clusterSize: 4096, name: 0))
        try add("a", to: bench)
        try bench.reopen()
        try bench.write([1], at: 5000)
        try bench.flush()
        bench.disk.faults.add(Fault([.write], forever: true, error: .noSpace))
        #expect(throws: BlockError.noSpace) { try bench.close() }
        bench.disk.faults.clear()
        let after = try Bench(bench.disk.contents)
        let bitmap = try after.image.bitmaps.all.named("a")
        #expect(bitmap.isInconsistent)
        try after.close()
        #expect(MiniCheck(after.disk.contents).errors.isEmpty)
    }

    @Test("a longer and a shorter disk have a bitmap of their length")
    func resized() throws {
        let bench = try Bench(try create(clusterSize: 4096, name: 0))
        try add("a", 9, to: bench)
        try bench.resize(64 << 20)
        try bench.write([1], at: (64 << 20) - 1)
        try bench.reopen()
        #expect(try map("a", of: bench).isDirty(at: (64 << 20) - 1))
        try bench.resize(1 << 20)
        try bench.reopen()
        #expect(try map("a", of: bench).isEmpty)
        try bench.close()
        _ = check(bench.disk.durable)
    }

    @Test("version 2, a small header's cluster and a bitmap that would be too long are refused before")
    func refusals() throws {
        #expect(try Bench(create(clusterSize: 512, name: 0)).image.bitmapRefusal("a", granularityBits: 12) == nil)
        let small = try Bench(create(clusterSize: 512, name: 350))
        #expect(small.image.bitmapRefusal("a", granularityBits: 12)?.message == "qcow2 header exceeds cluster size")
        let bench = try Bench(FailureTests.create(size: 1 << 42))
        #expect(
            bench.image.bitmapRefusal("a", granularityBits: 9)?.message
                == "Too much space will be occupied by the bitmap. Use larger granularity")
        #expect(
            bench.image.bitmapRefusal(String(repeating: "x", count: 1024), granularityBits: 16)?.message
                == "Name length exceeds maximum (1023 characters)")
    }

    /// An image with one bitmap, closed, and where its parts lie.
    private func stored() throws -> (contents: SparseBytes, part: UInt64, directory: UInt64, table: UInt64) {
        let bench = try Bench(try create(clusterSize: 4096, name: 0))
        try add("a", to: bench)
        try bench.write([1], at: 5000)
        try bench.close()
        let contents = bench.disk.contents
        let area = HeaderArea(contents.bytes(ByteRange(at: 0, count: 4096)).byteSpan)
        let part = UInt64(try #require(area.bitmaps)) + 8
        let directory = contents.bytes(ByteRange(at: part + 16, count: 8)).byteSpan.bigEndian(UInt64.self, at: 0)
        return (contents, part, directory, contents.bytes(ByteRange(at: directory, count: 8)).byteSpan.bigEndian(at: 0))
    }

    /// Where a number is put that contradicts the rest.
    enum Place { case part(UInt64), directory(UInt64), table }

    @Test(
        "what contradicts itself is an error that names itself, before memory is taken for it",
        arguments: [
            (.part(0), 4, 0, "bitmaps_ext: found bitmaps extension with zero bitmaps"),
            (.part(0), 4, 65536, "bitmaps_ext: image has 65536 bitmaps, exceeding the QEMU supported maximum of 65535"),
            (.part(0), 4, 2, "Less bitmaps found than specified in header extension"),
            (.part(4), 4, 1, "bitmaps_ext: Reserved field is not zero"),
            (.part(8), 8, 0, "Requested bitmap_directory_size is zero"),
            (.part(8), 8, 16, "Broken bitmap directory"), (.part(8), 8, 24, "Broken bitmap directory"),
            (.part(8), 8, 64, "More bitmaps found than specified in header extension"),
            (.part(8), 8, 1 << 40, "bitmaps_ext: bitmap directory size (1099511627776) exceeds the maximum"),
            (.part(16), 8, 12345, "bitmaps_ext: invalid bitmap directory offset"),
            (.part(16), 8, 1 << 50, "Failed to read bitmap directory"),
            (.directory(0), 8, 0, "Bitmap 'a' doesn't satisfy the constraints"),
            (.directory(0), 8, 100, "Bitmap 'a' doesn't satisfy the constraints"),
            (.directory(0), 8, 1 << 50, "Could not read bitmap_table table from image for bitmap 'a'"),
            (.directory(8), 4, 0, "Bitmap 'a' doesn't satisfy the constraints"),
            (.directory(8), 4, 0xFFFF_FFFF, "Bitmap 'a' doesn't satisfy the constraints"),
            (.directory(8), 4, 2, "Could not read bitmap 'a' from image"),
            (.directory(12), 4, 8, "Bitmap 'a' doesn't satisfy the constraints"),
            (.directory(16), 1, 2, "Bitmap 'a' doesn't satisfy the constraints"),
            (.directory(17), 1, 8, "Bitmap 'a' doesn't satisfy the constraints"),
            (.directory(17), 1, 63, "Bitmap 'a' doesn't satisfy the constraints"),
            (.directory(18), 2, 0, "Bitmap '' doesn't satisfy the constraints"),
            (.directory(18), 2, 60000, "Broken bitmap directory"),
            (.directory(20), 4, 8, "Bitmap extra data is not supported"),
            (.directory(20), 4, 0xFFFF_FFFF, "Broken bitmap directory"),
            (.table, 8, 2, "Could not read bitmap_table table from image for bitmap 'a'"),
            (.table, 8, 0x1001, "Could not read bitmap_table table from image for bitmap 'a'"),
            (.table, 8, 1 << 40, "Could not read bitmap 'a' from image"),
        ] as [(Place, Int, UInt64, String)])
    func contradictions(place: Place, width: Int, value: UInt64, text: String) throws {
        let start = try stored()
        var contents = start.contents
        // What claims more than there is finds zeros in the last cluster.
        contents.resize(to: contents.length.roundedUp(to: 4096) ?? 0)
        var bytes = [UInt8](repeating: 0, count: width)
        bytes.put(value, at: 0, width: width)
        let offset =
            switch place {
            case .part(let offset): start.part + offset
            case .directory(let offset): start.directory + offset
            case .table: start.table
            }
        contents.write(bytes.byteSpan, at: offset)
        for isReadOnly in [true, false] { #expect(refusal(of: contents, isReadOnly).hasPrefix(text)) }
    }

    @Test("a check whose one read of the directory fails says so, and takes no damage for soundness")
    func failedRead() throws {
        let start = try stored()
        var contents = start.contents
        // A type that there is none of: only who reads the directory as an opening does finds it.
        contents.write([2].byteSpan, at: start.directory + 16)
        let place = ByteRange(at: start.directory, count: 24)
        for nth in 0..<2 {
            let faulty = FaultyStorage(MemoryStorage(contents))
            faulty.plan.add(Fault([.read], nth: nth, range: place))
            let result = try SimulatedContext().complete { try await Qcow2Check.check(faulty, repair: .all) { _ in } }
            #expect(result.checkErrors == 1 || result.corruptionsFixed > 0, "read \(nth)")
            #expect(nth > 0 || result.checkErrors == 1)
        }
    }

    @Test("a step that fails after the bitmaps were stored leaves them in use")
    func failedAmendment() throws {
        let bench = try Bench(try create(clusterSize: 4096, name: 0))
        try add("a", to: bench)
        try bench.write([1], at: 5000)
        try bench.reopen()
        try bench.context.complete { [image = bench.image] in
            _ = try await image.createSnapshot(NewSnapshot(name: "s", dateSeconds: 1, dateNanoseconds: 2))
        }
        #expect(throws: OpenError.self) {
            try bench.context.complete { [image = bench.image] in try await image.amend(.refcountBits(1)) }
        }
        let bitmaps = MiniCheck(bench.disk.contents).bitmaps
        #expect(bitmaps.count == 1 && bitmaps.allSatisfy(\.isInUse))
        try bench.write([1], at: 50_000)
        try bench.close()
        #expect(check(bench.disk.contents).bitmaps.first?.dirty == [1, 12])
    }

    /// Why an image does not open.
    private func refusal(of contents: SparseBytes, _ isReadOnly: Bool, limit: UInt64 = 1 << 30) -> String {
        let (context, memory) = (SimulatedContext(), BitmapMemory(limit: limit))
        let disk = SimDisk(context, contents: contents)
        do {
            _ = try context.complete {
                try await Qcow2Image.open(file: disk, options: Options(isReadOnly: isReadOnly), memory: memory)
            }
        } catch let error as OpenError { return error.message } catch { return "\(error)" }
        return "(success)"
    }

    @Test("without the autoclear bit there are no bitmaps, and new ones take the place of the old")
    func outOfDate() throws {
        var contents = try stored().contents
        let zeros = [UInt8](repeating: 0, count: 8)
        contents.write(zeros.byteSpan, at: 88)
        let bench = try Bench(contents)
        #expect(bench.image.bitmaps.all.isEmpty)
        try bench.write([1], at: 0)
        try add("b", to: bench)
        try bench.close()
        let check = MiniCheck(bench.disk.durable)
        #expect(check.errors.isEmpty && check.bitmaps.map(\.name) == ["b"])
    }

    @Test("of many bitmaps that claim much no more is taken than the memory there is")
    func memory() throws {
        let bench = try Bench(try create(clusterSize: 65536, name: 0))
        try bench.resize(1 << 40)
        for name in ["a", "b", "c"] { try add(name, 16, to: bench) }
        try bench.write([1], at: 0)
        try bench.close()
        // Each takes 8 KiB for the places of its pages, and 4 KiB for one of them.
        for limit in [20, 36] as [UInt64] {
            #expect(refusal(of: bench.disk.contents, true, limit: limit << 10).hasPrefix("No memory for bitmap"))
        }
        #expect(refusal(of: bench.disk.contents, true, limit: 37 << 10) == "(success)")
        #expect(refusal(of: bench.disk.contents, true) == "(success)")
    }

    @Test("a bitmap that is dirty all over takes no more memory when it is loaded than it took before")
    func allDirty() throws {
        let bench = try Bench(try create(clusterSize: 1024, name: 0))
        try bench.resize(32 << 20)
        try add("b", 9, to: bench)
        try bench.zero(0, 32 << 20)
        try bench.close()
        #expect(refusal(of: bench.disk.contents, true, limit: 1 << 10) == "(success)")
        let again = try Bench(bench.disk.contents)
        #expect(try dirty("b", of: again) == [ByteRange(at: 0, count: 32 << 20)])
        try again.close()
    }
}
