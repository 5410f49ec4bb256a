package import Block
import Monitor
package import QMPTypes

/// A daemon's options and commands on any context and host, without the process around them.
package final class Dispatcher {
    private let service: Service

    package init(context: any IOContext, host: any DaemonHost, configuration: DaemonConfiguration) {
        service = Service(context, host, configuration)
    }

    /// Carries out one option of the command line.
    package func carryOut(_ option: DaemonOption) async throws(QMPError) { try await service.carryOut(option) }

    /// Serves one monitor's client to its end.
    package func serve(_ stream: any ByteStream) async { await service.monitor.serve(stream) }

    /// Tells it to end, as a signal does: what waits for a client does so no longer.
    package func quit() { service.beginQuit() }

    /// Closes everything, as the end of the daemon does.
    package func close() async { await service.close() }
}
