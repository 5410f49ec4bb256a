import Block
import Bytes

/// The disks of images, one behind the other.
final class DiskSource: CopySource {
    private struct Disk {
        let chain: ImageChain
        let name: String
        /// Where it begins and ends, in whole sectors.
        let place: ByteRange
    }

    /// How a failure is taken.
    struct Salvage {
        /// Whether what cannot be read becomes zeros.
        var isOn = false
        var warn: (String) -> Void = { _ in }
    }

    private let disks: [Disk]
    private let leavesBacking: Bool
    private let salvage: Salvage
    let isStream: Bool
    /// The run that was asked for last.
    private var known: CopyPart?

    /// `leavesBacking`: what an image leaves to its backing file is told as such.
    init(
        _ chains: [(chain: ImageChain, name: String)], leavesBacking: Bool, isStream: Bool = false,
        salvage: Salvage = Salvage()
    ) throws(ImageError) {
        var disks: [Disk] = []
        var end: UInt64 = 0
        for (chain, name) in chains {
            guard let count = chain.top.length.roundedUpToSector, let place = ByteRange(checked: end, count: count),
                place.end <= UInt64(Int64.max)
            else { throw ImageError("Could not get size of \(name): File too large") }
            disks.append(Disk(chain: chain, name: name, place: place))
            end = place.end
        }
        self.disks = disks
        self.leavesBacking = leavesBacking
        self.isStream = isStream
        self.salvage = salvage
    }

    var length: UInt64? { disks.last?.place.end ?? 0 }

    private func disk(at position: UInt64) throws(ImageError) -> Disk {
        guard let disk = disks.first(where: { $0.place.contains(position) }) else {
            throw ImageError("error while reading at byte \(position): Invalid argument")
        }
        return disk
    }

    func run(at position: UInt64) async throws(ImageError) -> CopyPart {
        if let known, known.range.contains(position) {
            return CopyPart(range: known.range.dropping(position - known.range.start), kind: known.kind)
        }
        let disk = try disk(at: position)
        let (offset, length) = (position - disk.place.start, disk.chain.top.length)
        // The last sector of a file that does not end with one.
        guard offset < length else {
            return CopyPart(range: ByteRange(from: position, to: disk.place.end), kind: .zero)
        }
        let status = try await status(of: ByteRange(from: offset, to: length), disk)
        let kind: CopyPart.Kind =
            leavesBacking && status.depth > 0 ? .backing : status.flags.contains(.zero) ? .zero : .data
        let part = CopyPart(
            range: ByteRange(at: position, count: min(max(status.count, 1), length - offset)), kind: kind)
        known = part
        return part
    }

    /// What the map says. Where that cannot be read it is asked about less and less, and then taken for data.
    private func status(of range: ByteRange, _ disk: Disk) async throws(ImageError) -> BlockStatus {
        var asked = range
        while true {
            do throws(BlockError) { return try await ImageMap.status(of: asked, disk.chain) } catch {
                if error == PipeStorage.isGone { throw ImageError(PipeStorage.wrongOrder.message) }
                let text = "error while reading block status at offset \(range.start): \(error.sentence)"
                guard salvage.isOn else { throw ImageError(text) }
                if asked.count <= 512 {
                    salvage.warn("warning: " + text)
                    return BlockStatus(count: asked.count, flags: [.data, .allocated])
                }
                asked = asked.prefix((asked.count / 512 + 3) / 4 * 512)
            }
        }
    }

    func read(at position: UInt64, into buffer: inout MutableRawSpan) async throws(ImageError) -> Int {
        var done = 0
        while done < buffer.byteCount {
            let disk = try disk(at: position + UInt64(done))
            let offset = position + UInt64(done) - disk.place.start
            let count = Int(min(UInt64(buffer.byteCount - done), disk.place.count - offset))
            var part = buffer._mutatingExtracting(done..<done + count)
            do throws(BlockError) { try await Self.read(disk, at: offset, into: &part) } catch {
                if error == PipeStorage.isGone { throw ImageError(PipeStorage.wrongOrder.message) }
                guard salvage.isOn else {
                    throw ImageError("error while reading at byte \(position + UInt64(done)): \(error.sentence)")
                }
                await rescue(disk, at: offset, into: &part)
            }
            done += count
        }
        return done
    }

    /// Bytes past the end, to the end of the last sector, are zeros.
    private static func read(_ disk: Disk, at offset: UInt64, into buffer: inout MutableRawSpan)
        async throws(BlockError)
    {
        let length = disk.chain.top.length
        let inside = Int(min(UInt64(buffer.byteCount), length > offset ? length - offset : 0))
        buffer.fill(at: inside)
        guard inside > 0 else { return }
        var part = buffer._mutatingExtracting(0..<inside)
        try await disk.chain.top.read(at: offset, into: &part)
    }

    /// Reads sector by sector; those that cannot be read become zeros.
    private func rescue(_ disk: Disk, at offset: UInt64, into buffer: inout MutableRawSpan) async {
        var done = 0
        while done < buffer.byteCount {
            let count = min(512, buffer.byteCount - done)
            var sector = buffer._mutatingExtracting(done..<done + count)
            do throws(BlockError) { try await Self.read(disk, at: offset + UInt64(done), into: &sector) } catch {
                salvage.warn(
                    "warning: error while reading offset \(offset + UInt64(done)): \(error.sentence)")
                sector.fill()
            }
            done += count
        }
    }
}
