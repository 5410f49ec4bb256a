import Testing

@testable import SCSI
