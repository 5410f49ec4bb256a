import Bytes
import JSON
import Qcow2

extension Diagnosis {
    /// The report, for people: a line for each range.
    var text: String {
        var lines: [String] = []
        if isHopeless {
            lines.append("Too much is damaged, or cannot be read: a repair leaves the tables as they are.")
        }
        for finding in findings { lines.append(text(finding)) }
        if omitted > 0 { lines.append("\(omitted) more ranges are damaged.") }
        for snapshot in removedSnapshots {
            lines.append("\(snapshot.text): nothing tells where its tables are. A full repair removes it.")
        }
        if missingSnapshots > 0 {
            lines.append("The snapshot table is cut short: \(missingSnapshots) of its entries are lost.")
        }
        if losesBitmaps { lines.append("The dirty bitmaps are damaged. A full repair gives them up.") }
        switch refcounts {
        case .sound: break
        case .wrong: lines.append("Refcounts or their flags are wrong. A repair corrects them; no data is concerned.")
        case .rebuilt(let bits):
            lines.append(
                "The refcounts are damaged. A full repair builds them anew (\(bits) bits); no data is concerned.")
        }
        if lines.isEmpty {
            lines.append("Nothing is damaged.")
        } else if isHarmless {
            lines.append("All data can be read.")
        }
        return "Report:\n" + lines.map { "  \($0)\n" }.joined() + "\n"
    }

    private func text(_ finding: Finding) -> String {
        let fate =
            switch finding.fate {
            case .lost: "lost. After a full repair it reads as zeros."
            case .unmapped:
                "lost, with the table that maps it. After a full repair it reads "
                    + (hasBacking ? "as the backing file does." : "as zeros.")
            case .regained: "cannot be read. A full repair makes it readable."
            case .doubtful:
                "is in doubt: its place, or that of the table that maps it, has another use too. It reads as before."
            }
        let held =
            finding.heldBy.isEmpty
            ? "" : " Older states of it are in \(finding.heldBy.map(\.text).joined(separator: ", "))."
        return "\(finding.disk.text), bytes \(finding.range.start) to \(finding.range.end - 1): \(fate)\(held)"
    }

    /// The report as JSON.
    var json: JSONValue {
        var object = JSONObject()
        object["hopeless"] = .bool(isHopeless)
        object["findings"] = .array(findings.map(json))
        object["omitted"] = JSONValue(UInt64(omitted))
        object["removed-snapshots"] = .array(removedSnapshots.map(\.json))
        object["missing-snapshots"] = JSONValue(UInt64(missingSnapshots))
        object["loses-bitmaps"] = .bool(losesBitmaps)
        switch refcounts {
        case .sound: object["refcounts"] = .string("sound")
        case .wrong: object["refcounts"] = .string("wrong")
        case .rebuilt(let bits):
            object["refcounts"] = .string("rebuilt")
            object["refcount-bits"] = JSONValue(UInt64(bits))
        }
        return .object(object)
    }

    private func json(_ finding: Finding) -> JSONValue {
        var object = JSONObject()
        object["disk"] = finding.disk.json
        object["start"] = JSONValue(finding.range.start)
        object["length"] = JSONValue(finding.range.count)
        object["fate"] = .string(finding.fate.rawValue)
        if !finding.heldBy.isEmpty { object["held-by"] = .array(finding.heldBy.map(\.json)) }
        return .object(object)
    }
}

extension Diagnosis.Disk {
    fileprivate var text: String {
        switch self {
        case .active: "The disk"
        case .snapshot(let id, let name): "snapshot \(id) (\(name))"
        }
    }

    fileprivate var json: JSONValue {
        switch self {
        case .active: return .string("active")
        case .snapshot(let id, let name):
            var object = JSONObject()
            object["id"] = .string(id)
            object["name"] = .string(name)
            return .object(object)
        }
    }
}
