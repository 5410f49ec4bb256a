public import Bytes

extension BlockIO {
    /// What is known about the first bytes of `range` through the whole chain below this node.
    public func status(of range: ByteRange) async throws(BlockError) -> BlockStatus {
        let range = try check(range, growable: false)
        guard !range.isEmpty else { throw .invalid }
        switch driver {
        case .storage(let storage):
            return try await storage.status(of: range)
        case .format(let format):
            let token = format.beginRequest()
            defer { format.endRequest(token) }
            return try await status(of: range, format)
        }
    }

    private func status(of range: ByteRange, _ format: any ImageFormat) async throws(BlockError) -> BlockStatus {
        while true {
            let extent = format.lookup(range)
            let part = range.prefix(extent.count)
            switch extent.mapping {
            case .unresolved(let need):
                try await format.resolve(need)
            case .corrupt:
                throw .corrupt
            case .data(let offset):
                return try await dataStatus(part, at: offset)
            case .encoded:
                return BlockStatus(count: part.count, flags: [.data, .allocated, .encoded], holder: file)
            case .zero(let place):
                return BlockStatus(count: part.count, flags: [.zero, .allocated], offset: place, holder: data)
            case .unallocated(let reserved):
                return try await backingStatus(part, reserved)
            }
        }
    }

    /// Data of this layer; holes of the file below it are known to read as zeros.
    private func dataStatus(_ part: ByteRange, at offset: UInt64) async throws(BlockError) -> BlockStatus {
        guard let data else { throw .noMedium }
        var result = BlockStatus(count: part.count, flags: [.data, .allocated], offset: offset, holder: data)
        guard refinesData else { return result }
        guard offset < data.length else {
            // The rest of a file's last sector.
            result.flags = [.zero, .allocated]
            return result
        }
        let below = try await data.status(of: ByteRange(at: offset, count: min(part.count, data.length - offset)))
        // Data up to the file's end fills its last block, beyond the end too.
        let end = offset + below.count
        let isWhole = end == data.length && below.flags.contains(.data) && !below.flags.contains(.zero)
        let whole = isWhole ? end.roundedUp(to: data.limits.blockSize) ?? end : end
        result.count = min(part.count, whole - offset)
        result.flags = below.flags.union(.allocated)
        return result
    }

    /// Only formats that map straight through tell data from holes by asking the file: elsewhere the tables know.
    private var refinesData: Bool {
        guard case .format(let format) = driver else { return false }
        return format.mapsStraight
    }

    private func backingStatus(_ part: ByteRange, _ reserved: UInt64?) async throws(BlockError) -> BlockStatus {
        guard let backing, part.start < backing.length else {
            return BlockStatus(
                count: part.count, flags: [.zero], offset: reserved, holder: reserved == nil ? nil : data)
        }
        let below = part.intersection(ByteRange(at: 0, count: backing.length))
        var result = try await backing.status(of: below)
        result.depth += 1
        return result
    }
}
