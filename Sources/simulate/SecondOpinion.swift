import BlockTestKit
import Foundation
import Simulation

/// What QEMU's tools say about a crash state.
enum SecondOpinion {
    /// Throws where they find damage other than leaks, or other contents than we did. A state with the dirty bit is
    /// repaired by them first.
    static func ask(_ state: CrashState, _ found: CrashJudge.Found) throws(Violation) {
        let said: String?
        do { said = try complaint(state, found.contents) } catch { said = "\(error)" }
        if let said { throw Violation("qemu-img: \(said)", .corrupt) }
    }

    /// Whether QEMU's own tools find wrong what we did: its check damage, or its reading other contents than allowed, or
    /// none.
    static func confirms(_ violation: Violation, _ state: CrashState) -> Bool {
        let found = try? inFolder(state) { folder, image in
            // Refcounts may be behind where the dirty bit says so.
            if MiniCheck(state.image).isDirty { _ = try run(["check", "-r", "all", "--image-opts", image]) }
            if violation.kind == .corrupt, try run(["check", "--image-opts", image]).code == 2 { return true }
            let raw = folder + "/found.raw"
            guard try run(["convert", "--image-opts", image, "-O", "raw", raw]).code == 0 else { return true }
            let contents = Array(try Data(contentsOf: URL(filePath: raw)))
            return state.point.oracle.judge(afterCrash: contents) != nil
        }
        return found ?? false
    }

    /// Its check of a state, for a report.
    static func text(_ state: CrashState) -> String {
        do { return try inFolder(state) { try run(["check", "--image-opts", $1]).text } } catch { return "\(error)" }
    }

    private static func complaint(_ state: CrashState, _ contents: [UInt8]) throws -> String? {
        try inFolder(state) { folder, image in
            let isDirty = MiniCheck(state.image).isDirty
            let check = try run(["check"] + (isDirty ? ["-r", "all"] : []) + ["--image-opts", image])
            guard check.code == 0 || check.code == 3 else { return "check: \(check.text)" }
            try Data(contents).write(to: URL(filePath: folder + "/found.raw"))
            let compare = try run([
                "compare", "--image-opts", image, "driver=raw,file.filename=\(folder)/found.raw",
            ])
            return compare.code == 0 ? nil : "compare: \(compare.text)"
        }
    }

    /// Puts the whole chain in a folder; its images name one another in ways of their own, so that `body` is told how to
    /// open it.
    private static func inFolder<Result>(
        _ state: CrashState, _ body: (_ folder: String, _ image: String) throws -> Result
    )
        throws -> Result
    {
        let folder = FileManager.default.temporaryDirectory.path() + "nacre-opinion-\(UUID())"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        var options: [String] = []
        func add(_ contents: SparseBytes, _ driver: String, _ prefix: String) throws {
            let file = "\(folder)/\(options.count)"
            try Data(contents.array).write(to: URL(filePath: file))
            options += ["\(prefix)driver=\(driver)", "\(prefix)file.filename=\(file)"]
        }
        var prefix = ""
        for image in [state.image] + state.point.below.reversed() {
            try add(image, "qcow2", prefix)
            prefix += "backing."
        }
        if let base = state.point.base { try add(base, "raw", prefix) }
        if let data = state.data { try add(data, "raw", "data-file.") }
        return try body(folder, options.joined(separator: ","))
    }

    private static func run(_ arguments: [String]) throws -> (code: Int32, text: String) {
        let process = Process()
        let output = Pipe()
        process.executableURL = URL(filePath: "/usr/bin/env")
        process.arguments = ["qemu-img"] + arguments
        (process.standardOutput, process.standardError) = (output, output)
        try process.run()
        let text = output.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        return (process.terminationStatus, String(decoding: text, as: UTF8.self))
    }
}
