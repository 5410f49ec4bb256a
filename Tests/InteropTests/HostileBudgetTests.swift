import FoundationEssentials
import Testing

/// Images that claim a great deal: what they cost is bounded whatever they claim (limits: reliability goals of the
/// project, 64 MiB to look at an image and 256 MiB to check one, and no more than a moment).
@Suite("Images that claim too much", .paced, .onlyNacre, .needs("qemu-img", "qemu-io", "python3"))
struct HostileBudgetTests {
    enum Claim: String, CaseIterable, Sendable {
        case largestL1, manyExtensions, manySnapshots, longHole, deepChain, hugeDisk

        /// Makes `disk.qcow2`.
        func make(_ scratch: Scratch) async throws {
            let image = scratch.file("disk.qcow2")
            let create = ["qemu-img", "create", "-q", "-f", "qcow2"]
            switch self {
            case .largestL1:
                try await scratch.ok(create + ["-o", "cluster_size=512", image, "128G"])
            case .manyExtensions:
                try await scratch.ok(create + ["-o", "cluster_size=2M", image, "64M"])
                var bytes = try ImageBytes(image)
                for at in stride(from: bytes.extensions, to: bytes.clusterSize - 16, by: 8) {
                    bytes.set(0x7777_0000_0000_0000, at: at, width: 8)
                }
                try bytes.save()
            case .manySnapshots:
                try await scratch.ok(create + [image, "1M"])
                try await scratch.ok("truncate", "-s", "16M", image)
                var bytes = try ImageBytes(image)
                bytes.set(65536, at: 60, width: 4)
                bytes.set(1 << 20, at: 64, width: 8)
                try bytes.save()
            case .longHole:
                try await scratch.ok(create + [image, "1M"])
                try await scratch.ok("truncate", "-s", "4T", image)
            case .deepChain:
                try await scratch.ok(create + ["-u", "-b", "c0000.qcow2", "-F", "qcow2", image, "1M"])
                var bytes = try ImageBytes(image)
                let name = Int(bytes.number(at: 8, width: 8))
                for level in 1..<600 {
                    let own = String(10000 + level).dropFirst()
                    try bytes.save(as: scratch.file("c\(own).qcow2"))
                    bytes.set("c\(own).qcow2", at: name, padded: 11)
                }
                try bytes.save()
            case .hugeDisk:
                try await scratch.ok(create + ["-o", "cluster_size=2M", image, "1024T"])
            }
        }
    }

    @Test("R13, R15, R90: looking at it takes a moment and little memory", arguments: Claim.allCases)
    func info(claim: Claim) async throws {
        try await measure(claim, ["info", "-f", "qcow2", "disk.qcow2"], mebibytes: 64)
    }

    @Test("R15, R90: checking it takes bounded memory", arguments: Claim.allCases)
    func check(claim: Claim) async throws {
        try await measure(claim, ["check", "-f", "qcow2", "disk.qcow2"], mebibytes: 256, seconds: 30)
    }

    private func measure(_ claim: Claim, _ words: [String], mebibytes: Int, seconds: Double = 2) async throws {
        try await Scratch.use { scratch in
            try await claim.make(scratch)
            let clock = ContinuousClock()
            let began = clock.now
            let outcome = try await scratch.run(
                ["python3", Tool.script("peak.py"), "peak"] + Subject.img + words, seconds: 60)
            #expect(clock.now - began < .seconds(seconds))
            let peakKiB = try #require(Int(try await scratch.ok("cat", "peak").trimmed))
            #expect(peakKiB < mebibytes << 10, "\(peakKiB) KiB")
            #expect(outcome.status <= 3, "\(outcome.status) \(outcome.err)")
        }
    }
}
