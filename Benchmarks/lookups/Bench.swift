import Glibc
import Synchronization

/// What one thread did.
struct Count: Sendable {
    var requests = 0
    /// Pages of another cluster.
    var wrong = 0
    var cpu = 0.0
}

struct Outcome {
    var readers: [Count]
    var moves = 0
    var cpuPerRequest: Double {
        readers.reduce(0) { $0 + $1.cpu } / Double(max(readers.reduce(0) { $0 + $1.requests }, 1)) * 1e6
    }
}

/// Pseudo-random numbers; the upper bits are good enough for a place.
@inline(__always)
private func next(_ random: UInt64) -> UInt64 { random &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407 }

/// The ways to look clusters up, each run for some time.
final class Bench: @unchecked Sendable {
    private static let clusters = 4096
    private static let spare = 256
    private static let clusterSize = 65536

    private let file: Int32
    let seconds: Double
    let isOver = Atomic<Bool>(false)
    var counts: [Count] = []

    init(_ path: String, seconds: Double) {
        self.seconds = seconds
        file = unsafe open(path, O_RDWR | O_CREAT, 0o600)
        guard file >= 0 else {
            print("\(path) cannot be made")
            exit(1)
        }
        for cluster in 0..<Self.clusters + Self.spare { stamp(UInt64(cluster), at: UInt64(cluster)) }
    }

    /// Makes a place that of a cluster: every page begins with its number.
    func stamp(_ cluster: UInt64, at place: UInt64) {
        for page in 0..<16 {
            var words = [UInt64](repeating: cluster, count: 512)
            unsafe pwrite(file, &words, 4096, off_t(place) * off_t(Self.clusterSize) + off_t(page * 4096))
        }
    }

    /// Reads a page at a place; answers of which cluster it is.
    @inline(__always)
    func read(_ place: UInt64, _ page: UInt64, into buffer: UnsafeMutableRawPointer) -> UInt64 {
        unsafe pread(file, buffer, 4096, off_t(place) * off_t(Self.clusterSize) + off_t(page) * 4096)
        return unsafe buffer.load(as: UInt64.self)
    }

    /// The owner alone: one thread, an array.
    func alone() -> Outcome {
        let places = (0..<Self.clusters).map { UInt64($0) }
        return run(readers: 1) { bench, _, count in
            let buffer = UnsafeMutableRawPointer.allocate(byteCount: 4096, alignment: 4096)
            var random = UInt64(1)
            while !bench.isOver.load(ordering: .relaxed) {
                for _ in 0..<32 {
                    random = next(random)
                    let index = Int(random >> 33) % Bench.clusters
                    if unsafe bench.read(places[index], random >> 60, into: buffer) != UInt64(index) {
                        count.wrong += 1
                    }
                }
                count.requests += 32
            }
            unsafe buffer.deallocate()
        }
    }

    /// Every reader looks up by itself, while the owner moves clusters, `pause` µs between two. `waits`: whether places are kept
    /// until nobody can know them.
    func shared(readers: Int, pause: UInt32?, waits: Bool = true) -> Outcome {
        isOver.store(false, ordering: .sequentiallyConsistent)
        let map = SharedMap(count: Self.clusters, readers: readers)
        let moved = Atomic<Int>(0)
        let owner = pause.map { pause in
            Worker { [self] in
                var free = (Self.clusters..<Self.clusters + Self.spare).map { UInt64($0) }
                var kept: [(place: UInt64, epoch: UInt64)] = []
                var random = UInt64(7)
                while !isOver.load(ordering: .relaxed) {
                    random = next(random)
                    let index = Int(random >> 33) % Bench.clusters
                    if let place = free.popLast() {
                        stamp(UInt64(index), at: place)
                        let old = map[index]
                        kept.append((old, map.move(index, to: place)))
                        moved.wrappingAdd(1, ordering: .relaxed)
                    }
                    kept.removeAll { old in
                        guard !waits || map.hasEnded(old.epoch) else { return false }
                        free.append(old.place)
                        return true
                    }
                    if pause > 0 { usleep(pause) }
                }
            }
        }
        var outcome = run(readers: readers) { bench, reader, count in
            let buffer = UnsafeMutableRawPointer.allocate(byteCount: 4096, alignment: 4096)
            var random = UInt64(reader + 1)
            while !bench.isOver.load(ordering: .relaxed) {
                for _ in 0..<32 {
                    random = next(random)
                    let index = Int(random >> 33) % Bench.clusters
                    map.begin(reader)
                    if unsafe bench.read(map[index], random >> 60, into: buffer) != UInt64(index) { count.wrong += 1 }
                    map.end(reader)
                }
                count.requests += 32
            }
            unsafe buffer.deallocate()
        }
        owner?.join()
        outcome.moves = moved.load(ordering: .relaxed)
        // Whatever was moved is put back for the next run.
        for cluster in 0..<Self.clusters + Self.spare { stamp(UInt64(cluster), at: UInt64(cluster)) }
        return outcome
    }

    /// Lookups are the owner's: a thread sends it 32 questions at once and waits for the answers, then reads.
    func asked() -> Outcome {
        let (questions, answers) = (Signal(), Signal())
        let wanted = UnsafeMutablePointer<Int>.allocate(capacity: 32)
        let found = UnsafeMutablePointer<UInt64>.allocate(capacity: 32)
        let shared = unsafe Passed(wanted: wanted, found: found)
        let owned = Atomic<UInt64>(0)
        let owner = Worker { [self] in
            let places = (0..<Self.clusters).map { UInt64($0) }
            let began = cpuTime()
            while true {
                questions.wait()
                if isOver.load(ordering: .acquiring) { break }
                for index in 0..<32 { unsafe shared.found[index] = places[shared.wanted[index]] }
                answers.send()
            }
            owned.store(UInt64((cpuTime() - began) * 1e9), ordering: .relaxed)
            answers.send()
        }
        var outcome = run(readers: 1) { bench, _, count in
            let buffer = UnsafeMutableRawPointer.allocate(byteCount: 4096, alignment: 4096)
            var random = UInt64(1)
            while !bench.isOver.load(ordering: .relaxed) {
                for index in 0..<32 {
                    random = next(random)
                    unsafe shared.wanted[index] = Int(random >> 33) % Bench.clusters
                }
                questions.send()
                answers.wait()
                if bench.isOver.load(ordering: .relaxed) { break }
                for index in 0..<32 {
                    let place = unsafe shared.found[index]
                    if unsafe bench.read(place, random >> 60, into: buffer) != UInt64(shared.wanted[index]) {
                        count.wrong += 1
                    }
                }
                count.requests += 32
            }
            questions.send()
            unsafe buffer.deallocate()
        }
        owner.join()
        outcome.readers[0].cpu += Double(owned.load(ordering: .relaxed)) / 1e9
        return outcome
    }

    @safe private struct Passed: @unchecked Sendable {
        let wanted: UnsafeMutablePointer<Int>
        let found: UnsafeMutablePointer<UInt64>
    }

    private func run(readers: Int, _ body: @escaping @Sendable (Bench, Int, inout Count) -> Void) -> Outcome {
        isOver.store(false, ordering: .sequentiallyConsistent)
        counts = Array(repeating: Count(), count: readers)
        let lock = Mutex(())
        let workers = (0..<readers).map { reader in
            Worker { [self] in
                var count = Count()
                let began = cpuTime()
                body(self, reader, &count)
                count.cpu = cpuTime() - began
                lock.withLock { _ in counts[reader] = count }
            }
        }
        usleep(UInt32(seconds * 1e6))
        isOver.store(true, ordering: .sequentiallyConsistent)
        for worker in workers { worker.join() }
        return Outcome(readers: counts)
    }
}
