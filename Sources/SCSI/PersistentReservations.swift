struct PersistentReservations {
    enum Kind: UInt8 { case writeExclusive = 1 }
    var type: Kind?
}
