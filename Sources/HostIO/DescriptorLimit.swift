import Glibc

/// How many descriptors this process may hold at once. The usual soft limit of 1,024 is a courtesy to programs that call
/// select(2), and a crowd of idle clients uses it up; nothing here calls that.
public enum DescriptorLimit {
    /// Raises the soft limit to the hard one, as far as the host allows, and answers the limit that holds from now on.
    public static func raise() -> Int {
        let resource = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
        var limit = rlimit()
        // Proof: one local structure, here and below.
        guard unsafe getrlimit(resource, &limit) == 0 else { return leastSoftLimit }
        var wanted = limit
        wanted.rlim_cur = limit.rlim_max
        guard wanted.rlim_cur != limit.rlim_cur, unsafe setrlimit(resource, &wanted) == 0 else {
            return Int(clamping: limit.rlim_cur)
        }
        return Int(clamping: wanted.rlim_cur)
    }

    /// What POSIX promises to every process (`_POSIX_OPEN_MAX`), for where the host does not tell.
    private static let leastSoftLimit = 20
}
