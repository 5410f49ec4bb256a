import Block
public import Qcow2

extension CreateRequest {
    /// The options of a new qcow2 image of `size` bytes, in the format's own terms. What cannot be made yet is refused.
    public func qcow2Options(size: UInt64) throws(ImageError) -> CreateOptions {
        // A disk has whole sectors.
        guard let rounded = size.roundedUpToSector else {
            throw ImageError(
                "\(path): The image size is too large for file format 'qcow2' (try using a larger cluster size)")
        }
        var result = CreateOptions(size: rounded)
        switch options["compat"] ?? "1.1" {
        case "1.1", "v3": result.version = .v3
        case "0.10", "v2": result.version = .v2
        case let other: throw refused("version", other)
        }
        if let text = options["cluster_size"], let bytes = try? SizeText.parse(text) { result.clusterSize = bytes }
        if let text = options["refcount_bits"], let bits = UInt64(text) { result.refcountBits = Int(clamping: bits) }
        if let name = options["preallocation"] {
            guard let mode = CreateOptions.Preallocation(rawValue: name) else { throw refused("preallocation", name) }
            result.preallocation = mode
        }
        switch options["compression_type"] ?? "zlib" {
        case "zlib": result.compression = .zlib
        case "zstd": result.compression = .zstd
        case let other: throw refused("compression-type", other)
        }
        result.lazyRefcounts = options["lazy_refcounts"] == "on"
        result.extendedL2 = options["extended_l2"] == "on"
        result.dataFile = options["data_file"].flatMap { $0.isEmpty ? nil : $0 }
        result.dataFileRaw = options["data_file_raw"] == "on"
        result.backingFile = backingFile
        result.backingFormat = backingFormat
        try refuseWhatIsMissing()
        return result
    }

    private func refused(_ parameter: String, _ value: String) -> ImageError {
        ImageError("\(path): Parameter '\(parameter)' does not accept value '\(value)'")
    }

    private func refuseWhatIsMissing() throws(ImageError) {
        if options["encryption"] == "on" || options["encrypt.format"] != nil {
            throw ImageError("\(path): Encryption is not supported")
        }
    }
}

extension UInt64 {
    /// The next multiple of 512, or nil past 2^63.
    var roundedUpToSector: UInt64? {
        let (sum, overflow) = addingReportingOverflow(511)
        return overflow || sum > UInt64(Int64.max) ? nil : sum & ~511
    }
}
