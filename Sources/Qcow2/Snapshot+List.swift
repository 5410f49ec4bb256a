public import Block

extension Snapshot {
    /// The internal snapshots that an image's header tells of, read from its file.
    public static func list(_ header: Header, _ file: any Storage) async throws(OpenError) -> [Snapshot] {
        var reader = SnapshotTableReader(file: file, header: header)
        reader.keepsEntries = false
        return try await reader.read().snapshots
    }
}
