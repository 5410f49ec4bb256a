// READ DEFECT DATA: lists of defects, which a medium of bytes does not have.
extension LogicalUnit {
    private static let formats: Set<UInt8> = [0, 3, 4, 5]

    /// READ DEFECT DATA (10) and (12) (SBC-3 5.17): empty lists of those that were asked for.
    func defects(_ command: SCSICommand) throws(Refusal) -> [UInt8] {
        let isLong = command.cdb.code == 0xB7
        let index = isLong ? 1 : 2
        let request = command.cdb[index]
        guard Self.formats.contains(request & 7) else { throw .field(index, bit: 2) }
        // PLISTV and GLISTV where asked for, and the format.
        return isLong ? [0, request & 0x1F, 0, 0, 0, 0, 0, 0] : [0, request & 0x1F, 0, 0]
    }
}
