import FoundationEssentials
import Testing

/// The Linux guest of Tests/Guest: a kernel and a busybox that runs a shell script. Its console is all that a test hears
/// of it; a line that starts with `guest: ` is meant for the test.
struct Guest {
    /// Where the built guest is kept between runs.
    static let folder = ProcessInfo.processInfo.environment["NACRE_GUEST_DIR"] ?? "/var/tmp/nacre-guest"

    /// Seconds from boot to power-off. Without hardware virtualisation, on a busy machine, a boot alone takes 40.
    static let limit = 240.0

    let console: Child

    /// Builds the guest if it is not there; cancels the test where its packages cannot be had.
    static func build(_ scratch: Scratch) async throws {
        let built = try await scratch.run(["\(Tool.package)/Tests/Guest/build", folder], seconds: 400)
        guard built.status == 0 else { try Test.cancel("skipped: the guest's packages cannot be had") }
    }

    /// Boots a built guest to run `script`; `words` are QEMU's.
    static func boot(
        _ script: String, _ words: [String], in scratch: Scratch, from folder: String = Guest.folder
    ) throws -> Guest {
        let inside = scratch.file("inside.sh")
        try Data(script.utf8).write(to: URL(filePath: inside))
        return Guest(
            console: try scratch.start(
                ["\(Tool.package)/Tests/Guest/run", folder, inside] + words,
                environment: ["GUEST_TIMEOUT": "\(Int(limit))"]))
    }

    func hasSaid(_ words: String) -> Bool {
        // The last piece is not yet a line.
        console.out.split(separator: "\n", omittingEmptySubsequences: false).dropLast()
            .contains { $0.hasSuffix("guest: \(words)") }
    }

    /// Waits until the guest has said this.
    func says(_ words: String) async throws {
        let said: Bool? = try await eventually(within: Self.limit) {
            let isRunning = console.isRunning
            return hasSaid(words) ? true : isRunning ? nil : false
        }
        guard said == true else { throw Trouble("the guest did not say: \(words)\n\(console.out)\n\(console.err)") }
    }

    /// Waits until the script has ended well and the guest is off; answers its console.
    @discardableResult
    func end() async throws -> String {
        let outcome = try await console.wait(seconds: Self.limit)
        #expect(outcome.status == 0, "\(outcome.out) \(outcome.err)")
        return outcome.out
    }
}
