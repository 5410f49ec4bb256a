/// What MODE SELECT changes. Nothing is saved: after a reset the unit is as it was made.
struct ModeParameters: Equatable, Sendable {
    /// WCE: writes may be told done before they are durable.
    var hasWriteCache = true
    /// D_SENSE.
    var usesDescriptors = false
    /// SWP.
    var isWriteProtected = false
}
