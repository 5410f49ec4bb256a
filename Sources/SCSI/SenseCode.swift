/// An ADDITIONAL SENSE CODE with its QUALIFIER (SPC-4 annex F), and the sense key that goes with it here.
struct SenseCode: Equatable, Hashable, Sendable {
    let key: SenseKey
    /// ASC.
    let code: UInt8
    /// ASCQ.
    let qualifier: UInt8

    init(_ key: SenseKey, _ code: UInt8, _ qualifier: UInt8) {
        self.key = key
        self.code = code
        self.qualifier = qualifier
    }
}

/// SPC-4 table 54.
enum SenseKey: UInt8, Sendable {
    case noSense = 0x0, recoveredError = 0x1, notReady = 0x2, mediumError = 0x3, hardwareError = 0x4
    case illegalRequest = 0x5, unitAttention = 0x6, dataProtect = 0x7, blankCheck = 0x8, abortedCommand = 0xB
    case miscompare = 0xE
}

extension SenseCode {
    static let nothing = SenseCode(.noSense, 0x00, 0x00)

    // NOT READY
    static let notReady = SenseCode(.notReady, 0x04, 0x00)
    static let becomingReady = SenseCode(.notReady, 0x04, 0x01)
    static let mediumNotPresent = SenseCode(.notReady, 0x3A, 0x00)
    static let mediumNotPresentTrayClosed = SenseCode(.notReady, 0x3A, 0x01)
    static let mediumNotPresentTrayOpen = SenseCode(.notReady, 0x3A, 0x02)

    // MEDIUM ERROR and HARDWARE ERROR
    static let unrecoveredRead = SenseCode(.mediumError, 0x11, 0x00)
    static let writeFailed = SenseCode(.mediumError, 0x0C, 0x00)
    static let mediumFormatCorrupted = SenseCode(.mediumError, 0x31, 0x00)
    static let internalTargetFailure = SenseCode(.hardwareError, 0x44, 0x00)

    // ILLEGAL REQUEST
    static let invalidFieldInInformationUnit = SenseCode(.illegalRequest, 0x0E, 0x03)
    static let parameterListLength = SenseCode(.illegalRequest, 0x1A, 0x00)
    static let invalidOperationCode = SenseCode(.illegalRequest, 0x20, 0x00)
    static let addressOutOfRange = SenseCode(.illegalRequest, 0x21, 0x00)
    static let invalidFieldInCDB = SenseCode(.illegalRequest, 0x24, 0x00)
    static let unitNotSupported = SenseCode(.illegalRequest, 0x25, 0x00)
    static let invalidFieldInParameterList = SenseCode(.illegalRequest, 0x26, 0x00)
    static let invalidReleaseOfReservation = SenseCode(.illegalRequest, 0x26, 0x04)
    static let cannotReadMedium = SenseCode(.illegalRequest, 0x30, 0x02)
    static let savingNotSupported = SenseCode(.illegalRequest, 0x39, 0x00)
    static let invalidMessage = SenseCode(.illegalRequest, 0x49, 0x00)
    static let mediumRemovalPrevented = SenseCode(.illegalRequest, 0x53, 0x02)
    static let insufficientRegistrationResources = SenseCode(.illegalRequest, 0x55, 0x04)
    static let illegalModeForTrack = SenseCode(.illegalRequest, 0x64, 0x00)

    // UNIT ATTENTION
    static let mediumMayHaveChanged = SenseCode(.unitAttention, 0x28, 0x00)
    static let powerOn = SenseCode(.unitAttention, 0x29, 0x00)
    static let busDeviceReset = SenseCode(.unitAttention, 0x29, 0x03)
    static let modeParametersChanged = SenseCode(.unitAttention, 0x2A, 0x01)
    static let reservationsPreempted = SenseCode(.unitAttention, 0x2A, 0x03)
    static let reservationsReleased = SenseCode(.unitAttention, 0x2A, 0x04)
    static let registrationsPreempted = SenseCode(.unitAttention, 0x2A, 0x05)
    static let capacityChanged = SenseCode(.unitAttention, 0x2A, 0x09)
    static let commandsClearedByAnother = SenseCode(.unitAttention, 0x2F, 0x00)
    static let reportedUnitsChanged = SenseCode(.unitAttention, 0x3F, 0x0E)
    static let operatorRemovalRequest = SenseCode(.unitAttention, 0x5A, 0x01)

    // DATA PROTECT
    static let writeProtected = SenseCode(.dataProtect, 0x27, 0x00)
    static let softwareWriteProtected = SenseCode(.dataProtect, 0x27, 0x02)
    static let spaceAllocationFailed = SenseCode(.dataProtect, 0x27, 0x07)
    static let accessDenied = SenseCode(.dataProtect, 0x20, 0x02)

    // ABORTED COMMAND and MISCOMPARE
    static let unitCommunicationFailure = SenseCode(.abortedCommand, 0x08, 0x00)
    static let insufficientResources = SenseCode(.abortedCommand, 0x55, 0x03)
    static let miscompare = SenseCode(.miscompare, 0x1D, 0x00)
}
