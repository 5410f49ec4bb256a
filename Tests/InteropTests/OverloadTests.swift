import FoundationEssentials
import Glibc
import Testing

/// Clients that do no good, by the hundred, and an honest one among them.
///
/// Times are medians of 15 attempts: whoever waits for others because the daemon lets it wait does so each time, while a
/// busy machine delays one attempt or another.
@Suite("Overload", .paced, .serialized, .onlyNacre, .needs("qemu-img", "qemu-io", "nbdinfo", "python3", "prlimit"))
struct OverloadTests {
    /// What is loaded, and what stays free for an honest question.
    enum Load: String, CaseIterable, Sendable {
        case crowd, deaf, flood, mute, all

        var words: [String] {
            switch self {
            case .crowd: ["idle", "slow"]
            case .deaf: ["deaf"]
            case .flood: ["flood"]
            case .mute: ["mute"]
            case .all: ["idle", "slow", "deaf", "flood"]
            }
        }
        /// A monitor has one client at a time.
        var leavesMonitor: Bool { self == .crowd || self == .deaf }
    }

    /// What all clients may take, stated to the daemon.
    static let budgetMiB = 128
    /// What the daemon may take besides: its code, its images' caches, its monitors.
    static let baseMiB = 96

    /// The release build where there is one, as `make check` has it: what is measured is what people run.
    private static let release = Tool.path("\(Tool.package)/.build/release/nacre")
    /// How long an honest client may take; the debug build takes some ten times as long for everything.
    private static let limitMs = release == nil ? 1000.0 : 100

    @Test(
        "R35: an honest client is served within 100 ms, memory stays in its budget, and the end takes less than 5 s",
        arguments: ["1024:4096", "1024:1024"], Load.allCases)
    func served(descriptors: String, load: Load) async throws {
        try await Scratch.use { scratch in
            let daemon = try await serve(scratch, descriptors)
            let sockets = [scratch.file(daemon.socket), daemon.monitorPath]
            let script = ["python3", Tool.script("overload.py")]
            let crowd = try scratch.start(script + ["load"] + sockets + load.words)
            let isLoaded = try await eventually(within: 60) {
                crowd.out.contains("ready") || !crowd.isRunning ? true : nil
            }
            #expect(isLoaded == true && crowd.isRunning, "the load did not come up: \(crowd.err)")
            let answer = try await scratch.ok(
                script + ["honest", sockets[0], load.leavesMonitor ? sockets[1] : "-", "15"], seconds: 120)
            for line in answer.split(separator: "\n") {
                let words = line.split(separator: " ")
                let times = words.dropFirst().compactMap { Double($0) }
                try #require(times.count == 15)
                #expect(times[7] < Self.limitMs, "\(words[0]): \(times) ms")
            }
            #expect(crowd.isRunning && crowd.err.isEmpty, "the load broke off: \(crowd.err)")
            let peak = try peakMiB(daemon.child.pid)
            #expect(peak < Self.budgetMiB + Self.baseMiB, "\(peak) MiB")
            let took = try await end(daemon)
            #expect(took < .seconds(5))
            print(
                "\(load.rawValue), \(descriptors) descriptors: "
                    + answer.split(separator: "\n").map { median(String($0)) }.joined(separator: ", ")
                    + ", \(peak) MiB, the end \(took)")
        }
    }

    @Test("where images hold most descriptors, a crowd of idle clients keeps no honest one waiting, nor a monitor's")
    func fewDescriptors() async throws {
        try await Scratch.use { scratch in
            // Of 64 descriptors the server leaves 16 to others; these 24 images take more.
            var images: [String] = []
            for index in 0..<24 {
                try await scratch.ok("truncate", "-s", "1M", "\(index).raw")
                images += ["--blockdev", "driver=file,node-name=more\(index),filename=\(index).raw"]
            }
            let daemon = try await serve(scratch, "64:64", images)
            let sockets = [scratch.file(daemon.socket), daemon.monitorPath]
            let script = ["python3", Tool.script("overload.py")]
            let crowd = try scratch.start(script + ["load"] + sockets + ["idle", "slow"])
            let isLoaded = try await eventually(within: 60) {
                crowd.out.contains("ready") || !crowd.isRunning ? true : nil
            }
            #expect(isLoaded == true && crowd.isRunning, "the load did not come up: \(crowd.err)")
            let answer = try await scratch.ok(script + ["honest"] + sockets + ["15"], seconds: 120)
            for line in answer.split(separator: "\n") {
                let times = line.split(separator: " ").dropFirst().compactMap { Double($0) }
                try #require(times.count == 15)
                #expect(times[7] < Self.limitMs, "\(line)")
                print("few descriptors: \(median(String(line)))")
            }
            #expect(try await end(daemon) < .seconds(5))
        }
    }

    private func median(_ line: String) -> String {
        let words = line.split(separator: " ")
        return "\(words[0]) \(words[8]) ms (\(words[1]) to \(words[15]))"
    }

    private func serve(_ scratch: Scratch, _ descriptors: String, _ more: [String] = []) async throws -> Daemon {
        try await scratch.ok("qemu-img", "create", "-q", "-f", "qcow2", "disk.qcow2", "64M")
        try await scratch.io(["write -P 5 0 8M"], "disk.qcow2", format: "qcow2")
        var words = scratch.daemonWords(
            .init(image: scratch.file("disk.qcow2"), words: ["--memory", "\(Self.budgetMiB)M"] + more))
        words[0] = Self.release ?? Subject.nacre
        return try await scratch.daemon(words: ["prlimit", "--nofile=\(descriptors)"] + words)
    }

    /// The most memory that the process held so far.
    private func peakMiB(_ pid: pid_t) throws -> Int {
        let status = try String(contentsOf: URL(filePath: "/proc/\(pid)/status"), encoding: .utf8)
        let line = try #require(status.split(separator: "\n").first { $0.hasPrefix("VmHWM:") })
        return try #require(line.split(separator: " ").compactMap { Int($0) }.first) >> 10
    }

    /// How long the daemon takes to end in order, with its load upon it.
    private func end(_ daemon: Daemon) async throws -> Duration {
        let clock = ContinuousClock()
        let began = clock.now
        try await daemon.stop()
        return clock.now - began
    }
}
