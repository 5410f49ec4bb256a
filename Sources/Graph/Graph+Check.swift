public import Block
public import Qcow2

extension Graph {
    /// Checks the image of a node beside those who write to it, and holds them up nowhere. The node stays as long as that.
    public func check(
        _ nodeName: String, pace: Pace, report: @escaping (String) -> Void
    ) async throws(OpenError) -> Qcow2Check.Result {
        var result: Qcow2Check.Result?
        try await use(.node(nodeName), "block-check", used: [], shared: .all) { _ throws(OpenError) in
            guard let id = self.value.find(nodeName), let node = self.live[id], let image = node.image else {
                throw OpenError("Node '\(nodeName)' is no qcow2 image")
            }
            do throws(BlockError) {
                result = try await image.check(
                    pace: pace, flush: { () async throws(BlockError) in try await node.walker.flush() }, report: report)
            } catch .unsupported {
                throw OpenError("Node '\(nodeName)' is read-only, or being checked already", cause: .unsupported)
            } catch { throw OpenError("Check of node '\(nodeName)' failed: \(error.sentence)", cause: error) }
        }
        guard let result else {
            throw OpenError("The tables of node '\(nodeName)' changed again and again; nothing can be said of them")
        }
        return result
    }
}
