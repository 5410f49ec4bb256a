import Block
import Bytes
public import Qcow2

extension ImageTool {
    /// What `snapshot` does; a snapshot is named by its name, and for `apply` by its id as well.
    public enum SnapshotAction: Equatable, Sendable {
        case list
        case create(NewSnapshot)
        case apply(String)
        case delete(String)
    }

    /// `snapshot`: lists, makes, applies or removes internal snapshots. Without an action the image is opened and closed again,
    /// as qemu-img has it. What is written to must be known, not guessed, as in `check`.
    public func snapshot(
        _ image: ImageReference, _ action: SnapshotAction?
    ) async throws(ImageError) {
        let isWritable = action != .list
        if isWritable {
            try checkFormatIsSaid(
                image, "The format of '\(image.text)' is not guessed where it is written to",
                "say -f qcow2 if that is what it is")
        }
        let file: ImageFile
        do { file = try await openFile(image, isWritable: isWritable) } catch { throw .couldNotOpen(image.text, error) }
        var failure: ImageError?
        do throws(ImageError) { try await snapshot(file, image, action) } catch { failure = error }
        await file.close()
        if let failure { throw failure }
    }

    private func snapshot(
        _ file: ImageFile, _ image: ImageReference, _ action: SnapshotAction?
    ) async throws(ImageError) {
        let kind: ImageKind
        do { kind = try await file.readKind() } catch { throw .couldNotOpen(image.text, error) }
        if kind == .qcow2 { return try await snapshot(inside: file, image, action) }
        if action != .list, file.kind == nil { report(Self.guessed(image.text)) }
        switch action {
        case nil, .list: return
        case .create(let new):
            throw ImageError("Could not create snapshot '\(new.name)': -95 (Operation not supported)")
        case .apply(let name):
            throw ImageError("Could not apply snapshot '\(name)': Block driver does not support snapshots")
        case .delete(let name): throw ImageError("Could not delete snapshot '\(name)': snapshot not found")
        }
    }

    private func snapshot(inside file: ImageFile, _ reference: ImageReference, _ action: SnapshotAction?)
        async throws(ImageError)
    {
        let options = Options(isReadOnly: action == .list)
        try await withImage(file, reference, options) { (image, _) throws(ImageError) in
            let walker = BlockIO(context: context, driver: .format(image), file: file.storage)
            switch action {
            case nil: break
            case .list: list(image.snapshots)
            case .create(let new): try await create(new, in: image, walker)
            case .apply(let name): try await apply(name, in: image, walker)
            case .delete(let name): try await delete(name, in: image, walker)
            }
        }
    }

    private func list(_ snapshots: [Snapshot]) {
        guard !snapshots.isEmpty else { return }
        output((["Snapshot list:"] + ImageInfo.table(snapshots, localTime)).joined(separator: "\n") + "\n")
    }

    private func create(_ new: NewSnapshot, in image: Qcow2Image, _ walker: BlockIO) async throws(ImageError) {
        do { try await image.createSnapshot(new) { await walker.punch($0) } } catch {
            throw ImageError("Could not create snapshot '\(new.name)': -\(error.errno) (\(error.sentence))")
        }
    }

    private func apply(_ name: String, in image: Qcow2Image, _ walker: BlockIO) async throws(ImageError) {
        // What has changed between the disk now and the disk then, they could not tell.
        if image.hasBitmaps {
            throw ImageError("Could not apply snapshot '\(name)': Device has active dirty bitmaps")
        }
        let found = image.snapshots.first { $0.id == name } ?? image.snapshots.first { $0.name == name }
        do throws(BlockError) {
            guard let found else { throw .system(2) }
            try await image.applySnapshot(id: found.id) { await walker.punch($0) }
        } catch {
            let why = error == .system(2) ? "No such file or directory" : error.sentence
            throw ImageError("Could not apply snapshot '\(name)': Failed to load snapshot: \(why)")
        }
    }

    private func delete(_ name: String, in image: Qcow2Image, _ walker: BlockIO) async throws(ImageError) {
        guard let found = image.snapshots.first(where: { $0.name == name }) else {
            throw ImageError("Could not delete snapshot '\(name)': snapshot not found")
        }
        do { try await image.deleteSnapshot(id: found.id) { await walker.punch($0) } } catch {
            throw ImageError("Could not delete snapshot '\(name)': \(error.sentence)")
        }
    }
}
