public import Block
public import Bytes

/// The VM state of an image, as a walker's format of its own: offset 0 is the state's first byte.
///
/// An image keeps the saved state of a machine in the tables of its disk, behind the disk: at the disk's size, rounded up to
/// what an L2 table maps ("Snapshots" in the specification). The disk never shows it; the L1 table becomes longer for it.
/// Internal snapshots keep it with all else that the tables map, and applying one brings it back. What was never written reads
/// as zeros, whatever lies below.
///
/// Where it begins follows from the disk's size, so one of these is good for as long as that stays. A disk that gets another
/// size loses it, and so does one that was to grow and could not: `Qcow2Image.resize` lets go of all that lies past the end
/// first.
///
/// Writes fail as those to the disk do, and with `system(EFBIG)` behind what an L1 table of `Limits.l1Bytes` maps.
public final class VMState: ImageFormat {
    private let image: Qcow2Image
    /// The guest offset of its first byte.
    private let start: UInt64
    public let length: UInt64

    fileprivate init(_ image: Qcow2Image, start: UInt64) {
        self.image = image
        self.start = start
        // Offsets are signed numbers to those who read the same image elsewhere.
        length = UInt64(Int64.max) - start
    }

    private func behindDisk(_ range: ByteRange) -> ByteRange { ByteRange(at: start + range.start, count: range.count) }
    private func inState(_ range: ByteRange) -> ByteRange { ByteRange(at: range.start - start, count: range.count) }

    public var limits: StorageLimits { image.limits }
    public var writeRefusal: BlockError? { image.writeRefusal }
    public var commitUrgency: CommitUrgency { image.commitUrgency }
    public var mapsStraight: Bool { false }

    public func beginRequest() -> RequestToken { image.beginRequest() }
    public func endRequest(_ token: RequestToken) { image.endRequest(token) }

    public func lookup(_ guest: ByteRange) -> Extent { image.lookup(behindDisk(guest)) }
    public func resolve(_ need: TableNeed) async throws(BlockError) { try await image.resolve(need) }

    public func allocate(_ guest: ByteRange) -> Allocation {
        switch image.allocate(behindDisk: behindDisk(guest)) {
        case .ticket(let ticket):
            let (guest, head, tail) = (inState(ticket.guest), inState(ticket.head), inState(ticket.tail))
            let (offset, readsZero) = (ticket.offset, ticket.readsZero)
            return .ticket(
                AllocationTicket(
                    id: ticket.resolved(), guest: guest, head: head, tail: tail, offset: offset, readsZero: readsZero))
        case .needs(let need): return .needs(need)
        case .busy: return .busy
        case .failed(let failure): return .failed(failure)
        }
    }

    /// The image knows its tickets by their number.
    public func publish(_ ticket: consuming AllocationTicket) { image.publish(ticket) }
    public func abandon(_ ticket: consuming AllocationTicket) { image.abandon(ticket) }
    public func settle(_ guest: ByteRange) async { await image.settle(behindDisk(guest)) }

    /// A state is written and read: nothing in it is ever unmapped, zeros are bytes as any.
    public func unmap(_ guest: ByteRange, to target: UnmapTarget) -> UnmapOutcome { .asData(count: guest.count) }

    public func decode(_ guest: ByteRange, into buffer: inout MutableRawSpan, on context: any IOContext)
        async throws(BlockError)
    { try await image.decode(behindDisk(guest), into: &buffer, on: context) }

    public func commit() async throws(BlockError) -> [ByteRange] { try await image.commit() }
    public func noteFullHost() { image.noteFullHost() }
    public func release(_ freed: [ByteRange]) { image.release(freed) }
    /// It has the size that is left behind the disk.
    public func resize(to length: UInt64) async throws(BlockError) { throw .unsupported }

    /// Tells the image's file that a state is saved or loaded.
    public func reach(_ event: FaultEvent) async { await image.file.reach(event) }
}

extension Qcow2Image {
    /// Where the saved state of a machine goes; nil where guest data lies apart, since such an image keeps no snapshots.
    public var vmState: VMState? {
        let start = length.roundedUp(to: geometry.l2Coverage)
        guard !rules.hasDataFile, let start, start <= UInt64(Int64.max) else { return nil }
        return VMState(self, start: start)
    }

    /// Takes a place behind the disk, for which the L1 table must reach as far.
    fileprivate func allocate(behindDisk guest: ByteRange) -> Allocation {
        let index = guest.start >> tableShift
        guard index < Limits.l1Bytes / 8 else { return .failed(writeRefusal ?? .system(27)) }
        if index >= UInt64(l1.count) { return .needs(Need.growL1.at(index)) }
        return allocateMapped(guest)
    }

    /// Makes the L1 table long enough for entry `index`, and by half longer than it was: a state is written from its start on,
    /// and each step writes the whole table. The caller holds `structure`.
    func growL1(for index: UInt64) async throws(BlockError) {
        guard index >= UInt64(l1.count) else { return }
        guard index < Limits.l1Bytes / 8 else { throw .system(27) }
        try await growL1(to: max(index + 1, min(UInt64(l1.count) * 3 / 2, Limits.l1Bytes / 8)))
    }
}
