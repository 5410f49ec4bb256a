import Glibc

/// A program that holds a lock on a file, as far as the kernel tells us.
///
/// A lock of an open file description has no owner that could be asked for (`F_OFD_GETLK` answers -1), but
/// `/proc/PID/fdinfo/N` lists the locks that were taken through a descriptor (proc(5)). Processes of other users cannot
/// be looked into without privilege; they are not found.
struct LockHolder: Equatable {
    let name: String
    let process: Int

    /// What a walk looks at, at the most: after a refusal somebody waits for the answer.
    private static let mostProcesses = 10_000
    private static let mostDescriptors = 100_000
    /// Holders that are named; more do not help anybody.
    private static let mostNamed = 3
    /// Bytes of the texts that are read.
    private static let longestText = 16 << 10

    /// Who has locked this byte of the file; blocks for the time of the system calls.
    static func all(of file: FileIdentity, byte: Int64) -> [LockHolder] {
        var found: [LockHolder] = []
        var descriptors = 0
        for process in numbers(in: "/proc").prefix(mostProcesses) {
            let folder = "/proc/\(process)"
            for descriptor in numbers(in: folder + "/fd") where descriptors < mostDescriptors {
                descriptors += 1
                guard identity(of: "\(folder)/fd/\(descriptor)") == file,
                    locks(byte, in: text(of: "\(folder)/fdinfo/\(descriptor)"))
                else { continue }
                found.append(LockHolder(name: name(of: folder), process: process))
                break
            }
            if found.count == mostNamed { break }
        }
        return found
    }

    /// `It is open in qemu-system-x86_64 (process 4711).`
    static func sentence(_ holders: [LockHolder]) -> String {
        "It is open in \(holders.map { "\($0.name) (process \($0.process))" }.joined(separator: ", "))."
    }

    /// Whether one of the lines `lock: 1: OFDLCK ADVISORY READ -1 08:01:1234 100 100` spans the byte.
    static func locks(_ byte: Int64, in text: String) -> Bool {
        text.split(separator: "\n").contains { line in
            let words = line.split(whereSeparator: \.isWhitespace)
            guard words.first == "lock:", words.count >= 3, let start = Int64(words[words.count - 2]) else {
                return false
            }
            let end = words[words.count - 1] == "EOF" ? Int64.max : Int64(words[words.count - 1]) ?? -1
            return start <= byte && byte <= end
        }
    }

    private static func numbers(in folder: String) -> [Int] {
        HostFolder.names(in: folder).compactMap { Int($0) }.sorted()
    }

    private static func identity(of path: String) -> FileIdentity? {
        var info = stat()
        // Proof: one local structure, and a string lent for the call.
        guard unsafe stat(path, &info) == 0 else { return nil }
        return FileIdentity(device: UInt64(info.st_dev), inode: UInt64(info.st_ino))
    }

    private static func text(of path: String) -> String {
        let bytes = (try? HostText.contents(of: path, atMost: longestText)) ?? []
        return String(decoding: bytes, as: UTF8.self)
    }

    /// The program's file name, or what the kernel calls the process, which is cut short.
    private static func name(of folder: String) -> String {
        let program = HostPath.destination(of: folder + "/exe")
        let last = program?.split(separator: "/").last.map(String.init)?.replacing(" (deleted)", with: "")
        return last ?? text(of: folder + "/comm").split(separator: "\n").first.map(String.init) ?? "a program"
    }
}
