import Devices

extension LogicalUnit {
    /// REQUEST SENSE (SPC-4 6.39): the next unit attention, or what the unit waits for.
    func requestSense(_ command: SCSICommand) -> [UInt8] {
        let asDescriptors = command.cdb.has(1, at: 1)
        if let condition = nextAttention(of: command.nexus) {
            return Sense(condition).bytes(asDescriptors: asDescriptors)
        }
        return Sense(drive.isReady ? .nothing : notReady).bytes(asDescriptors: asDescriptors)
    }
}
