import Block
import FoundationEssentials
import QMPTypes

/// A password or key. Its bytes are read where they are used, and nowhere written down: it describes itself by nothing.
struct Secret: CustomStringConvertible, CustomReflectable {
    let bytes: [UInt8]

    var description: String { "secret" }
    var customMirror: Mirror { Mirror(self, children: []) }
}

// The commands of Schema/object.json.
extension Service {
    func objectAdd(_ arguments: ObjectOptions) async throws(QMPError) {
        try await addObject(arguments, isOnCommandLine: false)
    }

    /// What stands on a command line every process of the host can read, so no secret may.
    func addObject(_ arguments: ObjectOptions, isOnCommandLine: Bool) async throws(QMPError) {
        guard Self.isIdentifier(arguments.id) else { throw QMPError("Parameter 'id' expects an identifier") }
        guard secrets[arguments.id] == nil else {
            throw QMPError("attempt to add duplicate property '\(arguments.id)' to object (type 'container')")
        }
        guard case .secret(let properties) = arguments.variant else {
            throw QMPError("Parameter 'qom-type' does not accept value '\(arguments.qomType.rawValue)'")
        }
        if isOnCommandLine, properties.data != nil, !configuration.actsAsQEMU {
            throw QMPError("a secret does not belong on the command line, where everybody can read it: use file=PATH")
        }
        guard secrets.count < Self.secretLimit else { throw QMPError("There are \(Self.secretLimit) secrets already") }
        secrets[arguments.id] = try secret(properties)
    }

    func objectDel(_ arguments: ObjectDelArguments) async throws(QMPError) {
        guard secrets.removeValue(forKey: arguments.id) != nil else {
            throw QMPError("object '\(arguments.id)' not found")
        }
    }

    private func secret(_ properties: SecretProperties) throws(QMPError) -> Secret {
        var bytes: [UInt8]
        switch (properties.data, properties.file) {
        case (nil, nil): throw QMPError("Either 'file' or 'data' must be provided")
        case (_?, _?): throw QMPError("'file' and 'data' are mutually exclusive")
        case (let data?, nil): bytes = Array(data.utf8)
        case (nil, let file?):
            do throws(OpenError) { bytes = try host.contents(of: file, atMost: Self.secretSize) } catch {
                throw QMPError("Unable to read \(file): \(error.message)")
            }
        }
        if properties.format == .base64 {
            // A file that an editor wrote ends its line.
            while let last = bytes.last, last == 0x0A || last == 0x0D { bytes.removeLast() }
            guard let decoded = Data(base64Encoded: Data(bytes)) else {
                throw QMPError("Base64 data contains invalid characters")
            }
            bytes = Array(decoded)
        }
        return Secret(bytes: bytes)
    }

    /// Bytes of the longest file of a secret.
    private static let secretSize = 64 << 10
    /// Secrets at once; more are some client's mistake.
    private static let secretLimit = 1024
}
