import Block
import BlockTestKit
import Bytes
import Devices
import Graph
import GraphTestKit
import Testing

/// Devices over a graph in memory, and all that is told while they change, in one order.
final class DeviceBench {
    let context: SimulatedContext
    let host = MemoryHost()
    let creator: MemoryCreator
    let graph: Graph
    let devices: DeviceSet
    let notes = Notes()

    /// What was told: events as management sees them, and what initiators see.
    final class Notes: DriveObserver {
        var told: [String] = []
        var warnings: [String] = []
        var errors: [IOErrorReport] = []

        func take() -> [String] {
            defer { told = [] }
            return told
        }

        func driveChangedMedium(_ drive: any Drive) { told.append(drive.isReady ? "found" : "lost") }
        func driveWantsEject(_ drive: any Drive) { told.append("eject?") }
        func driveChangedLength(_ drive: any Drive) { told.append("length \(drive.length)") }
    }

    init(_ backing: BackingPolicy = .qemu, seed: UInt64 = 1) {
        context = SimulatedContext(seed: seed)
        creator = MemoryCreator(host)
        let notes = self.notes
        graph = Graph(
            context: context,
            Graph.Configuration(
                opener: host, creator: creator, backing: backing,
                observer: GraphObserver(
                    onIOError: { notes.errors.append($0) }, onWarning: { notes.warnings.append($0) })))
        devices = DeviceSet(
            context: context, graph: graph,
            observer: DeviceObserver(
                onTrayMoved: { device, id, isOpen in
                    notes.told.append("tray-\(isOpen ? "open" : "closed") \(device) \(id)")
                },
                onDeleted: { notes.told.append("deleted \($0)") }))
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

    /// `ok`, or the message that `body` fails with, behind the class where it is not GenericError.
    func reply(_ body: () async throws -> Void) async -> String {
        do {
            try await body()
            return "ok"
        } catch let error as DeviceError {
            return error.kind == .notFound ? "DeviceNotFound: \(error.message)" : error.message
        } catch let error as OpenError {
            return error.message
        } catch {
            return "\(error)"
        }
    }

    /// A node of the monitor's over a raw file of its own, whose name it has.
    func addNode(_ name: String, bytes: UInt64 = 1 << 16, _ common: CommonOptions = CommonOptions()) async throws {
        host.addRaw(name, bytes: bytes)
        try await graph.add(Make.raw(name, .options(Make.file(name)), common))
    }

    /// A drive under observation.
    func add(_ model: DeviceModel, _ id: String, drive: String? = nil) async throws -> Device {
        let device = try await devices.add(DeviceRequest(model, id: id, drive: drive))
        device.addObserver(notes)
        return device
    }
}
