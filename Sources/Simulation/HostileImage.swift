public import BlockTestKit

/// One hostile image, or a small set of files around one: what a stranger hands us to open.
public struct HostileImage: Sendable, CustomStringConvertible {
    /// The class of old bugs that an image belongs to.
    public enum History: String, CaseIterable, Sendable, CustomStringConvertible {
        case r01 = "R01", r02 = "R02", r03 = "R03", r04 = "R04", r05 = "R05", r06 = "R06", r07 = "R07", r08 = "R08"
        case r09 = "R09", r10 = "R10", r11 = "R11", r12 = "R12", r13 = "R13", r14 = "R14", r15 = "R15", r16 = "R16"
        case r17 = "R17", r20 = "R20", r21 = "R21", r22 = "R22", r23 = "R23", r24 = "R24", r25 = "R25", r26 = "R26"
        case r27 = "R27", r90 = "R90"

        public var description: String { rawValue }
        /// Whether its images name other files.
        public var names: Bool { self == .r14 || rawValue.hasPrefix("R2") }
    }

    /// What an open for reading, as the format that the user states, must come to.
    public enum Expectation: Sendable {
        case opens
        /// A refusal whose sentence has this word, whatever the case of its letters.
        case refused(String)
        /// Either, as long as it ends and costs what it may.
        case either
    }

    public struct File: Sendable {
        /// Where it lies, below a folder of the image's own.
        public let path: String
        public let contents: SparseBytes

        public init(_ path: String, _ contents: SparseBytes) {
            self.path = path
            self.contents = contents
        }
    }

    public let history: History
    /// Such as `R01/l1_size=2^31`.
    public let name: String
    /// The format that the user states.
    public let format: String
    public let expectation: Expectation
    /// The image first.
    public let files: [File]
    /// Symbolic links: where, and to what.
    public let links: [(path: String, target: String)]
    /// The files and links besides the image that an open of its chain may touch.
    public let granted: Set<String>

    public var image: SparseBytes { files[0].contents }
    public var description: String { name }

    init(
        _ history: History, _ name: String, _ image: SparseBytes, _ expectation: Expectation = .either,
        path: String = "disk.qcow2", format: String = "qcow2", beside others: [File] = [],
        links: [(path: String, target: String)] = [], granted: Set<String> = []
    ) {
        self.history = history
        self.name = "\(history)/\(name)"
        self.format = format
        self.expectation = expectation
        files = [File(path, image)] + others
        self.links = links
        self.granted = granted
    }

    /// All of them, always the same and in the same order.
    public static let all: [HostileImage] = History.allCases.flatMap { made(for: $0) } + subclusters()

    public static func images(of history: History) -> [HostileImage] { all.filter { $0.history == history } }

    private static func made(for history: History) -> [HostileImage] {
        switch history {
        case .r01: sizeFields()
        case .r02: otherFields()
        case .r03: snapshotTables()
        case .r04: brokenOpens()
        case .r05: oddRefcounts()
        case .r06: divisors()
        case .r07: oldVersions()
        case .r08: hugeClaims()
        case .r09: lengthsAndCounts()
        case .r10: headerLayouts()
        case .r11: strayEntries()
        case .r12: dirtyClaims() + dirtyRepetitions()
        case .r13: manyExtensions()
        case .r14: chainLoops()
        case .r15: greedyImages()
        case .r16: compressedClusters()
        case .r17: fuzzed() + overlaps()
        case .r20: rawWithMagic()
        case .r21: backingNames()
        case .r22: descriptors()
        case .r23: dataFiles()
        case .r24: protocolNames()
        case .r25: unstatedFormats()
        case .r26: encryption()
        case .r27: symbolicLinks()
        case .r90: longHoles()
        }
    }
}

/// Numbers at the edges, and how they are called.
enum Edge {
    /// Those of a field of this many bytes, and around what its largest allowed value is.
    static func values(width: Int, around limits: [UInt64] = []) -> [UInt64] {
        var values: [UInt64] = [0, 1]
        for limit in limits { values += [limit &- 1, limit, limit &+ 1] }
        if width == 1 { values += [0x7F, 0x80, 0xFF] }
        if width == 2 { values += [0x7FFF, 0x8000, 0xFFFF] }
        if width >= 4 { values += [0x7FFF_FFFF, 1 << 31, 0xFFFF_FFFE, 0xFFFF_FFFF] }
        if width == 8 {
            values += [1 << 32, (1 << 56) - 512, 1 << 56, (1 << 63) - 1, 1 << 63, .max - 511, .max - 1, .max]
        }
        let top: UInt64 = width == 8 ? .max : 1 << UInt64(width * 8) - 1
        var seen: Set<UInt64> = []
        return values.filter { $0 <= top && seen.insert($0).inserted }
    }

    /// 2^63, 2^64-1, 2^12+1, or the plain number.
    static func name(_ value: UInt64) -> String {
        if value == .max { return "2^64-1" }
        if value < 1024 { return "\(value)" }
        for (shift, sign) in [(0, ""), (1, "-1"), (-1, "+1")] as [(Int, String)] {
            let power = shift == 1 ? value &+ 1 : shift == -1 ? value - 1 : value
            if power.nonzeroBitCount == 1 { return "2^\(power.trailingZeroBitCount)\(sign)" }
        }
        return "0x" + String(value, radix: 16)
    }
}
