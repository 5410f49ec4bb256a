import Block
import Bytes
import Qcow2

/// The first bytes of an image: enough to tell its format, and all of the header cluster where it is qcow2.
struct HeaderCluster {
    private let bytes: [UInt8]

    /// Reads at most 2 MiB, the largest cluster, and no more than the cluster that a qcow2 header claims.
    static func read(_ file: any Storage) async throws(OpenError) -> HeaderCluster {
        let first = try await piece(file, count: min(file.length, 512))
        guard let claimed = Header.clusterSize(claimedBy: first.span.bytes), claimed > 512, file.length > 512 else {
            return HeaderCluster(bytes: first)
        }
        return HeaderCluster(bytes: try await piece(file, count: min(file.length, claimed)))
    }

    private static func piece(_ file: any Storage, count: UInt64) async throws(OpenError) -> [UInt8] {
        var buffer = AlignedBuffer(byteCount: Int(count))
        do {
            var span = buffer.mutableBytes
            try await file.read(at: 0, into: &span)
        } catch {
            throw OpenError("Could not read the image header: \(error)", cause: error)
        }
        return buffer.bytes.array
    }

    var hasMagic: Bool { bytes.starts(with: [0x51, 0x46, 0x49, 0xfb]) }

    func decode() throws(OpenError) -> Header { try Header.decode(bytes.span.bytes) }
}
