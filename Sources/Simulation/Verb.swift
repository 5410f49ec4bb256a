/// What an image can be told to do besides a guest's plain requests, and what it can be made of: each is counted for itself by
/// `simulate verbs`.
public enum Verb: String, CaseIterable, Sendable {
    case extendedL2 = "extended L2"
    case dataFile = "data file, plain"
    case rawDataFile = "data file, raw"
    case compress = "compressed write"
    case compressFilter = "filter compress"
    case copyOnRead = "filter copy-on-read"
    case create = "create"
    case createPreallocated = "create, preallocated"
    case snapshotCreate = "snapshot create"
    case snapshotApply = "snapshot apply"
    case snapshotDelete = "snapshot delete"
    /// A machine's state is saved.
    case vmState = "VM state saved"
    case bitmapAdd = "bitmap add"
    case bitmapRemove = "bitmap remove"
    case bitmapEnable = "bitmap enable"
    case bitmapDisable = "bitmap disable"
    case bitmapMerge = "bitmap merge"
    case bitmapClear = "bitmap clear"
    /// An image with bitmaps is opened for writing, which marks them.
    case bitmapsMark = "bitmaps marked in use"
    /// An image with bitmaps is closed.
    case bitmapsStore = "bitmaps stored"
    case amendVersion = "amend version"
    case amendRefcountBits = "amend refcount width"
    case amendLazyRefcounts = "amend lazy refcounts"
    case amendDataFileIsRaw = "amend data-file-raw"
    case amendDataFile = "amend data-file"
    case amendSize = "amend size"
    /// Never changes anything: it confirms what is there, or is refused.
    case amendBacking = "amend backing"
    case shrink = "resize down"
    case grow = "resize up"
    case growPreallocated = "resize up, preallocated"
    case checkOnline = "check, online"
    /// An image whose dirty bit is set is opened for writing.
    case repairAtOpening = "repair at opening"
    case repair = "check and repair"
    case rebase = "rebase"
    case commit = "commit"
}

/// How often a verb met a crash or a failed I/O.
///
/// It counts where it had begun in the program, earlier or just then; of these those are told apart that met it under way.
public struct VerbCount: Sendable, Equatable {
    public var programs = 0
    /// Crash states that were judged.
    public var states = 0
    public var statesUnderWay = 0
    /// I/Os that failed.
    public var points = 0
    public var pointsUnderWay = 0
    /// Of programs in which the verb had begun.
    public var violations = 0

    public init() {}

    public static func += (sum: inout VerbCount, more: VerbCount) {
        sum.programs += more.programs
        sum.states += more.states
        sum.statesUnderWay += more.statesUnderWay
        sum.points += more.points
        sum.pointsUnderWay += more.pointsUnderWay
        sum.violations += more.violations
    }
}

/// What is counted of each verb.
public typealias VerbCounts = [Verb: VerbCount]

extension VerbCounts {
    public static func += (sum: inout VerbCounts, more: VerbCounts) {
        for (verb, count) in more { sum[verb, default: VerbCount()] += count }
    }

    /// What a whole program met: states and failed I/Os, all of them with these verbs under way.
    public init(_ verbs: [Verb], states: Int, points: Int) {
        self.init()
        var count = VerbCount()
        (count.programs, count.states, count.statesUnderWay) = (1, states, states)
        (count.points, count.pointsUnderWay) = (points, points)
        for verb in verbs { self[verb] = count }
    }
}

/// Which verbs of a program have begun, and which are under way.
public struct VerbProgress: Sendable {
    public private(set) var begun: Set<Verb> = []
    private var running: [Verb: Int] = [:]

    public init() {}

    public var underWay: Set<Verb> { Set(running.keys) }

    mutating func begin(_ verbs: [Verb]) {
        for verb in verbs {
            begun.insert(verb)
            running[verb, default: 0] += 1
        }
    }

    mutating func end(_ verbs: [Verb]) {
        for verb in verbs {
            guard let count = running[verb] else { continue }
            running[verb] = count > 1 ? count - 1 : nil
        }
    }

    /// Nothing is under way any more: the program has ended, or a step of it has failed.
    mutating func endAll() { running = [:] }

    /// Counts states that were judged here, some of which come of a second crash.
    func count(states: Int, ofSecondCrash: Int, in counts: inout VerbCounts) {
        for verb in begun {
            counts[verb, default: VerbCount()].states += states
            if running[verb] != nil { counts[verb, default: VerbCount()].statesUnderWay += states - ofSecondCrash }
        }
    }

    /// Counts an I/O that failed here.
    func countPoint(in counts: inout VerbCounts) {
        for verb in begun {
            counts[verb, default: VerbCount()].points += 1
            if running[verb] != nil { counts[verb, default: VerbCount()].pointsUnderWay += 1 }
        }
    }
}
