import Block
import BlockTestKit
import Bytes
import Qcow2

extension CrashRun {
    /// Saves a machine's state beside the requests that are under way, and reads it back. No crash may harm the disk by it, and
    /// a snapshot that is made later keeps it as any other cluster.
    func saveVMState(_ range: ByteRange, _ fill: UInt64) async throws {
        guard let state = chain.image.vmState else { return }
        let (io, bytes) = (chain.io, chain.shape.bytes(of: fill, count: Int(range.count)))
        verbs.begin([.vmState])
        defer { verbs.end([.vmState]) }
        let beside = io.beside(state)
        defer { io.resume() }
        let request = takeRequest()
        vmState.issue(request, bytes, at: range.start)
        do throws(BlockError) {
            try await beside.write(bytes, at: range.start)
            vmState.complete(request)
            guard try await beside.bytes(at: range.start, count: bytes.count) != bytes else { return }
        } catch {
            vmState.fail(request)
            return try excuse(error, "a VM state is saved")
        }
        throw Violation("the VM state \(range) does not read as it was saved", .corrupt)
    }

    /// Reads back what was saved.
    func compareVMState() async throws {
        let found: [UInt64: [UInt8]]
        do throws(BlockError) {
            found = try await chain.vmState(at: vmState.sectors.map { ByteRange(at: $0 * 512, count: 512) })
        } catch { return try excuse(error, "a VM state is read") }
        if let wrong = vmState.observe(found) { throw wrong }
    }
}

extension SimulatedChain {
    /// What the top image's VM state reads as, sector by sector. Nothing where it has none.
    func vmState(at ranges: [ByteRange]) async throws(BlockError) -> [UInt64: [UInt8]] {
        guard !ranges.isEmpty, let state = image.vmState else { return [:] }
        let beside = io.beside(state)
        defer { io.resume() }
        var found: [UInt64: [UInt8]] = [:]
        for range in ranges {
            let bytes = try await beside.bytes(at: range.start, count: Int(range.count))
            for index in 0..<range.count / 512 {
                found[range.start / 512 + index] = Array(bytes[Int(index) * 512..<Int(index + 1) * 512])
            }
        }
        return found
    }
}
