import Block
import Bytes
import Graph

/// Copies into the topmost image of a chain what the chain would read as otherwise over another backing file.
struct RebaseWalk {
    private let top: BlockIO
    /// What the image stands on now, and what it shall stand on; nil reads as zeros.
    private let old: BlockIO?
    private let new: BlockIO?
    /// How deep the new backing file lies in the chain, where it is a part of it: what is decided there or below stays.
    private let shared: Int?

    enum Failure: Error {
        case metadata(BlockError)
        case reading(String)
        case writing(BlockError)
    }

    init(_ chain: ImageChain, over new: ImageChain?) {
        top = chain.layers[0].walker
        old = chain.layers.count > 1 ? chain.layers[1].walker : nil
        self.new = new?.layers[0].walker
        shared = new.flatMap { new in
            chain.layers.firstIndex {
                $0.identity != nil && $0.identity == new.layers[0].identity && $0.driver == new.layers[0].driver
            }
        }
    }

    /// Bytes that are compared at a time: a bound for the two buffers.
    private static let piece: UInt64 = 2 << 20
    /// Differences are told in sectors.
    private static let sector = 512

    /// Ends with all that was copied durable.
    func run(_ progress: (Double) -> Void) async throws(Failure) {
        var oldBytes = AlignedBuffer(byteCount: Int(min(Self.piece, top.length)))
        var newBytes = AlignedBuffer(byteCount: oldBytes.byteCount)
        var rest = ByteRange(at: 0, count: top.length)
        while !rest.isEmpty {
            let part = try await suspect(rest)
            if !part.isSame {
                try await read(part.range, of: old, "old", into: &oldBytes)
                try await read(part.range, of: new, "new", into: &newBytes)
                try await copy(part.range, oldBytes, newBytes)
            }
            rest = rest.dropping(part.range.count)
            progress(top.length == 0 ? 1 : Double(rest.start) / Double(top.length))
        }
        do { try await top.finish() } catch { throw .writing(error) }
    }

    /// The first bytes of the range, and whether they are known to read the same over both, from tables alone.
    private func suspect(_ range: ByteRange) async throws(Failure) -> (range: ByteRange, isSame: Bool) {
        do throws(BlockError) {
            let now = try await top.status(of: range)
            let part = range.prefix(now.count)
            if now.flags.contains(.allocated) {
                if now.depth == 0 { return (part, true) }
                if let shared, now.depth >= shared { return (part, true) }
            }
            guard now.flags.contains(.zero) else { return (part.prefix(Self.piece), false) }
            guard let new, part.start < new.length else { return (part, true) }
            let then = try await new.status(of: part.intersection(ByteRange(at: 0, count: new.length)))
            let isZero = then.flags.contains(.zero)
            return (part.prefix(isZero ? then.count : min(then.count, Self.piece)), isZero)
        } catch { throw .metadata(error) }
    }

    /// What a storage reads as; past its end that is zeros.
    private func read(_ range: ByteRange, of storage: BlockIO?, _ which: String, into buffer: inout AlignedBuffer)
        async throws(Failure)
    {
        let length = storage?.length ?? 0
        let count = range.start < length ? min(range.count, length - range.start) : 0
        var whole = buffer.mutableBytes
        whole.fill(0, at: Int(count), count: Int(range.count - count))
        guard let storage, count > 0 else { return }
        var part = whole._mutatingExtracting(0..<Int(count))
        do { try await storage.read(at: range.start, into: &part) } catch { throw .reading(which) }
    }

    /// Copies the sectors that differ. The range lies before the old backing file's end, or past it.
    private func copy(_ range: ByteRange, _ old: borrowing AlignedBuffer, _ new: borrowing AlignedBuffer)
        async throws(Failure)
    {
        let end = Int(range.count)
        var from = 0
        while from < end {
            let run = old.bytes.extracting(from..<end).firstRun(
                against: new.bytes.extracting(from..<end), unit: Self.sector)
            if !run.isSame {
                let part = ByteRange(at: range.start + UInt64(from), count: UInt64(run.count))
                let bytes = old.bytes.extracting(from..<from + run.count)
                do throws(BlockError) {
                    if part.start < self.old?.length ?? 0 {
                        try await top.write(at: part.start, from: bytes, flags: [])
                    } else {
                        try await cover(part, zeros: bytes)
                    }
                } catch { throw .writing(error) }
            }
            from += run.count
        }
    }

    /// Lets a run that reads as zeros, since nothing lies below it now, read so over anything: as clusters of zeros where
    /// whole ones do, else as data.
    private func cover(_ run: ByteRange, zeros: RawSpan) async throws(BlockError) {
        guard top.limits.zeroesFast else { return try await top.write(at: run.start, from: zeros, flags: []) }
        let unit = max(top.limits.discardAlignment, 1)
        var rest = run
        while !rest.isEmpty {
            let start = rest.start.roundedDown(to: unit)
            let whole = ByteRange(at: start, count: min(unit, top.length - start))
            let part = rest.prefix(whole.end - rest.start)
            switch try await look(at: whole) {
            case .own: break
            case .zeros: try await top.zero(whole, flags: [])
            case .others:
                let bytes = zeros.extracting(0..<Int(part.count))
                try await top.write(at: part.start, from: bytes, flags: [])
            }
            rest = rest.dropping(part.count)
        }
    }

    /// Whose a cluster, or a subcluster, is.
    private enum Owner { case own, zeros, others }

    private func look(at unit: ByteRange) async throws(BlockError) -> Owner {
        var rest = unit
        while !rest.isEmpty {
            let now = try await top.status(of: rest)
            if now.flags.contains(.allocated), now.depth == 0 { return .own }
            if !now.flags.contains(.zero) { return .others }
            rest = rest.dropping(now.count)
        }
        return .zeros
    }
}
