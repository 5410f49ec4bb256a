import Block
import BlockTestKit
import Bytes
import DirtyMap
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
        let (header, snapshots) = (chain.image.header, chain.image.snapshots)
        do throws(OpenError) { steps = try options.steps(for: header, snapshots) } catch {
            guard options.mayBeRefused(header, snapshots) else { throw Violation("refused: \(error.message)") }
            return
        }
        guard !options.mayBeRefused(header, snapshots) else { throw Violation("not refused: \(steps)") }
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
            if let refusal = chain.image.resizeRefusal(size) {
                let isRight = size % 512 != 0 || chain.image.header.version == 2 && !snapshots.isEmpty
                guard isRight else { throw Violation(refusal.message) }
                return false
            }
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
            if case .dataFile = step, !image.isFenced { dataNames = [image.header.dataFile ?? ""] }
            guard !image.isFenced, isExpected(error.cause, of: step, on: image, disk) else {
                try excuse(error.cause ?? .io, "amend: \(error.message)")
                return false
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

    /// Whether an image has cause to refuse a step that its options allow: refcounts without room in the new width, and bitmaps
    /// that version 2 has not.
    private func isExpected(
        _ cause: BlockError?, of step: AmendStep, on image: Qcow2Image, _ disk: SimDisk
    ) -> Bool {
        switch step {
        case .refcountBits(let bits) where bits < 64:
            cause == .invalid && MiniCheck(disk.contents).refcounts.values.contains { $0 >= 1 << UInt64(bits) }
        case .downgrade: cause == .unsupported && image.bitmaps.all.contains(where: \.isPersistent)
        default: false
        }
    }
}

extension AmendOptions {
    /// Whether something that they ask for cannot be, by what the specification and QEMU say of version 2 and of data files.
    fileprivate func mayBeRefused(_ header: Header, _ snapshots: [Snapshot]) -> Bool {
        let newVersion = version.map { UInt32($0.rawValue) } ?? header.version
        let bits = refcountBits ?? Int(header.geometry.refcountBits)
        if newVersion == 2 {
            if bits != 16 || lazyRefcounts == true && !header.compatible.contains(.lazyRefcounts) { return true }
            let size = size ?? header.size
            if header.version == 3, header.hasDataFile || header.geometry.hasExtendedL2 { return true }
            if header.version == 3, header.autoclear.contains(.bitmaps) { return true }
            if header.version == 3, snapshots.contains(where: { $0.diskSize != nil && $0.diskSize != size }) {
                return true
            }
        }
        if let dataFile, !dataFile.isEmpty, !header.hasDataFile { return true }
        if dataFileIsRaw == true, !header.autoclear.contains(.rawExternalData) { return true }
        let namesBacking = backingFile != nil || backingFormat != nil
        return namesBacking && (backingFile != header.backingFile || backingFormat != header.backingFormat)
    }
}
