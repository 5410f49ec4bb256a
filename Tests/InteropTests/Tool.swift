import FoundationEssentials
import Glibc
import Testing

/// A program that a test needs. Where it is missing the test says so and is skipped.
struct Tool {
    /// The full path of a program, or nil where it is not installed.
    static func path(_ name: String) -> String? {
        if name.contains("/") { return isProgram(name) ? name : nil }
        let path = ProcessInfo.processInfo.environment["PATH"] ?? ""
        let folders = path.split(separator: ":").map(String.init) + ["/usr/local/sbin", "/usr/sbin", "/sbin"]
        return folders.map { "\($0)/\(name)" }.first(where: isProgram)
    }

    private static func isProgram(_ path: String) -> Bool { FileManager.default.isExecutableFile(atPath: path) }

    /// Where the package stands: this file is Tests/InteropTests/Tool.swift in it.
    static let package: String = {
        let folders = #filePath.split(separator: "/")
        return "/" + folders.dropLast(3).joined(separator: "/")
    }()

    /// A script that stands beside the tests.
    static func script(_ name: String) -> String { "\(package)/Tests/InteropScripts/\(name)" }

    /// A Python that has the `qemu.qmp` package: the environment that `make check` made, or the one in PATH.
    static let pythonWithQMP: String? = {
        let candidates = ["\(package)/.build/python/bin/python", "\(package)/.build/venv/bin/python", path("python3")]
        return candidates.compactMap(\.self).first { hasQMP($0) }
    }()

    private static func hasQMP(_ python: String) -> Bool {
        guard let python = path(python),
            let child = try? Child([python, "-c", "import qemu.qmp"], in: "/tmp", number: Int(getpid()))
        else { return false }
        defer {
            try? FileManager.default.removeItem(atPath: "/tmp/.out-\(getpid())")
            try? FileManager.default.removeItem(atPath: "/tmp/.err-\(getpid())")
        }
        for _ in 0..<1000 {
            if let ending = child.poll() { return ending == .exited(0) }
            usleep(10_000)
        }
        return false
    }
}

extension Trait where Self == ConditionTrait {
    /// Skips the test, and says why, where one of these programs is not installed.
    static func needs(_ tools: String...) -> ConditionTrait {
        let missing = tools.filter { Tool.path($0) == nil }
        return .enabled(if: missing.isEmpty, "skipped: \(missing.joined(separator: ", ")) not installed")
    }

    /// Skips the test where it would need root and we are not.
    static var needsRoot: ConditionTrait { .enabled(if: geteuid() == 0, "skipped: needs root") }

    /// Skips the test where the program under test is QEMU's (see `Subject`), which lacks what it is about.
    static var onlyNacre: ConditionTrait { .disabled(if: Subject.isPeer, "skipped: QEMU's tools have no such thing") }

    static var needsPythonClient: ConditionTrait {
        .enabled(if: Tool.pythonWithQMP != nil, "skipped: the Python package qemu.qmp is not installed")
    }
}
