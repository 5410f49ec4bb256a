import Block
import BlockTestKit
import Bytes
import DirtyMap
import NBDServer
import NBDWire

/// A server on a simulated context, and clients that connect to it.
final class Bench {
    let context: SimulatedContext
    let server: NBDServer
    private let seed: UInt64
    private var connected: UInt64 = 0
    /// Connections whose session has ended.
    private(set) var ended = 0

    init(
        seed: UInt64 = 0, order: SimulatedContext.Order = .seeded, _ limits: NBDServer.Limits = NBDServer.Limits(),
        budget: MemoryBudget = MemoryBudget()
    ) {
        self.seed = seed
        context = SimulatedContext(seed: seed, order: order)
        server = NBDServer(context: context, limits: limits, budget: budget)
    }

    /// Exports a storage under a name.
    @discardableResult
    func export(
        _ storage: any Storage, as name: String = "disk", isWritable: Bool = true, isWritethrough: Bool = false,
        isMultiConn: Bool = true, description: String? = nil, offersDepth: Bool = false,
        bitmaps: [DirtyBitmap] = []
    ) -> NBDExport {
        let export = NBDExport(
            id: "id-" + name, name: name, description: description, storage: storage, isWritable: isWritable,
            isWritethrough: isWritethrough, isMultiConn: isMultiConn, bitmaps: bitmaps, offersDepth: offersDepth)
        server.add(export)
        return export
    }

    /// A connection, its bytes cut up as the seed wants; whole where `chunks` is false. Call it inside `run`.
    func connect(chunks: Bool = true, capacity: Int = 64 << 10) -> Client {
        connected += 1
        let (near, far) = SimulatedStream.pair(
            context, .init(seed: seed &* 1000 &+ connected, chunks: chunks, capacity: capacity))
        context.spawn { [self] in
            await server.serve(far)
            ended += 1
        }
        return Client(near, context)
    }

    /// The same to a server that asks for TLS, which begins when the client's end says so and then changes nothing.
    func connectSecurable(chunks: Bool = false) -> (client: Client, stream: MarkedStream) {
        let (near, far) = SimulatedStream.pair(context, .init(seed: seed, chunks: chunks))
        let marked = MarkedStream(far)
        context.spawn { [self] in
            await server.serve(marked)
            ended += 1
        }
        return (Client(near, context), marked)
    }

    /// A client in the transmission phase of an export.
    func client(
        _ name: String = "disk", structured: Bool = true, contexts: [String] = [], chunks: Bool = true,
        capacity: Int = 64 << 10
    ) async throws -> Client {
        let client = connect(chunks: chunks, capacity: capacity)
        try await client.begin()
        if structured { _ = try await client.ask(.structuredReply) }
        if !contexts.isEmpty { _ = try await client.ask(.setMetaContext, contextData(name, contexts)) }
        try await client.go(name)
        return client
    }

    /// Runs a test's body to its end.
    func run<Result>(_ body: @escaping () async throws -> Result) throws -> Result {
        try context.complete(body)
    }

    /// Lets everything happen that neither waits for the test nor for a deadline.
    func settle() async {
        for _ in 0..<5 { await context.sleep(ms: 1) }
    }

    /// Lets the others go on for some simulated time.
    func sleep(ns: UInt64) async {
        await suspend { (suspension: Suspension<Void>) in
            context.schedule(afterNs: ns) { suspension.resume() }
        }
    }
}

/// A disk of stripes of data, each followed by a hole of its length.
func stripedDisk(_ context: SimulatedContext, stripes: Int, stripe: UInt64 = 64 << 10, seed: UInt64 = 1) -> SimDisk {
    var random = SeededRandom(seed: seed)
    var contents = SparseBytes(length: UInt64(stripes) * 2 * stripe)
    for index in 0..<UInt64(stripes) {
        let bytes = random.bytes(Int(stripe))
        contents.write(bytes.rawBytes, at: index * 2 * stripe)
    }
    return SimDisk(context, contents: contents, SimDisk.Options(seed: seed))
}
