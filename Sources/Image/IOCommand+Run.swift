public import Block
import Bytes

extension IOCommand {
    /// Carries the command out and answers what it prints. `nowNs` is a clock.
    public func run(on storage: any Storage, nowNs: () -> UInt64) async -> String {
        let start = nowNs()
        var text = ""
        do throws(BlockError) {
            switch operation {
            case .read: text = try await read(storage)
            case .write: try await write(storage)
            case .discard: try await storage.discard(try await range(of: storage))
            // The tool says nothing of a flush, whatever comes of it.
            case .flush:
                do { try await storage.flush() } catch { return "" }
                return ""
            case .length:
                try await checkMedium(storage)
                return Self.scaled(Double(storage.length)) + "\n"
            case .truncate:
                try await storage.resize(to: offset)
                return ""
            }
        } catch {
            if operation == .truncate { return "Failed to resize the image: \(error.sentence)\n" }
            if operation == .length { return "getlength: \(error.sentence)\n" }
            // What passes the end the tool's own layer refuses.
            let reason = error == .outOfRange ? BlockError.io.sentence : error.sentence
            return "\(name) failed: \(reason)\n"
        }
        return text + figures(ns: max(1, nowNs() &- start))
    }

    /// Bytes that are moved at a time, however long the request: a bound for the buffer.
    private static let piece = 4 << 20

    private func range(of storage: any Storage) async throws(BlockError) -> ByteRange {
        try await checkMedium(storage)
        guard let range = ByteRange(checked: offset, count: count), range.end <= storage.length else {
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

    private func read(_ storage: any Storage) async throws(BlockError) -> String {
        let range = try await range(of: storage)
        var rest = range
        var isAsExpected = true
        var dump = ""
        var buffer = AlignedBuffer(byteCount: max(1, min(Self.piece, Int(range.count))))
        let expected = ByteRange(
            at: offset + options.patternOffset,
            count: options.patternCount ?? (count - min(count, options.patternOffset)))
        repeat {
            let part = rest.prefix(min(rest.count, UInt64(Self.piece)))
            var whole = buffer.mutableBytes
            var target = whole._mutatingExtracting(0..<Int(part.count))
            try await storage.read(at: part.start, into: &target)
            let bytes = buffer.bytes.extracting(0..<Int(part.count))
            if let pattern = options.pattern {
                let looked = part.intersection(expected)
                for position in looked.start..<looked.end where isAsExpected {
                    isAsExpected = bytes.byte(at: Int(position - part.start)) == pattern
                }
            }
            if options.isVerbose { dump += Self.dump(bytes.array, at: part.start) }
            rest = rest.dropping(part.count)
        } while !rest.isEmpty
        guard isAsExpected else {
            return "Pattern verification failed at offset \(expected.start), \(expected.count) bytes\n" + dump
        }
        return dump
    }

    private func write(_ storage: any Storage) async throws(BlockError) {
        let range = try await range(of: storage)
        if options.isZero {
            var flags: ZeroFlags = options.isForced ? .fua : []
            if options.mayUnmap { flags.insert(.mayUnmap) }
            if options.isFastOnly { flags.insert(.fastOnly) }
            return try await storage.zero(range, flags: flags)
        }
        let pattern = [UInt8](
            repeating: options.pattern ?? 0xCD, count: max(1, min(Self.piece, Int(clamping: range.count))))
        var rest = range
        repeat {
            let part = rest.prefix(min(rest.count, UInt64(Self.piece)))
            try await storage.write(
                at: part.start, from: pattern.byteSpan.extracting(0..<Int(part.count)),
                flags: options.isForced ? .fua : [])
            rest = rest.dropping(part.count)
        } while !rest.isEmpty
    }
}
