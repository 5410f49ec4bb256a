import Block
import BlockTestKit
import Bytes
import Filters
import Qcow2
import Testing

/// The steps of a qcow2 image that the storage below it is told of, and what `blkdebug` makes of them.
@Suite("steps of a format that fail or wait") struct FaultEventTests {
    /// An image over a filter; its clusters are small, and its refcounts wide, so that tables fill soon.
    private final class Pair {
        let context = SimulatedContext(seed: 3)
        let disk: MemoryStorage
        let planner: FaultPlanner
        private(set) var image: Qcow2Image
        private(set) var io: BlockIO

        init(_ rules: [FaultRule] = [], _ transitions: [StateRule] = [], clusterSize: UInt64 = 512) throws {
            let (context, disk) = (context, MemoryStorage(length: 0, growable: true))
            let planner = FaultPlanner(errors: rules, transitions: transitions)
            (self.disk, self.planner) = (disk, planner)
            var options = CreateOptions(size: 4 << 20)
            (options.clusterSize, options.refcountBits) = (clusterSize, 64)
            try context.complete { [options] in
                try await Qcow2Create.create(on: disk, options)
            }
            (image, io) = try Self.open(context, disk, planner)
        }

        private static func open(
            _ context: SimulatedContext, _ disk: MemoryStorage, _ planner: FaultPlanner
        ) throws -> (Qcow2Image, BlockIO) {
            let below = BlockIO(context: context, driver: .storage(disk))
            let file = BlockIO(context: context, driver: .storage(FaultFilter(below, planner, on: context)))
            return try context.complete {
                let image = try await Qcow2Image.open(file: file, options: Options())
                return (image, BlockIO(context: context, driver: .format(image), file: file))
            }
        }

        func reopen() throws {
            io.retire()
            try context.complete { [image] in try await image.close() }
            (image, io) = try Self.open(context, disk, planner)
        }

        func write(_ offset: UInt64, _ count: Int, _ flags: WriteFlags = []) throws {
            try context.complete { [io] in
                try await io.write([UInt8](repeating: 7, count: count), at: offset, flags: flags)
            }
        }

        func flush() throws { try context.complete { [io] in try await io.flush() } }

        func read(_ offset: UInt64, _ count: Int) throws -> [UInt8] {
            try context.complete { [io] in try await io.bytes(at: offset, count: count) }
        }
    }

    @Test(
        "a format tells of its steps as it takes them: tables that are loaded, written and outgrown",
        arguments: [
            .l1Update, .l1GrowAllocTable, .l1GrowWriteTable, .l1GrowActivateTable, .l2Load, .l2Update, .l2AllocWrite,
            .reftableLoad, .reftableGrow, .refblockLoad, .refblockUpdatePart, .refblockAllocHookup, .refblockAllocWrite,
            .refblockAllocWriteBlocks, .refblockAllocWriteTable, .refblockAllocSwitchTable, .flushToOS, .flushToDisk,
            .readAIO, .writeAIO,
        ] as [FaultEvent])
    func tables(event: FaultEvent) throws {
        let pair = try Pair([], [StateRule(event: event, state: 1, newState: 2)])
        // Refcounts for so much need a longer table.
        try pair.write(0, 2_200_000)
        try pair.flush()
        try pair.context.complete { [io = pair.io] in try await io.resize(to: 6 << 20) }
        try pair.reopen()
        try pair.write(3 << 20, 512)
        try pair.flush()
        #expect(try pair.read(0, 512) == [UInt8](repeating: 7, count: 512))
        #expect(pair.planner.state == 2)
    }

    @Test(
        "and data that is copied, compressed and decompressed",
        arguments: [.l2AllocCowRead, .readCompressed, .writeCompressed, .cowRead, .cowWrite] as [FaultEvent])
    func data(event: FaultEvent) throws {
        let pair = try Pair([], [StateRule(event: event, state: 1, newState: 2)], clusterSize: 4096)
        // A table of compressed clusters alone, which a snapshot shares.
        try pair.write(2 << 20, 4096, .compressed)
        try pair.reopen()
        try pair.context.complete { [image = pair.image] in
            _ = try await image.createSnapshot(NewSnapshot(name: "s", dateSeconds: 1, dateNanoseconds: 2))
        }
        try pair.write(2 << 20 + 100, 50)
        #expect(pair.planner.state == 2)
    }

    @Test(
        "who reads around bytes that are not aligned tells of it",
        arguments: [.pwritevRmwHead, .pwritevRmwAfterHead, .pwritevRmwTail, .pwritevRmwAfterTail] as [FaultEvent])
    func unaligned(event: FaultEvent) throws {
        let context = SimulatedContext(seed: 3)
        let planner = FaultPlanner(errors: [], transitions: [StateRule(event: event, state: 1, newState: 2)])
        let filter = FaultFilter(
            MemoryStorage(length: 1 << 20), planner, on: context, pretending: PretendedLimits(align: 4096))
        let io = BlockIO(context: context, driver: .storage(filter))
        try context.complete { try await io.write([UInt8](repeating: 7, count: 8192), at: 4096, flags: []) }
        #expect(planner.state == 1)
        try context.complete { try await io.write([UInt8](repeating: 7, count: 512), at: 1024, flags: []) }
        #expect(planner.state == 2)
        #expect(try context.complete { try await io.bytes(at: 1024, count: 512) } == [UInt8](repeating: 7, count: 512))
    }

    @Test("tables are no data: only what the disk holds is read and written as such")
    func tablesAreNoData() throws {
        let transitions = [FaultEvent.readAIO, .writeAIO].map { StateRule(event: $0, state: 1, newState: 2) }
        let pair = try Pair([], transitions)
        try pair.context.complete { [io = pair.io] in try await io.resize(to: 6 << 20) }
        try pair.reopen()
        #expect(try pair.read(0, 512) == [UInt8](repeating: 0, count: 512))
        #expect(pair.planner.state == 1)
        try pair.write(0, 512)
        #expect(pair.planner.state == 2)
    }

    @Test("an error that an event brings hits the request that the step is about, and once where it is for once")
    func injected() throws {
        let pair = try Pair([FaultRule(event: .l2Load, kinds: .read, once: true)])
        try pair.write(0, 512)
        try pair.reopen()
        #expect(throws: BlockError.io) { try pair.read(0, 512) }
        #expect(try pair.read(0, 512) == [UInt8](repeating: 7, count: 512))
        #expect(pair.planner.fired == 1)
    }

    @Test("a state lets one event wait for another: only the write of a table after a table was loaded fails")
    func states() throws {
        let pair = try Pair(
            [FaultRule(event: .l2Update, state: 2, kinds: .write)], [StateRule(event: .l2Load, state: 1, newState: 2)])
        try pair.write(0, 512)
        try pair.flush()
        try pair.reopen()
        try pair.write(512, 512)
        #expect(throws: BlockError.io) { try pair.flush() }
        #expect(pair.image.isFenced)
    }

    @Test("whoever comes to a breakpoint waits there until it is resumed; others go on")
    func breakpoints() throws {
        let pair = try Pair()
        try pair.write(0, 512)
        try pair.write(1 << 20, 512)
        try pair.reopen()
        pair.planner.setBreakpoint(on: .l2Load, tag: "A")
        try pair.context.complete { [pair] in
            var ended = false
            let done = WaitQueue()
            pair.context.spawn {
                _ = try? await pair.io.bytes(at: 0, count: 512)
                ended = true
                done.wakeAll()
            }
            await pair.context.sleep(ms: 10)
            #expect(pair.planner.isStopped(at: "A") && !ended)
            // A breakpoint stops once.
            _ = try await pair.io.bytes(at: 1 << 20, count: 512)
            #expect(!ended && !pair.planner.resume("B"))
            #expect(pair.planner.resume("A") && !pair.planner.isStopped(at: "A"))
            while !ended { await done.wait() }
        }
        pair.planner.setBreakpoint(on: .l2Load, tag: "C")
        #expect(pair.planner.removeBreakpoint("C") && !pair.planner.removeBreakpoint("C"))
    }
}
