package import Block
import Bytes

/// Tells an image's format by its first bytes. For reading only: what a guest may write is never told by its content.
package enum FormatProbe {
    /// `qcow2` where the magic says so, else `raw`.
    package static func format(of file: any Storage) async throws(OpenError) -> String {
        guard file.length >= 4 else { return "raw" }
        // A sector, so that devices with an alignment answer at once.
        var buffer = AlignedBuffer(byteCount: Int(min(file.length, 512)))
        do {
            var span = buffer.mutableBytes
            try await file.read(at: 0, into: &span)
        } catch {
            throw OpenError("Could not read image for determining its format: \(error.sentence)", cause: error)
        }
        return buffer.bytes.bigEndian(UInt32.self, at: 0) == 0x5146_49fb ? "qcow2" : "raw"
    }
}
