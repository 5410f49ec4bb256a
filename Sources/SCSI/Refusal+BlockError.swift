import Block

extension Refusal {
    /// What the drive was asked when it failed.
    enum Request { case read, write }

    /// The one table from the block layer's errors to sense. NOT READY without a medium is told by the caller, who knows
    /// the tray.
    init(_ error: BlockError, in request: Request) {
        let code: SenseCode =
            switch error {
            case .io, .corrupt, .fenced, .system: request == .read ? .unrecoveredRead : .writeFailed
            case .noSpace: .spaceAllocationFailed
            case .readOnly: .writeProtected
            case .outOfRange: .addressOutOfRange
            case .invalid, .unsupported: .internalTargetFailure
            case .noMedium: .mediumNotPresent
            case .permission: .accessDenied
            case .busy: .notReady
            case .closed: .unitCommunicationFailure
            case .limit: .insufficientResources
            }
        self = .check(code)
    }
}
