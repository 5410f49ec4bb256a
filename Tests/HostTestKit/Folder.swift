import FoundationEssentials
public import Glibc

/// A folder of a test's own; it goes away with the test.
public final class Folder: Sendable {
    public let path: String

    public init(in parent: String = "/var/tmp") {
        var name = Array("\(parent)/nacre-XXXXXX".utf8CString)
        // Proof: a writable C string that lives through the call.
        precondition(unsafe mkdtemp(&name) != nil, "no folder can be made in \(parent)")
        path = String(decoding: name.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    /// The path of a file in it.
    public func file(_ name: String) -> String { "\(path)/\(name)" }

    /// Makes a file of these bytes and answers its path.
    @discardableResult
    public func make(_ name: String, _ bytes: [UInt8] = []) -> String {
        _ = FileManager.default.createFile(atPath: file(name), contents: Data(bytes))
        return file(name)
    }

    /// Makes a folder in it and answers its path.
    @discardableResult
    public func makeFolder(_ name: String) -> String {
        try? FileManager.default.createDirectory(atPath: file(name), withIntermediateDirectories: true)
        return file(name)
    }

    /// Makes a symbolic link in it and answers its path.
    @discardableResult
    public func link(_ name: String, to target: String) -> String {
        try? FileManager.default.createSymbolicLink(atPath: file(name), withDestinationPath: target)
        return file(name)
    }
}

/// What the host says about a path.
public func hostStatus(_ path: String) -> stat {
    var info = stat()
    // Proof: one local structure, and a string lent for the call.
    _ = unsafe stat(path, &info)
    return info
}

/// The numbers of the descriptors by which this process has a file open.
public func descriptors(of path: String) -> [Int32] {
    let names = (try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd")) ?? []
    return names.compactMap { name in
        let target = try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/fd/\(name)")
        return target == path ? Int32(name) : nil
    }
}

/// How many descriptors this process has open.
public func descriptorCount() -> Int {
    (try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").count) ?? 0
}

/// Runs a program to its end: its exit status, and all that it printed.
@discardableResult
public func program(_ words: String...) -> (status: Int32, output: String) {
    let line = "PATH=$PATH:/usr/sbin:/sbin; " + words.map { "'\($0)'" }.joined(separator: " ") + " </dev/null 2>&1"
    // Proof: the stream is read by this function alone and closed once.
    guard let stream = unsafe popen(line, "r") else { return (-1, "") }
    var output: [UInt8] = []
    var piece = [UInt8](repeating: 0, count: 4096)
    while true {
        // Proof: the array has room for as many bytes as are asked for.
        let count = unsafe fread(&piece, 1, piece.count, stream)
        if count == 0 { break }
        output += piece.prefix(count)
    }
    let status = unsafe pclose(stream)
    return ((status >> 8) & 0xff, String(decoding: output, as: UTF8.self))
}

/// Whether a program can be run at all.
public func isInstalled(_ name: String) -> Bool { program("which", name).status == 0 }
