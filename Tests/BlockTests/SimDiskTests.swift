import Block
import BlockTestKit
import Bytes
import Testing

@Suite struct SimDiskTests {
    let context = SimulatedContext(seed: 3)

    private func disk(_ sectors: UInt64 = 64, keepsLog: Bool = false) -> SimDisk {
        SimDisk(context, contents: SparseBytes(length: sectors * 512), .init(seed: 5, keepsLog: keepsLog))
    }

    private func sector(_ value: UInt8) -> [UInt8] { [UInt8](repeating: value, count: 512) }

    @Test("a write is seen at once and durable only after a flush")
    func flushMakesDurable() throws {
        let disk = disk()
        try context.complete {
            try await disk.write(self.sector(1), at: 512)
            #expect(try await disk.bytes(at: 512, count: 512) == self.sector(1))
            #expect(disk.crashImage(.durableOnly).bytes(ByteRange(at: 512, count: 512)) == self.sector(0))
            #expect(disk.crashImage(.everything).bytes(ByteRange(at: 512, count: 512)) == self.sector(1))
            try await disk.flush()
            #expect(disk.crashImage(.durableOnly).bytes(ByteRange(at: 512, count: 512)) == self.sector(1))
            #expect(disk.pending.isEmpty)
        }
    }

    @Test("a flush covers only what completed before it was issued")
    func flushCovers() throws {
        for seed: UInt64 in 0..<20 {
            let context = SimulatedContext(seed: seed)
            let disk = SimDisk(context, contents: SparseBytes(length: 4096), .init(seed: seed))
            try context.complete {
                context.spawn { try? await disk.write(self.sector(9), at: 0) }
                await context.yield()
                #expect(disk.pending.count == 1)
                let done = disk.pending[0].completedNs != nil
                try await disk.flush()
                #expect((disk.durable.bytes(ByteRange(at: 0, count: 512)) == self.sector(9)) == done)
            }
        }
    }

    @Test(
        "a disk that tells of a failed flush once flushes again, and some of what the failed one covered is never durable"
    )
    func flushThatFailsOnce() throws {
        var options = SimDisk.Options(seed: 5)
        options.stickyFlush = false
        let disk = SimDisk(context, contents: SparseBytes(length: 64 * 512), options)
        disk.faults.add(Fault([.flush]))
        try context.complete {
            for sector in 0..<64 { try await disk.write(self.sector(1), at: UInt64(sector) * 512) }
            await #expect(throws: BlockError.io) { try await disk.flush() }
            #expect(disk.hasFailedFlush)
            try await disk.flush()
        }
        let durable = (0..<64).count { disk.durable.bytes(ByteRange(at: UInt64($0) * 512, count: 1)) == [1] }
        #expect((10...54).contains(durable) && disk.pending.isEmpty)
        #expect(disk.contents.array.allSatisfy { $0 == 1 })
    }

    @Test("a change that is cut short leaves the first half of its sectors")
    func short() throws {
        let disk = disk()
        disk.faults.add(Fault([.write], error: .noSpace, effect: .short))
        _ = try context.complete {
            await #expect(throws: BlockError.noSpace) {
                try await disk.write([UInt8](repeating: 1, count: 2048), at: 512)
            }
        }
        #expect(
            disk.contents.array.prefix(3072).filter { $0 == 1 }.count == 1024 && disk.contents.array[512 + 1023] == 1)
    }

    @Test("a forced write is durable when it returns, and others are not")
    func fua() throws {
        let disk = disk()
        try context.complete {
            try await disk.write(self.sector(1), at: 0)
            try await disk.write(self.sector(2), at: 512)
            try await disk.write(self.sector(3), at: 512, flags: .fua)
            let image = disk.crashImage(.durableOnly)
            #expect(image.bytes(ByteRange(at: 0, count: 512)) == self.sector(0))
            #expect(image.bytes(ByteRange(at: 512, count: 512)) == self.sector(3))
            // What lay beneath a forced write can never come back.
            try await disk.flush()
            #expect(disk.durable.bytes(ByteRange(at: 512, count: 512)) == self.sector(3))
        }
    }

    @Test("a crash keeps any subset of pending changes, one of them torn at sector borders")
    func crashStates() throws {
        let disk = disk()
        try context.complete {
            try await disk.write([UInt8](repeating: 1, count: 2048), at: 0)
            try await disk.write(self.sector(2), at: 4096)
        }
        let images = disk.crashImages(200, seed: 1)
        let states = Set(
            images.map { image in
                (0..<9).map { image.bytes(ByteRange(at: $0 * 512, count: 1))[0] }
            })
        #expect(states.count > 20)
        for state in states {
            #expect(state[0..<4].allSatisfy { $0 <= 1 } && (state[8] == 0 || state[8] == 2))
        }
        // Every sector is old or new as a whole.
        for image in images {
            for number: UInt64 in 0..<9 {
                let bytes = image.bytes(ByteRange(at: number * 512, count: 512))
                #expect(Set(bytes).count == 1)
            }
        }
    }

    @Test("a failed flush fails all later ones until the disk is opened again")
    func flushSticks() throws {
        let disk = disk()
        disk.faults.add(Fault([.flush], error: .io))
        try context.complete {
            for _ in 0..<3 {
                await #expect(throws: BlockError.io) { try await disk.flush() }
            }
            disk.reopen()
            try await disk.flush()
        }
    }

    @Test("a planned fault hits the request it names, and may leave a torn change behind")
    func faults() throws {
        let disk = disk()
        disk.faults.add(Fault([.write], nth: 1, error: .noSpace))
        disk.faults.add(Fault([.write], nth: 3, forever: true, effect: .torn))
        try context.complete {
            try await disk.write(self.sector(1), at: 0)
            await #expect(throws: BlockError.noSpace) { try await disk.write(self.sector(2), at: 0) }
            #expect(try await disk.bytes(at: 0, count: 512) == self.sector(1))
            try await disk.write(self.sector(3), at: 0)
            for _ in 0..<3 {
                await #expect(throws: BlockError.io) {
                    try await disk.write([UInt8](repeating: 4, count: 4096), at: 4096)
                }
            }
            #expect(disk.faults.fired == 4)
        }
    }

    @Test("the log tells every change, flush and mark in order")
    func log() throws {
        let disk = disk(keepsLog: true)
        try context.complete {
            disk.mark("begin")
            try await disk.write(self.sector(1), at: 0)
            try await disk.flush()
        }
        let words = disk.log.map { event in
            switch event {
            case .mark(let word): word
            case .issued: "issued"
            case .reading: "reading"
            case .read: "read"
            case .completed: "completed"
            case .failed: "failed"
            case .flushIssued: "flush"
            case .flushing: "flushing"
            case .flushed: "flushed"
            case .hardened: "hardened"
            }
        }
        #expect(words == ["begin", "issued", "completed", "flush", "flushing", "hardened", "flushed"])
    }
}
