import FoundationEssentials
import Glibc

/// A program that a test has started. Its output goes to files of the scratch directory, so that no pipe can fill or be
/// held open by a grandchild. It leads a process group of its own, so that the group can be ended as a whole.
final class Child {
    /// How a program ended.
    enum Ending: Equatable {
        case exited(Int32)
        case killed(signal: Int32)
    }

    /// What a program that has ended left behind.
    struct Outcome {
        let command: String
        let ending: Ending
        let out: String
        let err: String

        /// The exit status; a signal counts as 128 and its number, as a shell has it.
        var status: Int32 {
            switch ending {
            case .exited(let code): code
            case .killed(let signal): 128 + signal
            }
        }
    }

    let pid: pid_t
    let command: String
    private let outPath: String
    private let errPath: String
    private var ending: Ending?

    /// Starts `arguments[0]`, looked up in PATH and the system's own directories.
    init(_ arguments: [String], in directory: String, environment: [String: String] = [:], number: Int) throws {
        command = arguments.joined(separator: " ")
        outPath = "\(directory)/.out-\(number)"
        errPath = "\(directory)/.err-\(number)"
        pid = try Self.spawn(
            arguments, directory: directory, environment: Self.inherited.merging(environment) { _, new in new },
            out: outPath, err: errPath)
    }

    /// What every child sees: no backtracer (it would hold files open after a trap), the C locale, a full PATH.
    private static var inherited: [String: String] {
        var all = ProcessInfo.processInfo.environment
        all["SWIFT_BACKTRACE"] = "enable=no"
        all["LC_ALL"] = "C.UTF-8"
        all["TZ"] = "UTC"
        all["PATH"] = (all["PATH"] ?? "/usr/bin:/bin") + ":/usr/local/sbin:/usr/sbin:/sbin"
        return all
    }

    private static func spawn(
        _ arguments: [String], directory: String, environment: [String: String], out: String, err: String
    ) throws -> pid_t {
        guard let program = Tool.path(arguments[0]), let env = Tool.path("env") else {
            throw Trouble("\(arguments[0]) is not installed")
        }
        // Proof: every C string lives until the call returns and is freed once; the lists end in nil; the attribute
        // objects are initialised before use and destroyed after.
        let words = [env, "--chdir=\(directory)", program] + arguments.dropFirst()
        var argv = unsafe words.map { unsafe strdup($0) } + [nil]
        var envp = unsafe environment.map { unsafe strdup("\($0.key)=\($0.value)") } + [nil]
        let owned = unsafe argv + envp
        defer {
            for index in unsafe owned.indices { unsafe free(owned[index]) }
        }
        var actions = unsafe posix_spawn_file_actions_t()
        var attributes = posix_spawnattr_t()
        unsafe posix_spawn_file_actions_init(&actions)
        unsafe posix_spawnattr_init(&attributes)
        defer {
            unsafe posix_spawn_file_actions_destroy(&actions)
            unsafe posix_spawnattr_destroy(&attributes)
        }
        let writing = O_WRONLY | O_CREAT | O_TRUNC
        unsafe posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        unsafe posix_spawn_file_actions_addopen(&actions, 1, out, writing, 0o600)
        unsafe posix_spawn_file_actions_addopen(&actions, 2, err, writing, 0o600)
        // Nothing that another test of this process has open may live on in a child. Closing what is not open is no error.
        for descriptor: Int32 in 3..<1024 { unsafe posix_spawn_file_actions_addclose(&actions, descriptor) }
        // The threads that run tests block signals, and a child would inherit that and be deaf to SIGTERM.
        var none = sigset_t()
        unsafe sigemptyset(&none)
        unsafe posix_spawnattr_setsigmask(&attributes, &none)
        unsafe posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK))
        unsafe posix_spawnattr_setpgroup(&attributes, 0)
        var pid: pid_t = 0
        let failure = unsafe posix_spawn(&pid, env, &actions, &attributes, &argv, &envp)
        guard failure == 0 else { throw Trouble("cannot start \(arguments[0]): errno \(failure)") }
        return pid
    }

    var out: String { Self.text(outPath) }
    var err: String { Self.text(errPath) }

    private static func text(_ path: String) -> String {
        guard let bytes = try? Data(contentsOf: URL(filePath: path)) else { return "" }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// How it ended, or nil while it runs.
    func poll() -> Ending? {
        if let ending { return ending }
        var status: Int32 = 0
        // Proof: status is a local that outlives the call.
        guard unsafe waitpid(pid, &status, WNOHANG) == pid else { return nil }
        let signal = status & 0x7f
        ending = signal == 0 ? .exited((status >> 8) & 0xff) : .killed(signal: signal)
        return ending
    }

    var isRunning: Bool { poll() == nil }

    /// Waits for the end; a program that takes longer than `seconds` is killed, and that is an error.
    @discardableResult
    func wait(seconds: Double = 60) async throws -> Outcome {
        let done = try await eventually(within: seconds) { self.poll() }
        guard let done else {
            let soFar = "stdout: \(out.suffix(2000))\nstderr: \(err.suffix(2000))"
            await end()
            throw Trouble("\(command) had not ended after \(seconds) s\n\(soFar)")
        }
        return Outcome(command: command, ending: done, out: out, err: err)
    }

    func signal(_ number: Int32) {
        if isRunning { kill(pid, number) }
    }

    /// Ends it and what it has started, at once.
    func end() async {
        kill(-pid, SIGKILL)
        _ = try? await eventually(within: 10) { self.poll() }
        kill(-pid, SIGKILL)
    }
}

/// Asks again and again, at growing intervals, until `answer` has one; nil when `seconds` have passed.
func eventually<Answer>(within seconds: Double, _ answer: () throws -> Answer?) async throws -> Answer? {
    let clock = ContinuousClock()
    let deadline = clock.now + .seconds(seconds)
    var pause = 1.0
    while true {
        if let found = try answer() { return found }
        guard clock.now < deadline else { return nil }
        try? await Task.sleep(for: .milliseconds(pause))
        pause = min(pause * 1.5, 20)
    }
}

/// Why a test could not go on.
struct Trouble: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}
