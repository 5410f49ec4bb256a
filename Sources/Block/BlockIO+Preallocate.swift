public import Bytes

extension BlockIO {
    /// Gives bytes of the disk that have no place yet one of their own, which reads as zeros: what a disk that grew with
    /// `preallocation` has at its new end. Bytes that have a place keep it and what it holds.
    ///
    /// A place is made to read as zeros before a table names it, as with every write: a crash leaves bytes without a place,
    /// or with one that reads as zeros.
    public func preallocate(_ range: ByteRange, _ mode: Preallocation, pace: Pace = .none) async throws(BlockError) {
        if options.isReadOnly { throw .readOnly }
        let range = try check(range, growable: false)
        guard mode != .off else { return }
        switch driver {
        case .storage(let storage):
            if mode == .metadata { throw .unsupported }
            try await storage.occupy(range, mode, pace: pace)
        case .format(let format):
            if format.mapsStraight, mode == .metadata { throw .unsupported }
            try await preallocate(range, of: format, mode, pace)
        }
    }

    private func preallocate(_ range: ByteRange, of format: any ImageFormat, _ mode: Preallocation, _ pace: Pace)
        async throws(BlockError)
    {
        var walk = Walk(token: format.beginRequest())
        defer {
            format.endRequest(walk.token)
            scheduleCommit(format)
        }
        var rest = range
        while !rest.isEmpty {
            try await pace.rest()
            if let refusal = format.writeRefusal { throw refusal }
            // What has piled up goes first; this request holds on to nothing meanwhile.
            if case .now = format.commitUrgency {
                format.endRequest(walk.token)
                defer { walk.token = format.beginRequest() }
                try await flush()
            }
            do throws(BlockError) {
                rest = rest.dropping(try await preallocateFirst(of: rest, of: format, mode, pace, &walk))
            } catch .noSpace {
                try await reclaim(format, &walk)
            }
        }
    }

    /// Gives the first bytes of `rest` a place. Answers how many have one now; 0 means: look again.
    private func preallocateFirst(
        of rest: ByteRange, of format: any ImageFormat, _ mode: Preallocation, _ pace: Pace, _ walk: inout Walk
    ) async throws(BlockError) -> UInt64 {
        let extent = format.lookup(rest)
        let part = rest.prefix(extent.count)
        switch extent.mapping {
        case .unresolved(let need):
            try await format.resolve(need)
            return 0
        case .corrupt: throw .corrupt
        case .data(let offset) where extent.isWritable:
            if format.mapsStraight, let data {
                try await data.occupy(ByteRange(at: offset, count: part.count), mode, pace: pace)
            }
            return part.count
        // Shared with a snapshot, or compressed: there is a place, and the first write finds another.
        case .data, .encoded: return part.count
        // What shows through from below has none, and is not ours to hide.
        case .unallocated where rest.start < backing?.length ?? 0:
            return part.intersection(ByteRange(at: 0, count: backing?.length ?? 0)).count
        case .zero, .unallocated: break
        }
        if mode == .full {
            let piece = part.prefix(Self.zeroPiece)
            let zeros = AlignedBuffer(byteCount: Int(piece.count))
            try await write(piece, of: format, from: zeros.bytes, &walk)
            return piece.count
        }
        switch format.allocate(part) {
        case .needs(let need): try await format.resolve(need)
        case .busy: await format.settle(part)
        case .failed(let failure): throw failure
        case .ticket(let ticket): return try await place(zeros: ticket, in: format, mode)
        }
        return 0
    }

    /// Makes a ticket's place read as zeros and publishes it.
    private func place(zeros ticket: consuming AllocationTicket, in format: any ImageFormat, _ mode: Preallocation)
        async throws(BlockError) -> UInt64
    {
        let count = ticket.guest.count
        let place = ByteRange(
            at: ticket.offset - ticket.head.count, count: ticket.head.count + count + ticket.tail.count)
        var failure: BlockError?
        do throws(BlockError) {
            guard let data else { throw .noMedium }
            if mode == .falloc {
                try await data.zero(place, flags: [])
            } else if !ticket.readsZero {
                try await data.zero(place, flags: .mayUnmap)
            } else if data.limits.growable, place.end > data.length {
                // The file reaches as far as its tables say.
                let last = AlignedBuffer(byteCount: 1)
                try await data.write(at: place.end - 1, from: last.bytes, flags: [])
            }
            try await copyAround(ticket.head, at: place.start, data)
            try await copyAround(ticket.tail, at: ticket.offset + count, data)
        } catch { failure = error }
        if let failure {
            format.abandon(ticket)
            throw failure
        }
        format.publish(ticket)
        return count
    }

    /// What shares a place with new bytes keeps what it reads as.
    private func copyAround(_ part: ByteRange, at offset: UInt64, _ data: any Storage) async throws(BlockError) {
        let inside = part.intersection(ByteRange(at: 0, count: length))
        if !inside.isEmpty { try await copyUp(inside, to: offset, data) }
    }
}
