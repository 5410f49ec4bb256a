public import Block

/// The folder that credentials lie in, as its host shows it.
public struct TLSFolder {
    /// As it was named.
    let name: String
    /// The same from the root on: the library reads some files when it needs them, and a daemon has gone elsewhere by then.
    let place: String
    /// A file's bytes, `longestFile` at most. Its error has a cause where the file could not be opened.
    private let contents: (String) throws(OpenError) -> [UInt8]

    /// Bytes of the longest file: a system's list of authorities has some hundred thousand.
    public static let longestFile = 4 << 20

    public init(_ name: String, at place: String, contents: @escaping (String) throws(OpenError) -> [UInt8]) {
        self.name = name
        self.place = place
        self.contents = contents
    }

    /// The path of a file that must be there and can be read.
    func path(_ file: String) throws(OpenError) -> String {
        guard let path = try pathIfThere(file) else {
            throw OpenError(
                "Unable to access credentials \(name)/\(file): No such file or directory", cause: .system(2))
        }
        return path
    }

    /// The path of a file, nil where there is none. One that is there and cannot be read is not passed over: it might say who must
    /// not come in.
    func pathIfThere(_ file: String) throws(OpenError) -> String? {
        do throws(OpenError) { _ = try contents("\(place)/\(file)") } catch {
            if error.cause == .system(2) { return nil }
            throw OpenError("Unable to access credentials \(name)/\(file): \(error.message)", cause: error.cause)
        }
        return "\(place)/\(file)"
    }

    /// The hexadecimal digits of a user's key.
    func sharedKey(of username: String, in file: String) throws(OpenError) -> String {
        let text = String(decoding: try contents("\(place)/\(file)"), as: UTF8.self)
        for line in text.split(whereSeparator: \.isNewline) {
            let parts = line.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
            if parts.count == 2, parts[0] == username { return String(parts[1]) }
        }
        throw OpenError("Username \(username) not found in PSK file \(name)/\(file)")
    }
}
