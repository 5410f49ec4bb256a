import CLinux
import Glibc

/// The process that this is, and where it runs.
public enum HostProcess {
    public static var id: Int32 { getpid() }

    public static func environment(_ name: String) -> String? {
        // Proof: the name is lent for the call; the string of the environment, which nothing here changes, is copied.
        guard let value = unsafe getenv(name) else { return nil }
        return unsafe String(cString: value)
    }

    /// Seconds since 1970 as `YYYY-MM-DD hh:mm:ss` of this place.
    public static func localTime(_ seconds: UInt32) -> String {
        var parts = [Int32](repeating: 0, count: 6)
        // Proof: the array has the six numbers that are written.
        unsafe nacre_local_time(seconds, &parts)
        let text = parts.map { $0 < 10 ? "0\($0)" : String($0) }
        return "\(text[0])-\(text[1])-\(text[2]) \(text[3]):\(text[4]):\(text[5])"
    }
}
