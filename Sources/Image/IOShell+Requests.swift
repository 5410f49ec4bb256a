import Block
import Bytes

// Commands that move bytes.
extension IOShell {
    /// Carries out a request and prints what came of it. False where it failed.
    func perform(_ command: IOCommand, on storage: any Storage) async -> Bool {
        if command.showsBytes, command.count > around.longestDump {
            around.say("-v shows at most \(around.longestDump) bytes\n")
            return false
        }
        let start = context.nowNs
        var isAsExpected = true
        do throws(BlockError) {
            switch command.operation {
            case .read: isAsExpected = try await read(command, storage)
            case .write:
                guard try await write(command, storage) else { return false }
            case .discard: try await storage.discard(try await range(of: command, storage))
            // The tool says nothing of a flush, but that it failed by its status.
            case .flush:
                do { try await storage.flush() } catch { return false }
                return true
            case .length:
                try await checkMedium(storage)
                around.say(IOCommand.scaled(Double(storage.length)) + "\n")
                return true
            case .map: return try await map(storage)
            case .alloc: return try await alloc(command, storage)
            default: return false
            }
        } catch {
            around.say(command.failure(error))
            return false
        }
        around.say(command.figures(ns: max(1, context.nowNs &- start)))
        return isAsExpected
    }

    private func range(of command: IOCommand, _ storage: any Storage) async throws(BlockError) -> ByteRange {
        try await checkMedium(storage)
        guard let range = ByteRange(checked: command.offset, count: command.count), range.end <= storage.length else {
            throw .outOfRange
        }
        return range
    }

    /// What has no length may be a drive without a medium, which is told as such.
    private func checkMedium(_ storage: any Storage) async throws(BlockError) {
        guard storage.length == 0 else { return }
        do throws(BlockError) { _ = try await storage.status(of: ByteRange(at: 0, count: 1)) } catch {
            if error == .noMedium { throw error }
        }
    }

    // MARK: Reading

    /// Whether the pattern was found, where one was looked for.
    private func read(_ command: IOCommand, _ storage: any Storage) async throws(BlockError) -> Bool {
        let range = try await range(of: command, storage)
        let shows = command.showsBytes
        // What is shown stands behind what is told of the pattern, which takes a second reading where not all of it is in
        // memory.
        let isWhole = range.count <= UInt64(around.piece)
        let wanted = command.expected
        var isAsExpected = true
        try await readAll(range, storage) { part, bytes in
            if let pattern = command.options.pattern, isAsExpected {
                let looked = part.intersection(wanted)
                let start = looked.isEmpty ? 0 : Int(looked.start - part.start)
                isAsExpected = Self.holds(pattern, bytes.extracting(start..<start + Int(looked.count)))
            }
            guard isWhole else { return }
            if !isAsExpected { around.say(command.missed) }
            if shows { around.say(IOCommand.dump(bytes.array, at: part.start)) }
        }
        guard !isWhole else { return isAsExpected }
        if !isAsExpected { around.say(command.missed) }
        if shows {
            try await readAll(range, storage) { part, bytes in
                around.say(IOCommand.dump(bytes.array, at: part.start))
            }
        }
        return isAsExpected
    }

    /// Whether all bytes are this one.
    private static func holds(_ pattern: UInt8, _ bytes: RawSpan) -> Bool {
        let word = UInt64(pattern) &* 0x0101_0101_0101_0101
        var place = 0
        while place + 8 <= bytes.byteCount, bytes.bigEndian(UInt64.self, at: place) == word { place += 8 }
        while place < bytes.byteCount, bytes.byte(at: place) == pattern { place += 1 }
        return place == bytes.byteCount
    }

    private func readAll(_ range: ByteRange, _ storage: any Storage, _ body: (ByteRange, RawSpan) -> Void)
        async throws(BlockError)
    {
        var rest = range
        var buffer = AlignedBuffer(byteCount: max(1, Int(min(UInt64(around.piece), range.count))))
        repeat {
            let part = rest.prefix(min(rest.count, UInt64(around.piece)))
            var whole = buffer.mutableBytes
            var target = whole._mutatingExtracting(0..<Int(part.count))
            try await storage.read(at: part.start, into: &target)
            body(part, buffer.bytes.extracting(0..<Int(part.count)))
            rest = rest.dropping(part.count)
        } while !rest.isEmpty
    }

    // MARK: Writing

    /// False where the file of the pattern cannot be had, which has been told.
    private func write(_ command: IOCommand, _ storage: any Storage) async throws(BlockError) -> Bool {
        var pattern = [command.options.pattern ?? 0xCD]
        if let file = command.options.patternFile {
            guard let bytes = contents(file, command.count) else { return false }
            pattern = bytes
        }
        let range = try await range(of: command, storage)
        if command.options.isZero {
            var flags: ZeroFlags = command.options.isForced ? .fua : []
            if command.options.mayUnmap { flags.insert(.mayUnmap) }
            if command.options.isFastOnly { flags.insert(.fastOnly) }
            try await storage.zero(range, flags: flags)
            return true
        }
        var flags: WriteFlags = command.options.isForced ? .fua : []
        // The state of a machine is kept as it is.
        if command.options.isCompressed, !command.options.isVMState {
            guard storage.limits.encodedUnit > 0 else { throw .unsupported }
            flags.insert(.compressed)
        }
        var bytes = Self.filled(pattern, max(1, Int(min(UInt64(around.piece), range.count))), from: 0)
        var rest = range
        repeat {
            let part = rest.prefix(min(rest.count, UInt64(around.piece)))
            // One byte is the same everywhere.
            if pattern.count > 1, part.start > range.start {
                bytes = Self.filled(pattern, Int(part.count), from: Int(part.start - range.start))
            }
            try await storage.write(
                at: part.start, from: bytes.byteSpan.extracting(0..<Int(part.count)), flags: flags)
            rest = rest.dropping(part.count)
        } while !rest.isEmpty
        return true
    }

    /// The pattern again and again, from the byte that is due at `start`.
    private static func filled(_ pattern: [UInt8], _ count: Int, from start: Int) -> [UInt8] {
        guard pattern.count > 1 else { return [UInt8](repeating: pattern.first ?? 0, count: count) }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(count)
        var place = start % pattern.count
        while bytes.count < count {
            let part = pattern[place..<min(pattern.count, place + count - bytes.count)]
            bytes += part
            place = 0
        }
        return bytes
    }

    /// Bytes of the longest pattern that is read from a file.
    private static let longestPattern = 64 << 20

    private func contents(_ file: String, _ count: UInt64) -> [UInt8]? {
        guard let read = around.contents else {
            around.complain("\(file): no file is read for whoever is connected\n")
            return nil
        }
        do throws(OpenError) {
            let bytes = try read(file, Self.longestPattern)
            if !bytes.isEmpty { return Array(bytes.prefix(max(1, Int(clamping: count)))) }
            around.complain("\(file): file is empty\n")
        } catch { around.complain("\(file): \(error.message)\n") }
        return nil
    }

    // MARK: What is allocated

    private func map(_ storage: any Storage) async throws(BlockError) -> Bool {
        var rest = ByteRange(at: 0, count: storage.length)
        repeat {
            var (run, isAllocated): (UInt64, Bool?) = (0, nil)
            while run < rest.count {
                let (count, isHere) = try await status(rest.dropping(run), storage)
                if isAllocated != nil, isAllocated != isHere { break }
                isAllocated = isHere
                run += count
            }
            guard run > 0, let isAllocated else {
                around.report("Unexpected end of image")
                return false
            }
            around.say(
                "\(IOCommand.scaled(Double(run))) (0x\(String(run, radix: 16))) bytes "
                    + "\(isAllocated ? "    allocated" : "not allocated") at offset "
                    + "\(IOCommand.scaled(Double(rest.start))) (0x\(String(rest.start, radix: 16)))\n")
            rest = rest.dropping(run)
        } while !rest.isEmpty
        return true
    }

    private func alloc(_ command: IOCommand, _ storage: any Storage) async throws(BlockError) -> Bool {
        let start = min(command.offset, storage.length)
        var rest = ByteRange(at: start, count: min(command.count, storage.length - start))
        let asked = rest.count
        var found: UInt64 = 0
        while !rest.isEmpty {
            let (count, isHere) = try await status(rest, storage)
            if isHere { found += count }
            rest = rest.dropping(count)
        }
        around.say("\(found)/\(asked) bytes allocated at offset \(IOCommand.scaled(Double(command.offset)))\n")
        return true
    }

    /// How far the first bytes are alike, and whether the image itself holds them.
    private func status(_ range: ByteRange, _ storage: any Storage) async throws(BlockError) -> (UInt64, Bool) {
        let status = try await storage.status(of: range)
        return (min(max(1, status.count), range.count), status.flags.contains(.allocated) && status.depth == 0)
    }
}
