import JSON
import Qcow2

extension ImageInfo {
    /// `--output=json` for one image.
    public var json: String { value.text(.pretty) }

    /// `--output=json --backing-chain`.
    static func json(_ list: [ImageInfo]) -> String { JSONValue.array(list.map(\.value)).text(.pretty) }

    private var value: JSONValue {
        var object = JSONObject()
        object["filename"] = .string(filename)
        object["format"] = .string(format)
        object["virtual-size"] = JSONValue(virtualSize)
        object["actual-size"] = actualSize.map { JSONValue($0) }
        object["cluster-size"] = clusterSize.map { JSONValue($0) }
        if isEncrypted { object["encrypted"] = true }
        object["dirty-flag"] = .bool(isDirty)
        object["backing-filename"] = backingFilename.map { .string($0) }
        object["full-backing-filename"] = fullBackingFilename.map { .string($0) }
        object["backing-filename-format"] = backingFormat.map { .string($0) }
        if !snapshots.isEmpty { object["snapshots"] = .array(snapshots.map(\.json)) }
        object["format-specific"] = qcow2.map { ["type": "qcow2", "data": $0.json] }
        return .object(object)
    }
}

extension Qcow2Info {
    fileprivate var json: JSONValue {
        var object = JSONObject()
        object["compat"] = .string(compat)
        object["data-file"] = dataFile.map { .string($0) }
        object["data-file-raw"] = dataFileIsRaw.map { .bool($0) }
        object["extended-l2"] = extendedL2.map { .bool($0) }
        object["lazy-refcounts"] = lazyRefcounts.map { .bool($0) }
        object["corrupt"] = isCorrupt.map { .bool($0) }
        if !bitmaps.isEmpty { object["bitmaps"] = .array(bitmaps.map(\.json)) }
        object["refcount-bits"] = JSONValue(UInt64(refcountBits))
        object["compression-type"] = .string(compressionType)
        return .object(object)
    }
}

extension StoredBitmapInfo {
    fileprivate var json: JSONValue {
        ["flags": .array(flags.map { .string($0) }), "name": .string(name), "granularity": JSONValue(granularity)]
    }
}

extension Snapshot {
    fileprivate var json: JSONValue {
        var object = JSONObject()
        object["id"] = .string(id)
        object["name"] = .string(name)
        object["vm-state-size"] = JSONValue(vmStateSize)
        object["date-sec"] = JSONValue(UInt64(dateSeconds))
        object["date-nsec"] = JSONValue(UInt64(dateNanoseconds))
        object["vm-clock-sec"] = JSONValue(vmClockNs / 1_000_000_000)
        object["vm-clock-nsec"] = JSONValue(vmClockNs % 1_000_000_000)
        object["icount"] = instructionCount.map { JSONValue($0) }
        return .object(object)
    }
}
