import Block
import BlockTestKit
import Bytes
import Qcow2

extension CrashRun {
    /// Amends the image to what a number stands for.
    func amend(_ choice: UInt64) async throws {
        var random = SeededRandom(seed: choice)
        var options = AmendOptions()
        options.version = random.pick([nil, .v2, .v3, .v3])
        options.refcountBits = random.pick([nil, 1, 2, 8, 16, 16, 16, 64])
        options.lazyRefcounts = random.pick([nil, nil, true, false])
        if program.shape.dataFile != .none { options.dataFileIsRaw = random.pick([nil, true, false]) }
        try await amend(options)
    }

    /// Amends one thing, or tries to. The backing file can be confirmed and nothing else.
    func amend(_ amendment: Amendment) async throws {
        try await drain()
        let header = chain.image.header
        let options = amendment.options(for: header)
        if case .backing(let isRight) = amendment {
            let steps = try? options.steps(for: header, chain.image.snapshots)
            verbs.begin([.amendBacking])
            verbs.end([.amendBacking])
            guard isRight ? steps == [] : steps == nil else {
                throw Violation("amending the backing file gives \(steps.map { "\($0)" } ?? "an error")")
            }
        }
        try await amend(options)
    }

    /// Carries out what the options ask for, step by step; each is opened anew. What the guest sees does not change but by a new
    /// size, at no point.
    private func amend(_ options: AmendOptions) async throws {
        let steps: [AmendStep]
        do throws(OpenError) { steps = try options.steps(for: chain.image.header, chain.image.snapshots) } catch {
            return
        }
        for step in steps {
            let verb = options.verb(of: step)
            verbs.begin([verb])
            defer { verbs.end([verb]) }
            guard try await carryOut(step) else { return }
            try await reopen()
        }
    }

    /// Carries out one step; false where the image refuses it, or an I/O has failed.
    private func carryOut(_ step: AmendStep) async throws -> Bool {
        try await drain()
        if case .resize(let size) = step {
            guard chain.image.resizeRefusal(size) == nil else { return false }
            try await refit(to: size, .off)
            return chain.io.length == size
        }
        do { _ = try await settled() } catch {
            try excuse(error, "flush before an amendment")
            return false
        }
        try await drain()
        let (image, disk) = (chain.image, chain.disks[chain.top])
        let leaks = MiniCheck(disk.contents).leaks
        if case .dataFile(let name, _) = step { dataNames.insert(name ?? "") }
        do throws(OpenError) { try await image.amend(step) } catch {
            flushFailed = flushFailed || chain.hasFailedFlush
            // Refcounts that have no room in the new width, a header that has none in its cluster, bitmaps that version 2
            // has not.
            let refusals: [BlockError] = [.invalid, .noSpace, .unsupported]
            if !image.isFenced, let cause = error.cause, refusals.contains(cause) {
                // A name may be there that failed only afterwards; what the image believes is what the file says.
                if case .dataFile = step { dataNames = [image.header.dataFile ?? ""] }
            } else {
                try excuse(error.cause ?? .io, "amend: \(error.message)")
            }
            return false
        }
        if case .dataFile(let name, _) = step { dataNames = [name ?? ""] }
        let check = MiniCheck(disk.contents)
        // What could not be read stays counted.
        guard check.errors.isEmpty, check.leaks <= leaks || mayFail else {
            throw Violation("after \(step): \(check.errors), leaks \(check.leaks)", .corrupt)
        }
        return true
    }
}
