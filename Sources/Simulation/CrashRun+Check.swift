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
            var said: [String] = []
            let outcome = await OrderAudit.$looksAgain.withValue(true) {
                () async -> Result<Qcow2Check.Result?, BlockError> in
                do throws(BlockError) {
                    return .success(
                        try await image.check(pace: .none) { () async throws(BlockError) in
                            try await walker.flush()
                        } report: {
                            said.append($0)
                        })
                } catch { return .failure(error) }
            }
            guard let result = try outcome.get() else { return }
            if result.checkErrors > 0, mayFail { return reported += 1 }
            guard result.corruptions > 0 || result.checkErrors > 0 else { return }
            fail(Violation("an online check finds \(result.corruptions) corruptions: \(said)", .corrupt))
        }
    }
}
