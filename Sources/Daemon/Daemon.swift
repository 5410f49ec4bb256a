/// The daemon: one I/O thread, and on it the graph, the NBD server and the monitors. The only place where all parts
/// meet.
public enum Daemon {
    /// Starts the I/O thread, carries the options out in order, calls `ready` (pid files, parents that wait, greetings),
    /// and serves until `quit` over QMP or SIGINT, SIGTERM or SIGHUP; then closes in order: exports, nodes from the
    /// top, caches flushed. Blocks the calling thread. `ready` gets the daemon's own words on what it serves; it runs
    /// once, after the options and before any client is answered.
    ///
    /// Throws where an option cannot be carried out, with everything closed again.
    public static func serve(
        _ options: [DaemonOption], configuration: DaemonConfiguration,
        ready: @escaping @Sendable () throws(DaemonStartError) -> Void
    ) throws(DaemonStartError) {
        throw DaemonStartError(option: options.first, message: "Not built yet")
    }
}
