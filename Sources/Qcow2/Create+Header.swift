import Block

extension CreateOptions {
    /// The header of the new image.
    func header(_ layout: CreateLayout) -> Header {
        var header = Header(
            version: UInt32(version.rawValue), clusterBits: UInt32(clusterSize.trailingZeroBitCount), size: size,
            refcountOrder: UInt32(refcountBits.trailingZeroBitCount), l1Size: UInt32(layout.l1Entries),
            l1TableOffset: layout.l1Offset, refcountTableOffset: layout.refcountTableOffset,
            refcountTableClusters: UInt32(layout.refcountTableClusters))
        header.backingFile = backingFile
        if let dataFile {
            header.incompatible.insert(.externalDataFile)
            header.extensions.insert(.other(type: HeaderExtension.dataFileType, data: Array(dataFile.utf8)), at: 0)
            if dataFileRaw { header.autoclear.insert(.rawExternalData) }
        }
        if let backingFormat { header.extensions.insert(.backingFormat(backingFormat), at: 0) }
        header.compressionType = compression
        if compression != .zlib { header.incompatible.insert(.compressionType) }
        if extendedL2 { header.incompatible.insert(.extendedL2) }
        if lazyRefcounts { header.compatible.insert(.lazyRefcounts) }
        return header
    }

    /// The header cluster's bytes. The feature names are a courtesy: where the cluster is too small for them as well,
    /// the image does without.
    func headerCluster(_ layout: CreateLayout) throws(OpenError) -> [UInt8] {
        var header = header(layout)
        let name = backingFile ?? ""
        let which = "'\(name)'" + (backingFormat.map { " with format '\($0)'" } ?? "")
        guard name.utf8.count <= Limits.backingNameBytes else {
            throw invalid("Could not assign backing file \(which): Invalid argument")
        }
        guard (backingFormat ?? "").utf8.count <= Limits.backingFormatBytes else {
            throw invalid("Parameter 'backing-fmt' does not accept value '\(backingFormat ?? "")'")
        }
        if let bytes = try? header.encode() { return bytes }
        header.extensions.removeAll { $0.type == HeaderExtension.featureNamesType }
        if let bytes = try? header.encode() { return bytes }
        if dataFile != nil { throw OpenError("The header has no room for the data file's name", cause: .noSpace) }
        throw OpenError("Could not assign backing file \(which): No space left on device", cause: .noSpace)
    }
}
