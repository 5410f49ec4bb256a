import BlockTestKit
import Foundation

/// QEMU's own tools, to make images and to judge ours.
enum QemuTool {
    static let isInstalled = FileManager.default.isExecutableFile(atPath: "/usr/bin/qemu-img")

    struct Output {
        let status: Int32
        let text: String
    }

    struct Failure: Error, CustomStringConvertible {
        let description: String
    }

    @discardableResult
    static func run(_ tool: String, _ arguments: [String], in folder: URL) throws -> Output {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/\(tool)")
        process.arguments = arguments
        process.currentDirectoryURL = folder
        let pipe = Pipe()
        process.standardOutput = pipe
        process.standardError = pipe
        process.standardInput = FileHandle.nullDevice
        try process.run()
        let data = pipe.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        return Output(status: process.terminationStatus, text: String(decoding: data, as: UTF8.self))
    }

    /// Runs a tool that must succeed.
    static func mustRun(_ tool: String, _ arguments: [String], in folder: URL) throws {
        let output = try run(tool, arguments, in: folder)
        if output.status != 0 {
            throw Failure(description: "\(tool) \(arguments.joined(separator: " ")): \(output.status) \(output.text)")
        }
    }
}

/// A folder that goes away with the test.
final class Folder {
    let url: URL

    init() throws {
        url = FileManager.default.temporaryDirectory.appendingPathComponent("nacre-qcow2-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(at: url) }

    func read(_ name: String) throws -> SparseBytes {
        SparseBytes([UInt8](try Data(contentsOf: url.appendingPathComponent(name))))
    }

    func write(_ contents: SparseBytes, _ name: String) throws {
        try Data(contents.array).write(to: url.appendingPathComponent(name))
    }

    /// Makes a qcow2 image with qemu-img and runs qemu-io commands on it.
    func image(_ name: String, size: String, options: String = "", arguments: [String] = [], io: [String] = []) throws {
        let tail = arguments + [name] + (size.isEmpty ? [] : [size])
        try QemuTool.mustRun(
            "qemu-img", ["create", "-q", "-f", "qcow2"] + (options.isEmpty ? [] : ["-o", options]) + tail, in: url)
        if !io.isEmpty { try self.io(name, io) }
    }

    func io(_ name: String, _ commands: [String]) throws {
        let output = try QemuTool.run("qemu-io", ["-f", "qcow2"] + commands.flatMap { ["-c", $0] } + [name], in: url)
        if output.status != 0 { throw QemuTool.Failure(description: "qemu-io \(commands): \(output.text)") }
    }

    /// What qemu-img check says: 0 is clean, 2 errors, 3 leaks.
    func check(_ contents: SparseBytes) throws -> QemuTool.Output {
        try write(contents, "checked.qcow2")
        return try QemuTool.run("qemu-img", ["check", "-f", "qcow2", "checked.qcow2"], in: url)
    }

    /// The guest's view of an image, as QEMU reads it.
    func guestBytes(_ name: String) throws -> SparseBytes {
        try QemuTool.mustRun("qemu-img", ["convert", "-f", "qcow2", "-O", "raw", name, "raw.img"], in: url)
        return try read("raw.img")
    }
}
