import Block
import Bytes
import QMPTypes

/// A password or key. Its bytes are read where they are used, and nowhere written down: it describes itself by nothing.
struct Secret: CustomStringConvertible, CustomReflectable {
    let bytes: [UInt8]

    var description: String { "secret" }
    var customMirror: Mirror { Mirror(self, children: []) }

    /// Bytes of the longest file of a secret.
    static let longestFile = 64 << 10

    init(bytes: [UInt8]) { self.bytes = bytes }

    /// `isSeenByAll`: the properties stand where everybody on the host can read them, so that none of them is the secret. `contents` reads a
    /// file of so many bytes at most; its error has a cause where the file could not be opened.
    init(
        _ properties: SecretProperties, isSeenByAll: Bool, contents: (String, Int) throws(OpenError) -> [UInt8]
    ) throws(QMPError) {
        if isSeenByAll, properties.data != nil {
            throw QMPError("a secret does not belong on the command line, where everybody can read it: use file=PATH")
        }
        var bytes: [UInt8]
        switch (properties.data, properties.file) {
        case (nil, nil): throw QMPError("Either 'file' or 'data' must be provided")
        case (_?, _?): throw QMPError("'file' and 'data' are mutually exclusive")
        case (let data?, nil): bytes = Array(data.utf8)
        case (nil, let file?):
            do throws(OpenError) { bytes = try contents(file, Self.longestFile) } catch {
                let isClosed = error.cause != nil
                let text = isClosed ? "Failed to open file \u{201C}\(file)\u{201D}: \(error.message)" : error.message
                throw QMPError("Unable to read \(file): \(text)")
            }
        }
        if properties.format == .base64 {
            // A file that an editor wrote ends its line.
            while let last = bytes.last, last == 0x0A || last == 0x0D { bytes.removeLast() }
            guard let decoded = Base64.decode(bytes) else {
                throw QMPError("Base64 data contains invalid characters")
            }
            bytes = decoded
        }
        self.init(bytes: bytes)
    }
}
