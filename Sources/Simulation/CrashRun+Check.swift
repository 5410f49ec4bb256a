import Block
import BlockTestKit
import Bytes
import Qcow2

extension CrashRun {
    /// Checks the image while it is open, beside the guest's requests. A sound image is never said to be damaged, whatever is
    /// written meanwhile.
    func check() async {
        let nothing = ByteRange(at: 0, count: 0)
        await admit(nothing, changes: false)
        // One check at a time.
        guard chain.takesChanges, !verbs.underWay.contains(.checkOnline) else { return }
        let (image, walker) = (chain.image, chain.io)
        begin(nothing, changes: false, [.checkOnline]) { [self] (_, _) async throws(BlockError) in
            // It reads tables as they lie there, and finds out afterwards which of them moved: no reader in the sense of O17.
            let audit = chain.disks[chain.top].audit
            audit?.holdsReaders = false
            defer { audit?.holdsReaders = true }
            var said: [String] = []
            let result = try await image.check(pace: .none) { () async throws(BlockError) in
                try await walker.flush()
            } report: {
                said.append($0)
            }
            guard let result else { return }
            if result.checkErrors > 0, mayFail { return reported += 1 }
            guard result.corruptions > 0 || result.checkErrors > 0 else { return }
            fail(Violation("an online check finds \(result.corruptions) corruptions: \(said)", .corrupt))
        }
    }
}
