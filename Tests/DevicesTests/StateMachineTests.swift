import Block
import BlockTestKit
import Devices
import Graph
import GraphTestKit
import Testing

/// A drive's state, as the table's words tell it.
private struct DriveState: Hashable {
    var kind: String
    var position: String
    /// `empty`, `lent` (a node of the monitor's) or `own` (opened for the device).
    var medium: String
    var lock: String
    /// Whether the medium is, or the next one will be, `ro` or `rw`.
    var root: String
    var isGone = false

    var words: Set<String> { [kind, position, medium, medium == "empty" ? "empty" : "full", lock, root] }

    func after(_ changes: [String], mode: String?) -> DriveState {
        var state = self
        for word in changes {
            switch word {
            case "open", "closed": state.position = word
            case "empty", "lent", "own": state.medium = word
            case "locked", "unlocked": state.lock = word
            case "ro", "rw": state.root = word
            case "mode": state.root = mode ?? state.root
            case "gone": state.isGone = true
            default: Issue.record("the table says '\(word)'")
            }
        }
        return state
    }
}

/// One drive, `D`, with everything around it that the commands of the table need.
private final class Stage {
    let bench = DeviceBench()
    let kind: String
    /// Which member names the drive.
    let byID: Bool
    var device: Device!
    /// The file and the node of the last command.
    var file = ""
    var node = ""

    static let lent = ["rw1", "rw2", "ro1", "ro2", "used"]

    init(kind: String, byID: Bool) {
        self.kind = kind
        self.byID = byID
    }

    func set(_ start: String) async throws {
        let host = bench.host
        for name in ["w1", "w2"] { host.addRaw(name, bytes: 1 << 16) }
        for name in ["u1", "u2"] { host.addRaw(name, bytes: 1 << 17).isWritable = false }
        for name in Self.lent {
            try await bench.addNode(name, bytes: 1 << 15, CommonOptions(isReadOnly: name.hasPrefix("ro")))
        }
        _ = try await bench.graph.attach("export", to: "used", used: .consistentRead)
        let drive: String? = start.isEmpty || start == "own" ? nil : start
        switch kind {
        case "fixed": device = try await bench.add(.scsiHD, "D", drive: drive)
        case "tray": device = try await bench.add(.ideCD, "D", drive: drive)
        case "floppy": device = try await bench.add(.floppy, "D", drive: drive)
        default:
            var request = BackendRequest("D")
            if start == "own" { request.medium = Make.raw(nil, .options(Make.file("w1"))) }
            device = try await bench.devices.add(request)
            device.addObserver(bench.notes)
        }
        _ = bench.notes.take()
    }

    var state: DriveState {
        var medium = "empty"
        if let node = device.nodeName { medium = Self.lent.contains(node) ? "lent" : "own" }
        return DriveState(
            kind: kind, position: device.hasTray ? (device.isTrayOpen ? "open" : "closed") : "none", medium: medium,
            lock: device.isLocked ? "locked" : "unlocked",
            root: bench.devices.rootState(of: device).isReadOnly ? "ro" : "rw",
            isGone: bench.devices.device("D") == nil)
    }

    /// One of two that is not in the drive.
    private func other(_ name: String) -> String {
        let current = device.nodeName.flatMap { bench.graph.node($0)?.filename }
        return current == name + "1" ? name + "2" : name + "1"
    }

    private func change(_ name: String, _ format: String? = "raw", _ mode: ReadOnlyMode = .retain, force: Bool = false)
        async throws
    {
        file = name
        try await bench.devices.changeMedium(
            device: byID ? nil : "D", id: byID ? "D" : nil, filename: name, format: format, readOnlyMode: mode,
            force: force)
    }

    private func insert(_ name: String) async throws {
        node = name
        try await bench.devices.insertMedium(device: byID ? nil : "D", id: byID ? "D" : nil, nodeName: name)
    }

    func carryOut(_ command: String) async -> String {
        let devices = bench.devices
        let (device, id): (String?, String?) = byID ? (nil, "D") : ("D", nil)
        return await bench.reply {
            switch command {
            case "open": try devices.openTray(device: device, id: id)
            case "open!": try devices.openTray(device: device, id: id, force: true)
            case "close": try devices.closeTray(device: device, id: id)
            case "remove": try await devices.removeMedium(device: device, id: id)
            case "insert-missing": try await self.insert("missing")
            case "insert-used": try await self.insert("used")
            case "insert-rw": try await self.insert(self.other("rw"))
            case "insert-ro": try await self.insert(self.other("ro"))
            case "eject": try await devices.eject(device: device, id: id)
            case "eject!": try await devices.eject(device: device, id: id, force: true)
            case "change": try await self.change(self.other("w"))
            case "change!": try await self.change(self.other("w"), nil, force: true)
            case "change-read-only": try await self.change(self.other("w"), "raw", .readOnly)
            case "change-read-write": try await self.change(self.other("w"), nil, .readWrite)
            case "change-u": try await self.change(self.other("u"))
            case "change-u-read-only": try await self.change(self.other("u"), "raw", .readOnly)
            case "change-u-read-write": try await self.change(self.other("u"), "raw", .readWrite)
            case "change-missing": try await self.change("missing")
            case "change-qcow2": try await self.change(self.other("w"), "qcow2")
            case "change-nope": try await self.change("missing", "nope")
            case "delete": try await devices.delete(id: "D", nodeName: nil)
            case "delete-node":
                self.node = self.device.nodeName ?? ""
                try await devices.delete(id: nil, nodeName: self.node)
            case "unplug": try await devices.remove("D")
            case "lock": self.device.setLocked(true, by: self.device)
            case "unlock": self.device.setLocked(false, by: self.device)
            case "push": if !self.device.moveTray(open: true) { throw Refused() }
            case "pull": if !self.device.moveTray(open: false) { throw Refused() }
            default: Issue.record("nobody knows '\(command)'")
            }
        }
    }

    private struct Refused: Error, CustomStringConvertible {
        var description: String { "refused" }
    }

    /// What holds in every state.
    func checkInvariants(_ state: DriveState, _ label: String) {
        let isReady = state.medium != "empty" && state.position != "open" && !state.isGone
        #expect(device.isReady == isReady, "\(label)")
        #expect((device.length > 0) == isReady, "\(label)")
        guard !state.isGone else { return }
        #expect(device.hasMedium == (state.medium != "empty"), "\(label)")
        #expect(device.isReadOnly == (state.medium == "empty" || state.root == "ro"), "\(label)")
        // Every lent node is two, and so is what was opened for the drive; nothing else is left behind.
        #expect(bench.graph.nodes.count == 2 * Self.lent.count + (state.medium == "own" ? 2 : 0), "\(label)")
        if let node = device.nodeName {
            #expect(bench.graph.users(of: node) == ["D"], "\(label)")
            #expect(bench.graph.node(node)?.isMonitorOwned == (state.medium == "lent"), "\(label)")
        }
    }
}

@Suite("the state machine of a drive")
struct StateMachineTests {
    private static let starts: [(kind: String, start: String)] = [
        ("fixed", "rw1"), ("fixed", "ro1"), ("tray", ""), ("tray", "ro1"), ("tray", "rw1"), ("floppy", ""),
        ("floppy", "rw1"), ("bare", ""), ("bare", "own"), ("bare", "rw1"),
    ]

    private static let commands: [String] = {
        var seen = Set<String>()
        return StateTable.rows.flatMap(\.commands).filter { seen.insert($0).inserted }
    }()

    private func mode(_ command: String) -> String? {
        if command.hasSuffix("read-only") { return "ro" }
        return command.hasSuffix("read-write") ? "rw" : nil
    }

    /// Tries one command in one state, reached on one way; answers the state that follows.
    private func step(
        _ start: (kind: String, start: String), _ path: [String], _ command: String, byID: Bool,
        _ used: inout Set<String>
    ) throws -> DriveState? {
        let stage = Stage(kind: start.kind, byID: byID)
        var row: StateTable.Row?
        var next: DriveState?
        try stage.bench.run {
            try await stage.set(start.start)
            for earlier in path { _ = await stage.carryOut(earlier) }
            _ = stage.bench.notes.take()
            let before = stage.state
            let oldNode = stage.device.nodeName
            if command == "delete-node", oldNode == nil { return }
            let label = "\(start) \(path) \(command) byID \(byID)"
            let rows = StateTable.rows.filter {
                $0.commands.contains(command) && before.words.isSuperset(of: $0.state)
            }
            #expect(rows.count == 1, "\(label): \(before.words): \(rows.map(\.text))")
            guard let found = rows.first else { return }
            row = found
            let reply = await stage.carryOut(command)
            let expected = before.after(found.then, mode: self.mode(command))
            let wanted = String(
                found.reply.split(separator: "'F'", omittingEmptySubsequences: false).joined(
                    separator: "'\(stage.file)'"))
            #expect(
                reply == (wanted == "Node N is in use by D" ? "Node \(stage.node) is in use by D" : wanted), "\(label)")
            let told = stage.bench.notes.take()
            let events = found.told.map { $0.hasPrefix("tray-") ? $0 + " D D" : $0 == "deleted" ? "deleted D" : $0 }
            #expect(told == events, "\(label)")
            if stage.state.isGone {
                #expect(expected.isGone, "\(label)")
                stage.checkInvariants(stage.state, label)
                return
            }
            #expect(stage.state == expected, "\(label)")
            stage.checkInvariants(expected, label)
            if reply != "ok" {
                #expect(stage.device.nodeName == oldNode, "\(label)")
            } else if command.hasPrefix("change") {
                #expect(
                    stage.device.nodeName.flatMap { stage.bench.graph.node($0)?.filename } == stage.file, "\(label)")
            } else if command.hasPrefix("insert") {
                #expect(stage.device.nodeName == stage.node, "\(label)")
            }
            next = stage.state
        }
        if let row { used.insert(row.text) }
        return next
    }

    @Test("every command in every state that can be reached does what the table says", arguments: [false, true])
    func everything(byID: Bool) throws {
        var reached: [DriveState: [String]] = [:]
        var used = Set<String>()
        for start in Self.starts {
            let first = Stage(kind: start.kind, byID: byID)
            var state: DriveState?
            try first.bench.run {
                try await first.set(start.start)
                state = first.state
            }
            var open: [(state: DriveState, path: [String])] = []
            if let state, reached[state] == nil {
                reached[state] = []
                open.append((state, []))
            }
            while let (_, path) = open.popLast() {
                for command in Self.commands {
                    guard let next = try step(start, path, command, byID: byID, &used), reached[next] == nil else {
                        continue
                    }
                    reached[next] = path + [command]
                    open.append((next, path + [command]))
                }
            }
        }
        // Positions, media, locks and root states: 2 of fixed disks, 6 each of floppies and backends, 24 of trays.
        let counts = Dictionary(grouping: reached.keys, by: \.kind).mapValues(\.count)
        #expect(counts == ["fixed": 2, "floppy": 6, "bare": 6, "tray": 24])
        for row in StateTable.rows { #expect(used.contains(row.text), "never met: \(row.text)") }
    }
}
