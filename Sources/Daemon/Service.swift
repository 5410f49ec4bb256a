import Block
import Devices
import Filters
import Graph
import HostIO
import Jobs
import Logging
import Monitor
import NBDServer
import Qcow2
import QMPTypes

/// What a running daemon consists of, on its I/O context; answers the commands of the schema, one file of methods for
/// each of its files.
final class Service: QMPCommands {
    let context: any IOContext
    let host: any DaemonHost
    let configuration: DaemonConfiguration
    let log = Logger(label: "nacre")
    let version: Monitor.Version
    private(set) var graph: Graph!
    private(set) var devices: DeviceSet!
    private(set) var jobs: JobSet!
    private(set) var monitor: Monitor!
    var chardevs: [String: Chardev] = [:]
    /// Monitors listen once all options have been carried out.
    var starts: [() -> Void] = []
    var listeners: [any StreamListener] = []
    /// The one whose first client an option waits for.
    var waitingListener: (any StreamListener)?
    var isStandardInputTaken = false

    /// What all clients together may make the daemon hold.
    let budget: MemoryBudget
    var nbd: NBDServer?
    var nbdListener: (any StreamListener)?
    /// The credentials that the server's connections are made private with.
    var nbdTLS: String?
    var portals: [ISCSIPortal] = []
    var exports: [Export] = []
    /// The ids of exports that are being made, and NBD's names of them.
    var exportsUnderWay: (ids: Set<String>, names: Set<String>) = ([], [])

    /// What initiators are told as serial numbers, by guest device.
    var serials: [String: String] = [:]
    var secrets: [String: Secret] = [:]
    /// The object that stands for the thread, where there is one.
    var mainLoop: String?
    /// The threads that are objects.
    var ioThreads: [String: ThreadObject] = [:]
    /// The groups of limits that are objects.
    var throttleGroups: [String: ThrottleGroup] = [:]
    /// Clients that have negotiated, and the descriptors that each has named.
    var clients = 0
    var named: [ObjectIdentifier: NamedDescriptors] = [:]

    private(set) var isQuitting = false
    private let quitting = WaitQueue()

    init(_ context: any IOContext, _ host: any DaemonHost, _ configuration: DaemonConfiguration) {
        self.context = context
        self.host = host
        self.configuration = configuration
        budget = MemoryBudget(limit: configuration.memory)
        version = Monitor.Version(package: "nacre \(configuration.version)")
        graph = Graph(
            context: context,
            Graph.Configuration(
                opener: host, creator: host, backing: BackingPolicy(configuration.backing),
                actsAsQEMU: configuration.actsAsQEMU, observer: observer()))
        devices = DeviceSet(context: context, graph: graph, observer: deviceObserver())
        jobs = JobSet(context: context) { [weak self] job, event in self?.tell(event, of: job) }
        // Whoever asks for QEMU by name gets what QEMU answers to older words.
        monitor = Monitor(
            context: context, handler: configuration.actsAsQEMU ? self : OlderDialect(self), version: version)
    }

    /// Sends an event to every monitor, with the wall clock's time.
    func tell(_ event: QMPEvent) {
        monitor.broadcast(event, timeUs: host.wallClockUs)
    }

    /// What the graph tells may come from the thread of some disks; all of it is told by the owner.
    private func observer() -> GraphObserver {
        let onOwner = { [weak self, context] (body: @escaping (Service) -> Void) in
            context.onOwner { if let self { body(self) } }
        }
        return GraphObserver(
            onCorruption: { node, report in
                onOwner {
                    $0.log.error("\(node): \(report.message)")
                    $0.tell(.blockImageCorrupted(BlockImageCorruptedEvent(node, report)))
                }
            },
            onFence: { node, error in
                onOwner {
                    $0.log.error(
                        "\(node): a metadata write or a flush failed (\(error)); the image takes no more writes")
                    // Where no client waits, as in a commit by the clock, nobody else tells of it.
                    let report = IOErrorReport(user: "", nodeName: node, operation: .write, error: error)
                    $0.tell(.blockIoError(BlockIoErrorEvent(report)))
                }
            },
            onIOError: { report in onOwner { $0.tell(.blockIoError(BlockIoErrorEvent(report))) } },
            onBackingOpened: { path, image in
                onOwner { $0.log.notice("\(image): its backing file \(path) is opened") }
            },
            onDataFileOpened: { path, image in
                onOwner { $0.log.notice("\(image): its data file \(path) is opened") }
            },
            onWarning: { text in onOwner { $0.log.warning("\(text)") } })
    }

    /// A listener for which clients that have not said yet what they want make room where descriptors run out.
    func listen(on address: HostIO.SocketAddress) throws(OpenError) -> any StreamListener {
        let listener = try host.listen(on: address)
        listener.makeRoom = { [weak self] in self?.nbd?.makeRoom() ?? false }
        return listener
    }

    private func deviceObserver() -> DeviceObserver {
        DeviceObserver(
            onTrayMoved: { [weak self] device, id, isOpen in
                self?.tell(.deviceTrayMoved(DeviceTrayMovedEvent(device: device, id: id, trayOpen: isOpen)))
            },
            onDeleted: { [weak self] id in
                self?.serials[id] = nil
                self?.tell(.deviceDeleted(DeviceDeletedEvent(device: id, path: "/machine/peripheral/\(id)")))
            })
    }

    // MARK: The end

    func beginQuit() {
        isQuitting = true
        quitting.wakeAll()
        waitingListener?.close()
    }

    func waitForQuit() async { while !isQuitting { await quitting.wait() } }

    /// Closes in order: jobs, exports, nodes from the top with their caches flushed, then the monitors.
    func close() async {
        graph.giveUp()
        devices.liftLimits()
        await jobs.close()
        for listener in listeners { listener.close() }
        await stopNBD()
        for export in exports {
            if export.beginRemoval() { await finishRemoval(export) } else { await export.waitUntilGone() }
        }
        // Where an export was still being made.
        for portal in portals { await closePortal(portal) }
        await graph.close()
        await monitor.stop()
    }
}

extension BackingPolicy {
    init(_ backing: DaemonConfiguration.Backing) {
        switch backing {
        case .sealed: self = .sealed
        case .ownFolder: self = .ownFolder
        case .allowed(let folders): self = .allowed(folders)
        case .qemu: self = .qemu
        }
    }
}
