public import Qcow2

/// What `check` found in one image, and how it says so.
public struct ImageCheck: Sendable {
    /// As the user wrote it.
    public let filename: String
    public let format: String
    /// After repairs: what is still wrong.
    public var result: Qcow2Check.Result
    /// What the damage means to the guest, where that was asked.
    public var diagnosis: Diagnosis?

    public init(filename: String, format: String, result: Qcow2Check.Result) {
        self.filename = filename
        self.format = format
        self.result = result
    }

    /// The format has no check.
    public static let unsupportedExitCode: Int32 = 63

    /// 0 where all is well, 1 where the check itself failed, 2 for corruption, 3 for leaks alone.
    public var exitCode: Int32 {
        if result.checkErrors > 0 { return 1 }
        if result.corruptions > 0 { return 2 }
        return result.leaks > 0 ? 3 : 0
    }

    /// What was repaired, said before the image is checked once more.
    public var repairedText: String {
        """
        The following inconsistencies were found and repaired:

            \(result.leaksFixed) leaked clusters
            \(result.corruptionsFixed) corruptions

        Double checking the fixed image now...

        """
    }

    public var hasRepaired: Bool { result.leaksFixed > 0 || result.corruptionsFixed > 0 }

    /// What was found, for people.
    public var text: String {
        var text = ""
        if result.corruptions == 0, result.leaks == 0, result.checkErrors == 0 {
            text += "No errors were found on the image.\n"
        }
        if result.corruptions > 0 {
            text += """

                \(result.corruptions) errors were found on the image.
                Data may be corrupted, or further writes to the image may corrupt it.

                """
        }
        if result.leaks > 0 {
            text += """

                \(result.leaks) leaked clusters were found on the image.
                This means waste of disk space, but no harm to data.

                """
        }
        if result.checkErrors > 0 {
            text += "\n\(result.checkErrors) internal errors have occurred during the check.\n"
        }
        if result.totalClusters > 0, result.allocatedClusters > 0 {
            let allocated = result.allocatedClusters
            text += """
                \(allocated)/\(result.totalClusters) = \(percent(allocated, of: result.totalClusters)) allocated, \
                \(percent(result.fragmentedClusters, of: allocated)) fragmented, \
                \(percent(result.compressedClusters, of: allocated)) compressed clusters

                """
        }
        if result.imageEndOffset > 0 { text += "Image end offset: \(result.imageEndOffset)\n" }
        return text
    }

    /// With two decimals.
    private func percent(_ part: UInt64, of whole: UInt64) -> String {
        let hundredths = UInt64((Double(part) * 10000 / Double(whole)).rounded(.toNearestOrEven))
        return "\(hundredths / 100).\(String(100 + hundredths % 100).dropFirst())%"
    }
}
