import Block
import Bytes

extension Conformance {
    func refusesChanges() async throws {
        let before = try await all()
        let bytes = [UInt8](repeating: 1, count: Int(max(unit, 512)))
        try await expectError([.readOnly], "a write of what is read-only is refused") { () async throws(BlockError) in
            try await storage.write(bytes, at: 0)
        }
        let range = ByteRange(at: 0, count: UInt64(bytes.count))
        try await expectError([.readOnly], "zeroing what is read-only is refused") { () async throws(BlockError) in
            try await storage.zero(range, flags: [])
        }
        try await expectError([.readOnly], "a discard of what is read-only is refused") { () async throws(BlockError) in
            try await storage.discard(range)
        }
        try expect(!storage.writeNow(at: 0, from: bytes.rawBytes), "what is read-only is not written in place")
        try expect(try await all() == before, "what is read-only does not change")
    }

    /// What is answered in place is what would be answered otherwise, and what is not leaves it to the other way.
    mutating func agreesInPlace() async throws {
        var model = try await model()
        for _ in 0..<200 {
            let range = someRange(upTo: 40_000)
            let bytes = random.bytes(Int(range.count))
            // What is not carried out in place may have been stored in part: it is done the other way, as callers do.
            let triesInPlace = random.chance(50)
            let isDone = triesInPlace && storage.writeNow(at: range.start, from: bytes.rawBytes)
            let goesOn = triesInPlace ? !isDone : random.chance(20)
            if goesOn { try await storage.write(bytes, at: range.start) }
            if isDone || goesOn { model.write(bytes, at: range.start) }
            var buffer = AlignedBuffer(byteCount: Int(range.count))
            var room = buffer.mutableBytes
            room.fill(0xEE)
            guard storage.readNow(at: range.start, into: &room) else { continue }
            let found = buffer.bytes.copied
            try expect(
                found == (try await storage.bytes(at: range.start, count: found.count)), "\(range) reads alike in place"
            )
        }
        try await compare(&model, after: "writes in place")
    }

    func refusesWhatPassesTheEnd() async throws {
        let size = Int(max(unit, 512))
        let bytes = [UInt8](repeating: 7, count: size)
        let end = storage.length.roundedDown(to: unit)
        let far: UInt64 = (UInt64.max - 4 * UInt64(size)).roundedDown(to: unit)
        for offset in storage.limits.growable ? [] : [end, end - unit + (unit == 1 ? 0 : unit), far] {
            let refused: Set<BlockError> = [.outOfRange, .invalid]
            try await expectError(refused, "a read past the end at \(offset) is refused") {
                () async throws(BlockError) in
                _ = try await storage.bytes(at: offset, count: size)
            }
            try await expectError(refused, "a write past the end at \(offset) is refused") {
                () async throws(BlockError) in
                try await storage.write(bytes, at: offset)
            }
            try await expectError(refused, "zeroing past the end at \(offset) is refused") {
                () async throws(BlockError) in
                try await storage.zero(ByteRange(at: offset, count: UInt64(size)), flags: [])
            }
            try await expectError(refused, "a status past the end at \(offset) is refused") {
                () async throws(BlockError) in
                _ = try await storage.status(of: ByteRange(at: offset, count: UInt64(size)))
            }
        }
    }

    /// Writes at every alignment read back, and change nothing around them; forced ones too.
    mutating func keepsWrites() async throws {
        var model = try await model()
        var lengths: [UInt64] = [1, 511, 512, 513, 4095, 4096, 4097, 65536, 70_001]
        lengths = Array(Set(lengths.map { max($0.roundedDown(to: unit), unit) })).sorted()
        for count in lengths {
            for shift: UInt64 in [0, 1, 511, 4095] {
                let offset = (random.below(128 << 10) + shift).roundedDown(to: unit)
                let bytes = random.bytes(Int(count))
                try await storage.write(bytes, at: offset, flags: random.chance(20) ? .fua : [])
                model.write(bytes, at: offset)
                let found = try await storage.bytes(at: offset, count: Int(count))
                try expect(
                    found == bytes || exceptions.contains(.forgets), "\(count) bytes written at \(offset) read back")
                if random.chance(20) { try await storage.flush() }
            }
        }
        try await compare(&model, after: "writes at every alignment")
    }

    mutating func zeroesAndDiscards() async throws {
        var model = try await model()
        for round in 0..<60 {
            let range = someRange(upTo: 100_000)
            switch random.below(4) {
            case 0:
                let bytes = random.bytes(Int(range.count))
                try await storage.write(bytes, at: range.start)
                model.write(bytes, at: range.start)
            case 1:
                try await storage.discard(range)
                model.discard(range)
            default:
                var flags: ZeroFlags = random.chance(50) ? .mayUnmap : []
                if random.chance(20) { flags.insert(.fua) }
                try await storage.zero(range, flags: flags)
                model.zero(range)
            }
            if round % 10 == 9 { try await compare(&model, after: "zeros and discards (round \(round))") }
        }
        // Zeros that must be fast are done, or refused without a trace.
        let range = ByteRange(at: 0, count: max(65536, unit))
        do throws(BlockError) {
            try await storage.zero(range, flags: .fastOnly)
            model.zero(range)
        } catch {
            try expect(error == .unsupported, "zeros that cannot be fast are unsupported, not \(error)")
            model.discard(range)
        }
        try await compare(&model, after: "fast zeros")
    }

    /// The status of the whole storage, piece by piece, covers it, and what it calls zero reads as zero.
    mutating func tellsStatus() async throws {
        let contents = try await all()
        let length = UInt64(contents.count)
        var offset: UInt64 = 0
        while offset < length {
            let asked = ByteRange(at: offset, count: min(length - offset, random.chance(50) ? length : 100_000))
            let status = try await storage.status(of: asked)
            try expect(status.count > 0, "a status covers at least a byte at \(offset)")
            let part = asked.prefix(status.count)
            if status.flags.contains(.zero) {
                let found = contents.rawBytes.extracting(Int(part.start)..<Int(part.end))
                try expect(found.isZero, "what is told as zero reads as zero at \(part)")
            }
            if !status.flags.contains(.data), !exceptions.contains(.forgets) {
                try expect(status.flags.contains(.zero), "what is neither data nor zero does not exist (\(part))")
            }
            offset += part.count
        }
        try await expectError([.invalid, .outOfRange], "the status of nothing is refused") {
            () async throws(BlockError) in
            _ = try await storage.status(of: ByteRange(at: 0, count: 0))
        }
    }

    mutating func takesLargeRequests() async throws {
        let count = min(storage.length.roundedDown(to: unit), min(storage.limits.maxTransfer, 8 << 20))
        var model = try await model()
        let bytes = random.bytes(Int(count))
        try await storage.write(bytes, at: 0)
        model.write(bytes, at: 0)
        try await compare(&model, after: "a write of \(count) bytes")
        let zeros = ByteRange(at: 0, count: storage.length.roundedDown(to: unit))
        try await storage.zero(zeros, flags: .mayUnmap)
        model.zero(zeros)
        try await compare(&model, after: "zeroing all of it")
    }

    /// Requests of all kinds under way together, no two of which overlap.
    mutating func takesRequestsAtOnce() async throws {
        var model = try await model()
        let slot = (4096 as UInt64).roundedUp(to: unit) ?? unit
        for round in 0..<8 {
            let crowd = Crowd()
            for number in 0..<min(32, (256 << 10) / slot) {
                let inside = random.below(slot / unit) * unit
                let count = max(unit, (random.below(slot - inside) + 1).roundedDown(to: unit))
                let range = ByteRange(at: number * slot + inside, count: count)
                let kind = random.below(6)
                let bytes = random.bytes(Int(range.count))
                switch kind {
                case 0: model.zero(range)
                case 1: model.discard(range)
                case 2, 3, 4: model.write(bytes, at: range.start)
                default: break
                }
                crowd.running += 1
                context.spawn { [storage] in
                    do throws(BlockError) {
                        switch kind {
                        case 0: try await storage.zero(range, flags: .mayUnmap)
                        case 1: try await storage.discard(range)
                        case 2, 3, 4: try await storage.write(bytes, at: range.start)
                        default: try await storage.flush()
                        }
                    } catch { crowd.failure = error }
                    crowd.leave()
                }
            }
            await crowd.wait()
            if let failure = crowd.failure { throw failure }
            try await compare(&model, after: "requests at once (round \(round))")
        }
    }

    /// Tasks that were started together.
    private final class Crowd {
        var running = 0
        var failure: BlockError?
        private let queue = WaitQueue()

        func leave() {
            running -= 1
            if running == 0 { queue.wakeAll() }
        }

        func wait() async { while running > 0 { await queue.wait() } }
    }

    func takesEmptyRequests() async throws {
        var model = try await model()
        let nothing = ByteRange(at: 0, count: 0)
        try await storage.write([], at: 0)
        _ = try await storage.bytes(at: 0, count: 0)
        try await storage.zero(nothing, flags: .mayUnmap)
        try await storage.discard(nothing)
        try await compare(&model, after: "empty requests")
    }

    mutating func resizes() async throws {
        var model = try await model()
        let length = storage.length
        let step = max(unit, 4096)
        let bytes = random.bytes(Int(step))
        for target in [length + 128 * step, length + step, length - step, length] {
            try await storage.resize(to: target)
            model.resize(to: target)
            try expect(storage.length == target, "after a resize to \(target) the length is \(storage.length)")
            try await compare(&model, after: "a resize to \(target)")
            let last = (target - step).roundedDown(to: unit)
            try await storage.write(bytes, at: last)
            model.write(bytes, at: last)
        }
        try await compare(&model, after: "the resizes")
    }
}
