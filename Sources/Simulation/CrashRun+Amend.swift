import Block
import BlockTestKit
import Bytes
import Qcow2

extension CrashRun {
    /// Amends the image to what a number stands for, step by step; each is opened anew. What the guest sees does not change, at
    /// no point.
    func amend(_ choice: UInt64) async throws {
        var random = SeededRandom(seed: choice)
        var options = AmendOptions()
        options.version = random.pick([nil, .v2, .v3, .v3])
        options.refcountBits = random.pick([nil, 1, 2, 8, 16, 16, 16, 64])
        options.lazyRefcounts = random.pick([nil, nil, true, false])
        if program.shape.dataFile != .none { options.dataFileIsRaw = random.pick([nil, true, false]) }
        let steps: [AmendStep]
        do throws(OpenError) { steps = try options.steps(for: chain.image.header, chain.image.snapshots) } catch {
            return
        }
        for step in steps {
            try await drain()
            do { _ = try await settled() } catch { return try excuse(error, "flush before an amendment") }
            try await drain()
            let (image, disk) = (chain.image, chain.disks[chain.top])
            let leaks = MiniCheck(disk.contents).leaks
            do throws(OpenError) { try await image.amend(step) } catch {
                flushFailed = flushFailed || chain.hasFailedFlush
                // Refcounts that have no room in the new width, a header that has none in its cluster, bitmaps that version 2
                // has not.
                let refusals: [BlockError] = [.invalid, .noSpace, .unsupported]
                if !image.isFenced, let cause = error.cause, refusals.contains(cause) { return }
                return try excuse(error.cause ?? .io, "amend: \(error.message)")
            }
            let check = MiniCheck(disk.contents)
            // What could not be read stays counted.
            guard check.errors.isEmpty, check.leaks <= leaks || mayFail else {
                throw Violation("after \(step): \(check.errors), leaks \(check.leaks)", .corrupt)
            }
            try await reopen()
        }
    }
}
