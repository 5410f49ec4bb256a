import Block
import Bytes

extension Qcow2Check {
    /// Tables are read in pieces of at most this many bytes.
    static var piece: UInt64 { 1 << 20 }

    /// How far ahead the file is asked for holes.
    private static var holeSpan: UInt64 { 64 << 20 }

    /// Whether a range of the file is known to be a hole.
    private func isHole(_ range: ByteRange) async throws(BlockError) -> Bool {
        if let known = knownRun, known.range.start <= range.start, range.end <= known.range.end { return known.isZero }
        let span = max(range.count, Self.holeSpan)
        let asked = ByteRange(at: range.start, count: min(span, file.length - range.start))
        let status = try await file.status(of: asked)
        let run = ByteRange(at: asked.start, count: min(status.count, asked.count))
        let isZero = status.flags.contains(.zero)
        knownRun = (run, isZero)
        return isZero && range.end <= run.end
    }

    /// Reads a piece of metadata; what lies in a hole or past the file's end is zeros, told by nil where all is.
    func read(_ range: ByteRange) async throws(BlockError) -> AlignedBuffer? {
        let inside = range.intersection(ByteRange(at: 0, count: file.length))
        guard !inside.isEmpty, try await !isHole(inside) else { return nil }
        var buffer = AlignedBuffer(byteCount: Int(range.count))
        var whole = buffer.mutableBytes
        var part = whole._mutatingExtracting(0..<Int(inside.count))
        try await file.read(at: inside.start, into: &part)
        return buffer
    }

    func write(_ value: UInt64, at offset: UInt64) async throws(BlockError) {
        var buffer = AlignedBuffer(byteCount: 8)
        var span = buffer.mutableBytes
        span.storeBigEndian(value, at: 0)
        try await write(buffer.bytes, at: offset)
    }

    func write(_ bytes: RawSpan, at offset: UInt64) async throws(BlockError) {
        knownRun = nil
        try await file.write(at: offset, from: bytes, flags: [])
    }

    /// Calls `body` with the entries (index and value) of a table of 64-bit numbers that are not zero.
    func forEachEntry(
        at offset: UInt64, count: UInt64, _ body: (UInt64, UInt64) async throws(BlockError) -> Void
    ) async throws(BlockError) {
        // Behind the file's end all entries are zero, however many are claimed.
        let inFile = file.length > offset ? (file.length - offset + 7) / 8 : 0
        let end = min(count, inFile)
        var first: UInt64 = 0
        while first < end {
            let part = min(end - first, Self.piece / 8)
            if let range = ByteRange(checked: offset + first * 8, count: part * 8), let table = try await read(range) {
                for index in 0..<part {
                    let entry = table.bytes.bigEndian(UInt64.self, at: Int(index) * 8)
                    if entry != 0 { try await body(first + index, entry) }
                    if index % 1024 == 1023 { try await step(1024) }
                }
            }
            try await step(Self.stepsPerRead)
            first += part
        }
    }

    // MARK: what a walk finds

    /// Reports damage, once however often it is met.
    func corruption(_ message: @autoclosure () -> String, times: UInt32 = 1) {
        guard isFirstWindow else { return }
        result.corruptions += UInt64(times)
        tell(message())
    }

    /// Reports in the first round only.
    func tell(_ message: @autoclosure () -> String) { if isFirstRound { report(message()) } }

    /// Notes that a part could not be read, or would cost too much; then nothing is repaired, for what it references is
    /// unknown. Throws where the check is to end: that was no failure of the part.
    func unreadable(_ what: String) throws(BlockError) {
        if let ending { throw ending }
        guard isFirstWindow else {
            // What the first window had no trouble with has to be counted now as well.
            if result.checkErrors == 0 { throw .io }
            return
        }
        result.checkErrors += 1
        report(what)
    }

    /// Counts one more reference, or several, to each cluster that the bytes touch. Answers whether they are in the file.
    @discardableResult
    func reference(_ offset: UInt64, _ size: UInt64, times: UInt32 = 1, mark: ReferenceCounts.Mark = .none) -> Bool {
        guard size > 0 else { return true }
        let end = offset.addingReportingOverflow(size)
        guard !end.overflow, end.partialValue < file.length || end.partialValue - file.length < geometry.clusterSize
        else {
            corruption(
                "ERROR: counting reference for region exceeding the end of the file by one cluster or more: "
                    + "offset 0x\(hex(offset)) size 0x\(hex(size))", times: times)
            return false
        }
        let bits = UInt64(geometry.clusterBits)
        let (first, last) = (offset >> bits, (end.partialValue - 1) >> bits)
        for cluster in first...last { counts.add(cluster, times: times, mark: mark) }
        touch(first, last)
        return true
    }

    /// Notes which refcount blocks count these clusters.
    func touch(_ first: UInt64, _ last: UInt64) {
        guard isFirstWindow else { return }
        let bits = UInt64(geometry.refcountBlockBits)
        for block in first >> bits...last >> bits where block != lastTouched {
            lastTouched = block
            // No refcount table can hold more; a rebuild finds that out.
            if touchedBlocks.count <= Limits.refcountTableBytes / 8 { touchedBlocks.insert(block) }
        }
    }

    func hex(_ value: UInt64) -> String { String(value, radix: 16) }
}
