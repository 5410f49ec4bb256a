import Block
import Filters
import JSON
import QMPTypes

// Limits as objects and their properties have them.
extension Filters.ThrottleLimits {
    /// The six rates by their names on the wire.
    private static var names: [(name: String, rate: WritableKeyPath<Self, Rate>)] {
        [
            ("iops-total", \.iops), ("iops-read", \.iopsRead), ("iops-write", \.iopsWrite), ("bps-total", \.bps),
            ("bps-read", \.bpsRead), ("bps-write", \.bpsWrite),
        ]
    }

    /// The names of all properties, in the order of the schema.
    static var propertyNames: [String] {
        names.flatMap { [$0.name, $0.name + "-max", $0.name + "-max-length"] } + ["iops-size"]
    }

    /// Takes the limits that are given, by their names behind `prefix`; others stay as they are.
    mutating func take(_ given: JSONObject, prefix: String = "") throws(QMPError) {
        func number(_ name: String) throws(QMPError) -> UInt64? {
            guard case .int(let value)? = given[prefix + name] else { return nil }
            guard let number = UInt64(exactly: value) else {
                throw prefix.isEmpty
                    ? QMPError("bps/iops/max values must be within [0, \(Self.largest)]")
                    : QMPError("Property values cannot be negative")
            }
            return number
        }
        for (name, rate) in Self.names {
            if let value = try number(name) { self[keyPath: rate].average = value }
            if let value = try number(name + "-max") { self[keyPath: rate].maximum = value }
            if let value = try number(name + "-max-length") { self[keyPath: rate].burstSeconds = value }
        }
        if let value = try number("iops-size") { iopsSize = value }
    }

    /// All limits by their names.
    var wire: JSONObject {
        var result = JSONObject()
        for (name, rate) in Self.names {
            result[name] = JSONValue(self[keyPath: rate].average)
            result[name + "-max"] = JSONValue(self[keyPath: rate].maximum)
            result[name + "-max-length"] = JSONValue(self[keyPath: rate].burstSeconds)
        }
        result["iops-size"] = JSONValue(iopsSize)
        return result
    }
}

extension Filters.ThrottleLimits {
    init(_ properties: ThrottleGroupProperties) throws(QMPError) {
        self.init()
        // What stands in `limits` stands above the rest.
        if case .object(let members) = properties.json { try take(members, prefix: "x-") }
        if case .object(let members)? = properties.limits?.json { try take(members) }
        do { try check() } catch { throw QMPError(error) }
    }
}
