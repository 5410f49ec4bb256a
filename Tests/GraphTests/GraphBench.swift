import Block
import BlockTestKit
import Bytes
import Graph
import GraphTestKit
import Testing

/// A graph on a host in memory, and short words for what tests do with it.
final class GraphBench {
    let context: SimulatedContext
    let host = MemoryHost()
    let creator: MemoryCreator
    let graph: Graph
    let notes = Notes()

    final class Notes {
        var warnings: [String] = []
        var opened: [String] = []
        var errors: [IOErrorReport] = []
        var corruptions: [String] = []
    }

    init(_ backing: BackingPolicy = .qemu, actsAsQEMU: Bool = false, seed: UInt64 = 1) {
        context = SimulatedContext(seed: seed)
        creator = MemoryCreator(host)
        let notes = self.notes
        let observer = GraphObserver(
            onCorruption: { name, _ in notes.corruptions.append(name) },
            onIOError: { notes.errors.append($0) }, onBackingOpened: { path, _ in notes.opened.append(path) },
            onWarning: { notes.warnings.append($0) })
        graph = Graph(
            context: context,
            Graph.Configuration(
                opener: host, creator: creator, backing: backing, actsAsQEMU: actsAsQEMU, observer: observer))
    }

    /// Runs `body` on the context, closes the graph, and sees that nothing stays open.
    func run(_ body: @escaping () async throws -> Void) throws {
        try context.complete {
            try await body()
            await self.graph.close()
        }
        #expect(host.openCount == 0, "files stay open")
        #expect(graph.nodes.isEmpty, "nodes stay")
    }

    /// The message that `body` fails with.
    func failure(_ body: () async throws -> Void) async -> String {
        do {
            try await body()
            return "(success)"
        } catch let error as OpenError {
            return error.message
        } catch {
            return "\(error)"
        }
    }

    func attach(_ node: String, writable: Bool = true) async throws -> BlockRoot {
        try await graph.attach("export", to: node, used: writable ? [.consistentRead, .write] : .consistentRead)
    }
}
