import BlockTestKit
import Bytes
import Foundation
import Simulation

/// A running `qemu-io` on a qcow2 image whose file lies under QEMU's `blklogwrites`.
final class QemuIO {
    private let folder: String
    private let process = Process()
    private let input = Pipe()
    private let output = Pipe()
    private let log: FileHandle
    private var position = UInt64(WriteLog.Superblock.size)
    private var seen: UInt64 = 0

    /// The folder has the image `top.qcow2` and what it stands on.
    init(_ program: String, in folder: String, discards: Bool) throws {
        self.folder = folder
        try Data().write(to: URL(filePath: folder + "/log"))
        let discard = discards ? "unmap" : "ignore"
        process.executableURL = URL(filePath: "/usr/bin/env")
        process.currentDirectoryURL = URL(filePath: folder)
        process.arguments = [
            program, "-t", "writeback", "-d", discard, "--image-opts",
            "driver=qcow2,discard=\(discard),file.driver=blklogwrites,file.discard=\(discard)"
                + ",file.log-super-update-interval=1,file.log.driver=file,file.log.filename=log"
                + ",file.file.driver=file,file.file.discard=\(discard),file.file.filename=top.qcow2",
        ]
        (process.standardInput, process.standardOutput, process.standardError) = (input, output, output)
        try process.run()
        log = try FileHandle(forReadingFrom: URL(filePath: folder + "/log"))
        _ = try waitForPrompt()
    }

    /// Carries out a step and answers what it wrote meanwhile.
    func perform(_ step: Step) throws -> [(WriteLog.Entry, [UInt8])] {
        guard let command = try command(step) else { return [] }
        try input.fileHandleForWriting.write(contentsOf: Data((command + "\n").utf8))
        let said = try waitForPrompt()
        guard !said.contains("failed") else { throw Violation("qemu-io: \(command): \(said)") }
        return try newEntries()
    }

    func quit() {
        try? input.fileHandleForWriting.write(contentsOf: Data("quit\n".utf8))
        try? input.fileHandleForWriting.close()
        process.waitUntilExit()
        try? log.close()
    }

    private func command(_ step: Step) throws -> String? {
        switch step {
        case .write(let range, let fua, let fill):
            var source = SeededRandom(seed: fill)
            try Data(source.bytes(Int(range.count))).write(to: URL(filePath: folder + "/pattern"))
            return "write -q \(fua ? "-f " : "")-s pattern \(range.start) \(range.count)"
        case .writeZeros(let range): return "write -q -P 0 \(range.start) \(range.count)"
        case .zero(let range, let mayUnmap, let fua):
            return "write -q -z \(mayUnmap ? "-u " : "")\(fua ? "-f " : "")\(range.start) \(range.count)"
        case .discard(let range): return "discard -q \(range.start) \(range.count)"
        case .flush: return "flush"
        default: return nil
        }
    }

    private func waitForPrompt() throws -> String {
        var said = ""
        while !said.hasSuffix("qemu-io> ") {
            let more = output.fileHandleForReading.availableData
            guard !more.isEmpty else { throw Violation("qemu-io ended: \(said)") }
            said += String(decoding: more, as: UTF8.self)
        }
        return said
    }

    private func newEntries() throws -> [(WriteLog.Entry, [UInt8])] {
        // The log begins with the first write.
        guard try log.seekToEnd() > 0 else { return [] }
        let superblock = try WriteLog.Superblock(bytes(WriteLog.Superblock.size, at: 0))
        var entries: [(WriteLog.Entry, [UInt8])] = []
        while seen < superblock.count {
            let entry = try WriteLog.Entry(
                bytes(superblock.sectorSize, at: position), sectorSize: superblock.sectorSize)
            position += UInt64(superblock.sectorSize)
            entries.append((entry, try bytes(entry.payload, at: position)))
            position += UInt64(entry.payload)
            seen += 1
        }
        return entries
    }

    private func bytes(_ count: Int, at offset: UInt64) throws -> [UInt8] {
        guard count > 0 else { return [] }
        try log.seek(toOffset: offset)
        let data = try log.read(upToCount: count) ?? Data()
        // Zeros that were written last may not have made the log longer.
        return Array(data) + [UInt8](repeating: 0, count: count - data.count)
    }
}
