import Block
import CLinux
import Glibc

extension IOThread {
    /// Calls `body` on the thread each time the process gets SIGINT, SIGTERM or SIGHUP. Called on the thread, with
    /// these signals blocked in every thread (`blockSignals`).
    public func onTermination(_ body: @escaping () -> Void) {
        let descriptor = nacre_termination_signals()
        guard descriptor >= 0 else { return }
        spawn { [self] in
            while true {
                await ready(descriptor, for: .readable) { _ in }
                if nacre_take_signal(descriptor) == 0 { body() }
            }
        }
    }

    /// Blocks the signals that `onTermination` tells of, and ignores SIGPIPE; called before any thread starts.
    public static func blockSignals() { nacre_block_signals() }
}
