import Bytes

// The walk where nothing has to be waited for: most requests of a warm disk. It starts no task and is one atomic step, so
// no request token holds back what is freed meanwhile, for there is no meanwhile. Whatever is not plain, an error too, is
// left to the walk that waits.
extension BlockIO {
    public func readNow(at offset: UInt64, into buffer: inout MutableRawSpan) -> Bool {
        guard let range = ByteRange(checked: offset, count: UInt64(buffer.byteCount)), range.end <= length else {
            return false
        }
        switch driver {
        case .storage(let storage):
            let limits = storage.limits
            guard range.isAligned(to: limits.requestAlignment), range.count <= limits.maxTransfer,
                buffer.isAligned(to: limits.memoryAlignment)
            else { return false }
            return storage.readNow(at: offset, into: &buffer)
        case .format(let format):
            return readNow(range, of: format, into: &buffer)
        }
    }

    private func readNow(_ range: ByteRange, of format: any ImageFormat, into buffer: inout MutableRawSpan) -> Bool {
        var rest = range
        while !rest.isEmpty {
            let extent = format.lookup(rest)
            let part = rest.prefix(extent.count)
            let from = Int(part.start - range.start)
            var target = buffer._mutatingExtracting(from..<from + Int(part.count))
            switch extent.mapping {
            case .data(let offset):
                guard let data, data.readNow(at: offset, into: &target) else { return false }
            case .zero:
                target.fill()
            case .unallocated:
                guard readBackingNow(part, into: &target) else { return false }
            case .unresolved, .encoded, .corrupt:
                return false
            }
            rest = rest.dropping(part.count)
        }
        return true
    }

    private func readBackingNow(_ part: ByteRange, into target: inout MutableRawSpan) -> Bool {
        let count = backingCount(part)
        if let backing, count > 0 {
            var head = target._mutatingExtracting(0..<count)
            guard backing.readNow(at: part.start, into: &head) else { return false }
        }
        target.fill(at: count)
        return true
    }

    /// Only what overwrites data where it lies: a new place is linked by the walk that waits.
    public func writeNow(at offset: UInt64, from bytes: RawSpan) -> Bool {
        guard !options.isReadOnly, options.detectZeroes == .off,
            let range = ByteRange(checked: offset, count: UInt64(bytes.byteCount)), range.end <= length
        else { return false }
        // As for `write`: also where only a part was stored.
        defer { tracker?.changed(range) }
        switch driver {
        case .storage(let storage):
            let limits = storage.limits
            // With an alignment there is an order to keep among those that are widened to it.
            guard limits.requestAlignment == 1, range.count <= limits.maxTransfer,
                bytes.isAligned(to: limits.memoryAlignment)
            else { return false }
            return storage.writeNow(at: offset, from: bytes)
        case .format(let format):
            guard format.writeRefusal == nil, let data else { return false }
            if case .now = format.commitUrgency { return false }
            return writeNow(range, of: format, to: data, from: bytes)
        }
    }

    private func writeNow(_ range: ByteRange, of format: any ImageFormat, to data: any Storage, from bytes: RawSpan)
        -> Bool
    {
        var rest = range
        while !rest.isEmpty {
            let extent = format.lookup(rest)
            guard case .data(let offset) = extent.mapping, extent.isWritable else { return false }
            let part = rest.prefix(extent.count)
            let from = Int(part.start - range.start)
            guard data.writeNow(at: offset, from: bytes.extracting(from..<from + Int(part.count))) else { return false }
            rest = rest.dropping(part.count)
        }
        return true
    }
}
