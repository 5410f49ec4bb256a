import Block

/// A user of a device from outside: an export, or a LUN of a target. It sends its requests to `device`, and holds it:
/// until it is detached, the device is neither deleted nor removed.
///
/// The medium may change under it. What is told, it is told from within the change: it may note it and close
/// connections, and must not call back.
public final class DeviceUser: DriveObserver {
    public let name: String
    public let device: Device
    private let onChange: () -> Void

    init(_ name: String, of device: Device, onChange: @escaping () -> Void) {
        self.name = name
        self.device = device
        self.onChange = onChange
    }

    public func driveChangedMedium(_ drive: any Drive) { onChange() }
    public func driveChangedLength(_ drive: any Drive) { onChange() }
    /// It has no way to ask anybody.
    public func driveWantsEject(_ drive: any Drive) {}
}

extension DeviceSet {
    /// Makes an export or a target a user of a device. `onChange` tells that another medium is in reach, that none is,
    /// or that its length has changed: an NBD export then ends its connections, for NBD knows no such thing.
    ///
    /// An empty drive can be used: `Device.isReady` says whether there is something to negotiate about.
    public func attach(
        _ user: String, toDevice name: String, isWritable: Bool, onChange: @escaping () -> Void = {}
    ) throws(DeviceError) -> DeviceUser {
        guard let device = self.device(name) else { throw .notFound(name) }
        let isReadOnly = device.hasMedium ? device.isReadOnly : rootState(of: device).isReadOnly
        if isWritable, isReadOnly { throw DeviceError("Cannot export read-only node as writable", cause: .readOnly) }
        let made = DeviceUser(user, of: device, onChange: onChange)
        device.outsiders.append(made)
        device.addObserver(made)
        return made
    }

    /// Ends a user. None of its requests is under way any more.
    public func detach(_ user: DeviceUser) {
        user.device.outsiders.removeAll { $0 === user }
        user.device.removeObserver(user)
    }
}
