import Block
import BlockTestKit
import Bytes
import SCSI

@testable import ISCSI

/// A server on a simulated context with one target, and initiators that connect to it.
final class Bench {
    static let name = "iqn.2026-11.org.nacre:disk"

    let context: SimulatedContext
    let server: ISCSIServer
    let target: ISCSITarget
    let drive: MemoryDrive
    private let seed: UInt64
    private var connected: UInt64 = 0
    /// Connections whose session has ended.
    private(set) var ended = 0

    init(
        seed: UInt64 = 0, order: SimulatedContext.Order = .seeded, blocks: Int = 32 << 10, chap: CHAPSecrets? = nil,
        allowed: [String] = [], budget: MemoryBudget = MemoryBudget()
    ) {
        self.seed = seed
        context = SimulatedContext(seed: seed, order: order)
        server = ISCSIServer(context: context, budget: budget)
        drive = MemoryDrive(blocks: blocks)
        let scsi = SCSITarget(context: context, name: Self.name)
        target = ISCSITarget(name: Self.name, scsi: scsi, allowedInitiators: allowed, chap: chap)
        scsi.attach(drive, lun: 0)
        server.add(target)
    }

    /// A connection, its bytes cut up as the seed wants; whole where `chunks` is false. Call it inside `run`.
    func connect(chunks: Bool = true, capacity: Int = 64 << 10) -> Initiator {
        connected += 1
        let (near, far) = SimulatedStream.pair(
            context, .init(seed: seed &* 1000 &+ connected, chunks: chunks, capacity: capacity))
        context.spawn { [self] in
            await server.serve(far, portal: "10.0.0.1:3260,1")
            ended += 1
        }
        return Initiator(near, context)
    }

    /// An initiator in session, its unit attention taken.
    func initiator(_ keys: [String] = [], isid: UInt64 = 1, chunks: Bool = true) async throws -> Initiator {
        let initiator = connect(chunks: chunks)
        initiator.isid = isid << 16
        try await initiator.logIn(keys)
        _ = try await initiator.command([0])
        return initiator
    }

    /// Runs a test's body to its end.
    func run<Result>(_ body: @escaping () async throws -> Result) throws -> Result {
        try context.complete(body)
    }

    /// Lets everything happen that neither waits for the test nor for a deadline.
    func settle() async { for _ in 0..<5 { await context.sleep(ms: 1) } }
}
