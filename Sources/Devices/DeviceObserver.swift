/// What devices tell the outside. Called on the context from within a command or an initiator's request, each event
/// before the reply of the command that caused it: it may note and send, and must not call back.
public struct DeviceObserver {
    /// `DEVICE_TRAY_MOVED`: the name of the backend, the guest device's id, and where the tray is now.
    public var onTrayMoved: (_ device: String, _ id: String, _ isOpen: Bool) -> Void
    /// `DEVICE_DELETED`: the guest device's id.
    public var onDeleted: (_ id: String) -> Void

    public init(
        onTrayMoved: @escaping (_ device: String, _ id: String, _ isOpen: Bool) -> Void = { _, _, _ in },
        onDeleted: @escaping (_ id: String) -> Void = { _ in }
    ) {
        self.onTrayMoved = onTrayMoved
        self.onDeleted = onDeleted
    }
}
