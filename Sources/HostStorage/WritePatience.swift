/// Whether buffered writes of a file are made in place, on the I/O thread. They are copies into the page cache, until the
/// kernel makes the writer wait: for dirty pages to be written, or for the journal. Then everybody on the thread waits.
///
/// A write that took long rouses suspicion, no more: the thread may have lost its core to another process. While
/// suspicious each write is watched for whether the thread itself went to sleep, and if it did, writes go through the
/// workers for a while, longer each time. So a disk that cannot follow costs two waits, then one now and then.
struct WritePatience {
    private enum Mood {
        case trusting
        /// How many more writes are watched.
        case watching(UInt32)
        case resting(untilNs: UInt64)
    }

    private var mood = Mood.trusting
    private var restNs = WritePatience.firstRestNs

    /// Long for a copy of 64 KiB, short for a client.
    private static let suspiciousNs: UInt64 = 1_000_000
    /// How many quick writes restore trust.
    private static let watched: UInt32 = 64
    private static let firstRestNs: UInt64 = 100_000_000
    private static let longestRestNs: UInt64 = 10_000_000_000

    var isWatching: Bool {
        if case .watching = mood { return true }
        return false
    }

    /// Whether a write that begins now is made in place.
    mutating func allows(at nowNs: UInt64) -> Bool {
        guard case .resting(let untilNs) = mood else { return true }
        guard nowNs >= untilNs else { return false }
        mood = .watching(Self.watched)
        return true
    }

    /// A write in place has ended. `hasWaited`: the thread slept in it, where it was watched.
    mutating func note(from startNs: UInt64, to endNs: UInt64, hasWaited: Bool) {
        let isSlow = endNs &- startNs > Self.suspiciousNs
        switch mood {
        case .trusting:
            if isSlow { mood = .watching(Self.watched) }
        case .watching(let left):
            if isSlow && hasWaited {
                mood = .resting(untilNs: endNs &+ restNs)
                restNs = min(2 * restNs, Self.longestRestNs)
            } else if left > 1 {
                mood = .watching(left - 1)
            } else {
                mood = .trusting
                restNs = Self.firstRestNs
            }
        case .resting:
            break
        }
    }
}
