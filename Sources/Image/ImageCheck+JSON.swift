import JSON
import Qcow2

extension ImageCheck {
    /// `--output=json`: counts that are zero are left out, as qemu-img leaves them out, but for the check's own errors.
    public var json: String {
        var object = JSONObject()
        object["filename"] = .string(filename)
        object["format"] = .string(format)
        object["check-errors"] = JSONValue(result.checkErrors)
        let counts: [(String, UInt64)] = [
            ("image-end-offset", result.imageEndOffset), ("corruptions", result.corruptions),
            ("leaks", result.leaks), ("corruptions-fixed", result.corruptionsFixed),
            ("leaks-fixed", result.leaksFixed), ("total-clusters", result.totalClusters),
            ("allocated-clusters", result.allocatedClusters), ("fragmented-clusters", result.fragmentedClusters),
            ("compressed-clusters", result.compressedClusters),
        ]
        for (name, count) in counts where count > 0 { object[name] = JSONValue(count) }
        if let diagnosis { object["doctor"] = diagnosis.json }
        return JSONValue.object(object).text(.pretty)
    }
}
