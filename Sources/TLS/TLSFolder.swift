public import Block

/// The folder that credentials lie in, as its host shows it.
public struct TLSFolder {
    let name: String
    /// The text of a file, at most as long as a file of keys may be. Its error has a cause where the file could not be opened.
    private let contents: (String) throws(OpenError) -> [UInt8]

    public init(_ name: String, contents: @escaping (String) throws(OpenError) -> [UInt8]) {
        self.name = name
        self.contents = contents
    }

    /// The path of a file that must be there.
    func path(_ file: String) throws(OpenError) -> String {
        try TLSCredentials.load()
        let path = "\(name)/\(file)"
        do throws(OpenError) { _ = try contents(path) } catch {
            throw OpenError("Unable to access credentials \(path): \(error.message)", cause: error.cause)
        }
        return path
    }

    /// The path of a file, where it is there.
    func pathIfThere(_ file: String) -> String? {
        let path = "\(name)/\(file)"
        return (try? contents(path)) == nil ? nil : path
    }

    /// The hexadecimal digits of a user's key.
    func sharedKey(of username: String, in path: String) throws(OpenError) -> String {
        let text = String(decoding: try contents(path), as: UTF8.self)
        for line in text.split(whereSeparator: \.isNewline) {
            let parts = line.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
            if parts.count == 2, parts[0] == username { return String(parts[1]) }
        }
        throw OpenError("Username \(username) not found in PSK file \(path)")
    }
}
