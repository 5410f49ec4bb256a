import Block
import Devices
import Filters
import QMPTypes

// The commands of Schema/block-device.json.
extension Service {
    func deviceAdd(_ arguments: DeviceAddArguments) async throws(QMPError) {
        guard let model = DeviceModel(rawValue: arguments.driver) else {
            throw QMPError("'\(arguments.driver)' is not a valid device model name")
        }
        if let serial = arguments.serial, serial.utf8.count > Self.serialLimit {
            throw QMPError("The serial number can't be longer than \(Self.serialLimit) characters")
        }
        var request = DeviceRequest(model, id: arguments.id, drive: arguments.drive)
        request.sharesWrites = arguments.shareRw ?? false
        do {
            let device = try await devices.add(request)
            // It may have gone again before its turn came here.
            if device.guestID == arguments.id { serials[arguments.id] = arguments.serial }
        } catch { throw QMPError(error) }
    }

    func deviceDel(_ arguments: DeviceDelArguments) async throws(QMPError) {
        do { try await devices.remove(arguments.id) } catch { throw QMPError(error) }
    }

    // MARK: Trays and media

    func blockdevOpenTray(_ arguments: BlockdevOpenTrayArguments) async throws(QMPError) {
        do {
            try devices.openTray(device: arguments.device, id: arguments.id, force: arguments.force ?? false)
        } catch { throw QMPError(error) }
    }

    func blockdevCloseTray(_ arguments: BlockdevCloseTrayArguments) async throws(QMPError) {
        do { try devices.closeTray(device: arguments.device, id: arguments.id) } catch { throw QMPError(error) }
    }

    func blockdevRemoveMedium(_ arguments: BlockdevRemoveMediumArguments) async throws(QMPError) {
        do { try await devices.removeMedium(id: arguments.id) } catch { throw QMPError(error) }
    }

    func blockdevInsertMedium(_ arguments: BlockdevInsertMediumArguments) async throws(QMPError) {
        do { try await devices.insertMedium(id: arguments.id, nodeName: arguments.nodeName) } catch {
            throw QMPError(error)
        }
    }

    func xBlockdevRemoveMedium(_ arguments: XBlockdevRemoveMediumArguments) async throws(QMPError) {
        do { try await devices.removeMedium(device: arguments.device, id: arguments.id) } catch {
            throw QMPError(error)
        }
    }

    func xBlockdevInsertMedium(_ arguments: XBlockdevInsertMediumArguments) async throws(QMPError) {
        do {
            try await devices.insertMedium(
                device: arguments.device, id: arguments.id, nodeName: arguments.nodeName)
        } catch { throw QMPError(error) }
    }

    func blockdevChangeMedium(_ arguments: BlockdevChangeMediumArguments) async throws(QMPError) {
        let mode = arguments.readOnlyMode.flatMap { ReadOnlyMode(rawValue: $0.rawValue) } ?? .retain
        do {
            try await devices.changeMedium(
                device: arguments.device, id: arguments.id, filename: arguments.filename, format: arguments.format,
                readOnlyMode: mode, force: arguments.force ?? false)
        } catch { throw QMPError(error) }
    }

    func eject(_ arguments: EjectArguments) async throws(QMPError) {
        do {
            try await devices.eject(device: arguments.device, id: arguments.id, force: arguments.force ?? false)
        } catch { throw QMPError(error) }
    }

    func change(_ arguments: ChangeArguments) async throws(QMPError) {
        if arguments.device == "vnc" { throw QMPError("The feature 'vnc' is not enabled") }
        do {
            try await devices.changeMedium(
                device: arguments.device, filename: arguments.target, format: arguments.arg)
        } catch { throw QMPError(error) }
    }

    // MARK: Backends

    func xBlockdevDel(_ arguments: XBlockdevDelArguments) async throws(QMPError) {
        do { try await devices.delete(id: arguments.id, nodeName: arguments.nodeName) } catch { throw QMPError(error) }
    }

    func blockSetIoThrottle(_ arguments: BlockSetIoThrottleArguments) async throws(QMPError) {
        let limits = try Filters.ThrottleLimits(arguments)
        do {
            try devices.setThrottle(device: arguments.device, id: arguments.id, limits, group: arguments.group)
        } catch { throw QMPError(error) }
    }

    /// What QEMU lets a serial number have: the room in an identify page.
    private static let serialLimit = 36
}

extension Filters.ThrottleLimits {
    fileprivate init(_ arguments: BlockSetIoThrottleArguments) throws(QMPError) {
        self.init()
        bps = try Rate(arguments.bps, arguments.bpsMax, arguments.bpsMaxLength)
        bpsRead = try Rate(arguments.bpsRd, arguments.bpsRdMax, arguments.bpsRdMaxLength)
        bpsWrite = try Rate(arguments.bpsWr, arguments.bpsWrMax, arguments.bpsWrMaxLength)
        iops = try Rate(arguments.iops, arguments.iopsMax, arguments.iopsMaxLength)
        iopsRead = try Rate(arguments.iopsRd, arguments.iopsRdMax, arguments.iopsRdMaxLength)
        iopsWrite = try Rate(arguments.iopsWr, arguments.iopsWrMax, arguments.iopsWrMaxLength)
        iopsSize = try unsigned(arguments.iopsSize ?? 0)
    }
}

extension Filters.ThrottleLimits.Rate {
    fileprivate init(_ average: Int64, _ maximum: Int64?, _ burstSeconds: Int64?) throws(QMPError) {
        self.init(
            try unsigned(average), maximum: try unsigned(maximum ?? 0), burstSeconds: try unsigned(burstSeconds ?? 1))
    }
}

/// A negative limit is as wrong as one that is too large.
private func unsigned(_ value: Int64) throws(QMPError) -> UInt64 {
    guard let value = UInt64(exactly: value) else {
        throw QMPError("bps/iops/max values must be within [0, \(Filters.ThrottleLimits.largest)]")
    }
    return value
}

extension QMPError {
    /// A sentence of the devices, as the monitor gives it.
    init(_ error: DeviceError) {
        self.init(error.message, class: error.kind == .notFound ? .deviceNotFound : .genericError)
    }
}
