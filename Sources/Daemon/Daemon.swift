import Block
import HostIO
import QMPTypes
import Synchronization

/// The daemon: one I/O thread, and on it the graph, the NBD server and the monitors. The only place where all parts
/// meet.
public enum Daemon {
    /// Starts the I/O thread, carries the options out in order, calls `ready` (pid files, parents that wait, greetings),
    /// and serves until `quit` over QMP or SIGINT, SIGTERM or SIGHUP; then closes in order: jobs, exports, nodes from the
    /// top, caches flushed. Blocks the calling thread. `ready` runs once, after the options and before a monitor's
    /// client is answered.
    ///
    /// Throws where an option cannot be carried out, with everything closed again.
    public static func serve(
        _ options: [DaemonOption], configuration: DaemonConfiguration,
        ready: @escaping @Sendable () throws(DaemonStartError) -> Void
    ) throws(DaemonStartError) {
        try run(configuration) { (service) async throws(DaemonStartError) in
            try await service.begin(options)
            try ready()
        }
    }

    /// Starts the I/O thread and a service on it, and serves what `begin` makes of it until the end.
    static func run(
        _ configuration: DaemonConfiguration,
        _ begin: @escaping @Sendable (Service) async throws(DaemonStartError) -> Void
    ) throws(DaemonStartError) {
        IOThread.blockSignals()
        let descriptors = DescriptorLimit.raise()
        let thread = IOThread()
        thread.start()
        let outcome = thread.block { () async -> DaemonStartError? in
            let opener = HostOpener(
                thread, descriptorLimit: descriptors, tellsCreations: configuration.actsAsQEMU,
                namesHolders: !configuration.actsAsQEMU)
            let service = Service(thread, opener, configuration)
            do throws(DaemonStartError) {
                thread.onTermination { [weak service] in service?.beginQuit() }
                try await begin(service)
            } catch {
                await service.close()
                return error
            }
            // Only a person at the command line is told, and clients are not to wait for it.
            opener.namesHolders = false
            service.open()
            await service.waitForQuit()
            await service.close()
            return nil
        }
        thread.stop()
        if let outcome { throw outcome }
    }
}

extension Service {
    fileprivate func begin(_ options: [DaemonOption]) async throws(DaemonStartError) {
        for option in options where !isQuitting {
            do { try await carryOut(option) } catch {
                throw DaemonStartError(option: option, message: error.text)
            }
        }
    }

    /// Answers the monitors' clients from now on.
    fileprivate func open() { for start in starts { start() } }
}
