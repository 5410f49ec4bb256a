import Block
import Devices
import Graph
import Image
import JSON
import QMPTypes

// Commands that make, change and use drives.
extension HumanMonitor {
    func eject(_ line: HumanCommandLine) async throws(QMPError) -> String {
        try await service.eject(EjectArguments(device: line["device"], force: line.flags.contains("f")))
        return ""
    }

    func change(_ line: HumanCommandLine) async throws(QMPError) -> String {
        if line["device"] == "vnc" { throw QMPError("The feature 'vnc' is not enabled") }
        var mode: BlockdevChangeReadOnlyMode?
        if let text = line.optional("mode") {
            mode = BlockdevChangeReadOnlyMode(rawValue: text)
            if mode == nil { throw QMPError("invalid parameter value: \(text)") }
        }
        try await service.blockdevChangeMedium(
            BlockdevChangeMediumArguments(
                device: line["device"], filename: line["target"], format: line.optional("format"),
                force: line.flags.contains("f"), readOnlyMode: mode))
        return ""
    }

    // MARK: Drives

    /// The address is QEMU's affair: there are no buses here.
    func driveAdd(_ line: HumanCommandLine) async -> String {
        do throws(QMPError) {
            if line.flags.contains("n") {
                let (options, _) = try KeyValue.parse(line["options"])
                try await service.blockdevAdd(try BlockdevOptions(QAPIInput(.object(options), isText: true)))
                return ""
            }
            let drive = try DriveOptions(line["options"])
            guard service.devices.device(drive.id) == nil else { return "Duplicate ID '\(drive.id)' for drive\n" }
            var request = BackendRequest(drive.id, origin: .driveAdd, medium: drive.medium)
            request.rootState = RootState(drive.common)
            do throws(DeviceError) { try await service.devices.add(request) } catch { throw QMPError(error) }
            return "OK\n"
        } catch {
            return error.message + "\n"
        }
    }

    /// A drive, or a node that `drive_add -n` made.
    func driveDel(_ line: HumanCommandLine) async -> String {
        let id = line["id"]
        if service.devices.devices.contains(where: { $0.name == id }) {
            do throws(DeviceError) { try await service.devices.deleteDrive(id) } catch { return error.message + "\n" }
            return ""
        }
        guard let node = service.graph.node(id), node.isMonitorOwned else { return "Device '\(id)' not found\n" }
        do throws(OpenError) { try await service.graph.delete(id) } catch { return error.message + "\n" }
        return ""
    }

    // MARK: Requests

    func qemuIO(_ line: HumanCommandLine) async throws(QMPError) -> String {
        // The device is looked for first.
        let name = line["device"]
        let target: any IOTarget
        if let device = service.devices.device(name) {
            target = DeviceTarget(device, service.graph)
        } else if line.flags.contains("d") || service.graph.node(name) == nil {
            throw QMPError(
                line.flags.contains("d")
                    ? "Device '\(name)' not found" : "Cannot find device='' nor node-name='\(name)'")
        } else {
            target = NodeTarget(service.graph, name, user: "qemu-io")
        }
        var text = ""
        var failure: String?
        let shell = IOShell(
            service.context,
            IOShell.Surroundings(
                say: { text += $0 }, complain: { text += $0 }, report: { failure = failure ?? $0 }),
            target: target)
        _ = await shell.run(line["command"])
        if let failure { throw QMPError(failure) }
        guard service.configuration.actsAsQEMU else { return text }
        // QEMU prints it where nobody who asked reads it.
        service.host.say(text)
        return ""
    }
}

/// A device, whatever medium it has, as the target of commands.
private final class DeviceTarget: IOTarget {
    private let device: Device
    private let graph: Graph

    init(_ device: Device, _ graph: Graph) {
        self.device = device
        self.graph = graph
    }

    var details: ImageDetails? { device.nodeName.flatMap { graph.node($0)?.image } }

    func use(_ permissions: Permissions, _ body: (any Storage) async -> Bool) async throws(OpenError) -> Bool {
        await body(device)
    }
}
