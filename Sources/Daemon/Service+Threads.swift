import Block
import Graph
import HostIO
import QMPTypes

/// An object that is a thread.
struct ThreadObject {
    let thread: any ServingThread
    var polling: PollingOptions {
        didSet { thread.setPolling(polling) }
    }
}

// The objects `iothread`, and what is served on them (docs/decisions/0009-io-threads.md).
extension Service {
    func addThread(_ id: String, _ properties: IothreadProperties) throws(QMPError) {
        var polling = PollingOptions()
        let given = [
            ("poll-max-ns", properties.pollMaxNs ?? Self.threadPollNs), ("poll-grow", properties.pollGrow ?? 0),
            ("poll-shrink", properties.pollShrink ?? 0),
        ]
        for (name, value) in given { try polling.set(name, value) }
        do {
            let thread = try host.takeThread()
            thread.setPolling(polling)
            ioThreads[id] = ThreadObject(thread: thread, polling: polling)
        } catch { throw QMPError(error) }
    }

    /// How long a thread looks for work where nothing is said, as QEMU's do.
    private static let threadPollNs: Int64 = 32_768

    func deleteThread(_ id: String, _ object: ThreadObject) throws(QMPError) {
        if graph.usesThread(id) { throw QMPError("object '\(id)' is in use, can not be deleted") }
        ioThreads[id] = nil
        host.giveBack(object.thread)
    }

    /// Where an export asks to be served.
    func place(for export: BlockExportOptions) throws(QMPError) -> ServingPlace {
        guard let name = export.iothread else { return .shared(nil) }
        guard ioThreads[name] != nil else { throw QMPError("iothread \"\(name)\" not found") }
        return export.fixedIothread ?? false ? .fixed(name) : .shared(name)
    }

    /// What is served by the main thread alone keeps to it, unless it must not.
    func refuseFixed(_ place: ServingPlace) throws(QMPError) {
        if case .fixed = place { throw QMPError("Cannot change iothread of active block backend") }
    }

    /// What the requests of a root run on; nil: the main thread. Throws where the object has gone meanwhile.
    func executor(of root: BlockRoot) throws(QMPError) -> (any TaskExecutor)? {
        guard let name = root.thread else { return nil }
        guard let object = ioThreads[name] else { throw QMPError("iothread \"\(name)\" not found") }
        return object.thread.taskExecutor
    }
}

extension PollingOptions {
    static let names = ["poll-grow", "poll-max-ns", "poll-shrink"]

    /// Whoever looks for longer than this never sleeps, in nanoseconds; factors need not be larger either.
    private static let largest: Int64 = 1_000_000_000

    /// A property of an I/O thread by its name; nil where there is none.
    subscript(_ name: String) -> Int64? {
        switch name {
        case "poll-max-ns": Int64(maxNs)
        case "poll-grow": Int64(grow)
        case "poll-shrink": Int64(shrink)
        default: nil
        }
    }

    /// Sets one. Precondition: there is such a property.
    mutating func set(_ name: String, _ value: Int64) throws(QMPError) {
        guard value >= 0, value <= Self.largest else {
            throw QMPError("\(name) value must be in range [0, \(Self.largest)]")
        }
        switch name {
        case "poll-max-ns": maxNs = UInt64(value)
        case "poll-grow": grow = UInt64(value)
        case "poll-shrink": shrink = UInt64(value)
        default: preconditionFailure("no property of an I/O thread: \(name)")
        }
    }
}
