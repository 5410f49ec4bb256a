import Testing

@testable import ISCSI
