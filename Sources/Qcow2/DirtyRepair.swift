import Block

/// Repairs an image whose dirty bit is set, before it is opened for writing: makes refcounts agree with the tables and
/// clears the bit.
func repairDirtyImage(file: any Storage, header: Header, pace: Pace) async throws(OpenError) {
    do throws(BlockError) {
        let (result, _) = try await Qcow2Check.repair(file, header, pace: pace)
        guard result.checkErrors == 0, result.corruptions == 0 else {
            throw .corrupt
        }
    } catch {
        throw OpenError("Could not repair dirty image: \(error.sentence)", cause: error)
    }
}
