import FoundationEssentials
import Glibc
import Testing

/// What the budgets need: the build that people run, and something that compiles their counter.
private enum Means {
    static let release = Tool.path("\(Tool.package)/.build/release/nacre")
    static let compiler = Tool.path("cc") ?? Tool.path("clang")
}

/// What a resolved request may cost, counted and not timed: the same on every machine. The numbers are in
/// Tests/Fixtures/budgets.json; a change that moves one changes it there, and says why.
@Suite(
    "Budgets", .paced, .serialized, .onlyNacre,
    .enabled(if: Means.release != nil, "skipped: the release build is missing"),
    .needs("qemu-img", "qemu-io", "python3"))
struct BudgetTests {
    enum Kind: String, CaseIterable, Sendable { case read, write }

    private static let requests = 16_000

    @Test(
        "resolved reads and overwrites allocate nothing",
        .enabled(if: Means.compiler != nil, "skipped: no C compiler"), arguments: Kind.allCases)
    func allocations(kind: Kind) async throws {
        try await Scratch.use { scratch in
            let compiler = try #require(Means.compiler)
            try await scratch.ok(
                compiler, "-shared", "-fPIC", "-O1", "-o", "counter.so", Tool.script("malloc_counter.c"))
            let counter = scratch.file("count")
            try Data(count: 8).write(to: URL(filePath: counter))
            let daemon = try await serve(
                scratch, ["env", "LD_PRELOAD=\(scratch.file("counter.so"))", "MALLOC_COUNT=\(counter)"])
            let made = try await measure(daemon, kind, ["allocations", counter])
            // The program allocated while it started, so the counter counts.
            #expect(try Data(contentsOf: URL(filePath: counter)).contains { $0 != 0 })
            let budget = try budget("allocations per thousand", kind)
            #expect(made * 1000 / Self.requests <= budget, "\(made) allocations")
        }
    }

    @Test("32 requests that come at once share their system calls", .needs("strace"), arguments: Kind.allCases)
    func systemCalls(kind: Kind) async throws {
        try await Scratch.use { scratch in
            let daemon = try await serve(scratch, [])
            let made = try await measure(daemon, kind, ["calls", "\(daemon.child.pid)"])
            #expect(made > 0)
            let budget = try budget("system calls per hundred", kind)
            #expect(made * 100 / Self.requests <= budget, "\(made) calls")
        }
    }

    /// A disk of 32 MiB, all of it data and in the page cache.
    private func serve(_ scratch: Scratch, _ under: [String]) async throws -> Daemon {
        try await scratch.ok("qemu-img", "create", "-q", "-f", "qcow2", "disk.qcow2", "32M")
        try await scratch.io(["write -P 5 0 32M"], "disk.qcow2", format: "qcow2")
        var words = scratch.daemonWords(.init(image: scratch.file("disk.qcow2"), fileOptions: ["aio=io_uring"]))
        words[0] = try #require(Means.release)
        return try await scratch.daemon(words: under + words)
    }

    private func measure(_ daemon: Daemon, _ kind: Kind, _ what: [String]) async throws -> Int {
        let scratch = daemon.scratch
        let words = ["python3", Tool.script("budget.py"), scratch.file(daemon.socket), kind.rawValue]
        let answer = try await scratch.ok(words + ["\(Self.requests)"] + what, seconds: 120)
        return try #require(answer.split(separator: "\n").first.flatMap { Int($0) })
    }

    private func budget(_ what: String, _ kind: Kind) throws -> Int {
        let path = "\(Tool.package)/Tests/Fixtures/budgets.json"
        let all = try JSONDecoder().decode([String: Int].self, from: Data(contentsOf: URL(filePath: path)))
        return try #require(all["\(what) \(kind == .read ? "reads" : "overwrites")"])
    }
}
