import FoundationEssentials
import Glibc
import Testing

/// A directory of a test's own, with a short name (a Unix socket's path has 107 bytes), and all that runs in it.
final class Scratch {
    let path: String
    private var children: [Child] = []
    private var others: [pid_t] = []
    private var mounts: [String] = []
    private var started = 0

    private init() throws {
        var name = Array("/tmp/nacre-it-XXXXXX".utf8CString)
        // Proof: name is a writable C string that lives through the call.
        guard unsafe mkdtemp(&name) != nil else { throw Trouble("mkdtemp: errno \(errno)") }
        path = String(decoding: name.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// Runs a test in a fresh directory; whatever happens, what it started is ended and what it made is removed.
    static func use(_ body: (Scratch) async throws -> Void) async throws {
        let scratch = try Scratch()
        do {
            try await body(scratch)
        } catch {
            await scratch.clear()
            throw error
        }
        await scratch.clear()
    }

    private func clear() async {
        for child in children { await child.end() }
        for pid in others { kill(pid, SIGKILL) }
        for mount in mounts { _ = try? await run(["umount", "-l", mount]) }
        try? FileManager.default.removeItem(atPath: path)
    }

    func file(_ name: String) -> String { "\(path)/\(name)" }

    /// A process that the test did not start itself (a daemon in the background), to be ended with the rest.
    func adopt(_ pid: pid_t) { others.append(pid) }

    /// Starts a program in the scratch directory.
    func start(_ arguments: [String], environment: [String: String] = [:]) throws -> Child {
        started += 1
        let child = try Child(arguments, in: path, environment: environment, number: started)
        children.append(child)
        return child
    }

    /// Runs a program to its end, whatever its exit status.
    @discardableResult
    func run(_ arguments: [String], seconds: Double = 60, environment: [String: String] = [:]) async throws
        -> Child.Outcome
    {
        try await start(arguments, environment: environment).wait(seconds: seconds)
    }

    /// Runs a program that has to succeed, and answers what it printed.
    @discardableResult
    func ok(_ arguments: [String], seconds: Double = 60, environment: [String: String] = [:]) async throws -> String {
        let outcome = try await run(arguments, seconds: seconds, environment: environment)
        guard outcome.ending == .exited(0) else {
            throw Trouble("\(outcome.command)\nended with \(outcome.ending)\n\(outcome.out)\n\(outcome.err)")
        }
        return outcome.out
    }

    @discardableResult
    func ok(_ arguments: String..., seconds: Double = 60) async throws -> String {
        try await ok(arguments, seconds: seconds)
    }

    /// Runs a program that has to succeed and print JSON.
    func json(_ arguments: [String]) async throws -> JSONValue { try JSONValue(parsing: await ok(arguments)) }

    func exists(_ name: String) -> Bool { FileManager.default.fileExists(atPath: file(name)) }

    /// Waits until something has made this file, for instance a socket.
    func appears(_ name: String, seconds: Double = 20) async throws -> Bool {
        try await eventually(within: seconds) { self.exists(name) ? true : nil } ?? false
    }

    /// Mounts a small file system in the scratch directory; nil where the host does not let us.
    func mountSmall(_ name: String, mebibytes: Int) async throws -> String? {
        let place = file(name)
        try FileManager.default.createDirectory(atPath: place, withIntermediateDirectories: true)
        let done = try await run(["mount", "-t", "tmpfs", "-o", "size=\(mebibytes)m", "tmpfs", place])
        guard done.status == 0 else { return nil }
        mounts.append(place)
        return place
    }
}

/// At most two tests that start programs run at a time: the machines that check us have few cores, and a test that
/// waits for its turn has no clock running.
struct Paced: SuiteTrait, TestTrait, TestScoping {
    var isRecursive: Bool { true }

    private actor Slots {
        private var free = 2
        private var waiting: [CheckedContinuation<Void, Never>] = []

        func take() async {
            if free > 0 {
                free -= 1
                return
            }
            await withCheckedContinuation { waiting.append($0) }
        }

        func give() {
            if waiting.isEmpty { free += 1 } else { waiting.removeFirst().resume() }
        }
    }
    private static let slots = Slots()

    func provideScope(
        for test: Test, testCase: Test.Case?, performing function: @concurrent @Sendable () async throws -> Void
    ) async throws {
        await Self.slots.take()
        do {
            try await function()
        } catch {
            await Self.slots.give()
            throw error
        }
        await Self.slots.give()
    }
}

extension Trait where Self == Paced {
    static var paced: Paced { Paced() }
}
