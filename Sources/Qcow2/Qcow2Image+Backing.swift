public import Block
public import Bytes

extension Qcow2Image {
    /// Names another backing file in the header, durably and with one write of its first sector (O11), or none. What the disk
    /// reads as must be the same over both, or be of no matter. No request is under way, and none may follow: the image is
    /// opened anew.
    ///
    /// Throws `invalid` for a name that no image can hold or an image whose data must be readable without it, `noSpace` where
    /// the header's cluster has no room for the name.
    public func setBackingFile(_ name: String?, format: String?) async throws(BlockError) {
        if let writeRefusal { throw writeRefusal }
        guard name.map({ $0.utf8.count <= Limits.backingNameBytes && !isDataRaw }) ?? true else { throw .invalid }
        guard (format?.utf8.count ?? 0) <= Limits.backingFormatBytes else { throw .invalid }
        try await drain()
        var new = diskHeader
        new.backingFile = name
        new.extensions.removeAll { $0.type == HeaderExtension.backingFormatType }
        if let format { new.extensions.insert(.backingFormat(format), at: 0) }
        try await replaceHeader(with: new)
    }

    /// Lets the image hold nothing of its disk, with one switch: before it all is there, after it the backing file decides
    /// everywhere. Internal snapshots and bitmaps stay. `onFreed` may give back to the host what that frees. No request is
    /// under way.
    public func makeEmpty(onFreed: ([ByteRange]) async -> Void) async throws(BlockError) {
        func empty() async throws(BlockError) {
            try await switchOver(pace: .none, onFreed: onFreed) { (next: NextImage) async throws(BlockError) in
                let entries = next.l1.count
                try await next.drop(next.l1, at: next.header.l1TableOffset)
                try await next.writeL1([], entries: entries)
            }
        }
        try await empty()
        // The second time there is nothing left to take away, and what the switch itself took goes to the front. Where that
        // fails the file is longer than it need be; what harms has fenced the image.
        try? await empty()
        // Nothing names its clusters any more; what cannot be given back stays taken.
        if let data { try? await data.discard(ByteRange(at: 0, count: data.length)) }
    }
}
