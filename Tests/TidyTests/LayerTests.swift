import Testing

@Suite("The layers")
struct LayerTests {
    /// Target to row, as docs/architecture.md says; tools stand after everything they may use, each other included.
    static func table() throws -> [String: Int] {
        var rows: [String: Int] = [:]
        for line in try Checkout.text("docs/architecture.md").split(separator: "\n") {
            guard let match = line.firstMatch(of: /^\|\s*(\d+|tool)\s*\|\s*`(\w+)`\s*\|/) else { continue }
            rows[String(match.2)] = Int(match.1) ?? (100 + rows.count)
        }
        return rows
    }

    @Test("every folder of Sources has a row in docs/architecture.md, and every row a folder")
    func everyRoomIsInTheTable() throws {
        #expect(try Self.table().keys.sorted() == Checkout.rooms())
    }

    @Test("a target imports only targets of an earlier row")
    func importsPointDown() throws {
        let table = try Self.table()
        #expect(table.count > 10)
        for path in Checkout.files(in: "Sources", suffix: ".swift") {
            let room = String(path.split(separator: "/")[1])
            let row = try #require(table[room], "\(room) has no row")
            for imported in try imports(of: path) {
                guard let below = table[imported] else { continue }
                #expect(below < row || isDeclaredWithin(room, imported), "\(path) imports \(imported)")
            }
        }
    }

    @Test("the graph and what it maps know neither the kernel nor a file")
    func theGraphRunsInSimulation() throws {
        for room in [
            "Block", "Streams", "Qcow2", "Filters", "Graph", "Devices", "NBDServer", "NBDWire", "SCSI", "ISCSI",
            "DirtyMap", "NBDClient",
        ] {
            for path in Checkout.files(in: "Sources/\(room)", suffix: ".swift") {
                let banned = Set(try imports(of: path)).intersection([
                    "CLinux", "HostIO", "HostStorage", "Glibc", "Foundation",
                ])
                #expect(banned.isEmpty, "\(path) imports \(banned.sorted())")
            }
        }
    }

    @Test("what the program is made of does without Foundation, which is half of a static binary")
    func theProgramIsSmall() throws {
        let tools = ["qapigen", "simulate", "fuzz"]
        for path in Checkout.files(in: "Sources", suffix: ".swift") {
            guard !tools.contains(where: { path.hasPrefix("Sources/\($0)/") }) else { continue }
            #expect(try imports(of: path).allSatisfy { !$0.hasPrefix("Foundation") }, "\(path)")
        }
    }

    /// Targets of one row that a row's other target builds on, in the order of the table.
    private func isDeclaredWithin(_ room: String, _ imported: String) -> Bool {
        [
            "QAPI": ["JSON"], "HostIO": ["Block"], "HostStorage": [], "Qcow2": ["Codecs", "DirtyMap"],
            "Devices": ["Graph"],
            "SCSI": ["Devices"], "NBDClient": ["Streams"],
        ][room]?.contains(imported) ?? false
    }

    private func imports(of path: String) throws -> [String] {
        let source = SourceText(try Checkout.text(path), keeping: .code)
        return source.lines.compactMap { line in
            line.firstMatch(
                of:
                    /^\s*(?:@\w+ |@_spi\(\w+\) )*(?:public |package |internal |private |fileprivate )?import (?:\w+ )?(\w+)/
            )
            .map { String($0.1) }
        }
    }
}
